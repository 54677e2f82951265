//! Sessions and payloads for tests and examples: those that the files in `events/` name, and others by number.

mod audience;
mod lives;
mod seminar;

use std::io;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::folder::at;
use crate::ivs::Ivs;
use crate::ivs::world::{Session, World, timestamp};
use crate::s3::S3;

pub use self::audience::{audience, audience_until, give_lives};
pub use self::lives::{lives, random_life};
pub use self::seminar::seminar;

/// A stage, and a session of it: those of `events/participant-unpublished.json`.
pub const STAGE_ARN: &str = "arn:aws:ivs:us-west-2:123456789012:stage/AbCdef1G2hij";
pub const SESSION_ID: &str = "st-1CVugbu2cf2n8";

/// Settings with which the rate limiters hardly delay the function.
pub const QUICK: [(&str, &str); 3] = [
    ("COLLECT_CALLS_PER_SECOND", "1000"),
    ("CALLS_PER_SECOND", "1000"),
    ("SWEEP_CALLS_PER_SECOND", "1000"),
];

/// How long a test waits before it fails.
pub const PATIENCE: Duration = Duration::from_mins(2);

const STAGE: &str = "arn:aws:ivs:us-west-2:123456789012:stage/";

/// Puts the sessions of `events/` into the emulator. Those that ended did so five minutes before `now`.
pub fn set(world: &mut World, now: DateTime<Utc>) {
    let end = now - TimeDelta::minutes(5);
    let start = end - TimeDelta::minutes(42);
    for (stage_id, session_id, people, ended) in [
        ("AbCdef1G2hij", "st-1CVugbu2cf2n8", 3, true),
        ("Kq8Zr2TnWx4v", "st-9PdXkqL3vZ7a0", 250, true),
        ("Live5taGe0Nn", "st-L1vE0aQw5rT2y", 7, false),
        ("Em7tyStage00", "st-0Nob0dyJ01ned", 0, true),
        ("Webinar0Stge", "st-W3b1narAbcdE4", 120, true),
        // Nobody published, so there is no event.
        ("Qu1etStage00", "st-Qu1etSess1on0", 2, true),
    ] {
        let end = ended.then_some(end);
        let session = Session {
            start_time: Some(start),
            end_time: end,
            participants: audience_until(people, start, end),
        };
        world.put(&format!("{STAGE}{stage_id}"), session_id, session);
    }
}

/// The current time.
pub fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}

/// A session of half an hour that ended so many minutes ago.
pub fn ended(people: usize, minutes_ago: i64) -> Session {
    let end = now() - TimeDelta::minutes(minutes_ago);
    let start = end - TimeDelta::minutes(30);
    Session {
        start_time: Some(start),
        end_time: Some(end),
        participants: audience_until(people, start, Some(end)),
    }
}

/// The ARN of a stage by its number, and the id of a session.
pub fn stage(number: usize) -> String {
    format!("{STAGE}stage{number:05}")
}

pub fn session(number: usize) -> String {
    format!("st-{number:013}")
}

/// A session of two people that has not ended.
pub fn live() -> Session {
    let mut session = ended(2, 0);
    session.end_time = None;
    give_lives(&mut session.participants, None);
    session
}

/// Puts a session of two that ended ten hours ago, and an object that makes a sweep leave it alone. The object is a
/// placeholder, since sweeps look only at keys and times.
pub fn put_confirmed(ivs: &Ivs, s3: &S3, stage_arn: &str, session_id: &str) -> io::Result<()> {
    let session = ended(2, 600);
    let stage_id = stage_arn.rsplit('/').next().unwrap_or_default();
    let day = session.start_time.map(|start| start.date_naive());
    let day = day.unwrap_or_default();
    let key = format!("participants/dt={day}/{stage_id}_{session_id}.parquet");
    put_placeholder(s3, &key, now())?;
    ivs.world().put(stage_arn, session_id, session);
    Ok(())
}

/// Puts an object that was last written at `time`, for those who look only at keys and times.
pub fn put_placeholder(s3: &S3, key: &str, time: DateTime<Utc>) -> io::Result<()> {
    let path = s3.path(key);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(at(folder))?;
    }
    std::fs::write(&path, "placeholder").map_err(at(&path))?;
    s3.set_last_modified(key, time.into());
    Ok(())
}

/// A request by hand.
pub fn request(stage_arn: &str, session_id: &str) -> Value {
    json!({ "stage_arn": stage_arn, "session_id": session_id })
}

/// The event of a file in `events/`.
pub fn event(name: &str) -> Value {
    let path = format!("events/{name}.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// An event that names a session, sent at `time`.
pub fn hint(stage_arn: &str, session_id: &str, time: DateTime<Utc>) -> Value {
    let mut event = event("participant-unpublished");
    event["resources"] = json!([stage_arn]);
    event["detail"]["session_id"] = session_id.into();
    event["time"] = timestamp(time).into();
    event
}

/// A message of an SQS batch.
pub fn message(id: &str, body: &Value) -> Value {
    json!({ "messageId": id, "eventSource": "aws:sqs", "body": body.to_string() })
}
