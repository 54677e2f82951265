//! What sweeps of the real binary find to be collected, and what they put into the queue of collections.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use ivs_attendance::session::SessionRef;
use ivs_attendance_local::ivs::world::timestamp;
use ivs_attendance_local::lambda::circle::{Circle, CircleSettings, DEAD, DEAD_COLLECTIONS};
use ivs_attendance_local::scene::{
    PATIENCE, QUICK, ended, live, now, put_placeholder, session, stage,
};
use ivs_attendance_local::sqs::queues::QueueSettings;
use serde_json::{Value, json};

use crate::harness::{BOOTSTRAP, FOLDER};

/// A queue of collections from which nobody takes.
const COLLECT: &str = "untouched.fifo";

/// All as deployed, but for a queue of collections from which nobody takes.
async fn circle(variables: &[(&str, &str)]) -> Circle {
    let circle = whole_circle(variables).await;
    let settings = QueueSettings {
        fifo: true,
        ..QueueSettings::default()
    };
    let url = circle.sqs.create(COLLECT, settings);
    circle.pool.deploy("COLLECT_QUEUE_URL", &url);
    circle
}

async fn whole_circle(variables: &[(&str, &str)]) -> Circle {
    let settings = CircleSettings::at(20).with(&QUICK).with(variables);
    let circle = Circle::without_quota(BOOTSTRAP, FOLDER, settings);
    circle.await.unwrap()
}

/// What a sweep reports of attendance: missing, and of these collecting, failing, enqueued and left.
async fn sweep(circle: &Circle, options: Value) -> [u64; 5] {
    let report = circle.invoke(json!({ "sweep": options })).await;
    let report = report.unwrap().unwrap();
    let members = ["missing", "collecting", "failing", "enqueued", "left"];
    let counts = members.map(|member| report["attendance"][member].as_u64().unwrap());
    let [missing, others @ ..] = counts;
    assert_eq!(missing, others.iter().sum::<u64>(), "{report}");
    counts
}

/// That of a dry run, which enqueues nothing.
async fn found(circle: &Circle) -> [u64; 4] {
    let [missing, collecting, failing, enqueued, left] =
        sweep(circle, json!({ "dry_run": true })).await;
    assert_eq!(enqueued, 0);
    [missing, collecting, failing, left]
}

const NOTHING: [u64; 4] = [0, 0, 0, 0];
const COLLECTING: [u64; 4] = [1, 1, 0, 0];
const FAILING: [u64; 4] = [1, 0, 1, 0];
const LEFT: [u64; 4] = [1, 0, 0, 1];

fn minutes_ago(minutes: i64) -> DateTime<Utc> {
    now() - TimeDelta::minutes(minutes)
}

fn stem(number: usize) -> String {
    let name = SessionRef {
        stage_arn: stage(number).parse().unwrap(),
        session_id: session(number).parse().unwrap(),
    };
    name.file_stem()
}

/// Puts an object of a session into the folder of a table, last written so many minutes ago.
fn put(circle: &Circle, table: &str, number: usize, minutes: i64) {
    let what = circle.ivs.world();
    let start = what.sessions[&(stage(number), session(number))].start_time;
    let day = start.unwrap().date_naive();
    drop(what);
    let key = format!("{table}/dt={day}/{}.parquet", stem(number));
    put_placeholder(&circle.s3, &key, minutes_ago(minutes)).unwrap();
}

/// Puts a session that ended so many minutes ago, of at least 62, and its final list of participants.
fn put_final(circle: &Circle, number: usize, minutes: i64) {
    circle
        .ivs
        .world()
        .put(&stage(number), &session(number), ended(2, minutes));
    put(circle, "participants", number, minutes - 61);
}

/// The numbers of the sessions of these messages, and whether each is a rewrite.
fn named(bodies: &[String], among: std::ops::Range<usize>) -> BTreeSet<(usize, bool)> {
    let named = bodies.iter().map(|body| {
        let body: Value = serde_json::from_str(body).unwrap();
        let request = &body["collect"];
        let number = among
            .clone()
            .find(|&number| request["session_id"] == session(number));
        let number = number.unwrap();
        assert_eq!(request["stage_arn"], stage(number));
        assert!(request["session_start_time"].is_string(), "{body}");
        (number, request["rewrite_before"].is_string())
    });
    named.collect()
}

#[tokio::test]
async fn a_session_is_due_once_its_list_is_final_and_until_it_is_collected() {
    let circle = circle(&[]).await;
    circle
        .ivs
        .world()
        .put(&stage(0), &session(0), ended(2, 120));
    circle.ivs.world().put(&stage(1), &session(1), live());
    assert_eq!(found(&circle).await, NOTHING, "no list");
    put(&circle, "participants", 0, 61);
    assert_eq!(found(&circle).await, NOTHING, "not final");
    put(&circle, "participants", 0, 60);
    assert_eq!(found(&circle).await, LEFT, "final");
    put(&circle, "participant_events", 0, 5);
    assert_eq!(found(&circle).await, LEFT, "events alone mark nothing");
    put(&circle, "attendance", 0, 5);
    assert_eq!(found(&circle).await, NOTHING, "collected");
    // A later rewrite of the list leaves attendance as it is.
    put(&circle, "participants", 0, 1);
    assert_eq!(found(&circle).await, NOTHING);
}

#[tokio::test]
async fn a_session_with_a_young_part_is_left_to_its_own_message() {
    let circle = circle(&[]).await;
    put_final(&circle, 0, 300);
    put_final(&circle, 1, 300);
    put(&circle, "attendance", 1, 10);
    let part = |number: &str| format!("parts/{}/x/{number}", stem(0));
    for (minutes, expected) in [(29, COLLECTING), (31, LEFT)] {
        put_placeholder(&circle.s3, &part("00000"), minutes_ago(minutes)).unwrap();
        assert_eq!(found(&circle).await, expected, "{minutes} minutes");
    }
    // The latest part counts, of whichever list.
    put_placeholder(&circle.s3, &part("00001"), minutes_ago(1)).unwrap();
    put_placeholder(&circle.s3, &part("00002"), minutes_ago(90)).unwrap();
    assert_eq!(found(&circle).await, COLLECTING);
}

#[tokio::test]
async fn a_failure_keeps_a_session_out_for_a_day() {
    let circle = circle(&[("RECOLLECT_BEFORE", &timestamp(minutes_ago(1)))]).await;
    let days = 3 * 24 * 60;
    put_final(&circle, 0, days);
    // That the export failed says nothing of the collection.
    let export = format!("failed/{}", stem(0));
    put_placeholder(&circle.s3, &export, minutes_ago(5)).unwrap();
    assert_eq!(found(&circle).await, LEFT);
    let collection = format!("failed/collect/{}", stem(0));
    for (minutes, expected) in [
        (23 * 60, FAILING),
        (25 * 60, LEFT),
        (days + 1, LEFT),
        (60, FAILING),
    ] {
        put_placeholder(&circle.s3, &collection, minutes_ago(minutes)).unwrap();
        assert_eq!(found(&circle).await, expected, "{minutes} minutes");
    }
    let part = format!("parts/{}/x/00000", stem(0));
    put_placeholder(&circle.s3, &part, minutes_ago(61)).unwrap();
    assert_eq!(found(&circle).await, FAILING, "it counts once");

    // Collected before it failed: it is to be collected once more, and fails at that. Collected since: the failure is over.
    for (minutes, expected) in [(61, FAILING), (59, LEFT)] {
        put(&circle, "attendance", 0, minutes);
        assert_eq!(found(&circle).await, expected, "{minutes} minutes");
    }
}

#[tokio::test]
async fn where_nobody_is_asked_for_nothing_is_missing() {
    let circle = circle(&[("COLLECT", "nobody")]).await;
    put_final(&circle, 0, 300);
    put_final(&circle, 1, 300);
    let marker = format!("failed/collect/{}", stem(1));
    put_placeholder(&circle.s3, &marker, minutes_ago(5)).unwrap();
    assert_eq!(found(&circle).await, NOTHING);
    assert_eq!(sweep(&circle, json!({})).await, [0; 5]);
    assert_eq!(circle.sqs.depth(COLLECT).all(), 0);

    circle.pool.deploy("COLLECT", "publishers");
    assert_eq!(found(&circle).await, [2, 0, 1, 1]);
}

#[tokio::test]
async fn the_queue_is_topped_up_with_the_newest_first() {
    let circle = circle(&[("QUEUE_AT_MOST", "40")]).await;
    // The higher its number, the longer ago it ended.
    for number in 0..100 {
        let minutes = 100 + i64::try_from(number).unwrap();
        put_final(&circle, number, minutes);
    }
    let part = format!("parts/{}/x/00000", stem(1));
    put_placeholder(&circle.s3, &part, minutes_ago(1)).unwrap();
    let marker = format!("failed/collect/{}", stem(2));
    put_placeholder(&circle.s3, &marker, minutes_ago(1)).unwrap();
    assert_eq!(sweep(&circle, json!({})).await, [100, 1, 1, 40, 58]);
    let newest = |count| {
        let left_out = [1, 2];
        let numbers = (0..100).filter(|number| !left_out.contains(number));
        numbers.take(count).map(|number| (number, false)).collect()
    };
    let bodies = circle.sqs.bodies(COLLECT);
    assert_eq!(named(&bodies, 0..100), newest(40));

    // It is full, but a sweep may always add some.
    assert_eq!(sweep(&circle, json!({})).await, [100, 1, 1, 20, 78]);
    assert_eq!(circle.sqs.depth(COLLECT).all(), 60);

    while circle.sqs.depth(COLLECT).all() > 15 {
        for received in circle.sqs.receive(COLLECT, 5) {
            assert!(circle.sqs.delete(COLLECT, &received.receipt));
        }
    }
    assert_eq!(sweep(&circle, json!({})).await, [100, 1, 1, 25, 73]);
    let bodies = circle.sqs.bodies(COLLECT);
    assert_eq!(named(&bodies[15..], 0..100), newest(25));
    // One stage alone.
    let one = json!({ "stage_arn": stage(70), "dry_run": true });
    assert_eq!(sweep(&circle, one).await, [1, 0, 0, 0, 1]);
}

#[tokio::test]
async fn attendance_to_be_collected_once_more_comes_behind_what_is_missing() {
    let circle = circle(&[
        ("QUEUE_AT_MOST", "20"),
        ("RECOLLECT_BEFORE", &timestamp(minutes_ago(30))),
    ])
    .await;
    // 10 that ended last and were collected, 15 that are missing, and 3 that were collected since the instant.
    for number in 0..28 {
        let minutes = 200 + i64::try_from(number).unwrap();
        put_final(&circle, number, minutes);
        if number < 10 {
            put(&circle, "attendance", number, 31);
        } else if number >= 25 {
            put(&circle, "attendance", number, 29);
        }
    }
    assert_eq!(found(&circle).await, [25, 0, 0, 25]);
    assert_eq!(sweep(&circle, json!({})).await, [25, 0, 0, 20, 5]);
    let missing = (10..25).map(|number| (number, false));
    let again = (0..5).map(|number| (number, true));
    let bodies = circle.sqs.bodies(COLLECT);
    assert_eq!(named(&bodies, 0..28), missing.chain(again).collect());
    let swept = circle.swept();
    let last = swept.iter().find(|line| line["dry_run"] == false).unwrap();
    // What is collected once more is no backlog.
    let logged = [&last["collect_enqueued"], &last["uncollected"]];
    assert_eq!(logged, [20, 0]);
}

#[tokio::test]
async fn what_has_begun_is_sent_again_only_if_the_queue_is_empty() {
    let circle = circle(&[("RECOLLECT_BEFORE", &timestamp(minutes_ago(20)))]).await;
    for number in 0..3 {
        put_final(&circle, number, 200 + i64::try_from(number).unwrap());
    }
    let part = |number, minutes| {
        let key = format!("parts/{}/x/00000", stem(number));
        put_placeholder(&circle.s3, &key, minutes_ago(minutes)).unwrap();
    };
    // The first has begun. The second has, too, but has failed since. Of the third the parts are of its former collection.
    part(0, 50);
    part(1, 1500);
    let marker = format!("failed/collect/{}", stem(1));
    put_placeholder(&circle.s3, &marker, minutes_ago(1450)).unwrap();
    part(2, 50);
    put(&circle, "attendance", 2, 40);
    circle.sqs.send_once(COLLECT, "other", "{}");
    assert_eq!(sweep(&circle, json!({})).await, [3, 1, 0, 2, 0]);
    for received in circle.sqs.receive(COLLECT, 10) {
        assert!(circle.sqs.delete(COLLECT, &received.receipt));
    }
    assert_eq!(sweep(&circle, json!({})).await, [3, 0, 0, 3, 0]);
}

#[tokio::test]
async fn ticks_alone_collect_what_ended_and_then_come_to_rest() {
    let circle = whole_circle(&[]).await;
    for number in 0..12 {
        circle
            .ivs
            .world()
            .put(&stage(number % 4), &session(number), ended(3, 120));
    }
    circle
        .ivs
        .world()
        .put(&stage(0), &session(12), ended(3, 10));
    let collected = || {
        let mut keys = circle.s3.keys();
        keys.retain(|key| key.starts_with("attendance/"));
        keys.len()
    };
    for expected in [0, 12, 12] {
        circle.tick();
        circle.until_settled(PATIENCE).await.unwrap();
        assert_eq!(collected(), expected);
    }
    let lines = circle.pool.log_lines();
    let outcomes = lines.iter().filter(|line| line["outcome"] == "collected");
    assert_eq!(outcomes.count(), 12, "each once");
    assert_eq!(found(&circle).await, NOTHING);
    for dead in [DEAD, DEAD_COLLECTIONS] {
        assert_eq!(circle.sqs.depth(dead).all(), 0);
    }
    assert_eq!(circle.s3.unconditional_puts().len(), 0);
}
