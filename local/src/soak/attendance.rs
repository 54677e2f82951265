//! What the tables `participant_events` and `attendance` should say of a session, from what the emulator knows. Written from
//! the rules, without any code of the function: events once and in file order, and a walk over the instants of each participant.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use crate::ivs::world::{Event, Participant, Token};
use crate::soak::script::Plan;
use crate::soak::verdict::{Row, entry};

/// The columns of the two tables.
pub(super) const EVENT_COLUMNS: [&str; 21] = [
    "stage_arn",
    "session_id",
    "session_start_time",
    "session_end_time",
    "participant_id",
    "user_id",
    "event_time",
    "name",
    "remote_participant_id",
    "error_code",
    "replica",
    "destination_stage_arn",
    "destination_session_id",
    "previous_user_id",
    "new_user_id",
    "previous_capabilities",
    "new_capabilities",
    "previous_expiration_time",
    "new_expiration_time",
    "previous_attributes",
    "new_attributes",
];
pub(super) const ATTENDANCE_COLUMNS: [&str; 30] = [
    "stage_arn",
    "session_id",
    "session_start_time",
    "session_end_time",
    "participant_id",
    "user_id",
    "first_join_time",
    "published",
    "last_leave_time",
    "last_event_time",
    "connected_ms",
    "watch_ms",
    "publish_ms",
    "joins",
    "publish_starts",
    "publishers_watched",
    "errors",
    "events",
    "join_inferred",
    "leave_inferred",
    "attributes",
    "browser_name",
    "browser_version",
    "os_name",
    "os_version",
    "sdk_version",
    "isp_name",
    "protocol",
    "recording_s3_bucket_name",
    "recording_s3_prefix",
];

/// The order of names within one second. Others follow by text, and those without a name are the last.
const NAMES: [&str; 12] = [
    "JOINED",
    "TOKEN_EXCHANGED",
    "REPLICATION_STARTED",
    "PUBLISH_STARTED",
    "SUBSCRIBE_STARTED",
    "JOIN_ERROR",
    "PUBLISH_ERROR",
    "SUBSCRIBE_ERROR",
    "SUBSCRIBE_STOPPED",
    "PUBLISH_STOPPED",
    "REPLICATION_STOPPED",
    "LEFT",
];

/// The rows of both tables, in file order.
pub(super) struct Expected {
    pub(super) events: Vec<Row>,
    pub(super) attendance: Vec<Row>,
}

impl Expected {
    /// Of an ended session.
    pub(super) fn of(plan: &Plan, end: DateTime<Utc>) -> Self {
        let mut people: Vec<_> = plan.people.iter().collect();
        // In the order of the table `participants`.
        let join = |who: &Participant| time(who.first_join_time.as_ref());
        people.sort_by_key(|who| {
            let join = join(who);
            (join.is_none(), join, who.participant_id.clone())
        });
        let session = [
            Some(plan.name.0.clone()),
            Some(plan.name.1.clone()),
            Some(millis(plan.start)),
            Some(millis(end)),
        ];
        let (mut events, mut attendance) = (Vec::new(), Vec::new());
        for who in people {
            let head = [
                &session[..],
                &[who.participant_id.clone(), who.user_id.clone()],
            ]
            .concat();
            // Whoever has no id cannot be asked for.
            let its_events = who.participant_id.is_some().then(|| once(&who.events));
            let mut row = head.clone();
            row.push(join(who).map(millis));
            row.push(Some(who.published.unwrap_or(false).to_string()));
            match &its_events {
                Some(events) => row.extend(numbers(events, who, end)),
                None => row.extend(vec![None; 12]),
            }
            row.extend(details(who));
            attendance.push(row);
            let rows = its_events.into_iter().flatten();
            events.extend(rows.map(|event| [&head[..], &event_row(event)].concat()));
        }
        events.sort_by_cached_key(file_order);
        Self { events, attendance }
    }
}

/// The events without those that equal another one in all columns.
fn once(events: &[Event]) -> Vec<&Event> {
    let mut seen = BTreeSet::new();
    let mut events: Vec<_> = events.iter().collect();
    events.retain(|event| seen.insert(event_row(event)));
    events
}

/// The columns of an event behind those of the participant.
fn event_row(event: &Event) -> Row {
    let token = |get: &dyn Fn(&Token) -> Option<String>| {
        [&event.previous_token, &event.new_token].map(|token| token.as_ref().and_then(get))
    };
    let tokens = [
        token(&|token| token.user_id.clone()),
        token(&|token| Some(token.capabilities.as_ref()?.join(","))),
        token(&|token| time(token.expiration_time.as_ref()).map(millis)),
        token(&|token| token.attributes.as_ref().map(map)),
    ];
    let mut row = vec![
        time(event.event_time.as_ref()).map(millis),
        event.name.clone(),
        event.remote_participant_id.clone(),
        event.error_code.clone(),
        Some(event.replica.unwrap_or(false).to_string()),
        event.destination_stage_arn.clone(),
        event.destination_session_id.clone(),
    ];
    row.extend(tokens.into_iter().flatten());
    row
}

/// Behind participant, time and name come all other columns. The times of one soak have equally many digits, and none of its maps
/// has more than one entry, so text orders them well.
fn file_order(row: &Row) -> (Option<String>, bool, Option<String>, usize, Row) {
    let (time, name) = (row[6].clone(), row[7].as_deref());
    let known = name.and_then(|name| NAMES.iter().position(|&known| known == name));
    let place = known.unwrap_or(if name.is_some() { 12 } else { 13 });
    let rest = row[7..].to_vec();
    (row[4].clone(), time.is_none(), time, place, rest)
}

/// The columns from `last_leave_time` to `leave_inferred`.
fn numbers(events: &[&Event], who: &Participant, session_end: DateTime<Utc>) -> Row {
    let named = |name: &str| {
        let all = events.iter();
        all.filter(|event| event.name.as_deref() == Some(name))
            .collect::<Vec<_>>()
    };
    let at = |event: &&Event| time(event.event_time.as_ref());
    let latest = |events: &[&&Event]| events.iter().filter_map(|event| at(event)).max();
    let watched = named("SUBSCRIBE_STARTED");
    let watched: BTreeSet<_> = watched
        .iter()
        .filter_map(|event| event.remote_participant_id.as_ref())
        .collect();
    let error = |event: &&&Event| {
        let name = event.name.as_deref();
        name.is_some_and(|name| name.ends_with("_ERROR"))
    };
    let replica = who.replication_type.as_deref() == Some("REPLICA");
    let walk = Walk::through(events, replica, session_end);
    let count = |count: usize| Some(count.to_string());
    vec![
        latest(&named("LEFT")).map(millis),
        events.iter().filter_map(at).max().map(millis),
        Some(walk.connected_ms.to_string()),
        Some(walk.watch_ms.to_string()),
        Some(walk.publish_ms.to_string()),
        count(named("JOINED").len()),
        count(named("PUBLISH_STARTED").len()),
        count(watched.len()),
        count(events.iter().filter(error).count()),
        count(events.len()),
        Some(walk.join_inferred.to_string()),
        Some(walk.leave_inferred.to_string()),
    ]
}

/// What was published, or watched of one publisher, at an instant.
#[derive(Default)]
struct Open {
    in_stay: usize,
    outside: bool,
}

impl Open {
    fn begin(&mut self, in_stay: bool) {
        if in_stay {
            self.in_stay += 1;
        } else {
            self.outside = true;
        }
    }

    fn end(&mut self) {
        self.in_stay = self.in_stay.saturating_sub(1);
        self.outside = false;
    }

    fn is_open(&self) -> bool {
        self.in_stay > 0 || self.outside
    }
}

/// A walk over the instants of one participant, from each to the next.
#[derive(Default)]
struct Walk {
    connected_ms: i64,
    watch_ms: i64,
    publish_ms: i64,
    join_inferred: bool,
    leave_inferred: bool,
}

impl Walk {
    fn through(events: &[&Event], replica: bool, session_end: DateTime<Utc>) -> Self {
        let mut by_instant = BTreeMap::<DateTime<Utc>, Vec<(&str, Option<&str>)>>::new();
        for event in events {
            if let (Some(time), Some(name)) = (time(event.event_time.as_ref()), &event.name) {
                let remote = event.remote_participant_id.as_deref();
                by_instant.entry(time).or_default().push((name, remote));
            }
        }
        let last_event = by_instant.keys().max().copied();
        let is_connection = |(name, _): &(&str, _)| ["JOINED", "LEFT"].contains(name);
        let connections = by_instant.iter();
        let last_connection = connections
            .filter(|(_, names)| names.iter().any(is_connection))
            .map(|(time, _)| *time)
            .max();
        // When what is still open in the end is over.
        let over = last_connection.or(last_event.filter(|_| replica));
        let over = over.map_or(session_end, |last| last.max(session_end));
        by_instant.entry(over).or_default();

        let mut walk = Self::default();
        let (mut depth, mut publishing) = (0_usize, Open::default());
        let mut watching = BTreeMap::<Option<&str>, Open>::new();
        let nexts = by_instant.keys().skip(1).copied().map(Some).chain([None]);
        for ((&instant, names), next) in by_instant.iter().zip(nexts) {
            let count = |name: &str| names.iter().filter(|(it, _)| *it == name).count();
            let of = |name: &'static str| {
                let those = names.iter().filter(move |(it, _)| *it == name);
                those.map(|(_, remote)| *remote)
            };
            depth += count("JOINED");
            of("PUBLISH_STARTED").for_each(|_| publishing.begin(depth > 0));
            of("SUBSCRIBE_STARTED")
                .for_each(|remote| watching.entry(remote).or_default().begin(depth > 0));
            of("PUBLISH_STOPPED").for_each(|_| publishing.end());
            of("SUBSCRIBE_STOPPED").for_each(|remote| watching.entry(remote).or_default().end());
            let left = count("LEFT");
            walk.join_inferred |= left > depth;
            depth = depth.saturating_sub(left);
            if instant == over {
                walk.leave_inferred = depth > 0;
                if last_connection.is_none() {
                    walk.leave_inferred = publishing.is_open();
                }
                depth = 0;
                publishing.outside = false;
            }
            if depth == 0 {
                // A stay ends all that began in it.
                publishing.in_stay = 0;
                watching.values_mut().for_each(|open| open.in_stay = 0);
            }
            let Some(next) = next else {
                break;
            };
            let length = (next - instant).num_milliseconds();
            let published = if publishing.is_open() { length } else { 0 };
            walk.publish_ms += published;
            if watching.values().any(Open::is_open) {
                walk.watch_ms += length;
            }
            walk.connected_ms += match last_connection {
                // Publishing stands for the stays of a replica.
                None => published,
                Some(_) if depth > 0 => length,
                Some(_) => 0,
            };
        }
        walk
    }
}

/// The columns of `GetParticipant`.
fn details(who: &Participant) -> Row {
    let known = who
        .details
        .as_ref()
        .filter(|_| who.participant_id.is_some());
    let Some(details) = known else {
        return vec![None; 10];
    };
    let attributes = details.attributes.clone().unwrap_or_default();
    vec![
        Some(map(&attributes)),
        details.browser_name.clone(),
        details.browser_version.clone(),
        details.os_name.clone(),
        details.os_version.clone(),
        details.sdk_version.clone(),
        details.isp_name.clone(),
        details.protocol.clone(),
        details.recording_s3_bucket_name.clone(),
        details.recording_s3_prefix.clone(),
    ]
}

/// A map as text, its entries by key.
fn map(entries: &BTreeMap<String, String>) -> String {
    entries
        .iter()
        .map(|(key, value)| entry(key, value))
        .collect()
}

fn time(text: Option<&String>) -> Option<DateTime<Utc>> {
    text?.parse().ok()
}

fn millis(time: DateTime<Utc>) -> String {
    time.timestamp_millis().to_string()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn walk(events: &[(&str, i64)], replica: bool) -> (i64, i64, i64, bool) {
        let at = |seconds| DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds);
        let events: Vec<_> = events
            .iter()
            .map(|&(name, seconds)| Event::new(name, "p1", at(seconds)))
            .collect();
        let events: Vec<_> = events.iter().collect();
        let walk = Walk::through(&events, replica, at(100));
        let seconds = |millis| millis / 1000;
        (
            seconds(walk.connected_ms),
            seconds(walk.watch_ms),
            seconds(walk.publish_ms),
            walk.leave_inferred,
        )
    }

    #[test]
    fn a_handover_is_one_stay_and_an_open_stay_ends_with_the_session() {
        let handover = [("JOINED", 0), ("JOINED", 40), ("LEFT", 41), ("LEFT", 90)];
        assert_eq!(walk(&handover, false), (90, 0, 0, false));
        let lost = [("JOINED", 10), ("SUBSCRIBE_STARTED", 20)];
        assert_eq!(walk(&lost, false), (90, 80, 0, true));
        let back = [
            ("JOINED", 0),
            ("SUBSCRIBE_STARTED", 0),
            ("LEFT", 5),
            ("JOINED", 50),
        ];
        assert_eq!(walk(&back, false), (55, 5, 0, true));
    }

    #[test]
    fn a_replica_is_there_while_it_publishes() {
        let stopped = [("PUBLISH_STARTED", 10), ("PUBLISH_STOPPED", 30)];
        assert_eq!(walk(&stopped, true), (20, 0, 20, false));
        assert_eq!(walk(&stopped[..1], true), (90, 0, 90, true));
    }
}
