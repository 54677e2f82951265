//! Which sessions need work: every ended session that IVS still lists and that is missing in the lake, or due for its second
//! look or a rewrite.
//!
//! The sweep guarantees that every ended session is found; events only make that faster. It exports nothing itself: it puts sessions into the
//! queue of work, and only tops that queue up, so that a new session waits behind a bounded amount of history. A tick is one
//! invocation and leaves only these messages behind: a later tick does what this one could not. It keeps no state:
//! what is done is seen in S3.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Days, TimeDelta, Utc};
use futures::TryStreamExt;
use serde::Serialize;
use serde_json::json;
use tokio::time::{Instant, timeout_at};
use tracing::{error, info};

use crate::config::Scope;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::ivs::{Ivs, ListedSession};
use crate::lake::Lake;
use crate::queue::Queue;
use crate::reconcile::{Outcome, due};
use crate::session::{Rule, SessionRef, StageArn};
use crate::store::Memory;
use crate::table::participants::PARTICIPANTS;

/// A sweep may always add so many, however full the queue is: a queue full of failures must not keep new sessions out.
const ENQUEUE_AT_LEAST: usize = 20;
/// How long a session that failed is left to the redelivery of its message, and then out.
const LEAVE_OUT_FAILED: TimeDelta = TimeDelta::hours(24);
const MOST_STAGES_NAMED: usize = 20;
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
    /// Of a dry run that ran out of time: the last stage that it reached.
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
    /// The queue of collections.
    pub collections: Queue,
    /// Whether anybody is asked when they left.
    pub scope: Scope,
    /// Attendance last written before this instant is collected once more, behind all other collections.
    pub recollect_before: Option<DateTime<Utc>>,
    /// What bounds the rows of a day.
    pub memory: Memory,
    pub confirm_after: TimeDelta,
    /// The depth of the queue of work up to which sweeps fill it.
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
    sessions: Vec<(SessionRef, ListedSession)>,
    /// The last stage that was reached.
    reached: Option<StageArn>,
    stages_left: usize,
    last_failure: Option<Error>,
}

/// An ended session that wants work.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    end_time: DateTime<Utc>,
    start_time: Option<DateTime<Utc>>,
    name: SessionRef,
    rewrite: bool,
}

/// What a sweep found, by its claim to the queue; each newest end first.
#[derive(Debug, Default)]
struct Findings {
    missing: Vec<Finding>,
    due: Vec<Finding>,
    rewrites: Vec<Finding>,
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
        let found = self.find(listed.sessions, now, &mut report);
        let found = deadline
            .within_work_time("ListObjectsV2", "the sweep", found)
            .await?;
        report.left = found.count();
        let rewrites = found.rewrites.len();
        if dry_run {
            report.after = listed.reached.filter(|_| listed.stages_left > 0);
        } else {
            self.enqueue(&found, &deadline, &mut report).await?;
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
            calls = report.calls,
            dry_run,
            milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "swept {} stages: {} missing, {} due",
            report.stages,
            report.missing,
            report.due,
        );
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
        let mut stages = if let Some(arn) = &sweep.stage_arn {
            vec![arn.to_string()]
        } else {
            let stages = self.ivs.stages().try_concat();
            let stages = deadline
                .within_work_time("ListStages", "the sweep", stages)
                .await?;
            stages.into_iter().map(|stage| stage.arn).collect()
        };
        stages.sort();
        stages.dedup();
        if let Some(after) = &sweep.after {
            stages.retain(|arn| arn.as_str() > after.as_str());
        } else if !sweep.dry_run && !stages.is_empty() {
            let first = draw(now, stages.len());
            stages.rotate_left(first);
        }

        // The rest of the time is for S3 and SQS.
        let list_until = Instant::now() + deadline.left().mul_f64(0.6);
        let mut listed = Listed::default();
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

    /// Of the ended sessions those that are to be enqueued.
    async fn find(
        &self,
        sessions: Vec<(SessionRef, ListedSession)>,
        now: DateTime<Utc>,
        report: &mut Report,
    ) -> Result<Findings, Error> {
        report.sessions = sessions.len();
        let ignored_before = self.ignored_before(now);
        let mut ended = Vec::new();
        for (name, session) in sessions {
            match session.end_time {
                None => report.live += 1,
                Some(end) if ignored_before.is_some_and(|instant| end < instant) => {}
                Some(end_time) => ended.push(Finding {
                    end_time,
                    start_time: session.start_time,
                    name,
                    rewrite: false,
                }),
            }
        }
        ended.sort_by(|a, b| b.cmp(a));
        let stems: HashSet<_> = ended.iter().map(|it| it.name.file_stem()).collect();
        let wanted = |stem: &str| stems.contains(stem);
        if ended.is_empty() {
            return Ok(Findings::default());
        }
        // By name, from the day before the first start on, since a list and GetStageSession may tell of different days. If one
        // has no start, from the first day of all.
        let first = ended.iter().map(|it| it.start_time).min().flatten();
        let first = first.and_then(|start| start.date_naive().checked_sub_days(Days::new(1)));
        let written = self.lake.written(PARTICIPANTS.name, first, wanted).await?;
        let (failed, _) = self.lake.failed(wanted).await?;

        let mut found = Findings::default();
        for mut it in ended {
            let stem = it.name.file_stem();
            let written = written.get(&stem).copied();
            let too_old = |written| self.rewrite_before.is_some_and(|instant| written < instant);
            it.rewrite = written.is_some_and(too_old);
            let (list, count) = match due(it.end_time, written, None, now, self.confirm_after) {
                Some(Outcome::Exported) => (&mut found.missing, &mut report.missing),
                Some(_) => (&mut found.due, &mut report.due),
                None if it.rewrite => (&mut found.rewrites, &mut report.due),
                None => continue,
            };
            *count += 1;
            // An object that is newer than the marker is the success that followed. A marker that is older than the end is of
            // a failure while the session was live.
            let counts = |failed: DateTime<Utc>| {
                failed > now - LEAVE_OUT_FAILED
                    && failed > it.end_time
                    && written.is_none_or(|written| written < failed)
            };
            if failed.get(&stem).copied().is_some_and(counts) {
                report.failing += 1;
            } else {
                list.push(it);
            }
        }
        Ok(found)
    }

    /// Tops the queue of work up.
    async fn enqueue(
        &self,
        found: &Findings,
        deadline: &Deadline,
        report: &mut Report,
    ) -> Result<(), Error> {
        let depth = self.work.depth();
        let depth = deadline
            .within_put_time("GetQueueAttributes", "the sweep", depth)
            .await?;
        let room = self
            .queue_at_most
            .saturating_sub(depth)
            .max(ENQUEUE_AT_LEAST);
        let bodies: Vec<_> = found
            .portion(room)
            .map(|it| self.message(it).into())
            .collect();
        report.enqueued = bodies.len();
        report.left -= bodies.len();
        let sent = async { self.work.send(bodies).await.map_err(|unsent| unsent.error) };
        deadline
            .within_put_time("SendMessageBatch", "the sweep", sent)
            .await
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

impl Findings {
    fn count(&self) -> usize {
        self.missing.len() + self.due.len() + self.rewrites.len()
    }

    /// What there is room for: three quarters for the missing, one quarter for those due, and what one side does not need the
    /// other gets. Rewrites get what is left. So neither a backfill nor steady overload starves anybody.
    fn portion(&self, room: usize) -> impl Iterator<Item = &Finding> {
        let Self {
            missing,
            due,
            rewrites,
        } = self;
        let for_due = (room / 4)
            .max(room.saturating_sub(missing.len()))
            .min(due.len());
        let for_missing = (room - for_due).min(missing.len());
        let for_rewrites = room - for_due - for_missing;
        ends(missing, for_missing)
            .chain(ends(due, for_due))
            .chain(ends(rewrites, for_rewrites))
    }
}

/// Half from the newest end, half from the oldest, so that neither a new session waits behind the history nor the history
/// for ever behind new ones.
fn ends<T>(found: &[T], room: usize) -> impl Iterator<Item = &T> {
    let room = room.min(found.len());
    let (newest, oldest) = (room - room / 2, found.len() - room / 2);
    found[..newest].iter().chain(&found[oldest..])
}

/// A place below `places`, another one each second.
fn draw(now: DateTime<Utc>, places: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    now.timestamp().hash(&mut hasher);
    let places = u64::try_from(places).unwrap_or(u64::MAX);
    usize::try_from(hasher.finish() % places).unwrap_or(0)
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
    use std::collections::BTreeMap;

    use super::*;

    fn finding(minute: i64) -> Finding {
        let stage_arn = "arn:aws:ivs:us-west-2:123456789012:stage/AbCdef1G2hij";
        Finding {
            end_time: DateTime::from_timestamp(minute * 60, 0).unwrap(),
            start_time: None,
            name: SessionRef {
                stage_arn: stage_arn.parse().unwrap(),
                session_id: format!("st-{minute:013}").parse().unwrap(),
            },
            rewrite: false,
        }
    }

    /// Findings that ended at these minutes, the newest first.
    fn findings(minutes: impl DoubleEndedIterator<Item = i64>) -> Vec<Finding> {
        minutes.rev().map(finding).collect()
    }

    fn minutes(portion: impl Iterator<Item = impl std::borrow::Borrow<Finding>>) -> Vec<i64> {
        portion
            .map(|it| it.borrow().end_time.timestamp() / 60)
            .collect()
    }

    #[test]
    fn a_portion_is_three_quarters_missing_one_quarter_due_each_from_both_ends() {
        let found = Findings {
            missing: findings(0..100),
            due: findings(100..200),
            rewrites: findings(200..300),
        };
        let portion = minutes(found.portion(8));
        assert_eq!(portion, [99, 98, 97, 2, 1, 0, 199, 100]);
    }

    #[test]
    fn what_one_side_does_not_need_the_other_gets_and_rewrites_what_is_left() {
        let count = |missing, due: i64, rewrites: i64, room| {
            let found = Findings {
                missing: findings(0..missing),
                due: findings(100..100 + due),
                rewrites: findings(200..200 + rewrites),
            };
            let portion = minutes(found.portion(room));
            [0, 1, 2].map(|hundred| {
                portion
                    .iter()
                    .filter(|&&minute| minute / 100 == hundred)
                    .count()
            })
        };
        assert_eq!(count(2, 90, 90, 20), [2, 18, 0]);
        assert_eq!(count(90, 2, 90, 20), [18, 2, 0]);
        assert_eq!(count(2, 3, 90, 20), [2, 3, 15]);
        assert_eq!(count(2, 3, 4, 20), [2, 3, 4]);
        assert_eq!(count(90, 90, 90, 20), [15, 5, 0]);
        assert_eq!(count(0, 0, 0, 20), [0, 0, 0]);
    }

    /// 155 sessions end between two ticks, no hint tells of any, and each wants a second look four ticks later: more work than
    /// portions of 300 hold.
    #[test]
    fn under_steady_overload_no_missing_session_waits_longer_than_three_ticks() {
        let (ticks, a_tick) = (48 * 4, 155);
        let mut found = Findings::default();
        let mut exported: BTreeMap<i64, Vec<Finding>> = BTreeMap::new();
        for tick in 1..=ticks {
            let ended = (0..a_tick).map(|number| finding(tick * 1000 + number));
            found.missing.extend(ended);
            found
                .due
                .extend(exported.remove(&(tick - 4)).unwrap_or_default());
            for list in [&mut found.missing, &mut found.due] {
                list.sort_by(|a, b| b.cmp(a));
            }
            let oldest = minutes(found.missing.iter()).into_iter().min().unwrap() / 1000;
            assert!(
                tick - oldest < 3,
                "at tick {tick} one of tick {oldest} is missing"
            );
            let done: HashSet<_> = found.portion(300).cloned().map(|it| it.name).collect();
            let (now_exported, missing) = std::mem::take(&mut found.missing)
                .into_iter()
                .partition(|it| done.contains(&it.name));
            exported.insert(tick, now_exported);
            found.missing = missing;
            found.due.retain(|it| !done.contains(&it.name));
        }
        assert!(!found.due.is_empty(), "it was an overload");
    }

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
