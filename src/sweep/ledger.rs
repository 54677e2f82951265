//! The table `sessions`: what sweeps know of every session, so that live, empty and missing ones can be asked for in SQL, too.
//!
//! A day has one object. It is read where something can have changed, merged, and put only where something has. When an
//! object was put is told by the listing; of when it tells is not. So objects are put within a minute after the listing began,
//! and what happened later than a minute before an object counts as news.

use std::collections::{BTreeMap, HashMap};
use std::mem::replace;
use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use tokio::time::Instant;
use tracing::{error, info};

use super::findings::draw;
use crate::error::Error;
use crate::ivs::{ListedSession, Stage};
use crate::lake::{Lake, Put, Times};
use crate::session::SessionRef;
use crate::store::{MOST_PUTS, Memory, Store, after_a_race};
use crate::table::Kept;
use crate::table::sessions::{SESSIONS, Session};

/// A session as IVS lists it, by its whole name.
type Listed = (SessionRef, ListedSession);

/// How long after the listing of S3 began days are put.
pub(super) const PUT_FOR: Duration = Duration::from_mins(1);
const PUT_FOR_DELTA: TimeDelta = TimeDelta::minutes(1);
/// Sessions of so many days change all the time: they are read at each tick.
const LATE_DAYS: Days = Days::new(7);

/// When the lake's objects were last written.
#[derive(Default)]
pub(super) struct Objects {
    pub(super) participants: Times,
    pub(super) attendance: Times,
    pub(super) parts: Times,
    pub(super) failed_exports: Times,
    pub(super) failed_collections: Times,
    /// Those of the table `sessions`.
    pub(super) days: BTreeMap<NaiveDate, DateTime<Utc>>,
}

/// What writing sessions down needs.
#[derive(Debug)]
pub(super) struct Ledger<'a> {
    pub(super) lake: &'a Lake,
    pub(super) memory: Memory,
    pub(super) stages: &'a HashMap<String, Stage>,
    /// Whether there was time for every stage.
    pub(super) reached_all: bool,
    /// No day is begun after this instant. The next tick puts the others.
    pub(super) until: Instant,
}

impl Ledger<'_> {
    /// Writes down what a sweep saw, the newest day first. A day that fails does not keep the others from it.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub(super) async fn write(
        &self,
        sessions: &[(SessionRef, ListedSession)],
        objects: &Objects,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        // Rows are made day by day: a history has more of them than memory.
        let mut days: BTreeMap<NaiveDate, Vec<&Listed>> = BTreeMap::new();
        for session in sessions {
            if let Some(start) = session.1.start_time {
                days.entry(start.date_naive()).or_default().push(session);
            }
        }
        let late_from = now.date_naive().checked_sub_days(LATE_DAYS);
        let (changed, mut others): (Vec<_>, Vec<_>) =
            days.into_iter().rev().partition(|(day, sessions)| {
                let written = objects.days.get(day);
                late_from.is_none_or(|from| *day >= from)
                    || written.is_none_or(|&written| has_news(sessions, objects, written))
            });
        // A stage that was not reached for a while brings sessions of other days without any news. So some more days
        // are read: all, if there was no time for every stage.
        if !others.is_empty() {
            let first = draw(now, others.len());
            others.rotate_left(first);
        }
        let more = if self.reached_all { 1 } else { others.len() };
        let (mut failed, mut left) = (Ok(()), 0);
        for (day, sessions) in changed.into_iter().chain(others.into_iter().take(more)) {
            if Instant::now() >= self.until {
                left += 1;
                continue;
            }
            let is_there = objects.days.contains_key(&day);
            let rows = sessions.into_iter();
            let rows = rows.map(|(name, session)| self.row(name, session, objects));
            let rows = rows.collect();
            // A day that fails must not keep the others from being put.
            if let Err(failure) = self.put(day, rows, is_there).await {
                let earlier: Result<(), Error> = replace(&mut failed, Err(failure));
                // The sweep's own line tells of the last one only.
                if let Err(earlier) = earlier {
                    error!(
                        error_type = earlier.error_type(),
                        error = earlier.chain(),
                        "a day of sessions could not be written down"
                    );
                }
            }
        }
        if left > 0 {
            info!(
                days_left = left,
                "{left} days of sessions are left to the next sweep"
            );
        }
        failed
    }

    fn row(&self, name: &SessionRef, session: &ListedSession, objects: &Objects) -> Session {
        let stem = name.file_stem();
        let stage = self.stages.get(name.stage_arn.as_str());
        let failed = [&objects.failed_exports, &objects.failed_collections];
        let failed = failed.into_iter().filter_map(|times| times.get(&stem));
        Session {
            stage_arn: Some(name.stage_arn.to_string()),
            // Of a stage without a name IVS sends an empty one, or none.
            stage_name: stage.map(|stage| stage.name.clone().unwrap_or_default()),
            stage_tags: stage.map(|stage| stage.tags.clone().unwrap_or_default()),
            session_id: Some(name.session_id.to_string()),
            session_start_time: session.start_time,
            session_end_time: session.end_time,
            participants_written_time: objects.participants.get(&stem).copied(),
            attendance_written_time: objects.attendance.get(&stem).copied(),
            failed_time: failed.max().copied(),
        }
    }

    async fn put(
        &self,
        day: NaiveDate,
        fresh: Vec<Session>,
        mut is_there: bool,
    ) -> Result<(), Error> {
        let (lake, memory) = (self.lake, self.memory);
        let store = Store { lake, memory };
        let key = lake.key_of_day(SESSIONS.name, day);
        let resource = format!("the sessions of {day}");
        for put in 0..MOST_PUTS {
            let object = if is_there {
                lake.read(&key).await?
            } else {
                None
            };
            let mut stored = Vec::new();
            if let Some(object) = &object {
                let each = |rows: Vec<Session>| stored.extend(rows);
                let kept = Kept::Whole(size_of::<Session>());
                let memory = (SESSIONS.weight(&fresh), kept);
                store.decode(&SESSIONS, &resource, &key, object, memory, each)?;
            }
            // What is told later comes later.
            let rows = (SESSIONS.merge)([stored.as_slice(), &fresh].concat());
            if object.is_some() && rows == stored {
                return Ok(());
            }
            let file = store.file(&SESSIONS, &(), &key, &rows, &[])?;
            let etag = object.map(|object| object.etag);
            if let Put::Written(_) = lake.put(&key, file, etag.as_deref()).await? {
                return Ok(());
            }
            is_there = true;
            after_a_race(put).await;
        }
        Err(store.lost_every_race(&key))
    }
}

/// Whether something happened that an object put at `written` may not tell.
fn has_news(sessions: &[&Listed], objects: &Objects, written: DateTime<Utc>) -> bool {
    let is_news = |time: DateTime<Utc>| time >= written - PUT_FOR_DELTA;
    sessions.iter().any(|(name, session)| {
        let stem = name.file_stem();
        let Objects {
            participants,
            attendance,
            failed_exports,
            failed_collections,
            ..
        } = objects;
        let times = [participants, attendance, failed_exports, failed_collections];
        let mut times = times.into_iter().filter_map(|times| times.get(&stem));
        session.end_time.is_some_and(is_news) || times.any(|&time| is_news(time))
    })
}
