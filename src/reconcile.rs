//! The verb: make the lake hold what IVS says of one ended session.
//!
//! Level-triggered: it looks at what is (IVS, S3), never at what an event claims, so anyone may call it, at any time
//! and any number of times. Three steps: ask IVS whether the session has ended; look whether its object is there and
//! final; if not, list all participants and put them, merged with those that are stored. A live session is never
//! exported, and a session is listed at most twice: soon after its end, and once more `confirm_after` later, because
//! nothing documents when the list of an ended session is complete.

use chrono::{DateTime, Days, TimeDelta, Utc};
use futures::TryStreamExt;
use serde::Serialize;
use tracing::info;

use crate::deadline::Deadline;
use crate::error::Error;
use crate::event::Request;
use crate::ivs::{Found, Ivs};
use crate::lake::{File, Lake, Put};
use crate::session::{EndedSession, SessionRef};
use crate::table::{PARTICIPANTS, Participant, SCHEMA_VERSION, Stored};

/// A race for one object is lost at most so often before the session goes back to the queue.
const MOST_PUTS: usize = 5;

/// What reconciling needs: IVS, the lake, and when a look counts as the last.
#[derive(Debug)]
pub struct Reconciler {
    pub ivs: Ivs,
    pub lake: Lake,
    pub confirm_after: TimeDelta,
}

/// What became of a session. Everything else is an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its object was not there and is now.
    Exported,
    /// Its object was written by a listing too soon after the end, and is now by one that was not.
    Confirmed,
    /// Its object was written before the instant that was asked for, and is now anew.
    Rewritten,
    /// Its object was there, and there was nothing to add.
    UpToDate,
    /// It has not ended.
    StillLive,
    /// IVS does not know it, and no file of it lies under the days on which a hint could have meant it.
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
}

impl Reconciler {
    /// Reconciles one session as of `now`, before `deadline`, and logs one line about it.
    ///
    /// # Errors
    /// Any [`Error`] but `InvalidEvent`; the lake is then as it was.
    pub async fn reconcile(
        &self,
        request: &Request,
        now: DateTime<Utc>,
        deadline: &Deadline,
    ) -> Result<Report, Error> {
        let (began, calls_before) = (tokio::time::Instant::now(), self.ivs.calls());
        let done = self.take_steps(request, now, deadline).await?;
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
            stage_arn = report.stage_arn,
            session_id = report.session_id,
            outcome = done.outcome.as_str(),
            key = report.key,
            participants = report.participants,
            calls = report.calls,
            milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            seconds_since_end = done.end_time.map(|end| (now - end).num_seconds()),
            "session {session_id}: {}",
            done.outcome.as_str(),
        );
        Ok(report)
    }

    async fn take_steps(
        &self,
        request: &Request,
        now: DateTime<Utc>,
        deadline: &Deadline,
    ) -> Result<Done, Error> {
        let name = &request.session;
        let found = deadline
            .prepare("GetStageSession", name, self.ivs.find(name))
            .await?;
        let session = match found {
            Found::Ended(session) => session,
            Found::Live => return Ok(Done::without_object(Outcome::StillLive)),
            Found::Unknown => {
                let hinted_at = request.hinted_at.unwrap_or(now);
                return deadline
                    .prepare("HeadObject", name, self.look_for_file(name, hinted_at))
                    .await;
            }
        };

        let key = self.lake.key(PARTICIPANTS.name, session.day(), name);
        let seen = deadline
            .prepare("HeadObject", name, self.lake.look(&key))
            .await?;
        let last_modified = seen.as_ref().map(|seen| seen.last_modified);
        let Some(outcome) = self.due(&session, last_modified, request.rewrite_before, now) else {
            let participants = seen.and_then(|seen| seen.participants);
            return Ok(Done {
                outcome: Outcome::UpToDate,
                key: Some(key),
                participants,
                end_time: Some(session.end_time),
            });
        };

        let pages = self.ivs.participants(name).try_concat();
        let fresh = deadline.prepare("ListParticipants", name, pages).await?;
        deadline
            .put("PutObject", name, self.store(session, key, outcome, fresh))
            .await
    }

    /// What a write now would be called, `None` if the object is final.
    fn due(
        &self,
        session: &EndedSession,
        last_modified: Option<DateTime<Utc>>,
        rewrite_before: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Option<Outcome> {
        let Some(last_modified) = last_modified else {
            return Some(Outcome::Exported);
        };
        if rewrite_before.is_some_and(|instant| last_modified < instant) {
            return Some(Outcome::Rewritten);
        }
        let final_from = session.end_time + self.confirm_after;
        (last_modified < final_from && final_from <= now).then_some(Outcome::Confirmed)
    }

    /// Puts what was listed, merged with what is stored, under a condition that nobody else wrote in between.
    async fn store(
        &self,
        mut session: EndedSession,
        key: String,
        outcome: Outcome,
        fresh: Vec<Participant>,
    ) -> Result<Done, Error> {
        let mut rows = fresh;
        for put in 0..MOST_PUTS {
            // Where nothing was seen nothing is read: if that is no longer so, the condition says it.
            let expects_object = outcome != Outcome::Exported || put > 0;
            let object = if expects_object {
                self.lake.read(&key).await?
            } else {
                None
            };
            let stored = match &object {
                Some(object) => PARTICIPANTS.decode(object.bytes.clone()).map_err(|error| {
                    self.lake.fault(
                        "GetObject",
                        &key,
                        "the object is no file of this table",
                        Some(error),
                    )
                })?,
                None => Stored {
                    rows: Vec::new(),
                    session_end_time: None,
                },
            };
            session.end_time = stored
                .session_end_time
                .map_or(session.end_time, |end| end.max(session.end_time));
            // After a lost race only: a second look writes the same rows again, so that the object's time confirms it.
            let faster = (put > 0 && object.is_some()).then(|| stored.rows.clone());
            let kept = match outcome {
                Outcome::Rewritten => PARTICIPANTS.only_stored(stored.rows, &rows),
                _ => stored.rows,
            };
            rows.extend(kept);
            rows = PARTICIPANTS.merge(rows);
            let participants = rows.len();
            let done = |outcome| Done {
                outcome,
                key: Some(key.clone()),
                participants: u64::try_from(participants).ok(),
                end_time: Some(session.end_time),
            };
            if faster.as_ref() == Some(&rows) {
                return Ok(done(Outcome::UpToDate));
            }
            let bytes = PARTICIPANTS.encode(&session, &rows).map_err(|error| {
                self.lake.fault(
                    "PutObject",
                    &key,
                    "the rows could not be encoded",
                    Some(error),
                )
            })?;
            let file = File {
                bytes,
                schema_version: SCHEMA_VERSION,
                participants,
            };
            let over = object.map(|object| object.etag);
            if self.lake.put(&key, file, over.as_deref()).await? == Put::Written {
                return Ok(done(outcome));
            }
        }
        let fault = format!(
            "{MOST_PUTS} conditional PUTs in a row met an object that was not the one read"
        );
        Err(self.lake.fault("PutObject", &key, &fault, None))
    }

    /// For a session that IVS does not know: whether it had been exported. It started on the day of the hint or on one
    /// of the two before, unless it was longer than that.
    async fn look_for_file(
        &self,
        name: &SessionRef,
        hinted_at: DateTime<Utc>,
    ) -> Result<Done, Error> {
        let day = hinted_at.date_naive();
        for day in (0..3).filter_map(|days| day.checked_sub_days(Days::new(days))) {
            let key = self.lake.key(PARTICIPANTS.name, day, name);
            if let Some(seen) = self.lake.look(&key).await? {
                let participants = seen.participants;
                return Ok(Done {
                    outcome: Outcome::UpToDate,
                    key: Some(key),
                    participants,
                    end_time: None,
                });
            }
        }
        Ok(Done::without_object(Outcome::Gone))
    }
}

impl Done {
    fn without_object(outcome: Outcome) -> Self {
        Self {
            outcome,
            key: None,
            participants: None,
            end_time: None,
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
