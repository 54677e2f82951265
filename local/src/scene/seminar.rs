//! A seminar as a person believes it: for README's query, and for the picture of its report.

use chrono::{DateTime, TimeDelta, Utc};

use crate::ivs::world::{Details, Event, Participant, timestamp};

const TEACHER: &str = "p00000000001";

/// What happens to a participant. Times are minutes and seconds since the start.
enum Doing {
    Joins,
    Leaves,
    Publishes {
        until: (i64, i64),
    },
    Fails {
        event: &'static str,
        code: &'static str,
    },
}

use Doing::{Fails, Joins, Leaves, Publishes};

/// A user, their device (browser, system, provider), and what they do when. A user can have two devices.
type Life = (
    &'static str,
    [&'static str; 3],
    &'static [((i64, i64), Doing)],
);

const LAPTOP: [&str; 3] = ["Chrome", "Windows", "Telia"];
const MAC: [&str; 3] = ["Safari", "macOS", "Vodafone"];
const PHONE: [&str; 3] = ["Mobile Safari", "iOS", "Orange"];

const LIVES: [Life; 14] = [
    (
        "teacher-1",
        MAC,
        &[
            ((0, 0), Joins),
            ((0, 8), Publishes { until: (47, 15) }),
            ((47, 20), Leaves),
        ],
    ),
    (
        "student-02",
        LAPTOP,
        &[((0, 35), Joins), ((47, 21), Leaves)],
    ),
    (
        "student-03",
        LAPTOP,
        &[
            ((1, 10), Joins),
            ((21, 0), Publishes { until: (24, 30) }),
            ((47, 24), Leaves),
        ],
    ),
    // The laptop's battery is empty, and a phone takes over.
    ("student-04", LAPTOP, &[((2, 5), Joins), ((18, 40), Leaves)]),
    ("student-04", PHONE, &[((19, 10), Joins), ((47, 5), Leaves)]),
    ("student-05", MAC, &[((12, 20), Joins), ((47, 10), Leaves)]),
    ("student-06", LAPTOP, &[((1, 30), Joins), ((24, 0), Leaves)]),
    // IVS tells of no leaving.
    ("student-07", LAPTOP, &[((0, 50), Joins)]),
    // Two devices at once.
    ("student-08", MAC, &[((1, 0), Joins), ((47, 22), Leaves)]),
    ("student-08", PHONE, &[((15, 0), Joins), ((40, 0), Leaves)]),
    (
        "student-09",
        PHONE,
        &[
            ((3, 0), Joins),
            ((10, 0), Leaves),
            ((10, 45), Joins),
            (
                (10, 46),
                Fails {
                    event: "SUBSCRIBE_ERROR",
                    code: "INTERNAL_SERVER_EXCEPTION",
                },
            ),
            ((31, 20), Leaves),
            ((33, 0), Joins),
            ((47, 0), Leaves),
        ],
    ),
    (
        "student-10",
        LAPTOP,
        &[
            (
                (3, 50),
                Fails {
                    event: "JOIN_ERROR",
                    code: "QUOTA_EXCEEDED",
                },
            ),
            ((4, 40), Joins),
            ((33, 10), Publishes { until: (36, 0) }),
            ((47, 20), Leaves),
        ],
    ),
    // Two who cannot be told apart.
    ("", PHONE, &[((5, 0), Joins), ((9, 30), Leaves)]),
    ("", LAPTOP, &[((20, 0), Joins), ((30, 0), Leaves)]),
];

/// The participants of a seminar of 48 minutes. One leaves at half of it.
pub fn seminar(start: DateTime<Utc>) -> Vec<Participant> {
    let at = |(minutes, seconds): (i64, i64)| start + TimeDelta::seconds(60 * minutes + seconds);
    let person = |(number, (user_id, device, doings)): (usize, &Life)| {
        let id = format!("p{number:011}");
        let mut events = Vec::new();
        for &(when, ref doing) in *doings {
            let event = |name, when| Event::new(name, &id, at(when));
            let watch = |name, when| Event {
                remote_participant_id: Some(TEACHER.to_owned()),
                ..event(name, when)
            };
            let watches = id != TEACHER;
            match *doing {
                Joins => {
                    events.push(event("JOINED", when));
                    events.extend(watches.then(|| watch("SUBSCRIBE_STARTED", when)));
                }
                Leaves => {
                    events.extend(watches.then(|| watch("SUBSCRIBE_STOPPED", when)));
                    events.push(event("LEFT", when));
                }
                Publishes { until } => {
                    events.extend([
                        event("PUBLISH_STARTED", when),
                        event("PUBLISH_STOPPED", until),
                    ]);
                }
                Fails { event: name, code } => events.push(Event {
                    error_code: Some(code.to_owned()),
                    ..event(name, when)
                }),
            }
        }
        let join = doings.iter().find(|(_, doing)| matches!(doing, Joins));
        let text = |text: &str| Some(text.to_owned());
        Participant {
            participant_id: Some(id.clone()),
            user_id: text(user_id),
            state: text("DISCONNECTED"),
            first_join_time: join.map(|&(when, _)| timestamp(at(when))),
            published: Some(
                doings
                    .iter()
                    .any(|(_, doing)| matches!(doing, Publishes { .. })),
            ),
            recording_state: text("DISABLED"),
            replication_type: text("NONE"),
            details: Some(Details {
                browser_name: text(device[0]),
                os_name: text(device[1]),
                isp_name: text(device[2]),
                ..Details::default()
            }),
            events,
            ..Participant::default()
        }
    };
    (1..).zip(&LIVES).map(person).collect()
}
