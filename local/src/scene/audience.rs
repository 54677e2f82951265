//! The audience of a session, and what its members did: joined, watched, published, left, in the ways of real people.
//! Everything follows from a participant's number and summary, so that each run tells the same.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use crate::ivs::world::{Details, Event, Participant, timestamp};

/// At most so many publish at once on a stage.
const PUBLISHERS: usize = 12;

/// Participants of a session of half an hour.
pub fn audience(people: usize, start: DateTime<Utc>) -> Vec<Participant> {
    audience_until(people, start, Some(start + TimeDelta::minutes(30)))
}

/// Participants who joined one second after the other, and what they did until the session's end. The first one published
/// and was recorded. Every fifth had a token without a user id. While the session is live nobody has left.
pub fn audience_until(
    people: usize,
    start: DateTime<Utc>,
    end: Option<DateTime<Utc>>,
) -> Vec<Participant> {
    let participant = |number: usize| {
        let join = start + TimeDelta::milliseconds(i64::try_from(number).unwrap_or(0) * 1000 + 123);
        let publishes = number == 0;
        Participant {
            participant_id: Some(format!("p{number:011}")),
            user_id: Some(if number % 5 == 4 {
                String::new()
            } else {
                format!("viewer-{number}")
            }),
            state: Some("DISCONNECTED".to_owned()),
            first_join_time: Some(timestamp(join)),
            published: publishes.then_some(true),
            recording_state: Some(if publishes { "STOPPED" } else { "DISABLED" }.to_owned()),
            replication_type: Some("NONE".to_owned()),
            ..Participant::default()
        }
    };
    let mut people: Vec<_> = (0..people).map(participant).collect();
    give_lives(&mut people, end);
    people
}

/// Gives each participant events and details that agree with the summary. `end` is the session's.
pub fn give_lives(people: &mut [Participant], end: Option<DateTime<Utc>>) {
    let publishers: Vec<_> = people
        .iter()
        .filter(|who| who.published == Some(true))
        .filter_map(|who| Some((who.participant_id.clone()?, joined(who)?)))
        .take(PUBLISHERS)
        .collect();
    for (number, who) in people.iter_mut().enumerate() {
        who.details = details(number, who);
        if let Some(id) = who.participant_id.clone() {
            who.events = match joined(who) {
                Some(join) => events(number, who, &id, join, end, &publishers),
                None => Vec::new(),
            };
        }
    }
}

fn joined(who: &Participant) -> Option<DateTime<Utc>> {
    who.first_join_time.as_ref()?.parse().ok()
}

/// The events of a participant, in the order in which they came about.
fn events(
    number: usize,
    who: &Participant,
    id: &str,
    join: DateTime<Utc>,
    end: Option<DateTime<Utc>>,
    publishers: &[(String, DateTime<Utc>)],
) -> Vec<Event> {
    let event = |name, time| Event::new(name, id, time);
    let replica = who.replication_type.as_deref() == Some("REPLICA");
    let publishes = replica || who.published == Some(true);
    let mut stays = stays(number, publishes, join, end);
    if let (Some("CONNECTED"), Some(stay)) = (who.state.as_deref(), stays.last_mut()) {
        stay.left = false;
    }
    let mut events = Vec::new();
    for Stay { from, to, left } in stays {
        if !replica {
            events.push(event("JOINED", from));
        }
        let mut pairs = Vec::new();
        if publishes {
            let mark = |event: Event| Event {
                replica: replica.then_some(true),
                ..event
            };
            events.push(mark(event("PUBLISH_STARTED", from)));
            pairs.push(mark(event("PUBLISH_STOPPED", to.unwrap_or(from))));
        }
        for (publisher, since) in publishers {
            let from = from.max(*since);
            let too_late = |&over: &DateTime<Utc>| over < from;
            if replica || publisher == id || to.iter().chain(&end).any(too_late) {
                continue;
            }
            let remote = |name, time| Event {
                remote_participant_id: Some(publisher.clone()),
                ..event(name, time)
            };
            if number % 50 == 20 {
                let codes = [
                    "QUOTA_EXCEEDED",
                    "PUBLISHER_NOT_FOUND",
                    "INTERNAL_SERVER_EXCEPTION",
                ];
                events.push(Event {
                    error_code: Some(codes[number / 50 % codes.len()].to_owned()),
                    ..remote("SUBSCRIBE_ERROR", from)
                });
            }
            events.push(remote("SUBSCRIBE_STARTED", from));
            pairs.push(remote("SUBSCRIBE_STOPPED", to.unwrap_or(from)));
        }
        // A connection that is lost stops nothing, as far as IVS tells.
        if let (Some(to), true) = (to, left) {
            events.append(&mut pairs);
            if !replica {
                events.push(event("LEFT", to));
            }
        }
    }
    events
}

/// A connection to the stage. `to` is none while the session is live.
struct Stay {
    from: DateTime<Utc>,
    to: Option<DateTime<Utc>>,
    /// Whether IVS told of the leaving.
    left: bool,
}

/// When a participant was connected. Who publishes stays until near the end; of the others some leave early, come back,
/// change to another device, or lose the connection for good.
fn stays(
    number: usize,
    publishes: bool,
    join: DateTime<Utc>,
    end: Option<DateTime<Utc>>,
) -> Vec<Stay> {
    let stay = |from, to| Stay {
        from,
        to: Some(to),
        left: true,
    };
    let Some(end) = end else {
        return vec![Stay {
            from: join,
            to: None,
            left: false,
        }];
    };
    // Somebody who is said to join when the session is over still stays for a minute.
    let end = end.max(join + TimeDelta::minutes(1));
    let seconds = (end - join).num_seconds();
    let after = |part: i64| join + TimeDelta::seconds(seconds * part / 100);
    let spread = i64::try_from(number * 7 % 40).unwrap_or(0);
    let last = (end - TimeDelta::seconds(3 + if publishes { 0 } else { spread })).max(after(90));
    match number {
        _ if publishes => vec![stay(join, last)],
        // The new connection throws the old one out.
        _ if number % 25 == 7 => vec![
            stay(join, after(40) + TimeDelta::seconds(1)),
            stay(after(40), last),
        ],
        _ if number % 17 == 5 => vec![Stay {
            left: false,
            ..stay(join, last)
        }],
        _ if number % 10 == 3 => vec![stay(join, after(33))],
        _ if number % 10 == 6 => vec![stay(join, after(25)), stay(after(30), last)],
        _ => vec![stay(join, last)],
    }
}

/// What GetParticipant tells of the device. It does not know every fortieth.
fn details(number: usize, who: &Participant) -> Option<Details> {
    const DEVICES: [[&str; 5]; 6] = [
        ["Chrome", "142.0.0", "Windows", "10", "1.30.0"],
        ["Safari", "18.6", "iOS", "18.6.2", "1.30.0"],
        ["Chrome Mobile", "142.0.0", "Android", "15", "1.29.0"],
        ["Firefox", "144.0", "Linux", "", "1.28.1"],
        ["Edge", "141.0.0", "Windows", "11", "1.30.0"],
        // A native application has no browser.
        ["", "", "iOS", "17.7", "1.36.0"],
    ];
    const PROVIDERS: [&str; 5] = [
        "Comcast Cable",
        "Deutsche Telekom AG",
        "Vodafone",
        "Reliance Jio",
        "NTT Communications",
    ];
    if number % 40 == 11 {
        return None;
    }
    let [browser, browser_version, os, os_version, sdk_version] = DEVICES[number % DEVICES.len()];
    let text = |text: &str| Some(text.to_owned());
    let recorded = who.published == Some(true)
        && !matches!(who.recording_state.as_deref(), None | Some("DISABLED"));
    let prefix = format!(
        "recordings/{}",
        who.participant_id.as_deref().unwrap_or("unknown")
    );
    Some(Details {
        attributes: match number % 3 {
            0 => Some(BTreeMap::from([
                ("role".to_owned(), "member".to_owned()),
                ("team".to_owned(), format!("team-{}", number % 7)),
            ])),
            1 => Some(BTreeMap::new()),
            _ => None,
        },
        browser_name: text(browser),
        browser_version: text(browser_version),
        os_name: text(os),
        os_version: text(os_version),
        sdk_version: text(sdk_version),
        isp_name: text(PROVIDERS[number % PROVIDERS.len()]),
        protocol: text("UNKNOWN"),
        recording_s3_bucket_name: text(if recorded { "stage-recordings" } else { "" }),
        recording_s3_prefix: text(if recorded { &prefix } else { "" }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> DateTime<Utc> {
        DateTime::UNIX_EPOCH
    }

    fn count(who: &Participant, name: &str) -> usize {
        let named = |event: &&Event| event.name.as_deref() == Some(name);
        who.events.iter().filter(named).count()
    }

    #[test]
    fn each_way_to_attend_is_there_and_each_run_tells_the_same() {
        let people = audience(100, start());
        assert_eq!(people, audience(100, start()));
        let ways = |way: fn(&Participant) -> bool| people.iter().filter(|who| way(who)).count();
        assert_eq!(ways(|who| count(who, "JOINED") == 0), 0);
        assert!(ways(|who| count(who, "JOINED") == 2) > 5, "come back");
        assert!(
            ways(|who| count(who, "LEFT") == 0) > 2,
            "lose the connection"
        );
        assert!(ways(|who| count(who, "SUBSCRIBE_ERROR") == 1) > 1);
        assert!(
            ways(|who| who.details.is_none()) > 1,
            "unknown to GetParticipant"
        );
        assert!(
            ways(|who| who
                .details
                .as_ref()
                .is_some_and(|it| it.attributes.is_none()))
                > 10
        );
        assert_eq!(ways(|who| count(who, "PUBLISH_STOPPED") == 1), 1);
        assert_eq!(
            count(&people[0], "SUBSCRIBE_STARTED"),
            0,
            "nobody watches itself"
        );
    }

    #[test]
    fn a_stay_begins_and_ends_in_a_whole_second_within_the_session() {
        let end = start() + TimeDelta::minutes(42);
        for who in audience_until(100, start(), Some(end)) {
            for event in &who.events {
                let time = event.event_time.as_deref().expect("a time");
                assert_eq!(time.len(), "1970-01-01T00:00:00Z".len());
                let time: DateTime<Utc> = time.parse().expect("an instant");
                assert!(time >= start() && time <= end, "{event:?}");
                let left = Event::new("LEFT", who.participant_id.as_deref().unwrap_or(""), time);
                let stops = event.name.as_deref() == Some("SUBSCRIBE_STOPPED");
                assert!(!stops || who.events.contains(&left), "{:?}", who.events);
            }
        }
    }

    #[test]
    fn while_a_session_is_live_nobody_has_left() {
        for who in audience_until(100, start(), None) {
            assert_eq!(count(&who, "JOINED"), 1);
            assert_eq!(count(&who, "LEFT") + count(&who, "SUBSCRIBE_STOPPED"), 0);
        }
    }
}
