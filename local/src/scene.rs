//! The sessions that the files in `events/` speak of.

use chrono::{DateTime, TimeDelta, Utc};

use crate::ivs::{Participant, Session, World, timestamp};

const STAGE: &str = "arn:aws:ivs:us-west-2:123456789012:stage/";

/// Puts the sessions into the emulator, as they are at `now`: those that ended did so five minutes before.
pub fn set(world: &mut World, now: DateTime<Utc>) {
    let end = now - TimeDelta::minutes(5);
    let start = end - TimeDelta::minutes(42);
    for (stage_id, session_id, people, ended) in [
        ("AbCdef1G2hij", "st-1CVugbu2cf2n8", 3, true),
        ("Kq8Zr2TnWx4v", "st-9PdXkqL3vZ7a0", 250, true),
        ("Live5taGe0Nn", "st-L1vE0aQw5rT2y", 7, false),
        ("Em7tyStage00", "st-0Nob0dyJ01ned", 0, true),
        ("Webinar0Stge", "st-W3b1narAbcdE4", 120, true),
    ] {
        let session = Session {
            start_time: Some(start),
            end_time: ended.then_some(end),
            participants: audience(people, start),
        };
        world.put(&format!("{STAGE}{stage_id}"), session_id, session);
    }
}

/// So many participants, who joined one after the other, a second apart. The first of them published and was recorded;
/// every fifth had a token without a user id.
#[must_use]
pub fn audience(people: usize, start: DateTime<Utc>) -> Vec<Participant> {
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
    (0..people).map(participant).collect()
}
