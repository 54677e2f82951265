//! `make costs`: measures exports and sweeps of the real function at its default rates, and prints the rows of
//! docs/costs.md.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::time::{Duration, SystemTime};

use chrono::TimeDelta;
use ivs_attendance_local::ivs::world::{Session, timestamp};
use ivs_attendance_local::lambda::circle::{Circle, CircleSettings, WORK};
use ivs_attendance_local::lambda::mapping::Delivery;
use ivs_attendance_local::scene::{
    SESSION_ID, ended, hint, live, now, put_confirmed, request, stage,
};
use serde_json::Value;

const LONG: Duration = Duration::from_mins(15);
/// The messages of a batch. Before it comes one message alone.
const BATCH: usize = 10;
/// What CloudWatch adds to the bytes of each event.
const EVENT_BYTES: usize = 26;

/// Measures looks at sessions, and ticks that find nothing to do.
///
/// # Errors
/// When a server fails, or the function does something else than it was asked for.
pub(crate) async fn costs(bootstrap: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    println!(
        "| look | participants | calls to IVS | requests to S3 | seconds alone | seconds each, {BATCH} in a batch | \
         bytes of log | bytes of the object |\n{}|",
        "|---".repeat(8)
    );
    let hinted = |number| hint(&stage(number), SESSION_ID, now());
    let circle = with_sessions(bootstrap, folder, &live()).await?;
    look(&circle, "still_live", 2, hinted).await?;
    for people in [10, 100, 1000] {
        let session = with_real_ids(ended(people, 61));
        let circle = with_sessions(bootstrap, folder, &session).await?;
        look(&circle, "exported", people, hinted).await?;
        look(&circle, "up_to_date", people, hinted).await?;
        let before = SystemTime::now() - Duration::from_mins(30);
        for key in circle.s3.keys() {
            circle.s3.set_last_modified(&key, before);
        }
        let asked = |number| request(&stage(number), SESSION_ID);
        look(&circle, "confirmed", people, asked).await?;
    }
    println!(
        "\n| stages | sessions | calls to IVS | requests to S3 | requests to SQS | seconds | bytes of log |\n{}|",
        "|---".repeat(7)
    );
    for stages in [10, 100, 1000] {
        // The largest tick lists for some 265 s, and may list for 540.
        let circle = Circle::start(bootstrap, folder, CircleSettings::at(1)).await?;
        quiet_tick(&circle, stages).await?;
    }
    Ok(())
}

async fn with_sessions(
    bootstrap: &Path,
    folder: &Path,
    session: &Session,
) -> Result<Circle, Box<dyn Error>> {
    // The largest batch takes 50 of Lambda's 90 s.
    let circle = Circle::start(bootstrap, folder, CircleSettings::at(10)).await?;
    for number in 0..=BATCH {
        let mut world = circle.ivs.world();
        world.put(&stage(number), SESSION_ID, session.clone());
    }
    Ok(circle)
}

/// Replaces ids, names and times with random ones, which compress as badly as real ones. The scene's are consecutive.
pub(crate) fn with_real_ids(mut session: Session) -> Session {
    let mut random = fastrand::Rng::with_seed(1);
    let start = session.start_time.unwrap_or_else(now);
    for participant in &mut session.participants {
        let mut text = |length| -> String { (0..length).map(|_| random.alphanumeric()).collect() };
        participant.participant_id = Some(text(12));
        // About 128 bits, like a UUID.
        participant.user_id = Some(text(22));
        let joined = start + TimeDelta::milliseconds(random.i64(0..1_800_000));
        participant.first_join_time = Some(timestamp(joined));
    }
    session
}

/// A look at one session alone, and at ten in a batch.
async fn look(
    circle: &Circle,
    outcome: &str,
    people: usize,
    body: impl Fn(usize) -> Value,
) -> Result<(), Box<dyn Error>> {
    // The rate limiters must not wait because of earlier calls.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (calls, requests) = (circle.ivs.world().calls.len(), circle.s3.requests().len());
    let printed = logged(circle);
    circle.sqs.send(WORK, &body(0).to_string());
    circle.until_quiet(LONG).await?;
    let calls = circle.ivs.world().calls.split_off(calls);
    let requests = circle.s3.requests().split_off(requests);
    let log_bytes = logged(circle) - printed;
    for number in 1..=BATCH {
        circle.sqs.send(WORK, &body(number).to_string());
    }
    circle.until_quiet(LONG).await?;
    let deliveries = circle.work.deliveries();
    let [.., alone, batch] = &deliveries[..] else {
        return Err("two batches should have come".into());
    };
    let lines = circle.pool.log_lines();
    let outcomes = lines.iter().filter(|line| line["outcome"] == outcome);
    if outcomes.count() != 1 + BATCH || batch.messages.len() != BATCH {
        return Err(format!("not all are {outcome}, or they were no batch").into());
    }
    let sizes = circle.s3.keys().into_iter();
    let sizes = sizes.map(|key| circle.s3.read(&key).len());
    println!(
        "| {outcome} | {people} | {} | {} | {:.2} | {:.2} | {log_bytes} | {} |",
        counted(calls.into_iter().map(|call| call.operation)),
        counted(requests.into_iter().map(|request| request.operation)),
        seconds(alone)?,
        seconds(batch)? / BATCH as f64,
        sizes.max().unwrap_or(0),
    );
    Ok(())
}

/// A tick over so many stages, each with three confirmed sessions.
async fn quiet_tick(circle: &Circle, stages: usize) -> Result<(), Box<dyn Error>> {
    for number in 0..3 * stages {
        let session_id = format!("st-{number:013}");
        put_confirmed(&circle.ivs, &circle.s3, &stage(number / 3), &session_id)?;
    }
    circle.tick();
    circle.until_quiet(LONG).await?;
    let (swept, deliveries) = (circle.swept(), circle.sweeps.deliveries());
    let ([swept], [delivery]) = (&swept[..], &deliveries[..]) else {
        return Err(format!("{} sweeps", swept.len()).into());
    };
    let nothing = ["missing", "due", "enqueued", "failed"];
    let sqs = circle.sqs.requests();
    if swept["stages"] != stages
        || nothing.iter().any(|&member| swept[member] != 0)
        || sqs.len() != 1
    {
        return Err(format!("no quiet tick: {swept}, {} requests to SQS", sqs.len()).into());
    }
    let calls = circle.ivs.world().calls.clone();
    let requests = circle.s3.requests();
    // EventBridge sends the tick; Lambda receives and deletes it.
    println!(
        "| {stages} | {} | {} | {} | {}, 3 of the tick | {:.1} | {} |",
        3 * stages,
        counted(calls.into_iter().map(|call| call.operation)),
        counted(requests.into_iter().map(|request| request.operation)),
        counted(sqs.into_iter().map(|request| request.operation)),
        seconds(delivery)?,
        logged(circle),
    );
    Ok(())
}

/// The seconds from the invocation to the answer, including the start of the process.
fn seconds(delivery: &Delivery) -> Result<f64, Box<dyn Error>> {
    let (ended, _) = delivery.ended.as_ref().ok_or("a batch under way")?;
    Ok((*ended - delivery.started).as_secs_f64())
}

/// The bytes that CloudWatch Logs would have counted so far.
fn logged(circle: &Circle) -> usize {
    let printed = circle.pool.printed();
    printed.lines().map(|line| line.len() + EVENT_BYTES).sum()
}

fn counted(names: impl Iterator<Item = String>) -> String {
    let mut counts = BTreeMap::<_, usize>::new();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    let each = counts.iter().map(|(name, count)| format!("{count} {name}"));
    let each = each.collect::<Vec<_>>();
    if each.is_empty() {
        return "–".to_owned();
    }
    each.join(", ")
}
