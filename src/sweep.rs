//! Which sessions: every ended session that IVS still lists, and that the lake lacks or is due to look at again.
//!
//! The sweep is what makes the promise; events only make it prompt. It exports nothing itself: it puts sessions into the
//! queue of work, from the newest end and from the oldest, and only tops that queue up, so that a new session waits behind
//! a bounded amount of history. What it does not get to, the next one does. It keeps no state: what is done is seen in S3.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use futures::TryStreamExt;
use serde::Serialize;
use serde_json::json;
use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};

use crate::deadline::Deadline;
use crate::error::Error;
use crate::ivs::{Ivs, ListedSession};
use crate::lake::Lake;
use crate::queue::Queue;
use crate::reconcile::due;
use crate::session::{Rule, SessionRef, StageArn};
use crate::table::PARTICIPANTS;

/// However full the queue is, so much a sweep may add: a full queue of failures must not shut new sessions out.
const ENQUEUE_AT_LEAST: usize = 20;
/// How long a session that failed is left to the redelivery of its message, and then out.
const LEAVE_OUT_FAILED: TimeDelta = TimeDelta::hours(24);
const MOST_STAGES_NAMED: usize = 20;

/// What a sweep is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sweep {
    /// Only this stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage_arn: Option<StageArn>,
    /// Only report.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Files last written before this instant count as due, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewrite_before: Option<DateTime<Utc>>,
    /// Only stages behind this one: a sweep that ran out of time goes on here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<StageArn>,
    /// What this round has left so far, before `after`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<usize>,
    /// What the round before left: a rewrite goes on only while that shrinks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_before: Option<usize>,
}

/// What a sweep found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub stages: usize,
    pub sessions: usize,
    pub live: usize,
    /// Ended sessions without an object.
    pub missing: usize,
    /// Sessions whose object wants a second look, or is to be rewritten.
    pub due: usize,
    /// Of those two, the ones left out because they failed within a day.
    pub failing: usize,
    pub enqueued: usize,
    /// Found, but neither enqueued nor failing.
    pub left: usize,
    /// Stages whose sessions could not be listed.
    pub failed: usize,
    /// The first 20 of them.
    pub failed_stages: Vec<StageArn>,
    pub calls: u64,
    /// Of a dry run that ran out of time: where to go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<StageArn>,
}

/// What sweeping needs.
#[derive(Debug)]
pub struct Sweeper {
    pub ivs: Arc<Ivs>,
    pub lake: Arc<Lake>,
    /// The queue of work.
    pub work: Queue,
    /// The queue on which a sweep sends itself on.
    pub sweeps: Queue,
    pub confirm_after: TimeDelta,
    /// The depth of the queue of work up to which sweeps fill it.
    pub queue_at_most: usize,
    /// Sessions that ended before this instant are left alone.
    pub ignore_ended_before: Option<DateTime<Utc>>,
    /// So are those that ended longer ago than the lake keeps an object, which would bring back what has expired.
    pub retention: Option<TimeDelta>,
}

/// The sessions of the stages that time was left for.
#[derive(Default)]
struct Listed {
    sessions: Vec<(SessionRef, ListedSession)>,
    /// The last stage that was listed, where others were left.
    cut_after: Option<StageArn>,
    last_failure: Option<Error>,
}

impl Sweeper {
    /// Does what a message of a sweep asks for. A tick of the schedule gives way if anything waits behind it: the last
    /// one sweeps, so that rounds do not pile up where one takes longer than a tick. And it never comes back: its
    /// failure is logged, the next tick tries again, and a message that comes back would hold up the queue.
    ///
    /// # Errors
    /// As [`Sweeper::sweep`], of a sweep that nothing repeats.
    pub async fn sweep_from_queue(
        &self,
        sweep: &Sweep,
        now: DateTime<Utc>,
        deadline: &Deadline,
    ) -> Result<(), Error> {
        let tick = *sweep == Sweep::default();
        let swept = async {
            // Only in a queue of their own: in the queue of work it is sessions that wait.
            let waiting = self.sweeps.waiting();
            if tick
                && self.sweeps.is_fifo()
                && deadline
                    .put("GetQueueAttributes", "the sweep", waiting)
                    .await?
                    > 0
            {
                info!("the tick gives way to what waits behind it");
                return Ok(());
            }
            self.sweep(sweep, now, deadline).await.map(|_| ())
        };
        match swept.await {
            Err(failure) if tick => {
                error!(
                    error_type = failure.error_type(),
                    error = failure.chain(),
                    "the sweep failed"
                );
                Ok(())
            }
            result => result,
        }
    }

    /// Sweeps as of `now`, before `deadline`, and logs one line about it, and one for each stage that failed.
    ///
    /// # Errors
    /// What keeps a sweep from knowing anything: ListStages, S3 or SQS fail, or every stage does.
    pub async fn sweep(
        &self,
        sweep: &Sweep,
        now: DateTime<Utc>,
        deadline: &Deadline,
    ) -> Result<Report, Error> {
        let (began, calls_before) = (Instant::now(), self.ivs.calls());
        let mut report = Report::default();
        if deadline
            .put("GetQueueAttributes", "the sweep", self.must_wait(sweep))
            .await?
        {
            deadline
                .put("SendMessage", "the sweep", self.send_on(sweep, now))
                .await?;
            info!("the rewrite waits for the queue to empty");
            return Ok(report);
        }
        let listed = self.list_sessions(sweep, deadline, &mut report).await?;
        let found = deadline
            .prepare(
                "ListObjectsV2",
                "the sweep",
                self.missing_or_due(sweep, listed.sessions, now, &mut report),
            )
            .await?;

        report.left = found.len();
        if sweep.dry_run {
            report.after.clone_from(&listed.cut_after);
        } else {
            let depth = deadline
                .put("GetQueueAttributes", "the sweep", self.work.depth())
                .await?;
            let room = self
                .queue_at_most
                .saturating_sub(depth)
                .max(ENQUEUE_AT_LEAST);
            let bodies: Vec<_> = portion(&found, room)
                .map(|session| message(session, sweep))
                .collect();
            report.enqueued = bodies.len();
            report.left -= bodies.len();
            deadline
                .put("SendMessageBatch", "the sweep", self.work.send(bodies))
                .await?;
            match next(sweep, &report, listed.cut_after.clone()) {
                Some(next) => {
                    deadline
                        .put("SendMessage", "the sweep", self.send_on(&next, now))
                        .await?;
                }
                None if sweep.rewrite_before.is_some()
                    && (report.left > 0 || report.failed > 0) =>
                {
                    warn!(
                        left = report.left,
                        failed = report.failed,
                        "the rewrite ends with sessions left: it no longer gets on"
                    );
                }
                None => {}
            }
        }
        report.calls = self.ivs.calls() - calls_before;
        let whole = sweep.after.is_none() && listed.cut_after.is_none();
        if let Some(failure) = listed
            .last_failure
            .filter(|_| whole && report.failed == report.stages)
        {
            return Err(failure);
        }
        info!(
            stages = report.stages,
            sessions = report.sessions,
            live = report.live,
            missing = report.missing,
            due = report.due,
            failing = report.failing,
            enqueued = report.enqueued,
            left = report.left,
            failed = report.failed,
            calls = report.calls,
            dry_run = sweep.dry_run,
            cut_after = listed.cut_after.as_ref().map(StageArn::as_str),
            milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "swept {} stages: {} missing, {} due",
            report.stages,
            report.missing,
            report.due,
        );
        Ok(report)
    }

    /// A further round of a rewrite takes its turn behind what the one before enqueued, which it would find again.
    async fn must_wait(&self, sweep: &Sweep) -> Result<bool, Error> {
        let further_round = sweep.left_before.is_some() && sweep.after.is_none() && !sweep.dry_run;
        Ok(
            further_round
                && self.work.depth().await? > ENQUEUE_AT_LEAST.max(self.queue_at_most / 4),
        )
    }

    /// Lists the sessions of each stage, in the order of the ARNs, for as long as there is time: at least of one.
    async fn list_sessions(
        &self,
        sweep: &Sweep,
        deadline: &Deadline,
        report: &mut Report,
    ) -> Result<Listed, Error> {
        let mut stages = if let Some(arn) = &sweep.stage_arn {
            vec![arn.clone()]
        } else {
            let stages = self.ivs.stages().try_concat();
            let stages = deadline.prepare("ListStages", "the sweep", stages).await?;
            stages.into_iter().map(|stage| stage.arn).collect()
        };
        stages.sort();
        stages.dedup();
        stages.retain(|arn| sweep.after.as_ref().is_none_or(|after| arn > after));

        // The rest of the time is for S3 and SQS.
        let list_until = Instant::now() + deadline.left().mul_f64(0.6);
        let mut listed = Listed::default();
        for (index, stage) in stages.iter().enumerate() {
            if index > 0 && Instant::now() >= list_until {
                listed.cut_after = stages.get(index - 1).cloned();
                break;
            }
            report.stages += 1;
            let sessions = self.ivs.sessions(stage).try_concat();
            let sessions: Result<Vec<ListedSession>, Error> =
                match timeout_at(list_until, sessions).await {
                    Ok(sessions) => sessions,
                    // Begun too late to be blamed: the next sweep begins with it.
                    Err(_) if index > 0 => {
                        report.stages -= 1;
                        listed.cut_after = stages.get(index - 1).cloned();
                        break;
                    }
                    Err(_) => Err(Error::OutOfTime {
                        doing: "ListStageSessions",
                        resource: stage.to_string(),
                    }),
                };
            let failure = match sessions {
                Ok(sessions) => {
                    let (sessions, odd) = named(stage, sessions);
                    listed.sessions.extend(sessions);
                    odd
                }
                Err(failure) => Some(failure),
            };
            if let Some(failure) = failure {
                let (error_type, chain) = (failure.error_type(), failure.chain());
                error!(
                    stage_arn = stage.as_str(),
                    error_type,
                    error = chain,
                    "the stage could not be swept"
                );
                report.failed += 1;
                if report.failed_stages.len() < MOST_STAGES_NAMED {
                    report.failed_stages.push(stage.clone());
                }
                listed.last_failure = Some(failure);
            }
        }
        Ok(listed)
    }

    /// Of the ended sessions those that are to be enqueued: the missing ones, then those due, each newest end first.
    async fn missing_or_due(
        &self,
        sweep: &Sweep,
        sessions: Vec<(SessionRef, ListedSession)>,
        now: DateTime<Utc>,
        report: &mut Report,
    ) -> Result<Vec<SessionRef>, Error> {
        report.sessions = sessions.len();
        let ignored_before = self.ignored_before(now);
        let mut ended = Vec::new();
        for (name, session) in sessions {
            match session.end_time {
                None => report.live += 1,
                Some(end) if ignored_before.is_some_and(|instant| end < instant) => {}
                Some(end) => ended.push((end, session.start_time, name)),
            }
        }
        if ended.is_empty() {
            return Ok(Vec::new());
        }
        let key = |name: &SessionRef, start_time: DateTime<Utc>| {
            self.lake
                .key(PARTICIPANTS.name, start_time.date_naive(), name)
        };
        let keys = ended
            .iter()
            .filter_map(|(_, start, name)| Some(key(name, (*start)?)))
            .collect();
        let objects = self.lake.list(keys).await?;
        let markers = self
            .lake
            .list(
                ended
                    .iter()
                    .map(|(_, _, name)| self.lake.failed_key(name))
                    .collect(),
            )
            .await?;

        ended.sort_by(|a, b| b.cmp(a));
        let (mut missing, mut again) = (Vec::new(), Vec::new());
        for (end_time, start_time, name) in ended {
            // Without a start there is no key, and so no object: the session fails where it is worked on.
            let written = start_time.and_then(|start| objects.get(&key(&name, start)).copied());
            if due(
                end_time,
                written,
                sweep.rewrite_before,
                now,
                self.confirm_after,
            )
            .is_none()
            {
                continue;
            }
            *(if written.is_none() {
                &mut report.missing
            } else {
                &mut report.due
            }) += 1;
            let failed = markers.get(&self.lake.failed_key(&name)).copied();
            // An object that is newer than the marker is the success that followed.
            let fresh = |failed| {
                failed > now - LEAVE_OUT_FAILED && written.is_none_or(|written| written < failed)
            };
            if failed.is_some_and(fresh) {
                report.failing += 1;
            } else {
                (if written.is_none() {
                    &mut missing
                } else {
                    &mut again
                })
                .push(name);
            }
        }
        missing.append(&mut again);
        Ok(missing)
    }

    /// S3 counts an object's days from when it was last written, which is after the session's end. So of a session that
    /// ended less than that ago, nothing has expired yet.
    fn ignored_before(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let expired_before = self.retention.map(|kept| now - kept);
        self.ignore_ended_before.max(expired_before)
    }

    async fn send_on(&self, sweep: &Sweep, now: DateTime<Utc>) -> Result<(), Error> {
        self.sweeps
            .send_sweep(json!({ "sweep": sweep }).to_string(), now)
            .await
    }
}

/// What there is room for: half of it from the newest end, half from the oldest, so that neither a new session waits
/// behind the history nor the history for ever behind new ones.
fn portion(found: &[SessionRef], room: usize) -> impl Iterator<Item = &SessionRef> {
    let room = room.min(found.len());
    let (newest, oldest) = (room - room / 2, found.len() - room / 2);
    found[..newest].iter().chain(&found[oldest..])
}

/// The sessions by their whole names, and the fault of the last one whose id is none.
fn named(
    stage: &StageArn,
    sessions: Vec<ListedSession>,
) -> (Vec<(SessionRef, ListedSession)>, Option<Error>) {
    let (mut named, mut odd) = (Vec::new(), None);
    for session in sessions {
        match session.session_id.parse() {
            Ok(session_id) => named.push((
                SessionRef {
                    stage_arn: stage.clone(),
                    session_id,
                },
                session,
            )),
            Err(Rule(rule)) => {
                let rule = format!("{rule}, but ListStageSessions of {stage} gave it");
                odd = Some(Error::invalid("sessionId", &session.session_id, rule));
            }
        }
    }
    // A list may name a session twice, once live and once ended; the one that has ended counts.
    named.sort_by(|(a, first), (b, second)| {
        a.cmp(b).then_with(|| second.end_time.cmp(&first.end_time))
    });
    named.dedup_by(|(a, _), (b, _)| a == b);
    (named, odd)
}

/// A session as a message of work.
fn message(session: &SessionRef, sweep: &Sweep) -> String {
    let mut body = json!({ "stage_arn": session.stage_arn, "session_id": session.session_id });
    if let Some(instant) = sweep.rewrite_before {
        body["rewrite_before"] = json!(instant);
    }
    body.to_string()
}

/// The message by which a sweep goes on: behind the stage where its time ran out, or, of a rewrite, from the beginning
/// for as long as a round leaves less than the one before.
fn next(sweep: &Sweep, report: &Report, cut_after: Option<StageArn>) -> Option<Sweep> {
    let left = sweep.left.unwrap_or(0) + report.left;
    if cut_after.is_some() {
        return Some(Sweep {
            after: cut_after,
            left: Some(left),
            ..sweep.clone()
        });
    }
    let shrinks = sweep.left_before.is_none_or(|before| left < before);
    let goes_on = sweep.rewrite_before.is_some() && (left > 0 || report.failed > 0) && shrinks;
    goes_on.then(|| Sweep {
        after: None,
        left: None,
        left_before: Some(left),
        ..sweep.clone()
    })
}
