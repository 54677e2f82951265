//! The attendance record of every Amazon IVS Real-Time stage session, as one Parquet object a session and table on S3.
//!
//! The route of a request, and the modules in the order of it:
//!
//! ```text
//! Lambda ─► main ─► handle ─► event      a payload becomes sessions to look at, a sweep, or a collection
//!                     │
//!                     ├─ a sweep ─► sweep   ended sessions that the lake lacks ─► queues, from where they come as batches
//!                     ├─ a batch ─► batch   each session once, each message answered for itself, each panic contained
//!                     ├─ a session ─► reconcile: who was there
//!                     │    1. ivs    GetStageSession: live or unknown? done
//!                     │    2. lake   is its object there, and no look due? done
//!                     │    3. ivs    ListParticipants, page after page, behind the rate limiter
//!                     │       store  rows, merged with those stored, as one conditional PUT
//!                     └─ a collection ─► collect: until when, and for how long
//!                          1. ivs    GetStageSession, as above
//!                          2. lake   is its attendance there? done. Is its list of participants final? if not, done
//!                          3. ivs    GetParticipant and ListParticipantEvents, for each participant, in parts
//!                             presence  events become stays and totals
//!                             store  events, then attendance
//! ```
//!
//! Limits: a session is listed within one invocation (`deadline`), at `CALLS_PER_SECOND` × 100 participants a second,
//! and its rows are held in memory; a session that exceeds one of them fails with `OutOfTime` or `SessionTooLarge`.
//!
//! On failure: nothing is written (unless S3 did not say so in time), and the [`error::Error`] reaches whoever delivered the payload. Of a batch, the
//! messages that failed are named in the answer and come again; after the queue's last try they lie in the dead-letter
//! queue. A tick that fails is logged; the next tick tries again.

pub mod session;

pub mod event;

pub mod batch;

pub mod reconcile;

pub mod collect;

pub mod store;

pub mod sweep;

pub mod bulkhead;

pub mod deadline;

pub mod ivs;

pub mod throttles;

pub mod presence;

pub mod table;

pub mod lake;

pub mod marker;

pub mod queue;

pub mod aws;

pub mod config;

pub mod error;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use tracing::error;

use crate::batch::Batch;
use crate::bulkhead::contain;
use crate::collect::Collector;
use crate::config::{Config, ConfigError, interval};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::event::{Arrival, Payload, Work};
use crate::ivs::{Ivs, Spacing};
use crate::lake::Lake;
use crate::queue::Queue;
use crate::reconcile::Reconciler;
use crate::store::Memory;
use crate::sweep::Sweeper;

/// The longest that an invocation may take, and the template's time-out.
const LAMBDAS_LONGEST: Duration = Duration::from_mins(15);

/// The function, ready for payloads: clients that all invocations share.
#[derive(Debug)]
pub struct Attendance {
    reconciler: Reconciler,
    collector: Collector,
    sweeper: Sweeper,
    work: Queue,
    region: String,
}

impl Attendance {
    /// Builds the clients. Nothing is called yet.
    ///
    /// # Errors
    /// When the file that `AWS_CA_BUNDLE` names does not hold valid certificates.
    pub fn connect(config: Config) -> Result<Self, ConfigError> {
        let sdk = aws::sdk_config(&config)?;
        let endpoints = config.endpoints;
        let spacing = Spacing {
            calls: interval(config.calls_per_second),
            tick: interval(config.sweep_calls_per_second),
            collect: interval(config.collect_calls_per_second),
        };
        let ivs = Arc::new(Ivs::new(&aws::at(&sdk, endpoints.ivs), spacing));
        // A server in place of S3 has no names of buckets within its own.
        let path_style = endpoints.s3.is_some();
        let s3 = aws::at(&sdk, endpoints.s3);
        let lake = Lake::new(&s3, path_style, config.bucket, config.prefix);
        let lake = Arc::new(lake);
        let sqs = aws::at(&sdk, endpoints.sqs);
        let work = Queue::new(&sqs, config.queue_url);
        let collections = Queue::new(&sqs, config.collect_queue_url);
        let confirm_after = config.confirm_after;
        let memory = Memory {
            megabytes: config.memory_megabytes,
        };
        let reconciler = Reconciler {
            ivs: Arc::clone(&ivs),
            lake: Arc::clone(&lake),
            confirm_after,
            memory,
        };
        let collector = Collector {
            ivs: Arc::clone(&ivs),
            lake: Arc::clone(&lake),
            queue: collections.clone(),
            confirm_after,
            memory,
            scope: config.collect,
            details: config.collect_details,
            interval: spacing.collect,
        };
        let sweeper = Sweeper {
            ivs,
            lake,
            work: work.clone(),
            collections,
            scope: config.collect,
            recollect_before: config.recollect_before,
            memory,
            confirm_after,
            queue_at_most: config.queue_at_most,
            ignore_ended_before: config.ignore_ended_before,
            retention: config.retention,
            rewrite_before: config.rewrite_before,
        };
        Ok(Self {
            reconciler,
            collector,
            sweeper,
            work,
            region: config.region,
        })
    }

    /// Does what a payload asks for before `end_of_time`, and gives the answer in the shape that the sender expects: a
    /// report, or the failed messages of a batch.
    ///
    /// # Errors
    /// Of a single request any [`Error`]; of a batch only if the payload is no valid SQS batch, or the batch as a whole panics.
    pub async fn handle(&self, payload: Value, end_of_time: SystemTime) -> Result<Value, Error> {
        let deadline = &Deadline::after(remaining(end_of_time, now().into()));
        // Boxed: the SDK's futures are deep, and the compiler's limit on nested types is not.
        let answer = contain("the invocation", Box::pin(self.answer(payload, deadline))).await;
        answer.inspect_err(|failure| {
            error!(
                error_type = failure.error_type(),
                error = failure.chain(),
                "the request failed"
            );
        })
    }

    async fn answer(&self, payload: Value, deadline: &Deadline) -> Result<Value, Error> {
        let arrival = Arrival {
            region: &self.region,
            collect_queue: self.collector.queue.name(),
            now: now(),
        };
        match event::parse(payload, arrival)? {
            Payload::Batch(messages) => Ok(self.batch(deadline).run(messages).await),
            Payload::One(Work::Session(mut request)) => {
                let reconciled = self
                    .reconciler
                    .reconcile(&mut request, false, now(), deadline);
                reconciled.await.map(json)
            }
            Payload::One(Work::Collect(mut request)) => {
                let collected = self.collector.collect(&mut request, 1, now(), deadline);
                collected.await.map(json)
            }
            Payload::One(Work::Sweep(sweep)) => {
                let swept = self.sweeper.sweep(&sweep, false, now(), deadline);
                swept.await.map(json)
            }
        }
    }

    fn batch<'a>(&'a self, deadline: &'a Deadline) -> Batch<'a> {
        let Self {
            reconciler,
            collector,
            sweeper,
            work,
            ..
        } = self;
        Batch {
            reconciler,
            collector,
            sweeper,
            work,
            deadline,
            clock: now,
        }
    }
}

/// The time left until an invocation's end. `cargo lambda watch` gives an end in 1970, which stands for none.
fn remaining(end_of_time: SystemTime, now: SystemTime) -> Duration {
    const DAY: Duration = Duration::from_hours(24);
    match end_of_time.duration_since(now) {
        Ok(remaining) => remaining,
        Err(passed) if passed.duration() > DAY => LAMBDAS_LONGEST,
        Err(_) => Duration::ZERO,
    }
}

/// A report as the answer: a struct of strings and numbers always is a JSON value.
fn json(report: impl Serialize) -> Value {
    serde_json::to_value(report).unwrap_or_default()
}

/// The time now: read here, once at the start and once for each session or sweep, and handed down as a value.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the clock is read"
)]
pub fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_of_long_ago_is_none_and_one_just_passed_leaves_nothing() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        let second = Duration::from_secs(1);
        assert_eq!(remaining(now + second, now), second);
        assert_eq!(remaining(now - second, now), Duration::ZERO);
        assert_eq!(
            remaining(SystemTime::UNIX_EPOCH + second * 600, now),
            LAMBDAS_LONGEST
        );
    }
}
