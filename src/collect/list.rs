//! The list of participants that a collection works on, and what follows from events for each of them.

use chrono::{DateTime, Utc};

use super::parts::Part;
use crate::presence::{self, Frame, Presence, presence};
use crate::session::EndedSession;
use crate::table::attendance::Attendee;
use crate::table::participant_events::Event;
use crate::table::participants::Participant;
use crate::table::state::State;

/// The list of participants that a collection works on.
pub(super) struct List {
    pub(super) session: EndedSession,
    pub(super) people: Vec<Attendee>,
    /// The places of the people that IVS is asked for.
    pub(super) asked: Vec<usize>,
    /// The folder of the parts that belong to this list and to these settings.
    pub(super) folder: String,
    /// What the people take of memory, in bytes, the encoding of their attendance included.
    pub(super) bytes: usize,
}

impl List {
    /// The key of a part.
    pub(super) fn key(&self, part: &Part) -> String {
        format!("{}{}", self.folder, part.name)
    }
}

/// A row of `participants` as one of `attendance`.
pub(super) fn attendee(row: Participant) -> Attendee {
    let replication_type = row.replication_type.as_ref().map(State::as_str);
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
pub(super) fn fill(attendee: &mut Attendee, events: &[Event], session_end_time: DateTime<Utc>) {
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
