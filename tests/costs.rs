//! The formula of docs/costs.md, held against bills worked out by hand.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/costs.py");
    let mut python = Command::new("python3");
    python.arg(program).args(arguments).current_dir(folder);
    python.output().unwrap()
}

/// The bill by round numbers, each different from the others, with some of them changed.
fn evaluate(changes: &Value) -> Value {
    let numbers = r#"{
        "sessions": 10000, "stages": 100, "participants": 100, "days_listed": 60,
        "lambda_gb_second": 10e-6, "lambda_request": 0.2e-6, "sqs_request": 0.4e-6,
        "sqs_fifo_request": 0.5e-6, "s3_put": 5e-6, "s3_get": 0.4e-6, "s3_gb_month": 0.02,
        "athena_tb": 5, "eventbridge_event": 0, "log_gb": 0.5, "log_gb_month": 0.03,
        "metric": 0.3, "alarm": 0.1, "dashboard": 3, "kms_key": 1, "kms_request": 3e-6,
        "ticks": 2880, "hints": 5, "pollers": 5, "months": 12, "queries": 100, "query_days": 15,
        "object_reads": 2, "list_seconds": 0, "lambda_log_bytes": 1000, "kms_keys": 0, "collect_seconds": 0.4,
        "call_seconds": 0.5, "stage_seconds": 0.25, "session_puts": 2, "session_gets": 3,
        "object_bytes": 5000, "participant_bytes": 50, "look_log_bytes": 500,
        "sweep_log_bytes": 400, "memory_gb": 0.5, "noncurrent_days": 60, "log_days": 30,
        "alarm_metrics": 12, "dashboards": 1, "sweep_metrics": 6, "session_metrics": 6
    }"#;
    let mut numbers: Value = serde_json::from_str(numbers).unwrap();
    let changes = changes.as_object().unwrap().clone();
    numbers.as_object_mut().unwrap().extend(changes);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = run(root, &["evaluate", &numbers.to_string()]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn assert_close(got: &Value, expected: f64, name: &str) {
    let got = got.as_f64().unwrap();
    assert!(
        (got - expected).abs() < 1e-9 + 1e-6 * expected,
        "{name}: {got} is not {expected}"
    );
}

#[test]
fn the_bill_is_the_one_worked_out_by_hand() {
    let bill = evaluate(&json!({}));

    // 2 pages twice and 5 calls: 9 of 0.5 s. 10,000 × 4.5 s × 0.5 GB = 22,500 GB-seconds.
    // A million people at 0.4 s and 0.5 GB: 200,000 GB-seconds.
    // IVS lists 20,000 sessions: (100 + 200) calls of 0.25 s are 75 s, 2,880 times, at 0.5 GB: 108,000 GB-seconds.
    // 7 messages a session are 70,000, and with the ticks 72,880 invocations.
    // 210,000 requests of messages, and at each tick one of the queue of work and three of its own: 1.9 millionths.
    // 5 pollers, three times a minute, 43,200 minutes: 648,000 polls of each queue, two of which are FIFO.
    // 20,000 PUTs, 30,000 GETs, and at each of 2,880 ticks (2 × 20 + 5) lists, 129,600, and 9 GETs, 25,920.
    // An object has 10,000 bytes, so a month adds 0.1 GB: $0.002.
    // A query reads 5,000 objects, 50 MB: a hundred of them 5 GB, a million GETs, and 100 × (15 + 5) lists.
    // 70,000 × 500 + 2,880 × 400 + 72,880 × 1,000 bytes are 109.032 MB, at $0.53.
    let expected = [
        ("Lambda: exports", 0.225),
        ("Lambda: collections", 2.0),
        ("Lambda: sweeps", 1.08),
        ("Lambda: requests", 0.014_576),
        ("SQS: messages", 0.084 + 0.005_472),
        ("SQS: idle polls", 0.9072),
        ("S3: requests", 0.1 + 0.012 + 0.648 + 0.010_368),
        ("S3: storage", 0.024),
        ("S3: noncurrent", 0.004),
        ("Athena: scan", 0.025),
        ("Athena: requests to S3", 0.4 + 0.01),
        ("schedule, events", 0.0),
        ("logs", 0.057_786_96),
        ("metrics", 3.6),
        ("alarms", 1.2),
        ("dashboard", 3.0),
        ("KMS", 0.0),
    ];
    let parts = bill["parts"].as_object().unwrap();
    assert_eq!(parts.len(), expected.len());
    for (name, expected) in expected {
        assert_close(&parts[name], expected, name);
    }
}

#[test]
fn a_tick_lists_for_nine_minutes_and_no_more() {
    let many = json!({ "sessions": 100_000, "stages": 1000, "days_listed": 300 });
    let evaluated = evaluate(&many);
    // A million sessions: (1,000 + 10,000) calls of 0.25 s would take 2,750 s. It lists the lake in 2,005 requests, and reads 9 days.
    assert_close(&evaluated["names"]["tick"], 540.0, "seconds");
    let (puts, gets) = (
        0.2 * 5.0 + 2880.0 * 2005.0 * 5e-6,
        0.3 * 0.4 + 2880.0 * 9.0 * 0.4e-6,
    );
    assert_close(&evaluated["parts"]["S3: requests"], puts + gets, "lists");
}

#[test]
fn a_collection_pays_for_the_pace_its_parts_and_its_turns() {
    let names = &evaluate(&json!({ "participants": 10_000 }))["names"];
    // 50 parts, three a turn: 17 turns. 10,000 × 0.4 s at 0.5 GB: 2,000 GB-seconds.
    assert_close(&names["collect_lambda"], 0.02 + 17.0 * 0.2e-6, "Lambda");
    // A PUT for each part and both objects, a list a turn; a GET for each part, and three a turn.
    let (puts, gets) = (50.0 + 2.0 + 17.0, 50.0 + 51.0);
    assert_close(&names["collect_s3"], puts * 5e-6 + gets * 0.4e-6, "S3");
    assert_close(&names["collect_sqs"], 17.0 * 3.0 * 0.5e-6, "SQS");
}

#[test]
fn a_small_account_pays_for_the_hours_with_data_and_the_least_scan() {
    let parts = &evaluate(&json!({ "sessions": 36 }))["parts"];
    // 252 messages in as many of 720 hours: 0.35 of a month.
    assert_close(&parts["metrics"], 1.8 * 1.35, "metrics");
    assert_close(&parts["Athena: scan"], 100.0 * 50e-6, "scan");
}

#[test]
fn a_key_costs_its_month_and_each_request_for_an_object() {
    let parts = &evaluate(&json!({ "kms_keys": 1 }))["parts"];
    // 20,000 + 30,000 of the function, and a million of Athena.
    assert_close(&parts["KMS"], 1.0 + 1_050_000.0 * 3e-6, "KMS");
}

#[test]
fn a_page_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["bill"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert_eq!(error, "error: docs/costs.md: No such file or directory\n");
}
