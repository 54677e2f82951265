//! What the emulator sends, byte for byte where that is the point.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use ivs_attendance_local::faults::{Fault, Kind, When};
use ivs_attendance_local::ivs::Ivs;
use ivs_attendance_local::ivs::quota::Quota;
use ivs_attendance_local::ivs::world::Session;
use ivs_attendance_local::scene::audience;
use serde_json::{Value, json};

use crate::client::{self, End, Seen};

const STAGE: &str = "arn:aws:ivs:us-west-2:123456789012:stage/AbCdef1G2hij";
const SESSION: &str = "st-1CVugbu2cf2n8";
const PATIENCE: Duration = Duration::from_secs(5);
const LISTS: [&str; 3] = ["ListParticipants", "ListStages", "ListStageSessions"];
const OPERATIONS: [&str; 4] = [
    "GetStageSession",
    "ListParticipants",
    "ListStages",
    "ListStageSessions",
];

fn time(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}

/// A region of five stages; one of them has five sessions, and one of those five participants.
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
    world.put(&format!("{STAGE}0"), SESSION, session(5));
    drop(world);
    ivs
}

fn request(operation: &str) -> Value {
    let stage = format!("{STAGE}0");
    match operation {
        "ListStages" => json!({}),
        "ListStageSessions" => json!({ "stageArn": stage }),
        _ => json!({ "stageArn": stage, "sessionId": SESSION }),
    }
}

async fn call(ivs: &Ivs, operation: &str, body: &Value, patience: Duration) -> Seen {
    let headers = "content-type: application/json\r\nx-amz-date: 20261123T120000Z\r\nauthorization: AWS4-HMAC-SHA256 \
                   Credential=local/20261123/us-west-2/ivs/aws4_request, Signature=0\r\n";
    let line = format!("POST /{operation}");
    client::send(ivs.url(), &line, headers, &body.to_string(), patience).await
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
    for (operation, mut body, token) in [
        ("ListParticipants", request("ListParticipants"), 1),
        ("ListStages", request("ListStages"), 2),
        ("ListStageSessions", request("ListStageSessions"), 0),
        ("ListStageSessions", other_stage, 2),
        ("ListParticipants", other_session, 0),
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
            ("GetStageSession", status),
            ("ListParticipants", status),
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
