//! The rules of presence, one example each, and against the model.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

/// A session of 100 seconds. Examples count seconds from its start.
const SESSION: Frame = Frame {
    session_end_time: at(100),
    first_join_time: None,
    is_replica: false,
};

const REPLICA: Frame = Frame {
    is_replica: true,
    ..SESSION
};

const fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(second, 0).unwrap()
}

fn first_joined(second: i64) -> Frame {
    Frame {
        first_join_time: Some(at(second)),
        ..SESSION
    }
}

fn event(second: i64, name: &str) -> Event<'_> {
    Event {
        name: Some(name),
        time: Some(at(second)),
        remote_participant_id: None,
    }
}

fn watch<'a>(second: i64, name: &'a str, publisher: &'a str) -> Event<'a> {
    Event {
        remote_participant_id: Some(publisher),
        ..event(second, name)
    }
}

fn events<'a>(events: &[(i64, &'a str)]) -> Vec<Event<'a>> {
    events
        .iter()
        .map(|&(second, name)| event(second, name))
        .collect()
}

/// Intervals in seconds.
fn seconds(intervals: &[Interval]) -> Vec<(i64, i64)> {
    intervals
        .iter()
        .map(|interval| (interval.from.timestamp(), interval.until.timestamp()))
        .collect()
}

fn stays(named: &[(i64, &str)], frame: &Frame) -> Vec<(i64, i64)> {
    seconds(&presence(&events(named), frame).stays)
}

fn publishing(named: &[(i64, &str)], frame: &Frame) -> Vec<(i64, i64)> {
    seconds(&presence(&events(named), frame).publishing)
}

#[test]
fn a_stay_lasts_from_joined_to_left() {
    let twice = events(&[(10, "JOINED"), (15, "LEFT"), (40, "JOINED"), (60, "LEFT")]);
    let presence = presence(&twice, &SESSION);
    assert_eq!(seconds(&presence.stays), [(10, 15), (40, 60)]);
    assert_eq!(presence.connected_ms, 25_000);
    assert_eq!(
        (presence.join_inferred, presence.leave_inferred),
        (false, false)
    );
    assert_eq!(presence.last_leave_time, Some(at(60)));
}

#[test]
fn a_token_used_twice_is_one_stay() {
    let handover = events(&[(0, "JOINED"), (50, "JOINED"), (51, "LEFT"), (80, "LEFT")]);
    let presence = presence(&handover, &SESSION);
    assert_eq!(seconds(&presence.stays), [(0, 80)]);
    assert_eq!(
        (presence.join_inferred, presence.leave_inferred),
        (false, false)
    );
}

#[test]
fn who_leaves_and_joins_within_a_second_stays() {
    let named = [(0, "JOINED"), (10, "LEFT"), (10, "JOINED"), (20, "LEFT")];
    assert_eq!(stays(&named, &SESSION), [(0, 20)]);
}

#[test]
fn who_joins_and_leaves_within_a_second_has_a_stay_without_a_length() {
    let named = [(10, "LEFT"), (10, "JOINED")];
    assert_eq!(stays(&named, &SESSION), [(10, 10)]);
}

#[test]
fn a_leave_without_a_join_ends_a_stay_from_the_first_join() {
    let presence = presence(&events(&[(30, "LEFT")]), &first_joined(10));
    assert_eq!(seconds(&presence.stays), [(10, 30)]);
    assert!(presence.stays[0].begin_inferred);
    assert_eq!(
        (presence.join_inferred, presence.leave_inferred),
        (true, false)
    );
}

#[test]
fn a_leave_without_a_join_is_only_flagged_if_no_first_join_lies_before_it() {
    for frame in [SESSION, first_joined(30), first_joined(40)] {
        let presence = presence(&events(&[(30, "LEFT")]), &frame);
        assert_eq!(presence.stays, []);
        assert!(presence.join_inferred);
    }
}

#[test]
fn a_leave_without_a_join_is_only_flagged_after_a_stay_with_a_length() {
    let named = events(&[(10, "JOINED"), (20, "LEFT"), (30, "LEFT")]);
    let presence = presence(&named, &first_joined(10));
    assert_eq!(seconds(&presence.stays), [(10, 20)]);
    assert!(presence.join_inferred);
    // The stay from the first join is one, too.
    assert_eq!(
        stays(&[(20, "LEFT"), (30, "LEFT")], &first_joined(10)),
        [(10, 20)]
    );
}

#[test]
fn a_stay_without_a_length_does_not_count_as_a_stay_before() {
    let named = [(10, "JOINED"), (10, "LEFT"), (30, "LEFT")];
    assert_eq!(stays(&named, &first_joined(10)), [(10, 10), (10, 30)]);
}

#[test]
fn a_stay_without_a_leave_ends_with_the_session() {
    let presence = presence(&events(&[(10, "JOINED")]), &SESSION);
    assert_eq!(seconds(&presence.stays), [(10, 100)]);
    assert!(presence.stays[0].end_inferred);
    assert_eq!(
        (presence.join_inferred, presence.leave_inferred),
        (false, true)
    );
    assert_eq!(presence.last_leave_time, None);
}

#[test]
fn a_stay_without_a_leave_ends_with_its_last_join_or_leave_after_the_session() {
    assert_eq!(
        stays(&[(10, "JOINED"), (120, "JOINED")], &SESSION),
        [(10, 120)]
    );
    let one_of_two_left = [(10, "JOINED"), (20, "JOINED"), (130, "LEFT")];
    assert_eq!(stays(&one_of_two_left, &SESSION), [(10, 130)]);
    assert_eq!(stays(&[(110, "JOINED")], &SESSION), [(110, 110)]);
    // Only JOINED and LEFT count.
    assert_eq!(
        stays(&[(10, "JOINED"), (120, "PUBLISH_STOPPED")], &SESSION),
        [(10, 100)]
    );
}

#[test]
fn nothing_is_cut_at_the_sessions_end() {
    let presence = presence(&events(&[(90, "JOINED"), (103, "LEFT")]), &SESSION);
    assert_eq!(seconds(&presence.stays), [(90, 103)]);
    assert_eq!(presence.connected_ms, 13_000);
    assert!(!presence.leave_inferred);
}

#[test]
fn two_leaves_of_one_second_are_one_row_so_their_stay_reads_open() {
    let handover = events(&[(0, "JOINED"), (50, "JOINED"), (51, "LEFT")]);
    let presence = presence(&handover, &SESSION);
    assert_eq!(seconds(&presence.stays), [(0, 100)]);
    assert!(presence.leave_inferred);
}

#[test]
fn publishing_lasts_until_as_many_stops_as_starts() {
    let presence = presence(
        &events(&[
            (0, "JOINED"),
            (5, "PUBLISH_STOPPED"),
            (10, "PUBLISH_STARTED"),
            (20, "PUBLISH_STARTED"),
            (25, "PUBLISH_STOPPED"),
            (40, "PUBLISH_STOPPED"),
            (50, "PUBLISH_STARTED"),
            (60, "PUBLISH_STOPPED"),
            (80, "LEFT"),
        ]),
        &SESSION,
    );
    assert_eq!(seconds(&presence.publishing), [(10, 40), (50, 60)]);
    assert_eq!(presence.publish_ms, 40_000);
    assert_eq!(presence.publish_starts, 3);
}

#[test]
fn of_one_second_a_publishing_starts_before_it_stops() {
    let named = [
        (0, "JOINED"),
        (10, "PUBLISH_STOPPED"),
        (10, "PUBLISH_STARTED"),
        (80, "LEFT"),
    ];
    assert_eq!(publishing(&named, &SESSION), [(10, 10)]);
}

#[test]
fn a_publishing_without_a_stop_ends_with_its_stay_and_does_not_swallow_the_next() {
    let crash = events(&[
        (0, "JOINED"),
        (2, "PUBLISH_STARTED"),
        (10, "LEFT"),
        (20, "JOINED"),
        (22, "PUBLISH_STARTED"),
        (25, "PUBLISH_STOPPED"),
        (30, "LEFT"),
    ]);
    let presence = presence(&crash, &SESSION);
    assert_eq!(seconds(&presence.publishing), [(2, 10), (22, 25)]);
    let inferred = presence
        .publishing
        .iter()
        .map(|interval| interval.end_inferred);
    assert_eq!(inferred.collect::<Vec<_>>(), [true, false]);
    assert_eq!(presence.publish_ms, 11_000);
    assert!(!presence.leave_inferred);
}

#[test]
fn a_stop_after_the_stay_does_not_prolong_what_began_in_it() {
    let named = [
        (0, "JOINED"),
        (90, "PUBLISH_STARTED"),
        (103, "PUBLISH_STOPPED"),
    ];
    assert_eq!(publishing(&named, &SESSION), [(90, 100)]);
}

#[test]
fn the_last_instant_of_a_stay_belongs_to_it() {
    let start = [
        (0, "JOINED"),
        (10, "LEFT"),
        (10, "PUBLISH_STARTED"),
        (25, "PUBLISH_STOPPED"),
    ];
    assert_eq!(publishing(&start, &SESSION), [(10, 10)]);
    let stop = [
        (0, "JOINED"),
        (5, "PUBLISH_STARTED"),
        (10, "LEFT"),
        (10, "PUBLISH_STOPPED"),
    ];
    let presence = presence(&events(&stop), &SESSION);
    assert!(!presence.publishing[0].end_inferred);
}

#[test]
fn of_two_stays_that_share_an_instant_it_belongs_to_the_one_with_a_length() {
    for instant in [10, 20, 30] {
        let named = [
            (instant, "JOINED"),
            (instant, "LEFT"),
            (instant, "PUBLISH_STARTED"),
            (30, "LEFT"),
        ];
        let mut two_stays = [(10, 30), (instant, instant)];
        two_stays.sort_unstable();
        let mut events = events(&named);
        if instant == 30 {
            // Of two LEFT in one second, the second finds the depth at 0.
            events.push(event(30, "LEFT"));
        }
        let presence = presence(&events, &first_joined(10));
        assert_eq!(seconds(&presence.stays), two_stays);
        assert_eq!(seconds(&presence.publishing), [(instant, 30)]);
    }
}

#[test]
fn a_stay_without_a_length_has_its_own_events() {
    let named = [
        (10, "JOINED"),
        (10, "PUBLISH_STARTED"),
        (10, "LEFT"),
        (30, "PUBLISH_STOPPED"),
    ];
    assert_eq!(publishing(&named, &SESSION), [(10, 10)]);
}

#[test]
fn what_begins_outside_every_stay_ends_with_the_next_stop() {
    let outside = [
        (5, "PUBLISH_STARTED"),
        (8, "PUBLISH_STOPPED"),
        (10, "JOINED"),
        (20, "LEFT"),
    ];
    assert_eq!(publishing(&outside, &SESSION), [(5, 8)]);
    let inside = [
        (5, "PUBLISH_STARTED"),
        (10, "JOINED"),
        (15, "PUBLISH_STOPPED"),
        (20, "LEFT"),
    ];
    assert_eq!(publishing(&inside, &SESSION), [(5, 15)]);
    let behind = [
        (5, "PUBLISH_STARTED"),
        (10, "JOINED"),
        (20, "LEFT"),
        (25, "PUBLISH_STOPPED"),
    ];
    assert_eq!(publishing(&behind, &SESSION), [(5, 25)]);
}

#[test]
fn one_stop_ends_all_that_began_outside_and_takes_one_away_in_its_stay() {
    let named = [
        (4, "PUBLISH_STARTED"),
        (5, "PUBLISH_STARTED"),
        (10, "JOINED"),
        (12, "PUBLISH_STARTED"),
        (15, "PUBLISH_STOPPED"),
        (20, "LEFT"),
    ];
    let presence = presence(&events(&named), &SESSION);
    assert_eq!(seconds(&presence.publishing), [(4, 15)]);
    // The union counts once what overlaps.
    assert_eq!(presence.publish_ms, 11_000);
}

#[test]
fn intervals_that_touch_are_one() {
    let named = [
        (5, "PUBLISH_STARTED"),
        (10, "JOINED"),
        (10, "PUBLISH_STARTED"),
        (10, "PUBLISH_STARTED"),
        // Ends what began outside, and one of the two in the stay.
        (10, "PUBLISH_STOPPED"),
        (15, "PUBLISH_STOPPED"),
        (20, "LEFT"),
    ];
    assert_eq!(publishing(&named, &SESSION), [(5, 15)]);
}

#[test]
fn the_end_of_a_union_is_stated_if_a_part_was_stopped_there() {
    let named = [
        (5, "PUBLISH_STARTED"),
        (10, "JOINED"),
        (12, "PUBLISH_STARTED"),
        (13, "PUBLISH_STARTED"),
        (20, "PUBLISH_STOPPED"),
        (20, "LEFT"),
    ];
    let stopped = presence(&events(&named), &SESSION);
    assert_eq!(seconds(&stopped.publishing), [(5, 20)]);
    assert!(!stopped.publishing[0].end_inferred);
    // Without what began outside, one of two is left when the stay ends.
    let left = presence(&events(&named[1..]), &SESSION);
    assert_eq!(seconds(&left.publishing), [(12, 20)]);
    assert!(left.publishing[0].end_inferred);
}

#[test]
fn what_begins_outside_and_is_never_stopped_has_no_length() {
    let named = events(&[(5, "PUBLISH_STARTED"), (10, "JOINED"), (20, "LEFT")]);
    let presence = presence(&named, &SESSION);
    assert_eq!(seconds(&presence.publishing), [(5, 5)]);
    assert!(presence.publishing[0].end_inferred);
    assert_eq!(presence.publish_ms, 0);
}

#[test]
fn a_replicas_open_end_is_the_sessions_or_its_last_event() {
    assert_eq!(publishing(&[(5, "PUBLISH_STARTED")], &REPLICA), [(5, 100)]);
    let later_event = [(5, "PUBLISH_STARTED"), (104, "REPLICATION_STOPPED")];
    assert_eq!(publishing(&later_event, &REPLICA), [(5, 104)]);
    assert_eq!(
        publishing(&[(110, "PUBLISH_STARTED")], &REPLICA),
        [(110, 110)]
    );
    let joined = [(5, "PUBLISH_STARTED"), (10, "JOINED"), (20, "LEFT")];
    assert_eq!(publishing(&joined, &REPLICA), [(5, 100)]);
}

#[test]
fn a_replicas_publishing_inside_a_stay_ends_with_the_stay() {
    let named = [(0, "JOINED"), (5, "PUBLISH_STARTED"), (20, "LEFT")];
    assert_eq!(publishing(&named, &REPLICA), [(5, 20)]);
}

#[test]
fn each_publisher_is_watched_on_its_own_and_the_time_is_that_of_the_union() {
    let viewer = [
        event(0, "JOINED"),
        watch(10, "SUBSCRIBE_STARTED", "ana"),
        watch(20, "SUBSCRIBE_STARTED", "ben"),
        watch(30, "SUBSCRIBE_STOPPED", "ana"),
        watch(40, "SUBSCRIBE_STOPPED", "ben"),
        watch(60, "SUBSCRIBE_STARTED", "ana"),
        event(70, "LEFT"),
    ];
    let presence = presence(&viewer, &SESSION);
    let watching: Vec<_> = presence
        .watching
        .iter()
        .map(|watching| {
            let publisher = watching.remote_participant_id.as_deref();
            (publisher, seconds(&watching.intervals))
        })
        .collect();
    let expected = [
        (Some("ana"), vec![(10, 30), (60, 70)]),
        (Some("ben"), vec![(20, 40)]),
    ];
    assert_eq!(watching, expected);
    assert_eq!(presence.watch_ms, 40_000);
    assert_eq!(presence.publishers_watched, 2);
}

#[test]
fn all_watching_without_a_remote_id_is_of_one_publisher() {
    let viewer = [
        event(0, "JOINED"),
        event(10, "SUBSCRIBE_STARTED"),
        event(20, "SUBSCRIBE_STARTED"),
        event(30, "SUBSCRIBE_STOPPED"),
        event(70, "LEFT"),
    ];
    let presence = presence(&viewer, &SESSION);
    assert_eq!(presence.watching.len(), 1);
    assert_eq!(presence.watching[0].remote_participant_id, None);
    assert_eq!(seconds(&presence.watching[0].intervals), [(10, 70)]);
    assert_eq!(presence.publishers_watched, 0);
}

#[test]
fn a_replicas_open_end_does_not_concern_its_watching() {
    let replica = [watch(10, "SUBSCRIBE_STARTED", "ana")];
    let presence = presence(&replica, &REPLICA);
    assert_eq!(seconds(&presence.watching[0].intervals), [(10, 10)]);
    assert_eq!(presence.watch_ms, 0);
}

#[test]
fn without_joins_and_leaves_the_publishing_is_the_stays() {
    let named = events(&[
        (10, "PUBLISH_STARTED"),
        (30, "PUBLISH_STOPPED"),
        (50, "PUBLISH_STARTED"),
    ]);
    let replica = presence(&named, &REPLICA);
    assert_eq!(seconds(&replica.stays), [(10, 30), (50, 100)]);
    assert_eq!((replica.connected_ms, replica.publish_ms), (70_000, 70_000));
    assert!(replica.leave_inferred);
    let stopped = presence(&named[..2], &REPLICA);
    assert_eq!(
        (stopped.connected_ms, stopped.leave_inferred),
        (20_000, false)
    );
    // Of another participant, the open end has no length, and is an open end.
    let other = presence(&named, &SESSION);
    assert_eq!(seconds(&other.stays), [(10, 30), (50, 50)]);
    assert!(other.leave_inferred);
}

#[test]
fn with_a_leave_alone_the_publishing_is_not_the_stays() {
    let named = events(&[
        (10, "PUBLISH_STARTED"),
        (30, "PUBLISH_STOPPED"),
        (40, "LEFT"),
    ]);
    assert_eq!(presence(&named, &REPLICA).stays, []);
}

#[test]
fn watching_is_counted_without_the_stays_that_publishing_gives() {
    let named = [
        event(10, "PUBLISH_STARTED"),
        watch(20, "SUBSCRIBE_STARTED", "ana"),
        event(30, "PUBLISH_STOPPED"),
        watch(40, "SUBSCRIBE_STOPPED", "ana"),
    ];
    let presence = presence(&named, &SESSION);
    assert_eq!(seconds(&presence.watching[0].intervals), [(20, 40)]);
}

#[test]
fn an_event_without_a_time_takes_part_in_the_counts_only() {
    let names = [
        "JOINED",
        "LEFT",
        "PUBLISH_STARTED",
        "SUBSCRIBE_STARTED",
        "PUBLISH_ERROR",
    ];
    let timeless = names.map(|name| Event {
        time: None,
        ..watch(0, name, "ana")
    });
    let counted = Presence {
        joins: 1,
        publish_starts: 1,
        publishers_watched: 1,
        errors: 1,
        events: 5,
        ..presence(&[], &SESSION)
    };
    assert_eq!(presence(&timeless, &SESSION), counted);
}

#[test]
fn errors_are_the_names_that_end_so() {
    let names = [
        "JOIN_ERROR",
        "FUTURE_ERROR",
        "ERROR",
        "ERRORS",
        "_ERROR_",
        "join_error",
    ];
    let mut events = names.map(|name| event(0, name)).to_vec();
    events.push(Event {
        name: None,
        ..events[0]
    });
    let presence = presence(&events, &SESSION);
    assert_eq!((presence.errors, presence.events), (2, 7));
}

#[test]
fn the_last_event_is_the_latest_of_any_name() {
    let named = events(&[(30, "LEFT"), (0, "JOINED"), (45, "NEW"), (10, "LEFT")]);
    let presence = presence(&named, &SESSION);
    assert_eq!(presence.last_event_time, Some(at(45)));
    assert_eq!(presence.last_leave_time, Some(at(30)));
}

#[test]
fn whoever_has_no_events_has_no_time() {
    let nobody = Presence {
        stays: Vec::new(),
        publishing: Vec::new(),
        watching: Vec::new(),
        last_leave_time: None,
        last_event_time: None,
        connected_ms: 0,
        watch_ms: 0,
        publish_ms: 0,
        joins: 0,
        publish_starts: 0,
        publishers_watched: 0,
        errors: 0,
        events: 0,
        join_inferred: false,
        leave_inferred: false,
    };
    assert_eq!(presence(&[], &first_joined(10)), nobody);
}

/// With a quadratic step this takes minutes.
#[test]
fn a_hundred_thousand_events_are_counted() {
    let ids: Vec<_> = (0..1000).map(|id| id.to_string()).collect();
    let mut events = Vec::new();
    for round in 0..12_500_i64 {
        let start = 10 * round;
        let publisher = &ids[usize::try_from(round % 1000).unwrap()];
        events.extend([
            event(start, "JOINED"),
            event(start + 1, "PUBLISH_STARTED"),
            watch(start + 2, "SUBSCRIBE_STARTED", publisher),
            event(start + 3, "PUBLISH_STOPPED"),
            watch(start + 4, "SUBSCRIBE_STOPPED", publisher),
            event(start + 5, "LEFT"),
            event(start + 6, "PUBLISH_STARTED"),
            event(start + 7, "PUBLISH_STOPPED"),
        ]);
    }
    let presence = presence(&events, &SESSION);
    assert_eq!(presence.events, 100_000);
    assert_eq!(presence.stays.len(), 12_500);
    assert_eq!(presence.connected_ms, 12_500 * 5_000);
    assert_eq!(presence.publish_ms, 12_500 * 3_000);
    assert_eq!(presence.watch_ms, 12_500 * 2_000);
    assert_eq!(presence.publishers_watched, 1000);
}

const NAMES: [Option<&str>; 8] = [
    Some("JOINED"),
    Some("LEFT"),
    Some("PUBLISH_STARTED"),
    Some("PUBLISH_STOPPED"),
    Some("SUBSCRIBE_STARTED"),
    Some("SUBSCRIBE_STOPPED"),
    Some("UNHEARD_OF_ERROR"),
    None,
];

/// The session lasts from tick 0 to tick 8. Events lie before, in and after it, many on one instant; the last tick stands for
/// no time.
fn any_event() -> impl Strategy<Value = Event<'static>> {
    let publishers = [None, Some(""), Some("ana"), Some("ben")];
    let fields = (0..NAMES.len(), -2..13_i64, 0..publishers.len());
    fields.prop_map(move |(name, tick, publisher)| Event {
        name: NAMES[name],
        time: (tick < 12).then(|| model::time(tick)),
        remote_participant_id: publishers[publisher],
    })
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let fields = (option::of(-3..14_i64), any::<bool>());
    fields.prop_map(|(first_join_tick, is_replica)| Frame {
        session_end_time: model::time(8),
        first_join_time: first_join_tick.map(model::time),
        is_replica,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn presence_is_what_a_walk_over_all_instants_finds_in_any_order(
        mut events in vec(any_event(), 0..20),
        frame in any_frame(),
        seed in any::<u64>(),
    ) {
        let expected = model::presence(&events, &frame);
        prop_assert_eq!(&presence(&events, &frame), &expected);
        fastrand::Rng::with_seed(seed).shuffle(&mut events);
        prop_assert_eq!(&presence(&events, &frame), &expected);
    }
}
