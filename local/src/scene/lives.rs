//! Participants whose events are as difficult as IVS allows: each has one difficulty, and its user id says which.

use std::collections::BTreeMap;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use serde_json::{Map, Value, json};

use crate::ivs::world::{Details, Event, Participant, Token, timestamp};

/// The host, to whom most of the others subscribe.
const HOST: &str = "host";
/// The two streams of a redundant ingest are one publisher to viewers, with an id that no participant has.
const VIRTUAL: &str = "virtual00001";
const STAGES: &str = "arn:aws:ivs:us-west-2:123456789012:stage/";

/// Participants of a session that lasted from `start` to `end`, at least ten minutes. Their ids are their user ids.
pub fn lives(start: DateTime<Utc>, end: DateTime<Utc>) -> Vec<Participant> {
    let minute = |minutes| start + TimeDelta::minutes(minutes);
    let mut people = vec![
        host(start, end),
        Participant {
            events: watched(
                "comes-back",
                &[(0, 1), (2, 3), (3, 4), (6, 6), (8, 9)],
                minute,
            ),
            ..person("comes-back", start)
        },
        hands_over(minute),
        Participant {
            events: names(
                "crashes",
                &[("JOINED", minute(1)), ("PUBLISH_STARTED", minute(2))],
            ),
            published: Some(true),
            ..person("crashes", minute(1))
        },
        // Its connection began before what IVS tells of it.
        Participant {
            events: names("joined-unseen", &[("LEFT", minute(5))]),
            ..person("joined-unseen", minute(1))
        },
        replica(minute),
        around(start, end),
        changes_token(minute),
        tomorrow(minute),
        switches(start),
        half_told(minute),
        errs(minute),
    ];
    people.extend(redundant(minute));
    people.extend(untold(start));
    people
}

/// A participant whose events are drawn, in seconds around those of the session, so that many are of one second. A quarter of
/// all neither join nor leave, and a quarter are replicas.
pub fn random_life(
    id: &str,
    user_id: &str,
    start: DateTime<Utc>,
    seconds: i64,
    random: &mut fastrand::Rng,
) -> Participant {
    let connects = random.u8(..4) > 0;
    let replica = random.u8(..4) == 0;
    let mut second = || start + TimeDelta::seconds(random.i64(-3..seconds + 6));
    // IVS sends it to the millisecond, unlike the times of events.
    let first_join = second();
    let first_join = if random.bool() {
        first_join
    } else {
        first_join.trunc_subsecs(0)
    };
    let mut second = || start + TimeDelta::seconds(random.i64(-3..seconds + 6));
    let times: Vec<_> = (0..14).map(|_| second()).collect();
    let many = random.usize(..=times.len());
    let events = times.into_iter().take(many).map(|time| {
        let first = if connects { 0 } else { 4 };
        let names = [
            "JOINED",
            "JOINED",
            "LEFT",
            "LEFT",
            "PUBLISH_STARTED",
            "PUBLISH_STOPPED",
            "SUBSCRIBE_STARTED",
            "SUBSCRIBE_STARTED",
            "SUBSCRIBE_STOPPED",
            "SUBSCRIBE_STOPPED",
            "SUBSCRIBE_ERROR",
        ];
        let name = names[random.usize(first..names.len())];
        let publishers = [Some("publisher-1"), Some("publisher-2"), None];
        let publisher = publishers[random.usize(..publishers.len())];
        Event {
            remote_participant_id: publisher
                .filter(|_| name.starts_with("SUBSCRIBE"))
                .map(str::to_owned),
            // Two events of one second and name are two rows only if they differ.
            error_code: random.bool().then(|| "OTHER".to_owned()),
            ..Event::new(name, id, time)
        }
    });
    let mut events: Vec<_> = events.collect();
    if let Some(event) = events.first_mut().filter(|_| random.u8(..4) == 0) {
        event.event_time = None;
    }
    let person = person(id, first_join);
    Participant {
        user_id: text(user_id),
        first_join_time: person.first_join_time.filter(|_| random.u8(..4) > 0),
        replication_type: text(if replica { "REPLICA" } else { "NONE" }),
        events,
        ..person
    }
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn map(entries: &[(&str, &str)]) -> Option<BTreeMap<String, String>> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Some(entries.iter().map(owned).collect())
}

fn person(id: &str, join: DateTime<Utc>) -> Participant {
    Participant {
        participant_id: text(id),
        user_id: text(id),
        state: text("DISCONNECTED"),
        first_join_time: Some(timestamp(join)),
        recording_state: text("DISABLED"),
        replication_type: text("NONE"),
        details: Some(Details {
            attributes: map(&[("role", "guest")]),
            browser_name: text("Chrome"),
            browser_version: text("142.0.0"),
            os_name: text("Windows"),
            os_version: text("10"),
            sdk_version: text(""),
            isp_name: text("Vodafone"),
            protocol: text("UNKNOWN"),
            recording_s3_bucket_name: text(""),
            recording_s3_prefix: text(""),
        }),
        ..Participant::default()
    }
}

fn names(id: &str, events: &[(&str, DateTime<Utc>)]) -> Vec<Event> {
    let event = |&(name, time): &(&str, _)| Event::new(name, id, time);
    events.iter().map(event).collect()
}

fn of(publisher: &str, event: Event) -> Event {
    Event {
        remote_participant_id: text(publisher),
        ..event
    }
}

/// Stays from minute to minute, each with all its events in the first and the last second.
fn watched(id: &str, stays: &[(i64, i64)], minute: impl Fn(i64) -> DateTime<Utc>) -> Vec<Event> {
    let mut events = Vec::new();
    for &(from, to) in stays {
        let (from, to) = (minute(from), minute(to));
        events.extend([
            Event::new("JOINED", id, from),
            of(HOST, Event::new("SUBSCRIBE_STARTED", id, from)),
            of(HOST, Event::new("SUBSCRIBE_STOPPED", id, to)),
            Event::new("LEFT", id, to),
        ]);
    }
    events
}

/// Publishes twice, is recorded, and is shown on another stage meanwhile.
fn host(start: DateTime<Utc>, end: DateTime<Utc>) -> Participant {
    let minute = |minutes| start + TimeDelta::minutes(minutes);
    let shown = |name, time| Event {
        destination_stage_arn: Some(format!("{STAGES}Stage0Target")),
        destination_session_id: text("st-Target0000001"),
        replica: Some(false),
        ..Event::new(name, HOST, time)
    };
    let mut events = names(
        HOST,
        &[
            ("JOINED", start),
            ("PUBLISH_STARTED", start),
            ("PUBLISH_STOPPED", minute(4)),
            ("PUBLISH_STARTED", minute(4)),
            ("PUBLISH_STOPPED", end),
            ("LEFT", end),
        ],
    );
    events.push(shown("REPLICATION_STARTED", minute(2)));
    events.push(shown("REPLICATION_STOPPED", minute(6)));
    let person = person(HOST, start);
    Participant {
        published: Some(true),
        recording_state: text("STOPPED"),
        replication_type: text("SOURCE"),
        replication_state: text("STOPPED"),
        details: person.details.map(|details| Details {
            protocol: text("WHIP"),
            browser_name: text(""),
            browser_version: text(""),
            recording_s3_bucket_name: text("stage-recordings"),
            recording_s3_prefix: text("AbCdef1G2hij/st-1CVugbu2cf2n8/host/2025-11-18T16-00-00Z"),
            ..details
        }),
        events,
        ..person
    }
}

/// The token is used again while a connection is open. The new connection throws the old one out, which leaves in the same
/// second or later.
fn hands_over(minute: impl Fn(i64) -> DateTime<Utc>) -> Participant {
    let id = "hands-over";
    Participant {
        events: watched(id, &[(1, 3), (3, 6), (5, 9)], &minute),
        ..person(id, minute(1))
    }
}

/// It has no connection of its own, so there is no word of joining and leaving. It is still published.
fn replica(minute: impl Fn(i64) -> DateTime<Utc>) -> Participant {
    let id = "replica";
    let published = [
        ("PUBLISH_STARTED", minute(2)),
        ("PUBLISH_STOPPED", minute(3)),
        ("PUBLISH_STARTED", minute(4)),
    ];
    let mut events = names(id, &published);
    for event in &mut events {
        event.replica = Some(true);
    }
    Participant {
        published: Some(true),
        replication_type: text("REPLICA"),
        replication_state: text("ACTIVE"),
        source_stage_arn: Some(format!("{STAGES}Stage0Source")),
        source_session_id: text("st-Source0000001"),
        events,
        ..person(id, minute(2))
    }
}

/// The events begin before the session and end after it.
fn around(start: DateTime<Utc>, end: DateTime<Utc>) -> Participant {
    let id = "around";
    let minute = TimeDelta::minutes(1);
    Participant {
        events: names(id, &[("JOINED", start - minute), ("LEFT", end + minute)]),
        ..person(id, start)
    }
}

/// Exchanges its token for one with other attributes, then for one that holds nothing.
fn changes_token(minute: impl Fn(i64) -> DateTime<Utc>) -> Participant {
    let id = "changes-token";
    let token = |user_id, attributes| Token {
        capabilities: Some(vec!["SUBSCRIBE".to_owned(), "PUBLISH".to_owned()]),
        attributes,
        user_id: text(user_id),
        expiration_time: Some(timestamp(minute(720))),
    };
    let first = token("changes-token", map(&[("role", "guest")]));
    let second = token(
        "Zo\u{eb} \"Z\"\n",
        map(&[
            ("", "an empty key"),
            ("a.b[0]", "{\"c\": 1}"),
            ("Role", "upper case"),
            ("role", ""),
            ("\u{1f980} \"key\"\n\u{0}", "\u{65e5}\u{672c}\u{8a9e}"),
            ("newText", "is no member of tomorrow"),
        ]),
    );
    let empty = Token {
        capabilities: Some(Vec::new()),
        attributes: Some(BTreeMap::new()),
        ..Token::default()
    };
    let exchange = |time, previous, new| Event {
        previous_token: Some(previous),
        new_token: Some(new),
        ..Event::new("TOKEN_EXCHANGED", id, time)
    };
    let mut events = watched(id, &[(1, 9)], &minute);
    events.push(exchange(minute(3), first, second.clone()));
    events.push(exchange(minute(4), second, empty));
    events.push(exchange(minute(5), Token::default(), Token::default()));
    let person = person(id, minute(1));
    Participant {
        details: person.details.map(|details| Details {
            attributes: Some(BTreeMap::new()),
            ..details
        }),
        events,
        ..person
    }
}

/// Names, codes and members that the API may add one day.
fn tomorrow(minute: impl Fn(i64) -> DateTime<Utc>) -> Participant {
    let id = "tomorrow";
    let more = [
        ("leaveReason", json!("battery")),
        ("bitrates", json!([1, { "layer": null }])),
    ];
    let more = more.map(|(name, value)| (name.to_owned(), value));
    let more: Map<String, Value> = more.into_iter().collect();
    let mut events = watched(id, &[(1, 9)], &minute);
    events.extend([
        Event {
            more: more.clone(),
            ..Event::new("HAND_RAISED", id, minute(2))
        },
        Event {
            error_code: text("HARDWARE_FAILED"),
            more,
            ..Event::new("CAMERA_ERROR", id, minute(3))
        },
    ]);
    let person = person(id, minute(1));
    Participant {
        details: person.details.map(|details| Details {
            protocol: text("QUIC"),
            ..details
        }),
        events,
        ..person
    }
}

/// 250 events, which are three pages of 100: one who joined, watched the host 124 times, and left.
fn switches(start: DateTime<Utc>) -> Participant {
    let id = "switches";
    let second = |seconds| start + TimeDelta::seconds(seconds);
    let mut events = names(id, &[("JOINED", start), ("LEFT", second(4 * 124))]);
    for turn in 0..124 {
        events.extend([
            of(HOST, Event::new("SUBSCRIBE_STARTED", id, second(4 * turn))),
            of(
                HOST,
                Event::new("SUBSCRIBE_STOPPED", id, second(4 * turn + 3)),
            ),
        ]);
    }
    Participant {
        events,
        ..person(id, start)
    }
}

/// Events that lack a member each, and one that lacks all; one event comes twice.
fn half_told(minute: impl Fn(i64) -> DateTime<Utc>) -> Participant {
    let id = "half-told";
    let mut events = watched(id, &[(1, 9)], &minute);
    events.push(events[0].clone());
    events.extend([
        Event {
            event_time: None,
            ..Event::new("JOINED", id, minute(2))
        },
        Event {
            name: None,
            ..Event::new("", id, minute(3))
        },
        Event {
            participant_id: None,
            ..Event::new("SUBSCRIBE_STARTED", id, minute(4))
        },
        Event::default(),
    ]);
    Participant {
        events,
        ..person(id, minute(1))
    }
}

/// Cannot join at first, publish or watch.
fn errs(minute: impl Fn(i64) -> DateTime<Utc>) -> Participant {
    let id = "errs";
    let error = |name, code, time| Event {
        error_code: text(code),
        ..Event::new(name, id, time)
    };
    let mut events = watched(id, &[(2, 9)], &minute);
    events.extend([
        error("JOIN_ERROR", "QUOTA_EXCEEDED", minute(1)),
        error("PUBLISH_ERROR", "INSUFFICIENT_CAPABILITIES", minute(2)),
        of(HOST, error("SUBSCRIBE_ERROR", "QUOTA_EXCEEDED", minute(2))),
        of(
            "nobody",
            error("SUBSCRIBE_ERROR", "PUBLISHER_NOT_FOUND", minute(2)),
        ),
    ]);
    Participant {
        events,
        ..person(id, minute(1))
    }
}

/// The two streams of a redundant ingest, and a viewer, who watches neither of the two but the virtual publisher.
fn redundant(minute: impl Fn(i64) -> DateTime<Utc>) -> Vec<Participant> {
    let stream = |id: &str, from, to| {
        let person = person(id, minute(from));
        Participant {
            published: Some(true),
            redundant_ingest: Some(true),
            ingest_configuration_arn: Some(format!(
                "{}ingest-configuration/Abcdef123456",
                STAGES.trim_end_matches("stage/")
            )),
            details: person.details.map(|details| Details {
                protocol: text("RTMPS"),
                browser_name: text(""),
                browser_version: text(""),
                ..details
            }),
            events: names(
                id,
                &[
                    ("JOINED", minute(from)),
                    ("PUBLISH_STARTED", minute(from)),
                    ("PUBLISH_STOPPED", minute(to)),
                    ("LEFT", minute(to)),
                ],
            ),
            ..person
        }
    };
    let id = "watches-virtual";
    let mut events = watched(id, &[(1, 9)], &minute);
    for event in &mut events {
        if event.remote_participant_id.is_some() {
            event.remote_participant_id = text(VIRTUAL);
        }
    }
    let viewer = Participant {
        events,
        ..person(id, minute(1))
    };
    vec![stream("stream-1", 1, 6), stream("stream-2", 1, 8), viewer]
}

/// Participants of whom IVS tells little: no events, no details, details without attributes, with an empty map of them, or
/// with nothing at all.
fn untold(start: DateTime<Utc>) -> Vec<Participant> {
    let join = start + TimeDelta::minutes(1);
    let watches = |id: &str| Participant {
        events: watched(id, &[(1, 9)], |minutes| start + TimeDelta::minutes(minutes)),
        ..person(id, join)
    };
    let attributes = |id: &str, attributes| {
        let person = watches(id);
        Participant {
            details: person.details.map(|details| Details {
                attributes,
                ..details
            }),
            ..person
        }
    };
    vec![
        person("no-events", join),
        Participant {
            details: None,
            ..watches("no-details")
        },
        attributes("no-attributes", None),
        attributes("empty-attributes", Some(BTreeMap::new())),
        Participant {
            details: Some(Details::default()),
            ..watches("empty-details")
        },
    ]
}
