//! How the events of one participant become time: stays, publishing and watching.
//!
//! Pure: events and a frame go in, intervals and numbers come out. It knows neither S3 nor IVS nor the clock. The view `stays`
//! states the same rules in SQL, so each of them must be writable with window functions.
//!
//! IVS promises little about events
//! (<https://docs.aws.amazon.com/ivs/latest/RealTimeAPIReference/API_Event.html>). Times are whole seconds and often equal, the
//! order means nothing, one participant id can join many times, and a LEFT may be missing. When a token is used twice, the new
//! connection ends the old one: JOINED, JOINED, LEFT, LEFT. That is why the rules count depth and pair nothing.
//!
//! # Stays
//! JOINED and LEFT are sorted by time, at equal times JOINED first. JOINED adds 1 to the depth, LEFT takes 1 away, never below
//! 0. A stay lasts while the depth is above 0.
//! - A LEFT at depth 0 sets `join_inferred`. The first one that lies after `first_join_time` ends a stay that began there, unless
//!   a stay that has a length lies before it.
//! - A depth above 0 after the last of them sets `leave_inferred`. That stay ends with the session, or with the last JOINED or
//!   LEFT if that is later.
//!
//! # Publishing
//! PUBLISH_STARTED and PUBLISH_STOPPED are counted in the same way, at equal times STARTED first, in each stay on its own: a stay
//! begins at depth 0, and what has not stopped ends with it.
//! - An event belongs to the stay that contains its time, first and last instant included. A stay without a length has only the
//!   events that no stay with a length contains. (Two stays with a length never share an instant: at equal times JOINED
//!   comes first, so the earlier stay would go on.)
//! - What begins outside every stay ends with the next stop, wherever that lies: one stop ends all that began outside before it,
//!   and also takes 1 away in its own stay. Without a stop it has no length. That of a replica ends with the session, or with the
//!   participant's last event of any name if that is later.
//! - What begins in a stay ends with that stay at the latest, even if its stop comes later.
//!
//! # Watching
//! SUBSCRIBE_STARTED and SUBSCRIBE_STOPPED are counted likewise for each remote participant, in the same stays. All events without
//! a remote id are of one remote participant. The open end of a replica concerns its publishing only.
//!
//! # Without JOINED and LEFT
//! If no JOINED and no LEFT has a time, replica or not, the publishing intervals become the stays, and an open end among them sets
//! `leave_inferred`. Publishing and watching do not change by that: they were counted without any stay.
//!
//! # Decisions
//! - Intervals of publishing that overlap or touch are one; so are those of watching one remote participant. Intervals without
//!   a length are kept, stays too.
//! - A time is inferred if no event states it. The end of a union is stated if one of the parts that reach it was stopped there.
//! - An event without a time takes part in `joins`, `publish_starts`, `publishers_watched`, `errors` and `events` only.
//! - A missing remote id is no publisher in `publishers_watched`; an empty one is.
//! - Times are whole milliseconds, as the tables hold them.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

/// An event of one participant, as far as presence needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    pub name: Option<&'a str>,
    pub time: Option<DateTime<Utc>>,
    /// The publisher, in events of watching.
    pub remote_participant_id: Option<&'a str>,
}

/// What frames the events of a participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub session_end_time: DateTime<Utc>,
    pub first_join_time: Option<DateTime<Utc>>,
    pub is_replica: bool,
}

/// A stretch of time, half-open. Its length can be zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval {
    pub from: DateTime<Utc>,
    pub until: DateTime<Utc>,
    /// `from` is the participant's `first_join_time`: no JOINED states it.
    pub begin_inferred: bool,
    /// No LEFT, or no stop, states `until`.
    pub end_inferred: bool,
}

/// When a participant watched one remote participant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watching {
    /// The publisher; none stands for all events that name none.
    pub remote_participant_id: Option<String>,
    /// Disjoint, in order of time, at least one.
    pub intervals: Vec<Interval>,
}

/// A participant's time in the session, and counts of the events. Lengths are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// By `from` and `until`. They are disjoint, but one without a length may lie within the one whose begin is inferred.
    pub stays: Vec<Interval>,
    /// The union: disjoint, in order of time.
    pub publishing: Vec<Interval>,
    /// By remote id, none first.
    pub watching: Vec<Watching>,
    /// The latest LEFT.
    pub last_leave_time: Option<DateTime<Utc>>,
    /// The latest event of any name.
    pub last_event_time: Option<DateTime<Utc>>,
    /// The sum of the stays.
    pub connected_ms: i64,
    /// The length of the union over all remote participants.
    pub watch_ms: i64,
    /// The length of the union.
    pub publish_ms: i64,
    pub joins: i32,
    pub publish_starts: i32,
    /// Different remote ids of SUBSCRIBE_STARTED.
    pub publishers_watched: i32,
    /// Events whose name ends in `_ERROR`.
    pub errors: i32,
    pub events: i32,
    pub join_inferred: bool,
    pub leave_inferred: bool,
}

/// What an event does to a depth. At equal times, beginnings come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Begin,
    End,
}

/// A change and its time, in the order in which changes are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    time: DateTime<Utc>,
    change: Change,
}

impl Interval {
    fn has_length(&self) -> bool {
        self.from < self.until
    }
}

/// The presence of one participant, by the rules and decisions in the [documentation of this module](self).
///
/// `events` are the participant's rows of `participant_events`, in any order. They are counted as given: rows that are equal in
/// all columns of the table are one row already, and rows that differ only in columns that [`Event`] lacks are two events. It
/// takes O(n log n) time for n events.
#[must_use]
pub fn presence(events: &[Event<'_>], frame: &Frame) -> Presence {
    let named = |name: &'static str| events.iter().filter(move |event| event.name == Some(name));
    let last_event_time = events.iter().filter_map(|event| event.time).max();

    let connection = sorted(events, "JOINED", "LEFT");
    let (mut stays, unmatched) = count_depth(&connection, frame.session_end_time);
    let mut leave_inferred = stays.iter().any(|stay| stay.end_inferred);
    stays.extend(stay_before(&unmatched, &stays, frame.first_join_time));
    stays.sort_unstable();

    let owners = Owners::new(&stays);
    let open_end = last_event_time.max(Some(frame.session_end_time));
    let publications = sorted(events, "PUBLISH_STARTED", "PUBLISH_STOPPED");
    let publishing = activity(
        &publications,
        &owners,
        open_end.filter(|_| frame.is_replica),
    );
    if connection.is_empty() {
        stays.clone_from(&publishing);
        leave_inferred = stays.iter().any(|stay| stay.end_inferred);
    }

    let mut publishers: BTreeMap<Option<&str>, Vec<Step>> = BTreeMap::new();
    for event in events {
        if let Some(step) = Step::of(event, "SUBSCRIBE_STARTED", "SUBSCRIBE_STOPPED") {
            let steps = publishers.entry(event.remote_participant_id).or_default();
            steps.push(step);
        }
    }
    let watching = publishers.into_iter().map(|(id, mut steps)| {
        steps.sort_unstable();
        Watching {
            remote_participant_id: id.map(str::to_owned),
            intervals: activity(&steps, &owners, None),
        }
    });
    let watching: Vec<_> = watching
        .filter(|watching| !watching.intervals.is_empty())
        .collect();
    let all_watching = watching.iter().flat_map(|watching| &watching.intervals);

    let ids_watched = named("SUBSCRIBE_STARTED").filter_map(|event| event.remote_participant_id);
    let is_error = |event: &&Event<'_>| event.name.is_some_and(|name| name.ends_with("_ERROR"));
    Presence {
        last_leave_time: named("LEFT").filter_map(|event| event.time).max(),
        last_event_time,
        connected_ms: total_ms(&stays),
        watch_ms: total_ms(&union(all_watching.copied().collect())),
        publish_ms: total_ms(&publishing),
        joins: count(named("JOINED").count()),
        publish_starts: count(named("PUBLISH_STARTED").count()),
        publishers_watched: count(ids_watched.collect::<HashSet<_>>().len()),
        errors: count(events.iter().filter(is_error).count()),
        events: count(events.len()),
        join_inferred: !unmatched.is_empty(),
        leave_inferred,
        stays,
        publishing,
        watching,
    }
}

impl Step {
    /// The step of an event that has one of the two names, and a time.
    fn of(event: &Event<'_>, begin: &str, end: &str) -> Option<Self> {
        let change = match event.name? {
            name if name == begin => Change::Begin,
            name if name == end => Change::End,
            _ => return None,
        };
        let time = event.time?;
        Some(Self { time, change })
    }
}

fn sorted(events: &[Event<'_>], begin: &str, end: &str) -> Vec<Step> {
    let steps = events
        .iter()
        .filter_map(|event| Step::of(event, begin, end));
    let mut steps: Vec<_> = steps.collect();
    steps.sort_unstable();
    steps
}

/// The intervals in which the depth is above 0, and the times of the ends at depth 0. An interval that is open in the end lasts
/// until `end`, or until the last step if that is later.
fn count_depth(steps: &[Step], end: DateTime<Utc>) -> (Vec<Interval>, Vec<DateTime<Utc>>) {
    let mut depth = 0_usize;
    let mut from = end;
    let (mut intervals, mut unmatched) = (Vec::new(), Vec::new());
    let interval = |from, until, end_inferred| Interval {
        from,
        until,
        begin_inferred: false,
        end_inferred,
    };
    for &Step { time, change } in steps {
        match (change, depth) {
            (Change::Begin, 0) => {
                from = time;
                depth = 1;
            }
            (Change::Begin, _) => depth += 1,
            (Change::End, 0) => unmatched.push(time),
            (Change::End, 1) => {
                intervals.push(interval(from, time, false));
                depth = 0;
            }
            (Change::End, _) => depth -= 1,
        }
    }
    if let Some(last) = steps.last().filter(|_| depth > 0) {
        intervals.push(interval(from, end.max(last.time), true));
    }
    (intervals, unmatched)
}

/// The stay that the first unmatched LEFT after the first join ends, unless a stay with a length lies before it.
fn stay_before(
    unmatched: &[DateTime<Utc>],
    stays: &[Interval],
    first_join_time: Option<DateTime<Utc>>,
) -> Option<Interval> {
    let from = first_join_time?;
    let until = *unmatched.iter().find(|&&leave| from < leave)?;
    let lies_before = |stay: &Interval| stay.has_length() && stay.from < until;
    (!stays.iter().any(lies_before)).then_some(Interval {
        from,
        until,
        begin_inferred: true,
        end_inferred: false,
    })
}

/// The stays, prepared to find the one that an event belongs to.
struct Owners {
    with_length: Vec<Interval>,
    without_length: Vec<Interval>,
}

impl Owners {
    /// `stays` are sorted, and no two with a length share an instant.
    fn new(stays: &[Interval]) -> Self {
        let (with_length, without_length) = stays.iter().partition(|stay| stay.has_length());
        Self {
            with_length,
            without_length,
        }
    }

    /// The stay that an event of that time belongs to.
    fn stay_at(&self, time: DateTime<Utc>) -> Option<Interval> {
        let find = |stays: &[Interval]| {
            let begun = stays.partition_point(|stay| stay.from <= time);
            let last = stays[..begun].last().copied();
            last.filter(|stay| time <= stay.until)
        };
        find(&self.with_length).or_else(|| find(&self.without_length))
    }
}

/// The union of the intervals of publishing, or of watching one remote participant. What begins outside every stay and is never
/// stopped ends at `open_end`, without one where it began.
fn activity(steps: &[Step], owners: &Owners, open_end: Option<DateTime<Utc>>) -> Vec<Interval> {
    let mut intervals = Vec::new();
    let stay_of = |step: &Step| owners.stay_at(step.time);
    for steps in steps.chunk_by(|a, b| stay_of(a) == stay_of(b)) {
        if let Some(stay) = stay_of(&steps[0]) {
            intervals.extend(count_depth(steps, stay.until).0);
        }
    }
    let mut next_stop = None;
    for step in steps.iter().rev() {
        if step.change == Change::End {
            next_stop = Some(step.time);
        } else if stay_of(step).is_none() {
            intervals.push(Interval {
                from: step.time,
                until: next_stop.or(open_end).unwrap_or(step.time),
                begin_inferred: false,
                end_inferred: next_stop.is_none(),
            });
        }
    }
    union(intervals)
}

/// Intervals that overlap or touch become one. Its end is inferred if that of each part that reaches it is.
fn union(mut intervals: Vec<Interval>) -> Vec<Interval> {
    intervals.sort_unstable();
    intervals.dedup_by(|next, merged| {
        let same = next.from <= merged.until;
        if same && next.until == merged.until {
            merged.end_inferred &= next.end_inferred;
        } else if same && next.until > merged.until {
            (merged.until, merged.end_inferred) = (next.until, next.end_inferred);
        }
        same
    });
    intervals
}

/// The length of intervals that are disjoint.
fn total_ms(intervals: &[Interval]) -> i64 {
    let length = |interval: &Interval| (interval.until - interval.from).num_milliseconds();
    intervals.iter().map(length).sum()
}

fn count(events: usize) -> i32 {
    i32::try_from(events).unwrap_or(i32::MAX)
}
