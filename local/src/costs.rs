//! What a tick costs when there is nothing to do: one quiet sweep of the real function at its default paces, counted,
//! and priced by AWS's public lists.
//!
//! The sessions' objects are placeholders, since a sweep looks at keys and times only. The local servers answer within
//! milliseconds. IVS may take a pace's interval for each call (250 ms at 4 a second) before a sweep takes longer for it.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::circle::{Circle, CircleSettings, SWEEPS};
use crate::scene::ended;

// List prices of us-east-1 in US dollars, as of 2026-11, without the free tiers.
/// Arm, first tier: <https://aws.amazon.com/lambda/pricing/>.
const LAMBDA_GB_SECOND: f64 = 0.000_013_333_4;
const LAMBDA_REQUEST: f64 = 0.20 / 1e6;
/// First tier: <https://aws.amazon.com/sqs/pricing/>.
const SQS_REQUEST: f64 = 0.40 / 1e6;
const SQS_FIFO_REQUEST: f64 = 0.50 / 1e6;
/// S3 Standard: <https://aws.amazon.com/s3/pricing/>.
const S3_LIST: f64 = 0.005 / 1e3;

/// `MemorySize` in the template.
const MEMORY_GB: f64 = 0.5;
/// One every 15 minutes, for 30 days.
const TICKS_A_MONTH: f64 = 30.0 * 24.0 * 4.0;
/// What the queue of sweeps sees of a tick: EventBridge sends, and the source mapping receives and deletes.
const FIFO_REQUESTS: usize = 3;
/// How often Lambda asks an empty queue is documented nowhere. Assumed are five pollers, as the five batches that it begins
/// with (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html>), and SQS's longest poll, 20 seconds.
const IDLE_REQUESTS_A_MONTH: f64 = 5.0 * 3.0 * 60.0 * 24.0 * 30.0;

const SESSIONS_EACH: usize = 3;

/// Measures and prints the table in README.
///
/// # Errors
/// When a server fails, or a tick finds something to do.
pub async fn tick_costs(bootstrap: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    println!("{HEADER}");
    for stages in [10, 100, 1000] {
        println!("{}", Tick::quiet(bootstrap, folder, stages).await?);
    }
    println!("\n{}", footer());
    Ok(())
}

/// What one tick did.
struct Tick {
    stages: usize,
    /// Calls to IVS, requests to S3 and the function's own to SQS, each by operation.
    ivs: BTreeMap<String, usize>,
    s3: BTreeMap<String, usize>,
    sqs: BTreeMap<String, usize>,
    /// How many of the last are to the FIFO queue of sweeps.
    fifo: usize,
    /// From the invocation to its answer.
    seconds: f64,
}

impl Tick {
    /// Sweeps once over so many stages, whose sessions are all in the lake and confirmed.
    ///
    /// # Errors
    /// When a server fails, or the tick finds something to do.
    async fn quiet(bootstrap: &Path, parent: &Path, stages: usize) -> io::Result<Self> {
        let settings = CircleSettings {
            // As in the template: a large sweep takes minutes, and must not be handed out again meanwhile.
            visibility_timeout: Duration::from_secs(1000),
            ..CircleSettings::default()
        };
        let circle = Circle::start(bootstrap, parent, settings).await?;
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
        circle.until_quiet(Duration::from_mins(15)).await?;

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
        let ended = delivery.ended.as_ref().ok_or(io::ErrorKind::InvalidData)?;
        let calls = circle.ivs.world().calls.clone();
        let sqs = circle.sqs.requests();
        Ok(Self {
            stages,
            ivs: counted(calls.into_iter().map(|call| call.operation)),
            s3: counted(circle.s3.requests().into_iter().map(|it| it.operation)),
            fifo: sqs.iter().filter(|it| it.queue == SWEEPS).count(),
            sqs: counted(sqs.into_iter().map(|it| it.operation)),
            seconds: (ended.0 - delivery.started).as_secs_f64(),
        })
    }

    /// US dollars a month.
    fn price(&self) -> f64 {
        let sum = |counts: &BTreeMap<String, usize>| counts.values().sum::<usize>() as f64;
        let tick = self.seconds * MEMORY_GB * LAMBDA_GB_SECOND
            + LAMBDA_REQUEST
            + sum(&self.s3) * S3_LIST
            + (sum(&self.sqs) - self.fifo as f64) * SQS_REQUEST
            + (self.fifo + FIFO_REQUESTS) as f64 * SQS_FIFO_REQUEST;
        tick * TICKS_A_MONTH
    }
}

fn counted(names: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    names.fold(BTreeMap::new(), |mut counts, name| {
        *counts.entry(name).or_default() += 1;
        counts
    })
}

/// As a row of the table below [`HEADER`].
impl fmt::Display for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stages, ivs, .. } = self;
        let of = |counts: &BTreeMap<String, usize>| {
            let each = counts.iter().map(|(name, count)| format!("{count} {name}"));
            each.collect::<Vec<_>>().join(", ")
        };
        let (sessions, sqs) = (stages * SESSIONS_EACH, of(&self.sqs));
        let (seconds, price) = (self.seconds, self.price());
        write!(
            f,
            "| {stages} | {sessions} | {} | {} | {sqs}, {FIFO_REQUESTS} of the tick | {seconds:.1} | ${price:.2} |",
            of(ivs),
            of(&self.s3)
        )
    }
}

/// The head of the table.
const HEADER: &str = "\
| stages | sessions | calls to IVS | requests to S3 | requests to SQS | seconds | a month |
|---|---|---|---|---|---|---|";

/// How the last column comes about, and what the ticks have no part in.
fn footer() -> String {
    let idle = IDLE_REQUESTS_A_MONTH * (SQS_REQUEST + SQS_FIFO_REQUEST);
    format!(
        "A month = {TICKS_A_MONTH} ticks × (seconds × {MEMORY_GB} GB × ${:.4} per million GB-seconds + one request to Lambda \
         at ${:.2} per\nmillion + requests to S3 at ${} per thousand + requests to SQS at ${:.2} per million, those to \
         the FIFO queue of sweeps at ${:.2}).\nList prices of us-east-1 as of 2026-11, without free tiers. Besides, Lambda asks both \
         queues for messages, tick or no tick:\nsome ${idle:.2} a month, if by five pollers every 20 seconds (assumed, \
         not measured).",
        LAMBDA_GB_SECOND * 1e6,
        LAMBDA_REQUEST * 1e6,
        S3_LIST * 1e3,
        SQS_REQUEST * 1e6,
        SQS_FIFO_REQUEST * 1e6,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_the_price_of_all_its_ticks() {
        let counts = |count| BTreeMap::from([("operation".to_owned(), count)]);
        let tick = Tick {
            stages: 1,
            ivs: counts(1000),
            s3: counts(2),
            sqs: counts(2),
            fifo: 1,
            seconds: 100.0,
        };
        // 50 GB-seconds, one request, two lists, one request and four: 666.67 + 0.2 + 10 + 0.4 + 2 millionths.
        assert!((tick.price() - 2880.0 * 679.27e-6).abs() < 1e-6);
    }
}
