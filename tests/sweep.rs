//! The whole circle, tick and events to lake: every ended session, exactly once, whatever was lost.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod harness;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use chrono::{DateTime, TimeDelta, Utc};
use ivs_attendance::table::participants::PARTICIPANTS;
use ivs_attendance_local::faults::{Kind, S3Kind, When};
use ivs_attendance_local::ivs::quota::Quota;
use ivs_attendance_local::ivs::world::{Session, timestamp};
use ivs_attendance_local::lambda::circle::{Circle, CircleSettings, DEAD, SWEEPS, WORK};
use ivs_attendance_local::scene::{
    PATIENCE, QUICK, ended, hint, live, message, now, request, session, stage,
};
use ivs_attendance_local::sqs::wire::Fault;
use ivs_attendance_local::{ACCESS_KEY, BUCKET, REGION, SECRET_KEY};
use serde_json::{Value, json};

use crate::harness::{BOOTSTRAP, FOLDER};

/// What sweeps find for collecting is tried in `tests/collect.rs`. Many files here are placeholders, which cannot be collected.
async fn circle(settings: CircleSettings) -> Circle {
    let mut variables = vec![("COLLECT".to_owned(), "nobody".to_owned())];
    variables.extend(settings.variables);
    let settings = CircleSettings {
        variables,
        ..settings
    };
    let circle = Circle::without_quota(BOOTSTRAP, FOLDER, settings);
    circle.await.unwrap()
}

async fn quick(variables: &[(&str, &str)]) -> Circle {
    circle(CircleSettings::default().with(&QUICK).with(variables)).await
}

/// A client beside the function, as a person's tools would be.
fn s3_client(circle: &Circle) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(Credentials::new(
            ACCESS_KEY, SECRET_KEY, None, None, "local",
        ))
        .endpoint_url(circle.s3.url())
        .force_path_style(true);
    aws_sdk_s3::Client::from_conf(config.build())
}

async fn sweep(circle: &Circle, options: Value) -> Value {
    circle
        .invoke(json!({ "sweep": options }))
        .await
        .unwrap()
        .unwrap()
}

/// Sends ticks, each once the queues have come to rest, until it is done, and says how many that took.
async fn ticks_until(circle: &Circle, most: usize, done: impl Fn() -> bool) -> usize {
    for ticks in 1..=most {
        circle.tick();
        circle.until_settled(PATIENCE).await.unwrap();
        if done() {
            return ticks;
        }
    }
    panic!("not done after {most} ticks: {:?}", circle.swept());
}

/// An instant so many minutes ago, as a setting.
fn minutes_ago(minutes: i64) -> String {
    timestamp(now() - TimeDelta::minutes(minutes))
}

/// The keys of the sessions' files. The lake also holds markers of failures, and what sweeps know of the sessions of each day.
fn files(circle: &Circle) -> Vec<String> {
    let mut keys = circle.s3.keys();
    keys.retain(|key| key.starts_with("participants/"));
    keys
}

/// The keys of the markers of failures.
fn failed(circle: &Circle) -> Vec<String> {
    let mut keys = circle.s3.keys();
    keys.retain(|key| key.starts_with("failed/"));
    keys
}

/// The file names in the lake, which name stage and session.
fn exported(circle: &Circle) -> BTreeSet<String> {
    let name = |key: &String| key.rsplit('/').next().unwrap().to_owned();
    files(circle).iter().map(name).collect()
}

/// How often an object of this folder was put.
fn puts(circle: &Circle, folder: &str) -> usize {
    let folder = format!("/{BUCKET}/{folder}/");
    let requests = circle.s3.requests().into_iter();
    requests
        .filter(|request| request.method == "PUT" && request.path.starts_with(&folder))
        .count()
}

fn file(stage: usize, session: usize) -> String {
    format!("stage{stage:05}_{}.parquet", self::session(session))
}

#[tokio::test]
async fn one_tick_exports_all_that_ended_and_names_the_stage_that_failed() {
    let circle = quick(&[]).await;
    let mut expected = BTreeSet::new();
    // 40 stages of 5 sessions: the first live on every other stage, the second ended without a publisher.
    for stage in 0..40 {
        for number in 0..5 {
            let mut what = ended(number, 5 + i64::try_from(number).unwrap());
            match number {
                0 if stage % 2 == 0 => what = live(),
                1 => what
                    .participants
                    .iter_mut()
                    .for_each(|who| who.published = None),
                _ => {}
            }
            if what.end_time.is_some() {
                expected.insert(file(stage, number));
            }
            circle
                .ivs
                .world()
                .put(&self::stage(stage), &session(number), what);
        }
    }
    // One session is in the lake already; a stage is deleted; one always fails.
    circle
        .invoke(request(&stage(3), &session(3)))
        .await
        .unwrap()
        .unwrap();
    circle.ivs.world().delete_stage(&stage(39), true);
    expected.retain(|file| !file.starts_with("stage00039"));
    circle.ivs.world().sick_stages.insert(stage(7));

    circle.tick();
    circle.until_quiet(PATIENCE).await.unwrap();
    let seven: BTreeSet<_> = expected
        .iter()
        .filter(|file| file.starts_with("stage00007"))
        .cloned()
        .collect();
    assert_eq!(exported(&circle), &expected - &seven);
    assert_eq!(circle.s3.unconditional_puts().len(), 0);

    let lines = circle.pool.log_lines();
    let failed: Vec<_> = lines
        .iter()
        .filter(|line| line["message"] == "the stage could not be swept")
        .collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(
        (&failed[0]["stage_arn"], &failed[0]["error_type"]),
        (&stage(7).into(), &"IvsRejected".into())
    );
    let report = sweep(&circle, json!({})).await;
    assert_eq!(
        (&report["failed"], &report["failed_stages"]),
        (&json!(1), &json!([stage(7)]))
    );
    assert_eq!(
        (&report["stages"], &report["missing"], &report["live"]),
        (&json!(39), &json!(0), &json!(20))
    );
    assert_eq!(circle.sqs.depth(DEAD).all(), 0);
}

#[tokio::test]
async fn once_all_is_confirmed_a_tick_lists_nobody_and_puts_nothing() {
    let circle = quick(&[]).await;
    for number in 0..30 {
        circle
            .ivs
            .world()
            .put(&stage(number % 4), &session(number), ended(3, 61));
    }
    circle.tick();
    circle.until_quiet(PATIENCE).await.unwrap();
    for key in files(&circle) {
        circle
            .s3
            .set_last_modified(&key, (now() - TimeDelta::minutes(60)).into());
    }
    circle.tick();
    circle.until_quiet(PATIENCE).await.unwrap();
    let listed = circle.ivs.count("ListParticipants");
    let confirmed = (
        listed,
        puts(&circle, "participants"),
        exported(&circle).len(),
    );
    assert_eq!(confirmed, (60, 60, 30));

    // The first of these ticks writes down that all is confirmed. Then there is no more news.
    let mut days = circle.s3.keys();
    days.retain(|key| key.starts_with("sessions/"));
    for news in [days.len(), 0] {
        let before = puts(&circle, "sessions");
        circle.tick();
        circle.until_quiet(PATIENCE).await.unwrap();
        assert_eq!(circle.ivs.count("ListParticipants"), listed);
        assert_eq!(puts(&circle, "participants"), 60);
        assert_eq!(puts(&circle, "sessions") - before, news);
    }
    let last = sweep(&circle, json!({})).await;
    assert_eq!(
        (&last["missing"], &last["due"], &last["enqueued"]),
        (&json!(0), &json!(0), &json!(0))
    );
    assert_eq!(
        last["calls"], 5,
        "one list of stages, and one of sessions for each"
    );
}

#[tokio::test]
async fn a_long_history_is_in_the_lake_after_hardly_more_ticks_than_the_least() {
    let circle = circle(CircleSettings::at(30).with(&QUICK)).await;
    for number in 0..5000 {
        let minutes_ago = 100 + i64::try_from(number).unwrap();
        circle.ivs.world().put(
            &stage(number % 10),
            &session(number),
            ended(number % 3, minutes_ago),
        );
    }
    let ticks = ticks_until(&circle, 30, || exported(&circle).len() == 5000).await;
    for line in circle.swept() {
        assert!(line["enqueued"].as_u64().unwrap() <= 300, "{line}");
    }
    let least = 5000_usize.div_ceil(300);
    println!("5,000 sessions: {ticks} ticks of at least {least}");
    // A message that a batch had no time for is sent again, and a tick that finds it waiting has less room.
    assert!(ticks <= least + 3, "{ticks} ticks");
}

#[tokio::test]
async fn a_session_that_ends_amid_a_backfill_is_exported_within_two_ticks() {
    let circle = quick(&[("QUEUE_AT_MOST", "50")]).await;
    for number in 0..500 {
        let minutes_ago = 100 + i64::try_from(number).unwrap();
        circle
            .ivs
            .world()
            .put(&stage(number % 10), &session(number), ended(1, minutes_ago));
    }
    circle.tick();
    circle.until_quiet(PATIENCE).await.unwrap();
    assert_eq!(exported(&circle).len(), 50);
    // Nobody published in it, so no event came.
    circle
        .ivs
        .world()
        .put(&stage(3), &session(9999), ended(1, 1));
    circle.tick();
    circle.until_quiet(PATIENCE).await.unwrap();
    assert!(exported(&circle).contains(&file(3, 9999)));
}

#[tokio::test]
async fn every_tick_sweeps_one_at_a_time() {
    // As deployed: the counts of the queues lag by more than the ticks lie apart here.
    let circle = circle(CircleSettings::default().with(&[("SWEEP_CALLS_PER_SECOND", "20")])).await;
    for number in 0..10 {
        circle
            .ivs
            .world()
            .put(&stage(number), &session(number), live());
    }
    for _ in 0..5 {
        circle.tick();
    }
    circle.until_quiet(PATIENCE).await.unwrap();
    let mut deliveries = circle.sweeps.deliveries();
    deliveries.sort_by_key(|delivery| delivery.started);
    assert_eq!(deliveries.len(), 5);
    for pair in deliveries.windows(2) {
        assert!(
            pair[0].ended.as_ref().unwrap().0 <= pair[1].started,
            "one began before the end of the last"
        );
    }
    let swept = circle.swept();
    assert_eq!(swept.len(), 5);
    assert!(swept.iter().all(|line| line["stages"] == 10), "{swept:?}");
}

#[tokio::test]
async fn where_no_tick_reaches_every_stage_ticks_alone_reach_them_all() {
    const STAGES: usize = 1000;
    // Some 2.4 s of the time-out of 4.5 s are for listing. The rate is one that a busy machine keeps, too: else the number of ticks
    // would tell of the machine.
    let variables = [
        ("CALLS_PER_SECOND", "1000"),
        ("SWEEP_CALLS_PER_SECOND", "150"),
        ("QUEUE_AT_MOST", "5000"),
    ];
    let circle = circle(CircleSettings::at(200).with(&variables)).await;
    for number in 0..STAGES {
        let world = &mut circle.ivs.world();
        world.put(&stage(number), &session(number), ended(1, 5));
        // A stage with a long history must not keep its neighbours from their turn.
        for older in 0..if number % 200 == 0 { 300 } else { 0 } {
            world.put(&stage(number), &session(10_000 + older), live());
        }
    }
    let ticks = ticks_until(&circle, 60, || exported(&circle).len() == STAGES).await;
    let reached = circle
        .swept()
        .iter()
        .map(|line| line["stages"].as_u64().unwrap())
        .max();
    let reached = usize::try_from(reached.unwrap()).unwrap();
    assert!(reached < STAGES / 2, "one tick reached {reached}");
    let least = STAGES.div_ceil(reached);
    println!(
        "{STAGES} stages: {ticks} ticks of at least {least}, each of which reached up to {reached}"
    );
    assert_eq!(
        circle.sqs.depth(SWEEPS).all(),
        0,
        "no tick left anything behind"
    );
}

#[tokio::test]
async fn a_dry_run_without_time_says_where_to_go_on() {
    let settings = CircleSettings::at(300).with(&[("SWEEP_CALLS_PER_SECOND", "40")]);
    let circle = circle(settings).await;
    for number in 0..50 {
        circle
            .ivs
            .world()
            .put(&stage(number), &session(number), ended(1, 5));
    }
    let (mut stages, mut after) = (0, json!(null));
    for runs in 1.. {
        let mut options = json!({ "dry_run": true });
        if after.is_string() {
            options["after"] = after;
        }
        let report = sweep(&circle, options).await;
        stages += report["stages"].as_u64().unwrap();
        after = report["after"].clone();
        if after.is_null() {
            assert!(runs > 1, "one run reached every stage");
            break;
        }
        assert_eq!(after, stage(usize::try_from(stages).unwrap() - 1));
    }
    assert_eq!(stages, 50);
}

#[tokio::test]
async fn a_dry_run_reports_and_sends_nothing() {
    let circle = quick(&[("IGNORE_ENDED_BEFORE", "2020-01-01T00:00:00Z")]).await;
    circle.ivs.world().put(&stage(1), &session(1), ended(1, 5));
    circle.ivs.world().put(&stage(1), &session(2), live());
    let old = (now() - "2019-01-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap()).num_minutes();
    circle
        .ivs
        .world()
        .put(&stage(2), &session(3), ended(1, old));
    let report = sweep(&circle, json!({ "dry_run": true })).await;
    assert_eq!(
        report,
        json!({
            "stages": 2, "sessions": 3, "live": 1, "missing": 1, "due": 0, "failing": 0, "enqueued": 0, "left": 1,
            "failed": 0, "failed_stages": [], "calls": 3,
            "attendance": { "missing": 0, "collecting": 0, "failing": 0, "enqueued": 0, "left": 0 },
        })
    );
    let report = sweep(&circle, json!({ "dry_run": true, "stage_arn": stage(2) })).await;
    assert_eq!(
        (&report["stages"], &report["sessions"], &report["left"]),
        (&json!(1), &json!(1), &json!(0))
    );
    assert_eq!(
        (circle.sqs.requests().len(), circle.s3.keys().len()),
        (0, 0)
    );
}

#[tokio::test]
async fn what_has_expired_comes_back_by_no_sweep_but_by_a_request() {
    const DAY: i64 = 24 * 60;
    let circle = quick(&[("RETENTION_DAYS", "30")]).await;
    // Two that were never exported: one that a sweep just finds in time, and one that ended exactly so many days before now,
    // which is before any sweep.
    for (number, minutes) in [(2, 30 * DAY - 5), (3, 30 * DAY)] {
        let what = ended(3, minutes);
        circle.ivs.world().put(&stage(0), &session(number), what);
    }
    for (number, days) in [(0, 29), (1, 31)] {
        let what = ended(3, days * DAY);
        circle.ivs.world().put(&stage(0), &session(number), what);
        let request = request(&stage(0), &session(number));
        circle.invoke(request).await.unwrap().unwrap();
    }
    // As S3 does with the second session's, and as somebody may do with the first one's by mistake.
    assert_eq!(exported(&circle), [file(0, 0), file(0, 1)].into());
    for key in circle.s3.keys() {
        let delete = s3_client(&circle).delete_object().bucket(BUCKET).key(key);
        delete.send().await.unwrap();
    }

    circle.tick();
    circle.until_quiet(PATIENCE).await.unwrap();
    assert_eq!(exported(&circle), [file(0, 0), file(0, 2)].into());
    for options in [json!({}), json!({ "stage_arn": stage(0) })] {
        let report = sweep(&circle, options).await;
        assert_eq!(
            (&report["sessions"], &report["missing"], &report["due"]),
            (&json!(4), &json!(0), &json!(0))
        );
    }
    for number in [1, 3] {
        let request = request(&stage(0), &session(number));
        let report = circle.invoke(request).await.unwrap().unwrap();
        assert_eq!(report["outcome"], "exported");
    }
}

#[tokio::test]
async fn two_hundred_messages_of_live_sessions_cost_a_handful_of_calls() {
    let circle = quick(&[]).await;
    for number in 0..200 {
        let what = if number >= 190 { ended(3, 5) } else { live() };
        circle
            .ivs
            .world()
            .put(&stage(number), &session(number), what);
    }
    // 190 live and 3 ended, the rest of the messages name some of them again.
    let named = (0..193).chain(0..7);
    let records: Vec<_> = named
        .map(|n| message(&format!("m{n}"), &hint(&stage(n), &session(n), now())))
        .collect();
    let answer = circle
        .invoke(json!({ "Records": records }))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer, json!({ "batchItemFailures": [] }));
    assert_eq!(exported(&circle).len(), 3);
    let calls = circle.ivs.world().calls.len();
    assert!(calls <= 6 + 10, "{calls} calls, of which the 3 need 6");
    let outcomes = circle.pool.log_lines();
    assert_eq!(
        outcomes
            .iter()
            .filter(|line| line["outcome"] == "still_live")
            .count(),
        190
    );
}

#[tokio::test]
async fn where_stages_cannot_be_listed_a_batch_asks_one_by_one() {
    let circle = quick(&[]).await;
    for number in 0..12 {
        circle.ivs.world().put(
            &stage(number),
            &session(number),
            if number == 5 { ended(3, 5) } else { live() },
        );
    }
    circle.ivs.world().denied.insert("ListStages".to_owned());
    let records: Vec<_> = (0..12)
        .map(|n| message(&format!("m{n}"), &hint(&stage(n), &session(n), now())))
        .collect();
    let answer = circle
        .invoke(json!({ "Records": records }))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer, json!({ "batchItemFailures": [] }));
    assert_eq!(
        (exported(&circle).len(), circle.ivs.count("GetStageSession")),
        (1, 12)
    );
}

#[tokio::test]
async fn sessions_that_always_fail_cost_one_round_a_day_and_hold_nothing_up() {
    let settings = CircleSettings::at(200);
    let circle = circle(settings.with(&QUICK).with(&[("QUEUE_AT_MOST", "20")])).await;
    for number in 0..10 {
        let broken = Session {
            start_time: None,
            ..ended(3, 5)
        };
        circle.ivs.world().put(&stage(0), &session(number), broken);
    }
    for number in 10..60 {
        circle
            .ivs
            .world()
            .put(&stage(1), &session(number), ended(1, 100));
    }
    // Ticks come while the failed messages wait for their next try.
    circle.tick();
    circle
        .sqs
        .until(PATIENCE, |_| failed(&circle).len() == 10)
        .await
        .unwrap();
    for _ in 0..6 {
        circle.tick();
        circle.sqs.until_empty(&[SWEEPS], PATIENCE).await.unwrap();
    }
    while exported(&circle).len() < 50 {
        circle.tick();
        circle.until_quiet(PATIENCE).await.unwrap();
    }
    circle.until_quiet(PATIENCE).await.unwrap();
    assert_eq!(circle.sqs.depth(DEAD).all(), 10);
    let tries = |circle: &Circle| {
        let world = circle.ivs.world();
        let calls = world
            .calls
            .iter()
            .filter(|call| call.operation == "GetStageSession");
        calls
            .filter(|call| call.body["stageArn"] == stage(0))
            .count()
    };
    assert_eq!(tries(&circle), 50, "ten sessions, five receives each");
    let report = sweep(&circle, json!({})).await;
    assert_eq!(
        (&report["missing"], &report["failing"], &report["enqueued"]),
        (&json!(10), &json!(10), &json!(0))
    );

    // A day later they are tried again; mended, they are exported, and no longer count.
    for key in failed(&circle) {
        let marker: Value = serde_json::from_slice(&circle.s3.read(&key)).unwrap();
        assert_eq!(marker["error_type"], "IvsUnavailable");
        circle
            .s3
            .set_last_modified(&key, (now() - TimeDelta::hours(25)).into());
    }
    for number in 0..10 {
        circle
            .ivs
            .world()
            .put(&stage(0), &session(number), ended(3, 5));
    }
    circle.tick();
    circle.until_quiet(PATIENCE).await.unwrap();
    assert_eq!(exported(&circle).len(), 60);
    let report = sweep(&circle, json!({})).await;
    assert_eq!(
        (&report["missing"], &report["failing"]),
        (&json!(0), &json!(0))
    );
}

#[tokio::test]
async fn a_hint_is_tried_in_spite_of_the_marker() {
    let circle = quick(&[]).await;
    let broken = Session {
        start_time: None,
        ..ended(3, 5)
    };
    circle.ivs.world().put(&stage(0), &session(0), broken);
    let mut last = message("m", &request(&stage(0), &session(0)));
    last["attributes"] = json!({ "ApproximateReceiveCount": "5" });
    circle
        .invoke(json!({ "Records": [last] }))
        .await
        .unwrap()
        .unwrap();
    assert!(circle.s3.keys()[0].starts_with("failed/stage00000_st-"));
    circle.ivs.world().put(&stage(0), &session(0), ended(3, 5));
    let report = circle
        .invoke(hint(&stage(0), &session(0), now()))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(report["outcome"], "exported");
}

#[tokio::test]
async fn messages_that_were_not_begun_are_sent_again_and_do_not_count_as_failing() {
    let settings = CircleSettings::at(225);
    let circle = circle(settings.with(&[("CALLS_PER_SECOND", "2")])).await;
    for number in 0..20 {
        circle
            .ivs
            .world()
            .put(&stage(number), &session(number), ended(1, 5));
        circle
            .sqs
            .send(WORK, &request(&stage(number), &session(number)).to_string());
    }
    circle.until_quiet(PATIENCE).await.unwrap();
    assert_eq!(exported(&circle).len(), 20);
    assert_eq!(circle.sqs.depth(DEAD).all(), 0);
    let again: u64 = circle
        .pool
        .log_lines()
        .iter()
        .filter_map(|line| line["sent_again"].as_u64())
        .sum();
    assert!(again > 0);
    let receives = circle
        .work
        .deliveries()
        .into_iter()
        .flat_map(|delivery| delivery.messages);
    assert!(
        receives.map(|message| message.receives).max() <= Some(2),
        "only a session that was begun is redelivered"
    );
}

#[tokio::test]
async fn what_cannot_be_sent_again_is_handed_back() {
    let settings = CircleSettings::at(225);
    let circle = circle(settings.with(&[("CALLS_PER_SECOND", "1")])).await;
    circle.sqs.on_request(|_| Some(Fault::AccessDenied));
    for number in 0..9 {
        circle
            .ivs
            .world()
            .put(&stage(number), &session(number), ended(1, 5));
    }
    let records: Vec<_> = (0..9)
        .map(|n| message(&format!("m{n}"), &request(&stage(n), &session(n))))
        .collect();
    let answer = circle
        .invoke(json!({ "Records": records }))
        .await
        .unwrap()
        .unwrap();
    let failed = answer["batchItemFailures"].as_array().unwrap().len();
    assert_eq!(failed + exported(&circle).len(), 9, "{answer}");
    let denied = circle
        .pool
        .log_lines()
        .iter()
        .filter(|line| line["error_type"] == "AccessDenied")
        .count();
    assert!(denied > 0);
}

#[tokio::test]
async fn a_queue_that_leaves_messages_out_gets_them_again() {
    let circle = quick(&[]).await;
    for number in 0..35 {
        circle
            .ivs
            .world()
            .put(&stage(number % 3), &session(number), ended(1, 5));
    }
    circle
        .sqs
        .on_request(|attempt| match (attempt.operation, attempt.number) {
            ("SendMessageBatch", 1) => Some(Fault::Entries(vec![0, 4, 9])),
            ("SendMessageBatch", 2) => Some(Fault::InternalFailure),
            ("SendMessageBatch", 3) => Some(Fault::LostAnswer),
            ("GetQueueAttributes", 1) => Some(Fault::Throttled),
            ("SendMessageBatch", 4) | ("GetQueueAttributes", 2) => Some(Fault::KmsThrottled),
            _ => None,
        });
    circle.tick();
    circle.until_quiet(PATIENCE).await.unwrap();
    assert_eq!(exported(&circle).len(), 35);
}

#[tokio::test]
async fn a_queue_that_fails_for_good_fails_the_sweep_by_name() {
    let circle = circle(CircleSettings::at(20).with(&QUICK)).await;
    circle.ivs.world().put(&stage(0), &session(0), ended(1, 5));
    circle.sqs.on_request(|attempt| {
        (attempt.operation == "SendMessageBatch").then_some(Fault::InternalFailure)
    });
    let failure = circle
        .invoke(json!({ "sweep": {} }))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(failure.error_type, "QueueError");
    assert!(
        failure.message.starts_with("SendMessageBatch to http"),
        "{}",
        failure.message
    );

    circle.sqs.on_request(|attempt| {
        (attempt.operation == "SendMessageBatch").then_some(Fault::Entries(vec![0]))
    });
    let failure = circle
        .invoke(json!({ "sweep": {} }))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(failure.error_type, "QueueError");
    assert!(failure.message.contains("left out"), "{}", failure.message);
}

#[tokio::test]
async fn a_sweep_that_cannot_know_anything_is_an_error() {
    let circle = quick(&[]).await;
    circle.ivs.world().put(&stage(0), &session(0), ended(1, 5));
    circle
        .ivs
        .world()
        .fault("ListStageSessions", When::Always, Kind::PendingVerification);
    let failure = circle
        .invoke(json!({ "sweep": {} }))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(failure.error_type, "IvsRejected", "every stage failed");
    circle
        .ivs
        .world()
        .fault("ListStages", When::Always, Kind::AccessDenied);
    let failure = circle
        .invoke(json!({ "sweep": {} }))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(failure.error_type, "AccessDenied");
    assert!(
        failure.message.starts_with("ListStages on the account"),
        "{}",
        failure.message
    );
}

#[tokio::test]
async fn a_single_fault_of_a_list_hides_no_session() {
    for kind in [
        Kind::Throttle429,
        Kind::Error500,
        Kind::Html503,
        Kind::ResetWithin,
        Kind::BrokenJson,
        Kind::EmptyBody,
        Kind::TokenExpired,
        Kind::EmptyPageFirst,
    ] {
        for (operation, call) in [("ListStages", 2), ("ListStageSessions", 2)] {
            let circle = quick(&[]).await;
            // Two pages of stages, and of one stage two pages of sessions.
            for number in 0..120 {
                circle
                    .ivs
                    .world()
                    .put(&stage(number), &session(number), live());
                circle
                    .ivs
                    .world()
                    .put(&stage(0), &session(1000 + number), ended(1, 5));
            }
            circle.ivs.world().fault(operation, When::Nth(call), kind);
            let report = sweep(&circle, json!({ "dry_run": true })).await;
            let found = (
                &report["stages"],
                &report["live"],
                &report["missing"],
                &report["failed"],
            );
            assert_eq!(
                found,
                (&json!(120), &json!(120), &json!(120), &json!(0)),
                "{kind:?} of {operation}"
            );
        }
    }
}

#[tokio::test]
async fn a_list_that_never_ends_is_an_error_of_its_stage_or_of_the_sweep() {
    let circle = quick(&[]).await;
    for number in 0..120 {
        circle
            .ivs
            .world()
            .put(&stage(number), &session(number), ended(1, 5));
    }
    circle
        .ivs
        .world()
        .fault("ListStageSessions", When::From(2), Kind::TokenRepeated);
    let report = sweep(&circle, json!({ "dry_run": true })).await;
    assert_eq!(
        (&report["stages"], &report["failed"], &report["missing"]),
        (&json!(120), &json!(119), &json!(1))
    );
    assert_eq!(
        report["failed_stages"].as_array().unwrap().len(),
        20,
        "the first of them"
    );
    circle
        .ivs
        .world()
        .fault("ListStages", When::Always, Kind::TokensCycle);
    let failure = circle
        .invoke(json!({ "sweep": {} }))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(failure.error_type, "BrokenPagination");
    assert!(
        failure.message.starts_with("ListStages for the account"),
        "{}",
        failure.message
    );
}

#[tokio::test]
async fn a_tick_that_fails_does_not_come_back_to_hold_up_the_next() {
    let circle = quick(&[]).await;
    circle.ivs.world().put(&stage(0), &session(0), ended(1, 5));
    circle
        .ivs
        .world()
        .fault("ListStages", When::UpTo(1), Kind::AccessDenied);
    circle.tick();
    circle.until_quiet(PATIENCE).await.unwrap();
    let failed = circle
        .pool
        .log_lines()
        .into_iter()
        .filter(|line| line["message"] == "the sweep failed");
    assert_eq!(
        failed
            .map(|line| line["error_type"].clone())
            .collect::<Vec<_>>(),
        ["AccessDenied"]
    );
    assert_eq!(circle.sweeps.deliveries().len(), 1);
    circle.tick();
    circle.until_quiet(PATIENCE).await.unwrap();
    assert_eq!(exported(&circle).len(), 1);
}

#[tokio::test]
async fn a_sweep_in_the_queue_of_work_sweeps_too() {
    let circle = quick(&[]).await;
    circle.ivs.world().put(&stage(0), &session(0), ended(1, 5));
    let tick = message("tick", &json!({ "sweep": {} }));
    let answer = circle
        .invoke(json!({ "Records": [tick] }))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer, json!({ "batchItemFailures": [] }));
    assert_eq!(circle.swept().len(), 1);
    assert_eq!(circle.swept()[0]["enqueued"], 1);
}

#[tokio::test]
async fn what_is_no_sweep_is_moved_out_of_the_queue_of_sweeps_and_holds_up_no_tick() {
    let circle = circle(CircleSettings::at(300).with(&QUICK)).await;
    circle.ivs.world().put(&stage(0), &session(0), ended(1, 5));
    let broken = Session {
        start_time: None,
        ..ended(3, 5)
    };
    circle.ivs.world().put(&stage(1), &session(1), broken);
    circle.send_to_sweeps(&json!({ "sweep": { "dryrun": true } }));
    circle.send_to_sweeps(&request(&stage(1), &session(1)));
    circle.tick();
    circle.sqs.until_empty(&[SWEEPS], PATIENCE).await.unwrap();
    assert_eq!(circle.sweeps.deliveries().len(), 3, "none came back");
    assert_eq!(circle.swept().len(), 1);

    // In the queue of work they fail as all else does.
    circle.until_quiet(PATIENCE).await.unwrap();
    assert_eq!(exported(&circle), [file(0, 0)].into());
    let dead = circle.sqs.bodies(DEAD);
    for moved in [
        r#"{"sweep":{"dryrun":true}}"#,
        &request(&stage(1), &session(1)).to_string(),
    ] {
        assert!(dead.iter().any(|body| body == moved), "{dead:?}");
    }
    let lines = circle.pool.log_lines();
    let failed: Vec<_> = lines
        .iter()
        .filter(|line| line["error_type"] == "InvalidEvent")
        .collect();
    assert_eq!(failed.len(), 5, "once for each receive");
    assert!(
        failed[0]["error"].as_str().unwrap().contains("dryrun"),
        "{}",
        failed[0]
    );
}

#[tokio::test]
async fn ticks_rewrite_each_file_that_is_older_than_the_setting_once() {
    let variables = [
        ("REWRITE_BEFORE", &*minutes_ago(1)),
        ("QUEUE_AT_MOST", "40"),
    ];
    let circle = quick(&variables).await;
    for number in 0..120 {
        circle
            .ivs
            .world()
            .put(&stage(number % 5), &session(number), ended(2, 300));
    }
    let ticks = ticks_until(&circle, 3, || files(&circle).len() == 120).await;
    assert_eq!(ticks, 3, "what is newer than the setting is left alone");
    for key in &files(&circle) {
        circle
            .s3
            .set_last_modified(key, (now() - TimeDelta::minutes(30)).into());
    }
    let listed = circle.ivs.count("ListParticipants");
    let report = sweep(&circle, json!({ "dry_run": true })).await;
    assert_eq!(
        (&report["due"], &report["left"]),
        (&json!(120), &json!(120))
    );

    let rewritten = || {
        let lines = circle.pool.log_lines();
        lines
            .iter()
            .filter(|line| line["outcome"] == "rewritten")
            .count()
    };
    // One that is missing goes first.
    circle
        .ivs
        .world()
        .put(&stage(0), &session(500), ended(2, 5));
    assert_eq!(ticks_until(&circle, 4, || rewritten() == 120).await, 4);
    assert!(exported(&circle).contains(&file(0, 500)));
    circle.tick();
    circle.until_settled(PATIENCE).await.unwrap();
    assert_eq!(
        circle.ivs.count("ListParticipants") - listed,
        121,
        "each once"
    );
    let report = sweep(&circle, json!({ "dry_run": true })).await;
    assert_eq!(report["due"], 0);
}

#[tokio::test]
async fn a_rewrite_under_way_and_a_busy_queue_keep_no_tick_from_sweeping() {
    let variables = [
        ("CALLS_PER_SECOND", "3"),
        ("SWEEP_CALLS_PER_SECOND", "1000"),
        ("QUEUE_AT_MOST", "40"),
        ("REWRITE_BEFORE", &*minutes_ago(1)),
    ];
    let circle = circle(CircleSettings::default().with(&variables)).await;
    // Files to rewrite, a session that no hint tells of, and a busy account.
    for number in 100..130 {
        circle
            .ivs
            .world()
            .put(&stage(number), &session(number), ended(1, 300));
        let exported = circle.invoke(request(&stage(number), &session(number)));
        exported.await.unwrap().unwrap();
    }
    for key in circle.s3.keys() {
        let before = now() - TimeDelta::minutes(30);
        circle.s3.set_last_modified(&key, before.into());
    }
    circle.ivs.world().put(&stage(0), &session(0), ended(1, 5));
    for number in 1..=60 {
        circle
            .ivs
            .world()
            .put(&stage(number), &session(number), live());
    }
    let mut enqueued = Vec::new();
    for ticks in 1..=4 {
        // Hints keep coming, so that the queue is full at each tick.
        for number in 1..=60 {
            let hint = hint(&stage(number), &session(number), now());
            circle.sqs.send(WORK, &hint.to_string());
        }
        circle.tick();
        circle.send_to_sweeps(&json!({ "sweep": { "dry_run": true } }));
        circle.sqs.until_empty(&[SWEEPS], PATIENCE).await.unwrap();
        let swept = circle.swept();
        let count = |dry_run: bool| {
            let these = swept.iter().filter(|line| line["dry_run"] == dry_run);
            these.count()
        };
        assert_eq!((count(false), count(true)), (ticks, ticks));
        enqueued = sent(&circle);
    }
    let mut first = enqueued.iter().take(20);
    assert!(
        first.any(|body| body.contains(&session(0))),
        "the first tick sends the missing one"
    );
    let rewrites = enqueued.iter().filter(|it| it.contains("rewrite_before"));
    assert!(rewrites.count() >= 19, "rewrites take the rest");
    circle.until_quiet(PATIENCE).await.unwrap();
    assert!(exported(&circle).contains(&file(0, 0)));
}

/// What sweeps sent to the queue of work, in this order.
fn sent(circle: &Circle) -> Vec<String> {
    let requests = circle.sqs.requests().into_iter();
    requests.flat_map(|request| request.bodies).collect()
}

#[tokio::test]
async fn a_rewrite_that_fails_is_tried_by_its_message_and_by_no_further_sweep() {
    let circle = circle(
        CircleSettings::at(200)
            .with(&QUICK)
            .with(&[("REWRITE_BEFORE", &minutes_ago(1))]),
    )
    .await;
    circle
        .ivs
        .world()
        .put(&stage(0), &session(0), ended(2, 300));
    let exported = circle.invoke(request(&stage(0), &session(0))).await;
    exported.unwrap().unwrap();
    let key = circle.s3.keys().remove(0);
    let before = now() - TimeDelta::minutes(30);
    circle.s3.set_last_modified(&key, before.into());
    circle
        .ivs
        .world()
        .fault("ListParticipants", When::Always, Kind::Validation);
    for _ in 0..3 {
        circle.tick();
        circle
            .sqs
            .until(PATIENCE, |_| failed(&circle).len() == 1)
            .await
            .unwrap();
    }
    circle.until_quiet(PATIENCE).await.unwrap();
    assert_eq!(
        sent(&circle).len(),
        1,
        "the marker keeps later ticks from it"
    );
    assert_eq!(circle.sweeps.deliveries().len(), 3);
    assert_eq!(circle.sqs.depth(DEAD).all(), 1);
}

#[tokio::test]
async fn a_session_that_is_listed_without_a_start_is_found_in_the_lake() {
    let circle = quick(&[]).await;
    circle.ivs.world().put(&stage(0), &session(0), ended(3, 61));
    let name = (stage(0), session(0));
    circle.ivs.world().listed_without_start.insert(name);
    circle.ivs.world().put(&stage(1), &session(1), ended(3, 61));
    for sent in [2, 0] {
        circle.tick();
        circle.until_settled(PATIENCE).await.unwrap();
        assert_eq!(circle.swept().last().unwrap()["enqueued"], sent);
    }
    assert_eq!(exported(&circle).len(), 2);
}

#[tokio::test]
async fn a_failure_while_the_session_was_live_hides_its_end_from_no_sweep() {
    let circle = quick(&[]).await;
    circle.ivs.world().put(&stage(0), &session(0), live());
    circle
        .ivs
        .world()
        .fault("GetStageSession", When::UpTo(1), Kind::AccessDenied);
    let hint = message("m", &hint(&stage(0), &session(0), now()));
    for failures in [1, 0] {
        let answer = circle.invoke(json!({ "Records": [hint] })).await;
        let failed = answer.unwrap().unwrap()["batchItemFailures"].clone();
        assert_eq!(failed.as_array().unwrap().len(), failures);
    }
    // Two hours later it ended half an hour ago, and no hint came.
    let marker = circle.s3.keys().remove(0);
    assert!(marker.starts_with("failed/"));
    circle
        .s3
        .set_last_modified(&marker, (now() - TimeDelta::hours(2)).into());
    circle.ivs.world().put(&stage(0), &session(0), ended(3, 30));
    circle.tick();
    circle.until_quiet(PATIENCE).await.unwrap();
    assert_eq!(circle.swept()[0]["failing"], 0);
    assert_eq!(exported(&circle), [file(0, 0)].into());
}

#[tokio::test]
async fn a_malformed_stage_fails_by_name_and_hides_no_other() {
    let circle = quick(&[]).await;
    circle.ivs.world().put(&stage(0), &session(0), ended(1, 5));
    circle
        .ivs
        .world()
        .stages
        .insert("arn:aws:ivs:stage".to_owned());
    circle.tick();
    circle.until_quiet(PATIENCE).await.unwrap();
    assert_eq!(exported(&circle), [file(0, 0)].into());
    for options in [json!({}), json!({ "dry_run": true })] {
        let report = sweep(&circle, options).await;
        assert_eq!(report["failed_stages"], json!(["arn:aws:ivs:stage"]));
        assert_eq!(
            (&report["stages"], &report["missing"]),
            (&json!(2), &json!(0))
        );
    }
    let lines = circle.pool.log_lines();
    let failed = lines
        .iter()
        .find(|line| line["error_type"] == "InvalidEvent");
    let error = failed.unwrap()["error"].as_str().unwrap().to_owned();
    assert!(
        error.contains("\"arn:aws:ivs:stage\"") && error.contains("ListStages"),
        "{error}"
    );
}

#[tokio::test]
async fn a_session_whose_list_gives_another_day_is_found_in_the_lake() {
    let circle = quick(&[]).await;
    for (number, hours) in [(0, -24), (1, 24), (2, 0)] {
        let what = ended(3, 61 + 48 * 60);
        let listed = what.start_time.unwrap() + TimeDelta::hours(hours);
        circle
            .ivs
            .world()
            .put(&stage(number), &session(number), what);
        let name = (stage(number), session(number));
        circle.ivs.world().listed_starts.insert(name, listed);
    }
    for sent in [3, 0, 0] {
        circle.tick();
        circle.until_settled(PATIENCE).await.unwrap();
        assert_eq!(circle.swept().last().unwrap()["enqueued"], sent);
    }
    assert_eq!(exported(&circle).len(), 3);
    assert_eq!(circle.ivs.count("ListParticipants"), 3, "each once");
}

#[tokio::test]
async fn a_process_killed_at_work_loses_nothing() {
    let settings = CircleSettings::at(200);
    let circle = circle(settings.with(&[("CALLS_PER_SECOND", "20")])).await;
    for number in 0..30 {
        circle
            .ivs
            .world()
            .put(&stage(number), &session(number), ended(150, 5));
        circle
            .sqs
            .send(WORK, &request(&stage(number), &session(number)).to_string());
    }
    for invocation in 1..=3 {
        circle.pool.until_begun(invocation).await;
        assert!(circle.pool.kill_one(), "invocation {invocation}");
    }
    circle.until_quiet(PATIENCE).await.unwrap();
    assert_eq!(exported(&circle).len(), 30);
}

#[tokio::test]
async fn files_of_an_older_schema_are_rewritten_once_and_keep_their_rows() {
    let variables = [
        ("REWRITE_BEFORE", &*minutes_ago(1)),
        ("QUEUE_AT_MOST", "100"),
    ];
    let circle = quick(&variables).await;
    for number in 0..300 {
        let mut what = ended(2, 300);
        what.participants[0].ingest_configuration_arn = Some(format!("arn:{number}"));
        circle
            .ivs
            .world()
            .put(&stage(number % 5), &session(number), what);
    }
    ticks_until(&circle, 5, || files(&circle).len() == 300).await;
    let keys = files(&circle);

    // As an older function wrote them: one column fewer, and one row of each that IVS does not list any more.
    let older = tempfile::tempdir_in(FOLDER).unwrap();
    let python = Command::new(".venv/bin/python3")
        .args([
            "tests/drop_column.py".as_ref(),
            circle.s3.path("participants").as_os_str(),
            older.path().as_os_str(),
        ])
        .output()
        .unwrap();
    assert!(
        python.status.success(),
        "{}",
        String::from_utf8_lossy(&python.stderr)
    );
    let s3 = s3_client(&circle);
    for key in &keys {
        let bytes = std::fs::read(older.path().join(key.rsplit('/').next().unwrap())).unwrap();
        let put = s3
            .put_object()
            .bucket(BUCKET)
            .key(key)
            .body(bytes.into())
            .send();
        put.await.unwrap();
        circle
            .s3
            .set_last_modified(key, (now() - TimeDelta::minutes(30)).into());
    }
    for number in 0..300 {
        circle
            .ivs
            .world()
            .session(&stage(number % 5), &session(number))
            .participants
            .pop();
    }

    let rewritten = || {
        let lines = circle.pool.log_lines();
        lines
            .iter()
            .filter(|line| line["outcome"] == "rewritten")
            .count()
    };
    let ticks = ticks_until(&circle, 10, || rewritten() == 300).await;
    println!("300 files: {ticks} ticks of at least 3");
    let rewritten = circle
        .pool
        .log_lines()
        .into_iter()
        .filter(|line| line["outcome"] == "rewritten");
    let rewritten: Vec<_> = rewritten
        .map(|line| line["key"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        (
            rewritten.len(),
            rewritten.into_iter().collect::<BTreeSet<_>>().len()
        ),
        (300, 300)
    );
    for key in &keys {
        let rows = PARTICIPANTS
            .decode(circle.s3.read(key), usize::MAX)
            .unwrap()
            .rows;
        let known: Vec<_> = rows
            .iter()
            .map(|row| row.ingest_configuration_arn.is_some())
            .collect();
        assert_eq!(
            known,
            [true, false],
            "{key}: the row that is listed has the new column, the other is kept"
        );
    }
}

/// Two functions list one session at the same moment and see different people. Whoever puts last, both are in the file.
#[tokio::test]
async fn two_functions_that_see_different_people_lose_nobody() {
    let mut files = Vec::new();
    // One for both rounds: what differs between them is the order alone.
    let whole = Session {
        start_time: Some(DateTime::UNIX_EPOCH),
        ..ended(20, 5)
    };
    for slow_put in [1, 2] {
        let circle = quick(&[]).await;
        let seeing = |who: std::ops::Range<usize>| Session {
            participants: whole.participants[who].to_vec(),
            ..whole.clone()
        };
        // Each PUT waits a second before it is looked at, one of them two; so both functions have listed by then.
        circle
            .s3
            .fault("PUT", When::Always, S3Kind::Slow(Duration::from_secs(1)));
        circle.s3.fault(
            "PUT",
            When::Nth(slow_put),
            S3Kind::Slow(Duration::from_secs(2)),
        );
        circle
            .ivs
            .world()
            .put(&stage(0), &session(0), seeing(0..15));
        let first = circle.invoke(request(&stage(0), &session(0)));
        let second = async {
            circle.ivs.until_called("ListParticipants", 1).await;
            circle
                .ivs
                .world()
                .put(&stage(0), &session(0), seeing(5..20));
            circle.invoke(request(&stage(0), &session(0))).await
        };
        let (first, second) = tokio::join!(first, second);
        let outcomes = [first, second].map(|answer| answer.unwrap().unwrap()["outcome"].clone());
        assert_eq!(
            outcomes,
            ["exported", "exported"],
            "the one that lost the race had something to add"
        );
        assert_eq!(circle.s3.unconditional_puts().len(), 0);
        let lost = circle
            .s3
            .requests()
            .iter()
            .filter(|request| request.status == 412)
            .count();
        assert_eq!(lost, 1);
        let file = circle.s3.read(&circle.s3.keys()[0]);
        assert_eq!(
            PARTICIPANTS
                .decode(file.clone(), usize::MAX)
                .unwrap()
                .rows
                .len(),
            20
        );
        files.push(file);
    }
    assert!(files[0] == files[1], "the same bytes");
}

/// A rewrite lists a session, and before it puts, another one lists and puts it in its last state.
#[tokio::test]
async fn a_rewrite_replaces_only_what_is_older_than_its_instant() {
    let circle = circle(CircleSettings::at(20).with(&QUICK)).await;
    let mut connected = ended(3, 300);
    for who in &mut connected.participants {
        who.state = Some("CONNECTED".to_owned());
    }
    circle.ivs.world().put(&stage(0), &session(0), connected);
    let mut rewrite = request(&stage(0), &session(0));
    circle.invoke(rewrite.clone()).await.unwrap().unwrap();
    let key = circle.s3.keys().remove(0);
    let before = now() - TimeDelta::minutes(200);
    circle.s3.set_last_modified(&key, before.into());

    rewrite["rewrite_before"] = minutes_ago(1).into();
    let slow = S3Kind::Slow(Duration::from_secs(3));
    circle.s3.fault("PUT", When::Nth(1), slow);
    let first = circle.invoke(rewrite.clone());
    let second = async {
        // The first one has listed, has read what is stored, and is about to put.
        while !circle.s3.requests().iter().any(|it| it.operation == "GET") {
            tokio::task::yield_now().await;
        }
        for who in &mut circle
            .ivs
            .world()
            .session(&stage(0), &session(0))
            .participants
        {
            who.state = Some("DISCONNECTED".to_owned());
        }
        circle.invoke(rewrite.clone()).await
    };
    let (first, second) = tokio::join!(first, second);
    let outcomes = [first, second].map(|answer| answer.unwrap().unwrap()["outcome"].clone());
    assert_eq!(outcomes, ["up_to_date", "rewritten"]);
    let stored = PARTICIPANTS.decode(circle.s3.read(&key), usize::MAX);
    for row in stored.unwrap().rows {
        assert_eq!(row.state.unwrap().as_str(), "DISCONNECTED");
    }
}

#[tokio::test]
async fn a_hundred_thousand_people_fit_into_128_megabytes_of_data() {
    // Where the limit cannot be set, the function does not start, and the test fails.
    let folder = tempfile::tempdir_in(FOLDER).unwrap();
    let limited = folder.path().join("bootstrap");
    let bootstrap = BOOTSTRAP;
    let script = format!("#!/bin/sh\nulimit -d 131072 || exit 1\nexec '{bootstrap}'\n");
    std::fs::write(&limited, script).unwrap();
    std::fs::set_permissions(
        &limited,
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let parent = Path::new(FOLDER);
    let settings = CircleSettings::at(10)
        .with(&QUICK)
        .with(&[("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")]);
    let circle = Circle::start(&limited, parent, settings).await.unwrap();
    circle.ivs.world().quota = Quota::Off;
    circle
        .ivs
        .world()
        .put(&stage(0), &session(0), ended(100_000, 61));
    let report = circle
        .invoke(request(&stage(0), &session(0)))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (&report["participants"], &report["calls"]),
        (&json!(100_000), &json!(1001))
    );
}
