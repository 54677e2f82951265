//! What names a stage session: the stage's ARN and the session's id.
//!
//! Both are checked once, where they come in, by the API's own patterns
//! (<https://docs.aws.amazon.com/ivs/latest/RealTimeAPIReference/API_GetStageSession.html>). Later code can rely on it that a
//! name fits into a request and into an object's key.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;

/// The ARN of a stage, `arn:aws:ivs:REGION:ACCOUNT:stage/ID`, at most 128 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct StageArn(String);

/// The id of a session within its stage: `st-` and 13 letters or digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SessionId(String);

/// A stage session by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionRef {
    pub stage_arn: StageArn,
    pub session_id: SessionId,
}

/// A stage session that has ended. Its times are cut to milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedSession {
    pub name: SessionRef,
    pub start_time: DateTime<Utc>,
    pub end_time: DateTime<Utc>,
}

impl SessionRef {
    /// The name of the session's objects, without folder and extension: `STAGEID_SESSIONID`.
    #[must_use]
    pub fn file_stem(&self) -> String {
        format!("{}_{}", self.stage_arn.stage_id(), self.session_id)
    }
}

impl EndedSession {
    /// The UTC date on which the session started: its partition, which never changes.
    #[must_use]
    pub fn day(&self) -> NaiveDate {
        self.start_time.date_naive()
    }
}

/// The rule that a rejected string breaks. Error messages print it after the string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Rule(pub &'static str);

const STAGE_ARN_RULE: Rule = Rule(
    "must be a stage's ARN, arn:aws:ivs:REGION:ACCOUNT:stage/ID, of at most 128 characters \
     (lower-case letters, digits and - in REGION; digits in ACCOUNT; letters, digits and - in ID)",
);
const SESSION_ID_RULE: Rule =
    Rule("must be a stage session's id: st- and 13 letters or digits, 16 characters in all");

impl StageArn {
    /// The stage's region, the only one that knows the stage.
    #[must_use]
    pub fn region(&self) -> &str {
        self.0.split(':').nth(3).unwrap_or_default()
    }

    /// What stands behind `stage/`: unique within account and region, without `_` or `/`.
    #[must_use]
    pub fn stage_id(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SessionId {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StageArn {
    type Err = Rule;

    fn from_str(text: &str) -> Result<Self, Rule> {
        let well_formed = || {
            let mut parts = text.strip_prefix("arn:aws:ivs:")?.split(':');
            let (region, account) = (parts.next()?, parts.next()?);
            let stage_id = parts.next()?.strip_prefix("stage/")?;
            let region_fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            let id_fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
            (parts.next().is_none()
                && text.len() <= 128
                && made_of(region, region_fits)
                && made_of(account, |c| c.is_ascii_digit())
                && made_of(stage_id, id_fits))
            .then_some(())
        };
        well_formed().ok_or(STAGE_ARN_RULE)?;
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for SessionId {
    type Err = Rule;

    fn from_str(text: &str) -> Result<Self, Rule> {
        text.strip_prefix("st-")
            .filter(|rest| text.len() == 16 && made_of(rest, |c| c.is_ascii_alphanumeric()))
            .ok_or(SESSION_ID_RULE)?;
        Ok(Self(text.to_owned()))
    }
}

fn made_of(text: &str, fits: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(fits)
}

impl fmt::Display for StageArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SessionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "session {} of {}", self.session_id, self.stage_arn)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STAGE: &str = "arn:aws:ivs:us-west-2:123456789012:stage/AbCdef1G2hij";

    #[test]
    fn an_arn_gives_its_region_and_the_stages_id() {
        let arn: StageArn = STAGE.parse().unwrap();
        assert_eq!(
            (arn.region(), arn.stage_id()),
            ("us-west-2", "AbCdef1G2hij")
        );
    }

    #[test]
    fn what_the_api_would_reject_is_rejected() {
        for arn in [
            "",
            "arn:aws:ivs:us-west-2:123456789012:stage/",
            "arn:aws:ivs:us-west-2:123456789012:channel/AbCdef1G2hij",
            "arn:aws:ivs:us-west-2:123456789012:stage/a:b",
            "arn:aws:ivs:us-west-2:123456789012:stage/a_b",
            "arn:aws:ivs:us-west-2:123456789012:stage/a/b",
            "arn:aws:ivs:us-west-2::stage/AbCdef1G2hij",
            "arn:aws:ivs:US-WEST-2:123456789012:stage/AbCdef1G2hij",
            "arn:aws:s3:us-west-2:123456789012:stage/AbCdef1G2hij",
            " arn:aws:ivs:us-west-2:123456789012:stage/AbCdef1G2hij",
        ] {
            assert_eq!(arn.parse::<StageArn>(), Err(STAGE_ARN_RULE), "{arn:?}");
        }
        let long = format!("{STAGE}{}", "x".repeat(128));
        assert_eq!(long.parse::<StageArn>(), Err(STAGE_ARN_RULE));
        for id in [
            "",
            "st-",
            "st-ZyXwvu1T2s",
            "st-1CVugbu2cf2n8x",
            "ss-1CVugbu2cf2n8",
            "st-1CVugbu2cf2-8",
            "st-1CVugbu2cf2é",
        ] {
            assert_eq!(id.parse::<SessionId>(), Err(SESSION_ID_RULE), "{id:?}");
        }
    }

    proptest! {
        #[test]
        fn every_name_of_the_apis_pattern_survives(
            arn in "arn:aws:ivs:[a-z0-9-]{1,14}:[0-9]{12}:stage/[a-zA-Z0-9-]{1,60}",
            id in "st-[a-zA-Z0-9]{13}",
        ) {
            prop_assert_eq!(arn.parse::<StageArn>().unwrap().to_string(), arn);
            prop_assert_eq!(id.parse::<SessionId>().unwrap().to_string(), id);
        }

        #[test]
        fn what_is_accepted_can_stand_in_a_key(text in ".*") {
            if let Ok(arn) = text.parse::<StageArn>() {
                prop_assert!(!arn.stage_id().contains(['/', '_', '.']));
            }
            if let Ok(id) = text.parse::<SessionId>() {
                prop_assert!(!id.as_str().contains(['/', '_', '.']));
            }
        }
    }
}
