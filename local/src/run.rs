//! `make run`: invokes the function with the files in `events/` and with sweeps, and shows what it wrote: who attended, and
//! what became of all sessions.

mod tables;

use std::collections::{BTreeMap, HashSet};
use std::error::Error;
use std::path::Path;
use std::time::Duration;

use chrono::{TimeDelta, Utc};

use crate::BUCKET;
use crate::ivs::quota::Quota;
use crate::lambda::circle::{Circle, CircleSettings};
use crate::lambda::function::Answer;
use crate::run::tables::{Rows, sessions};
use crate::scene::{self, SESSION_ID, event};

/// How long before now the sessions of the scene are. So the first export of each is final, and it can be collected.
const AGO: TimeDelta = TimeDelta::hours(2);

/// At the default of 2 the sessions of the scene would take three minutes.
const COLLECT_CALLS_PER_SECOND: &str = "200";

/// A larger session of the scene, and how many of its people are shown.
const LARGE_SESSION_ID: &str = "st-9PdXkqL3vZ7a0";
const SHOWN: usize = 8;

/// The ticks of the schedule, and what each is for.
const TICKS: [&str; 3] = [
    "the sweep finds what no event told of, and the queues bring it",
    "what was exported meanwhile is collected, too",
    "nothing is left to do, and what there is now is written down in the table sessions",
];

/// The files in the order in which they are sent, what each shows, and the expected result: an outcome, an error type, or
/// the number of failed messages of a batch.
const DELIVERIES: [(&str, &str, &str); 8] = [
    (
        "participant-unpublished",
        "a hint: the session of 3 people has ended",
        "exported",
    ),
    (
        "recording-end",
        "another kind of hint: a session of 250, three pages",
        "exported",
    ),
    (
        "participant-unpublished-live",
        "somebody stopped publishing, but the session goes on",
        "still_live",
    ),
    (
        "composition-session-end",
        "a look-alike: a composition ended, not a stage session",
        "InvalidEvent",
    ),
    (
        "stream-session-ended",
        "a look-alike: a low-latency channel",
        "InvalidEvent",
    ),
    (
        "participant-unpublished",
        "the first hint again: events come twice",
        "up_to_date",
    ),
    (
        "request",
        "a request by hand: an ended session that nobody joined",
        "exported",
    ),
    (
        "sqs-batch",
        "4 messages from the queue: 2 sessions, and one malformed id",
        "1 failed",
    ),
];

/// Sends every file and some ticks, prints the results, and then the content of the lake.
///
/// # Errors
/// When a server cannot be started, or a result is not the expected one.
pub async fn run(bootstrap: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    let settings =
        CircleSettings::default().with(&[("COLLECT_CALLS_PER_SECOND", COLLECT_CALLS_PER_SECOND)]);
    let circle = Circle::start_in(bootstrap, folder, settings).await?;
    {
        let mut world = circle.ivs.world();
        scene::set(&mut world, Utc::now() - AGO);
        world.quota = Quota::Off;
    }
    println!(
        "To be quick, COLLECT_CALLS_PER_SECOND is {COLLECT_CALLS_PER_SECOND} (default: 2), and IVS has no quota here. \
         The sessions ended\nover two hours ago, so that none waits for its second look (CONFIRM_AFTER_MINUTES: 60)."
    );
    let mut shown = HashSet::new();
    for (name, meaning, expected) in DELIVERIES {
        deliver(&circle, (name, meaning, expected), &mut shown).await?;
    }
    for meaning in TICKS {
        println!("\n── a tick of the schedule ── {meaning}");
        circle.tick();
        circle.until_quiet(Duration::from_mins(1)).await?;
        show_new_lines(&circle, &mut shown);
    }
    show_lake(&circle)?;
    let folder = folder.display();
    println!(
        "\nEverything above is in {folder}: s3/ is the bucket, logs/ what the function printed."
    );
    Ok(())
}

/// Invokes the function with a file of `events/`, and compares the result with the expected one.
async fn deliver(
    circle: &Circle,
    (name, meaning, expected): (&str, &str, &str),
    shown: &mut HashSet<String>,
) -> Result<(), Box<dyn Error>> {
    println!("\n── events/{name}.json ── {meaning}");
    let answer = circle
        .invoke(event(name))
        .await
        .map_err(|died| died.to_string())?;
    show_new_lines(circle, shown);
    let came = match &answer {
        Answer::Ok(report) => {
            println!("   answer  {report}");
            let failures = report["batchItemFailures"]
                .as_array()
                .map(|failures| format!("{} failed", failures.len()));
            failures.unwrap_or_else(|| report["outcome"].as_str().unwrap_or_default().to_owned())
        }
        Answer::Err(failure) => {
            println!("   error   {}: {}", failure.error_type, failure.message);
            failure.error_type.clone()
        }
    };
    if came == expected {
        return Ok(());
    }
    Err(format!("events/{name}.json should have come to {expected}, and came to {came}").into())
}

/// Prints the keys of the lake, and from its files who attended, and what became of all sessions.
fn show_lake(circle: &Circle) -> Result<(), Box<dyn Error>> {
    println!("\n── the lake, s3://{BUCKET}/");
    println!("   {:>8}  {:>5}  key", "bytes", "rows");
    let (mut attendance, mut people, mut days) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for key in circle.s3.keys() {
        let bytes = circle.s3.read(&key);
        let size = bytes.len();
        let Some(path) = key.strip_suffix(".parquet") else {
            // The parts of a large collection are JSON.
            println!("   {size:>8}  {:>5}  {key}", "");
            continue;
        };
        let rows = Rows::of(bytes)?;
        let count = rows.count();
        println!("   {size:>8}  {count:>5}  {key}");
        let (_, session) = path.rsplit_once('_').unwrap_or(("", path));
        match path.split('/').next() {
            Some("attendance") => {
                attendance.insert(session.to_owned(), rows);
            }
            Some("participants") => {
                people.insert(session.to_owned(), count);
            }
            Some("sessions") => days.push(rows),
            _ => {}
        }
    }
    for (session, most) in [(SESSION_ID, usize::MAX), (LARGE_SESSION_ID, SHOWN)] {
        let rows = attendance.get(session);
        let rows = rows.ok_or_else(|| format!("the session {session} was not collected"))?;
        let (count, most) = (rows.count(), rows.count().min(most));
        println!("\n── who attended {session}: {most} of {count} people, of the table attendance");
        println!("{}", rows.attendance(most)?);
    }
    println!(
        "   * inferred: IVS told of no such event, so the session's end, or the first join, stands for it"
    );
    println!("\n── what became of all sessions, of the table sessions");
    println!("{}", sessions(&days, &people)?);
    Ok(())
}

/// Prints new log lines.
fn show_new_lines(circle: &Circle, shown: &mut HashSet<String>) {
    for line in circle.pool.printed().lines() {
        if shown.insert(line.to_owned()) {
            println!("   log     {line}");
        }
    }
}
