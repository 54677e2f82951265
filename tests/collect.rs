//! Collections by the real binary on the local stack: until when everybody was there, and what a failure leaves.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;
#[path = "harness/limited.rs"]
mod limited;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Once};
use std::time::Duration;

use bytes::Bytes;
use chrono::TimeDelta;
use ivs_attendance_local::faults::{Kind, S3Kind, When};
use ivs_attendance_local::ivs::quota::Quota;
use ivs_attendance_local::ivs::world::{Call, Event, Participant, Session, Token, timestamp};
use ivs_attendance_local::lambda::circle::{COLLECT, Circle, CircleSettings, DEAD_COLLECTIONS};
use ivs_attendance_local::lambda::stack::Stack;
use ivs_attendance_local::s3::S3;
use ivs_attendance_local::scene::{
    self, PATIENCE, QUICK, SESSION_ID as SESSION, STAGE_ARN as STAGE, ended, lives, now,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Notify;

use crate::harness::{BOOTSTRAP, FOLDER};
use crate::limited::limited;

/// A stack that is quick, with one session whose list of participants is final once it is exported.
async fn stack_with(session: &Session, settings: &[(&str, &str)]) -> (Stack, TempDir) {
    let settings = [&QUICK, settings].concat();
    let (mut stack, folder) = Stack::temporary(Path::new(BOOTSTRAP), Path::new(FOLDER), &settings)
        .await
        .unwrap();
    stack.ivs.world().quota = Quota::Off;
    stack.ivs.world().put(STAGE, SESSION, session.clone());
    stack.invoke(scene::request(STAGE, SESSION)).await.unwrap();
    (stack, folder)
}

/// As deployed, with all times divided by 100, and the session in the lake.
async fn circle_with(session: &Session, settings: &[(&str, &str)]) -> Circle {
    circle_of(
        session,
        CircleSettings::default().with(&QUICK).with(settings),
    )
    .await
}

async fn circle_of(session: &Session, settings: CircleSettings) -> Circle {
    let circle = Circle::without_quota(BOOTSTRAP, FOLDER, settings)
        .await
        .unwrap();
    circle.ivs.world().put(STAGE, SESSION, session.clone());
    let exported = circle.invoke(scene::request(STAGE, SESSION)).await;
    assert_eq!(exported.unwrap().unwrap()["outcome"], "exported");
    circle
}

fn request() -> Value {
    json!({ "collect": scene::request(STAGE, SESSION) })
}

/// A request to collect what was written until now once more.
fn rewrite() -> Value {
    let mut request = request();
    request["collect"]["rewrite_before"] = timestamp(now()).into();
    request
}

async fn collect(stack: &mut Stack) -> Value {
    stack.invoke(request()).await.unwrap()
}

fn key_of(s3: &S3, table: &str) -> Option<String> {
    let folder = format!("{table}/");
    s3.keys().into_iter().find(|key| key.starts_with(&folder))
}

/// The bytes of both objects.
fn objects(s3: &S3) -> (Bytes, Bytes) {
    let read = |table| s3.read(&key_of(s3, table).unwrap());
    (read("participant_events"), read("attendance"))
}

/// The rows of a table as pyarrow reads them.
fn rows(s3: &S3, table: &str) -> Vec<Value> {
    let python = Path::new(".venv/bin/python3");
    assert!(
        python.exists(),
        "pyarrow is missing; `make test` installs it"
    );
    let output = Command::new(python)
        .arg("tests/read_parquet.py")
        .arg(s3.path(&key_of(s3, table).unwrap()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let file: Value = serde_json::from_slice(&output.stdout).unwrap();
    file["rows"].as_array().unwrap().clone()
}

/// Moves an object's time back, as if it had been written an hour ago.
fn age(s3: &S3, table: &str) {
    let key = key_of(s3, table).unwrap();
    s3.set_last_modified(&key, (now() - TimeDelta::minutes(50)).into());
}

fn asked(calls: &[Call], operation: &str) -> BTreeMap<String, usize> {
    let mut asked = BTreeMap::new();
    for call in calls.iter().filter(|call| call.operation == operation) {
        let id = call.body["participantId"].as_str().unwrap_or_default();
        *asked.entry(id.to_owned()).or_default() += 1;
    }
    asked
}

#[tokio::test]
async fn both_tables_tell_of_three_people_until_when_they_were_there() {
    let session = ended(3, 120);
    let (mut stack, _folder) = stack_with(&session, &[]).await;
    let report = collect(&mut stack).await;
    let told: usize = session
        .participants
        .iter()
        .map(|who| who.events.len())
        .sum();
    assert_eq!(
        report,
        json!({
            "stage_arn": STAGE, "session_id": SESSION, "outcome": "collected", "participants": 3,
            "collected": 3, "events": told, "calls": 1 + 3 + 3,
            "key": key_of(&stack.s3, "attendance").unwrap(),
        })
    );
    let events = rows(&stack.s3, "participant_events");
    assert_eq!(events.len(), told);
    let attendance = rows(&stack.s3, "attendance");
    for (row, who) in attendance.iter().zip(&session.participants) {
        assert_eq!(row["participant_id"], json!(who.participant_id));
        assert_eq!(row["user_id"], json!(who.user_id));
        let times = |name| {
            let named = move |event: &&Event| event.name.as_deref() == Some(name);
            let times = who.events.iter().filter(named);
            let times = times.filter_map(|event| event.event_time.as_deref()?.parse().ok());
            times.collect::<Vec<chrono::DateTime<chrono::Utc>>>()
        };
        let left = times("LEFT").into_iter().max();
        let left = left.map(|time| time.format("%Y-%m-%dT%H:%M:%S%.3f+00:00").to_string());
        assert_eq!(row["last_leave_time"], json!(left));
        assert_eq!(row["joins"], times("JOINED").len());
        assert_eq!(row["events"], who.events.len());
    }
}

#[tokio::test]
async fn a_session_that_is_collected_costs_two_requests() {
    let (mut stack, _folder) = stack_with(&ended(3, 120), &[]).await;
    let first = collect(&mut stack).await;
    let (calls, requests) = (stack.ivs.world().calls.len(), stack.s3.requests().len());
    let mut second = collect(&mut stack).await;
    let calls: Vec<_> = stack.ivs.world().calls.split_off(calls);
    let calls: Vec<_> = calls.iter().map(|call| call.operation.as_str()).collect();
    assert_eq!(calls, ["GetStageSession"]);
    let requests = stack.s3.requests().split_off(requests);
    let requests: Vec<_> = requests.iter().map(|it| it.method.as_str()).collect();
    assert_eq!(requests, ["HEAD"]);
    assert_eq!(
        (&second["outcome"], &second["calls"]),
        (&json!("up_to_date"), &json!(1))
    );
    second["outcome"] = first["outcome"].clone();
    second["calls"] = first["calls"].clone();
    assert_eq!(second, first, "an object tells what was counted");
}

#[tokio::test]
async fn sessions_of_any_size_are_collected_whole() {
    for people in [0, 1, 199, 200, 201, 450] {
        let session = ended(people, 120);
        let (mut stack, _folder) = stack_with(&session, &[]).await;
        let report = collect(&mut stack).await;
        assert_eq!(report["outcome"], "collected", "{people} people");
        assert_eq!(report["collected"], people);
        let attendance = rows(&stack.s3, "attendance");
        assert_eq!(attendance.len(), people);
        let counted: u64 = attendance
            .iter()
            .map(|row| row["events"].as_u64().unwrap())
            .sum();
        assert_eq!(report["events"], counted);
        assert_eq!(rows(&stack.s3, "participant_events").len() as u64, counted);
        let parts = stack
            .s3
            .keys()
            .iter()
            .filter(|key| key.starts_with("parts/"))
            .count();
        assert_eq!(
            parts,
            if people > 200 {
                people.div_ceil(200)
            } else {
                0
            }
        );
    }
}

#[tokio::test]
async fn order_pages_and_repetition_change_no_byte() {
    let start = now() - TimeDelta::minutes(150);
    let end = start + TimeDelta::minutes(30);
    let session = Session {
        start_time: Some(start),
        end_time: Some(end),
        participants: lives(start, end),
    };
    let mut all = Vec::new();
    for kinds in [
        &[][..],
        &[Kind::RepeatsParticipants, Kind::EmptyPageMiddle],
        &[
            Kind::EmptyPageFirst,
            Kind::EmptyPageLast,
            Kind::UnknownMembers,
        ],
    ] {
        let (mut stack, _folder) = stack_with(&session, &[]).await;
        for &kind in kinds {
            let mut world = stack.ivs.world();
            world.fault("ListParticipantEvents", When::Always, kind);
            world.fault("GetParticipant", When::Always, kind);
        }
        assert_eq!(
            collect(&mut stack).await["outcome"],
            "collected",
            "{kinds:?}"
        );
        all.push(objects(&stack.s3));
    }
    assert!(all.iter().all(|objects| *objects == all[0]));
}

#[tokio::test]
async fn without_details_nobody_is_asked_for_them_and_they_read_null() {
    let start = now() - TimeDelta::minutes(150);
    let end = start + TimeDelta::minutes(30);
    let session = Session {
        start_time: Some(start),
        end_time: Some(end),
        participants: lives(start, end),
    };
    let (mut stack, _folder) = stack_with(&session, &[("COLLECT_DETAILS", "false")]).await;
    assert_eq!(collect(&mut stack).await["outcome"], "collected");
    assert_eq!(stack.ivs.count("GetParticipant"), 0);
    for row in rows(&stack.s3, "attendance") {
        assert_eq!(
            (&row["attributes"], &row["browser_name"]),
            (&Value::Null, &Value::Null)
        );
        assert!(row["events"].is_number());
    }
    let events = rows(&stack.s3, "participant_events");
    assert!(events.iter().all(|row| row["new_attributes"].is_null()));
    assert!(events.iter().any(|row| !row["new_capabilities"].is_null()));
}

#[tokio::test]
async fn of_publishers_only_those_who_published_are_asked_for() {
    let (mut stack, _folder) = stack_with(&ended(5, 120), &[("COLLECT", "publishers")]).await;
    let report = collect(&mut stack).await;
    assert_eq!(
        (&report["participants"], &report["collected"]),
        (&json!(5), &json!(1))
    );
    let attendance = rows(&stack.s3, "attendance");
    assert_eq!(attendance.len(), 5);
    for row in attendance {
        let published = row["published"] == true;
        assert_eq!(row["joins"].is_number(), published);
        assert_eq!(row["leave_inferred"].is_boolean(), published);
        assert_eq!(row["connected_ms"].is_number(), published);
    }
}

#[tokio::test]
async fn what_is_not_due_is_not_collected() {
    let (mut stack, _folder) = stack_with(&ended(3, 120), &[("COLLECT", "nobody")]).await;
    let report = collect(&mut stack).await;
    assert_eq!(
        (&report["outcome"], &report["calls"]),
        (&json!("not_due"), &json!(0))
    );

    // Its second look is still to come.
    let (mut stack, _folder) = stack_with(&ended(3, 10), &[]).await;
    assert_eq!(collect(&mut stack).await["outcome"], "not_due");
    // Nobody has listed its participants.
    stack
        .ivs
        .world()
        .put(STAGE, "st-0000000000001", ended(3, 120));
    let unlisted = json!({ "collect": scene::request(STAGE, "st-0000000000001") });
    assert_eq!(stack.invoke(unlisted).await.unwrap()["outcome"], "not_due");
    stack
        .ivs
        .world()
        .put(STAGE, "st-0000000000002", scene::live());
    let live = json!({ "collect": scene::request(STAGE, "st-0000000000002") });
    assert_eq!(stack.invoke(live).await.unwrap()["outcome"], "still_live");
    assert_eq!(stack.ivs.count("ListParticipantEvents"), 0);
    assert_eq!(key_of(&stack.s3, "attendance"), None);
}

#[tokio::test]
async fn a_large_session_takes_several_invocations_and_each_participant_is_asked_for_once() {
    let session = ended(1_200, 120);
    // A part takes four seconds of the eighteen that an invocation has.
    let settings = CircleSettings::at(50).with(&QUICK);
    let settings = settings.with(&[("COLLECT_CALLS_PER_SECOND", "50")]);
    let circle = circle_of(&session, settings).await;
    circle.sqs.send_once(COLLECT, "one", &request().to_string());
    circle.until_quiet(PATIENCE).await.unwrap();
    let lines = circle.pool.log_lines();
    let lines = lines.iter().filter(|line| line["table"] == "attendance");
    let mut outcomes: Vec<_> = lines
        .map(|line| {
            (
                line["collected"].as_u64().unwrap(),
                line["outcome"].as_str().unwrap(),
            )
        })
        .collect();
    outcomes.sort_unstable();
    let last = outcomes.pop().unwrap();
    assert_eq!(last, (1_200, "collected"));
    assert!(!outcomes.is_empty(), "it took several invocations");
    assert!(
        outcomes.iter().all(|&(_, outcome)| outcome == "continued"),
        "{outcomes:?}"
    );
    for operation in ["GetParticipant", "ListParticipantEvents"] {
        let asked = asked(&circle.ivs.world().calls, operation);
        assert_eq!(asked.len(), 1_200);
        assert!(asked.values().all(|&times| times == 1), "{operation}");
    }
    let undisturbed = stack_with(&session, &[]).await;
    let (mut undisturbed, _folder) = undisturbed;
    collect(&mut undisturbed).await;
    assert_eq!(objects(&circle.s3), objects(&undisturbed.s3));
}

/// Kills the function once the first object of this folder was written, before it knows. What has been killed is awaited.
async fn kill_after(circle: &Circle, folder: &'static str) {
    let (pool, killed) = (Arc::clone(&circle.pool), Arc::new(Notify::new()));
    let (once, notify) = (Once::new(), Arc::clone(&killed));
    circle.s3.on_write(move |key| {
        if key.starts_with(folder) {
            once.call_once(|| {
                assert!(pool.kill_one());
                notify.notify_one();
            });
        }
    });
    circle.sqs.send_once(COLLECT, "one", &request().to_string());
    killed.notified().await;
}

/// What the redelivery makes of a killed collection: the bytes of an undisturbed one, and nobody is asked for again but the people of
/// one part.
async fn assert_survived(circle: &Circle, session: &Session) {
    let (mut undisturbed, _folder) = stack_with(session, &[]).await;
    collect(&mut undisturbed).await;
    circle.until_quiet(PATIENCE).await.unwrap();
    assert_eq!(objects(&circle.s3), objects(&undisturbed.s3));
    let asked = asked(&circle.ivs.world().calls, "ListParticipantEvents");
    assert_eq!(asked.len(), session.participants.len());
    let twice = asked.values().filter(|&&times| times > 1).count();
    let most = asked.values().max().unwrap();
    assert!(
        twice <= 200 && *most <= 2,
        "{twice} asked for again, up to {most} times"
    );
}

/// A circle in which a session of three parts can be collected, a part in two seconds.
async fn three_parts() -> (Circle, Session) {
    let session = ended(450, 120);
    let settings = [("COLLECT_CALLS_PER_SECOND", "100")];
    (circle_with(&session, &settings).await, session)
}

fn parts(circle: &Circle) -> usize {
    let keys = circle.s3.keys();
    keys.iter().filter(|key| key.starts_with("parts/")).count()
}

#[tokio::test]
async fn a_kill_before_a_part_is_put_costs_that_part() {
    let (circle, session) = three_parts().await;
    circle.sqs.send_once(COLLECT, "one", &request().to_string());
    circle.ivs.until_called("ListParticipantEvents", 300).await;
    assert_eq!(parts(&circle), 1);
    assert!(circle.pool.kill_one());
    assert_survived(&circle, &session).await;
}

#[tokio::test]
async fn a_kill_after_a_part_costs_nothing_of_it() {
    let (circle, session) = three_parts().await;
    kill_after(&circle, "parts/").await;
    assert_survived(&circle, &session).await;
    let asked = asked(&circle.ivs.world().calls, "ListParticipantEvents");
    assert!(asked.values().all(|&times| times == 1));
}

#[tokio::test]
async fn a_kill_between_the_two_objects_loses_nothing() {
    let (circle, session) = three_parts().await;
    kill_after(&circle, "participant_events/").await;
    assert_eq!(key_of(&circle.s3, "attendance"), None);
    assert_survived(&circle, &session).await;
}

#[tokio::test]
async fn parts_of_an_older_list_or_of_other_settings_are_not_used() {
    for changed in ["list", "settings"] {
        let (circle, _) = three_parts().await;
        kill_after(&circle, "parts/").await;
        if changed == "list" {
            let late = circle.ivs.world().session(STAGE, SESSION).participants[7].clone();
            let late = Participant {
                participant_id: Some("late00000001".to_owned()),
                ..late
            };
            circle
                .ivs
                .world()
                .session(STAGE, SESSION)
                .participants
                .push(late);
            let mut export = scene::request(STAGE, SESSION);
            export["rewrite_before"] = timestamp(now()).into();
            let rewritten = circle.invoke(export).await.unwrap().unwrap();
            assert_eq!(
                (&rewritten["outcome"], &rewritten["participants"]),
                (&json!("rewritten"), &json!(451))
            );
        } else {
            circle.pool.deploy("COLLECT_DETAILS", "false");
        }
        circle.until_quiet(PATIENCE).await.unwrap();
        let attendance = rows(&circle.s3, "attendance");
        if changed == "list" {
            assert_eq!(attendance.len(), 451);
            assert!(attendance.iter().all(|row| row["events"].is_number()));
        } else {
            assert!(attendance.iter().all(|row| row["attributes"].is_null()));
        }
        let folders = circle
            .s3
            .keys()
            .into_iter()
            .filter(|key| key.starts_with("parts/"));
        let folders: BTreeSet<_> = folders
            .map(|key| key.split('/').nth(2).unwrap().to_owned())
            .collect();
        assert_eq!(folders.len(), 2, "{changed}: {folders:?}");
    }
}

#[tokio::test]
async fn two_functions_at_once_leave_two_objects_that_agree() {
    let session = ended(40, 120);
    let circle = circle_with(&session, &[]).await;
    circle.s3.fault(
        "PUT",
        When::Always,
        S3Kind::Slow(Duration::from_millis(300)),
    );
    // They are told different things.
    circle.ivs.world().fault(
        "ListParticipantEvents",
        When::Every(7),
        Kind::RepeatsParticipants,
    );
    let first = circle.invoke(request());
    let second = async {
        circle.ivs.until_called("ListParticipantEvents", 40).await;
        circle.ivs.world().session(STAGE, SESSION).participants[3]
            .events
            .clear();
        circle.invoke(request()).await
    };
    let (first, second) = tokio::join!(first, second);
    for answer in [first, second] {
        let report = answer.unwrap().unwrap();
        assert!(
            report["outcome"] == "collected" || report["outcome"] == "up_to_date",
            "{report}"
        );
    }
    let mut counted: BTreeMap<String, u64> = BTreeMap::new();
    for row in rows(&circle.s3, "participant_events") {
        *counted
            .entry(row["participant_id"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    for row in rows(&circle.s3, "attendance") {
        let id = row["participant_id"].as_str().unwrap();
        assert_eq!(row["events"], counted.get(id).copied().unwrap_or(0), "{id}");
    }
    assert_eq!(circle.s3.unconditional_puts().len(), 0);
}

#[tokio::test]
async fn a_rewrite_brings_new_events_and_never_fewer() {
    let (mut stack, _folder) = stack_with(&ended(3, 120), &[]).await;
    let before = collect(&mut stack).await["events"].as_u64().unwrap();
    for table in ["participant_events", "attendance"] {
        age(&stack.s3, table);
    }
    let late = Event::new(
        "SUBSCRIBE_ERROR",
        "p00000000001",
        now() - TimeDelta::minutes(125),
    );
    stack.ivs.world().session(STAGE, SESSION).participants[1]
        .events
        .push(late);
    let report = stack.invoke(rewrite()).await.unwrap();
    assert_eq!(
        (&report["outcome"], &report["events"]),
        (&json!("collected"), &json!(before + 1))
    );
    let more = objects(&stack.s3);

    for table in ["participant_events", "attendance"] {
        age(&stack.s3, table);
    }
    let events_key = key_of(&stack.s3, "participant_events").unwrap();
    let written = stack.s3.last_modified(&events_key);
    stack.ivs.world().session(STAGE, SESSION).participants[1]
        .events
        .clear();
    let report = stack.invoke(rewrite()).await.unwrap();
    assert_eq!(
        (&report["outcome"], &report["events"]),
        (&json!("kept"), &json!(before + 1))
    );
    assert_eq!(objects(&stack.s3), more);
    assert_eq!(
        stack.s3.last_modified(&events_key),
        written,
        "the events were not put"
    );
    // Attendance tells that it was looked at, so that no sweep asks again.
    let key = key_of(&stack.s3, "attendance").unwrap();
    assert!(stack.s3.last_modified(&key) > written);
    assert!(
        stack
            .function
            .printed()
            .contains("IVS tells of fewer events")
    );
}

#[tokio::test]
async fn a_session_that_ivs_forgot_is_collected_if_all_parts_are_there() {
    let session = ended(450, 120);
    let (mut stack, _folder) = stack_with(&session, &[]).await;
    collect(&mut stack).await;
    let collected = objects(&stack.s3);
    let start = timestamp(session.start_time.unwrap());
    for table in ["participant_events", "attendance"] {
        std::fs::remove_file(stack.s3.path(&key_of(&stack.s3, table).unwrap())).unwrap();
    }
    stack.ivs.world().delete_stage(STAGE, true);
    assert_eq!(
        collect(&mut stack).await["outcome"],
        "gone",
        "nobody knows the day"
    );
    let mut dated = request();
    dated["collect"]["session_start_time"] = start.into();
    let report = stack.invoke(dated.clone()).await.unwrap();
    assert_eq!(report["outcome"], "collected");
    assert_eq!(objects(&stack.s3), collected);
    assert_eq!(
        stack.invoke(dated.clone()).await.unwrap()["outcome"],
        "up_to_date"
    );
    let mut again = dated.clone();
    again["collect"]["rewrite_before"] = timestamp(now()).into();
    let report = stack.invoke(again).await.unwrap();
    assert_eq!(report["outcome"], "up_to_date", "there will be no other");
    // A part is missing.
    let part = stack
        .s3
        .keys()
        .into_iter()
        .find(|key| key.starts_with("parts/"))
        .unwrap();
    std::fs::remove_file(stack.s3.path(&part)).unwrap();
    std::fs::remove_file(stack.s3.path(&key_of(&stack.s3, "attendance").unwrap())).unwrap();
    assert_eq!(stack.invoke(dated).await.unwrap()["outcome"], "gone");
}

#[tokio::test]
async fn a_part_that_does_not_fit_into_an_invocation_is_halved() {
    // Each participant has three pages, so that a part takes three times as long as expected.
    let mut session = ended(200, 120);
    for who in &mut session.participants {
        let id = who.participant_id.clone().unwrap();
        let start = session.start_time.unwrap();
        who.events = (0..250)
            .map(|second| Event::new("SUBSCRIBE_ERROR", &id, start + TimeDelta::seconds(second)))
            .collect();
    }
    let circle = circle_with(&session, &[("COLLECT_CALLS_PER_SECOND", "40")]).await;
    circle.sqs.send_once(COLLECT, "one", &request().to_string());
    circle.until_quiet(PATIENCE).await.unwrap();
    assert_eq!(rows(&circle.s3, "participant_events").len(), 200 * 250);
    assert_eq!(circle.sqs.bodies(DEAD_COLLECTIONS).len(), 0);
    let keys = circle.s3.keys();
    assert!(keys.iter().any(|key| key.contains("/00000a")), "{keys:?}");
}

#[tokio::test]
async fn a_session_of_which_ivs_tells_nothing_is_collected_with_a_warning() {
    let mut session = ended(2, 120);
    for who in &mut session.participants {
        who.events.clear();
    }
    let (mut stack, _folder) = stack_with(&session, &[]).await;
    let report = collect(&mut stack).await;
    assert_eq!(
        (&report["outcome"], &report["events"]),
        (&json!("collected"), &json!(0))
    );
    let warned = |line: &Value| line["told_nothing"] == true && line["level"] == "WARN";
    assert_eq!(
        stack
            .function
            .log_lines()
            .iter()
            .filter(|line| warned(line))
            .count(),
        1
    );
    for row in rows(&stack.s3, "attendance") {
        assert_eq!(
            (&row["connected_ms"], &row["joins"]),
            (&json!(0), &json!(0))
        );
    }
}

#[tokio::test]
async fn what_fails_for_good_leaves_a_marker_and_a_dead_letter_and_no_object() {
    let circle = circle_with(&ended(3, 120), &[]).await;
    let denied = "ListParticipantEvents".to_owned();
    circle.ivs.world().denied.insert(denied);
    circle.sqs.send_once(COLLECT, "one", &request().to_string());
    circle.until_quiet(PATIENCE).await.unwrap();
    assert_eq!(circle.sqs.bodies(DEAD_COLLECTIONS).len(), 1);
    let keys = circle.s3.keys();
    let marker = "failed/collect/AbCdef1G2hij_st-1CVugbu2cf2n8";
    assert!(keys.iter().any(|key| key == marker), "{keys:?}");
    assert_eq!(key_of(&circle.s3, "participant_events"), None);
    let marker: Value = serde_json::from_slice(&circle.s3.read(marker)).unwrap();
    assert_eq!(marker["error_type"], "AccessDenied");
    let said = marker["error"].as_str().unwrap();
    assert!(
        said.starts_with("ListParticipantEvents on participant p"),
        "{said}"
    );

    // Once mended and redriven it is collected.
    circle.ivs.world().denied.clear();
    circle.sqs.redrive(DEAD_COLLECTIONS, COLLECT);
    circle.until_quiet(PATIENCE).await.unwrap();
    assert!(key_of(&circle.s3, "attendance").is_some());
}

/// A session of a few people who change their tokens all the time. Nothing of it compresses: an event takes some 7 kB of memory
/// by the function's count.
fn restless(events_of_each: usize) -> Session {
    let mut random = fastrand::Rng::with_seed(7);
    let mut session = ended(4, 120);
    let start = session.start_time.unwrap();
    for who in &mut session.participants {
        let id = who.participant_id.clone().unwrap();
        let mut token = || {
            let value = std::iter::repeat_with(|| random.alphanumeric());
            let value: String = value.take(800).collect();
            let attributes = BTreeMap::from([("secret".to_owned(), value)]);
            Some(Token {
                attributes: Some(attributes),
                ..Token::default()
            })
        };
        let mut event = |second| {
            let time = start + TimeDelta::seconds(second);
            Event {
                previous_token: token(),
                new_token: token(),
                ..Event::new("TOKEN_EXCHANGED", &id, time)
            }
        };
        let seconds = 0..i64::try_from(events_of_each).unwrap();
        who.events = seconds.map(&mut event).collect();
    }
    session
}

#[tokio::test]
async fn events_too_many_for_the_memory_fail_alone_and_by_name() {
    let (bootstrap, _folder) = limited(64);
    let settings = CircleSettings::at(60).with(&QUICK);
    let circle = Circle::without_quota(&bootstrap, FOLDER, settings).await;
    let circle = circle.unwrap();
    let sessions = [
        ("st-0000000000001", restless(2_000)),
        ("st-0000000000002", restless(1_000)),
        ("st-0000000000003", ended(3, 120)),
    ];
    for (id, session) in sessions {
        circle.ivs.world().put(STAGE, id, session);
        let exported = circle.invoke(scene::request(STAGE, id)).await;
        assert_eq!(exported.unwrap().unwrap()["outcome"], "exported");
        circle.send_to_collect(STAGE, id);
    }
    let marker = "failed/collect/AbCdef1G2hij_st-0000000000001";
    let below = |folder: &str| {
        let keys = circle.s3.keys().into_iter();
        keys.filter(|key| key.starts_with(folder))
            .collect::<Vec<_>>()
    };
    let done = |_: &_| below("attendance/").len() == 2 && below(marker).len() == 1;
    circle.sqs.until(PATIENCE, done).await.unwrap();
    for table in ["participant_events/", "attendance/"] {
        let keys = below(table);
        let too_large = keys.iter().any(|key| key.contains("st-0000000000001"));
        assert!(keys.len() == 2 && !too_large, "{keys:?}");
    }
    let marker: Value = serde_json::from_slice(&circle.s3.read(marker)).unwrap();
    assert_eq!(marker["error_type"], "SessionTooLarge");
    let said = marker["error"].as_str().unwrap();
    assert!(
        said.contains("st-0000000000001") && said.contains("64 MB") && said.contains("events"),
        "{said}"
    );
    let killed = circle.collect.deliveries().into_iter();
    let killed = killed.filter(|delivery| matches!(delivery.ended, Some((_, Err(_)))));
    assert_eq!(killed.count(), 0, "no process died");
}

#[tokio::test]
async fn each_message_of_a_batch_is_answered_for_itself() {
    let (mut stack, _folder) = stack_with(&ended(3, 120), &[]).await;
    let unknown = json!({ "collect": scene::request(STAGE, SESSION), "dry_run": true });
    let malformed = json!({ "collect": { "stage_arn": STAGE, "session_id": "st-1" } });
    let records = [
        scene::message("good", &request()),
        scene::message("unknown", &unknown),
        scene::message("malformed", &malformed),
        scene::message("again", &request()),
    ];
    let answer = stack.invoke(json!({ "Records": records })).await.unwrap();
    let failed = answer["batchItemFailures"].as_array().unwrap();
    let failed: BTreeSet<_> = failed
        .iter()
        .map(|it| it["itemIdentifier"].as_str().unwrap())
        .collect();
    assert_eq!(failed, BTreeSet::from(["malformed", "unknown"]));
    assert!(key_of(&stack.s3, "attendance").is_some());
    assert_eq!(
        stack.ivs.count("ListParticipantEvents"),
        3,
        "the session is collected once"
    );
}

#[tokio::test]
async fn a_session_that_ivs_forgets_in_the_middle_is_not_stored_as_one_without_events() {
    for people in [40, 450] {
        let settings = [("COLLECT_CALLS_PER_SECOND", "100")];
        let circle = circle_with(&ended(people, 120), &settings).await;
        let forgotten = async {
            circle.ivs.until_called("ListParticipantEvents", 20).await;
            circle.ivs.world().delete_stage(STAGE, true);
        };
        let (answer, ()) = tokio::join!(circle.invoke(request()), forgotten);
        assert_eq!(
            answer.unwrap().unwrap()["outcome"],
            "gone",
            "{people} people"
        );
        assert_eq!(key_of(&circle.s3, "participant_events"), None);
        assert_eq!(key_of(&circle.s3, "attendance"), None);
        assert_eq!(parts(&circle), 0);
    }
}

/// The answer of a collection whose session IVS forgets as soon as it was asked for the first events.
async fn collected_while_forgotten(circle: &Circle) -> Value {
    let forgotten = async {
        circle.ivs.until_called("ListParticipantEvents", 1).await;
        circle.ivs.world().delete_stage(STAGE, true);
    };
    let (answer, ()) = tokio::join!(circle.invoke(request()), forgotten);
    answer.unwrap().unwrap()
}

#[tokio::test]
async fn a_session_that_ivs_forgets_between_two_pages_of_events_is_not_stored_with_half_of_them() {
    let mut session = ended(1, 120);
    let start = session.start_time.unwrap();
    session.participants[0].events = (0..150)
        .map(|second| {
            Event::new(
                "SUBSCRIBE_ERROR",
                "p00000000000",
                start + TimeDelta::seconds(second),
            )
        })
        .collect();
    let circle = circle_with(&session, &[]).await;
    assert_eq!(collected_while_forgotten(&circle).await["outcome"], "gone");
    assert_eq!(key_of(&circle.s3, "attendance"), None);
    assert_eq!(key_of(&circle.s3, "participant_events"), None);
}

#[tokio::test]
async fn a_session_that_ivs_forgets_before_its_details_is_not_stored_without_them() {
    let circle = circle_with(&ended(1, 120), &[]).await;
    // The details come after the events.
    circle
        .ivs
        .world()
        .fault("GetParticipant", When::UpTo(3), Kind::Throttle429);
    assert_eq!(collected_while_forgotten(&circle).await["outcome"], "gone");
    assert_eq!(key_of(&circle.s3, "attendance"), None);
}

#[tokio::test]
async fn a_list_that_is_final_by_an_end_that_ivs_moved_back_is_collected() {
    let circle = circle_with(&ended(3, 30), &[]).await;
    let collected = async || circle.invoke(request()).await.unwrap().unwrap();
    assert_eq!(collected().await["outcome"], "not_due");
    let end = circle.ivs.world().session(STAGE, SESSION).end_time.unwrap();
    let earlier = end - TimeDelta::minutes(70);
    circle.ivs.world().session(STAGE, SESSION).end_time = Some(earlier);
    assert_eq!(collected().await["outcome"], "collected");
    // The later of the two ends stays, as in participants.
    let told = timestamp(end);
    for row in rows(&circle.s3, "attendance") {
        assert_eq!(row["session_end_time"].as_str().unwrap()[..19], told[..19]);
    }
}

#[tokio::test]
async fn a_rewrite_for_publishers_leaves_the_others_out() {
    let circle = circle_with(&ended(5, 120), &[]).await;
    let collected = async |request| circle.invoke(request).await.unwrap().unwrap();
    let before = collected(request()).await;
    assert_eq!(before["collected"], 5);
    for table in ["participant_events", "attendance"] {
        age(&circle.s3, table);
    }
    circle.pool.deploy("COLLECT", "publishers");
    let after = collected(rewrite()).await;
    assert_eq!(
        (&after["outcome"], &after["collected"]),
        (&json!("collected"), &json!(1))
    );
    assert!(after["events"].as_u64() < before["events"].as_u64());
    let events = rows(&circle.s3, "participant_events");
    assert!(
        events
            .iter()
            .all(|row| row["participant_id"] == "p00000000000")
    );
    for row in rows(&circle.s3, "attendance") {
        assert_eq!(row["browser_name"].is_null(), row["published"] == false);
    }
}
