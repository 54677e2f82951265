//! What the emulator sends, byte for byte where that is the point.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use ivs_attendance_local::faults::{Fault, Kind, When};
use ivs_attendance_local::ivs::Ivs;
use ivs_attendance_local::ivs::quota::Quota;
use ivs_attendance_local::ivs::world::{Event, Participant, Session};
use ivs_attendance_local::scene::{audience, lives};
use serde_json::{Value, json};

use crate::client::{self, End, Seen};

const STAGE: &str = "arn:aws:ivs:us-west-2:123456789012:stage/AbCdef1G2hij";
const SESSION: &str = "st-1CVugbu2cf2n8";
const PATIENCE: Duration = Duration::from_secs(5);
const PARTICIPANT: &str = "p00000000000";
const LISTS: [&str; 4] = [
    "ListParticipantEvents",
    "ListParticipants",
    "ListStages",
    "ListStageSessions",
];
const OPERATIONS: [&str; 6] = [
    "GetParticipant",
    "GetStageSession",
    "ListParticipantEvents",
    "ListParticipants",
    "ListStages",
    "ListStageSessions",
];

fn time(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}

/// A region of five stages; one of them has five sessions, one of those five participants, and the first of those five events.
async fn region() -> Ivs {
    let ivs = Ivs::start("us-west-2").await.expect("a free port");
    let start = time("2026-11-23T10:00:00Z");
    let session = |people| Session {
        start_time: Some(start),
        end_time: Some(time("2026-11-23T11:00:00Z")),
        participants: audience(people, start),
    };
    let mut world = ivs.world();
    world.quota = Quota::Off;
    for number in 0..5 {
        world.put(&format!("{STAGE}{number}"), SESSION, session(0));
    }
    for number in 0..4 {
        world.put(
            &format!("{STAGE}0"),
            &format!("st-{number:013}"),
            session(0),
        );
    }
    let mut full = session(5);
    full.participants[0].events = (0..5)
        .map(|number| Event::new(&format!("EVENT_{number}"), PARTICIPANT, start))
        .collect();
    world.put(&format!("{STAGE}0"), SESSION, full);
    drop(world);
    ivs
}

fn request(operation: &str) -> Value {
    let stage = format!("{STAGE}0");
    match operation {
        "ListStages" => json!({}),
        "ListStageSessions" => json!({ "stageArn": stage }),
        "GetParticipant" | "ListParticipantEvents" => {
            json!({ "stageArn": stage, "sessionId": SESSION, "participantId": PARTICIPANT })
        }
        _ => json!({ "stageArn": stage, "sessionId": SESSION }),
    }
}

async fn call(ivs: &Ivs, operation: &str, body: &Value, patience: Duration) -> Seen {
    let headers = "content-type: application/json\r\nx-amz-date: 20261123T120000Z\r\nauthorization: AWS4-HMAC-SHA256 \
                   Credential=local/20261123/us-west-2/ivs/aws4_request, Signature=0\r\n";
    let line = format!("POST /{operation}");
    client::send(ivs.url(), &line, headers, &body.to_string(), patience).await
}

/// A value as text that is the same in whatever order its members came: serde_json
/// keeps that order when any crate of the build asks it to.
fn sorted(mut value: Value) -> String {
    value.sort_all_objects();
    value.to_string()
}

async fn ask(ivs: &Ivs, operation: &str, body: &Value) -> (u16, Value) {
    let seen = call(ivs, operation, body, PATIENCE).await;
    let body = serde_json::from_slice(&seen.body).expect("JSON");
    (seen.status, body)
}

/// A page as a client sees it.
#[derive(Debug)]
struct Page {
    names: Vec<String>,
    token: Option<String>,
}

fn page(operation: &str, answer: &Value) -> Page {
    let (list, name) = match operation {
        "ListParticipantEvents" => ("events", "name"),
        "ListParticipants" => ("participants", "participantId"),
        "ListStages" => ("stages", "arn"),
        _ => ("stageSessions", "sessionId"),
    };
    let items = answer[list].as_array().expect("a list");
    let text = |item: &Value| item[name].as_str().unwrap_or("null").to_owned();
    Page {
        names: items.iter().map(text).collect(),
        token: answer["nextToken"].as_str().map(str::to_owned),
    }
}

/// At most so many pages of two.
async fn pages(ivs: &Ivs, operation: &str, at_most: usize) -> Vec<Page> {
    let mut body = request(operation);
    body["maxResults"] = 2.into();
    let mut pages = Vec::new();
    for _ in 0..at_most {
        let (status, answer) = ask(ivs, operation, &body).await;
        assert_eq!(status, 200, "{answer}");
        let page = page(operation, &answer);
        let token = page.token.clone();
        pages.push(page);
        match token {
            Some(token) => body["nextToken"] = token.into(),
            None => break,
        }
    }
    pages
}

fn names(pages: &[Page]) -> Vec<&str> {
    let names = pages.iter().flat_map(|page| &page.names);
    names.map(String::as_str).collect()
}

fn different(pages: &[Page]) -> usize {
    names(pages).into_iter().collect::<BTreeSet<_>>().len()
}

#[tokio::test]
async fn a_list_is_paged_in_an_order_that_changes_and_misses_nothing() {
    let ivs = region().await;
    for operation in LISTS {
        let mut orders = BTreeSet::new();
        for _ in 0..4 {
            let pages = pages(&ivs, operation, 9).await;
            let sizes: Vec<_> = pages.iter().map(|page| page.names.len()).collect();
            assert_eq!(
                (sizes, different(&pages)),
                (vec![2, 2, 1], 5),
                "{operation}"
            );
            orders.insert(format!("{:?}", names(&pages)));
        }
        assert!(orders.len() > 1, "{operation}: {orders:?}");
    }
}

#[tokio::test]
async fn a_token_opens_only_the_list_that_it_came_from() {
    let ivs = region().await;
    let mut tokens = Vec::new();
    for operation in LISTS {
        tokens.push(pages(&ivs, operation, 1).await.remove(0).token);
    }
    let mut other_stage = request("ListStageSessions");
    other_stage["stageArn"] = format!("{STAGE}1").into();
    let mut other_session = request("ListParticipants");
    other_session["sessionId"] = "st-0000000000000".into();
    let mut other_participant = request("ListParticipantEvents");
    other_participant["participantId"] = "p00000000001".into();
    for (operation, mut body, token) in [
        ("ListParticipantEvents", request("ListParticipantEvents"), 1),
        ("ListParticipants", request("ListParticipants"), 2),
        ("ListStages", request("ListStages"), 3),
        ("ListStageSessions", request("ListStageSessions"), 0),
        ("ListStageSessions", other_stage, 3),
        ("ListParticipants", other_session, 1),
        ("ListParticipantEvents", other_participant, 0),
    ] {
        body["nextToken"] = tokens[token].clone().into();
        assert_eq!(
            ask(&ivs, operation, &body).await.0,
            400,
            "{operation} {body}"
        );
    }
}

#[tokio::test]
async fn what_a_request_may_not_ask_is_refused() {
    let ivs = region().await;
    for operation in LISTS {
        for (member, value) in [
            ("maxResults", json!(0)),
            ("maxResults", json!(101)),
            ("maxResults", json!("2")),
            ("nextToken", json!("of nobody")),
            ("max_results", json!(2)),
        ] {
            let mut body = request(operation);
            body[member] = value;
            assert_eq!(
                ask(&ivs, operation, &body).await.0,
                400,
                "{operation} {body}"
            );
        }
    }
}

#[tokio::test]
async fn a_live_session_is_its_stages_active_one_until_its_end_shows() {
    let ivs = region().await;
    let stage = format!("{STAGE}0");
    let active = async || {
        let (_, answer) = ask(&ivs, "ListStages", &json!({ "maxResults": 100 })).await;
        let stages = answer["stages"].as_array().expect("a list").clone();
        let stage = stages.into_iter().find(|one| one["arn"] == stage);
        stage.expect("the stage")["activeSessionId"].clone()
    };
    let end = async || {
        let (_, got) = ask(&ivs, "GetStageSession", &request("GetStageSession")).await;
        let (_, list) = ask(&ivs, "ListStageSessions", &request("ListStageSessions")).await;
        let sessions = list["stageSessions"].as_array().expect("a list").clone();
        let listed = sessions.into_iter().find(|one| one["sessionId"] == SESSION);
        let listed = listed.expect("the session");
        assert_eq!(got["stageSession"], listed);
        listed["endTime"].clone()
    };
    assert_eq!(
        (active().await, end().await),
        (Value::Null, json!("2026-11-23T11:00:00Z"))
    );
    let later = Instant::now() + Duration::from_secs(600);
    ivs.world().show_end_at(&stage, SESSION, later);
    assert_eq!((active().await, end().await), (json!(SESSION), Value::Null));
    ivs.world().show_end_at(&stage, SESSION, Instant::now());
    assert_eq!(
        (active().await, end().await),
        (Value::Null, json!("2026-11-23T11:00:00Z"))
    );
}

#[tokio::test]
async fn a_participant_who_comes_late_is_not_listed_before() {
    let ivs = region().await;
    let late = |from| {
        ivs.world()
            .session(&format!("{STAGE}0"), SESSION)
            .participants[3]
            .listed_from = from
    };
    late(Some(Instant::now() + Duration::from_secs(600)));
    assert_eq!(different(&pages(&ivs, "ListParticipants", 9).await), 4);
    late(Some(Instant::now()));
    assert_eq!(different(&pages(&ivs, "ListParticipants", 9).await), 5);
}

#[tokio::test]
async fn a_deleted_stage_is_unknown_and_its_sessions_go_or_stay() {
    let ivs = region().await;
    let stage = format!("{STAGE}0");
    for (with_its_sessions, status) in [(false, 200), (true, 404)] {
        ivs.world().delete_stage(&stage, with_its_sessions);
        assert_eq!(different(&pages(&ivs, "ListStages", 9).await), 4);
        for (operation, status) in [
            ("ListStageSessions", 404),
            ("GetParticipant", status),
            ("GetStageSession", status),
            ("ListParticipants", status),
            ("ListParticipantEvents", 200),
        ] {
            let (answered, body) = ask(&ivs, operation, &request(operation)).await;
            assert_eq!(answered, status, "{operation} {body}");
        }
    }
}

/// The faults that are an error, for every operation.
#[tokio::test]
async fn a_fault_can_be_an_error_of_the_service() {
    let ivs = region().await;
    for (kind, status, code) in [
        (Kind::Throttle429, 429, "throttlingexception"),
        (Kind::Throttle400, 400, "throttlingexception"),
        (Kind::Error500, 500, "internalserverexception"),
        (Kind::AccessDenied, 403, "accessdeniedexception"),
        (Kind::Validation, 400, "validationexception"),
        (Kind::PendingVerification, 403, "pendingverification"),
    ] {
        for operation in OPERATIONS {
            ivs.world().faults = vec![Fault::new(operation, When::Nth(1), kind)];
            let seen = call(&ivs, operation, &request(operation), PATIENCE).await;
            assert_eq!(
                (seen.status, seen.header("x-amzn-errortype")),
                (status, Some(code))
            );
            assert_eq!(
                (seen.length(), seen.end),
                (Some(seen.body.len()), End::Closed)
            );
            let last = ivs.world().calls.last().cloned().expect("the call");
            assert_eq!((last.status, last.faults), (status, vec![kind]));
            assert_eq!(
                ask(&ivs, operation, &request(operation)).await.0,
                200,
                "only once"
            );
        }
    }
}

/// The faults that break the answer itself: status, whether the body is less than what its head promises, how the
/// connection ends, and the status that is recorded.
#[tokio::test]
async fn a_fault_can_break_the_answer_on_the_wire() {
    let ivs = region().await;
    for operation in OPERATIONS {
        let whole = call(&ivs, operation, &request(operation), PATIENCE).await;
        let whole = whole.body.len();
        for (kind, status, sent, promised, end, recorded) in [
            (Kind::ResetBefore, 0, 0, None, End::Reset, 0),
            (Kind::NoAnswer, 0, 0, None, End::Open, 0),
            (
                Kind::ResetWithin,
                200,
                whole / 2,
                Some(whole),
                End::Reset,
                200,
            ),
            (
                Kind::BrokenJson,
                200,
                whole / 2,
                Some(whole / 2),
                End::Closed,
                200,
            ),
            (Kind::EmptyBody, 200, 0, Some(0), End::Closed, 200),
            (Kind::Html503, 503, 58, Some(58), End::Closed, 503),
        ] {
            ivs.world().faults = vec![Fault::new(operation, When::Always, kind)];
            let patience = if end == End::Open {
                Duration::from_millis(150)
            } else {
                PATIENCE
            };
            let seen = call(&ivs, operation, &request(operation), patience).await;
            assert_eq!(
                (seen.status, seen.body.len(), seen.length(), seen.end),
                (status, sent, promised, end),
                "{operation} {kind:?}: {seen:?}"
            );
            let last = ivs.world().calls.last().cloned().expect("the call");
            assert_eq!(last.status, recorded, "{operation} {kind:?}");
            assert!(status != 503 || seen.header("content-type") == Some("text/html"));
            assert!(
                serde_json::from_slice::<Value>(&seen.body).is_err(),
                "{kind:?} is no answer"
            );
        }
    }
}

#[tokio::test]
async fn a_trickle_is_a_byte_a_second() {
    let ivs = region().await;
    ivs.world().fault("ListStages", When::Always, Kind::Trickle);
    let patience = Duration::from_millis(2500);
    let seen = call(&ivs, "ListStages", &json!({}), patience).await;
    assert_eq!((seen.status, seen.end), (200, End::Open));
    assert!((1..=3).contains(&seen.body.len()), "{seen:?}");
    assert!(seen.length() > Some(100));
}

#[tokio::test]
async fn tokens_repeat_cycle_or_never_end() {
    let ivs = region().await;
    for operation in LISTS {
        for (kind, at_most, different_tokens, different_items) in [
            (Kind::TokenRepeated, 6, 1, 4),
            (Kind::TokensCycle, 7, 2, 5),
            (Kind::TokensEverNew, 12, 12, 5),
        ] {
            ivs.world().faults = vec![Fault::new(operation, When::Always, kind)];
            let pages = pages(&ivs, operation, at_most).await;
            let tokens: Vec<_> = pages
                .iter()
                .filter_map(|page| page.token.as_deref())
                .collect();
            assert_eq!(tokens.len(), at_most, "{operation} {kind:?} goes on");
            let set: BTreeSet<_> = tokens.iter().collect();
            assert_eq!(
                (set.len(), different(&pages)),
                (different_tokens, different_items),
                "{operation} {kind:?} {tokens:?}"
            );
            if kind == Kind::TokensCycle {
                assert!(
                    tokens.windows(3).all(|three| three[0] == three[2]),
                    "{tokens:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn of_a_list_that_is_empty_tokens_go_on_all_the_same() {
    let ivs = region().await;
    ivs.world()
        .session(&format!("{STAGE}0"), SESSION)
        .participants
        .clear();
    for kind in [Kind::TokenRepeated, Kind::TokensCycle, Kind::TokensEverNew] {
        ivs.world().faults = vec![Fault::new("*", When::Always, kind)];
        let pages = pages(&ivs, "ListParticipants", 6).await;
        assert_eq!((pages.len(), different(&pages)), (6, 0), "{kind:?}");
    }
}

#[tokio::test]
async fn an_expired_token_is_refused_and_a_first_page_is_not() {
    let ivs = region().await;
    for operation in LISTS {
        for (kind, first, second) in [(Kind::TokenExpired, 200, 400), (Kind::Validation, 400, 200)]
        {
            ivs.world().faults.clear();
            let token = pages(&ivs, operation, 1).await.remove(0).token;
            ivs.world().fault(operation, When::Always, kind);
            let mut body = request(operation);
            assert_eq!(
                ask(&ivs, operation, &body).await.0,
                first,
                "{operation} {kind:?}"
            );
            body["nextToken"] = token.into();
            assert_eq!(
                ask(&ivs, operation, &body).await.0,
                second,
                "{operation} {kind:?}"
            );
        }
    }
    ivs.world().faults = vec![Fault::new("*", When::Always, Kind::TokenExpired)];
    let (status, _) = ask(&ivs, "GetStageSession", &request("GetStageSession")).await;
    assert_eq!(status, 200, "which has no token");
}

#[tokio::test]
async fn empty_and_repeated_pages_come_where_they_are_asked_for_and_lose_nothing() {
    let ivs = region().await;
    for operation in LISTS {
        for (kinds, expected) in [
            (vec![Kind::EmptyPageFirst], vec![0, 2, 2, 1]),
            (vec![Kind::EmptyPageMiddle], vec![2, 0, 2, 0, 1]),
            (vec![Kind::EmptyPageLast], vec![2, 2, 1, 0]),
            (
                vec![
                    Kind::EmptyPageFirst,
                    Kind::EmptyPageMiddle,
                    Kind::EmptyPageLast,
                ],
                vec![0, 2, 0, 2, 0, 1, 0],
            ),
            (vec![Kind::RepeatsParticipants], vec![2, 2, 2, 2]),
        ] {
            let always = |&kind: &Kind| Fault::new(operation, When::Always, kind);
            ivs.world().faults = kinds.iter().map(always).collect();
            let pages = pages(&ivs, operation, 20).await;
            let sizes: Vec<_> = pages.iter().map(|page| page.names.len()).collect();
            assert_eq!(
                (sizes, different(&pages)),
                (expected, 5),
                "{operation} {kinds:?}"
            );
            let token = |page: &Page| page.token.is_none();
            assert_eq!(
                pages.iter().position(token),
                Some(pages.len() - 1),
                "none but the last ends"
            );
        }
    }
}

#[tokio::test]
async fn a_page_that_is_asked_for_again_after_a_fault_loses_nothing() {
    let ivs = region().await;
    let mut body = request("ListParticipants");
    body["maxResults"] = 2.into();
    let (_, first) = ask(&ivs, "ListParticipants", &body).await;
    body["nextToken"] = first["nextToken"].clone();
    ask(&ivs, "ListParticipants", &body).await;
    ivs.world()
        .fault("ListParticipants", When::Nth(1), Kind::EmptyPageMiddle);
    let mut seen = page("ListParticipants", &first).names;
    for _ in 0..3 {
        let (_, answer) = ask(&ivs, "ListParticipants", &body).await;
        seen.extend(page("ListParticipants", &answer).names);
        body["nextToken"] = answer["nextToken"].clone();
    }
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>().len(), 5);
}

#[tokio::test]
async fn a_null_stands_among_the_items() {
    let ivs = region().await;
    ivs.world().fault("*", When::Always, Kind::NullParticipant);
    for operation in LISTS {
        let (_, answer) = ask(&ivs, operation, &request(operation)).await;
        let names = page(operation, &answer).names;
        assert_eq!((names.len(), names[2].as_str()), (6, "null"), "{operation}");
    }
    let (_, answer) = ask(&ivs, "GetParticipant", &request("GetParticipant")).await;
    assert_eq!(answer["participant"]["participantId"], PARTICIPANT);
    let (_, answer) = ask(&ivs, "GetStageSession", &request("GetStageSession")).await;
    assert_eq!(answer["stageSession"]["sessionId"], SESSION);
}

#[tokio::test]
async fn members_of_tomorrow_stand_beside_those_of_today_and_in_errors() {
    let ivs = region().await;
    ivs.world().fault("*", When::Always, Kind::UnknownMembers);
    for operation in LISTS {
        let (_, answer) = ask(&ivs, operation, &request(operation)).await;
        assert!(answer["newStructure"].is_object() && answer["newNothing"].is_null());
        let list = answer
            .as_object()
            .expect("an object")
            .values()
            .find_map(|one| {
                let list = one.as_array()?;
                (list.len() == 5 && list[0].is_object()).then_some(list)
            });
        let list = list.expect("the list of five");
        assert!(
            list.iter().all(|item| item["newNumber"] == -1500.0),
            "{operation}"
        );
        let plain = |item: &Value| item.get("tags").is_none_or(|tags| tags == &json!({}));
        assert!(list.iter().all(plain), "tags are a map and have no members");
    }
    ivs.world().fault("*", When::Always, Kind::Throttle400);
    let (status, body) = ask(&ivs, "ListStages", &json!({})).await;
    assert_eq!(
        (status, &body["message"], &body["newFlag"]),
        (400, &json!("Rate exceeded"), &json!(true))
    );
}

/// The region, with the participants of `lives` in its session.
async fn region_of_lives() -> (Ivs, Vec<Participant>) {
    let ivs = region().await;
    let (start, end) = (time("2026-11-23T10:00:00Z"), time("2026-11-23T11:00:00Z"));
    let people = lives(start, end);
    let stage = format!("{STAGE}0");
    ivs.world().session(&stage, SESSION).participants = people.clone();
    (ivs, people)
}

fn about(operation: &str, participant_id: &str) -> Value {
    let mut body = request(operation);
    body["participantId"] = participant_id.into();
    body
}

#[tokio::test]
async fn a_request_about_one_participant_names_it_well() {
    let ivs = region().await;
    for operation in ["GetParticipant", "ListParticipantEvents"] {
        let (whole, mut body) = (request(operation), request(operation));
        body["participantId"] = "p".repeat(64).into();
        let expected = match operation {
            "GetParticipant" => 404,
            _ => 200,
        };
        assert_eq!(ask(&ivs, operation, &body).await.0, expected, "{body}");
        for value in [
            json!("p".repeat(65)),
            json!("p_1"),
            json!("p 1"),
            json!("é"),
            json!(""),
            json!(1),
            Value::Null,
        ] {
            body["participantId"] = value;
            assert_eq!(ask(&ivs, operation, &body).await.0, 400, "{body}");
        }
        for member in ["stageArn", "sessionId", "participantId"] {
            let mut without = whole.clone();
            without.as_object_mut().expect("an object").remove(member);
            assert_eq!(ask(&ivs, operation, &without).await.0, 400, "{without}");
        }
    }
    // The one has no pages.
    let mut paged = request("GetParticipant");
    paged["maxResults"] = 5.into();
    assert_eq!(ask(&ivs, "GetParticipant", &paged).await.0, 400);
}

#[tokio::test]
async fn a_participant_has_the_members_of_its_summary_and_its_details() {
    let (ivs, people) = region_of_lives().await;
    let (_, list) = ask(&ivs, "ListParticipants", &request("ListParticipants")).await;
    for summary in list["participants"].as_array().expect("a list") {
        let id = summary["participantId"].as_str().expect("an id");
        let (status, answer) = ask(&ivs, "GetParticipant", &about("GetParticipant", id)).await;
        let who = people.iter().find(|who| who.user_id.as_deref() == Some(id));
        let Some(details) = &who.expect("the participant").details else {
            let code = json!({ "exceptionMessage": answer["exceptionMessage"] });
            assert_eq!((status, &answer), (404, &code), "{id}");
            continue;
        };
        let mut expected = summary.clone();
        let details = json!(details);
        for (name, value) in details.as_object().expect("an object") {
            expected[name] = value.clone();
        }
        assert_eq!((status, &answer["participant"]), (200, &expected), "{id}");
    }
    let participant = async |id| {
        let (_, answer) = ask(&ivs, "GetParticipant", &about("GetParticipant", id)).await;
        answer["participant"].clone()
    };
    assert_eq!(
        participant("empty-attributes").await["attributes"],
        json!({})
    );
    assert!(
        participant("no-attributes")
            .await
            .get("attributes")
            .is_none()
    );
    let host = participant("host").await;
    assert_eq!(host["recordingS3BucketName"], "stage-recordings");
    assert!(host["recordingS3Prefix"].is_string() && host.get("events").is_none());
}

#[tokio::test]
async fn who_is_not_known_is_not_found_and_has_no_events() {
    let ivs = region().await;
    let mut elsewhere = request("GetParticipant");
    elsewhere["sessionId"] = "st-Unknown000001".into();
    for body in [about("GetParticipant", "nobody"), elsewhere] {
        let seen = call(&ivs, "GetParticipant", &body, PATIENCE).await;
        let code = seen.header("x-amzn-errortype");
        assert_eq!(
            (seen.status, code),
            (404, Some("resourcenotfoundexception"))
        );
        let events = ask(&ivs, "ListParticipantEvents", &body).await;
        assert_eq!(events, (200, json!({ "events": [] })));
    }
}

/// Others may stand at its place, or it may have another.
#[tokio::test]
async fn a_participant_is_found_after_the_session_was_changed() {
    let ivs = region().await;
    let change = |change: fn(&mut Vec<Participant>)| {
        change(
            &mut ivs
                .world()
                .session(&format!("{STAGE}0"), SESSION)
                .participants,
        );
    };
    let found = async || {
        let mut found = Vec::new();
        for id in ["p00000000000", "p00000000001", "p00000000004", "new"] {
            let (status, answer) = ask(&ivs, "GetParticipant", &about("GetParticipant", id)).await;
            if status == 200 {
                assert_eq!(answer["participant"]["participantId"], id);
                found.push(id);
            }
        }
        found
    };
    let all = ["p00000000000", "p00000000001", "p00000000004"];
    assert_eq!(found().await, all);
    change(|people| people.reverse());
    assert_eq!(found().await, all);
    change(|people| people[0].participant_id = Some("new".to_owned()));
    assert_eq!(found().await, ["p00000000000", "p00000000001", "new"]);
    change(|people| drop(people.remove(0)));
    assert_eq!(found().await, ["p00000000000", "p00000000001"]);
    change(|people| people.clear());
    assert!(found().await.is_empty());
}

#[tokio::test]
async fn events_come_whole_and_with_their_maps_in_no_order() {
    let (ivs, people) = region_of_lives().await;
    for who in &people {
        let id = who.participant_id.as_deref().expect("an id");
        let mut body = about("ListParticipantEvents", id);
        body["maxResults"] = 100.into();
        let (mut events, mut sizes) = (Vec::new(), Vec::new());
        loop {
            let (status, answer) = ask(&ivs, "ListParticipantEvents", &body).await;
            assert_eq!(status, 200, "{answer}");
            let page = answer["events"].as_array().expect("a list");
            sizes.push(page.len());
            events.extend(page.iter().cloned().map(sorted));
            match answer.get("nextToken") {
                Some(token) => body["nextToken"] = token.clone(),
                None => break,
            }
        }
        let mut expected: Vec<_> = who
            .events
            .iter()
            .map(|event| sorted(json!(event)))
            .collect();
        events.sort_unstable();
        expected.sort_unstable();
        assert_eq!(events, expected, "{id}");
        if id == "switches" {
            assert_eq!(sizes, [100, 100, 50]);
        }
    }
    let body = about("ListParticipantEvents", "changes-token");
    let sent = call(&ivs, "ListParticipantEvents", &body, PATIENCE)
        .await
        .body;
    let sent = String::from_utf8(sent).expect("text");
    let place = |name| sent.find(name).expect("a key of the map");
    assert!(place("\"a.b[0]\"") > place("\"newText\""), "{sent}");
}

/// The entries of a map are no members.
#[tokio::test]
async fn maps_of_attributes_gain_no_entries() {
    let (ivs, people) = region_of_lives().await;
    ivs.world().fault("*", When::Always, Kind::UnknownMembers);
    let body = about("GetParticipant", "host");
    let (_, answer) = ask(&ivs, "GetParticipant", &body).await;
    assert_eq!(
        answer["participant"]["attributes"],
        json!({ "role": "guest" })
    );
    assert_eq!(answer["participant"]["newFlag"], true);
    let body = about("ListParticipantEvents", "changes-token");
    let (_, answer) = ask(&ivs, "ListParticipantEvents", &body).await;
    let who = people
        .iter()
        .find(|who| who.user_id.as_deref() == Some("changes-token"));
    let maps = |events: &[Value]| {
        let maps = events
            .iter()
            .map(|event| sorted(event["newToken"]["attributes"].clone()));
        maps.collect::<BTreeSet<_>>()
    };
    let sent = answer["events"].as_array().expect("a list");
    let known: Vec<_> = who
        .expect("the participant")
        .events
        .iter()
        .map(|event| json!(event))
        .collect();
    assert_eq!(maps(sent), maps(&known));
    assert!(sent.iter().all(|event| event["newFlag"] == true));
}

/// With one quota for both, the second operation would be throttled.
#[tokio::test]
async fn each_operation_has_a_quota_of_its_own() {
    let ivs = region().await;
    ivs.world().quota = Quota::Window;
    for operation in ["GetParticipant", "ListParticipantEvents"] {
        let mut statuses = Vec::new();
        for _ in 0..5 {
            statuses.push(ask(&ivs, operation, &request(operation)).await.0);
        }
        assert_eq!(statuses, [200; 5], "{operation}");
    }
}

#[tokio::test]
async fn a_fault_hits_the_calls_that_it_names() {
    let ivs = region().await;
    for (when, hit) in [
        (When::Always, vec![1, 2, 3, 4, 5, 6]),
        (When::Nth(3), vec![3]),
        (When::UpTo(2), vec![1, 2]),
        (When::From(5), vec![5, 6]),
        (When::Every(2), vec![2, 4, 6]),
        (When::Probability(0.0), vec![]),
        (When::Probability(1.0), vec![1, 2, 3, 4, 5, 6]),
    ] {
        ivs.world().faults = vec![Fault::new("ListStages", when, Kind::Throttle429)];
        let mut throttled = Vec::new();
        for number in 1..=6 {
            // A call of another operation does not count.
            let other = ask(&ivs, "ListStageSessions", &request("ListStageSessions")).await;
            assert_eq!(other.0, 200);
            if ask(&ivs, "ListStages", &json!({})).await.0 == 429 {
                throttled.push(number);
            }
        }
        assert_eq!(throttled, hit, "{when:?}");
    }
}

#[tokio::test]
async fn chance_is_drawn_from_the_seed() {
    let ivs = region().await;
    let draw = async |seed| {
        ivs.world().seed(seed);
        ivs.world().faults = vec![Fault::new("*", When::Probability(0.5), Kind::Error500)];
        let mut statuses = Vec::new();
        for _ in 0..32 {
            statuses.push(call(&ivs, "ListStages", &json!({}), PATIENCE).await.status);
        }
        statuses
    };
    let (first, again, other) = (draw(7).await, draw(7).await, draw(8).await);
    assert_eq!(first, again);
    assert_ne!(first, other);
    assert!(first.contains(&500) && first.contains(&200));
}

#[tokio::test]
async fn connections_end_with_the_server() {
    let ivs = region().await;
    ivs.world().fault("*", When::Always, Kind::NoAnswer);
    let url = ivs.url().to_owned();
    let waiting = tokio::spawn(async move {
        let headers = "content-type: application/json\r\n";
        client::send(&url, "POST /ListStages", headers, "{}", PATIENCE)
            .await
            .end
    });
    while ivs.count("ListStages") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(ivs);
    assert_ne!(waiting.await.expect("no panic"), End::Open);
}
