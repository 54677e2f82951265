//! The real binary on the local stack, over sockets: what a session becomes, and what a failure leaves.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use chrono::{DateTime, Days, TimeDelta, Utc};
use ivs_attendance_local::REGION;
use ivs_attendance_local::faults::{Kind, When};
use ivs_attendance_local::ivs::quota::Quota;
use ivs_attendance_local::ivs::world::{Participant, Session, timestamp};
use ivs_attendance_local::lambda::stack::Stack;
use ivs_attendance_local::scene::{
    self, PATIENCE, SESSION_ID as SESSION, STAGE_ARN as STAGE, ended, event, hint, message, now,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{BOOTSTRAP, FOLDER};

async fn stack(settings: &[(&str, &str)]) -> (Stack, TempDir) {
    let parent = Path::new(FOLDER);
    Stack::temporary(Path::new(BOOTSTRAP), parent, settings)
        .await
        .unwrap()
}

fn request() -> Value {
    scene::request(STAGE, SESSION)
}

/// A file as pyarrow reads it.
fn read(stack: &Stack, key: &str) -> Value {
    let python = Path::new(".venv/bin/python3");
    assert!(
        python.exists(),
        "pyarrow is missing; `make test` installs it"
    );
    let output = Command::new(python)
        .arg("tests/read_parquet.py")
        .arg(stack.s3.path(key))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn puts(stack: &Stack) -> usize {
    stack
        .s3
        .requests()
        .iter()
        .filter(|request| request.method == "PUT")
        .count()
}

/// What the emulator knows of a session, in the shape in which a file should have it.
fn expected(session: &Session, stage_arn: &str, session_id: &str) -> Vec<Value> {
    let millis = |time: DateTime<Utc>| time.format("%Y-%m-%dT%H:%M:%S%.3f+00:00").to_string();
    let mut participants = session.participants.clone();
    let time = |who: &Participant| {
        Some(
            who.first_join_time
                .as_ref()?
                .parse::<DateTime<Utc>>()
                .unwrap()
                .timestamp_millis(),
        )
    };
    participants.sort_by_key(|who| (time(who).is_none(), time(who), who.participant_id.clone()));
    let row = |who: &Participant| {
        let join = who
            .first_join_time
            .as_ref()
            .map(|time| millis(time.parse().unwrap()));
        json!({
            "stage_arn": stage_arn,
            "session_id": session_id,
            "session_start_time": millis(session.start_time.unwrap()),
            "session_end_time": millis(session.end_time.unwrap()),
            "participant_id": who.participant_id,
            "user_id": who.user_id,
            "state": who.state,
            "first_join_time": join,
            "published": who.published.unwrap_or(false),
            "recording_state": who.recording_state,
            "replication_type": who.replication_type,
            "replication_state": who.replication_state,
            "source_stage_arn": who.source_stage_arn,
            "source_session_id": who.source_session_id,
            "redundant_ingest": who.redundant_ingest.unwrap_or(false),
            "ingest_configuration_arn": who.ingest_configuration_arn,
        })
    };
    participants.iter().map(row).collect()
}

#[tokio::test]
async fn a_hint_exports_the_session_and_every_value_is_what_ivs_said() {
    let (mut stack, _folder) = stack(&[]).await;
    let mut session = ended(3, 5);
    let person = |id: &str| Participant {
        participant_id: Some(id.to_owned()),
        ..Participant::default()
    };
    session.participants.extend([
        // Every member, in values of tomorrow, beside members that nobody knows yet.
        Participant {
            user_id: Some("🦀 \"quoted\"\nand, broken; '".to_owned()),
            state: Some("TELEPORTED".to_owned()),
            first_join_time: Some("2025-11-18T16:40:32.123999999Z".to_owned()),
            published: Some(true),
            recording_state: Some("PAUSED".to_owned()),
            replication_type: Some("REPLICA".to_owned()),
            replication_state: Some("ACTIVE".to_owned()),
            source_stage_arn: Some(format!("{STAGE}0")),
            source_session_id: Some("st-0CVugbu2cf2n8".to_owned()),
            redundant_ingest: Some(true),
            ingest_configuration_arn: Some(
                "arn:aws:ivs:us-west-2:123456789012:ingest-configuration/a".to_owned(),
            ),
            more: json!({ "mood": { "now": ["curious"] } })
                .as_object()
                .unwrap()
                .clone(),
            ..person("tomorrow")
        },
        // Empty is not absent.
        Participant {
            user_id: Some(String::new()),
            ..person("empty")
        },
        person("bare"),
        Participant {
            first_join_time: Some("2025-11-18T16:40:32Z".to_owned()),
            ..person("exact")
        },
    ]);
    stack.ivs.world().put(STAGE, SESSION, session.clone());

    let report = stack.invoke(hint(STAGE, SESSION, now())).await.unwrap();
    let key = format!(
        "participants/dt={}/AbCdef1G2hij_{SESSION}.parquet",
        session.start_time.unwrap().date_naive()
    );
    assert_eq!(
        report,
        json!({
            "stage_arn": STAGE, "session_id": SESSION, "outcome": "exported", "calls": 2,
            "key": key, "participants": 7,
        })
    );
    assert_eq!(stack.s3.keys(), [key.as_str()]);
    assert_eq!(
        read(&stack, &key)["rows"],
        json!(expected(&session, STAGE, SESSION))
    );
}

#[tokio::test]
async fn the_files_schema_is_the_designs_to_a_stranger() {
    let (mut stack, _folder) = stack(&[]).await;
    stack.ivs.world().put(STAGE, SESSION, ended(3, 5));
    stack.invoke(request()).await.unwrap();
    let file = read(&stack, &stack.s3.keys()[0]);
    let (string, time, flag) = ("string", "timestamp[ms, tz=UTC]", "bool");
    assert_eq!(
        file["arrow"],
        json!({
            "stage_arn": string, "session_id": string, "session_start_time": time, "session_end_time": time,
            "participant_id": string, "user_id": string, "state": string, "first_join_time": time,
            "published": flag, "recording_state": string, "replication_type": string,
            "replication_state": string, "source_stage_arn": string, "source_session_id": string,
            "redundant_ingest": flag, "ingest_configuration_arn": string,
        })
    );
    let time = file["parquet"]["first_join_time"].as_str().unwrap();
    assert!(
        time.starts_with("INT64 Timestamp(isAdjustedToUTC=true, timeUnit=milliseconds"),
        "{time}"
    );
    assert_eq!(file["codecs"], json!(["ZSTD"]));
}

#[tokio::test]
async fn three_pages_become_one_object_and_a_second_delivery_lists_nothing() {
    let (mut stack, _folder) = stack(&[]).await;
    stack.ivs.world().put(STAGE, SESSION, ended(250, 5));
    let report = stack.invoke(hint(STAGE, SESSION, now())).await.unwrap();
    assert_eq!(
        (&report["participants"], &report["calls"]),
        (&json!(250), &json!(4))
    );
    let key = stack.s3.keys().pop().unwrap();
    let ids = |file: &Value| {
        let rows = file["rows"].as_array().unwrap().clone();
        rows.into_iter()
            .map(|row| row["participant_id"].as_str().unwrap().to_owned())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(ids(&read(&stack, &key)).len(), 250);

    let (listed, put) = (stack.ivs.count("ListParticipants"), puts(&stack));
    assert_eq!((listed, put), (3, 1));
    let report = stack.invoke(hint(STAGE, SESSION, now())).await.unwrap();
    assert_eq!(report["outcome"], "up_to_date");
    assert_eq!(
        (&report["participants"], &report["calls"], &report["key"]),
        (&json!(250), &json!(1), &json!(key))
    );
    assert_eq!(
        (stack.ivs.count("ListParticipants"), puts(&stack)),
        (listed, put)
    );
}

#[tokio::test]
async fn the_same_session_listed_anew_gives_the_same_bytes() {
    let session = ended(250, 5);
    let mut files = Vec::new();
    for _ in 0..2 {
        let (mut stack, _folder) = stack(&[("CALLS_PER_SECOND", "1000")]).await;
        stack.ivs.world().quota = Quota::Off;
        stack.ivs.world().put(STAGE, SESSION, session.clone());
        // Moves the emulator on, so that it lists in another order.
        for _ in 0..files.len() {
            stack
                .invoke(json!({ "stage_arn": STAGE, "session_id": "st-0000000000000" }))
                .await
                .unwrap();
        }
        stack.invoke(request()).await.unwrap();
        let first = stack
            .ivs
            .world()
            .calls
            .iter()
            .rfind(|call| call.operation == "ListParticipants")
            .cloned();
        files.push((
            stack.s3.read(&stack.s3.keys()[0]),
            first.unwrap().body["nextToken"].clone(),
        ));
    }
    assert_ne!(
        files[0].1, files[1].1,
        "the two were paged through in different orders"
    );
    assert_eq!(files[0].0, files[1].0);
}

#[tokio::test]
async fn an_ended_session_that_nobody_joined_is_a_file_of_zero_rows() {
    let (mut stack, _folder) = stack(&[]).await;
    stack.ivs.world().put(STAGE, SESSION, ended(0, 5));
    let report = stack.invoke(request()).await.unwrap();
    assert_eq!(
        (&report["outcome"], &report["participants"]),
        (&json!("exported"), &json!(0))
    );
    let file = read(&stack, &stack.s3.keys()[0]);
    assert_eq!(file["rows"], json!([]));
    assert_eq!(file["arrow"].as_object().unwrap().len(), 16);
}

#[tokio::test]
async fn a_live_session_is_left_alone() {
    let (mut stack, _folder) = stack(&[]).await;
    let session = Session {
        end_time: None,
        ..ended(7, 0)
    };
    stack.ivs.world().put(STAGE, SESSION, session);
    let report = stack.invoke(hint(STAGE, SESSION, now())).await.unwrap();
    assert_eq!(
        report,
        json!({ "stage_arn": STAGE, "session_id": SESSION, "outcome": "still_live", "calls": 1 })
    );
    let line = stack.function.log_lines().pop().unwrap();
    let half_an_hour = line["seconds_since_start"].as_i64().unwrap();
    assert!((1800..1900).contains(&half_an_hour), "{line}");
    assert_eq!(
        (stack.s3.keys(), stack.ivs.count("ListParticipants")),
        (vec![], 0)
    );
}

#[tokio::test]
async fn a_recording_that_ended_is_a_hint_too() {
    let (mut stack, _folder) = stack(&[]).await;
    let (stage, session) = (
        "arn:aws:ivs:us-west-2:123456789012:stage/Kq8Zr2TnWx4v",
        "st-9PdXkqL3vZ7a0",
    );
    stack.ivs.world().put(stage, session, ended(2, 5));
    assert_eq!(
        stack.invoke(event("recording-end")).await.unwrap()["outcome"],
        "exported"
    );
}

/// Payloads that name no stage session of this region, and what the error must quote.
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn invalid_payloads() -> Vec<(Value, &'static str, &'static str)> {
    let with = |change: fn(&mut Value)| {
        let mut event = event("participant-unpublished");
        change(&mut event);
        event
    };
    let in_frankfurt = STAGE.replace(REGION, "eu-central-1");
    vec![
        (
            event("composition-session-end"),
            "detail-type",
            "IVS Composition State Change",
        ),
        (
            event("stream-session-ended"),
            "detail-type",
            "IVS Stream State Change",
        ),
        (
            with(|event| event["source"] = "aws.ec2".into()),
            "source",
            "aws.ec2",
        ),
        (
            with(|event| event["source"] = Value::Null),
            "source",
            "\"\"",
        ),
        (
            with(|event| event["resources"] = json!([])),
            "resources[0]",
            "arn:aws:ivs:REGION:ACCOUNT:stage/ID",
        ),
        (
            with(|event| event["resources"] = json!(["arn:aws:ivs:x"])),
            "resources[0]",
            "arn:aws:ivs:x",
        ),
        (
            with(|event| event["detail"]["session_id"] = "st-ZyXwvu1T2s".into()),
            "detail.session_id",
            "st-ZyXwvu1T2s",
        ),
        (
            with(|event| event["detail"] = json!({})),
            "detail.session_id",
            "16 characters",
        ),
        (
            with(|event| event["detail"] = "no object".into()),
            "detail.session_id",
            "16 characters",
        ),
        (json!({ "stage_arn": STAGE }), "session_id", "16 characters"),
        (
            json!({ "session_id": SESSION }),
            "stage_arn",
            "arn:aws:ivs:REGION:ACCOUNT:stage/ID",
        ),
        (
            json!({ "stage_arn": 7, "session_id": SESSION }),
            "request",
            "expected a string",
        ),
        (
            json!({ "stage_arn": STAGE, "session_id": SESSION, "dryrun": true }),
            "request",
            "dryrun",
        ),
        (
            json!({ "stage_arn": in_frankfurt, "session_id": SESSION }),
            "stage_arn",
            "us-west-2",
        ),
        (
            json!({ "stage_arn": STAGE, "session_id": SESSION, "rewrite_before": "soon" }),
            "rewrite_before",
            "soon",
        ),
        (
            json!({ "stage_arn": STAGE, "session_id": SESSION, "rewrite_before": "2999-01-01T00:00:00Z" }),
            "rewrite_before",
            "must not lie in the future",
        ),
        (json!({ "stage": STAGE }), "payload", "stage"),
        (json!({ "sweep": { "dryrun": true } }), "sweep", "dryrun"),
        (json!({ "sweep": {}, "dry_run": true }), "sweep", "dry_run"),
        (
            json!({ "sweep": { "dry_run": true, "after": "x" } }),
            "sweep.after",
            "arn:aws:ivs:REGION:ACCOUNT:stage/ID",
        ),
        (
            json!({ "sweep": { "after": STAGE } }),
            "sweep.after",
            "must be left out, except in a dry run",
        ),
        (
            json!({ "sweep": { "rewrite_before": "2026-11-23T00:00:00Z" } }),
            "sweep",
            "rewrite_before",
        ),
        (
            json!({ "stage_arn": STAGE, "session_id": SESSION, "session_start_time": "yesterday" }),
            "session_start_time",
            "RFC 3339",
        ),
        (json!([]), "payload", "JSON object"),
        (
            json!({ "Records": [{ "eventSource": "aws:s3" }] }),
            "Records[].messageId",
            "must be there",
        ),
        (json!({ "Records": "none" }), "Records", "SQS batch"),
    ]
}

#[tokio::test]
async fn what_names_no_stage_session_is_quoted_with_the_rule_before_any_call() {
    let (mut stack, _folder) = stack(&[]).await;
    stack.ivs.world().put(STAGE, SESSION, ended(3, 5));
    for (payload, field, quoted) in invalid_payloads() {
        let failure = stack.invoke(payload.clone()).await.unwrap_err();
        assert_eq!(failure.error_type, "InvalidEvent", "{payload}");
        assert!(
            failure.message.starts_with(field),
            "{payload}: {}",
            failure.message
        );
        assert!(
            failure.message.contains(quoted),
            "{payload}: {}",
            failure.message
        );
        assert!(
            failure.message.contains("must"),
            "{payload}: {}",
            failure.message
        );
    }
    assert_eq!(stack.ivs.world().calls.len(), 0);
    assert_eq!(stack.s3.requests().len(), 0);
}

#[tokio::test]
async fn members_that_events_will_gain_are_ignored() {
    let (mut stack, _folder) = stack(&[]).await;
    stack.ivs.world().put(STAGE, SESSION, ended(3, 5));
    let mut event = hint(STAGE, SESSION, now());
    event["detail"]["mood"] = "curious".into();
    event["detail"]["replica"] = true.into();
    event["trace-header"] = json!({});
    assert_eq!(stack.invoke(event).await.unwrap()["outcome"], "exported");
}

#[tokio::test]
async fn a_batch_looks_at_each_session_once_and_one_bad_message_fails_alone() {
    let (mut stack, _folder) = stack(&[("CALLS_PER_SECOND", "1000")]).await;
    let sessions = ["st-1000000000000", "st-2000000000000", "st-3000000000000"];
    for (people, session) in sessions.iter().enumerate() {
        stack.ivs.world().put(STAGE, session, ended(people, 5));
    }
    let body = |index: usize| match index {
        3 => json!({ "stage_arn": STAGE, "session_id": "st-ZyXwvu1T2s" }),
        4 => json!({ "stage_arn": STAGE, "session_id": sessions[1] }),
        index => hint(STAGE, sessions[index % 3], now()),
    };
    let records: Vec<_> = (0..10)
        .map(|index| message(&format!("m{index}"), &body(index)))
        .collect();
    let answer = stack.invoke(json!({ "Records": records })).await.unwrap();
    assert_eq!(
        answer,
        json!({ "batchItemFailures": [{ "itemIdentifier": "m3" }] })
    );
    assert_eq!(stack.s3.keys().len(), 3);
    assert_eq!(
        (
            stack.ivs.count("GetStageSession"),
            stack.ivs.count("ListParticipants")
        ),
        // The one that nobody joined could also be one that IVS has just forgotten.
        (4, 3)
    );
}

#[tokio::test]
async fn a_session_that_fails_fails_all_its_messages_and_no_others() {
    let (mut stack, _folder) = stack(&[("CALLS_PER_SECOND", "1000")]).await;
    let broken = Session {
        start_time: None,
        ..ended(3, 5)
    };
    stack.ivs.world().put(STAGE, SESSION, broken);
    stack
        .ivs
        .world()
        .put(STAGE, "st-2000000000000", ended(3, 5));
    let (bad, good) = (request(), hint(STAGE, "st-2000000000000", now()));
    let records = [
        message("a", &bad),
        message("b", &good),
        message("c", &bad),
        json!({ "messageId": "d", "body": "{" }),
    ];
    let answer = stack.invoke(json!({ "Records": records })).await.unwrap();
    let failures = ["a", "c", "d"].map(|id| json!({ "itemIdentifier": id }));
    assert_eq!(answer, json!({ "batchItemFailures": failures }));
    let keys = stack.s3.keys();
    assert_eq!(keys.len(), 2);
    assert_eq!(
        keys[0],
        format!("failed/AbCdef1G2hij_{SESSION}"),
        "the marker of the one that failed"
    );
    assert!(keys[1].ends_with("st-2000000000000.parquet"), "{}", keys[1]);

    let logged: Vec<_> = stack
        .function
        .log_lines()
        .into_iter()
        .filter(|line| line["level"] == "ERROR")
        .collect();
    let logged: Vec<_> = logged
        .iter()
        .map(|line| (line["message_id"].as_str(), line["error_type"].as_str()))
        .collect();
    assert_eq!(
        logged,
        [
            (Some("d"), Some("InvalidEvent")),
            (Some("a"), Some("IvsUnavailable")),
            (Some("c"), Some("IvsUnavailable")),
        ],
        "each failed message once"
    );
}

#[tokio::test]
async fn a_second_look_an_hour_after_the_end_adds_who_was_missing_and_drops_nobody() {
    let (mut stack, _folder) = stack(&[]).await;
    // It ended 61 minutes ago. The first listing lacks 3 of 20, and its object is dated one minute after the end.
    let session = ended(20, 61);
    let lacking = |names: [usize; 3]| {
        let mut session = session.clone();
        session.participants.retain(|who| {
            !names
                .iter()
                .any(|n| who.participant_id == Some(format!("p{n:011}")))
        });
        session
    };
    stack.ivs.world().put(STAGE, SESSION, lacking([2, 11, 19]));
    let report = stack.invoke(hint(STAGE, SESSION, now())).await.unwrap();
    assert_eq!(
        (&report["outcome"], &report["participants"]),
        (&json!("exported"), &json!(17))
    );
    let key = stack.s3.keys().pop().unwrap();
    stack
        .s3
        .set_last_modified(&key, (now() - TimeDelta::minutes(60)).into());

    // The second listing has those 3, but lacks one of the first.
    stack.ivs.world().put(STAGE, SESSION, lacking([7, 7, 7]));
    let report = stack.invoke(hint(STAGE, SESSION, now())).await.unwrap();
    assert_eq!(
        (&report["outcome"], &report["participants"]),
        (&json!("confirmed"), &json!(20))
    );
    assert_eq!(
        read(&stack, &key)["rows"],
        json!(expected(&session, STAGE, SESSION))
    );

    let listed = stack.ivs.count("ListParticipants");
    let report = stack.invoke(hint(STAGE, SESSION, now())).await.unwrap();
    assert_eq!(
        (&report["outcome"], &report["participants"]),
        (&json!("up_to_date"), &json!(20))
    );
    assert_eq!(
        (stack.ivs.count("ListParticipants"), puts(&stack)),
        (listed, 2)
    );
}

#[tokio::test]
async fn an_export_late_enough_is_the_only_one() {
    let (mut stack, _folder) = stack(&[("CONFIRM_AFTER_MINUTES", "3")]).await;
    stack.ivs.world().put(STAGE, SESSION, ended(3, 5));
    assert_eq!(
        stack.invoke(request()).await.unwrap()["outcome"],
        "exported"
    );
    assert_eq!(
        stack.invoke(request()).await.unwrap()["outcome"],
        "up_to_date"
    );
    assert_eq!(stack.ivs.count("ListParticipants"), 1);
}

#[tokio::test]
async fn a_rewrite_lists_once_more_and_the_fresh_row_replaces_the_stored_one() {
    let (mut stack, _folder) = stack(&[]).await;
    let mut session = ended(3, 5);
    session.participants[0].state = Some("ZOMBIE".to_owned());
    stack.ivs.world().put(STAGE, SESSION, session.clone());
    stack.invoke(request()).await.unwrap();
    let key = stack.s3.keys().pop().unwrap();
    stack
        .s3
        .set_last_modified(&key, (now() - TimeDelta::minutes(2)).into());

    // By the merge alone ZOMBIE would stay, since a value newer than the SDK is further along.
    session.participants[0].state = Some("DISCONNECTED".to_owned());
    let unlisted = session.participants.pop().unwrap();
    stack.ivs.world().put(STAGE, SESSION, session.clone());
    let mut rewrite = request();
    rewrite["rewrite_before"] = timestamp(now() - TimeDelta::minutes(1)).into();
    assert_eq!(
        stack.invoke(rewrite.clone()).await.unwrap()["outcome"],
        "rewritten"
    );
    session.participants.push(unlisted);
    assert_eq!(
        read(&stack, &key)["rows"],
        json!(expected(&session, STAGE, SESSION))
    );
    assert_eq!(
        stack.invoke(rewrite).await.unwrap()["outcome"],
        "up_to_date"
    );
}

#[tokio::test]
async fn a_session_that_ivs_forgot_is_gone_unless_its_file_is_there() {
    let (mut stack, _folder) = stack(&[("CALLS_PER_SECOND", "1000")]).await;
    stack.ivs.world().quota = Quota::Off;
    let session = ended(3, 5);
    let day = session.start_time.unwrap();
    stack.ivs.world().put(STAGE, SESSION, session);
    stack.invoke(request()).await.unwrap();
    let key = stack.s3.keys().pop().unwrap();
    stack.ivs.world().sessions.clear();

    for (days, outcome) in [
        (0, "up_to_date"),
        (1, "up_to_date"),
        (2, "up_to_date"),
        (3, "gone"),
    ] {
        let report = stack
            .invoke(hint(STAGE, SESSION, day + Days::new(days)))
            .await
            .unwrap();
        assert_eq!(
            report["outcome"], outcome,
            "hinted {days} days after the start"
        );
        let known = if outcome == "gone" {
            Value::Null
        } else {
            key.clone().into()
        };
        assert_eq!(report["key"], known);
    }
    let unknown = json!({ "stage_arn": STAGE, "session_id": "st-0000000000000" });
    assert_eq!(stack.invoke(unknown).await.unwrap()["outcome"], "gone");
    assert_eq!(stack.s3.keys(), [key]);
}

#[tokio::test]
async fn calls_of_an_operation_keep_their_distance() {
    let (mut stack, _folder) = stack(&[("CALLS_PER_SECOND", "4")]).await;
    stack.ivs.world().put(STAGE, SESSION, ended(500, 5));
    stack.invoke(request()).await.unwrap();
    let world = stack.ivs.world();
    let calls: Vec<_> = world
        .calls
        .iter()
        .filter(|call| call.operation == "ListParticipants")
        .collect();
    assert_eq!(calls.len(), 5);
    let whole = calls[4].at - calls[0].at;
    assert!(
        whole >= Duration::from_millis(800),
        "5 calls at 4 a second within {whole:?}"
    );
    assert!(
        calls
            .iter()
            .all(|call| call.status == 200 && call.body["maxResults"] == 100)
    );
}

#[tokio::test]
async fn a_quota_that_others_use_up_costs_time_and_no_row() {
    // At this pace the function alone asks far too often; the emulator answers with throttles.
    let (mut stack, _folder) = stack(&[("CALLS_PER_SECOND", "50")]).await;
    stack.ivs.world().put(STAGE, SESSION, ended(1000, 5));
    let report = stack.invoke(request()).await.unwrap();
    assert_eq!(
        (&report["outcome"], &report["participants"]),
        (&json!("exported"), &json!(1000))
    );
    let throttled = stack
        .ivs
        .world()
        .calls
        .iter()
        .filter(|call| call.status == 429)
        .count();
    assert!(throttled > 0);
    assert_eq!(report["calls"], 11 + throttled, "retries are calls, too");
    let lines = stack.function.log_lines();
    assert_eq!(
        lines
            .iter()
            .filter(|line| line["throttled"] == "ListParticipants")
            .count(),
        throttled
    );
}

#[tokio::test]
async fn a_missing_permission_is_named_at_once() {
    for operation in ["GetStageSession", "ListParticipants"] {
        let (mut stack, _folder) = stack(&[]).await;
        stack.ivs.world().put(STAGE, SESSION, ended(3, 5));
        stack.ivs.world().denied.insert(operation.to_owned());
        let failure = stack.invoke(request()).await.unwrap_err();
        assert_eq!(failure.error_type, "AccessDenied");
        assert!(
            failure
                .message
                .starts_with(&format!("{operation} on session {SESSION} of {STAGE}")),
            "{}",
            failure.message
        );
        assert_eq!((stack.ivs.count(operation), stack.s3.keys()), (1, vec![]));
    }
}

#[tokio::test]
async fn a_session_that_ivs_forgets_while_it_is_listed_is_not_stored_with_half_of_its_people() {
    // One that has no second page loses everybody.
    for people in [250, 40] {
        let (mut stack, _folder) = stack(&[("CALLS_PER_SECOND", "2")]).await;
        {
            let mut world = stack.ivs.world();
            world.put(STAGE, SESSION, ended(people, 5));
            world.lists_nobody_of_the_unknown = true;
            if people < 100 {
                world.fault("ListParticipants", When::Nth(1), Kind::EmptyPageFirst);
            }
        }
        let Stack { ivs, function, .. } = &mut stack;
        let forgotten = async {
            ivs.until_called("ListParticipants", 1).await;
            ivs.world().delete_stage(STAGE, true);
        };
        let (answer, ()) = tokio::join!(function.invoke(request(), PATIENCE), forgotten);
        assert_eq!(answer.unwrap()["outcome"], "gone", "{people} people");
        assert_eq!(stack.s3.keys(), [] as [&str; 0]);
    }
}

#[tokio::test]
async fn a_list_that_ends_with_an_empty_page_is_stored_if_ivs_still_knows_the_session() {
    let (mut stack, _folder) = stack(&[]).await;
    {
        let mut world = stack.ivs.world();
        world.put(STAGE, SESSION, ended(3, 5));
        world.fault("ListParticipants", When::Always, Kind::EmptyPageLast);
    }
    let report = stack.invoke(request()).await.unwrap();
    assert_eq!(
        (&report["outcome"], &report["participants"]),
        (&json!("exported"), &json!(3))
    );
    assert_eq!(stack.ivs.count("GetStageSession"), 2);
}

#[tokio::test]
async fn an_s3_that_refuses_the_role_is_named_with_the_object() {
    let (mut stack, _folder) = stack(&[("AWS_SECRET_ACCESS_KEY", "wrong")]).await;
    stack.ivs.world().put(STAGE, SESSION, ended(3, 5));
    let failure = stack.invoke(request()).await.unwrap_err();
    assert_eq!(failure.error_type, "AccessDenied");
    assert!(
        failure
            .message
            .starts_with("HeadObject on s3://attendance-lake/participants/dt="),
        "{}",
        failure.message
    );
    assert_eq!(stack.ivs.count("ListParticipants"), 0);
}

#[tokio::test]
async fn a_bucket_that_does_not_exist_is_a_lake_error_and_no_race() {
    let (mut stack, _folder) = stack(&[("BUCKET", "another-lake"), ("PREFIX", "video/")]).await;
    stack.ivs.world().put(STAGE, SESSION, ended(3, 5));
    let failure = stack.invoke(request()).await.unwrap_err();
    assert_eq!(failure.error_type, "LakeError");
    assert!(
        failure
            .message
            .starts_with("PutObject of s3://another-lake/video/participants/dt="),
        "{}",
        failure.message
    );
    assert!(
        failure.message.contains("NoSuchBucket"),
        "{}",
        failure.message
    );
    assert_eq!(puts(&stack), 1);
}

#[tokio::test]
async fn an_object_that_is_no_file_of_ours_is_an_error_and_stays() {
    let (mut stack, _folder) = stack(&[]).await;
    stack.ivs.world().put(STAGE, SESSION, ended(3, 61));
    stack.invoke(request()).await.unwrap();
    let key = stack.s3.keys().pop().unwrap();
    std::fs::write(stack.s3.path(&key), "dt,people\n").unwrap();
    stack
        .s3
        .set_last_modified(&key, (now() - TimeDelta::minutes(60)).into());
    let failure = stack.invoke(request()).await.unwrap_err();
    assert_eq!(failure.error_type, "LakeError");
    assert!(failure.message.contains(&key), "{}", failure.message);
    assert_eq!(stack.s3.read(&key), "dt,people\n");
}

#[tokio::test]
async fn a_refusal_that_waiting_does_not_mend_fails_at_once_with_the_services_words() {
    let (mut stack, _folder) = stack(&[]).await;
    stack.ivs.world().region = "eu-west-1".to_owned();
    let failure = stack.invoke(request()).await.unwrap_err();
    assert_eq!(failure.error_type, "IvsRejected");
    let rule = "refused with InvalidSignatureException: the scope";
    assert!(failure.message.contains(rule), "{}", failure.message);
    assert_eq!(stack.ivs.count("GetStageSession"), 1);
}

#[tokio::test]
async fn an_object_of_a_newer_schema_is_not_overwritten() {
    let (mut stack, _folder) = stack(&[]).await;
    stack.ivs.world().put(STAGE, SESSION, ended(3, 61));
    stack.invoke(request()).await.unwrap();
    let key = stack.s3.keys().pop().unwrap();
    let before = stack.s3.read(&key);
    let metadata = stack.s3.metadata(&key);
    assert_eq!(
        metadata,
        json!({ "schema-version": "1", "participants": "3" })
    );
    stack.s3.set_metadata(&key, "schema-version", "2");
    stack
        .s3
        .set_last_modified(&key, (now() - TimeDelta::minutes(60)).into());
    let failure = stack.invoke(request()).await.unwrap_err();
    assert_eq!(failure.error_type, "LakeError");
    assert!(
        failure.message.contains("schema version 2"),
        "{}",
        failure.message
    );
    assert_eq!((stack.s3.read(&key), puts(&stack)), (before, 1));
}

#[tokio::test]
async fn a_message_of_an_odd_shape_fails_nothing_but_itself() {
    let (mut stack, _folder) = stack(&[("CALLS_PER_SECOND", "1000")]).await;
    stack.ivs.world().put(STAGE, SESSION, ended(3, 5));
    let mut odd = message("odd", &request());
    odd["messageAttributes"] = json!({ "a": { "dataType": "Binary", "binaryValue": "not base64!", "stringListValues": null } });
    let mut timeless = hint(STAGE, SESSION, now());
    timeless["time"] = "yesterday".into();
    let broken = json!({ "messageId": "broken", "body": 7 });
    let records = [odd, message("timeless", &timeless), broken];
    let answer = stack.invoke(json!({ "Records": records })).await.unwrap();
    assert_eq!(
        answer,
        json!({ "batchItemFailures": [{ "itemIdentifier": "broken" }] })
    );
    assert_eq!(stack.s3.keys().len(), 1);
}

#[tokio::test]
async fn no_log_level_prints_people_or_payloads() {
    let (mut stack, _folder) = stack(&[("AWS_LAMBDA_LOG_LEVEL", "TRACE")]).await;
    stack.ivs.world().put(STAGE, SESSION, ended(3, 5));
    stack.invoke(hint(STAGE, SESSION, now())).await.unwrap();
    for payload in [
        json!({ "said": "alice@example.com" }),
        json!("alice@example.com"),
    ] {
        stack.invoke(payload).await.unwrap_err();
    }
    let mut said = hint(STAGE, SESSION, now());
    said["detail"] = "alice@example.com".into();
    stack.invoke(said).await.unwrap_err();
    let printed = stack.function.printed();
    for secret in ["viewer-", "alice", "03JY4smU3eXc"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}

#[tokio::test]
async fn of_a_participant_listed_twice_the_state_further_along_stays() {
    let (mut stack, _folder) = stack(&[]).await;
    let mut session = ended(120, 5);
    let mut again = session.participants[7].clone();
    again.state = Some("CONNECTED".to_owned());
    session.participants.push(again);
    stack.ivs.world().put(STAGE, SESSION, session.clone());
    let report = stack.invoke(request()).await.unwrap();
    assert_eq!(report["participants"], 120);
    session.participants.pop();
    assert_eq!(
        read(&stack, &stack.s3.keys()[0])["rows"],
        json!(expected(&session, STAGE, SESSION))
    );
}

#[tokio::test]
async fn any_event_of_the_two_kinds_is_a_hint() {
    let (mut stack, _folder) = stack(&[("CALLS_PER_SECOND", "1000")]).await;
    stack.ivs.world().quota = Quota::Off;
    stack.ivs.world().put(
        STAGE,
        SESSION,
        Session {
            end_time: None,
            ..ended(1, 0)
        },
    );
    for name in [
        "Participant Published",
        "Participant Publish Error",
        "Participant Replication End",
        "Token Exchanged",
        "An Event To Come",
    ] {
        let mut event = hint(STAGE, SESSION, now());
        event["detail"]["event_name"] = name.into();
        assert_eq!(
            stack.invoke(event).await.unwrap()["outcome"],
            "still_live",
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_session_without_a_start_time_is_an_error() {
    let (mut stack, _folder) = stack(&[]).await;
    stack.ivs.world().put(
        STAGE,
        SESSION,
        Session {
            start_time: None,
            ..ended(3, 5)
        },
    );
    let failure = stack.invoke(request()).await.unwrap_err();
    assert_eq!(failure.error_type, "IvsUnavailable");
    assert!(
        failure.message.contains("has no startTime"),
        "{}",
        failure.message
    );
    assert_eq!(stack.s3.keys(), Vec::<String>::new());
}

#[tokio::test]
async fn time_that_runs_out_leaves_nothing_and_says_so() {
    let (mut stack, _folder) = stack(&[("CALLS_PER_SECOND", "1")]).await;
    stack.ivs.world().put(STAGE, SESSION, ended(900, 5));
    let failure = stack
        .function
        .invoke(request(), Duration::from_secs(3))
        .await
        .unwrap_err();
    assert_eq!(failure.error_type, "OutOfTime");
    assert!(
        failure
            .message
            .starts_with(&format!("ListParticipants for session {SESSION}")),
        "{}",
        failure.message
    );
    assert_eq!((stack.s3.keys(), puts(&stack)), (vec![], 0));
}

#[tokio::test]
async fn of_a_batch_what_time_was_left_for_is_done_and_the_rest_comes_again() {
    let (mut stack, _folder) = stack(&[("CALLS_PER_SECOND", "1")]).await;
    stack
        .ivs
        .world()
        .put(STAGE, "st-1000000000000", ended(3, 5));
    stack
        .ivs
        .world()
        .put(STAGE, "st-2000000000000", ended(900, 5));
    stack
        .ivs
        .world()
        .put(STAGE, "st-3000000000000", ended(3, 5));
    let records = ["st-1000000000000", "st-2000000000000", "st-3000000000000"]
        .map(|id| message(id, &hint(STAGE, id, now())));
    let answer = stack
        .function
        .invoke(json!({ "Records": records }), Duration::from_secs(5))
        .await
        .unwrap();
    let failures =
        ["st-2000000000000", "st-3000000000000"].map(|id| json!({ "itemIdentifier": id }));
    assert_eq!(answer, json!({ "batchItemFailures": failures }));
    assert_eq!(stack.s3.keys().len(), 1);
    assert_eq!(
        stack.ivs.count("GetStageSession"),
        2,
        "the third was not begun"
    );
}

#[tokio::test]
async fn a_session_is_one_log_line_with_its_figures_and_without_people() {
    let (mut stack, _folder) = stack(&[]).await;
    stack.ivs.world().put(STAGE, SESSION, ended(3, 5));
    let report = stack.invoke(hint(STAGE, SESSION, now())).await.unwrap();
    stack
        .invoke(hint(STAGE, "st-ZyXwvu1T2s", now()))
        .await
        .unwrap_err();
    let lines = stack.function.log_lines();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    for member in [
        "stage_arn",
        "session_id",
        "outcome",
        "key",
        "participants",
        "calls",
    ] {
        assert_eq!(lines[0][member], report[member], "{member}");
    }
    let seconds = lines[0]["seconds_since_end"].as_u64().unwrap();
    assert!((300..330).contains(&seconds), "{seconds}");
    assert!(lines[0]["milliseconds"].is_u64());
    assert!(lines[0]["span"]["requestId"].is_string());
    assert_eq!(lines[1]["error_type"], "InvalidEvent");
    let printed = stack.function.printed();
    assert!(
        !printed.contains("viewer-")
            && !printed.contains("user_id")
            && !printed.contains("03JY4smU3eXc"),
        "{printed}"
    );
}

#[tokio::test]
async fn every_put_has_a_condition() {
    let (mut stack, _folder) = stack(&[]).await;
    stack.ivs.world().put(STAGE, SESSION, ended(3, 61));
    stack.invoke(request()).await.unwrap();
    stack
        .s3
        .set_last_modified(&stack.s3.keys()[0], (now() - TimeDelta::minutes(60)).into());
    stack.invoke(request()).await.unwrap();
    let requests = stack.s3.requests();
    let conditions: Vec<_> = requests
        .iter()
        .filter(|request| request.method == "PUT")
        .map(|request| (request.if_none_match.as_deref(), request.if_match.is_some()))
        .collect();
    assert_eq!(conditions, [(Some("*"), false), (None, true)]);
}

#[test]
fn a_function_without_its_settings_says_which_before_any_event() {
    let output = Command::new(BOOTSTRAP)
        .env_clear()
        .env("AWS_REGION", REGION)
        .env("QUEUE_URL", "https://queue/work")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(line["error_type"], "InvalidSettings");
    let rule = "the environment variable BUCKET is missing: must name the bucket of the lake";
    assert_eq!(line["error"], rule);
}
