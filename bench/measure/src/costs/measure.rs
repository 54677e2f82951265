//! What exports and sweeps take: the real function at its default paces, its requests counted and its batches timed.
//!
//! The local servers answer within milliseconds. Within a batch or a sweep IVS and S3 may take a pace's interval for
//! each call (500 ms, in a sweep 250) before an invocation takes longer for it; what comes alone takes longer at once.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use chrono::TimeDelta;
use serde_json::Value;

use ivs_attendance_local::ivs::world::{Session, timestamp};
use ivs_attendance_local::lambda::circle::{Circle, CircleSettings, SWEEPS, WORK};
use ivs_attendance_local::scene::{SESSION_ID, ended, hint, now, request};

/// Participants of the sessions that are exported.
const SIZES: [usize; 3] = [10, 100, 1000];
/// Messages of a batch, each of which names a session of its own.
const BATCH: usize = 10;
/// Stages of a tick, and sessions of each of them.
const STAGES: [usize; 3] = [10, 100, 1000];
const SESSIONS_EACH: usize = 3;
const LONG: Duration = Duration::from_mins(15);
/// What the queue of sweeps sees of a tick: EventBridge sends, and the source mapping receives and deletes.
const FIFO_REQUESTS: usize = 3;
/// What CloudWatch counts for each event beside its bytes.
const EVENT_BYTES: usize = 26;

/// Everything that was measured.
pub(super) struct Measured {
    looks: Vec<Look>,
    ticks: Vec<Tick>,
}

/// Measures looks at sessions and quiet ticks.
///
/// # Errors
/// When a server fails, or the function does something else than it was asked for.
pub(super) async fn all(bootstrap: &Path, folder: &Path) -> io::Result<Measured> {
    let mut measured = Measured {
        looks: vec![Look::at_live(bootstrap, folder).await?],
        ticks: Vec::new(),
    };
    for people in SIZES {
        measured
            .looks
            .extend(Look::at_ended(bootstrap, folder, people).await?);
    }
    for stages in STAGES {
        measured
            .ticks
            .push(Tick::quiet(bootstrap, folder, stages).await?);
    }
    Ok(measured)
}

type Counts = BTreeMap<String, usize>;

/// A look at a session, alone and in a batch.
struct Look {
    outcome: &'static str,
    people: usize,
    /// Of the one that came alone: calls to IVS and requests to S3, by operation.
    ivs: Counts,
    s3: Counts,
    log_bytes: usize,
    alone: f64,
    /// Seconds of a batch, for each of its sessions.
    each: f64,
    /// Of the object after it.
    object_bytes: usize,
}

impl Look {
    async fn at_live(bootstrap: &Path, folder: &Path) -> io::Result<Self> {
        let circle = start(bootstrap, folder).await?;
        for stage in stages() {
            let session = Session {
                end_time: None,
                ..ended(2, 0)
            };
            circle.ivs.world().put(&stage, SESSION_ID, session);
        }
        let body = |stage: &str| hint(stage, SESSION_ID, now());
        Self::measure(&circle, "still_live", 2, body).await
    }

    /// The first look, by a hint; a hint too many; and the second look, as a sweep asks for it.
    async fn at_ended(bootstrap: &Path, folder: &Path, people: usize) -> io::Result<[Self; 3]> {
        let circle = start(bootstrap, folder).await?;
        for stage in stages() {
            let session = with_real_ids(ended(people, 61));
            circle.ivs.world().put(&stage, SESSION_ID, session);
        }
        let body = |stage: &str| hint(stage, SESSION_ID, now());
        let first = Self::measure(&circle, "exported", people, body).await?;
        let again = Self::measure(&circle, "up_to_date", people, body).await?;
        let before = SystemTime::now() - Duration::from_mins(30);
        for key in circle.s3.keys() {
            circle.s3.set_last_modified(&key, before);
        }
        let body = |stage: &str| request(stage, SESSION_ID);
        Ok([
            first,
            again,
            Self::measure(&circle, "confirmed", people, body).await?,
        ])
    }

    async fn measure(
        circle: &Circle,
        outcome: &'static str,
        people: usize,
        body: impl Fn(&str) -> Value,
    ) -> io::Result<Self> {
        // What came before leaves the paces behind.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let stages = stages();
        let (calls, requests) = (circle.ivs.world().calls.len(), circle.s3.requests().len());
        let printed = logged(circle);
        let alone = deliver(circle, &stages[..1], &body).await?;
        let calls = circle.ivs.world().calls.split_off(calls);
        let requests = circle.s3.requests().split_off(requests);
        let log_bytes = logged(circle) - printed;
        let batch = deliver(circle, &stages[1..], &body).await?;

        let lines = circle.pool.log_lines();
        let outcomes = lines.iter().filter(|line| line["outcome"] == outcome);
        if outcomes.count() != stages.len() {
            return Err(io::Error::other(format!("not all are {outcome}")));
        }
        let sizes = circle.s3.keys().into_iter();
        Ok(Self {
            outcome,
            people,
            ivs: counted(calls.into_iter().map(|call| call.operation)),
            s3: counted(requests.into_iter().map(|request| request.operation)),
            log_bytes,
            alone,
            each: batch / BATCH as f64,
            object_bytes: sizes
                .map(|key| circle.s3.read(&key).len())
                .max()
                .unwrap_or(0),
        })
    }
}

/// The stages, each with a session: of one that comes alone, and of those of a batch.
fn stages() -> Vec<String> {
    let stage = |number| format!("arn:aws:ivs:us-west-2:123456789012:stage/stage{number:07}");
    (0..=BATCH).map(stage).collect()
}

/// Sends a message for each stage's session at once, waits until nothing is left, and gives the seconds of the one batch that
/// they made.
async fn deliver(
    circle: &Circle,
    stages: &[String],
    body: impl Fn(&str) -> Value,
) -> io::Result<f64> {
    let before = circle.work.deliveries().len();
    for stage in stages {
        circle.sqs.send(WORK, &body(stage).to_string());
    }
    circle.until_quiet(LONG).await?;
    let deliveries = circle.work.deliveries().split_off(before);
    let [delivery] = &deliveries[..] else {
        let batches = deliveries.len();
        return Err(io::Error::other(format!("{batches} batches and not one")));
    };
    let ended = delivery.ended.as_ref().ok_or(io::ErrorKind::InvalidData)?;
    Ok((ended.0 - delivery.started).as_secs_f64())
}

/// Ids, names and times that compress as badly as real ones, where the scene's are in a row.
fn with_real_ids(mut session: Session) -> Session {
    let mut random = fastrand::Rng::with_seed(1);
    let start = session.start_time.unwrap_or_else(now);
    for participant in &mut session.participants {
        let mut text = |length| -> String { (0..length).map(|_| random.alphanumeric()).collect() };
        participant.participant_id = Some(text(12));
        // Some 128 bits, as a UUID has.
        participant.user_id = Some(text(22));
        let joined = start + TimeDelta::milliseconds(random.i64(0..1_800_000));
        participant.first_join_time = Some(timestamp(joined));
    }
    session
}

/// What one tick did that found nothing to do.
///
/// The sessions' objects are placeholders, since a sweep looks at keys and times only.
struct Tick {
    stages: usize,
    /// Calls to IVS, requests to S3 and the function's own to SQS, each by operation.
    ivs: Counts,
    s3: Counts,
    sqs: Counts,
    log_bytes: usize,
    /// From the invocation to its answer, with the start of the process.
    seconds: f64,
}

impl Tick {
    /// Sweeps once over so many stages, whose sessions are all in the lake and confirmed.
    async fn quiet(bootstrap: &Path, parent: &Path, stages: usize) -> io::Result<Self> {
        let circle = start(bootstrap, parent).await?;
        for stage in 0..stages {
            for number in 0..SESSIONS_EACH {
                let (stage_id, session_id) =
                    (format!("stage{stage:07}"), format!("st-{number:013}"));
                let session = ended(2, 600);
                let start = session.start_time.ok_or(io::ErrorKind::InvalidData)?;
                let key = format!(
                    "participants/dt={}/{stage_id}_{session_id}.parquet",
                    start.date_naive()
                );
                let path = circle.s3.path(&key);
                std::fs::create_dir_all(path.parent().ok_or(io::ErrorKind::InvalidData)?)?;
                std::fs::write(path, "confirmed")?;
                let arn = format!("arn:aws:ivs:us-west-2:123456789012:stage/{stage_id}");
                circle.ivs.world().put(&arn, &session_id, session);
            }
        }
        circle.tick();
        circle.until_quiet(LONG).await?;

        let (swept, deliveries) = (circle.swept(), circle.sweeps.deliveries());
        let ([swept], [delivery]) = (&swept[..], &deliveries[..]) else {
            return Err(io::Error::other(format!("{} sweeps", swept.len())));
        };
        let quiet = |line: &Value| {
            let nothing = ["missing", "due", "enqueued", "failed"];
            line["stages"] == stages && nothing.iter().all(|&member| line[member] == 0)
        };
        if !quiet(swept) {
            return Err(io::Error::other(format!("no quiet tick: {swept}")));
        }
        let sqs = circle.sqs.requests();
        // The bill counts one request to each queue.
        if sqs.iter().filter(|it| it.queue == SWEEPS).count() != 1 || sqs.len() != 2 {
            return Err(io::Error::other(format!("{} requests to SQS", sqs.len())));
        }
        let ended = delivery.ended.as_ref().ok_or(io::ErrorKind::InvalidData)?;
        let calls = circle.ivs.world().calls.clone();
        Ok(Self {
            stages,
            ivs: counted(calls.into_iter().map(|call| call.operation)),
            s3: counted(circle.s3.requests().into_iter().map(|it| it.operation)),
            sqs: counted(sqs.into_iter().map(|it| it.operation)),
            log_bytes: logged(&circle),
            seconds: (ended.0 - delivery.started).as_secs_f64(),
        })
    }
}

async fn start(bootstrap: &Path, parent: &Path) -> io::Result<Circle> {
    // What takes minutes must not be handed out again meanwhile.
    Circle::start(bootstrap, parent, CircleSettings::at(3)).await
}

/// What CloudWatch Logs would have counted so far.
fn logged(circle: &Circle) -> usize {
    let printed = circle.pool.printed();
    printed.lines().map(|line| line.len() + EVENT_BYTES).sum()
}

fn counted(names: impl Iterator<Item = String>) -> Counts {
    names.fold(Counts::new(), |mut counts, name| {
        *counts.entry(name).or_default() += 1;
        counts
    })
}

fn told(counts: &Counts) -> String {
    let each = counts.iter().map(|(name, count)| format!("{count} {name}"));
    let all = each.collect::<Vec<_>>().join(", ");
    if all.is_empty() {
        "–".to_owned()
    } else {
        all
    }
}

impl Measured {
    pub(super) fn looks_table(&self) -> String {
        let mut text = format!(
            "| look | participants | calls to IVS | requests to S3 | seconds alone | seconds each, {BATCH} in a batch | \
             bytes of log | bytes of the object |\n|---|---|---|---|---|---|---|---|\n"
        );
        for look in &self.looks {
            let Look {
                outcome,
                people,
                alone,
                each,
                log_bytes,
                object_bytes,
                ..
            } = look;
            let (ivs, s3) = (told(&look.ivs), told(&look.s3));
            text += &format!(
                "| {outcome} | {people} | {ivs} | {s3} | {alone:.2} | {each:.2} | {log_bytes} | {object_bytes} |\n"
            );
        }
        text
    }

    pub(super) fn ticks_table(&self) -> String {
        let mut text = "| stages | sessions | calls to IVS | requests to S3 | requests to SQS | seconds | bytes of log |\n\
                        |---|---|---|---|---|---|---|\n"
            .to_owned();
        for tick in &self.ticks {
            let Tick {
                stages,
                seconds,
                log_bytes,
                ..
            } = tick;
            let (ivs, s3, sqs) = (told(&tick.ivs), told(&tick.s3), told(&tick.sqs));
            let sessions = stages * SESSIONS_EACH;
            text += &format!(
                "| {stages} | {sessions} | {ivs} | {s3} | {sqs}, {FIFO_REQUESTS} of the tick | {seconds:.1} | {log_bytes} |\n"
            );
        }
        text
    }

    /// What the bill takes from the tables: of each the dearest, and a straight line through the sizes of objects.
    pub(super) fn variables_table(&self) -> String {
        let looks = |outcome| {
            self.looks
                .iter()
                .filter(move |look| look.outcome == outcome)
        };
        let most = |numbers: &mut dyn Iterator<Item = f64>| numbers.fold(0.0, f64::max);
        // A page each, where participants are listed; else the one call.
        let a_call = |look: &Look| match look.ivs.get("ListParticipants") {
            Some(&pages) => look.each / pages as f64,
            None => look.each,
        };
        let s3 = |outcome, operations: &[&str]| {
            let of = |look: &Look| operations.iter().filter_map(|&it| look.s3.get(it)).sum();
            looks(outcome).map(of).max().unwrap_or(0)
        };
        let all = |operations| -> usize {
            let outcomes = ["exported", "up_to_date", "confirmed"];
            outcomes.map(|outcome| s3(outcome, operations)).iter().sum()
        };
        let sizes: Vec<_> = looks("confirmed")
            .map(|look| (look.people, look.object_bytes))
            .collect();
        let (base, slope) = line(sizes.first().copied(), sizes.last().copied());
        let stage = |tick: &Tick| tick.seconds / tick.stages as f64;
        let rows = [
            (
                "call_seconds",
                format!("{:.3}", most(&mut self.looks.iter().map(a_call))),
                "seconds of a call to IVS in an export, with all that goes with it: the dearest batch, for each page",
            ),
            (
                "stage_seconds",
                format!("{:.3}", most(&mut self.ticks.last().into_iter().map(stage))),
                "seconds of a stage in a sweep: the largest sweep, for each stage",
            ),
            (
                "session_puts",
                all(&["PUT"]).to_string(),
                "PUTs of a session's three looks below",
            ),
            (
                "session_gets",
                all(&["GET", "HEAD"]).to_string(),
                "GETs and HEADs of them",
            ),
            (
                "object_bytes",
                format!("{base:.0}"),
                "bytes of an object, beside its participants'",
            ),
            (
                "participant_bytes",
                format!("{slope:.1}"),
                "bytes of each participant in it, through the smallest and the largest",
            ),
            (
                "look_log_bytes",
                most(&mut self.looks.iter().map(|look| look.log_bytes as f64)).to_string(),
                "bytes that the function logs of a look, with CloudWatch's 26 an event",
            ),
            (
                "sweep_log_bytes",
                most(&mut self.ticks.iter().map(|tick| tick.log_bytes as f64)).to_string(),
                "bytes that it logs of a sweep",
            ),
        ];
        let rows = rows.map(|(name, number, unit)| format!("| `{name}` | {number} | {unit} |\n"));
        "| measured | | unit |\n|---|---|---|\n".to_owned() + &rows.concat()
    }
}

/// The straight line through two points: its height at zero, and its slope.
fn line(first: Option<(usize, usize)>, last: Option<(usize, usize)>) -> (f64, f64) {
    let (Some((x, y)), Some((far_x, far_y))) = (first, last) else {
        return (0.0, 0.0);
    };
    let (x, y, far_x, far_y) = (x as f64, y as f64, far_x as f64, far_y as f64);
    let slope = (far_y - y) / (far_x - x);
    (y - x * slope, slope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_through_both_of_its_points() {
        assert_eq!(line(Some((10, 5500)), Some((1000, 55_000))), (5000.0, 50.0));
    }

    fn look(outcome: &'static str, people: usize, each: f64, s3: &[(&str, usize)]) -> Look {
        Look {
            outcome,
            people,
            ivs: [("ListParticipants".to_owned(), people.div_ceil(100))].into(),
            s3: s3
                .iter()
                .map(|&(name, count)| (name.to_owned(), count))
                .collect(),
            log_bytes: people,
            alone: 0.0,
            each,
            object_bytes: 5000 + 50 * people,
        }
    }

    #[test]
    fn the_variables_are_the_dearest_that_was_measured() {
        let measured = Measured {
            looks: vec![
                look("still_live", 2, 0.01, &[]),
                look("exported", 10, 0.5, &[("HEAD", 1), ("PUT", 1)]),
                look("up_to_date", 10, 0.45, &[("HEAD", 1)]),
                look("confirmed", 10, 0.4, &[("HEAD", 1), ("GET", 1), ("PUT", 1)]),
                look("exported", 1000, 5.1, &[("HEAD", 1), ("PUT", 1)]),
                look(
                    "confirmed",
                    1000,
                    5.0,
                    &[("HEAD", 1), ("GET", 1), ("PUT", 1)],
                ),
            ],
            ticks: vec![Tick {
                stages: 1000,
                ivs: Counts::new(),
                s3: Counts::new(),
                sqs: Counts::new(),
                log_bytes: 400,
                seconds: 255.0,
            }],
        };
        let page = crate::costs::Page::new(measured.variables_table());
        let expected = [
            ("call_seconds", 0.51),
            ("look_log_bytes", 1000.0),
            ("object_bytes", 5000.0),
            ("participant_bytes", 50.0),
            ("session_gets", 4.0),
            ("session_puts", 2.0),
            ("stage_seconds", 0.255),
            ("sweep_log_bytes", 400.0),
        ];
        let expected = expected.map(|(name, number)| (name.to_owned(), number));
        assert_eq!(page.variables().0, expected.into());
    }
}
