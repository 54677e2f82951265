//! The rules of presence a second time, for the tests, without any cleverness: a walk over every tick of a small session.
//!
//! It is written from the rules and shares only the types of `presence`. Time is covered tick by tick, and the intervals are read
//! off the covered ticks in the end.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};

use super::{Event, Frame, Interval, Presence, Watching};

/// All times of the tests are whole ticks since 1970.
const TICK_MS: i64 = 500;

/// An instant, and the time from it to the next one.
type Tick = i64;

struct Stay {
    from: Tick,
    until: Tick,
    begin_inferred: bool,
    end_inferred: bool,
}

/// What was published, or watched of one publisher.
struct Activity {
    ticks: BTreeSet<Tick>,
    intervals: Vec<Interval>,
}

pub(super) fn time(tick: Tick) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(tick * TICK_MS).unwrap()
}

fn tick(time: DateTime<Utc>) -> Tick {
    time.timestamp_millis() / TICK_MS
}

pub(super) fn presence(events: &[Event<'_>], frame: &Frame) -> Presence {
    // The ticks at which a name was seen, of one publisher or of all.
    let ticks = |name: &str, of: &dyn Fn(&Event<'_>) -> bool| -> Vec<Tick> {
        let rows = events.iter().filter(|event| event.name == Some(name));
        let rows = rows.filter(|event| of(event));
        rows.filter_map(|event| event.time).map(tick).collect()
    };
    let all = |_: &Event<'_>| true;
    let times: Vec<Tick> = events.iter().filter_map(|e| e.time).map(tick).collect();
    let last_event = times.iter().copied().max();
    let session_end = tick(frame.session_end_time);
    let first_join = frame.first_join_time.map(tick);
    let instants = times.into_iter().chain([session_end]).chain(first_join);
    let instants: Vec<Tick> = instants.collect();
    let walk = *instants.iter().min().unwrap()..=*instants.iter().max().unwrap();

    let joins = ticks("JOINED", &all);
    let leaves = ticks("LEFT", &all);
    let (stays, join_inferred) = find_stays(&walk, &joins, &leaves, session_end, first_join);

    let publishing = find_activity(
        &walk,
        &ticks("PUBLISH_STARTED", &all),
        &ticks("PUBLISH_STOPPED", &all),
        &stays,
        frame
            .is_replica
            .then(|| session_end.max(last_event.unwrap_or(session_end))),
    );
    let mut watched = BTreeSet::new();
    let mut watching = Vec::new();
    let publishers: BTreeSet<_> = events.iter().map(|e| e.remote_participant_id).collect();
    for publisher in publishers {
        let of = |event: &Event<'_>| event.remote_participant_id == publisher;
        let activity = find_activity(
            &walk,
            &ticks("SUBSCRIBE_STARTED", &of),
            &ticks("SUBSCRIBE_STOPPED", &of),
            &stays,
            None,
        );
        watched.extend(activity.ticks);
        if !activity.intervals.is_empty() {
            watching.push(Watching {
                remote_participant_id: publisher.map(ToOwned::to_owned),
                intervals: activity.intervals,
            });
        }
    }

    let stays = if joins.is_empty() && leaves.is_empty() {
        publishing.intervals.clone()
    } else {
        let intervals = stays.iter().map(|stay| Interval {
            from: time(stay.from),
            until: time(stay.until),
            begin_inferred: stay.begin_inferred,
            end_inferred: stay.end_inferred,
        });
        intervals.collect()
    };
    let count = |counts: fn(&str) -> bool| {
        let names = events.iter().filter_map(|event| event.name);
        i32::try_from(names.filter(|name| counts(name)).count()).unwrap()
    };
    let mut publishers_watched = BTreeSet::new();
    for event in events {
        if event.name == Some("SUBSCRIBE_STARTED") {
            publishers_watched.extend(event.remote_participant_id);
        }
    }
    let lengths = stays.iter().map(|stay| tick(stay.until) - tick(stay.from));
    Presence {
        last_leave_time: leaves.iter().copied().max().map(time),
        last_event_time: last_event.map(time),
        connected_ms: lengths.sum::<Tick>() * TICK_MS,
        watch_ms: i64::try_from(watched.len()).unwrap() * TICK_MS,
        publish_ms: i64::try_from(publishing.ticks.len()).unwrap() * TICK_MS,
        joins: count(|name| name == "JOINED"),
        publish_starts: count(|name| name == "PUBLISH_STARTED"),
        publishers_watched: i32::try_from(publishers_watched.len()).unwrap(),
        errors: count(|name| name.ends_with("_ERROR")),
        events: i32::try_from(events.len()).unwrap(),
        join_inferred,
        leave_inferred: stays.iter().any(|stay| stay.end_inferred),
        stays,
        publishing: publishing.intervals,
        watching,
    }
}

fn find_stays(
    walk: &RangeInclusive<Tick>,
    joins: &[Tick],
    leaves: &[Tick],
    session_end: Tick,
    first_join: Option<Tick>,
) -> (Vec<Stay>, bool) {
    let mut stays: Vec<Stay> = Vec::new();
    let mut join_inferred = false;
    let (mut depth, mut began, mut own_last) = (0, 0, 0);
    for now in walk.clone() {
        for _ in joins.iter().filter(|&&join| join == now) {
            if depth == 0 {
                began = now;
            }
            own_last = now;
            depth += 1;
        }
        for _ in leaves.iter().filter(|&&leave| leave == now) {
            own_last = now;
            if depth > 0 {
                depth -= 1;
                if depth == 0 {
                    stays.push(Stay {
                        from: began,
                        until: now,
                        begin_inferred: false,
                        end_inferred: false,
                    });
                }
                continue;
            }
            join_inferred = true;
            let with_length_before = stays.iter().any(|stay| stay.from != stay.until);
            if let Some(join) = first_join
                && join < now
                && !with_length_before
            {
                stays.push(Stay {
                    from: join,
                    until: now,
                    begin_inferred: true,
                    end_inferred: false,
                });
            }
        }
    }
    if depth > 0 {
        stays.push(Stay {
            from: began,
            until: own_last.max(session_end),
            begin_inferred: false,
            end_inferred: true,
        });
    }
    stays.sort_by_key(|stay| (stay.from, stay.until));
    (stays, join_inferred)
}

fn find_activity(
    walk: &RangeInclusive<Tick>,
    starts: &[Tick],
    stops: &[Tick],
    stays: &[Stay],
    open_end: Option<Tick>,
) -> Activity {
    let mut ticks = BTreeSet::new();
    // Where an event stopped what was left.
    let mut stopped = BTreeSet::new();
    let mut depths = vec![0; stays.len()];
    let mut begun_outside = Vec::new();
    for now in walk.clone() {
        let stay = stay_at(stays, now);
        for _ in starts.iter().filter(|&&start| start == now) {
            match stay {
                Some(stay) => depths[stay] += 1,
                None => begun_outside.push(now),
            }
        }
        for _ in stops.iter().filter(|&&stop| stop == now) {
            if let Some(stay) = stay
                && depths[stay] > 0
            {
                depths[stay] -= 1;
                if depths[stay] == 0 {
                    stopped.insert(now);
                }
            }
            for start in begun_outside.drain(..) {
                ticks.extend(start..now);
                stopped.insert(now);
            }
        }
        for (depth, stay) in depths.iter_mut().zip(stays) {
            if stay.until == now {
                *depth = 0;
            }
            if *depth > 0 {
                ticks.insert(now);
            }
        }
    }
    for start in begun_outside {
        ticks.extend(start..open_end.unwrap_or(start));
    }

    // A run of covered ticks is an interval; so is a start that no run contains or touches.
    let mut intervals = Vec::new();
    let mut run = None;
    for now in walk.clone() {
        if ticks.contains(&now) {
            run.get_or_insert(now);
            continue;
        }
        let lone_start = starts.contains(&now).then_some(now);
        if let Some(from) = run.take().or(lone_start) {
            intervals.push(Interval {
                from: time(from),
                until: time(now),
                begin_inferred: false,
                end_inferred: !stopped.contains(&now),
            });
        }
    }
    Activity { ticks, intervals }
}

/// The index of the stay that an instant belongs to.
fn stay_at(stays: &[Stay], now: Tick) -> Option<usize> {
    let contains = |stay: &Stay| stay.from <= now && now <= stay.until;
    let with_length = |stay: &Stay| stay.from != stay.until;
    let long = stays
        .iter()
        .position(|stay| contains(stay) && with_length(stay));
    long.or_else(|| stays.iter().position(contains))
}
