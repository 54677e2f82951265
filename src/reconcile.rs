//! The verb: make the lake hold what IVS says of one ended session.
//!
//! Level-triggered: it looks at what is (IVS, S3), never at what an event claims, so anyone may call it, at any time
//! and any number of times. Three steps: ask IVS whether the session has ended; look whether its object is there and
//! final; if not, list all participants and put them, merged with those that are stored. A live session is never
//! exported, and a session is listed at most twice: soon after its end, and once more `confirm_after` later, because
//! nothing documents when the list of an ended session is complete.

use std::pin::pin;
use std::sync::Arc;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use futures::TryStreamExt;
use serde::Serialize;
use tracing::info;

use crate::deadline::Deadline;
use crate::error::Error;
use crate::ivs::{Found, Ivs};
use crate::lake::{Failed, Lake};
use crate::marker::start_time;
use crate::session::SessionRef;
use crate::store::{Existing, Memory, PARTICIPANTS_COUNTED, Store, counted};
use crate::table::participants::{PARTICIPANTS, Participant};

/// The id of a session that makes a debug build panic.
#[cfg(debug_assertions)]
const PANICS: &str = "st-PanicsInDebug";

/// What reconciling needs: IVS, the lake, and when a look counts as the last.
#[derive(Debug)]
pub struct Reconciler {
    pub ivs: Arc<Ivs>,
    pub lake: Arc<Lake>,
    pub confirm_after: TimeDelta,
    /// What bounds the rows of a session.
    pub memory: Memory,
}

/// What reconciling is asked for: to have one session in the lake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub session: SessionRef,
    /// The session's start, if the sender knows it. If IVS no longer knows the session, this day is where its file lies.
    pub start_time: Option<DateTime<Utc>>,
    /// When the hint was sent: a file is looked for on that day and the two before. A request by hand has none.
    pub hinted_at: Option<DateTime<Utc>>,
    /// True if only events ask for this session. Then ListStages is enough to see that it is live.
    pub only_hinted: bool,
    /// A file last written before this instant is written once more.
    pub rewrite_before: Option<DateTime<Utc>>,
}

/// What became of a session. Everything else is an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its object was missing, and is there now.
    Exported,
    /// Its object was written soon after the end, and now once more, late enough to be final.
    Confirmed,
    /// Its object was older than the instant that was asked for, and was written once more.
    Rewritten,
    /// Its object was there, with nothing to add.
    UpToDate,
    /// It has not ended.
    StillLive,
    /// IVS does not know it, and it has no file under the days on which it may have started.
    Gone,
}

/// The answer about one session.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub stage_arn: String,
    pub session_id: String,
    pub outcome: Outcome,
    /// Requests sent to IVS, retries included.
    pub calls: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participants: Option<u64>,
}

/// An outcome, and the object that it is about.
struct Done {
    outcome: Outcome,
    key: Option<String>,
    participants: Option<u64>,
    end_time: Option<DateTime<Utc>>,
    /// When the session started that has not ended, if IVS was asked for it.
    live_since: Option<DateTime<Utc>>,
}

impl Request {
    /// Joins two requests for the same session: the earliest hint, the latest rewrite.
    pub fn join(&mut self, other: &Self) {
        self.start_time = self.start_time.or(other.start_time);
        self.only_hinted &= other.only_hinted;
        self.hinted_at = self.hinted_at.into_iter().chain(other.hinted_at).min();
        self.rewrite_before = self.rewrite_before.max(other.rewrite_before);
    }
}

impl Reconciler {
    /// Reconciles one session as of `now`, before `deadline`, and logs one line about it. A session that is
    /// `known_live`, by the list of stages, is not asked for again. What IVS says of its start is kept in the request.
    ///
    /// # Errors
    /// Any [`Error`] but `InvalidEvent`. The lake is then as it was, unless S3 had carried out a PUT that it did not confirm.
    pub async fn reconcile(
        &self,
        request: &mut Request,
        known_live: bool,
        now: DateTime<Utc>,
        deadline: &Deadline,
    ) -> Result<Report, Error> {
        let (began, calls_before) = (tokio::time::Instant::now(), self.ivs.calls());
        let done = if known_live {
            Done::without_object(Outcome::StillLive)
        } else {
            self.take_steps(request, now, deadline).await?
        };
        let SessionRef {
            stage_arn,
            session_id,
        } = &request.session;
        let report = Report {
            stage_arn: stage_arn.to_string(),
            session_id: session_id.to_string(),
            outcome: done.outcome,
            calls: self.ivs.calls() - calls_before,
            key: done.key,
            participants: done.participants,
        };
        info!(
            table = PARTICIPANTS.name,
            stage_arn = report.stage_arn,
            session_id = report.session_id,
            outcome = done.outcome.as_str(),
            key = report.key,
            participants = report.participants,
            calls = report.calls,
            milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            seconds_since_end = done.end_time.map(|end| (now - end).num_seconds()),
            seconds_since_start = done.live_since.map(|start| (now - start).num_seconds()),
            "session {session_id}: {}",
            done.outcome.as_str(),
        );
        Ok(report)
    }

    async fn take_steps(
        &self,
        request: &mut Request,
        now: DateTime<Utc>,
        deadline: &Deadline,
    ) -> Result<Done, Error> {
        let (name, resource) = (&request.session, request.session.to_string());
        self.ivs.begin_session(false);
        let found = deadline
            .within_work_time("GetStageSession", &resource, self.ivs.get_session(name))
            .await?;
        let session = match found {
            Found::Ended(session) => session,
            Found::Live { start_time } => {
                return Ok(Done {
                    live_since: start_time,
                    ..Done::without_object(Outcome::StillLive)
                });
            }
            Found::Unknown => return self.look_for_file(request, now, deadline).await,
        };
        request.start_time = Some(session.start_time);
        let name = &request.session;
        // For the tests of the bulkhead. Release builds do not have it.
        #[cfg(debug_assertions)]
        assert!(name.session_id.as_str() != PANICS, "a test asked for it");

        let key = self.lake.key(PARTICIPANTS.name, session.day(), name);
        let seen = deadline
            .within_work_time("HeadObject", &resource, self.lake.head(&key))
            .await?;
        let last_modified = seen.as_ref().map(|seen| seen.last_modified);
        let due = due(
            session.end_time,
            last_modified,
            request.rewrite_before,
            now,
            self.confirm_after,
        );
        let Some(outcome) = due else {
            let participants = seen.and_then(|seen| counted(&seen, PARTICIPANTS_COUNTED));
            return Ok(Done {
                outcome: Outcome::UpToDate,
                key: Some(key),
                participants,
                end_time: Some(session.end_time),
                live_since: None,
            });
        };

        let (fresh, ends_empty) = deadline
            .within_work_time("ListParticipants", &resource, self.list(name))
            .await?;
        // IVS may have forgotten the session meanwhile, and then list nobody instead of saying so.
        if ends_empty {
            let found = deadline
                .within_work_time("GetStageSession", &resource, self.ivs.get_session(name))
                .await?;
            if found == Found::Unknown {
                return self.look_for_file(request, now, deadline).await;
            }
        }
        let store = Store {
            lake: &self.lake,
            memory: self.memory,
        };
        let existing = match (outcome, request.rewrite_before) {
            (Outcome::Exported, _) => Existing::Absent,
            (Outcome::Rewritten, Some(before)) => Existing::Replaced { before },
            _ => Existing::Merged,
        };
        let stored = store.put(&PARTICIPANTS, session, &key, fresh, existing);
        let stored = deadline
            .within_put_time("PutObject", &resource, stored)
            .await?;
        Ok(Done {
            outcome: if stored.written {
                outcome
            } else {
                Outcome::UpToDate
            },
            key: Some(key),
            participants: u64::try_from(stored.rows).ok(),
            end_time: Some(stored.end_time),
            live_since: None,
        })
    }

    /// The participants, and whether the last page had none.
    async fn list(&self, name: &SessionRef) -> Result<(Vec<Participant>, bool), Error> {
        let mut pages = pin!(self.ivs.participants(name));
        let (mut rows, mut bytes, mut ends_empty) = (Vec::new(), 0, true);
        while let Some(page) = pages.try_next().await? {
            ends_empty = page.is_empty();
            bytes += PARTICIPANTS.weight(&page);
            if bytes > self.memory.for_rows() {
                return Err(self.memory.too_small(
                    &name.to_string(),
                    rows.len() + page.len(),
                    PARTICIPANTS.rows_of,
                ));
            }
            rows.extend(page);
        }
        Ok((rows, ends_empty))
    }

    /// For a session that IVS does not know: whether it had been exported. Its file lies under the day of its start, which
    /// the request or the failure marker tells; else under the day of the hint or one of the two before, unless the
    /// session was longer than that.
    async fn look_for_file(
        &self,
        request: &Request,
        now: DateTime<Utc>,
        deadline: &Deadline,
    ) -> Result<Done, Error> {
        let look = self.look_on_days(request, now);
        deadline
            .within_work_time("HeadObject", &request.session.to_string(), look)
            .await
    }

    async fn look_on_days(&self, request: &Request, now: DateTime<Utc>) -> Result<Done, Error> {
        let name = &request.session;
        let (around, days) =
            match start_time(&self.lake, name, Failed::Export, request.start_time).await? {
                // A list of sessions and GetStageSession may tell of different days.
                Some(start_time) => (start_time, [0, -1, 1]),
                None => (request.hinted_at.unwrap_or(now), [0, -1, -2]),
            };
        for days in days {
            let Some(day) = around.checked_add_signed(TimeDelta::days(days)) else {
                continue;
            };
            let day = day.date_naive();
            let key = self.lake.key(PARTICIPANTS.name, day, name);
            if let Some(seen) = self.lake.head(&key).await? {
                let participants = counted(&seen, PARTICIPANTS_COUNTED);
                return Ok(Done {
                    outcome: Outcome::UpToDate,
                    key: Some(key),
                    participants,
                    end_time: None,
                    live_since: None,
                });
            }
        }
        Ok(Done::without_object(Outcome::Gone))
    }
}

/// The outcome that a write would have now. `None` if no write is due: the object is final, or its second look comes later. `written` is the object's
/// LastModified.
#[must_use]
pub fn due(
    end_time: DateTime<Utc>,
    written: Option<DateTime<Utc>>,
    rewrite_before: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
    confirm_after: TimeDelta,
) -> Option<Outcome> {
    let Some(written) = written else {
        return Some(Outcome::Exported);
    };
    if rewrite_before.is_some_and(|instant| written < instant) {
        return Some(Outcome::Rewritten);
    }
    let final_from = final_from(end_time, confirm_after);
    (written < final_from && final_from <= now).then_some(Outcome::Confirmed)
}

/// An object of participants that was last written at this instant or later is final. S3 tells whole seconds.
#[must_use]
pub fn final_from(end_time: DateTime<Utc>, confirm_after: TimeDelta) -> DateTime<Utc> {
    (end_time + confirm_after).trunc_subsecs(0)
}

impl Done {
    fn without_object(outcome: Outcome) -> Self {
        Self {
            outcome,
            key: None,
            participants: None,
            end_time: None,
            live_since: None,
        }
    }
}

impl Outcome {
    /// As it stands in reports and log lines.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exported => "exported",
            Self::Confirmed => "confirmed",
            Self::Rewritten => "rewritten",
            Self::UpToDate => "up_to_date",
            Self::StillLive => "still_live",
            Self::Gone => "gone",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use aws_sdk_ivsrealtime::operation::get_stage_session::GetStageSessionOutput;
    use aws_sdk_ivsrealtime::primitives::DateTime as IvsTime;
    use aws_sdk_ivsrealtime::types::StageSession;
    use aws_sdk_s3::operation::get_object::GetObjectOutput;
    use aws_sdk_s3::operation::head_object::HeadObjectOutput;
    use aws_sdk_s3::operation::put_object::PutObjectOutput;
    use aws_sdk_s3::primitives::DateTime as S3Time;
    use aws_smithy_mocks::{MockResponse, Rule, RuleMode, mock, mock_client};
    use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
    use aws_smithy_types::body::SdkBody;
    use bytes::Bytes;

    use super::*;
    use crate::ivs::tests::{answered, name, page};
    use crate::lake::tests::lake;
    use crate::session::EndedSession;

    const START: i64 = 1_763_480_000;
    const END: i64 = START + 1800;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn session() -> EndedSession {
        EndedSession {
            name: name(),
            start_time: at(START),
            end_time: at(END),
        }
    }

    fn person(id: &str) -> Participant {
        let (published, redundant_ingest) = (Some(false), Some(false));
        Participant {
            participant_id: Some(id.to_owned()),
            published,
            redundant_ingest,
            ..Participant::default()
        }
    }

    fn file(ids: &[&str]) -> Vec<u8> {
        let rows = ids.iter().map(|id| person(id)).collect();
        PARTICIPANTS
            .encode(&session(), &(PARTICIPANTS.merge)(rows))
            .unwrap()
    }

    fn ids(file: Vec<u8>) -> Vec<String> {
        let rows = PARTICIPANTS
            .decode(Bytes::from(file), usize::MAX)
            .unwrap()
            .rows;
        rows.into_iter()
            .filter_map(|row| row.participant_id)
            .collect()
    }

    /// What a PUT carried: If-None-Match, If-Match, the ids in the file.
    type Sent = (Option<String>, Option<String>, Vec<String>);

    /// An S3 whose object the function never catches: at each PUT it answers `answers`, one after the other, and the
    /// last for ever; at each GET the file of `stored` with that many PUTs before it.
    fn s3(
        stored: &'static [Option<&'static [&'static str]>],
        answers: &'static [(u16, &'static str)],
    ) -> (Lake, Arc<Mutex<Vec<Sent>>>) {
        let sent: Arc<Mutex<Vec<Sent>>> = Arc::default();
        let state = move |sent: &Arc<Mutex<Vec<Sent>>>| {
            stored[sent.lock().unwrap().len().min(stored.len() - 1)]
        };
        // An object that stays the same keeps its tag.
        let etag = move |sent: &Arc<Mutex<Vec<Sent>>>| {
            let puts = sent.lock().unwrap().len().min(stored.len() - 1);
            format!("\"after {puts} puts\"")
        };

        let puts =
            |sent: &Arc<Mutex<Vec<Sent>>>| i64::try_from(sent.lock().unwrap().len()).unwrap();
        let seen = Arc::clone(&sent);
        let head =
            mock!(aws_sdk_s3::Client::head_object).then_compute_response(move |_| {
                match state(&seen) {
                    Some(_) => MockResponse::Output(
                        HeadObjectOutput::builder()
                            .last_modified(S3Time::from_secs(END))
                            .build(),
                    ),
                    None => MockResponse::Http(HttpResponse::new(
                        404.try_into().unwrap(),
                        SdkBody::empty(),
                    )),
                }
            });
        let seen = Arc::clone(&sent);
        let get = mock!(aws_sdk_s3::Client::get_object).then_compute_response(move |_| {
            match state(&seen) {
                Some(ids) => MockResponse::Output(
                    GetObjectOutput::builder()
                        .e_tag(etag(&seen))
                        // A second later at each PUT.
                        .last_modified(S3Time::from_secs(END + puts(&seen)))
                        .body(file(ids).into())
                        .build(),
                ),
                None => MockResponse::Http(HttpResponse::new(
                    404.try_into().unwrap(),
                    SdkBody::from("<Error><Code>NoSuchKey</Code></Error>"),
                )),
            }
        });
        let seen = Arc::clone(&sent);
        let put = mock!(aws_sdk_s3::Client::put_object).then_compute_response(move |request| {
            let body = request.body.bytes().unwrap().to_vec();
            let conditions = (request.if_none_match.clone(), request.if_match.clone());
            let mut sent = seen.lock().unwrap();
            let (status, code) = answers[sent.len().min(answers.len() - 1)];
            sent.push((conditions.0, conditions.1, ids(body)));
            if status == 200 {
                return MockResponse::Output(PutObjectOutput::builder().build());
            }
            let body = format!("<Error><Code>{code}</Code><Message>no</Message></Error>");
            MockResponse::Http(HttpResponse::new(
                status.try_into().unwrap(),
                SdkBody::from(body),
            ))
        });
        let client = mock_client!(
            aws_sdk_s3,
            RuleMode::MatchAny,
            &[head, get, put],
            |config| config.retry_config(aws_sdk_s3::config::retry::RetryConfig::disabled())
        );
        (lake(client), sent)
    }

    async fn reconcile(
        lake: Lake,
        listed: &'static [&'static str],
        now: i64,
    ) -> Result<Report, Error> {
        let find: Rule = mock!(aws_sdk_ivsrealtime::Client::get_stage_session).then_output(|| {
            let session = StageSession::builder()
                .start_time(IvsTime::from_secs(START))
                .end_time(IvsTime::from_secs(END));
            GetStageSessionOutput::builder()
                .stage_session(session.build())
                .build()
        });
        let list = mock!(aws_sdk_ivsrealtime::Client::list_participants)
            .then_output(move || page(None, listed));
        let ivs = answered(RuleMode::MatchAny, &[find, list]);
        let reconciler = Reconciler {
            ivs: Arc::new(ivs),
            lake: Arc::new(lake),
            confirm_after: TimeDelta::minutes(60),
            memory: Memory { megabytes: 256 },
        };
        let mut request = Request {
            session: name(),
            start_time: None,
            hinted_at: None,
            only_hinted: false,
            rewrite_before: None,
        };
        reconciler
            .reconcile(
                &mut request,
                false,
                at(now),
                &Deadline::after(Duration::from_mins(15)),
            )
            .await
    }

    fn put(none_match: Option<&str>, matches: Option<&str>, ids: &[&str]) -> Sent {
        let owned = |text: &str| text.to_owned();
        (
            none_match.map(owned),
            matches.map(owned),
            ids.iter().map(|id| owned(id)).collect(),
        )
    }

    #[tokio::test]
    async fn whoever_loses_the_race_adds_what_the_other_lacks() {
        const ANSWERS: [&[(u16, &str)]; 2] = [
            &[(412, "PreconditionFailed"), (200, "")],
            &[(409, "ConditionalRequestConflict"), (200, "")],
        ];
        for answers in ANSWERS {
            let code = answers[0].1;
            let (lake, sent) = s3(&[None, Some(&["b", "c"])], answers);
            let report = reconcile(lake, &["a", "b"], END + 300).await.unwrap();
            assert_eq!(
                (report.outcome, report.participants),
                (Outcome::Exported, Some(3)),
                "{code}"
            );
            let expected = [
                put(Some("*"), None, &["a", "b"]),
                put(None, Some("\"after 1 puts\""), &["a", "b", "c"]),
            ];
            assert_eq!(*sent.lock().unwrap(), expected, "{code}");
        }
    }

    #[tokio::test]
    async fn a_race_lost_to_the_same_rows_is_up_to_date() {
        let (lake, sent) = s3(
            &[None, Some(&["a", "b", "c"])],
            &[(412, "PreconditionFailed")],
        );
        let report = reconcile(lake, &["a", "b"], END + 300).await.unwrap();
        assert_eq!(
            (report.outcome, report.participants),
            (Outcome::UpToDate, Some(3))
        );
        assert_eq!(sent.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn an_object_that_was_removed_meanwhile_is_put_anew_with_all_that_it_held() {
        let (lake, sent) = s3(&[Some(&["b"]), None], &[(404, "NoSuchKey"), (200, "")]);
        let report = reconcile(lake, &["a"], END + 3600).await.unwrap();
        assert_eq!(
            (report.outcome, report.participants),
            (Outcome::Confirmed, Some(2))
        );
        let expected = [
            put(None, Some("\"after 0 puts\""), &["a", "b"]),
            put(Some("*"), None, &["a", "b"]),
        ];
        assert_eq!(*sent.lock().unwrap(), expected);
    }

    #[tokio::test]
    async fn a_refusal_without_another_writer_is_put_again() {
        const ANSWERS: [&[(u16, &str)]; 3] = [
            &[(404, "NoSuchKey"), (200, "")],
            &[(409, "ConditionalRequestConflict"), (200, "")],
            &[(412, "PreconditionFailed"), (200, "")],
        ];
        for answers in ANSWERS {
            // A second look: the object holds all rows, and is still the one that was read.
            let (lake, sent) = s3(&[Some(&["a", "b"])], answers);
            let report = reconcile(lake, &["a", "b"], END + 3600).await.unwrap();
            assert_eq!(report.outcome, Outcome::Confirmed, "{}", answers[0].1);
            let again = put(None, Some("\"after 0 puts\""), &["a", "b"]);
            assert_eq!(*sent.lock().unwrap(), [again.clone(), again]);
        }
    }

    #[tokio::test]
    async fn five_lost_races_are_an_error() {
        let stored: &'static [Option<&'static [&'static str]>] = &[
            None,
            Some(&["1"]),
            Some(&["2"]),
            Some(&["3"]),
            Some(&["4"]),
            Some(&["5"]),
        ];
        let (lake, sent) = s3(stored, &[(412, "PreconditionFailed")]);
        let error = reconcile(lake, &["a"], END + 300).await.unwrap_err();
        assert_eq!(error.error_type(), "LakeError");
        assert!(
            error.to_string().contains("5 conditional PUTs in a row"),
            "{error}"
        );
        assert_eq!(sent.lock().unwrap().len(), 5);
    }

    #[test]
    fn a_second_look_is_due_from_the_hour_and_only_if_the_object_is_older() {
        let due = |written: Option<i64>, rewrite_before: Option<i64>, now: i64| {
            let (written, rewrite_before) = (written.map(at), rewrite_before.map(at));
            super::due(
                at(END),
                written,
                rewrite_before,
                at(now),
                TimeDelta::minutes(60),
            )
        };
        let hour = END + 3600;
        assert_eq!(due(None, None, END), Some(Outcome::Exported));
        assert_eq!(due(Some(END), None, hour - 1), None);
        assert_eq!(due(Some(END), None, hour), Some(Outcome::Confirmed));
        assert_eq!(due(Some(hour - 1), None, hour), Some(Outcome::Confirmed));
        assert_eq!(due(Some(hour), None, hour), None);
        assert_eq!(due(Some(hour), None, hour + 86_400), None);
        let fraction = at(END) + TimeDelta::milliseconds(500);
        let written = Some(at(hour));
        assert_eq!(
            super::due(
                fraction,
                written,
                None,
                at(hour + 1),
                TimeDelta::minutes(60)
            ),
            None,
            "S3 tells seconds"
        );
        assert_eq!(due(Some(END), Some(END), END + 1), None);
        assert_eq!(
            due(Some(END), Some(END + 1), END + 1),
            Some(Outcome::Rewritten)
        );
        assert_eq!(due(Some(END), Some(hour), hour), Some(Outcome::Rewritten));
    }

    /// Two functions see different lists of one session at the same time. Whichever puts first, the same bytes stay.
    #[tokio::test]
    async fn the_order_of_two_writers_decides_nothing() {
        type Ids = &'static [&'static str];
        const ONE: Ids = &["a", "b"];
        const OTHER: Ids = &["b", "c"];
        const WRITERS: [(Ids, &[Option<Ids>]); 2] =
            [(ONE, &[None, Some(OTHER)]), (OTHER, &[None, Some(ONE)])];
        for (mine, stored) in WRITERS {
            let (lake, sent) = s3(stored, &[(412, "PreconditionFailed"), (200, "")]);
            reconcile(lake, mine, END + 300).await.unwrap();
            assert_eq!(sent.lock().unwrap()[1].2, ["a", "b", "c"]);
        }
    }

    #[test]
    fn a_log_line_and_a_report_name_an_outcome_alike() {
        for outcome in [
            Outcome::Exported,
            Outcome::Confirmed,
            Outcome::Rewritten,
            Outcome::UpToDate,
            Outcome::StillLive,
            Outcome::Gone,
        ] {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
        }
    }
}
