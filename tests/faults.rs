//! The real binary on a stack that fails: what a fault of IVS or S3 leads to, by DESIGN's table of errors. A single
//! fault costs time and nothing else; a lasting one is an error that names the operation, and never an object.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod harness;

use std::path::Path;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use ivs_attendance_local::faults::{Kind, S3Kind, When};
use ivs_attendance_local::ivs::quota::Quota;
use ivs_attendance_local::ivs::world::Event;
use ivs_attendance_local::lambda::function::Answer;
use ivs_attendance_local::lambda::stack::Stack;
use ivs_attendance_local::scene::{QUICK, SESSION_ID, STAGE_ARN, ended, now, request};
use serde_json::json;
use tempfile::TempDir;

use crate::harness::{BOOTSTRAP, FOLDER};

const PEOPLE: usize = 250;

/// A stack that is quick, with one ended session of three pages.
async fn stack() -> (Stack, TempDir) {
    stack_at("1000").await
}

async fn stack_at(calls_per_second: &str) -> (Stack, TempDir) {
    let parent = Path::new(FOLDER);
    let bootstrap = Path::new(BOOTSTRAP);
    let settings = [("CALLS_PER_SECOND", calls_per_second)];
    let (stack, folder) = Stack::temporary(bootstrap, parent, &settings)
        .await
        .unwrap();
    stack.ivs.world().quota = Quota::Off;
    stack
        .ivs
        .world()
        .put(STAGE_ARN, SESSION_ID, ended(PEOPLE, 5));
    (stack, folder)
}

async fn invoke(stack: &mut Stack) -> Answer {
    stack.invoke(request(STAGE_ARN, SESSION_ID)).await
}

/// The whole session is in the lake, once.
fn assert_whole(stack: &Stack, answer: Answer, what: &str) {
    let report = answer.unwrap_or_else(|failure| panic!("{what}: {failure:?}"));
    assert_eq!(report["outcome"], "exported", "{what}");
    assert_eq!(report["participants"], PEOPLE, "{what}");
    assert_eq!(stack.s3.keys().len(), 1, "{what}");
    assert_eq!(stack.s3.unconditional_puts().len(), 0, "{what}");
}

/// It failed with this error, whose message names the operation, and the lake is empty.
fn assert_failed(stack: &Stack, answer: Answer, error_type: &str, operation: &str, what: &str) {
    let failure = answer.expect_err(what);
    assert_eq!(
        failure.error_type, error_type,
        "{what}: {}",
        failure.message
    );
    assert!(
        failure.message.starts_with(operation),
        "{what}: {}",
        failure.message
    );
    assert_eq!(stack.s3.keys(), Vec::<String>::new(), "{what}");
}

const TRANSIENT: [Kind; 9] = [
    Kind::Throttle429,
    Kind::Throttle400,
    Kind::Error500,
    Kind::Html503,
    Kind::ResetBefore,
    Kind::ResetWithin,
    Kind::BrokenJson,
    Kind::EmptyBody,
    Kind::NullParticipant,
];

#[tokio::test]
async fn a_single_fault_of_ivs_costs_time_and_no_row() {
    for kind in TRANSIENT {
        // The first page and a later one fail differently for a reader who stops too soon.
        for (operation, call) in [
            ("GetStageSession", 1),
            ("ListParticipants", 1),
            ("ListParticipants", 2),
        ] {
            let (mut stack, _folder) = stack().await;
            stack.ivs.world().fault(operation, When::Nth(call), kind);
            let answer = invoke(&mut stack).await;
            let what = format!("{kind:?} at call {call} of {operation}");
            assert_whole(&stack, answer, &what);
            let hit = stack
                .ivs
                .world()
                .calls
                .iter()
                .any(|call| !call.faults.is_empty());
            assert!(
                hit || (operation == "GetStageSession" && kind == Kind::NullParticipant),
                "{what} took place"
            );
        }
    }
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_asked_for_again() {
    for kind in [Kind::NoAnswer, Kind::Trickle] {
        let (mut stack, _folder) = stack().await;
        stack
            .ivs
            .world()
            .fault("ListParticipants", When::Nth(2), kind);
        let answer = invoke(&mut stack).await;
        assert_whole(&stack, answer, &format!("{kind:?}"));
        assert_eq!(stack.ivs.count("ListParticipants"), 4, "{kind:?}");
    }
}

#[tokio::test]
async fn pages_of_any_shape_are_one_list() {
    for kind in [
        Kind::UnknownMembers,
        Kind::EmptyPageFirst,
        Kind::EmptyPageMiddle,
        Kind::EmptyPageLast,
        Kind::RepeatsParticipants,
    ] {
        let (mut stack, _folder) = stack().await;
        stack.ivs.world().fault("*", When::Always, kind);
        let answer = invoke(&mut stack).await;
        assert_whole(&stack, answer, &format!("{kind:?}"));
    }
}

#[tokio::test]
async fn a_token_that_expires_once_is_forgiven_and_twice_is_an_error() {
    let (mut stack, _folder) = stack().await;
    stack
        .ivs
        .world()
        .fault("ListParticipants", When::Nth(3), Kind::TokenExpired);
    let answer = invoke(&mut stack).await;
    assert_whole(&stack, answer, "once");

    let (mut stack, _folder) = self::stack().await;
    stack
        .ivs
        .world()
        .fault("ListParticipants", When::Always, Kind::TokenExpired);
    let answer = invoke(&mut stack).await;
    assert_failed(&stack, answer, "IvsRejected", "ListParticipants", "always");
}

#[tokio::test]
async fn pages_that_never_end_are_an_error() {
    for kind in [Kind::TokenRepeated, Kind::TokensCycle, Kind::TokensEverNew] {
        let (mut stack, _folder) = stack().await;
        stack
            .ivs
            .world()
            .fault("ListParticipants", When::Always, kind);
        let answer = invoke(&mut stack).await;
        assert_failed(
            &stack,
            answer,
            "BrokenPagination",
            "ListParticipants",
            &format!("{kind:?}"),
        );
    }
}

#[tokio::test]
async fn what_waiting_does_not_mend_fails_at_once() {
    for (kind, call, error_type) in [
        (Kind::AccessDenied, 2, "AccessDenied"),
        (Kind::Validation, 1, "IvsRejected"),
        (Kind::PendingVerification, 2, "IvsRejected"),
    ] {
        let (mut stack, _folder) = stack().await;
        stack
            .ivs
            .world()
            .fault("ListParticipants", When::Nth(call), kind);
        let answer = invoke(&mut stack).await;
        assert_failed(
            &stack,
            answer,
            error_type,
            "ListParticipants",
            &format!("{kind:?}"),
        );
        assert_eq!(
            stack.ivs.count("ListParticipants"),
            usize::try_from(call).unwrap(),
            "{kind:?} is not retried"
        );
    }
}

#[tokio::test]
async fn a_lasting_fault_is_an_error_after_a_minute() {
    let faults = [(Kind::Throttle400, "2"), (Kind::BrokenJson, "1000")];
    let attempts = faults.map(|(kind, calls_per_second)| async move {
        let (mut stack, _folder) = stack_at(calls_per_second).await;
        stack
            .ivs
            .world()
            .fault("ListParticipants", When::From(2), kind);
        let began = Instant::now();
        let answer = invoke(&mut stack).await;
        assert_failed(
            &stack,
            answer,
            "IvsUnavailable",
            "ListParticipants",
            &format!("{kind:?}"),
        );
        assert!(
            began.elapsed() >= Duration::from_mins(1),
            "{kind:?} was given up after {:?}",
            began.elapsed()
        );
    });
    futures::future::join_all(attempts).await;
}

#[tokio::test]
async fn a_lasting_fault_with_little_time_is_out_of_time() {
    let (mut stack, _folder) = stack().await;
    stack
        .ivs
        .world()
        .fault("ListParticipants", When::From(2), Kind::NoAnswer);
    let answer = stack
        .function
        .invoke(request(STAGE_ARN, SESSION_ID), Duration::from_secs(4))
        .await;
    assert_failed(&stack, answer, "OutOfTime", "ListParticipants", "no answer");
}

#[tokio::test]
async fn an_end_that_comes_late_is_found_later() {
    let (mut stack, _folder) = stack().await;
    let shown_at = Instant::now() + Duration::from_secs(2);
    stack
        .ivs
        .world()
        .show_end_at(STAGE_ARN, SESSION_ID, shown_at);
    assert_eq!(invoke(&mut stack).await.unwrap()["outcome"], "still_live");
    // As hints and sweeps would, for as long as it takes.
    let answer = loop {
        let answer = invoke(&mut stack).await;
        if answer
            .as_ref()
            .is_ok_and(|report| report["outcome"] != "still_live")
        {
            break answer;
        }
    };
    assert!(Instant::now() >= shown_at);
    assert_whole(&stack, answer, "later");
}

#[tokio::test]
async fn a_single_fault_of_s3_costs_time_and_no_row() {
    for (operation, kind) in [
        ("HEAD", S3Kind::Error500),
        ("HEAD", S3Kind::ResetBefore),
        ("PUT", S3Kind::Error500),
        ("PUT", S3Kind::SlowDown503),
        ("PUT", S3Kind::KmsThrottled400),
        ("PUT", S3Kind::ResetBefore),
        ("PUT", S3Kind::PreconditionFailed412),
        ("PUT", S3Kind::Conflict409),
        ("PUT", S3Kind::Slow(Duration::from_secs(1))),
        ("PUT", S3Kind::NoAnswer),
    ] {
        let (mut stack, _folder) = stack().await;
        stack.s3.fault(operation, When::Nth(1), kind);
        let answer = invoke(&mut stack).await;
        assert_whole(&stack, answer, &format!("{kind:?} at {operation}"));
    }
}

#[tokio::test]
async fn a_put_whose_answer_is_lost_is_found_to_be_done() {
    let (mut stack, _folder) = stack().await;
    stack.s3.fault("PUT", When::Nth(1), S3Kind::ResetAfterWrite);
    let report = invoke(&mut stack).await.unwrap();
    assert_eq!(
        (&report["outcome"], &report["participants"]),
        (&"up_to_date".into(), &PEOPLE.into())
    );
    assert_eq!(
        (stack.s3.keys().len(), stack.ivs.count("ListParticipants")),
        (1, 3)
    );
}

#[tokio::test]
async fn a_second_look_survives_the_faults_of_reading_and_of_a_race() {
    for (operation, kind) in [
        ("GET", S3Kind::CutBody),
        ("GET", S3Kind::Error500),
        ("PUT", S3Kind::NoSuchKey404),
        ("PUT", S3Kind::PreconditionFailed412),
        ("PUT", S3Kind::Conflict409),
    ] {
        let (mut stack, _folder) = stack().await;
        stack
            .ivs
            .world()
            .put(STAGE_ARN, SESSION_ID, ended(PEOPLE, 61));
        invoke(&mut stack).await.unwrap();
        let key = stack.s3.keys().pop().unwrap();
        stack
            .s3
            .set_last_modified(&key, (now() - TimeDelta::minutes(60)).into());
        // Somebody new, so that the race leaves something to add.
        stack
            .ivs
            .world()
            .session(STAGE_ARN, SESSION_ID)
            .participants[0]
            .participant_id = Some("late".to_owned());
        stack.s3.fault(operation, When::Nth(1), kind);
        let report = invoke(&mut stack)
            .await
            .unwrap_or_else(|failure| panic!("{kind:?}: {failure:?}"));
        assert_eq!(report["outcome"], "confirmed", "{kind:?}");
        assert_eq!(report["participants"], PEOPLE + 1, "{kind:?}");
        assert_eq!(stack.s3.unconditional_puts().len(), 0, "{kind:?}");
    }
}

#[tokio::test]
async fn a_lasting_fault_of_s3_is_an_error_that_names_the_object() {
    for (operation, kind, error_type, named) in [
        (
            "HEAD",
            S3Kind::Forbidden403,
            "AccessDenied",
            "HeadObject on s3://attendance-lake/participants/",
        ),
        (
            "PUT",
            S3Kind::Forbidden403,
            "AccessDenied",
            "PutObject on s3://attendance-lake/participants/",
        ),
        (
            "PUT",
            S3Kind::Error500,
            "LakeError",
            "PutObject of s3://attendance-lake/participants/",
        ),
        (
            "PUT",
            S3Kind::SlowDown503,
            "LakeError",
            "PutObject of s3://attendance-lake/participants/",
        ),
        (
            "PUT",
            S3Kind::PreconditionFailed412,
            "LakeError",
            "PutObject of s3://attendance-lake/participants/",
        ),
        (
            "PUT",
            S3Kind::Conflict409,
            "LakeError",
            "PutObject of s3://attendance-lake/participants/",
        ),
    ] {
        let (mut stack, _folder) = stack().await;
        stack.s3.fault(operation, When::Always, kind);
        let answer = invoke(&mut stack).await;
        assert_failed(&stack, answer, error_type, named, &format!("{kind:?}"));
    }
}

#[tokio::test]
async fn an_s3_that_does_not_answer_in_time_is_out_of_time() {
    let (mut stack, _folder) = stack().await;
    stack.s3.fault("PUT", When::Always, S3Kind::NoAnswer);
    let answer = stack
        .function
        .invoke(request(STAGE_ARN, SESSION_ID), Duration::from_secs(5))
        .await;
    assert_failed(&stack, answer, "OutOfTime", "PutObject", "no answer");
}

/// A stack whose session is in the lake, and may be collected.
async fn stack_to_collect(people: usize) -> (Stack, TempDir) {
    let (parent, bootstrap) = (Path::new(FOLDER), Path::new(BOOTSTRAP));
    let (mut stack, folder) = Stack::temporary(bootstrap, parent, &QUICK).await.unwrap();
    stack.ivs.world().quota = Quota::Off;
    stack
        .ivs
        .world()
        .put(STAGE_ARN, SESSION_ID, ended(people, 120));
    // So that each has three pages of events.
    for who in &mut stack
        .ivs
        .world()
        .session(STAGE_ARN, SESSION_ID)
        .participants
    {
        let id = who.participant_id.clone().unwrap();
        let errors = (0..210).map(|second| {
            let time = now() - TimeDelta::minutes(140) + TimeDelta::seconds(second);
            Event::new("SUBSCRIBE_ERROR", &id, time)
        });
        who.events = errors.collect();
    }
    assert_eq!(invoke(&mut stack).await.unwrap()["outcome"], "exported");
    (stack, folder)
}

async fn collect(stack: &mut Stack) -> Answer {
    let request = json!({ "collect": request(STAGE_ARN, SESSION_ID) });
    stack.invoke(request).await
}

fn assert_collected(stack: &Stack, answer: Answer, what: &str) {
    let report = answer.unwrap_or_else(|failure| panic!("{what}: {failure:?}"));
    assert_eq!(report["outcome"], "collected", "{what}");
    assert_eq!(report["events"], 3 * 210, "{what}");
    assert_eq!(stack.s3.keys().len(), 3, "{what}");
    assert_eq!(stack.s3.unconditional_puts().len(), 0, "{what}");
}

/// It failed with this error, whose message names the operation, and nothing was put.
fn assert_not_collected(
    stack: &Stack,
    answer: Answer,
    error_type: &str,
    operation: &str,
    what: &str,
) {
    let failure = answer.expect_err(what);
    let said = &failure.message;
    assert_eq!(failure.error_type, error_type, "{what}: {said}");
    assert!(said.starts_with(operation), "{what}: {said}");
    assert_eq!(stack.s3.keys().len(), 1, "{what}");
}

#[tokio::test]
async fn a_single_fault_costs_a_collection_time_and_no_event() {
    for kind in TRANSIENT {
        for (operation, call) in [
            ("GetParticipant", 2),
            ("ListParticipantEvents", 1),
            ("ListParticipantEvents", 5),
        ] {
            let (mut stack, _folder) = stack_to_collect(3).await;
            stack.ivs.world().fault(operation, When::Nth(call), kind);
            let answer = collect(&mut stack).await;
            assert_collected(&stack, answer, &format!("{kind:?} at {operation}"));
        }
    }
}

#[tokio::test]
async fn pages_of_events_of_any_shape_are_one_list() {
    for kind in [
        Kind::UnknownMembers,
        Kind::EmptyPageFirst,
        Kind::EmptyPageMiddle,
        Kind::EmptyPageLast,
        Kind::RepeatsParticipants,
    ] {
        let (mut stack, _folder) = stack_to_collect(3).await;
        stack.ivs.world().fault("*", When::Always, kind);
        let answer = collect(&mut stack).await;
        assert_collected(&stack, answer, &format!("{kind:?}"));
    }
    let (mut stack, _folder) = stack_to_collect(3).await;
    let operation = "ListParticipantEvents";
    let (when, kind) = (When::Nth(5), Kind::TokenExpired);
    stack.ivs.world().fault(operation, when, kind);
    let answer = collect(&mut stack).await;
    assert_collected(&stack, answer, "a token that expires once");
}

#[tokio::test]
async fn what_waiting_does_not_mend_fails_a_collection_at_once() {
    const EVENTS: &str = "ListParticipantEvents";
    for (operation, when, kind, error_type) in [
        (
            EVENTS,
            When::Always,
            Kind::TokenRepeated,
            "BrokenPagination",
        ),
        (EVENTS, When::Always, Kind::TokensCycle, "BrokenPagination"),
        (
            EVENTS,
            When::Always,
            Kind::TokensEverNew,
            "BrokenPagination",
        ),
        (EVENTS, When::Always, Kind::TokenExpired, "IvsRejected"),
        (EVENTS, When::Nth(5), Kind::AccessDenied, "AccessDenied"),
        (EVENTS, When::Nth(4), Kind::Validation, "IvsRejected"),
        (
            EVENTS,
            When::Nth(5),
            Kind::PendingVerification,
            "IvsRejected",
        ),
        (
            "GetParticipant",
            When::Nth(2),
            Kind::AccessDenied,
            "AccessDenied",
        ),
        (
            "GetParticipant",
            When::Nth(2),
            Kind::Validation,
            "IvsRejected",
        ),
        (
            "GetParticipant",
            When::Nth(2),
            Kind::PendingVerification,
            "IvsRejected",
        ),
    ] {
        let (mut stack, _folder) = stack_to_collect(3).await;
        stack.ivs.world().fault(operation, when, kind);
        let answer = collect(&mut stack).await;
        let what = format!("{kind:?} at {operation}");
        assert_not_collected(&stack, answer, error_type, operation, &what);
    }
}

#[tokio::test]
async fn a_lasting_fault_fails_a_collection_after_a_minute() {
    let attempts = ["GetParticipant", "ListParticipantEvents"].map(|operation| async move {
        let (mut stack, _folder) = stack_to_collect(3).await;
        let kind = Kind::Throttle400;
        stack.ivs.world().fault(operation, When::From(2), kind);
        let began = Instant::now();
        let answer = collect(&mut stack).await;
        assert_not_collected(&stack, answer, "IvsUnavailable", operation, operation);
        assert!(began.elapsed() >= Duration::from_mins(1), "{operation}");
    });
    futures::future::join_all(attempts).await;
}

#[tokio::test]
async fn a_collection_with_little_time_is_out_of_time() {
    let (mut stack, _folder) = stack_to_collect(3).await;
    let (operation, when) = ("ListParticipantEvents", When::From(2));
    stack.ivs.world().fault(operation, when, Kind::NoAnswer);
    let request = json!({ "collect": request(STAGE_ARN, SESSION_ID) });
    let answer = stack.function.invoke(request, Duration::from_secs(4)).await;
    assert_not_collected(&stack, answer, "OutOfTime", operation, "no answer");
}

#[tokio::test]
async fn a_single_fault_of_s3_costs_a_collection_time_and_no_event() {
    for (operation, call, kind) in [
        ("HEAD", 1, S3Kind::Error500),
        ("GET", 1, S3Kind::CutBody),
        ("PUT", 1, S3Kind::SlowDown503),
        ("PUT", 1, S3Kind::PreconditionFailed412),
        ("PUT", 1, S3Kind::NoSuchKey404),
        ("PUT", 2, S3Kind::Conflict409),
        ("PUT", 2, S3Kind::ResetBefore),
    ] {
        let (mut stack, _folder) = stack_to_collect(3).await;
        stack.s3.fault(operation, When::Nth(call), kind);
        let answer = collect(&mut stack).await;
        assert_collected(&stack, answer, &format!("{kind:?} at {operation}"));
    }
    // The answer to a PUT is lost: what lies there is our own.
    for call in [1, 2] {
        let (mut stack, _folder) = stack_to_collect(3).await;
        stack
            .s3
            .fault("PUT", When::Nth(call), S3Kind::ResetAfterWrite);
        let report = collect(&mut stack).await.unwrap();
        assert_eq!(report["events"], 3 * 210);
        assert_eq!(stack.s3.keys().len(), 3);
    }
}

#[tokio::test]
async fn a_lasting_fault_of_s3_fails_a_collection_and_names_the_object() {
    for (kind, error_type, named) in [
        (
            S3Kind::Forbidden403,
            "AccessDenied",
            "PutObject on s3://attendance-lake/participant_events/",
        ),
        (
            S3Kind::Error500,
            "LakeError",
            "PutObject of s3://attendance-lake/participant_events/",
        ),
        (
            S3Kind::Conflict409,
            "LakeError",
            "PutObject of s3://attendance-lake/participant_events/",
        ),
    ] {
        let (mut stack, _folder) = stack_to_collect(3).await;
        stack.s3.fault("PUT", When::Always, kind);
        let answer = collect(&mut stack).await;
        assert_not_collected(&stack, answer, error_type, named, &format!("{kind:?}"));
    }
}
