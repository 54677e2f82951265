//! What becomes of messages, what requests are answered, and that the SDK can use it.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::{QueueAttributeName, SendMessageBatchRequestEntry};
use tokio::time::advance;

use axum::body::to_bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName};
use serde_json::{Value, json};

use super::*;
use crate::REGION;
use crate::sqs::wire::COUNTS;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

async fn sqs(settings: QueueSettings) -> (Sqs, String) {
    let sqs = Sqs::start().await.unwrap();
    let name = if settings.fifo { "work.fifo" } else { "work" };
    let url = sqs.create(name, settings);
    (sqs, url)
}

fn depth(visible: usize, delayed: usize, in_flight: usize) -> Depth {
    Depth {
        visible,
        delayed,
        in_flight,
    }
}

fn bodies(received: &[Received]) -> Vec<&str> {
    received.iter().map(|message| &message.body[..]).collect()
}

/// A request past the socket, so that it works while time stands still: status, code and answer.
async fn ask(sqs: &Sqs, operation: &str, body: Value) -> (u16, String, Value) {
    let target = format!("AmazonSQS.{operation}").parse().unwrap();
    let headers = HeaderMap::from_iter([(HeaderName::from_static("x-amz-target"), target)]);
    let wire = State(Arc::clone(&sqs.wire));
    let response = answer(wire, headers, body.to_string().into()).await;
    let code = response.headers().get("x-amzn-query-error");
    let code = code.map_or("", |code| code.to_str().unwrap());
    let code = code.split(';').next().unwrap().to_owned();
    let status = response.status().as_u16();
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, code, serde_json::from_slice(&bytes).unwrap())
}

async fn refused(sqs: &Sqs, operation: &str, body: Value) -> String {
    let (status, code, answer) = ask(sqs, operation, body).await;
    assert_eq!(status, 400, "{answer}");
    code
}

#[tokio::test(start_paused = true)]
async fn a_message_is_hidden_until_its_delay_ends() {
    let delay = 10 * SECOND;
    let (sqs, _) = sqs(QueueSettings {
        delay,
        ..QueueSettings::default()
    })
    .await;
    sqs.send("work", "a");

    advance(delay - SECOND).await;
    assert_eq!(sqs.depth("work"), depth(0, 1, 0));
    assert_eq!(sqs.receive("work", 10), []);
    advance(SECOND).await;

    assert_eq!(sqs.depth("work"), depth(1, 0, 0));
    assert_eq!(bodies(&sqs.receive("work", 10)), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_may_bring_a_delay_of_its_own() {
    let (sqs, url) = sqs(QueueSettings {
        delay: MINUTE,
        ..QueueSettings::default()
    })
    .await;
    let body = json!({ "QueueUrl": url, "MessageBody": "a", "DelaySeconds": 0 });

    assert_eq!(ask(&sqs, "SendMessage", body).await.0, 200);

    assert_eq!(sqs.depth("work"), depth(1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_received_message_comes_back_when_its_visibility_ends() {
    let (sqs, _) = sqs(QueueSettings::default()).await;
    sqs.send("work", "a");

    let first = sqs.receive("work", 10).remove(0);
    assert_eq!(sqs.depth("work"), depth(0, 0, 1));
    advance(30 * SECOND).await;
    let second = sqs.receive("work", 10).remove(0);

    assert_eq!((first.receives, second.receives), (1, 2));
    assert_eq!(first.id, second.id);
    assert_eq!(second.first_received_at, first.first_received_at);
    assert!(!sqs.delete("work", &first.receipt), "it is void by now");
    assert!(sqs.delete("work", &second.receipt));
    assert_eq!(sqs.depth("work").all(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_message_received_too_often_goes_to_the_dead_letters() {
    let sqs = Sqs::start().await.unwrap();
    sqs.create("dead", QueueSettings::default());
    let dead_letter = Some(("dead".to_owned(), 2));
    sqs.create(
        "work",
        QueueSettings {
            dead_letter,
            ..QueueSettings::default()
        },
    );
    sqs.send("work", "a");

    for receives in 1..=2 {
        assert_eq!(sqs.receive("work", 10)[0].receives, receives);
        advance(30 * SECOND).await;
    }
    assert_eq!(sqs.bodies("dead"), [""; 0]);
    assert_eq!(sqs.receive("work", 10), []);

    assert_eq!(sqs.bodies("dead"), ["a"]);
    assert_eq!(sqs.depth("work").all(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_redriven_message_is_a_new_one() {
    let sqs = Sqs::start().await.unwrap();
    sqs.create("dead", QueueSettings::default());
    let dead_letter = Some(("dead".to_owned(), 1));
    sqs.create(
        "work",
        QueueSettings {
            dead_letter,
            ..QueueSettings::default()
        },
    );
    sqs.send("work", "a");
    let first = sqs.receive("work", 10).remove(0);
    advance(30 * SECOND).await;
    assert_eq!(sqs.receive("work", 10), []);

    assert_eq!(sqs.redrive("dead", "work"), 1);

    let again = sqs.receive("work", 10).remove(0);
    assert_eq!((again.receives, &again.body[..]), (1, "a"));
    assert_ne!(again.id, first.id);
    assert_eq!(sqs.depth("dead").all(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_message_is_dropped_when_its_retention_ends() {
    let (sqs, _) = sqs(QueueSettings {
        retention: MINUTE,
        ..QueueSettings::default()
    })
    .await;
    sqs.send("work", "a");

    advance(MINUTE).await;

    assert_eq!(sqs.depth("work").all(), 0);
    assert_eq!(sqs.receive("work", 10), []);
}

#[tokio::test(start_paused = true)]
async fn told_counts_lag_and_known_ones_do_not() {
    let (sqs, url) = sqs(QueueSettings {
        delay: 5 * SECOND,
        counts_lag: MINUTE,
        ..QueueSettings::default()
    })
    .await;
    sqs.send("work", "a");
    sqs.send("work", "b");
    advance(5 * SECOND).await;
    let received = sqs.receive("work", 1).remove(0);
    advance(SECOND).await;
    assert!(sqs.delete("work", &received.receipt));
    assert_eq!(sqs.depth("work"), depth(1, 0, 0));

    let mut told = Vec::new();
    for wait in [SECOND, 53 * SECOND, 5 * SECOND, SECOND] {
        advance(wait).await;
        let body = json!({ "QueueUrl": url, "AttributeNames": COUNTS });
        let (_, _, answer) = ask(&sqs, "GetQueueAttributes", body).await;
        told.push(COUNTS.map(|name| answer["Attributes"][name].as_str().unwrap().to_owned()));
    }

    // Before the sending, delayed, one in flight, one deleted.
    let expected = [
        ["0", "0", "0"],
        ["0", "0", "2"],
        ["1", "1", "0"],
        ["1", "0", "0"],
    ];
    assert_eq!(told, expected);
}

#[tokio::test(start_paused = true)]
async fn a_group_of_a_fifo_queue_waits_for_what_is_in_flight_and_keeps_its_order() {
    let (sqs, _) = sqs(QueueSettings {
        fifo: true,
        content_based_deduplication: true,
        ..QueueSettings::default()
    })
    .await;
    for (group, body) in [("one", "a"), ("one", "b"), ("two", "c")] {
        sqs.send_to_group("work.fifo", group, body);
    }

    let first = sqs.receive("work.fifo", 1);
    assert_eq!(bodies(&first), ["a"]);
    assert_eq!(bodies(&sqs.receive("work.fifo", 10)), ["c"]);
    advance(30 * SECOND).await;
    assert!(!sqs.delete("work.fifo", &first[0].receipt), "it came back");

    assert_eq!(bodies(&sqs.receive("work.fifo", 10)), ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_fifo_queue_takes_the_same_content_once_in_five_minutes() {
    let (sqs, url) = sqs(QueueSettings {
        fifo: true,
        content_based_deduplication: true,
        ..QueueSettings::default()
    })
    .await;
    let message = json!({ "QueueUrl": url, "MessageBody": "a", "MessageGroupId": "one" });
    let mut other = message.clone();
    other["MessageDeduplicationId"] = "other".into();

    let (_, _, first) = ask(&sqs, "SendMessage", message.clone()).await;
    let received = sqs.receive("work.fifo", 1).remove(0);
    assert!(sqs.delete("work.fifo", &received.receipt));
    let (_, _, second) = ask(&sqs, "SendMessage", message.clone()).await;
    assert_eq!(first, second);
    assert_eq!(sqs.depth("work.fifo").all(), 0);
    ask(&sqs, "SendMessage", other).await;
    assert_eq!(sqs.depth("work.fifo").all(), 1);
    advance(5 * MINUTE).await;
    ask(&sqs, "SendMessage", message).await;

    assert_eq!(sqs.depth("work.fifo").all(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_batch_to_a_fifo_queue_brings_the_group_and_the_deduplication_id_of_each_message() {
    let (sqs, url) = sqs(QueueSettings {
        fifo: true,
        ..QueueSettings::default()
    })
    .await;
    let entry = |id: &str, group: &str, deduplication: &str| {
        json!({
            "Id": id, "MessageBody": id, "MessageGroupId": group, "MessageDeduplicationId": deduplication,
        })
    };
    let mut delayed = entry("delayed", "two", "3");
    delayed["DelaySeconds"] = 1.into();
    let mut without_id = entry("without id", "two", "");
    without_id
        .as_object_mut()
        .unwrap()
        .remove("MessageDeduplicationId");
    let entries = json!([
        entry("a", "one", "1"),
        entry("b", "one", "2"),
        entry("a again", "one", "1"),
        entry("c", "two", "1c"),
        delayed,
        without_id,
    ]);

    let batch = json!({ "QueueUrl": url, "Entries": entries });
    let (_, _, answer) = ask(&sqs, "SendMessageBatch", batch).await;

    assert_eq!(
        answer["Successful"][0]["MessageId"],
        answer["Successful"][2]["MessageId"]
    );
    let failed: Vec<_> = answer["Failed"].as_array().unwrap().iter().collect();
    let failed: Vec<_> = failed
        .iter()
        .map(|entry| (&entry["Id"], &entry["Code"]))
        .collect();
    let invalid = json!("InvalidParameterValue");
    assert_eq!(
        failed,
        [
            (&json!("delayed"), &invalid),
            (&json!("without id"), &invalid)
        ]
    );
    let received = sqs.receive("work.fifo", 10);
    let told: Vec<_> = received
        .iter()
        .map(|it| {
            (
                &it.body[..],
                it.group.as_deref(),
                it.deduplication_id.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("a", Some("one"), Some("1")),
            ("b", Some("one"), Some("2")),
            ("c", Some("two"), Some("1c")),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_of_a_fifo_queue_keeps_its_group_and_lets_the_next_one_through() {
    let sqs = Sqs::start().await.unwrap();
    let fifo = QueueSettings {
        fifo: true,
        ..QueueSettings::default()
    };
    sqs.create("dead.fifo", fifo.clone());
    let dead_letter = Some(("dead.fifo".to_owned(), 1));
    sqs.create(
        "work.fifo",
        QueueSettings {
            dead_letter,
            ..fifo
        },
    );
    for body in ["a", "b"] {
        sqs.send_once("work.fifo", "one", body);
    }

    assert_eq!(bodies(&sqs.receive("work.fifo", 1)), ["a"]);
    assert!(sqs.receive("work.fifo", 1).is_empty(), "a is in flight");
    advance(30 * SECOND).await;

    assert_eq!(bodies(&sqs.receive("work.fifo", 1)), ["b"]);
    let dead = sqs.receive("dead.fifo", 10);
    assert_eq!(bodies(&dead), ["a"]);
    assert_eq!(dead[0].group.as_deref(), Some("one"));
    advance(30 * SECOND).await;
    assert_eq!(sqs.redrive("dead.fifo", "work.fifo"), 1);
    assert_eq!(sqs.bodies("work.fifo").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_an_empty_queue_ends_with_its_last_message() {
    let (sqs, _) = sqs(QueueSettings {
        delay: MINUTE,
        ..QueueSettings::default()
    })
    .await;
    sqs.send("work", "a");

    let early = sqs.until_empty(&["work"], SECOND).await.unwrap_err();
    assert_eq!(early.kind(), io::ErrorKind::TimedOut);
    assert!(early.to_string().contains("delayed: 1"), "{early}");
    sqs.until(2 * MINUTE, |sqs| sqs.depth("work").visible == 1)
        .await
        .unwrap();
    let received = sqs.receive("work", 1).remove(0);
    let (empty, _) = tokio::join!(sqs.until_empty(&["work"], SECOND), async {
        sqs.delete("work", &received.receipt)
    });

    empty.unwrap();
}

#[tokio::test(start_paused = true)]
async fn requests_out_of_order_are_refused() {
    let (sqs, url) = sqs(QueueSettings::default()).await;
    let fifo = QueueSettings {
        fifo: true,
        content_based_deduplication: true,
        ..QueueSettings::default()
    };
    let fifo = sqs.create("sweeps.fifo", fifo);
    let entry = |id: &str| json!({ "Id": id, "MessageBody": "a" });
    let many: Vec<_> = (0..11).map(|id| entry(&id.to_string())).collect();
    let half = "a".repeat(LARGEST / 2 + 1);
    let halves = ["a", "b"].map(|id| json!({ "Id": id, "MessageBody": half }));
    let send = |more: Value| {
        let mut body = json!({ "QueueUrl": url, "MessageBody": "a" });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        ("SendMessage", body)
    };
    let batch = |entries: Value| {
        (
            "SendMessageBatch",
            json!({ "QueueUrl": url, "Entries": entries }),
        )
    };
    let cases = [
        ("MalformedInput", send(json!({ "Body": "a" }))),
        ("MalformedInput", send(json!({ "MessageAttributes": {} }))),
        ("MissingParameter", send(json!({ "MessageBody": "" }))),
        (
            "InvalidParameterValue",
            send(json!({ "MessageBody": "a".repeat(LARGEST + 1) })),
        ),
        (
            "InvalidParameterValue",
            send(json!({ "DelaySeconds": 901 })),
        ),
        ("MissingParameter", send(json!({ "QueueUrl": fifo }))),
        (
            "AWS.SimpleQueueService.NonExistentQueue",
            send(json!({ "QueueUrl": format!("{url}s") })),
        ),
        ("AWS.SimpleQueueService.EmptyBatchRequest", batch(json!([]))),
        (
            "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
            batch(json!(many)),
        ),
        (
            "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
            batch(json!([entry("a"), entry("a")])),
        ),
        (
            "AWS.SimpleQueueService.BatchRequestTooLong",
            batch(json!(halves)),
        ),
        (
            "AWS.SimpleQueueService.UnsupportedOperation",
            ("PurgeQueue", json!({ "QueueUrl": url })),
        ),
    ];

    for (expected, (operation, body)) in cases {
        let shown = body.to_string();
        let code = refused(&sqs, operation, body).await;
        assert_eq!(code, expected, "{operation} {:.200}", shown);
    }
    assert_eq!(sqs.depth("work").all() + sqs.depth("sweeps.fifo").all(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_message_of_the_largest_size_is_taken() {
    let (sqs, url) = sqs(QueueSettings::default()).await;
    let body = json!({ "QueueUrl": url, "MessageBody": "a".repeat(LARGEST) });

    assert_eq!(ask(&sqs, "SendMessage", body).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_bad_entry_fails_alone() {
    let (sqs, url) = sqs(QueueSettings::default()).await;
    let entries = json!([
        { "Id": "good", "MessageBody": "a" },
        { "Id": "bad", "MessageBody": "b", "DelaySeconds": 1000 },
    ]);
    let body = json!({ "QueueUrl": url, "Entries": entries });

    let (status, _, answer) = ask(&sqs, "SendMessageBatch", body).await;

    assert_eq!(status, 200);
    assert_eq!(answer["Successful"][0]["Id"], "good");
    assert_eq!(answer["Failed"][0]["Id"], "bad");
    assert_eq!(answer["Failed"][0]["SenderFault"], true);
    assert_eq!(sqs.bodies("work"), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn faults_come_as_the_hook_says_and_every_request_is_recorded() {
    let (sqs, url) = sqs(QueueSettings::default()).await;
    sqs.on_request(|attempt| match (attempt.operation, attempt.number) {
        ("SendMessage", 1) => Some(Fault::InternalFailure),
        ("SendMessage", 2) => Some(Fault::LostAnswer),
        ("SendMessage", 3) => Some(Fault::AccessDenied),
        ("SendMessage", 4) => Some(Fault::Throttled),
        ("SendMessageBatch", _) => Some(Fault::Entries(vec![0])),
        _ => None,
    });
    for body in ["1", "2", "3", "4", "5"] {
        let body = json!({ "QueueUrl": url, "MessageBody": body });
        ask(&sqs, "SendMessage", body).await;
    }
    let entries = json!([{ "Id": "0", "MessageBody": "6" }, { "Id": "1", "MessageBody": "7" }]);
    let batch = json!({ "QueueUrl": url, "Entries": entries });
    let (_, _, answer) = ask(&sqs, "SendMessageBatch", batch).await;

    assert_eq!(sqs.bodies("work"), ["2", "5", "7"]);
    assert_eq!(answer["Failed"][0]["SenderFault"], false);
    let requests = sqs.requests();
    let statuses: Vec<_> = requests.iter().map(|request| request.status).collect();
    assert_eq!(statuses, [500, 500, 403, 403, 200, 200]);
    assert_eq!(requests[5].operation, "SendMessageBatch");
    assert_eq!(requests[5].queue, "work");
    assert_eq!(requests[5].bodies, ["6", "7"]);
}

fn client(sqs: &Sqs) -> Client {
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(Credentials::new("local", "local", None, None, "test"))
        .endpoint_url(sqs.url());
    Client::from_conf(config.build())
}

#[tokio::test]
async fn the_sdk_can_send_one_and_many_and_read_the_counts() {
    let (sqs, url) = sqs(QueueSettings::default()).await;
    let client = client(&sqs);

    let send = client.send_message().queue_url(&url).message_body("hello");
    let sent = send.send().await.unwrap();
    let mut batch = client.send_message_batch().queue_url(&url);
    for id in ["a", "b"] {
        let entry = SendMessageBatchRequestEntry::builder().id(id);
        batch = batch.entries(entry.message_body(id).delay_seconds(900).build().unwrap());
    }
    let batch = batch.send().await.unwrap();
    let counts = client
        .get_queue_attributes()
        .queue_url(&url)
        .attribute_names(QueueAttributeName::ApproximateNumberOfMessages)
        .attribute_names(QueueAttributeName::ApproximateNumberOfMessagesDelayed);
    let counts = counts.send().await.unwrap().attributes.unwrap();

    // `printf hello | md5sum`
    let md5 = sent.md5_of_message_body().unwrap();
    assert_eq!(md5, "5d41402abc4b2a76b9719d911017c592");
    assert_eq!((batch.successful().len(), batch.failed().len()), (2, 0));
    assert_eq!(counts.len(), 2);
    assert_eq!(
        counts[&QueueAttributeName::ApproximateNumberOfMessages],
        "1"
    );
    assert_eq!(
        counts[&QueueAttributeName::ApproximateNumberOfMessagesDelayed],
        "2"
    );
}

#[tokio::test]
async fn the_sdk_knows_the_errors() {
    let (sqs, url) = sqs(QueueSettings::default()).await;
    let client = client(&sqs);
    sqs.on_request(|_| Some(Fault::AccessDenied));

    let send = |url: &str| {
        client
            .send_message()
            .queue_url(url)
            .message_body("a")
            .send()
    };
    let denied = send(&url).await.unwrap_err().into_service_error();
    let unknown = send("http://sqs.local/123456789012/none").await;
    let unknown = unknown.unwrap_err().into_service_error();

    assert_eq!(denied.code(), Some("AccessDenied"));
    assert!(denied.message().unwrap().contains("sqs:sendmessage"));
    assert!(unknown.is_queue_does_not_exist(), "{unknown:?}");
}
