//! The third verb: ask IVS, participant by participant, who left when, and write the events and the attendance of one session.
//!
//! IVS tells that of one participant a call, so a large session takes hours. It is cut into parts, and an invocation takes parts
//! for five minutes, then sends the rest to the end of the queue. What is done lies in S3 (`parts`). When all parts are there,
//! `participant_events` is put, and then `attendance`, which marks the session as collected. So nothing half-collected is visible.
//!
//! Level-triggered as `reconcile` is: anyone may ask for a session, at any time and any number of times.

mod parts;

use std::collections::{BTreeSet, HashMap, VecDeque};
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

use self::parts::{Part, Told, encode, parts_of};
use crate::config::Scope;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::ivs::{Found, Ivs};
use crate::lake::{Failed, File, Lake, Object, Put, Seen};
use crate::presence::{self, Frame, Presence, presence};
use crate::queue::{Order, Outgoing, Queue};
use crate::reconcile::final_from;
use crate::session::{EndedSession, SessionRef};
use crate::store::{MOST_PUTS, Memory, PARTICIPANTS_COUNTED, Store, after_a_race, counted};
use crate::table::Kept;
use crate::table::attendance::{ATTENDANCE, Attendee};
use crate::table::participant_events::{Event, PARTICIPANT_EVENTS, Person, Texts};
use crate::table::participants::{PARTICIPANTS, Participant};

/// What a part takes while it is read, as a multiple of its bytes: they come in pieces, which are joined, and then its events lie
/// beside them, with strings that are not shared yet. Measured (docs/settings.md): 100,000 people with 10 events each take at
/// most 160 MB, and of 200 people with 5,000 events each the function gives up at 198 MB of 256.
const READING: usize = 3;

/// How long an invocation begins parts. So a session of many parts holds up others by no more than that.
const BEGIN_PARTS_FOR: Duration = Duration::from_mins(5);

/// In metadata: people asked for; rows of events; events that IVS listed, before anything was left out; and the ETag of the events
/// that an attendance was built from.
const COLLECTED: &str = "collected";
const EVENTS: &str = "events";
const LISTED_EVENTS: &str = "listed-events";
const EVENTS_ETAG: &str = "events-etag";

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

#[derive(Clone, Copy, Default)]
struct Counts {
    participants: Option<u64>,
    collected: Option<u64>,
    events: Option<u64>,
}

/// The list of participants that a collection works on.
struct List {
    session: EndedSession,
    people: Vec<Attendee>,
    /// The places of the people that IVS is asked for.
    asked: Vec<usize>,
    /// The folder of the parts that belong to this list and to these settings.
    folder: String,
    /// What the people take of memory, in bytes, the encoding of their attendance included.
    bytes: usize,
}

/// The events of a session, and what they and the details of the people weigh.
#[derive(Default)]
struct Gathered {
    events: Vec<Event>,
    listed_events: usize,
    bytes: usize,
}

/// Which events lie in the lake after a PUT.
enum Events {
    /// These, under this ETag.
    There(Vec<Event>, String),
    /// More than were found now.
    More,
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
        self.rewrite_before.is_none_or(|before| written >= before)
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
        let begin_until = Instant::now() + BEGIN_PARTS_FOR;
        let resource = &request.session.to_string();
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
        match &known {
            Some(session) => request.start_time = Some(session.start_time),
            None => request.start_time = self.start_time(request).await?,
        }
        let days = days(request.start_time, known.is_some());
        let seen = deadline
            .within_work_time("HeadObject", resource, self.look(request, &days))
            .await?;
        if let Some((key, seen)) = seen {
            return Ok(Done {
                outcome: Outcome::UpToDate,
                counts: Counts::of(&seen),
                key: Some(key),
                end_time: known.map(|session| session.end_time),
            });
        }
        let forgotten = known.is_none();
        let list = deadline
            .within_work_time("GetObject", resource, self.list(request, known, &days))
            .await?;
        let Some(mut list) = list else {
            let outcome = if forgotten {
                Outcome::Gone
            } else {
                Outcome::NotDue
            };
            return Ok(Done::without_object(outcome));
        };

        let listed = deadline
            .within_work_time("ListObjectsV2", resource, self.lake.folder(&list.folder))
            .await?;
        let fresh = listed.iter().filter(|&(_, &time)| request.is_fresh(time));
        let names: BTreeSet<String> = fresh.map(|(name, _)| name.clone()).collect();
        let (mut there, mut missing) = (Vec::new(), Vec::new());
        for part in parts_of(list.asked.len()) {
            part.sort_out(&names, &mut there, &mut missing);
        }
        if forgotten && !missing.is_empty() {
            return Ok(Done::without_object(Outcome::Gone));
        }
        let mut missing = VecDeque::from(missing);
        if let Some(first) = missing.pop_front() {
            let pieces = first.split(receives.saturating_sub(1));
            pieces
                .into_iter()
                .rev()
                .for_each(|piece| missing.push_front(piece));
        }

        // A session of one part is collected at once, and leaves no part behind.
        let mut whole = None;
        if there.is_empty() && missing.len() == 1 {
            let part = missing.remove(0).into_iter().next();
            if let Some(part) = part {
                let told = self.ask(&list, &part);
                let told = deadline
                    .within_work_time("ListParticipantEvents", resource, told)
                    .await?;
                whole = Some((part, told));
            }
        }
        let mut events = match there.last() {
            Some(last) if !missing.is_empty() => self.counted_up_to(&list, last, deadline).await?,
            _ => 0,
        };
        // The time that a participant takes: one page of events, or what the last part took for each.
        let (mut pace, mut begun) = (self.interval, false);
        while let Some(part) = missing.front() {
            let people = u32::try_from(part.people.len()).unwrap_or(u32::MAX);
            let (began, takes) = (Instant::now(), pace * people);
            if begun && (began + takes > begin_until || takes > deadline.left()) {
                break;
            }
            let told = self.ask(&list, part);
            let told = deadline.within_work_time("ListParticipantEvents", resource, told);
            let told = match told.await {
                // It had only what the others left of the time, so this is no failure.
                Err(Error::OutOfTime { .. }) if begun => break,
                told => told?,
            };
            (pace, begun) = (self.interval.max(began.elapsed() / people), true);
            events += told.iter().map(|it| it.events.len()).sum::<usize>();
            let stale = listed.contains_key(&part.name);
            let put = self.put_part(&list, part, &told, events, stale);
            deadline.within_put_time("PutObject", resource, put).await?;
            there.extend(missing.pop_front());
        }
        if !missing.is_empty() {
            let message = vec![request.message(now)];
            let sent = async {
                self.queue
                    .send(message)
                    .await
                    .map_err(|unsent| unsent.error)
            };
            deadline
                .within_put_time("SendMessageBatch", resource, sent)
                .await?;
            let collected = there.iter().map(|part| part.people.len()).sum();
            return Ok(Done {
                outcome: Outcome::Continued,
                counts: Counts::new(list.people.len(), collected, events),
                key: None,
                end_time: Some(list.session.end_time),
            });
        }
        there.sort_by_key(|part| part.people.start);
        let gathered = self.gather(&mut list, there, whole);
        let gathered = deadline
            .within_work_time("GetObject", resource, gathered)
            .await?;
        deadline
            .within_put_time("PutObject", resource, self.write(request, list, gathered))
            .await
    }

    /// Looks whether attendance is there, and fresh enough.
    async fn look(
        &self,
        request: &Request,
        days: &[NaiveDate],
    ) -> Result<Option<(String, Seen)>, Error> {
        for day in days {
            let key = self.lake.key(ATTENDANCE.name, *day, &request.session);
            if let Some(seen) = self.lake.head(&key).await?
                && request.is_fresh(seen.last_modified)
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
            let session = match known {
                Some(session) => {
                    let end_time = session.end_time.max(stored_end.unwrap_or(session.end_time));
                    if object.last_modified < final_from(end_time, self.confirm_after) {
                        return Ok(None);
                    }
                    EndedSession {
                        end_time,
                        ..session
                    }
                }
                None => {
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
            let settings = match (self.scope, self.details) {
                (Scope::Publishers, true) => "publishers-details",
                (Scope::Publishers, false) => "publishers-nodetails",
                (_, true) => "everyone-details",
                (_, false) => "everyone-nodetails",
            };
            let list = format!("{}-{settings}", object.etag.trim_matches('"'));
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

    /// Asks IVS for each participant of a part. The two operations have a quota each, so they run side by side.
    async fn ask(&self, list: &List, part: &Part) -> Result<Vec<Told>, Error> {
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
            let mut texts = Texts::default();
            for id in &ids {
                let events = self.events(name, id, bytes, &mut texts).await?;
                bytes += weight(&events.1);
                all.push(events);
            }
            Ok(all)
        };
        // Boxed: the SDK's futures are deep, and the compiler's limit on nested types is not.
        let (details, events) = try_join(Box::pin(details), Box::pin(events)).await?;
        let told = details.into_iter().zip(events);
        let told = told.map(|(details, (listed_events, events))| Told {
            listed_events,
            details,
            events,
        });
        Ok(told.collect())
    }

    /// The events of one participant, each once, and how many IVS listed. Others take `held` bytes already, and have their strings
    /// in `texts`.
    async fn events(
        &self,
        name: &SessionRef,
        id: &str,
        held: usize,
        texts: &mut Texts,
    ) -> Result<(usize, Vec<Event>), Error> {
        let mut pages = pin!(self.ivs.events(name, id));
        let (mut events, mut bytes) = (Vec::new(), held);
        while let Some(mut page) = pages.try_next().await? {
            bytes += weight(&page);
            let each = page.iter_mut().flat_map(Event::texts);
            texts.share_in(each);
            events.extend(page);
            self.check(name, bytes, events.len())?;
        }
        let mut events = (PARTICIPANT_EVENTS.merge)(events);
        let listed_events = events.len();
        if !self.details {
            events.iter_mut().for_each(Event::drop_attributes);
            events = (PARTICIPANT_EVENTS.merge)(events);
        }
        Ok((listed_events, events))
    }

    fn check(&self, name: &SessionRef, bytes: usize, events: usize) -> Result<(), Error> {
        if bytes > self.memory.for_rows() {
            return Err(self.too_small(name, events));
        }
        Ok(())
    }

    fn too_small(&self, name: &SessionRef, events: usize) -> Error {
        let rows_of = PARTICIPANT_EVENTS.rows_of;
        self.memory.too_small(&name.to_string(), events, rows_of)
    }

    /// The events up to a part, by its metadata.
    async fn counted_up_to(
        &self,
        list: &List,
        part: &Part,
        deadline: &Deadline,
    ) -> Result<usize, Error> {
        let key = list.key(part);
        let seen = self.lake.head(&key);
        let seen = deadline.within_work_time("HeadObject", &key, seen).await?;
        let events = seen.and_then(|seen| counted(&seen, EVENTS));
        Ok(events
            .and_then(|events| events.try_into().ok())
            .unwrap_or(0))
    }

    /// Puts a part. Where it is there meanwhile, that one is as good; a `stale` one is replaced.
    async fn put_part(
        &self,
        list: &List,
        part: &Part,
        told: &[Told],
        events: usize,
        stale: bool,
    ) -> Result<(), Error> {
        let key = list.key(part);
        let held = told.iter().map(|told| weight(&told.events)).sum::<usize>();
        let room = self.memory.for_rows().saturating_sub(list.bytes);
        let most_bytes = room.saturating_sub(held).min(room / READING);
        let bytes = encode(told, most_bytes).map_err(|error| {
            if error.is_io() {
                let of_part = told.iter().map(|told| told.events.len()).sum();
                return self.too_small(&list.session.name, of_part);
            }
            let fault = "the part could not be encoded";
            self.lake
                .fault("PutObject", &key, fault, Some(error.into()))
        })?;
        let metadata = HashMap::from([(EVENTS.to_owned(), events.to_string())]);
        let file = File::json(bytes, metadata);
        for put in 0..MOST_PUTS {
            let over = if stale || put > 0 {
                self.lake.head(&key).await?.and_then(|seen| seen.etag)
            } else {
                None
            };
            if put > 0 && over.is_some() && !stale {
                return Ok(());
            }
            if let Put::Written(_) = self.lake.put(&key, file.clone(), over.as_deref()).await? {
                return Ok(());
            }
            after_a_race(put).await;
        }
        Err(self.store().lost_every_race(&key))
    }

    /// Brings the parts together: the events in file order, and the details to their people.
    async fn gather(
        &self,
        list: &mut List,
        there: Vec<Part>,
        whole: Option<(Part, Vec<Told>)>,
    ) -> Result<Gathered, Error> {
        let mut gathered = Gathered::default();
        let mut texts = Texts::default();
        gathered.bytes = list.bytes;
        if let Some((part, told)) = whole {
            self.add(list, &part, told, &mut gathered, &mut texts)?;
        }
        for part in there {
            let key = list.key(&part);
            let fault = |fault: &str, source| self.lake.fault("GetObject", &key, fault, source);
            let object = self.lake.read(&key).await?;
            let object = object.ok_or_else(|| fault("the part has gone", None))?;
            let reading = gathered.bytes + READING * object.bytes.len();
            self.check(&list.session.name, reading, gathered.events.len())?;
            let told: Vec<Told> = serde_json::from_slice(&object.bytes).map_err(|error| {
                fault("the object is no part of a collection", Some(error.into()))
            })?;
            if told.len() != part.people.len() {
                return Err(fault("the part is of another number of people", None));
            }
            self.add(list, &part, told, &mut gathered, &mut texts)?;
        }
        gathered.events = (PARTICIPANT_EVENTS.merge)(gathered.events);
        Ok(gathered)
    }

    fn add(
        &self,
        list: &mut List,
        part: &Part,
        told: Vec<Told>,
        gathered: &mut Gathered,
        texts: &mut Texts,
    ) -> Result<(), Error> {
        let places = list.asked[part.people.clone()].iter();
        for (&place, mut told) in places.zip(told) {
            let attendee = &mut list.people[place];
            let person = Arc::new(Person {
                participant_id: attendee.participant_id.clone().unwrap_or_default(),
                user_id: attendee.user_id.clone(),
            });
            gathered.listed_events += told.listed_events;
            gathered.bytes += weight(&told.events);
            gathered.events.extend(told.events.into_iter().map(|event| {
                let mut event = Event {
                    person: Arc::clone(&person),
                    ..event
                };
                texts.share_in(event.texts());
                event
            }));
            if let Some(details) = &mut told.details {
                gathered.bytes += details.weight();
                texts.share_in(details.texts());
            }
            attendee.details = told.details.map(Box::new);
        }
        self.check(&list.session.name, gathered.bytes, gathered.events.len())
    }

    /// Puts the events, and then the attendance that follows from those that lie there in the end.
    async fn write(
        &self,
        request: &Request,
        mut list: List,
        gathered: Gathered,
    ) -> Result<Done, Error> {
        let (name, day) = (&list.session.name, list.session.day());
        let key = self.lake.key(ATTENDANCE.name, day, name);
        let participants = list.people.len();
        let done = |outcome, counts| Done {
            outcome,
            counts,
            key: Some(key.clone()),
            end_time: Some(list.session.end_time),
        };
        let (events, etag) = match self.put_events(request, &list, gathered).await? {
            Events::There(events, etag) => (events, etag),
            Events::More => {
                if let Some(counts) = self.keep(request, &key).await? {
                    return Ok(done(Outcome::Kept, counts));
                }
                // There is no attendance that could be kept: it is built from those events.
                let events_key = self.lake.key(PARTICIPANT_EVENTS.name, day, name);
                let Some(object) = self.lake.read(&events_key).await? else {
                    return Err(self.store().lost_every_race(&events_key));
                };
                self.read_events(&list, &events_key, object)?
            }
        };
        for place in &list.asked {
            fill(&mut list.people[*place], &events, list.session.end_time);
        }
        let counts = Counts::new(participants, list.asked.len(), events.len());
        let metadata = [
            (PARTICIPANTS_COUNTED, participants.to_string()),
            (COLLECTED, list.asked.len().to_string()),
            (EVENTS, events.len().to_string()),
            (EVENTS_ETAG, etag.trim_matches('"').to_owned()),
        ];
        drop(events);
        let store = self.store();
        let file = store.file(&ATTENDANCE, &list.session, &key, &list.people, &metadata)?;
        let mut over = None;
        for put in 0..MOST_PUTS {
            if put > 0 || request.rewrite_before.is_some() {
                let seen = self.lake.head(&key).await?;
                let of_these = |seen: &Seen| {
                    seen.metadata.get(EVENTS_ETAG).map(String::as_str)
                        == Some(etag.trim_matches('"'))
                };
                match seen {
                    // Somebody else was faster, with the same events.
                    Some(seen) if request.is_fresh(seen.last_modified) && of_these(&seen) => {
                        return Ok(done(Outcome::UpToDate, counts));
                    }
                    seen => over = seen.and_then(|seen| seen.etag),
                }
            }
            if let Put::Written(_) = self.lake.put(&key, file.clone(), over.as_deref()).await? {
                return Ok(done(Outcome::Collected, counts));
            }
            after_a_race(put).await;
        }
        Err(store.lost_every_race(&key))
    }

    /// Puts the events, unless others are there: only a rewrite replaces those, and never by fewer.
    async fn put_events(
        &self,
        request: &Request,
        list: &List,
        gathered: Gathered,
    ) -> Result<Events, Error> {
        let (store, session) = (self.store(), &list.session);
        let key = self
            .lake
            .key(PARTICIPANT_EVENTS.name, session.day(), &session.name);
        let Gathered {
            events,
            listed_events,
            ..
        } = gathered;
        let metadata = [
            (EVENTS, events.len().to_string()),
            (LISTED_EVENTS, listed_events.to_string()),
        ];
        let file = store.file(&PARTICIPANT_EVENTS, session, &key, &events, &metadata)?;
        let mut over = None;
        for put in 0..MOST_PUTS {
            if put > 0 || request.rewrite_before.is_some() {
                over = match self.lake.head(&key).await? {
                    None => None,
                    Some(seen) if request.is_fresh(seen.last_modified) => {
                        let Some(object) = self.lake.read(&key).await? else {
                            continue;
                        };
                        drop(events);
                        let (events, etag) = self.read_events(list, &key, object)?;
                        return Ok(Events::There(events, etag));
                    }
                    Some(seen) => {
                        let listed = u64::try_from(listed_events).ok();
                        if counted(&seen, LISTED_EVENTS) > listed {
                            return Ok(Events::More);
                        }
                        seen.etag
                    }
                };
            }
            let written = self.lake.put(&key, file.clone(), over.as_deref()).await?;
            if let Put::Written(etag) = written {
                return Ok(Events::There(events, etag));
            }
            after_a_race(put).await;
        }
        Err(store.lost_every_race(&key))
    }

    fn read_events(
        &self,
        list: &List,
        key: &str,
        object: Object,
    ) -> Result<(Vec<Event>, String), Error> {
        let (mut events, mut texts) = (Vec::new(), Texts::default());
        let mut last: Option<Arc<Person>> = None;
        let each = |rows: Vec<Event>| {
            for mut event in rows {
                texts.share_in(event.texts());
                // They lie by participant.
                match &last {
                    Some(person) if *person == event.person => event.person = Arc::clone(person),
                    _ => last = Some(Arc::clone(&event.person)),
                }
                events.push(event);
            }
        };
        let memory = (list.bytes, Kept::Shared(Event::weight));
        let resource = list.session.name.to_string();
        self.store()
            .decode(&PARTICIPANT_EVENTS, &resource, key, &object, memory, each)?;
        Ok((events, object.etag))
    }

    /// Puts attendance once more with its own bytes, so that its time says that it was looked at. `None`: it is not there.
    async fn keep(&self, request: &Request, key: &str) -> Result<Option<Counts>, Error> {
        for put in 0..MOST_PUTS {
            let Some(Object {
                bytes,
                etag,
                last_modified,
                metadata,
            }) = self.lake.read(key).await?
            else {
                return Ok(None);
            };
            let counts = Counts::by(&metadata);
            if request.is_fresh(last_modified) {
                return Ok(Some(counts));
            }
            let file = File::parquet(bytes, metadata);
            if let Put::Written(_) = self.lake.put(key, file, Some(&etag)).await? {
                return Ok(Some(counts));
            }
            after_a_race(put).await;
        }
        Err(self.store().lost_every_race(key))
    }

    fn store(&self) -> Store<'_> {
        Store {
            lake: &self.lake,
            memory: self.memory,
        }
    }

    /// Leaves a marker of a collection that failed, as [`crate::reconcile::Reconciler::mark`] does of an export.
    ///
    /// # Errors
    /// As [`Lake::put_failed`].
    pub async fn mark(&self, request: &Request, failure: &Error) -> Result<(), Error> {
        let marker = json!({
            "error_type": failure.error_type(),
            "error": failure.chain(),
            "session_start_time": self.start_time(request).await?,
        });
        let (session, what) = (&request.session, Failed::Collection);
        self.lake
            .put_failed(session, what, marker.to_string())
            .await
    }

    async fn start_time(&self, request: &Request) -> Result<Option<DateTime<Utc>>, Error> {
        match request.start_time {
            Some(start_time) => Ok(Some(start_time)),
            None => {
                let what = Failed::Collection;
                self.lake.start_by_marker(&request.session, what).await
            }
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

/// A row of `participants` as one of `attendance`.
fn attendee(row: Participant) -> Attendee {
    let replication_type = row.replication_type.as_ref().map(|state| state.as_str());
    Attendee {
        is_replica: replication_type == Some("REPLICA"),
        participant_id: row.participant_id.map(Into::into),
        user_id: row.user_id.map(Into::into),
        first_join_time: row.first_join_time,
        published: row.published,
        ..Attendee::default()
    }
}

/// What follows from the events of a session for one participant. `events` are in file order.
fn fill(attendee: &mut Attendee, events: &[Event], session_end_time: DateTime<Utc>) {
    let id = attendee.participant_id.as_deref().unwrap_or_default();
    let from = events.partition_point(|event| *event.person.participant_id < *id);
    let until = events.partition_point(|event| *event.person.participant_id <= *id);
    let of_one: Vec<_> = events[from..until]
        .iter()
        .map(|event| presence::Event {
            name: event.name.as_deref(),
            time: event.event_time,
            remote_participant_id: event.remote_participant_id.as_deref(),
        })
        .collect();
    let frame = Frame {
        session_end_time,
        first_join_time: attendee.first_join_time,
        is_replica: attendee.is_replica,
    };
    let Presence {
        last_leave_time,
        last_event_time,
        connected_ms,
        watch_ms,
        publish_ms,
        joins,
        publish_starts,
        publishers_watched,
        errors,
        events,
        join_inferred,
        leave_inferred,
        ..
    } = presence(&of_one, &frame);
    attendee.last_leave_time = last_leave_time;
    attendee.last_event_time = last_event_time;
    attendee.connected_ms = Some(connected_ms);
    attendee.watch_ms = Some(watch_ms);
    attendee.publish_ms = Some(publish_ms);
    attendee.joins = Some(joins);
    attendee.publish_starts = Some(publish_starts);
    attendee.publishers_watched = Some(publishers_watched);
    attendee.errors = Some(errors);
    attendee.events = Some(events);
    attendee.join_inferred = Some(join_inferred);
    attendee.leave_inferred = Some(leave_inferred);
}

/// What events take of memory, in bytes, their encoding included.
fn weight(events: &[Event]) -> usize {
    events.iter().map(Event::weight).sum()
}

impl List {
    fn key(&self, part: &Part) -> String {
        format!("{}{}", self.folder, part.name)
    }
}

impl Counts {
    fn new(participants: usize, collected: usize, events: usize) -> Self {
        let number = |count: usize| u64::try_from(count).ok();
        Self {
            participants: number(participants),
            collected: number(collected),
            events: number(events),
        }
    }

    /// By the metadata of an attendance.
    fn by(metadata: &HashMap<String, String>) -> Self {
        let number = |name| {
            metadata
                .get(name)
                .and_then(|count: &String| count.parse().ok())
        };
        Self {
            participants: number(PARTICIPANTS_COUNTED),
            collected: number(COLLECTED),
            events: number(EVENTS),
        }
    }

    fn of(seen: &Seen) -> Self {
        Self::by(&seen.metadata)
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
