//! The whole circle, tick and events to lake: every ended session, exactly once, whatever was lost.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use chrono::{DateTime, TimeDelta, Utc};
use ivs_attendance::table::PARTICIPANTS;
use ivs_attendance_local::circle::{Circle, CircleSettings, DEAD, SWEEPS, WORK};
use ivs_attendance_local::ivs::{Kind, Quota, Session, When, timestamp};
use ivs_attendance_local::s3::S3Kind;
use ivs_attendance_local::scene::{ended, hint, message, now, request};
use ivs_attendance_local::sqs::Fault;
use ivs_attendance_local::{ACCESS_KEY, BUCKET, REGION, SECRET_KEY};
use serde_json::{Value, json};

const QUICK: [(&str, &str); 2] = [
    ("CALLS_PER_SECOND", "1000"),
    ("SWEEP_CALLS_PER_SECOND", "1000"),
];
const PATIENCE: Duration = Duration::from_mins(2);

async fn circle(settings: CircleSettings) -> Circle {
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let bootstrap = Path::new(env!("CARGO_BIN_EXE_ivs-attendance"));
    let circle = Circle::start(bootstrap, parent, settings).await.unwrap();
    circle.ivs.world().quota = Quota::Off;
    circle
}

async fn quick(variables: &[(&str, &str)]) -> Circle {
    circle(CircleSettings::default().with(&QUICK).with(variables)).await
}

fn stage(number: usize) -> String {
    format!("arn:aws:ivs:us-west-2:123456789012:stage/stage{number:05}")
}

fn session(number: usize) -> String {
    format!("st-{number:013}")
}

fn live() -> Session {
    Session {
        end_time: None,
        ..ended(2, 0)
    }
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

/// The file names in the lake, which name stage and session.
fn exported(circle: &Circle) -> BTreeSet<String> {
    let name = |key: &String| key.rsplit('/').next().unwrap().to_owned();
    circle
        .s3
        .keys()
        .iter()
        .filter(|key| key.starts_with("participants/"))
        .map(name)
        .collect()
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
    for key in circle.s3.keys() {
        circle
            .s3
            .set_last_modified(&key, (now() - TimeDelta::minutes(60)).into());
    }
    circle.tick();
    circle.until_quiet(PATIENCE).await.unwrap();
    let listed = circle.ivs.count("ListParticipants");
    let puts = circle
        .s3
        .requests()
        .iter()
        .filter(|request| request.method == "PUT")
        .count();
    assert_eq!((listed, puts, exported(&circle).len()), (60, 60, 30));

    circle.tick();
    circle.until_quiet(PATIENCE).await.unwrap();
    assert_eq!(circle.ivs.count("ListParticipants"), listed);
    assert_eq!(
        circle
            .s3
            .requests()
            .iter()
            .filter(|request| request.method == "PUT")
            .count(),
        puts
    );
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
async fn a_long_history_goes_into_the_queue_by_portions_newest_first() {
    let variables = [("QUEUE_AT_MOST", "300")];
    let settings = CircleSettings {
        counts_lag: Duration::from_millis(300),
        ..CircleSettings::default()
    };
    let circle = circle(settings.with(&QUICK).with(&variables)).await;
    for number in 0..5000 {
        let minutes_ago = 100 + i64::try_from(number).unwrap();
        circle.ivs.world().put(
            &stage(number % 10),
            &session(number),
            ended(number % 3, minutes_ago),
        );
    }
    let mut ticks = 0;
    let mut before = 0;
    while exported(&circle).len() < 5000 {
        ticks += 1;
        assert!(
            ticks < 40,
            "{} sessions after {ticks} ticks",
            exported(&circle).len()
        );
        circle.tick();
        circle.until_quiet(PATIENCE).await.unwrap();
        let exported = exported(&circle).len();
        assert!(exported > before, "each tick brings the history on");
        before = exported;
    }
    let sent = circle.sqs.requests();
    let sent: usize = sent
        .iter()
        .filter(|request| request.operation == "SendMessageBatch")
        .map(|request| request.bodies.len())
        .sum();
    assert_eq!(
        sent, 5000,
        "none was sent twice, since each tick found the queue empty"
    );
    for line in circle.swept() {
        assert!(line["enqueued"].as_u64().unwrap() <= 300, "{line}");
    }
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
async fn sweeps_run_one_at_a_time_however_many_ticks_come() {
    let circle = circle(CircleSettings::default().with(&[("SWEEP_CALLS_PER_SECOND", "20")])).await;
    for number in 0..20 {
        circle
            .ivs
            .world()
            .put(&stage(number), &session(number), live());
    }
    // A round takes a second; ticks come at once. Of those that wait the last one sweeps.
    for _ in 0..3 {
        circle.tick();
    }
    circle.until_quiet(PATIENCE).await.unwrap();
    let mut deliveries = circle.sweeps.deliveries();
    deliveries.sort_by_key(|delivery| delivery.started);
    assert_eq!(deliveries.len(), 3);
    for pair in deliveries.windows(2) {
        assert!(
            pair[0].ended.as_ref().unwrap().0 <= pair[1].started,
            "one began before the end of the last"
        );
    }
    assert_eq!(circle.swept().len(), 1);
}

#[tokio::test]
async fn ticks_give_way_to_a_round_that_goes_on() {
    let settings = CircleSettings {
        timeout: Duration::from_secs(3),
        ..CircleSettings::default()
    };
    let circle = circle(settings.with(&[("SWEEP_CALLS_PER_SECOND", "10")])).await;
    for number in 0..40 {
        circle
            .ivs
            .world()
            .put(&stage(number), &session(number), live());
    }
    circle.tick();
    for calls in [5, 20] {
        circle.ivs.until_called("ListStageSessions", calls).await;
        circle.tick();
    }
    circle.until_quiet(PATIENCE).await.unwrap();
    let mut asked: Vec<_> = {
        let world = circle.ivs.world();
        let calls = world
            .calls
            .iter()
            .filter(|call| call.operation == "ListStageSessions");
        calls
            .map(|call| call.body["stageArn"].as_str().unwrap().to_owned())
            .collect()
    };
    asked.sort();
    // A stage that was being listed when the time ran out is listed again by the next part.
    let parts = circle.swept().len();
    assert!(
        parts > 1 && asked.len() <= 40 + parts,
        "{} lists of 40 stages in {parts} parts",
        asked.len()
    );
    asked.dedup();
    assert_eq!(asked.len(), 40);
}

#[tokio::test]
async fn a_sweep_without_time_sends_itself_on_until_every_stage_is_reached() {
    let settings = CircleSettings {
        timeout: Duration::from_secs(3),
        ..CircleSettings::default()
    };
    let variables = [
        ("SWEEP_CALLS_PER_SECOND", "10"),
        ("CALLS_PER_SECOND", "1000"),
    ];
    let circle = circle(settings.with(&variables)).await;
    for number in 0..50 {
        circle
            .ivs
            .world()
            .put(&stage(number), &session(number), ended(1, 5));
    }
    circle.tick();
    circle.until_quiet(PATIENCE).await.unwrap();
    assert_eq!(exported(&circle).len(), 50);
    let swept = circle.swept();
    assert!(
        swept.len() > 2,
        "one round took several invocations: {}",
        swept.len()
    );
    assert_eq!(
        swept
            .iter()
            .map(|line| line["stages"].as_u64().unwrap())
            .sum::<u64>(),
        50
    );

    let report = sweep(&circle, json!({ "dry_run": true })).await;
    assert!(report["after"].is_string(), "{report}");
    let report = sweep(&circle, json!({ "dry_run": true, "after": stage(48) })).await;
    assert_eq!((&report["stages"], report.get("after")), (&json!(1), None));
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
    for options in [
        json!({}),
        json!({ "stage_arn": stage(0), "rewrite_before": timestamp(now() - TimeDelta::minutes(1)) }),
    ] {
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
    let settings = CircleSettings {
        visibility_timeout: Duration::from_millis(1500),
        ..CircleSettings::default()
    };
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
    let left_out = |circle: &Circle| {
        circle
            .s3
            .keys()
            .iter()
            .filter(|key| key.starts_with("failed/"))
            .count()
    };
    circle
        .sqs
        .until(PATIENCE, |_| left_out(&circle) == 10)
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
    for key in circle
        .s3
        .keys()
        .iter()
        .filter(|key| key.starts_with("failed/"))
    {
        let marker: Value = serde_json::from_slice(&circle.s3.read(key)).unwrap();
        assert_eq!(marker["error_type"], "IvsUnavailable");
        circle
            .s3
            .set_last_modified(key, (now() - TimeDelta::hours(25)).into());
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
async fn messages_for_which_no_time_was_left_are_sent_anew_and_do_not_count_as_failing() {
    let settings = CircleSettings {
        timeout: Duration::from_secs(4),
        visibility_timeout: Duration::from_secs(6),
        ..CircleSettings::default()
    };
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
    let anew: u64 = circle
        .pool
        .log_lines()
        .iter()
        .filter_map(|line| line["sent_anew"].as_u64())
        .sum();
    assert!(anew > 0);
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
async fn what_cannot_be_sent_anew_is_handed_back() {
    let settings = CircleSettings {
        timeout: Duration::from_secs(4),
        visibility_timeout: Duration::from_secs(6),
        ..CircleSettings::default()
    };
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
            _ => None,
        });
    circle.tick();
    circle.until_quiet(PATIENCE).await.unwrap();
    assert_eq!(exported(&circle).len(), 35);
}

#[tokio::test]
async fn a_queue_that_fails_for_good_fails_the_sweep_by_name() {
    let circle = quick(&[]).await;
    circle.ivs.world().put(&stage(0), &session(0), ended(1, 5));
    circle.sqs.on_request(|attempt| {
        (attempt.operation == "SendMessageBatch").then_some(Fault::InternalFailure)
    });
    let failure = circle
        .invoke(json!({ "sweep": {} }))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(failure.error_type, "QueueSend");
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
    assert_eq!(failure.error_type, "QueueSend");
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
async fn without_a_queue_of_their_own_sweeps_do_not_give_way_to_sessions() {
    let settings = CircleSettings {
        delay: Duration::from_mins(10),
        ..CircleSettings::default()
    };
    let circle = circle(settings.with(&QUICK).with(&[("SWEEP_QUEUE_URL", "")])).await;
    circle.ivs.world().put(&stage(0), &session(0), ended(1, 5));
    circle
        .sqs
        .send(WORK, &hint(&stage(1), &session(1), now()).to_string());
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
async fn a_mistyped_sweep_is_logged_and_holds_up_no_other() {
    let circle = quick(&[]).await;
    circle.ivs.world().put(&stage(0), &session(0), ended(1, 5));
    circle.sqs.send_to_group(
        SWEEPS,
        "sweep",
        &json!({ "sweep": { "dryrun": true } }).to_string(),
    );
    circle.tick();
    circle.until_quiet(PATIENCE).await.unwrap();
    let lines = circle.pool.log_lines();
    let failed: Vec<_> = lines
        .iter()
        .filter(|line| line["error_type"] == "InvalidEvent")
        .collect();
    assert_eq!(failed.len(), 1);
    assert!(
        failed[0]["error"].as_str().unwrap().contains("dryrun"),
        "{}",
        failed[0]
    );
    assert_eq!(
        (exported(&circle).len(), circle.sweeps.deliveries().len()),
        (1, 2)
    );
}

#[tokio::test]
async fn a_rewrite_goes_on_by_itself_until_every_file_is_written_anew() {
    let circle = quick(&[("QUEUE_AT_MOST", "40")]).await;
    for number in 0..120 {
        circle
            .ivs
            .world()
            .put(&stage(number % 5), &session(number), ended(2, 300));
    }
    for _ in 0..3 {
        circle.tick();
        circle.until_quiet(PATIENCE).await.unwrap();
    }
    let keys = circle.s3.keys();
    assert_eq!(keys.len(), 120);
    for key in &keys {
        circle
            .s3
            .set_last_modified(key, (now() - TimeDelta::minutes(30)).into());
    }
    let listed = circle.ivs.count("ListParticipants");
    let before = timestamp(now() - TimeDelta::minutes(1));
    circle.sqs.send_to_group(
        SWEEPS,
        "sweep",
        &json!({ "sweep": { "rewrite_before": before } }).to_string(),
    );
    circle.until_quiet(PATIENCE).await.unwrap();
    assert_eq!(
        circle.ivs.count("ListParticipants") - listed,
        120,
        "each once"
    );
    let rewritten = circle
        .pool
        .log_lines()
        .iter()
        .filter(|line| line["outcome"] == "rewritten")
        .count();
    assert_eq!((rewritten, exported(&circle).len()), (120, 120));
}

#[tokio::test]
async fn a_process_killed_at_work_loses_nothing() {
    let settings = CircleSettings {
        visibility_timeout: Duration::from_secs(5),
        ..CircleSettings::default()
    };
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
    let circle = quick(&[("QUEUE_AT_MOST", "100")]).await;
    for number in 0..300 {
        let mut what = ended(2, 300);
        what.participants[0].ingest_configuration_arn = Some(format!("arn:{number}"));
        circle
            .ivs
            .world()
            .put(&stage(number % 5), &session(number), what);
    }
    while circle.s3.keys().len() < 300 {
        circle.tick();
        circle.until_quiet(PATIENCE).await.unwrap();
    }
    let keys = circle.s3.keys();

    // As an older function wrote them: one column fewer, and one row of each that IVS does not list any more.
    let older = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
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

    let before = timestamp(now() - TimeDelta::minutes(1));
    circle.sqs.send_to_group(
        SWEEPS,
        "sweep",
        &json!({ "sweep": { "rewrite_before": before } }).to_string(),
    );
    circle.until_quiet(PATIENCE).await.unwrap();
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
        let rows = PARTICIPANTS.decode(circle.s3.read(key)).unwrap().rows;
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
        assert_eq!(PARTICIPANTS.decode(file.clone()).unwrap().rows.len(), 20);
        files.push(file);
    }
    assert!(files[0] == files[1], "the same bytes");
}

#[tokio::test]
async fn a_hundred_thousand_people_fit_into_128_megabytes_of_data() {
    // Where the limit cannot be set, the function does not start, and the test fails.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let limited = folder.path().join("bootstrap");
    let bootstrap = env!("CARGO_BIN_EXE_ivs-attendance");
    let script = format!("#!/bin/sh\nulimit -d 131072 || exit 1\nexec '{bootstrap}'\n");
    std::fs::write(&limited, script).unwrap();
    std::fs::set_permissions(
        &limited,
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let circle = Circle::start(&limited, parent, CircleSettings::default().with(&QUICK))
        .await
        .unwrap();
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
