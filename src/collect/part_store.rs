//! Parts in S3, and how they come together.

use std::collections::HashMap;
use std::sync::Arc;

use super::list::List;
use super::parts::{Part, Told, encode};
use crate::error::Error;
use crate::lake::{File, Put};
use crate::session::SessionRef;
use crate::store::{MOST_PUTS, Memory, Store, after_a_race, counted};
use crate::table::participant_events::{Event, PARTICIPANT_EVENTS, Person, Texts};

/// In a part's metadata: the rows of events of all parts up to this one.
const EVENTS: &str = "events";

/// What a part takes while it is read, as a multiple of its bytes: they come in pieces, which are joined, and then its events lie
/// beside them, with strings that are not shared yet. Measured (docs/settings.md): 100,000 people with 10 events each take at
/// most 160 MB, and of 200 people with 5,000 events each the function gives up at 198 MB of 256.
const READING: usize = 3;

/// Where parts lie.
#[derive(Debug)]
pub(super) struct PartStore<'a> {
    pub(super) store: Store<'a>,
}

/// The events of a session, and what they and the details of the people weigh.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) events: Vec<Event>,
    /// Before anything was left out.
    pub(super) listed_events: usize,
    bytes: usize,
}

impl PartStore<'_> {
    /// The events up to a part, by its metadata.
    pub(super) async fn counted_up_to(&self, list: &List, part: &Part) -> Result<usize, Error> {
        let seen = self.store.lake.head(&list.key(part)).await?;
        let events = seen.and_then(|seen| counted(&seen, EVENTS));
        Ok(events
            .and_then(|events| events.try_into().ok())
            .unwrap_or(0))
    }

    /// Puts a part. Where it is there meanwhile, that one is as good; a `stale` one is replaced.
    pub(super) async fn put(
        &self,
        list: &List,
        part: &Part,
        told: &[Told],
        events: usize,
        stale: bool,
    ) -> Result<(), Error> {
        let key = list.key(part);
        let memory = self.store.memory;
        let held = told.iter().map(|told| weight(&told.events)).sum::<usize>();
        let room = memory.for_rows().saturating_sub(list.bytes);
        let most_bytes = room.saturating_sub(held).min(room / READING);
        let bytes = encode(told, most_bytes).map_err(|error| {
            if error.is_io() {
                let of_part = told.iter().map(|told| told.events.len()).sum();
                return too_small(memory, &list.session.name, of_part);
            }
            let fault = "the part could not be encoded";
            let lake = self.store.lake;
            lake.fault("PutObject", &key, fault, Some(error.into()))
        })?;
        let metadata = HashMap::from([(EVENTS.to_owned(), events.to_string())]);
        let file = File::json(bytes, metadata);
        for put in 0..MOST_PUTS {
            let over = if stale || put > 0 {
                self.store.lake.head(&key).await?.and_then(|seen| seen.etag)
            } else {
                None
            };
            if put > 0 && over.is_some() && !stale {
                return Ok(());
            }
            if let Put::Written(_) = self
                .store
                .lake
                .put(&key, file.clone(), over.as_deref())
                .await?
            {
                return Ok(());
            }
            after_a_race(put).await;
        }
        Err(self.store.lost_every_race(&key))
    }

    /// Brings the parts together: the events in file order, and the details to their people.
    pub(super) async fn gather(
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
            let fault =
                |fault: &str, source| self.store.lake.fault("GetObject", &key, fault, source);
            let object = self.store.lake.read(&key).await?;
            let object = object.ok_or_else(|| fault("the part has gone", None))?;
            let (memory, name) = (self.store.memory, &list.session.name);
            let reading = gathered.bytes + READING * object.bytes.len();
            check(memory, name, reading, gathered.events.len())?;
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
        check(
            self.store.memory,
            &list.session.name,
            gathered.bytes,
            gathered.events.len(),
        )
    }
}

/// Fails if events take too much memory.
///
/// # Errors
/// [`Error::SessionTooLarge`].
pub(super) fn check(
    memory: Memory,
    name: &SessionRef,
    bytes: usize,
    events: usize,
) -> Result<(), Error> {
    if bytes > memory.for_rows() {
        return Err(too_small(memory, name, events));
    }
    Ok(())
}

fn too_small(memory: Memory, name: &SessionRef, events: usize) -> Error {
    let rows_of = PARTICIPANT_EVENTS.rows_of;
    memory.too_small(&name.to_string(), events, rows_of)
}

/// What events take of memory, in bytes, their encoding included.
pub(super) fn weight(events: &[Event]) -> usize {
    events.iter().map(Event::weight).sum()
}
