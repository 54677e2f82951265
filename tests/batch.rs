//! A batch is a bulkhead: what one session does never decides another's fate, and all that runs at once stays below the
//! quota.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;
#[path = "harness/limited.rs"]
mod limited;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use ivs_attendance::batch::MOST_RECEIVES;
use ivs_attendance_local::faults::{Kind, When};
use ivs_attendance_local::ivs::quota::Quota;
use ivs_attendance_local::ivs::world::timestamp;
use ivs_attendance_local::lambda::circle::{Circle, CircleSettings, DEAD, WORK};
use ivs_attendance_local::scene::{
    PATIENCE, QUICK, ended, hint, live, message, now, request, session, stage,
};
use serde_json::{Value, json};

use crate::harness::{BOOTSTRAP, FOLDER};
use crate::limited::limited;

/// A session of this id makes a debug build panic.
const PANICS: &str = "st-PanicsInDebug";

async fn circle(settings: CircleSettings) -> Circle {
    circle_of(Path::new(BOOTSTRAP), settings).await
}

async fn circle_of(bootstrap: &Path, settings: CircleSettings) -> Circle {
    let circle = Circle::without_quota(bootstrap, FOLDER, settings);
    circle.await.unwrap()
}

fn below(circle: &Circle, folder: &str) -> usize {
    let keys = circle.s3.keys();
    keys.iter().filter(|key| key.starts_with(folder)).count()
}

fn is_exported(circle: &Circle, number: usize) -> bool {
    let name = format!("/stage{number:05}_");
    let keys = circle.s3.keys();
    keys.iter()
        .any(|key| key.starts_with("participants/") && key.contains(&name))
}

fn errors(circle: &Circle) -> BTreeSet<String> {
    let lines = circle.pool.log_lines();
    let errors = lines.iter().filter_map(|line| line["error_type"].as_str());
    errors.map(str::to_owned).collect()
}

async fn invoke(circle: &Circle, records: &[Value]) -> Value {
    let answer = circle.invoke(json!({ "Records": records })).await;
    answer.unwrap().unwrap()
}

#[tokio::test]
async fn a_session_too_large_for_the_memory_fails_alone_and_by_name() {
    let (bootstrap, _folder) = limited(48);
    let settings = CircleSettings::at(60).with(&QUICK);
    let circle = circle_of(&bootstrap, settings).await;
    circle
        .ivs
        .world()
        .put(&stage(0), &session(0), ended(150_000, 61));
    for number in 1..=30 {
        let what = ended(3, 70 + i64::try_from(number).unwrap());
        circle
            .ivs
            .world()
            .put(&stage(number), &session(number), what);
    }
    circle.tick();
    circle
        .sqs
        .until(PATIENCE, |_| {
            below(&circle, "participants/") == 30 && below(&circle, "failed/") == 1
        })
        .await
        .unwrap();
    let marker = circle.s3.keys().remove(0);
    let marker: Value = serde_json::from_slice(&circle.s3.read(&marker)).unwrap();
    assert_eq!(marker["error_type"], "SessionTooLarge");
    let error = marker["error"].as_str().unwrap();
    assert!(
        error.contains("st-0000000000000") && error.contains("48 MB"),
        "{error}"
    );
    assert_eq!(errors(&circle), ["SessionTooLarge".to_owned()].into());

    // The next tick leaves it out, and it holds up nobody.
    for number in 31..=40 {
        circle
            .ivs
            .world()
            .put(&stage(number), &session(number), ended(3, 70));
    }
    circle.tick();
    circle.until_quiet(PATIENCE).await.unwrap();
    assert_eq!(below(&circle, "participants/"), 40);
    let dead = circle.sqs.bodies(DEAD);
    assert!(dead.len() == 1 && dead[0].contains(&session(0)), "{dead:?}");
    let killed = circle.work.deliveries().into_iter();
    let killed = killed.filter(|delivery| matches!(delivery.ended, Some((_, Err(_)))));
    assert_eq!(killed.count(), 0, "no process died");
}

#[tokio::test]
async fn ids_that_do_not_compress_count_for_what_encoding_takes() {
    let (bootstrap, _folder) = limited(64);
    let circle = circle_of(&bootstrap, CircleSettings::at(20).with(&QUICK)).await;
    let mut large = ended(80_000, 61);
    let mut random = fastrand::Rng::with_seed(7);
    for who in &mut large.participants {
        let id = std::iter::repeat_with(|| random.alphanumeric());
        who.user_id = Some(id.take(128).collect());
    }
    circle.ivs.world().put(&stage(0), &session(0), large);
    circle.ivs.world().put(&stage(1), &session(1), ended(3, 61));
    let records: Vec<_> = (0..2)
        .map(|n| message(&format!("m{n}"), &request(&stage(n), &session(n))))
        .collect();
    let answer = invoke(&circle, &records).await;
    let back = json!({ "batchItemFailures": [{ "itemIdentifier": "m0" }] });
    assert_eq!(answer, back, "the process lives");
    assert_eq!(errors(&circle), ["SessionTooLarge".to_owned()].into());
    assert!(is_exported(&circle, 1));
}

#[tokio::test]
async fn a_stored_file_too_large_for_the_memory_fails_by_name() {
    // A second look with little memory, at what was stored with more.
    let (bootstrap, _folder) = limited(64);
    let small = circle_of(&bootstrap, CircleSettings::at(20).with(&QUICK)).await;
    let large = circle(CircleSettings::at(20).with(&QUICK)).await;
    for circle in [&small, &large] {
        let what = ended(60_000, 61);
        circle.ivs.world().put(&stage(0), &session(0), what);
        let exported = circle.invoke(request(&stage(0), &session(0))).await;
        assert_eq!(exported.unwrap().unwrap()["outcome"], "exported");
        let key = circle.s3.keys().remove(0);
        let before = now() - TimeDelta::minutes(60);
        circle.s3.set_last_modified(&key, before.into());
        // All of them under other names: now the file has twice as many rows as the list.
        let mut world = circle.ivs.world();
        for who in &mut world.session(&stage(0), &session(0)).participants {
            who.participant_id = who.participant_id.take().map(|id| id.replace('p', "q"));
        }
    }
    let request = request(&stage(0), &session(0));
    let confirmed = large.invoke(request.clone()).await.unwrap().unwrap();
    assert_eq!(confirmed["participants"], 120_000);
    let failure = small.invoke(request).await.unwrap().unwrap_err();
    assert_eq!(failure.error_type, "SessionTooLarge", "{}", failure.message);
}

#[tokio::test]
async fn a_panic_is_an_error_of_its_session_alone() {
    let circle = circle(CircleSettings::default().with(&QUICK)).await;
    for number in 0..5 {
        let id = if number == 2 {
            PANICS
        } else {
            &session(number)
        };
        circle.ivs.world().put(&stage(number), id, ended(3, 5));
    }
    let records: Vec<_> = (0..5)
        .map(|number| {
            let id = if number == 2 {
                PANICS
            } else {
                &session(number)
            };
            message(&format!("m{number}"), &request(&stage(number), id))
        })
        .collect();
    let answer = invoke(&circle, &records).await;
    assert_eq!(
        answer,
        json!({ "batchItemFailures": [{ "itemIdentifier": "m2" }] })
    );
    assert_eq!(
        (below(&circle, "participants/"), below(&circle, "failed/")),
        (4, 1)
    );

    let failure = circle.invoke(request(&stage(2), PANICS)).await;
    let failure = failure.unwrap().unwrap_err();
    assert_eq!(failure.error_type, "Panic");
    assert!(
        failure.message.contains("src/reconcile.rs:"),
        "{}",
        failure.message
    );
    assert_eq!(circle.pool.started(), 1, "the process lives");
    let lines = circle.pool.log_lines();
    let panics = lines.iter().filter(|line| line["error_type"] == "Panic");
    assert_eq!(panics.count(), 2, "one line for each");
    assert!(!circle.pool.printed().contains("a test asked for it"));
}

#[tokio::test]
async fn a_large_session_that_was_cut_short_comes_first_in_its_next_batch() {
    // Its eight pages take 3.5 s of the 4.5 that there are, so it fits only if nobody comes before it.
    let settings = CircleSettings::at(180).with(&[("CALLS_PER_SECOND", "2")]);
    let circle = circle(settings).await;
    circle
        .ivs
        .world()
        .put(&stage(0), &session(0), ended(800, 5));
    let large = message("large", &request(&stage(0), &session(0)));
    let small = |numbers: std::ops::RangeInclusive<usize>| {
        numbers.map(|number| {
            let what = ended(1, 5);
            circle
                .ivs
                .world()
                .put(&stage(number), &session(number), what);
            message(
                &format!("s{number}"),
                &request(&stage(number), &session(number)),
            )
        })
    };
    let mut records: Vec<_> = small(1..=3).collect();
    records.push(large.clone());
    let answer = invoke(&circle, &records).await;
    let back = json!({ "batchItemFailures": [{ "itemIdentifier": "large" }] });
    assert_eq!(answer, back, "handed back, not sent again");
    assert!(circle.sqs.bodies(WORK).is_empty());
    assert!(is_exported(&circle, 1) && is_exported(&circle, 2));
    assert!(!is_exported(&circle, 0));
    assert_eq!(errors(&circle), BTreeSet::new(), "it is no failure");

    let mut records: Vec<_> = small(4..=5).collect();
    let mut again = large;
    again["attributes"] = json!({ "ApproximateReceiveCount": "2" });
    records.push(again);
    let answer = invoke(&circle, &records).await;
    assert!(is_exported(&circle, 0), "{answer}");
}

#[tokio::test]
async fn a_session_that_is_cut_short_at_its_last_receive_is_no_dead_letter() {
    let circle = circle(CircleSettings::at(180).with(&[("CALLS_PER_SECOND", "2")])).await;
    let last = |number: usize, people: usize| {
        circle
            .ivs
            .world()
            .put(&stage(number), &session(number), ended(people, 5));
        let request = request(&stage(number), &session(number));
        let mut message = message(&format!("m{number}"), &request);
        message["attributes"] = json!({ "ApproximateReceiveCount": MOST_RECEIVES.to_string() });
        message
    };
    // The first takes 3.5 s of the 4.5, and the second would take as long.
    let records = [last(0, 700), last(1, 700)];
    let answer = invoke(&circle, &records).await;
    assert_eq!(answer, json!({ "batchItemFailures": [] }));
    assert!(is_exported(&circle, 0) && !is_exported(&circle, 1));
    // As a new message.
    let again = circle.sqs.bodies(WORK);
    assert!(
        again.len() == 1 && again[0].contains(&session(1)),
        "{again:?}"
    );
    assert_eq!(below(&circle, "failed/"), 0);
}

#[tokio::test]
async fn what_not_only_hints_ask_for_is_not_told_live_by_the_list_of_stages() {
    let circle = circle(CircleSettings::default().with(&QUICK)).await;
    for number in 0..6 {
        circle
            .ivs
            .world()
            .put(&stage(number), &session(number), live());
    }
    let mut records: Vec<_> = (0..6)
        .map(|n| message(&format!("h{n}"), &hint(&stage(n), &session(n), now())))
        .collect();
    let found = request(&stage(0), &session(0));
    // Before the hint and behind it.
    records.insert(0, message("found", &found));
    records.push(message("again", &found));
    invoke(&circle, &records).await;
    let asked = (
        circle.ivs.count("ListStages"),
        circle.ivs.count("GetStageSession"),
    );
    assert_eq!(
        asked,
        (1, 1),
        "the one that a sweep found, or a person asked for"
    );
}

#[tokio::test]
async fn a_session_that_ivs_forgot_is_found_by_its_start() {
    let circle = circle(CircleSettings::default().with(&QUICK)).await;
    let what = ended(3, 4 * 24 * 60);
    let start = what.start_time.unwrap();
    circle.ivs.world().put(&stage(0), &session(0), what);
    circle.tick();
    circle.until_quiet(PATIENCE).await.unwrap();
    let sent = circle.sqs.requests();
    let sent = sent.iter().find(|request| !request.bodies.is_empty());
    let sent: Value = serde_json::from_str(&sent.unwrap().bodies[0]).unwrap();
    let sent_start: DateTime<Utc> = sent["session_start_time"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(sent_start, start.trunc_subsecs(3));

    // A list may have told of another day than GetStageSession.
    let mut early = sent.clone();
    early["session_start_time"] = timestamp(start - TimeDelta::days(1)).into();
    circle.ivs.world().delete_stage(&stage(0), true);
    for message in [&sent, &early] {
        let report = circle.invoke(message.clone()).await.unwrap().unwrap();
        assert_eq!(report["outcome"], "up_to_date", "{message}");
    }
    let report = circle.invoke(request(&stage(0), &session(0))).await;
    assert_eq!(
        report.unwrap().unwrap()["outcome"],
        "gone",
        "nobody knows the day"
    );
}

#[tokio::test]
async fn a_dead_letter_of_a_session_that_ivs_forgot_is_found_by_its_marker() {
    let circle = circle(CircleSettings::default().with(&QUICK)).await;
    circle
        .ivs
        .world()
        .put(&stage(0), &session(0), ended(3, 4 * 24 * 60));
    circle
        .ivs
        .world()
        .fault("ListParticipants", When::Nth(1), Kind::Validation);
    let records = [message("m", &request(&stage(0), &session(0)))];
    let answer = invoke(&circle, &records).await;
    assert_eq!(answer["batchItemFailures"].as_array().unwrap().len(), 1);
    // A later failure, before IVS has told the start again, keeps what the marker tells.
    circle
        .ivs
        .world()
        .fault("GetStageSession", When::UpTo(1), Kind::AccessDenied);
    let answer = invoke(&circle, &records).await;
    assert_eq!(answer["batchItemFailures"].as_array().unwrap().len(), 1);
    // Somebody else exports it, IVS forgets it, and the dead letter is redriven.
    let exported = circle.invoke(request(&stage(0), &session(0))).await;
    assert_eq!(exported.unwrap().unwrap()["outcome"], "exported");
    circle.ivs.world().delete_stage(&stage(0), true);
    let report = circle.invoke(request(&stage(0), &session(0))).await;
    assert_eq!(report.unwrap().unwrap()["outcome"], "up_to_date");
}

/// When the calls of an operation arrived.
fn arrivals(circle: &Circle, operation: &str) -> Vec<Instant> {
    let world = circle.ivs.world();
    let calls = world
        .calls
        .iter()
        .filter(|call| call.operation == operation);
    let mut at: Vec<_> = calls.map(|call| call.at).collect();
    at.sort();
    at
}

#[tokio::test]
async fn all_that_runs_at_once_stays_within_the_quota_of_each_operation() {
    // As deployed, but for the time-out: two batches, a tick, and a dry run beside them.
    let settings = CircleSettings {
        processes: 4,
        ..CircleSettings::at(75)
    };
    // What the tick finds would be a third batch.
    let nothing = timestamp(now().trunc_subsecs(0));
    let circle = circle(settings.with(&[("IGNORE_ENDED_BEFORE", &nothing)])).await;
    // 5 calls a second, after a burst of at most 5.
    circle.ivs.world().quota = Quota::Bucket;
    for number in 0..600 {
        let what = if number % 300 < 28 {
            live()
        } else {
            ended(1, 61)
        };
        circle
            .ivs
            .world()
            .put(&stage(number), &session(number), what);
    }
    let batch = |first: usize| {
        let hints = (first..first + 28)
            .map(|n| message(&format!("m{n}"), &hint(&stage(n), &session(n), now())));
        let requests = (first + 28..first + 40)
            .map(|n| message(&format!("m{n}"), &request(&stage(n), &session(n))));
        let records: Vec<_> = hints.chain(requests).collect();
        circle.invoke(json!({ "Records": records }))
    };
    circle.tick();
    let dry_run = circle.invoke(json!({ "sweep": { "dry_run": true } }));
    let (one, other, dry_run) = tokio::join!(batch(0), batch(300), dry_run);
    for answer in [one, other, dry_run] {
        assert!(matches!(&answer, Ok(Ok(_))), "{answer:?}");
    }
    // By design: how many call it at once, and how often a second they do together. Each may make its first call at once.
    for (operation, callers, together) in [
        ("ListStages", 4.0, 3.2),
        ("ListStageSessions", 2.0, 5.0),
        ("GetStageSession", 2.0, 4.0),
        ("ListParticipants", 2.0, 4.0),
    ] {
        let at = arrivals(&circle, operation);
        let seconds = (at[at.len() - 1] - at[0]).as_secs_f64();
        let calls = f64::from(u32::try_from(at.len()).unwrap());
        println!("{operation}: {calls} calls in {seconds:.1} s");
        // Calls do not arrive quite as evenly as they leave: one more.
        let most = together * seconds + callers + 1.0;
        assert!(
            calls <= most,
            "{operation}: {calls} calls in {seconds:.1} s"
        );
        assert!(calls > callers, "{operation}: they ran at once");
    }
    let world = circle.ivs.world();
    let throttled = world.calls.iter().filter(|call| call.status == 429);
    assert_eq!(throttled.count(), 0);
}

#[tokio::test]
async fn a_sweep_that_may_run_beside_a_tick_is_as_slow_as_a_dry_run() {
    let circle = circle(CircleSettings::at(180)).await;
    for number in 0..20 {
        circle
            .ivs
            .world()
            .put(&stage(number), &session(number), live());
    }
    let by_hand = circle.invoke(json!({ "sweep": {} })).await;
    let calls = by_hand.unwrap().unwrap()["stages"].as_u64().unwrap();
    assert!(calls <= 4, "{calls} stages in some 2.5 seconds");
}
