//! Lambda's event source mapping. It collects messages of a queue into batches, invokes the function with each batch, and
//! deletes the messages that succeeded.
//!
//! A message that is not deleted is delivered again when its visibility time-out ends: one that the function reports as
//! failed, and the whole batch after an error, the death of the process, or a report that is not valid. After
//! <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html> and
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>. Not here: how Lambda adds pollers
//! slowly, and how they back off.

use std::collections::HashSet;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout_at};

use crate::lambda::function::{Answer, Died};
use crate::sqs::Sqs;
use crate::sqs::queues::{Queues, Received};
use crate::{ACCOUNT, REGION};

/// The largest payload of an invocation in bytes, and the most that a message adds to its body.
const LARGEST: usize = 6 * 1024 * 1024;
const OVERHEAD: usize = 1024;

/// The settings in the template's `Events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappingSettings {
    /// At most 10,000; above 10 only with a window, and not for a FIFO queue.
    pub batch_size: usize,
    /// How long a batch waits for more messages after its first one, unless it has `batch_size` messages or 6 MB before.
    pub window: Duration,
    /// The most batches at a time; Lambda allows no less than 2. Of a group of a FIFO queue it is one.
    pub max_concurrency: usize,
    /// Whether the function reports failed messages (`ReportBatchItemFailures`). If not, any answer is a success of all.
    pub reports_failures: bool,
}

/// The running mapping of one queue to one function. When the value is dropped, running batches are abandoned, and their
/// messages are delivered again when their visibility ends.
pub struct Mapping {
    task: JoinHandle<()>,
    log: Arc<Log>,
}

/// A batch that was delivered.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub messages: Vec<Received>,
    pub started: Instant,
    /// When it ended, and the result; `None` while it runs.
    pub ended: Option<(Instant, Result<Answer, Died>)>,
    /// The ids of the messages that were left in the queue.
    pub failed: Vec<String>,
}

struct Log {
    deliveries: Mutex<Vec<Delivery>>,
    /// Batches that are being filled or worked on.
    busy: watch::Sender<usize>,
}

impl Mapping {
    /// Starts delivering the messages of `queue` to `function`, which takes the payload.
    pub fn start<F, R>(sqs: &Sqs, queue: &str, settings: MappingSettings, function: F) -> Self
    where
        F: Fn(Value) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Answer, Died>> + Send + 'static,
    {
        let queues = sqs.queues().clone();
        let fifo = queues.look(|world, _| world.settings(queue).map(|settings| settings.fifo));
        let Some(fifo) = fifo else {
            panic!("there is no queue {queue}");
        };
        let MappingSettings {
            batch_size, window, ..
        } = settings;
        assert!(
            (1..=10_000).contains(&batch_size) && (batch_size <= 10 || !fifo && !window.is_zero()),
            "a batch of {batch_size} in {window:?} is none that Lambda allows"
        );
        assert!(
            window.is_zero() || !fifo,
            "the batches of a FIFO queue have no window"
        );
        assert!(
            settings.max_concurrency >= 2,
            "a mapping's maximum concurrency is at least 2"
        );
        let log = Arc::new(Log {
            deliveries: Mutex::default(),
            busy: watch::Sender::new(0),
        });
        let poller = Poller {
            queues,
            queue: queue.to_owned(),
            settings,
            log: Arc::clone(&log),
        };
        Self {
            task: tokio::spawn(poller.run(Arc::new(function))),
            log,
        }
    }

    /// All batches so far, including running ones.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.log.lock().clone()
    }

    /// Whether no batch is being collected or running. A batch counts from when its first message is in flight until its
    /// last message is deleted.
    pub fn idle(&self) -> bool {
        *self.log.busy.borrow() == 0
    }

    /// Waits until it is idle.
    pub async fn until_idle(&self) {
        let mut busy = self.log.busy.subscribe();
        let idle = busy.wait_for(|&busy| busy == 0).await;
        idle.expect("this mapping keeps the sender");
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Vec<Delivery>> {
        self.deliveries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a batch until the value is dropped.
struct Busy(Arc<Log>);

impl Busy {
    fn new(log: &Arc<Log>) -> Self {
        log.busy.send_modify(|busy| *busy += 1);
        Self(Arc::clone(log))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.send_modify(|busy| *busy -= 1);
    }
}

#[derive(Clone)]
struct Poller {
    queues: Queues,
    queue: String,
    settings: MappingSettings,
    log: Arc<Log>,
}

impl Poller {
    async fn run<F, R>(self, function: Arc<F>)
    where
        F: Fn(Value) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Answer, Died>> + Send + 'static,
    {
        let mut running = JoinSet::new();
        loop {
            while running.try_join_next().is_some() {}
            if running.len() == self.settings.max_concurrency {
                running.join_next().await;
                continue;
            }
            let (messages, busy) = self.batch().await;
            let (poller, function) = (self.clone(), Arc::clone(&function));
            running.spawn(async move {
                let place = poller.begin(&messages);
                let result = function(payload(&poller.queue, &messages)).await;
                poller.end(place, &messages, result);
                drop(busy);
            });
        }
    }

    /// Waits for a message, and then for more until the window ends.
    async fn batch(&self) -> (Vec<Received>, Busy) {
        let MappingSettings {
            batch_size, window, ..
        } = self.settings;
        let mut room = LARGEST;
        let (mut batch, busy) = self
            .queues
            .until(|world, now| {
                let fits = |body: &str| fits(body, &mut room);
                let first = world.receive(&self.queue, now, batch_size, fits);
                // Counted while the queues are locked, so that a message is never in flight without a batch.
                (!first.is_empty()).then(|| (first, Busy::new(&self.log)))
            })
            .await;
        let end = Instant::now() + window;
        let mut full = false;
        while batch.len() < batch_size && !full && !window.is_zero() {
            let more = self.queues.until(|world, now| {
                let fits = |body: &str| {
                    let fits = fits(body, &mut room);
                    full |= !fits;
                    fits
                };
                let more = world.receive(&self.queue, now, batch_size - batch.len(), fits);
                (!more.is_empty() || full).then_some(more)
            });
            match timeout_at(end, more).await {
                Ok(more) => batch.extend(more),
                Err(_) => break,
            }
        }
        (batch, busy)
    }

    fn begin(&self, messages: &[Received]) -> usize {
        let mut deliveries = self.log.lock();
        deliveries.push(Delivery {
            messages: messages.to_vec(),
            started: Instant::now(),
            ended: None,
            failed: Vec::new(),
        });
        deliveries.len() - 1
    }

    fn end(&self, place: usize, messages: &[Received], result: Result<Answer, Died>) {
        let ids = || messages.iter().map(|message| message.id.as_str());
        let failed: HashSet<&str> = match &result {
            Ok(Ok(answer)) if self.settings.reports_failures => {
                reported(answer, &ids().collect()).unwrap_or_else(|| ids().collect())
            }
            Ok(Ok(_)) => HashSet::new(),
            Ok(Err(_)) | Err(_) => ids().collect(),
        };
        {
            let delivery = &mut self.log.lock()[place];
            delivery.ended = Some((Instant::now(), result.clone()));
            delivery.failed = ids()
                .filter(|id| failed.contains(id))
                .map(str::to_owned)
                .collect();
        }
        self.queues.change(|world, now| {
            for message in messages {
                if !failed.contains(message.id.as_str()) {
                    world.delete(&self.queue, now, &message.receipt);
                }
            }
        });
    }
}

/// Whether a message fits into the room that is left in a payload. If so, the room becomes smaller.
fn fits(body: &str, room: &mut usize) -> bool {
    let escaped = Value::from(body).to_string().len();
    match room.checked_sub(escaped + OVERHEAD) {
        Some(rest) => {
            *room = rest;
            true
        }
        None => false,
    }
}

/// The messages that an answer reports as failed; `None` if the answer is not a valid report, so that all failed.
fn reported<'a>(answer: &Value, ids: &HashSet<&'a str>) -> Option<HashSet<&'a str>> {
    let failures = match answer {
        Value::Null => return Some(HashSet::new()),
        Value::Object(members) => match members.get("batchItemFailures") {
            None | Some(Value::Null) => return Some(HashSet::new()),
            Some(Value::Array(failures)) => failures,
            Some(_) => return None,
        },
        _ => return None,
    };
    let id = |failure: &Value| {
        let id = failure.get("itemIdentifier")?.as_str()?;
        ids.get(id).copied()
    };
    failures.iter().map(id).collect()
}

/// The payload, as Lambda builds it.
fn payload(queue: &str, messages: &[Received]) -> Value {
    let records: Vec<_> = messages
        .iter()
        .map(|message| {
            let mut attributes = Map::new();
            let optional = [
                ("SequenceNumber", &message.sequence),
                ("MessageGroupId", &message.group),
                ("MessageDeduplicationId", &message.deduplication_id),
            ];
            for (name, value) in [
                ("ApproximateReceiveCount", message.receives.to_string()),
                ("SentTimestamp", message.sent_at.to_string()),
                ("SenderId", "AIDAIENQZJOLO23YVJ4VO".to_owned()),
                (
                    "ApproximateFirstReceiveTimestamp",
                    message.first_received_at.to_string(),
                ),
            ] {
                attributes.insert(name.to_owned(), value.into());
            }
            for (name, value) in optional {
                if let Some(value) = value {
                    attributes.insert(name.to_owned(), value.as_str().into());
                }
            }
            json!({
                "messageId": message.id,
                "receiptHandle": message.receipt,
                "body": message.body,
                "attributes": attributes,
                "messageAttributes": {},
                "md5OfBody": message.md5,
                "eventSource": "aws:sqs",
                "eventSourceARN": format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}"),
                "awsRegion": REGION,
            })
        })
        .collect();
    json!({ "Records": records })
}
