//! The third verb: ask IVS, participant by participant, who left when, and write the events and the attendance of one session.
//!
//! IVS tells that of one participant a call, so a large session takes hours. It is cut into parts, and an invocation takes parts
//! for five minutes, then sends the rest to the end of the queue. What is done lies in S3 (`parts`). When all parts are there,
//! `participant_events` is put, and then `attendance`, which marks the session as collected. So nothing half-collected is visible.
//!
//! Level-triggered as `reconcile` is: anyone may ask for a session, at any time and any number of times.

mod list;
mod part_store;
mod parts;
mod writer;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use futures::TryStreamExt;
use futures::future::try_join;
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;
use tracing::{info, warn};

use self::list::{List, attendee};
use self::part_store::{PartStore, check, weight};
use self::parts::{Part, Told, parts_of};
use self::writer::{Counts, Writer, Written, is_fresh};
use crate::config::Scope;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::ivs::{Found, Ivs};
use crate::lake::{Failed, Lake, Seen};
use crate::marker::start_time;
use crate::queue::{Order, Outgoing, Queue};
use crate::reconcile::final_from;
use crate::session::{EndedSession, SessionRef};
use crate::store::{Memory, Store};
use crate::table::Kept;
use crate::table::attendance::{ATTENDANCE, Attendee};
use crate::table::participant_events::{Event, PARTICIPANT_EVENTS, Person, Texts};
use crate::table::participants::{PARTICIPANTS, Participant};

/// How long an invocation begins parts. So a session of many parts holds up others by no more than that.
const BEGIN_PARTS_FOR: Duration = Duration::from_mins(5);

/// What asking for a part is called in errors; GetParticipant runs beside it.
const EVENTS_OF: &str = "ListParticipantEvents";

/// What collecting needs.
#[derive(Debug)]
pub struct Collector {
    pub ivs: Arc<Ivs>,
    pub lake: Arc<Lake>,
    /// The queue of collections.
    pub queue: Queue,
    pub confirm_after: TimeDelta,
    pub memory: Memory,
    pub scope: Scope,
    /// Whether GetParticipant is called, and attributes are kept.
    pub details: bool,
    /// The least time between two calls of one operation.
    pub interval: Duration,
}

/// What collecting is asked for: the attendance of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub session: SessionRef,
    /// The session's start, if the sender knows it. If IVS no longer knows the session, this day is where its files lie.
    pub start_time: Option<DateTime<Utc>>,
    /// What was last written before this instant is collected once more.
    pub rewrite_before: Option<DateTime<Utc>>,
}

/// What became of a collection. Everything else is an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Both objects are there now.
    Collected,
    /// Some parts are left, and a message for them is in the queue.
    Continued,
    /// Attendance was there.
    UpToDate,
    /// The list of participants is missing or not final, or nobody is to be asked for.
    NotDue,
    /// IVS tells of fewer events than are stored, so both objects keep their rows.
    Kept,
    /// The session has not ended.
    StillLive,
    /// IVS does not know it, and what was collected before is not complete.
    Gone,
}

/// The answer about one collection.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub stage_arn: String,
    pub session_id: String,
    pub outcome: Outcome,
    /// Rows of `participants`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participants: Option<u64>,
    /// Participants asked for, in all invocations so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collected: Option<u64>,
    /// Rows of events, of all invocations so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<u64>,
    /// Requests sent to IVS by this invocation, retries included.
    pub calls: u64,
    /// The object of `attendance`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// An outcome, and what is known of the session.
struct Done {
    outcome: Outcome,
    counts: Counts,
    key: Option<String>,
    end_time: Option<DateTime<Utc>>,
}

impl Request {
    /// Joins two requests for the same session: the latest rewrite.
    pub fn join(&mut self, other: &Self) {
        self.start_time = self.start_time.or(other.start_time);
        self.rewrite_before = self.rewrite_before.max(other.rewrite_before);
    }

    /// The request as a message for the queue of collections. Its group is the session, so that no session is collected twice at
    /// once. Messages that are sent at different times are different to the queue.
    #[must_use]
    pub fn message(&self, now: DateTime<Utc>) -> Outgoing {
        let SessionRef {
            stage_arn,
            session_id,
        } = &self.session;
        let mut collect = json!({ "stage_arn": stage_arn, "session_id": session_id });
        for (member, time) in [
            ("session_start_time", self.start_time),
            ("rewrite_before", self.rewrite_before),
        ] {
            if let Some(time) = time {
                collect[member] = json!(time);
            }
        }
        let mut hasher = DefaultHasher::new();
        self.session.hash(&mut hasher);
        let millis = now.timestamp_millis();
        Outgoing {
            body: json!({ "collect": collect }).to_string(),
            order: Some(Order {
                group: self.session.file_stem(),
                deduplication_id: format!("{millis}-{:016x}", hasher.finish()),
            }),
        }
    }

    /// Whether what was written then is good enough.
    fn is_fresh(&self, written: DateTime<Utc>) -> bool {
        is_fresh(self.rewrite_before, written)
    }
}

impl Collector {
    /// Collects one session as of `now`, before `deadline`, and logs one line about it. What IVS says of its start is kept in the
    /// request. A message that was received before has failed, so its first part is halved.
    ///
    /// # Errors
    /// Any [`Error`] but `InvalidEvent`. Both objects are then as they were, or the events are new and attendance is as it was.
    pub async fn collect(
        &self,
        request: &mut Request,
        receives: u32,
        now: DateTime<Utc>,
        deadline: &Deadline,
    ) -> Result<Report, Error> {
        let (began, calls_before) = (Instant::now(), self.ivs.calls());
        let done = self.take_steps(request, receives, now, deadline).await?;
        let SessionRef {
            stage_arn,
            session_id,
        } = &request.session;
        let report = Report {
            stage_arn: stage_arn.to_string(),
            session_id: session_id.to_string(),
            outcome: done.outcome,
            participants: done.counts.participants,
            collected: done.counts.collected,
            events: done.counts.events,
            calls: self.ivs.calls() - calls_before,
            key: done.key,
        };
        let seconds_since_end = done.end_time.map(|end| (now - end).num_seconds());
        info!(
            table = ATTENDANCE.name,
            stage_arn = report.stage_arn,
            session_id = report.session_id,
            outcome = done.outcome.as_str(),
            key = report.key,
            participants = report.participants,
            collected = report.collected,
            events = report.events,
            calls = report.calls,
            milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            seconds_since_end,
            "attendance of session {session_id}: {}",
            done.outcome.as_str(),
        );
        let told_nothing = report.collected > Some(0) && report.events == Some(0);
        if done.outcome == Outcome::Collected && told_nothing {
            warn!(
                stage_arn = report.stage_arn,
                session_id = report.session_id,
                told_nothing,
                seconds_since_end,
                "session {session_id}: IVS told of no event of any participant"
            );
        }
        if done.outcome == Outcome::Kept {
            warn!(
                stage_arn = report.stage_arn,
                session_id = report.session_id,
                "session {session_id}: IVS tells of fewer events than are stored, which are kept"
            );
        }
        Ok(report)
    }

    async fn take_steps(
        &self,
        request: &mut Request,
        receives: u32,
        now: DateTime<Utc>,
        deadline: &Deadline,
    ) -> Result<Done, Error> {
        if self.scope == Scope::Nobody {
            return Ok(Done::without_object(Outcome::NotDue));
        }
        let resource = &request.session.to_string();
        self.ivs.begin_session(true);
        let found = deadline
            .within_work_time(
                "GetStageSession",
                resource,
                self.ivs.get_session(&request.session),
            )
            .await?;
        let known = match found {
            Found::Ended(session) => Some(session),
            Found::Live { .. } => return Ok(Done::without_object(Outcome::StillLive)),
            Found::Unknown => None,
        };
        request.start_time = if let Some(session) = &known {
            Some(session.start_time)
        } else {
            let (name, what) = (&request.session, Failed::Collection);
            start_time(&self.lake, name, what, request.start_time).await?
        };
        let forgotten = known.is_none();
        let days = days(request.start_time, known.is_some());
        let seen = deadline
            .within_work_time("HeadObject", resource, self.look(request, forgotten, &days))
            .await?;
        if let Some((key, seen)) = seen {
            return Ok(Done {
                outcome: Outcome::UpToDate,
                counts: Counts::of(&seen),
                key: Some(key),
                end_time: known.map(|session| session.end_time),
            });
        }
        let participants = deadline
            .within_work_time("GetObject", resource, self.list(request, known, &days))
            .await?;
        let Some(list) = participants else {
            return Ok(Done::without_object(if forgotten {
                Outcome::Gone
            } else {
                Outcome::NotDue
            }));
        };
        let end_time = Some(list.session.end_time);
        let listed = self.lake.folder(&list.folder);
        let listed = deadline
            .within_work_time("ListObjectsV2", resource, listed)
            .await?;
        let mut parts = Parts::sort_out(request, &list, listed);
        if forgotten && !parts.missing.is_empty() {
            return Ok(Done::without_object(Outcome::Gone));
        }
        parts.split_first(receives.saturating_sub(1));

        let mut whole = None;
        if parts.there.is_empty() && parts.missing.len() == 1 {
            // A session of one part is collected at once, and leaves no part behind.
            if let Some(part) = parts.missing.pop_front() {
                let told = self.ask(&list, &part);
                let told = deadline.within_work_time(EVENTS_OF, resource, told).await?;
                let Some(told) = told else {
                    return Ok(Done::without_object(Outcome::Gone));
                };
                whole = Some((part, told));
            }
        } else {
            let events = self.take_parts(&list, &mut parts, deadline).await?;
            let Some(events) = events else {
                return Ok(Done::without_object(Outcome::Gone));
            };
            if !parts.missing.is_empty() {
                self.send_on(request, now, deadline).await?;
                let collected = parts.there.iter().map(|part| part.people.len()).sum();
                return Ok(Done {
                    outcome: Outcome::Continued,
                    counts: Counts::new(list.people.len(), collected, events),
                    key: None,
                    end_time,
                });
            }
        }
        self.finish(request, list, parts.there, whole, deadline)
            .await
    }

    /// Brings the parts together, and writes both objects.
    async fn finish(
        &self,
        request: &Request,
        mut list: List,
        there: Vec<Part>,
        whole: Option<(Part, Vec<Told>)>,
        deadline: &Deadline,
    ) -> Result<Done, Error> {
        let (resource, end_time) = (&request.session.to_string(), Some(list.session.end_time));
        let part_store = self.part_store();
        let gathered = part_store.gather(&mut list, there, whole);
        let gathered = deadline
            .within_work_time("GetObject", resource, gathered)
            .await?;
        let writer = Writer {
            store: self.store(),
            rewrite_before: request.rewrite_before,
            scope: self.scope.as_str(),
        };
        let key = self
            .lake
            .key(ATTENDANCE.name, list.session.day(), &request.session);
        let written = writer.write(list, gathered);
        let (written, counts) = deadline
            .within_put_time("PutObject", resource, written)
            .await?;
        let outcome = match written {
            Written::New => Outcome::Collected,
            Written::BySomebodyElse => Outcome::UpToDate,
            Written::Kept => Outcome::Kept,
        };
        Ok(Done {
            outcome,
            counts,
            key: Some(key),
            end_time,
        })
    }

    /// Sends the request to the end of the queue.
    async fn send_on(
        &self,
        request: &Request,
        now: DateTime<Utc>,
        deadline: &Deadline,
    ) -> Result<(), Error> {
        let (message, resource) = (vec![request.message(now)], request.session.to_string());
        let sent = async {
            self.queue
                .send(message)
                .await
                .map_err(|unsent| unsent.error)
        };
        deadline
            .within_put_time("SendMessageBatch", &resource, sent)
            .await
    }

    /// Asks for the missing parts, as many as there is time for, at least for one, and puts each. Returns the rows of events of
    /// all parts that are there then; `None` if IVS has forgotten the session meanwhile.
    async fn take_parts(
        &self,
        list: &List,
        parts: &mut Parts,
        deadline: &Deadline,
    ) -> Result<Option<usize>, Error> {
        let (resource, part_store) = (&list.session.name.to_string(), self.part_store());
        let until = Instant::now() + BEGIN_PARTS_FOR;
        let mut events = 0;
        if let (Some(before), false) = (parts.there.last(), parts.missing.is_empty()) {
            let counted = part_store.counted_up_to(list, before);
            events = deadline
                .within_work_time("HeadObject", resource, counted)
                .await?;
        }
        // The time that a participant takes: one page of events, or what the last part took for each.
        let (mut pace, mut is_first) = (self.interval, true);
        while let Some(part) = parts.missing.front() {
            let people = u32::try_from(part.people.len()).unwrap_or(u32::MAX);
            let (now, takes) = (Instant::now(), pace * people);
            if !is_first && (now + takes > until || takes > deadline.left()) {
                break;
            }
            let told = self.ask(list, part);
            let told = match deadline.within_work_time(EVENTS_OF, resource, told).await {
                // It had only what the others left of the time, so this is no failure.
                Err(Error::OutOfTime { .. }) if !is_first => break,
                told => told?,
            };
            let Some(told) = told else {
                return Ok(None);
            };
            (pace, is_first) = (self.interval.max(now.elapsed() / people), false);
            events += told.iter().map(|it| it.events.len()).sum::<usize>();
            let stale = parts.stale.contains(&part.name);
            let put = part_store.put(list, part, &told, events, stale);
            deadline.within_put_time("PutObject", resource, put).await?;
            parts.there.extend(parts.missing.pop_front());
        }
        parts.there.sort_by_key(|part| part.people.start);
        Ok(Some(events))
    }

    /// Looks whether attendance is there, and fresh enough. Of a session that IVS has forgotten any is, since there will be no other.
    async fn look(
        &self,
        request: &Request,
        forgotten: bool,
        days: &[NaiveDate],
    ) -> Result<Option<(String, Seen)>, Error> {
        for day in days {
            let key = self.lake.key(ATTENDANCE.name, *day, &request.session);
            if let Some(seen) = self.lake.head(&key).await?
                && (forgotten || request.is_fresh(seen.last_modified))
            {
                return Ok(Some((key, seen)));
            }
        }
        Ok(None)
    }

    /// Reads the list of participants, if it is there and final. Of a session that IVS has forgotten it will not change any more.
    async fn list(
        &self,
        request: &Request,
        known: Option<EndedSession>,
        days: &[NaiveDate],
    ) -> Result<Option<List>, Error> {
        let name = &request.session;
        for day in days {
            let key = self.lake.key(PARTICIPANTS.name, *day, name);
            let Some(object) = self.lake.read(&key).await? else {
                continue;
            };
            let mut people = Vec::new();
            let each = |rows: Vec<Participant>| people.extend(rows.into_iter().map(attendee));
            let memory = (0, Kept::Whole(size_of::<Attendee>()));
            let stored = self.store().decode(
                &PARTICIPANTS,
                &name.to_string(),
                &key,
                &object,
                memory,
                each,
            )?;
            let stored_end = stored.session_end_time;
            let session = if let Some(session) = known {
                // By the end that exports and sweeps go by. They do not write a file again that is final for them.
                if object.last_modified < final_from(session.end_time, self.confirm_after) {
                    return Ok(None);
                }
                let end_time = session.end_time.max(stored_end.unwrap_or(session.end_time));
                EndedSession {
                    end_time,
                    ..session
                }
            } else {
                // A list of nobody does not tell its session's times, and nothing is written of them.
                let start_time = stored.session_start_time.or(request.start_time);
                let Some(start_time) = start_time else {
                    return Ok(None);
                };
                EndedSession {
                    name: name.clone(),
                    start_time,
                    end_time: stored_end.unwrap_or(start_time),
                }
            };
            let is_asked = |person: &&Attendee| {
                let in_scope = self.scope == Scope::Everyone || person.published == Some(true);
                person.participant_id.is_some() && in_scope
            };
            let asked = people.iter().enumerate();
            let asked = asked
                .filter(|(_, person)| is_asked(person))
                .map(|(place, _)| place);
            let asked = asked.collect();
            let details = if self.details { "details" } else { "nodetails" };
            let etag = object.etag.trim_matches('"');
            let list = format!("{etag}-{}-{details}", self.scope.as_str());
            return Ok(Some(List {
                folder: self.lake.folder_of_parts(name, &list),
                // Each is named by their events, too.
                bytes: ATTENDANCE.weight(&people) + people.len() * size_of::<Person>(),
                session,
                people,
                asked,
            }));
        }
        Ok(None)
    }

    /// Asks IVS for each participant of a part. The two operations have a quota each, so they run side by side. `None` if IVS has
    /// forgotten the session meanwhile: it then tells of no events, or of no details, instead of saying so.
    async fn ask(&self, list: &List, part: &Part) -> Result<Option<Vec<Told>>, Error> {
        let name = &list.session.name;
        let people = list.asked[part.people.clone()].iter();
        let ids = people.filter_map(|&place| list.people[place].participant_id.as_deref());
        let ids: Vec<&str> = ids.collect();
        let details = async {
            let mut details = Vec::with_capacity(ids.len());
            for id in &ids {
                details.push(if self.details {
                    self.ivs.details(name, id).await?
                } else {
                    None
                });
            }
            Ok(details)
        };
        let events = async {
            let (mut all, mut bytes) = (Vec::with_capacity(ids.len()), list.bytes);
            let (mut texts, mut some_end_empty) = (Texts::default(), false);
            for id in &ids {
                let (listed_events, events, ends_empty) =
                    self.events(name, id, bytes, &mut texts).await?;
                bytes += weight(&events);
                some_end_empty |= ends_empty;
                all.push((listed_events, events));
            }
            Ok((all, some_end_empty))
        };
        // Boxed: the SDK's futures are deep, and the compiler's limit on nested types is not.
        let (details, (events, some_end_empty)) =
            try_join(Box::pin(details), Box::pin(events)).await?;
        let is_doubtful = some_end_empty || self.details && details.iter().any(Option::is_none);
        let told = details.into_iter().zip(events);
        let told = told.map(|(details, (listed_events, events))| Told {
            listed_events,
            details,
            events,
        });
        let told: Vec<_> = told.collect();
        if is_doubtful && self.ivs.get_session(name).await? == Found::Unknown {
            return Ok(None);
        }
        Ok(Some(told))
    }

    /// How many events of one participant IVS listed, the events, each once, and whether the last page had none. Others take `held`
    /// bytes already, and have their strings in `texts`.
    async fn events(
        &self,
        name: &SessionRef,
        id: &str,
        held: usize,
        texts: &mut Texts,
    ) -> Result<(usize, Vec<Event>, bool), Error> {
        let mut pages = pin!(self.ivs.events(name, id));
        let (mut events, mut bytes, mut ends_empty) = (Vec::new(), held, true);
        while let Some(mut page) = pages.try_next().await? {
            ends_empty = page.is_empty();
            bytes += weight(&page);
            texts.share_in(page.iter_mut().flat_map(Event::texts));
            events.extend(page);
            check(self.memory, name, bytes, events.len())?;
        }
        let mut events = (PARTICIPANT_EVENTS.merge)(events);
        let listed_events = events.len();
        if !self.details {
            events.iter_mut().for_each(Event::drop_attributes);
            events = (PARTICIPANT_EVENTS.merge)(events);
        }
        Ok((listed_events, events, ends_empty))
    }

    fn part_store(&self) -> PartStore<'_> {
        let store = self.store();
        PartStore { store }
    }

    fn store(&self) -> Store<'_> {
        Store {
            lake: &self.lake,
            memory: self.memory,
        }
    }
}

/// The days under which a session's files lie: that of its start. For a session that IVS has forgotten the one before and the one
/// after, too, since a list of sessions and GetStageSession may tell of different days.
fn days(start_time: Option<DateTime<Utc>>, known: bool) -> Vec<NaiveDate> {
    let around: &[i64] = if known { &[0] } else { &[0, -1, 1] };
    let days = around.iter().filter_map(|&days| {
        let day = start_time?.checked_add_signed(TimeDelta::days(days))?;
        Some(day.date_naive())
    });
    days.collect()
}

/// The parts of a session.
struct Parts {
    there: Vec<Part>,
    missing: VecDeque<Part>,
    /// The names of those that are there but are to be written once more.
    stale: BTreeSet<String>,
}

impl Parts {
    /// Sorts the parts of a list by what its folder has.
    fn sort_out(request: &Request, list: &List, folder: BTreeMap<String, DateTime<Utc>>) -> Self {
        let (fresh, stale): (BTreeMap<_, _>, BTreeMap<_, _>) = folder
            .into_iter()
            .partition(|&(_, written)| request.is_fresh(written));
        let fresh = fresh.into_keys().collect();
        let (mut there, mut missing) = (Vec::new(), Vec::new());
        for part in parts_of(list.asked.len()) {
            part.sort_out(&fresh, &mut there, &mut missing);
        }
        Self {
            there,
            missing: missing.into(),
            stale: stale.into_keys().collect(),
        }
    }

    /// Halves the first part that is missing so many times.
    fn split_first(&mut self, times: u32) {
        if let Some(first) = self.missing.pop_front() {
            for piece in first.split(times).into_iter().rev() {
                self.missing.push_front(piece);
            }
        }
    }
}

impl Done {
    fn without_object(outcome: Outcome) -> Self {
        Self {
            outcome,
            counts: Counts::default(),
            key: None,
            end_time: None,
        }
    }
}

impl Outcome {
    /// As it stands in reports and log lines.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Collected => "collected",
            Self::Continued => "continued",
            Self::UpToDate => "up_to_date",
            Self::NotDue => "not_due",
            Self::Kept => "kept",
            Self::StillLive => "still_live",
            Self::Gone => "gone",
        }
    }
}
