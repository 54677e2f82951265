//! Which sessions need work: every ended session that IVS still lists and that is missing in the lake, or due for its second
//! look or a rewrite.
//!
//! The sweep guarantees that every ended session is found; events only make that faster. It exports nothing itself: it puts sessions into the
//! queue of work, and only tops that queue up, so that a new session waits behind a bounded amount of history. A tick is one
//! invocation and leaves only these messages behind: a later tick does what this one could not. It keeps no state:
//! what is done is seen in S3.

mod findings;
mod ledger;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Days, TimeDelta, Utc};
use futures::TryStreamExt;
use serde::Serialize;
use serde_json::json;
use tokio::time::{Instant, timeout_at};
use tracing::{error, info};

use self::findings::{Finding, Findings, draw};
use self::ledger::{Ledger, Objects};
use crate::collect;
use crate::config::Scope;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::ivs::{Ivs, ListedSession, Stage};
use crate::lake::Lake;
use crate::queue::{Outgoing, Queue};
use crate::reconcile::{Outcome, due, final_from};
use crate::session::{Rule, SessionRef, StageArn};
use crate::store::Memory;
use crate::table::attendance::ATTENDANCE;
use crate::table::participants::PARTICIPANTS;
use crate::table::sessions::SESSIONS;

/// A sweep may always add so many, however full the queue is: a queue full of failures must not keep new sessions out.
const ENQUEUE_AT_LEAST: usize = 20;
/// How long a session that failed is left to the redelivery of its message, and then out.
const LEAVE_OUT_FAILED: TimeDelta = TimeDelta::hours(24);
const MOST_STAGES_NAMED: usize = 20;
/// How long a session is left alone after one of its parts was written: its next message waits in the queue. Parts that are no newer
/// than attendance are of a collection that is over.
const COLLECTING: TimeDelta = TimeDelta::minutes(30);
/// A dry run answers within this time: a NAT gateway cuts a connection that is silent for 350 s.
const DRY_RUN: Duration = Duration::from_mins(4);

/// What a sweep is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Only this stage.
    pub stage_arn: Option<StageArn>,
    /// Only report.
    pub dry_run: bool,
    /// Dry runs only: start after this stage, which the last one reached.
    pub after: Option<StageArn>,
}

/// What a sweep found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub stages: usize,
    pub sessions: usize,
    pub live: usize,
    /// Ended sessions without an object.
    pub missing: usize,
    /// Sessions whose object is due for its second look, or to be rewritten.
    pub due: usize,
    /// Of those two, the ones left out because they failed within a day.
    pub failing: usize,
    pub enqueued: usize,
    /// Found, but neither enqueued nor failing.
    pub left: usize,
    /// Stages whose sessions could not all be listed.
    pub failed: usize,
    /// The first 20 of them.
    pub failed_stages: Vec<String>,
    pub calls: u64,
    pub attendance: Attendance,
    /// Of a dry run that ran out of time: the last stage that it reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<StageArn>,
}

/// What a sweep found of attendance: `missing` is the sum of the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Attendance {
    /// Sessions whose attendance is due and missing, or to be collected once more.
    pub missing: usize,
    /// Those that have a part younger than half an hour.
    pub collecting: usize,
    /// Those left out because they failed within a day.
    pub failing: usize,
    pub enqueued: usize,
    pub left: usize,
}

/// What sweeping needs.
#[derive(Debug)]
pub struct Sweeper {
    pub ivs: Arc<Ivs>,
    pub lake: Arc<Lake>,
    /// The queue of work.
    pub work: Queue,
    /// The queue of collections.
    pub collections: Queue,
    /// Whether anybody is asked when they left.
    pub scope: Scope,
    /// Attendance last written before this instant is collected once more, behind all other collections.
    pub recollect_before: Option<DateTime<Utc>>,
    /// What bounds the rows of a day.
    pub memory: Memory,
    pub confirm_after: TimeDelta,
    /// The depth up to which sweeps fill each queue.
    pub queue_at_most: usize,
    /// Sessions that ended before this instant are left alone.
    pub ignore_ended_before: Option<DateTime<Utc>>,
    /// So are those that ended longer ago than the lake keeps an object: a sweep must not bring back what has expired.
    pub retention: Option<TimeDelta>,
    /// Files last written before this instant are rewritten, behind all other work.
    pub rewrite_before: Option<DateTime<Utc>>,
}

/// The sessions of the stages that there was time for.
#[derive(Default)]
struct Listed {
    /// Each stage's name and tags, where ListStages was asked.
    stages: HashMap<String, Stage>,
    sessions: Vec<(SessionRef, ListedSession)>,
    /// The last stage that was reached.
    reached: Option<StageArn>,
    stages_left: usize,
    last_failure: Option<Error>,
}

impl Sweeper {
    /// Sweeps as of `now`, before `deadline`, and logs one line about it, and one for each stage that failed. Only a sweep from the
    /// queue of sweeps is sure to run alone (`from_queue`). Any other calls IVS as slowly as a dry run.
    ///
    /// # Errors
    /// ListStages, S3 or SQS failed, or every stage did.
    pub async fn sweep(
        &self,
        sweep: &Sweep,
        from_queue: bool,
        now: DateTime<Utc>,
        deadline: &Deadline,
    ) -> Result<Report, Error> {
        let (began, calls_before) = (Instant::now(), self.ivs.calls());
        let dry_run = sweep.dry_run;
        let deadline = if dry_run {
            deadline.at_most(DRY_RUN)
        } else {
            *deadline
        };
        self.ivs.begin_sweep(from_queue && !dry_run);
        let mut report = Report::default();
        let listed = self
            .list_sessions(sweep, now, &deadline, &mut report)
            .await?;
        report.sessions = listed.sessions.len();
        let sessions = self.not_ignored(listed.sessions, now);
        let listed_at = Instant::now();
        let objects = self.objects(&sessions);
        let objects = deadline
            .within_work_time("ListObjectsV2", "the sweep", objects)
            .await?;
        let found = self.find(&sessions, &objects, now, &mut report);
        let uncollected = self.find_uncollected(&sessions, &objects, now, &mut report.attendance);
        report.left = found.count();
        report.attendance.left = uncollected.count();
        let (rewrites, again) = (found.rewrites.len(), uncollected.rewrites.len());
        if dry_run {
            report.after = listed.reached.filter(|_| listed.stages_left > 0);
        } else {
            self.enqueue(&found, &deadline, &mut report).await?;
            self.enqueue_collections(&uncollected, now, &deadline, &mut report.attendance)
                .await?;
        }
        report.calls = self.ivs.calls() - calls_before;
        if let Some(failure) = listed.last_failure
            && report.failed == report.stages
        {
            return Err(failure);
        }
        info!(
            stages = report.stages,
            stages_left = listed.stages_left,
            sessions = report.sessions,
            live = report.live,
            missing = report.missing,
            due = report.due,
            rewrites,
            failing = report.failing,
            enqueued = report.enqueued,
            // Rewrites come last, so what is left of them is no backlog.
            left = report.left.saturating_sub(rewrites),
            failed = report.failed,
            collecting = report.attendance.collecting,
            collect_failing = report.attendance.failing,
            collect_enqueued = report.attendance.enqueued,
            uncollected = report.attendance.left.saturating_sub(again),
            calls = report.calls,
            dry_run,
            milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "swept {} stages: {} missing, {} due",
            report.stages,
            report.missing,
            report.due,
        );
        if !dry_run {
            let ledger = Ledger {
                lake: &self.lake,
                memory: self.memory,
                stages: &listed.stages,
                reached_all: sweep.stage_arn.is_none() && listed.stages_left == 0,
                // Half of what time is left is for the last day to be put.
                until: (listed_at + ledger::PUT_FOR).min(Instant::now() + deadline.left() / 2),
            };
            let written = ledger.write(&sessions, &objects, now);
            deadline
                .within_put_time("PutObject", "the sweep", written)
                .await?;
        }
        Ok(report)
    }

    /// Lists the sessions of each stage for as long as there is time, at least of one. A tick begins at a stage drawn
    /// from the time, and goes round from there: if it cannot reach all stages, none is left out for long.
    async fn list_sessions(
        &self,
        sweep: &Sweep,
        now: DateTime<Utc>,
        deadline: &Deadline,
        report: &mut Report,
    ) -> Result<Listed, Error> {
        let mut listed = Listed::default();
        let mut stages = if let Some(arn) = &sweep.stage_arn {
            vec![arn.to_string()]
        } else {
            let all = self.ivs.stages().try_concat();
            let all = deadline
                .within_work_time("ListStages", "the sweep", all)
                .await?;
            let all = all.into_iter().map(|stage| (stage.arn.clone(), stage));
            listed.stages = all.collect();
            listed.stages.keys().cloned().collect()
        };
        stages.sort();
        if let Some(after) = &sweep.after {
            stages.retain(|arn| arn.as_str() > after.as_str());
        } else if !sweep.dry_run && !stages.is_empty() {
            let first = draw(now, stages.len());
            stages.rotate_left(first);
        }

        // The rest of the time is for S3 and SQS.
        let list_until = Instant::now() + deadline.left().mul_f64(0.6);
        for (index, text) in stages.iter().enumerate() {
            listed.stages_left = stages.len() - index;
            if listed.reached.is_some() && Instant::now() >= list_until {
                return Ok(listed);
            }
            let sessions = async {
                let stage: StageArn = text.parse().map_err(|Rule(rule)| {
                    Error::invalid("arn", text, format!("{rule}, but ListStages gave it"))
                })?;
                let sessions = self.ivs.sessions(&stage).try_concat().await?;
                Ok((stage, sessions))
            };
            let failure = match timeout_at(list_until, sessions).await {
                Ok(Ok((stage, sessions))) => {
                    let (sessions, malformed) = named(&stage, sessions);
                    listed.sessions.extend(sessions);
                    malformed
                }
                Ok(Err(failure)) => Some(failure),
                // Begun too late to be blamed.
                Err(_) if listed.reached.is_some() => return Ok(listed),
                Err(_) => Some(Error::OutOfTime {
                    doing: "ListStageSessions",
                    resource: text.clone(),
                }),
            };
            report.stages += 1;
            listed.reached = text.parse().ok().or(listed.reached);
            if let Some(failure) = failure {
                error!(
                    stage_arn = text,
                    error_type = failure.error_type(),
                    error = failure.chain(),
                    "the stage could not be swept"
                );
                report.failed += 1;
                if report.failed_stages.len() < MOST_STAGES_NAMED {
                    report.failed_stages.push(text.clone());
                }
                listed.last_failure = Some(failure);
            }
        }
        listed.stages_left = 0;
        Ok(listed)
    }

    /// The sessions that sweeps do not leave out, the newest end first.
    fn not_ignored(
        &self,
        mut sessions: Vec<(SessionRef, ListedSession)>,
        now: DateTime<Utc>,
    ) -> Vec<(SessionRef, ListedSession)> {
        if let Some(instant) = self.ignored_before(now) {
            sessions.retain(|(_, session)| session.end_time.is_none_or(|end| end >= instant));
        }
        sessions.sort_by(|(a, first), (b, second)| {
            let by_end = second.end_time.cmp(&first.end_time);
            by_end.then_with(|| b.cmp(a))
        });
        sessions
    }

    /// What the lake holds of these sessions: by name, from the day before the first start on, since a list and GetStageSession
    /// may tell of different days. If one has no start, from the first day of all.
    async fn objects(&self, sessions: &[(SessionRef, ListedSession)]) -> Result<Objects, Error> {
        let ended = sessions.iter().filter(|(_, it)| it.end_time.is_some());
        let stems: HashSet<_> = ended.clone().map(|(name, _)| name.file_stem()).collect();
        let wanted = |stem: &str| stems.contains(stem);
        let mut objects = Objects::default();
        if !stems.is_empty() {
            let first = ended.map(|(_, it)| it.start_time).min().flatten();
            let first = first.and_then(|start| start.date_naive().checked_sub_days(Days::new(1)));
            let lake = &self.lake;
            objects.participants = lake.written(PARTICIPANTS.name, first, wanted).await?;
            objects.attendance = lake.written(ATTENDANCE.name, first, wanted).await?;
            (objects.failed_exports, objects.failed_collections) = lake.failed(wanted).await?;
            objects.parts = lake.written_parts(wanted).await?;
        }
        if !sessions.is_empty() {
            objects.days = self.lake.written_days(SESSIONS.name).await?;
        }
        Ok(objects)
    }

    /// Of the ended sessions those that are to be exported.
    fn find(
        &self,
        sessions: &[(SessionRef, ListedSession)],
        objects: &Objects,
        now: DateTime<Utc>,
        report: &mut Report,
    ) -> Findings {
        let mut found = Findings::default();
        for (name, session) in sessions {
            let Some(end_time) = session.end_time else {
                report.live += 1;
                continue;
            };
            let stem = name.file_stem();
            let written = objects.participants.get(&stem).copied();
            let too_old = |written| self.rewrite_before.is_some_and(|instant| written < instant);
            let rewrite = written.is_some_and(too_old);
            let (list, count) = match due(end_time, written, None, now, self.confirm_after) {
                Some(Outcome::Exported) => (&mut found.missing, &mut report.missing),
                Some(_) => (&mut found.due, &mut report.due),
                None if rewrite => (&mut found.rewrites, &mut report.due),
                None => continue,
            };
            *count += 1;
            let failed = objects.failed_exports.get(&stem);
            if counts(failed, end_time, written, now) {
                report.failing += 1;
            } else {
                list.push(Finding {
                    end_time,
                    start_time: session.start_time,
                    name: name.clone(),
                    rewrite,
                    begun: false,
                });
            }
        }
        found
    }

    /// Of the sessions whose list of participants is final those that are to be collected.
    fn find_uncollected(
        &self,
        sessions: &[(SessionRef, ListedSession)],
        objects: &Objects,
        now: DateTime<Utc>,
        report: &mut Attendance,
    ) -> Findings {
        let mut found = Findings::default();
        if self.scope == Scope::Nobody {
            return found;
        }
        for (name, session) in sessions {
            let Some(end_time) = session.end_time else {
                continue;
            };
            let stem = name.file_stem();
            let listed = objects.participants.get(&stem);
            if listed.is_none_or(|&listed| listed < final_from(end_time, self.confirm_after)) {
                continue;
            }
            let written = objects.attendance.get(&stem).copied();
            let too_old = |written| {
                self.recollect_before
                    .is_some_and(|instant| written < instant)
            };
            let rewrite = written.is_some_and(too_old);
            if written.is_some() && !rewrite {
                continue;
            }
            report.missing += 1;
            // Parts that are older than attendance are of a collection that is done.
            let parts = objects.parts.get(&stem).copied();
            let part = parts.filter(|&part| Some(part) > written);
            let failed = objects.failed_collections.get(&stem);
            if counts(failed, end_time, written, now) {
                report.failing += 1;
            } else if part.is_some_and(|part| part > now - COLLECTING) {
                report.collecting += 1;
            } else {
                let list = if rewrite {
                    &mut found.rewrites
                } else {
                    &mut found.missing
                };
                list.push(Finding {
                    end_time,
                    start_time: session.start_time,
                    name: name.clone(),
                    rewrite,
                    begun: part.as_ref() > failed,
                });
            }
        }
        found
    }

    /// Tops the queue of work up.
    async fn enqueue(
        &self,
        found: &Findings,
        deadline: &Deadline,
        report: &mut Report,
    ) -> Result<(), Error> {
        let depth = depth(&self.work, deadline).await?;
        let room = self.room(depth);
        let messages = found.portion(room).map(|it| self.message(it).into());
        report.enqueued = self.send(&self.work, messages.collect(), deadline).await?;
        report.left -= report.enqueued;
        Ok(())
    }

    /// Tops the queue of collections up, the newest first. A small session that waits may be sent again: its second message finds
    /// it collected. One that has begun has its own message, so it is sent again only where the queue is empty; else it would get
    /// more turns than others.
    async fn enqueue_collections(
        &self,
        found: &Findings,
        now: DateTime<Utc>,
        deadline: &Deadline,
        report: &mut Attendance,
    ) -> Result<(), Error> {
        if found.count() == 0 {
            return Ok(());
        }
        let depth = depth(&self.collections, deadline).await?;
        let waits = |it: &&Finding| it.begun && depth > 0;
        let all = || found.missing.iter().chain(&found.rewrites);
        let waiting = all().filter(waits).count();
        report.collecting += waiting;
        report.left -= waiting;
        let room = self.room(depth);
        let messages = all().filter(|it| !waits(it)).take(room);
        let messages = messages.map(|it| {
            let request = collect::Request {
                session: it.name.clone(),
                start_time: it.start_time,
                rewrite_before: self.recollect_before.filter(|_| it.rewrite),
            };
            request.message(now)
        });
        let sent = self.send(&self.collections, messages.collect(), deadline);
        report.enqueued = sent.await?;
        report.left -= report.enqueued;
        Ok(())
    }

    /// How many messages a queue of this depth is to be topped up by.
    fn room(&self, depth: usize) -> usize {
        let room = self.queue_at_most.saturating_sub(depth);
        room.max(ENQUEUE_AT_LEAST)
    }

    async fn send(
        &self,
        queue: &Queue,
        messages: Vec<Outgoing>,
        deadline: &Deadline,
    ) -> Result<usize, Error> {
        let count = messages.len();
        let sent = async { queue.send(messages).await.map_err(|unsent| unsent.error) };
        deadline
            .within_put_time("SendMessageBatch", "the sweep", sent)
            .await?;
        Ok(count)
    }

    /// A session as a message of work.
    fn message(&self, finding: &Finding) -> String {
        let SessionRef {
            stage_arn,
            session_id,
        } = &finding.name;
        let mut body = json!({ "stage_arn": stage_arn, "session_id": session_id });
        if let Some(start_time) = finding.start_time {
            body["session_start_time"] = json!(start_time);
        }
        if finding.rewrite {
            body["rewrite_before"] = json!(self.rewrite_before);
        }
        body.to_string()
    }

    /// S3 counts an object's days from when it was last written, which is after the session's end. So of a session that
    /// ended less than that ago, nothing has expired yet.
    fn ignored_before(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let expired_before = self.retention.map(|kept| now - kept);
        self.ignore_ended_before.max(expired_before)
    }
}

async fn depth(queue: &Queue, deadline: &Deadline) -> Result<usize, Error> {
    deadline
        .within_put_time("GetQueueAttributes", "the sweep", queue.depth())
        .await
}

/// Whether a failure keeps a session out of the queue. An object that is newer than the marker is the success that followed. A marker
/// that is older than the end is of a failure while the session was live.
fn counts(
    failed: Option<&DateTime<Utc>>,
    end_time: DateTime<Utc>,
    written: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> bool {
    failed.is_some_and(|&failed| {
        failed > now - LEAVE_OUT_FAILED
            && failed > end_time
            && written.is_none_or(|written| written < failed)
    })
}

/// The sessions by their whole names, and an error for the last malformed one.
fn named(
    stage: &StageArn,
    sessions: Vec<ListedSession>,
) -> (Vec<(SessionRef, ListedSession)>, Option<Error>) {
    let (mut named, mut malformed) = (Vec::new(), None);
    for session in sessions {
        let id = session.session_id.parse().map_err(|Rule(rule)| rule);
        match id.and_then(|id| session.fault.map_or(Ok(id), Err)) {
            Ok(session_id) => named.push((
                SessionRef {
                    stage_arn: stage.clone(),
                    session_id,
                },
                session,
            )),
            Err(rule) => {
                let rule = format!("{rule}, but ListStageSessions of {stage} gave it");
                malformed = Some(Error::invalid("sessionId", &session.session_id, rule));
            }
        }
    }
    // A list may name a session twice, once live and once ended; the one that has ended counts.
    named.sort_by(|(a, first), (b, second)| {
        a.cmp(b).then_with(|| second.end_time.cmp(&first.end_time))
    });
    named.dedup_by(|(a, _), (b, _)| a == b);
    (named, malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_begin_at_stages_all_over_the_list() {
        const STAGES: usize = 4000;
        let at = |tick: i64| DateTime::from_timestamp(1_763_480_000 + tick * 900, 0).unwrap();
        let mut left: HashSet<usize> = (0..STAGES).collect();
        let mut ticks = 0;
        while !left.is_empty() {
            let first = draw(at(ticks), STAGES);
            (first..first + 900).for_each(|stage| {
                left.remove(&(stage % STAGES));
            });
            ticks += 1;
            assert!(ticks < 60, "{} stages were never reached", left.len());
        }
    }
}
