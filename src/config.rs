//! What the operator can set, read from the environment once and checked before the first event.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// The function's settings. Each field's variable is in the table of docs/settings.md.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `BUCKET`: where the lake lies.
    pub bucket: String,
    /// `PREFIX`: before `participants/`; empty, or ends in `/`.
    pub prefix: String,
    /// `CALLS_PER_SECOND`: of one operation of IVS, in one invocation. The account has 5.
    pub calls_per_second: f64,
    /// `CONFIRM_AFTER_MINUTES`: how long after its end a session is listed for the second and last time.
    pub confirm_after: TimeDelta,
    /// `QUEUE_URL`: the queue of work, into which sweeps put sessions.
    pub queue_url: String,
    /// `SWEEP_CALLS_PER_SECOND`: of ListStageSessions in a tick.
    pub sweep_calls_per_second: f64,
    /// `QUEUE_AT_MOST`: the depth up to which sweeps fill each queue.
    pub queue_at_most: usize,
    /// `IGNORE_ENDED_BEFORE`: sessions that ended before it are left out of sweeps.
    pub ignore_ended_before: Option<DateTime<Utc>>,
    /// `REWRITE_BEFORE`: files last written before it are listed and written once more. In the past.
    pub rewrite_before: Option<DateTime<Utc>>,
    /// `COLLECT`: of whom IVS is asked when they left.
    pub collect: Scope,
    /// `COLLECT_DETAILS`: whether it is also asked for devices, providers and attributes.
    pub collect_details: bool,
    /// `COLLECT_QUEUE_URL`: the queue of collections.
    pub collect_queue_url: String,
    /// `COLLECT_CALLS_PER_SECOND`: of GetParticipant and of ListParticipantEvents, in one invocation.
    pub collect_calls_per_second: f64,
    /// `RECOLLECT_BEFORE`: attendance last written before it is collected once more. In the past.
    pub recollect_before: Option<DateTime<Utc>>,
    /// `AWS_LAMBDA_FUNCTION_MEMORY_SIZE`, which Lambda sets.
    pub memory_megabytes: usize,
    /// `RETENTION_DAYS`: how long the lake keeps an object; sweeps leave out sessions that ended longer ago. None: for
    /// ever.
    pub retention: Option<TimeDelta>,
    /// `AWS_REGION`, which Lambda sets: the region that is asked.
    pub region: String,
    /// `AWS_ENDPOINT_URL_IVS_REALTIME`, `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL_SQS`, or `AWS_ENDPOINT_URL` for those of
    /// them that are not set.
    pub endpoints: Endpoints,
    /// `AWS_USE_FIPS_ENDPOINT`
    pub use_fips: bool,
    /// `AWS_USE_DUALSTACK_ENDPOINT`
    pub use_dual_stack: bool,
    /// `AWS_CA_BUNDLE`: the file of the roots to trust in place of the system's.
    pub ca_bundle: Option<String>,
}

/// Of whom IVS is asked when they left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Everyone,
    /// Only of those who published.
    Publishers,
    Nobody,
}

impl Scope {
    /// As the setting has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Everyone => "everyone",
            Self::Publishers => "publishers",
            Self::Nobody => "nobody",
        }
    }
}

/// The servers in place of AWS's own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Endpoints {
    pub ivs: Option<String>,
    pub s3: Option<String>,
    pub sqs: Option<String>,
}

/// A variable that is missing or wrong, with its value and the rule.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    #[error("the environment variable {variable} is missing: {rule}")]
    Missing {
        variable: &'static str,
        rule: &'static str,
    },
    #[error("the environment variable {variable} is {value:?}: {rule}")]
    Wrong {
        variable: &'static str,
        value: String,
        rule: &'static str,
    },
}

impl Config {
    /// Reads the settings through `lookup`, which gives a variable's value if it is set, as of `now`.
    ///
    /// # Errors
    /// The first variable that is missing or breaks its rule.
    pub fn parse(
        lookup: impl Fn(&str) -> Option<String>,
        now: DateTime<Utc>,
    ) -> Result<Self, ConfigError> {
        // An empty variable is how a template says "not set".
        let get = |variable: &str| lookup(variable).filter(|value| !value.is_empty());
        let required =
            |variable, rule| get(variable).ok_or(ConfigError::Missing { variable, rule });

        let endpoint = |service: &str| {
            get(&format!("AWS_ENDPOINT_URL_{service}")).or_else(|| get("AWS_ENDPOINT_URL"))
        };
        let yes =
            |variable: &str| get(variable).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let prefix = get("PREFIX").unwrap_or_default();
        if !prefix.is_empty() && (!prefix.ends_with('/') || prefix.starts_with('/')) {
            let rule = "must end in / and not start with it, or be empty";
            return Err(ConfigError::Wrong {
                variable: "PREFIX",
                value: prefix,
                rule,
            });
        }
        let queue_url = required("QUEUE_URL", "must be the URL of the queue of work")?;
        let confirm_after = TimeDelta::minutes(number(
            get,
            "CONFIRM_AFTER_MINUTES",
            60,
            "must be a whole number of minutes from 0 to 525600 (a year)",
            |n: &i64| (0..=525_600).contains(n),
        )?);
        // A session that fails stays 14 days in the dead-letter queue, and sweeps skip it for one more day. They must not
        // leave it out before that, nor before its second look.
        let retention_days = number(
            get,
            "RETENTION_DAYS",
            0,
            "must be 0 (for ever) or a whole number of days from 15 to 9999, and longer than CONFIRM_AFTER_MINUTES",
            |&n: &i64| n == 0 || (15..=9_999).contains(&n) && TimeDelta::days(n) > confirm_after,
        )?;
        Ok(Self {
            collect: one_of(
                get,
                "COLLECT",
                &[Scope::Everyone, Scope::Publishers, Scope::Nobody]
                    .map(|scope| (scope.as_str(), scope)),
                "must be everyone, publishers or nobody",
            )?,
            collect_details: one_of(
                get,
                "COLLECT_DETAILS",
                &[("true", true), ("false", false)],
                "must be true or false",
            )?,
            collect_queue_url: get("COLLECT_QUEUE_URL").unwrap_or_else(|| queue_url.clone()),
            // At half a call a second a part of a collection fits into an invocation.
            collect_calls_per_second: number(
                get,
                "COLLECT_CALLS_PER_SECOND",
                2.0,
                "must be a number of calls from 0.5 to 1000",
                |calls| (0.5..=1000.0).contains(calls),
            )?,
            recollect_before: past(get, "RECOLLECT_BEFORE", now)?,
            queue_url,
            sweep_calls_per_second: calls_per_second(get, "SWEEP_CALLS_PER_SECOND", 4.0)?,
            queue_at_most: number(
                get,
                "QUEUE_AT_MOST",
                300,
                "must be a whole number of messages from 1 to 100000",
                |n| (1..=100_000).contains(n),
            )?,
            ignore_ended_before: instant(get, "IGNORE_ENDED_BEFORE")?,
            rewrite_before: past(get, "REWRITE_BEFORE", now)?,
            memory_megabytes: number(
                get,
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
                128,
                "must be a whole number of MB, as Lambda sets it",
                |_| true,
            )?,
            retention: (retention_days > 0).then(|| TimeDelta::days(retention_days)),
            bucket: required("BUCKET", "must name the bucket of the lake")?,
            prefix,
            calls_per_second: calls_per_second(get, "CALLS_PER_SECOND", 2.0)?,
            confirm_after,
            region: required(
                "AWS_REGION",
                "must be the region of the stages, as Lambda sets it",
            )?,
            endpoints: Endpoints {
                ivs: endpoint("IVS_REALTIME"),
                s3: endpoint("S3"),
                sqs: endpoint("SQS"),
            },
            use_fips: yes("AWS_USE_FIPS_ENDPOINT"),
            use_dual_stack: yes("AWS_USE_DUALSTACK_ENDPOINT"),
            ca_bundle: get("AWS_CA_BUNDLE"),
        })
    }
}

/// The time between two calls at so many a second.
#[must_use]
pub fn interval(calls_per_second: f64) -> Duration {
    Duration::from_secs_f64(1.0 / calls_per_second)
}

fn calls_per_second(
    get: impl Fn(&str) -> Option<String>,
    variable: &'static str,
    default: f64,
) -> Result<f64, ConfigError> {
    let rule = "must be a number of calls from 0.1 to 1000";
    number(get, variable, default, rule, |calls: &f64| {
        (0.1..=1000.0).contains(calls)
    })
}

fn instant(
    get: impl Fn(&str) -> Option<String>,
    variable: &'static str,
) -> Result<Option<DateTime<Utc>>, ConfigError> {
    let Some(value) = get(variable) else {
        return Ok(None);
    };
    match DateTime::parse_from_rfc3339(&value) {
        Ok(instant) => Ok(Some(instant.to_utc())),
        Err(_) => Err(ConfigError::Wrong {
            variable,
            value,
            rule: "must be an instant by RFC 3339, like 2026-11-23T18:00:00Z",
        }),
    }
}

/// One of the values that a variable may have; the first one if it is not set.
fn one_of<T: Copy>(
    get: impl Fn(&str) -> Option<String>,
    variable: &'static str,
    values: &[(&str, T)],
    rule: &'static str,
) -> Result<T, ConfigError> {
    let value = get(variable);
    let is_meant = |&&(text, _): &&(&str, T)| value.as_deref().is_none_or(|value| value == text);
    match values.iter().find(is_meant) {
        Some(&(_, meant)) => Ok(meant),
        None => Err(ConfigError::Wrong {
            variable,
            value: value.unwrap_or_default(),
            rule,
        }),
    }
}

/// An instant that is not after `now`.
fn past(
    get: impl Fn(&str) -> Option<String>,
    variable: &'static str,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, ConfigError> {
    match instant(get, variable)? {
        // Each sweep would find the files too old again.
        Some(instant) if instant > now => Err(ConfigError::Wrong {
            variable,
            value: instant.to_rfc3339(),
            rule: "must not lie in the future",
        }),
        instant => Ok(instant),
    }
}

fn number<T: std::str::FromStr>(
    get: impl Fn(&str) -> Option<String>,
    variable: &'static str,
    default: T,
    rule: &'static str,
    fits: impl Fn(&T) -> bool,
) -> Result<T, ConfigError> {
    let Some(value) = get(variable) else {
        return Ok(default);
    };
    match value.parse() {
        Ok(number) if fits(&number) => Ok(number),
        _ => Err(ConfigError::Wrong {
            variable,
            value,
            rule,
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn parse(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let required = [
            ("BUCKET", "lake"),
            ("QUEUE_URL", "https://queue/work"),
            ("AWS_REGION", "us-west-2"),
        ];
        let map: HashMap<_, _> = required.iter().chain(variables).copied().collect();
        let now = "2026-11-24T12:00:00Z".parse().unwrap();
        Config::parse(|name| map.get(name).map(|&value| value.to_owned()), now)
    }

    #[test]
    fn the_defaults_are_the_designs() {
        let config = parse(&[]).unwrap();
        assert_eq!(config.prefix, "");
        assert_eq!(
            interval(config.calls_per_second),
            Duration::from_millis(500)
        );
        assert_eq!(
            interval(config.sweep_calls_per_second),
            Duration::from_millis(250)
        );
        assert_eq!(
            (config.queue_at_most, config.ignore_ended_before),
            (300, None)
        );
        assert_eq!(config.retention, None);
        assert_eq!(config.rewrite_before, None);
        assert_eq!(
            (config.collect, config.collect_details),
            (Scope::Everyone, true)
        );
        assert_eq!(config.collect_queue_url, "https://queue/work");
        assert_eq!(
            interval(config.collect_calls_per_second),
            Duration::from_millis(500)
        );
        assert_eq!(config.recollect_before, None);
        assert_eq!(config.confirm_after, TimeDelta::minutes(60));
        assert_eq!(config.endpoints.s3, None);
    }

    #[test]
    fn a_wrong_value_is_quoted_with_its_rule() {
        for (name, value) in [
            ("PREFIX", "lake"),
            ("PREFIX", "/lake/"),
            ("CALLS_PER_SECOND", "0.09"),
            ("CALLS_PER_SECOND", "NaN"),
            ("CALLS_PER_SECOND", "two"),
            ("SWEEP_CALLS_PER_SECOND", "-4"),
            ("QUEUE_AT_MOST", "0"),
            ("IGNORE_ENDED_BEFORE", "2026"),
            ("REWRITE_BEFORE", "yesterday"),
            ("RECOLLECT_BEFORE", "today"),
            ("COLLECT", "Everyone"),
            ("COLLECT_DETAILS", "yes"),
            ("COLLECT_CALLS_PER_SECOND", "0.49"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256 MB"),
            ("CONFIRM_AFTER_MINUTES", "-1"),
            ("CONFIRM_AFTER_MINUTES", "1.5"),
            ("RETENTION_DAYS", "-1"),
            ("RETENTION_DAYS", "1.5"),
            ("RETENTION_DAYS", "14"),
            ("RETENTION_DAYS", "10000"),
        ] {
            let message = parse(&[(name, value)]).unwrap_err().to_string();
            assert!(
                message.contains(name) && message.contains(&format!("{value:?}: must")),
                "{message}"
            );
        }
    }

    #[test]
    fn a_rewrite_of_what_is_yet_to_be_written_is_refused() {
        let now = "2026-11-24T12:00:00Z";
        let parsed = parse(&[("REWRITE_BEFORE", now), ("RECOLLECT_BEFORE", now)]).unwrap();
        let now: DateTime<Utc> = now.parse().unwrap();
        assert_eq!(parsed.rewrite_before, Some(now));
        assert_eq!(parsed.recollect_before, Some(now));
        for variable in ["REWRITE_BEFORE", "RECOLLECT_BEFORE"] {
            let wrong = parse(&[(variable, "2026-11-24T12:00:01Z")]).unwrap_err();
            let message = wrong.to_string();
            assert!(message.contains(variable), "{message}");
            assert!(message.contains("2026-11-24T12:00:01"), "{message}");
            assert!(message.contains("must not lie in the future"), "{message}");
        }
    }

    #[test]
    fn what_is_kept_is_kept_beyond_its_second_look() {
        let days = |days| parse(&[("RETENTION_DAYS", days), ("CONFIRM_AFTER_MINUTES", "21600")]);
        assert_eq!(days("0").unwrap().retention, None);
        assert_eq!(days("16").unwrap().retention, Some(TimeDelta::days(16)));
        let message = days("15").unwrap_err().to_string();
        assert!(
            message.contains("longer than CONFIRM_AFTER_MINUTES"),
            "{message}"
        );
    }

    #[test]
    fn a_missing_bucket_is_named() {
        let message = parse(&[("BUCKET", "")]).unwrap_err().to_string();
        assert_eq!(
            message,
            "the environment variable BUCKET is missing: must name the bucket of the lake"
        );
    }
}
