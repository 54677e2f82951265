//! What the mapping makes of a queue's messages, by a clock that the tests move.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ivs_attendance_local::lambda::function::{Answer, Died, Failure};
use ivs_attendance_local::lambda::mapping::{Delivery, Mapping, MappingSettings};
use ivs_attendance_local::sqs::Sqs;
use ivs_attendance_local::sqs::queues::{QueueSettings, Received};
use serde_json::{Value, json};
use tokio::time::Instant;

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
        content_based_deduplication: true,
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
        content_based_deduplication: true,
        ..QueueSettings::default()
    };
    sqs.create("sweeps.fifo", fifo);
    sqs.send("work", "hello");
    sqs.send_to_group("sweeps.fifo", "sweep", "hello");
    let payloads = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&payloads);
    let function = move |payload| {
        keep.lock().unwrap().push(payload);
        std::future::ready(Ok(Ok(Value::Null)))
    };
    for queue in ["work", "sweeps.fifo"] {
        let mapping = Mapping::start(&sqs, queue, ONE_BY_ONE, function.clone());
        sqs.until_empty(&[queue], LONG).await.unwrap();
        mapping.until_idle().await;
    }
    let payload = |place: usize| payloads.lock().unwrap()[place].take();

    let mut record = payload(0)["Records"][0].take();
    let mut fifo = payload(1)["Records"][0].take();

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
