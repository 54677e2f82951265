//! The two objects of a collection: events, then attendance, which is always built from the events that lie there in the end.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::list::{List, fill};
use super::part_store::Gathered;
use crate::error::Error;
use crate::lake::{File, Object, Put, Seen};
use crate::store::{MOST_PUTS, PARTICIPANTS_COUNTED, Store, after_a_race, counted};
use crate::table::Kept;
use crate::table::attendance::ATTENDANCE;
use crate::table::participant_events::{Event, PARTICIPANT_EVENTS, Person, Texts};

/// In metadata: people asked for; rows of events; events that IVS listed, before anything was left out; of whom they were asked for;
/// and the ETag of the events that an attendance was built from.
const COLLECTED: &str = "collected";
const EVENTS: &str = "events";
const LISTED_EVENTS: &str = "listed-events";
const SCOPE: &str = "scope";
const EVENTS_ETAG: &str = "events-etag";

/// Writes what was gathered.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    pub(super) store: Store<'a>,
    /// Only what was last written before this instant is replaced, and events by more of them.
    pub(super) rewrite_before: Option<DateTime<Utc>>,
    /// Of whom events were asked for.
    pub(super) scope: &'static str,
}

/// How attendance came to be what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    New,
    /// From the same events.
    BySomebodyElse,
    /// IVS tells of fewer events than are stored.
    Kept,
}

/// Which events lie in the lake after a PUT.
enum Events {
    /// These, under this ETag.
    There(Vec<Event>, String),
    /// More than were found now.
    More,
}

/// What an attendance tells in its metadata.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) participants: Option<u64>,
    pub(super) collected: Option<u64>,
    pub(super) events: Option<u64>,
}

impl Counts {
    pub(super) fn new(participants: usize, collected: usize, events: usize) -> Self {
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

    pub(super) fn of(seen: &Seen) -> Self {
        Self::by(&seen.metadata)
    }
}

impl Writer<'_> {
    /// Puts the events, and then the attendance that follows from those that lie there in the end.
    ///
    /// # Errors
    /// As [`crate::lake::Lake::put`] and [`Store::decode`].
    pub(super) async fn write(
        &self,
        mut list: List,
        gathered: Gathered,
    ) -> Result<(Written, Counts), Error> {
        let (name, day) = (&list.session.name, list.session.day());
        let key = self.store.lake.key(ATTENDANCE.name, day, name);
        let events_key = self.store.lake.key(PARTICIPANT_EVENTS.name, day, name);
        let participants = list.people.len();
        let (events, etag) = match self.put_events(&list, gathered).await? {
            Events::There(events, etag) => (events, etag),
            Events::More => {
                if let Some(counts) = self.keep(&key).await? {
                    return Ok((Written::Kept, counts));
                }
                // There is no attendance that could be kept: it is built from those events.
                let Some(object) = self.store.lake.read(&events_key).await? else {
                    return Err(self.store.lost_every_race(&events_key));
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
        let store = self.store;
        let file = store.file(&ATTENDANCE, &list.session, &key, &list.people, &metadata)?;
        let mut over = None;
        for put in 0..MOST_PUTS {
            if put > 0 || self.rewrite_before.is_some() {
                let seen = self.store.lake.head(&key).await?;
                if let Some(seen) = &seen {
                    store.check_version(&ATTENDANCE, "PutObject", &key, &seen.metadata)?;
                    let theirs = seen.metadata.get(EVENTS_ETAG).map(String::as_str);
                    if self.is_fresh(seen.last_modified) && theirs.is_some() {
                        // Somebody else was faster. Whose events lie there is right.
                        let there = self.store.lake.head(&events_key).await?;
                        let there = there.and_then(|seen| seen.etag).unwrap_or_default();
                        if theirs == Some(there.trim_matches('"')) {
                            return Ok((Written::BySomebodyElse, counts));
                        }
                        if there.trim_matches('"') != etag.trim_matches('"') {
                            return Err(store.lost_every_race(&key));
                        }
                    }
                }
                over = seen.and_then(|seen| seen.etag);
            }
            if let Put::Written(_) = self
                .store
                .lake
                .put(&key, file.clone(), over.as_deref())
                .await?
            {
                return Ok((Written::New, counts));
            }
            after_a_race(put).await;
        }
        Err(store.lost_every_race(&key))
    }

    /// Puts the events, unless as many others are there. Only a rewrite that asks of other people puts fewer.
    async fn put_events(&self, list: &List, gathered: Gathered) -> Result<Events, Error> {
        let (store, session) = (self.store, &list.session);
        let key = self
            .store
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
            (SCOPE, self.scope.to_owned()),
        ];
        let file = store.file(&PARTICIPANT_EVENTS, session, &key, &events, &metadata)?;
        let mut over = None;
        for put in 0..MOST_PUTS {
            if put > 0 || self.rewrite_before.is_some() {
                let seen = self.store.lake.head(&key).await?;
                if let Some(seen) = &seen {
                    let (table, metadata) = (&PARTICIPANT_EVENTS, &seen.metadata);
                    store.check_version(table, "PutObject", &key, metadata)?;
                    let listed = u64::try_from(listed_events).ok();
                    let there = counted(seen, LISTED_EVENTS);
                    let scope = metadata.get(SCOPE).map(String::as_str);
                    if self.is_fresh(seen.last_modified) {
                        // Of two writers the one with more events is right.
                        if there >= listed {
                            let Some(object) = self.store.lake.read(&key).await? else {
                                continue;
                            };
                            drop(events);
                            let (events, etag) = self.read_events(list, &key, object)?;
                            return Ok(Events::There(events, etag));
                        }
                    } else if there > listed && scope.is_none_or(|scope| scope == self.scope) {
                        return Ok(Events::More);
                    }
                }
                over = seen.and_then(|seen| seen.etag);
            }
            let written = self
                .store
                .lake
                .put(&key, file.clone(), over.as_deref())
                .await?;
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
        let mut previous: Option<Arc<Person>> = None;
        let each = |rows: Vec<Event>| {
            for mut event in rows {
                texts.share_in(event.texts());
                // They lie by participant.
                match &previous {
                    Some(person) if *person == event.person => event.person = Arc::clone(person),
                    _ => previous = Some(Arc::clone(&event.person)),
                }
                events.push(event);
            }
        };
        let memory = (list.bytes, Kept::Shared(Event::weight));
        let resource = list.session.name.to_string();
        self.store
            .decode(&PARTICIPANT_EVENTS, &resource, key, &object, memory, each)?;
        Ok((events, object.etag))
    }

    /// Puts attendance once more with its own bytes, so that its time says that it was looked at. `None`: it is not there.
    async fn keep(&self, key: &str) -> Result<Option<Counts>, Error> {
        for put in 0..MOST_PUTS {
            let Some(Object {
                bytes,
                etag,
                last_modified,
                metadata,
            }) = self.store.lake.read(key).await?
            else {
                return Ok(None);
            };
            let counts = Counts::by(&metadata);
            if self.is_fresh(last_modified) {
                return Ok(Some(counts));
            }
            let file = File::parquet(bytes, metadata);
            if let Put::Written(_) = self.store.lake.put(key, file, Some(&etag)).await? {
                return Ok(Some(counts));
            }
            after_a_race(put).await;
        }
        Err(self.store.lost_every_race(key))
    }

    fn is_fresh(&self, written: DateTime<Utc>) -> bool {
        is_fresh(self.rewrite_before, written)
    }
}

/// Whether what was written then is good enough.
pub(super) fn is_fresh(rewrite_before: Option<DateTime<Utc>>, written: DateTime<Utc>) -> bool {
    rewrite_before.is_none_or(|before| written >= before)
}
