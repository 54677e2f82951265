//! Lambda's event source mapping: collects a queue's messages into batches, invokes the function with them, and deletes
//! what it succeeded at.
//!
//! What is not deleted comes back by itself when its visibility ends: messages that the function reports as failed, and
//! the whole batch after an error, the death of the process, or a report that names no message of the batch.
//! After <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html> and
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>. Not here: the slow growth and the
//! back-off of Lambda's pollers.

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

/// The largest payload of an invocation, in bytes, and what a message takes of it beside its body, at most.
const LARGEST: usize = 6 * 1024 * 1024;
const OVERHEAD: usize = 1024;

/// As in the template's `Events` and `ScalingConfig`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappingSettings {
    /// At most 10,000; above 10 only with a window, and not for a FIFO queue.
    pub batch_size: usize,
    /// How long a batch is filled, from its first message on; until it has `batch_size` messages or 6 MB.
    pub window: Duration,
    /// Batches at the function at a time; SQS allows no less than 2. A FIFO queue's groups come one batch at a time.
    pub max_concurrency: usize,
    /// Whether the function answers with the failed messages (`ReportBatchItemFailures`). If not, any answer is
    /// success of all.
    pub reports_failures: bool,
}

/// The running mapping of one queue to one function; it ends with the value. Batches under way are given up then, and
/// come back when their visibility ends.
pub struct Mapping {
    task: JoinHandle<()>,
    log: Arc<Log>,
}

/// One batch, as it went.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub messages: Vec<Received>,
    pub started: Instant,
    /// When and with what it ended; nothing yet if it is under way.
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

    /// Every batch so far, those under way too.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.log.lock().clone()
    }

    /// Whether no batch is being filled or worked on. A batch counts from the moment in which its first message is in
    /// flight until its last one is deleted.
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

/// Counts a batch as long as the value lives.
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

    /// Waits for a message, and then for more as long as the window lasts.
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
                // Counted while the queues are held, so that a message is never in flight without a batch.
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

/// Whether a message fits into the rest of a payload, from which it is then taken.
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

/// The messages that an answer reports as failed; nothing if it is no report, which fails them all.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lambda::function::Failure;
    use crate::sqs::queues::QueueSettings;

    const SECOND: Duration = Duration::from_secs(1);
    const LONG: Duration = Duration::from_secs(600);
    const ONE_BY_ONE: MappingSettings = MappingSettings {
        batch_size: 1,
        window: Duration::ZERO,
        max_concurrency: 2,
        reports_failures: true,
    };
    const BATCHES: MappingSettings = MappingSettings {
        batch_size: 200,
        window: Duration::from_secs(60),
        ..ONE_BY_ONE
    };

    /// A queue with a dead-letter queue, three receives and a visibility of 100 seconds.
    async fn sqs() -> Sqs {
        let sqs = Sqs::start().await.unwrap();
        sqs.create("dead", QueueSettings::default());
        sqs.create(
            "work",
            QueueSettings {
                visibility_timeout: 100 * SECOND,
                dead_letter: Some(("dead".to_owned(), 3)),
                ..QueueSettings::default()
            },
        );
        sqs
    }

    fn bodies(messages: &[Received]) -> Vec<String> {
        messages
            .iter()
            .map(|message| message.body.clone())
            .collect()
    }

    fn batches(mapping: &Mapping) -> Vec<Vec<String>> {
        let deliveries = mapping.deliveries();
        let batch = |delivery: &Delivery| bodies(&delivery.messages);
        deliveries.iter().map(batch).collect()
    }

    /// How many messages each batch had, and when it was sent.
    fn sizes_and_seconds(mapping: &Mapping, start: Instant) -> Vec<(usize, u64)> {
        let deliveries = mapping.deliveries();
        let size_and_second = |delivery: &Delivery| {
            let wait = delivery.started - start;
            (delivery.messages.len(), wait.as_secs())
        };
        deliveries.iter().map(size_and_second).collect()
    }

    /// Reports the messages whose body is `bad`.
    async fn refuse_bad(payload: Value) -> Result<Answer, Died> {
        let records = payload["Records"].as_array().unwrap().iter();
        let bad = records.filter(|record| record["body"] == "bad");
        let failures: Vec<_> = bad
            .map(|record| json!({ "itemIdentifier": record["messageId"] }))
            .collect();
        Ok(Ok(json!({ "batchItemFailures": failures })))
    }

    #[tokio::test(start_paused = true)]
    async fn what_succeeds_is_deleted_and_what_fails_comes_back_until_it_is_a_dead_letter() {
        let sqs = sqs().await;
        let mapping = Mapping::start(&sqs, "work", BATCHES, refuse_bad);
        for body in ["good", "bad", "fine"] {
            sqs.send("work", body);
        }

        sqs.until_empty(&["work"], LONG).await.unwrap();
        mapping.until_idle().await;

        let expected = vec![vec!["good", "bad", "fine"], vec!["bad"], vec!["bad"]];
        assert_eq!(batches(&mapping), expected);
        let deliveries = mapping.deliveries();
        let receives: Vec<_> = deliveries
            .iter()
            .map(|delivery| delivery.messages.last().unwrap().receives)
            .collect();
        assert_eq!(receives, [1, 2, 3]);
        assert_eq!(sqs.bodies("dead"), ["bad"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_sent_when_its_window_ends_or_when_it_is_full() {
        let sqs = sqs().await;
        let settings = MappingSettings {
            batch_size: 11,
            ..BATCHES
        };
        let start = Instant::now();
        let mapping = Mapping::start(&sqs, "work", settings, refuse_bad);
        for number in 0..12 {
            sqs.send("work", &number.to_string());
        }

        sqs.until_empty(&["work"], LONG).await.unwrap();

        assert_eq!(sizes_and_seconds(&mapping, start), [(11, 0), (1, 60)]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_window_counts_from_the_first_message_and_takes_later_ones_in() {
        let sqs = sqs().await;
        let mapping = Mapping::start(&sqs, "work", BATCHES, refuse_bad);
        sqs.send("work", "first");
        tokio::time::sleep(59 * SECOND).await;
        sqs.send("work", "second");
        tokio::time::sleep(2 * SECOND).await;
        sqs.send("work", "third");

        sqs.until_empty(&["work"], LONG).await.unwrap();

        assert_eq!(batches(&mapping), [vec!["first", "second"], vec!["third"]]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_full_at_six_megabytes() {
        let sqs = sqs().await;
        let start = Instant::now();
        let mapping = Mapping::start(&sqs, "work", BATCHES, refuse_bad);
        for _ in 0..3 {
            sqs.send("work", &"a".repeat(1_000_000));
        }
        tokio::time::sleep(SECOND).await;
        for _ in 0..4 {
            sqs.send("work", &"a".repeat(1_000_000));
        }

        sqs.until_empty(&["work"], LONG).await.unwrap();

        assert_eq!(sizes_and_seconds(&mapping, start), [(6, 1), (1, 61)]);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_batches_than_allowed_are_at_the_function_at_a_time() {
        let sqs = sqs().await;
        let at_work = Arc::new(Mutex::new((0, 0)));
        let count = Arc::clone(&at_work);
        let function = move |_| {
            let count = Arc::clone(&count);
            async move {
                {
                    let mut count = count.lock().unwrap();
                    count.0 += 1;
                    count.1 = count.1.max(count.0);
                }
                tokio::time::sleep(SECOND).await;
                count.lock().unwrap().0 -= 1;
                Ok(Ok(Value::Null))
            }
        };
        let start = Instant::now();
        let mapping = Mapping::start(&sqs, "work", ONE_BY_ONE, function);
        for number in 0..6 {
            sqs.send("work", &number.to_string());
        }

        sqs.until_empty(&["work"], LONG).await.unwrap();
        mapping.until_idle().await;

        assert_eq!(*at_work.lock().unwrap(), (0, 2));
        assert_eq!(start.elapsed().as_secs(), 3);
        assert!(mapping.idle());
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_or_a_death_brings_the_whole_batch_back_after_its_visibility() {
        let sqs = sqs().await;
        let results = Mutex::new(vec![
            Ok(Ok(Value::Null)),
            Err(Died::TimedOut),
            Ok(Err(Failure {
                error_type: "OutOfTime".to_owned(),
                message: String::new(),
            })),
        ]);
        let function = move |_| {
            let result = results.lock().unwrap().pop().unwrap();
            async move { result }
        };
        let start = Instant::now();
        let settings = MappingSettings {
            batch_size: 10,
            ..ONE_BY_ONE
        };
        sqs.send("work", "a");
        sqs.send("work", "b");
        let mapping = Mapping::start(&sqs, "work", settings, function);

        sqs.until_empty(&["work"], LONG).await.unwrap();

        let expected = [["a", "b"]; 3];
        assert_eq!(batches(&mapping), expected);
        assert_eq!(start.elapsed().as_secs(), 200);
        assert_eq!(sqs.depth("dead").all(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_no_report_of_this_batch_fails_it_whole() {
        for (answer, left) in [
            (json!(null), 0),
            (json!({}), 0),
            (json!({ "batchItemFailures": null }), 0),
            (json!({ "batchItemFailures": [] }), 0),
            (json!("done"), 2),
            (json!({ "batchItemFailures": "none" }), 2),
            (
                json!({ "batchItemFailures": [{ "itemIdentifier": "" }] }),
                2,
            ),
            (
                json!({ "batchItemFailures": [{ "itemIdentifier": null }] }),
                2,
            ),
            (json!({ "batchItemFailures": [{ "id": "a" }] }), 2),
            (
                json!({ "batchItemFailures": [{ "itemIdentifier": "unknown" }] }),
                2,
            ),
        ] {
            let sqs = sqs().await;
            let settings = MappingSettings {
                batch_size: 10,
                ..ONE_BY_ONE
            };
            sqs.send("work", "a");
            sqs.send("work", "b");
            let told = answer.clone();
            let function = move |_| std::future::ready(Ok(Ok(told.clone())));
            let mapping = Mapping::start(&sqs, "work", settings, function);

            sqs.until(LONG, |sqs| {
                let ended = |delivery: &Delivery| delivery.ended.is_some();
                sqs.depth("work").all() == left && mapping.deliveries().iter().any(ended)
            })
            .await
            .unwrap();

            assert_eq!(mapping.deliveries()[0].failed.len(), left, "{answer}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_reports_any_answer_is_success() {
        let sqs = sqs().await;
        let settings = MappingSettings {
            reports_failures: false,
            ..BATCHES
        };
        sqs.send("work", "bad");
        let _mapping = Mapping::start(&sqs, "work", settings, refuse_bad);

        sqs.until_empty(&["work"], 90 * SECOND).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_of_a_fifo_queue_is_at_the_function_once_at_a_time_and_in_order() {
        let sqs = Sqs::start().await.unwrap();
        let fifo = QueueSettings {
            fifo: true,
            ..QueueSettings::default()
        };
        sqs.create("sweeps.fifo", fifo);
        let slow = |_| async {
            tokio::time::sleep(SECOND).await;
            Ok(Ok(Value::Null))
        };
        let mapping = Mapping::start(&sqs, "sweeps.fifo", ONE_BY_ONE, slow);
        for body in ["a", "b", "c"] {
            sqs.send_to_group("sweeps.fifo", "sweep", body);
        }
        sqs.send_to_group("sweeps.fifo", "other", "d");

        sqs.until_empty(&["sweeps.fifo"], LONG).await.unwrap();

        let deliveries = mapping.deliveries();
        let sweeps = deliveries
            .iter()
            .filter(|delivery| delivery.messages[0].group.as_deref() == Some("sweep"));
        let times: Vec<_> = sweeps
            .map(|delivery| {
                (
                    &delivery.messages[0].body[..],
                    delivery.started,
                    delivery.ended.clone().unwrap().0,
                )
            })
            .collect();
        let order: Vec<_> = times.iter().map(|(body, ..)| *body).collect();
        assert_eq!(order, ["a", "b", "c"]);
        assert!(
            times.windows(2).all(|pair| pair[0].2 <= pair[1].1),
            "{times:?}"
        );
        assert_eq!(batches(&mapping)[1], ["d"], "another group need not wait");
    }

    #[tokio::test(start_paused = true)]
    async fn the_payload_is_that_of_lambda() {
        let sqs = sqs().await;
        let fifo = QueueSettings {
            fifo: true,
            ..QueueSettings::default()
        };
        sqs.create("sweeps.fifo", fifo);
        sqs.send("work", "hello");
        sqs.send_to_group("sweeps.fifo", "sweep", "hello");
        let payload = |queue| payload(queue, &sqs.receive(queue, 10));

        let mut record = payload("work")["Records"][0].take();
        let mut fifo = payload("sweeps.fifo")["Records"][0].take();

        let sample: Value =
            serde_json::from_str(include_str!("../../../events/sqs-batch.json")).unwrap();
        let names =
            |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
        let sample = &sample["Records"][0];
        assert_eq!(names(&record), names(sample));
        assert_eq!(names(&record["attributes"]), names(&sample["attributes"]));
        for name in ["eventSource", "awsRegion", "messageAttributes"] {
            assert_eq!(record[name], sample[name]);
        }
        assert_eq!(record["md5OfBody"], "5d41402abc4b2a76b9719d911017c592");
        assert_eq!(record["attributes"]["ApproximateReceiveCount"], "1");
        let arn = record["eventSourceARN"].take();
        assert_eq!(arn, "arn:aws:sqs:us-west-2:123456789012:work");
        let attributes = fifo["attributes"].take();
        assert_eq!(attributes["MessageGroupId"], "sweep");
        // `printf hello | sha256sum`
        let sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        assert_eq!(attributes["MessageDeduplicationId"], sha256);
        assert!(attributes["SequenceNumber"].is_string());
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_mapping_gives_its_batch_up() {
        let sqs = sqs().await;
        sqs.send("work", "a");
        let calls = Arc::new(Mutex::new(0));
        let count = Arc::clone(&calls);
        let never = move |_| {
            *count.lock().unwrap() += 1;
            std::future::pending()
        };
        let mapping = Mapping::start(&sqs, "work", ONE_BY_ONE, never);
        let called = || *calls.lock().unwrap();
        while called() == 0 {
            tokio::task::yield_now().await;
        }

        drop(mapping);
        sqs.send("work", "b");
        tokio::time::sleep(150 * SECOND).await;

        assert_eq!(called(), 1);
        assert_eq!(bodies(&sqs.receive("work", 10)), ["a", "b"]);
    }
}
