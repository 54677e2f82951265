//! What is counted of the function's log: each line that the real binary prints, of every outcome and every
//! `error_type`, is matched by exactly the metric filters of `template.yaml` that should match it, and gives them their
//! values.
//!
//! The patterns are read by [`Pattern`], which knows of CloudWatch's grammar only what the template uses, after
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html>, and refuses the rest.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use chrono::TimeDelta;
use ivs_attendance_local::REGION;
use ivs_attendance_local::faults::{Kind, S3Kind, When};
use ivs_attendance_local::ivs::quota::Quota;
use ivs_attendance_local::ivs::world::{Session, timestamp};
use ivs_attendance_local::lambda::circle::{Circle, CircleSettings};
use ivs_attendance_local::lambda::stack::Stack;
use ivs_attendance_local::scene::{
    PATIENCE, QUICK, SESSION_ID, STAGE_ARN, ended, event, hint, message, now, request, session,
    stage,
};
use ivs_attendance_local::sqs::wire::Fault;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{BOOTSTRAP, FOLDER};

const PEOPLE: usize = 250;

/// The filters, by their names in the template, of each kind of line.
const EXPORTED: &[&str] = &[
    "SessionsExportedFilter",
    "ParticipantsWrittenFilter",
    "ExportDelayFilter",
];
const CONFIRMED: &[&str] = &["SessionsConfirmedFilter", "ParticipantsWrittenFilter"];
const REWRITTEN: &[&str] = &["SessionsRewrittenFilter", "ParticipantsWrittenFilter"];
const UP_TO_DATE: &[&str] = &["SessionsUpToDateFilter"];
const STILL_LIVE: &[&str] = &["SessionsStillLiveFilter"];
const LIVE_OVER_A_DAY: &[&str] = &["SessionsStillLiveFilter", "LiveOverADayFilter"];
const GONE: &[&str] = &["SessionsGoneFilter"];
const COLLECTED: &[&str] = &["SessionsCollectedFilter", "AttendanceDelayFilter"];
const TOLD_NOTHING: &[&str] = &["SessionsToldNothingFilter"];
const THROTTLED: &[&str] = &["ThrottlesFilter"];
const FAILED: &[&str] = &["ErrorsFilter", "ErrorsByTypeFilter"];
const SWEPT: &[&str] = &[
    "SweepsFilter",
    "SweepMissingFilter",
    "SweepDueFilter",
    "SweepLeftFilter",
    "SweepUncollectedFilter",
    "SweepFailingFilter",
    "SweepFailedStagesFilter",
];
const NOTHING: &[&str] = &[];
const KINDS: [&[&str]; 13] = [
    EXPORTED,
    CONFIRMED,
    REWRITTEN,
    UP_TO_DATE,
    STILL_LIVE,
    LIVE_OVER_A_DAY,
    GONE,
    COLLECTED,
    TOLD_NOTHING,
    THROTTLED,
    FAILED,
    SWEPT,
    NOTHING,
];

/// A JSON pattern of a metric filter. Only members on top, and only these comparisons; a member that is absent or of
/// another type meets none of them. No `!=`, no wildcard but a whole `*`, no regex, no `IS NULL`, no arrays, no numbers but whole ones. And no
/// `&&` beside `||` without parentheses, so that nobody has to know which binds closer.
#[derive(Debug)]
enum Pattern {
    /// `$.member = "text"`
    Equals(String, String),
    /// `$.member = "*"`: any text.
    Text(String),
    /// `$.member >= 0`
    AtLeast(String, i64),
    /// `$.member < 86400`
    Below(String, i64),
    /// `$.member IS FALSE`, or `TRUE`
    Is(String, bool),
    All(Vec<Pattern>),
    Any(Vec<Pattern>),
}

impl Pattern {
    fn parse(text: &str) -> Self {
        let inner = text
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'));
        let mut rest = inner.unwrap_or_else(|| panic!("no JSON pattern: {text}"));
        let pattern = Self::parse_several(&mut rest);
        assert_eq!(rest, "", "the end of {text}");
        pattern
    }

    fn parse_several(rest: &mut &str) -> Self {
        let mut patterns = vec![Self::parse_one(rest)];
        let mut between = None;
        while let Some(operator) = ["&&", "||"].into_iter().find(|&word| takes(rest, word)) {
            assert_eq!(*between.get_or_insert(operator), operator, "parentheses");
            patterns.push(Self::parse_one(rest));
        }
        match between {
            None => patterns.remove(0),
            Some("&&") => Self::All(patterns),
            Some(_) => Self::Any(patterns),
        }
    }

    fn parse_one(rest: &mut &str) -> Self {
        if takes(rest, "(") {
            let pattern = Self::parse_several(rest);
            assert!(takes(rest, ")"), "a closing parenthesis before {rest}");
            return pattern;
        }
        assert!(takes(rest, "$."), "a member before {rest}");
        let member = word(rest, |byte| byte == b'_' || byte.is_ascii_lowercase());
        for (word, flag) in [("IS FALSE", false), ("IS TRUE", true)] {
            if takes(rest, word) {
                return Self::Is(member, flag);
            }
        }
        if takes(rest, ">=") {
            return Self::AtLeast(
                member,
                word(rest, |byte| byte.is_ascii_digit()).parse().unwrap(),
            );
        }
        if takes(rest, "<") {
            assert!(!rest.starts_with('='), "a comparison that is known here");
            return Self::Below(
                member,
                word(rest, |byte| byte.is_ascii_digit()).parse().unwrap(),
            );
        }
        assert!(
            takes(rest, "="),
            "a comparison that is known here before {rest}"
        );
        assert!(takes(rest, "\""), "a text before {rest}");
        if takes(rest, "*\"") {
            return Self::Text(member);
        }
        let text = word(rest, |byte| byte == b'_' || byte.is_ascii_alphanumeric());
        assert!(takes(rest, "\""), "the end of a text before {rest}");
        Self::Equals(member, text)
    }

    fn matches(&self, line: &Value) -> bool {
        match self {
            Self::Equals(member, text) => line[member] == **text,
            Self::Text(member) => line[member].is_string(),
            Self::AtLeast(member, least) => line[member].as_i64().is_some_and(|it| it >= *least),
            Self::Below(member, bound) => line[member].as_i64().is_some_and(|it| it < *bound),
            Self::Is(member, flag) => line[member] == *flag,
            Self::All(patterns) => patterns.iter().all(|pattern| pattern.matches(line)),
            Self::Any(patterns) => patterns.iter().any(|pattern| pattern.matches(line)),
        }
    }

    /// The members without which it cannot match.
    fn needs(&self) -> BTreeSet<&str> {
        match self {
            Self::Equals(member, _)
            | Self::Text(member)
            | Self::AtLeast(member, _)
            | Self::Below(member, _)
            | Self::Is(member, _) => [member.as_str()].into(),
            Self::All(patterns) => patterns.iter().flat_map(Self::needs).collect(),
            Self::Any(patterns) => {
                let mut each = patterns.iter().map(Self::needs);
                let first = each.next().unwrap_or_default();
                each.fold(first, |all, needs| &all & &needs)
            }
        }
    }
}

/// Takes a word from the front, and the spaces before and behind it, if it is there.
fn takes(rest: &mut &str, word: &str) -> bool {
    let Some(behind) = rest.trim_start().strip_prefix(word) else {
        return false;
    };
    *rest = behind.trim_start();
    true
}

/// Takes as much as there is of such bytes from the front, and the spaces behind it.
fn word(rest: &mut &str, is_part: impl Fn(u8) -> bool) -> String {
    let end = rest.bytes().position(|byte| !is_part(byte));
    let (word, behind) = rest.split_at(end.unwrap_or(rest.len()));
    assert!(!word.is_empty(), "a word before {rest}");
    *rest = behind.trim_start();
    word.to_owned()
}

/// A metric filter of the template.
struct Filter {
    pattern: Pattern,
    value: String,
    /// The members that give the dimensions.
    dimensions: Vec<String>,
}

static FILTERS: LazyLock<BTreeMap<String, Filter>> = LazyLock::new(|| {
    let output = Command::new(".venv/bin/python3")
        .args(["tests/template_json.py", "template.yaml"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "`make test` installs what it takes"
    );
    let template: Value = serde_json::from_slice(&output.stdout).unwrap();
    let resources = template["Resources"].as_object().unwrap().iter();
    let filters = resources.filter(|(_, resource)| resource["Type"] == "AWS::Logs::MetricFilter");
    let filters = filters.map(|(name, resource)| {
        let properties = &resource["Properties"];
        assert_eq!(properties["LogGroupName"], json!({ "Ref": "LogGroup" }));
        let metric = &properties["MetricTransformations"][0];
        let dimensions = metric["Dimensions"].as_array().into_iter().flatten();
        let filter = Filter {
            pattern: Pattern::parse(properties["FilterPattern"].as_str().unwrap()),
            value: metric["MetricValue"].as_str().unwrap().to_owned(),
            dimensions: dimensions
                .map(|it| member(&it["Value"]).to_owned())
                .collect(),
        };
        (name.clone(), filter)
    });
    filters.collect()
});

fn member(selector: &Value) -> &str {
    let selector = selector.as_str().unwrap();
    selector.strip_prefix("$.").unwrap()
}

impl Filter {
    /// The value that a line gives, if it matches.
    fn value(&self, line: &Value) -> Option<i64> {
        if !self.pattern.matches(line) {
            return None;
        }
        for dimension in &self.dimensions {
            assert!(line[dimension].is_string(), "{dimension} of {line}");
        }
        match self.value.strip_prefix("$.") {
            None => Some(self.value.parse().unwrap()),
            Some(member) => Some(
                line[member]
                    .as_i64()
                    .unwrap_or_else(|| panic!("{member} of {line} is a number")),
            ),
        }
    }
}

/// What the filters make of a line.
fn counted(line: &Value) -> BTreeMap<&'static str, i64> {
    let values = FILTERS.iter();
    let values = values.filter_map(|(name, filter)| Some((name.as_str(), filter.value(line)?)));
    values.collect()
}

/// The lines are of these kinds, one after the other.
fn assert_counted(lines: &[Value], kinds: &[&[&str]]) {
    let names = |line| counted(line).into_keys().collect::<BTreeSet<_>>();
    let found: Vec<_> = lines.iter().map(names).collect();
    let expected: Vec<BTreeSet<_>> = kinds
        .iter()
        .map(|kind| kind.iter().copied().collect())
        .collect();
    assert_eq!(found, expected, "{lines:#?}");
}

/// A stack that is quick, with one ended session of three pages.
async fn stack() -> (Stack, TempDir) {
    stack_with(&[]).await
}

async fn stack_with(variables: &[(&str, &str)]) -> (Stack, TempDir) {
    let parent = Path::new(FOLDER);
    let settings = [&[("CALLS_PER_SECOND", "1000")], variables].concat();
    let (stack, folder) = Stack::temporary(Path::new(BOOTSTRAP), parent, &settings)
        .await
        .unwrap();
    stack.ivs.world().quota = Quota::Off;
    let session = ended(PEOPLE, 61);
    stack.ivs.world().put(STAGE_ARN, SESSION_ID, session);
    (stack, folder)
}

async fn circle() -> Circle {
    let settings = CircleSettings::at(20).with(&QUICK);
    let settings = settings.with(&[("QUEUE_AT_MOST", "20")]);
    let circle = Circle::without_quota(BOOTSTRAP, FOLDER, settings);
    circle.await.unwrap()
}

fn live_for(hours: i64) -> Session {
    Session {
        start_time: Some(now() - TimeDelta::hours(hours)),
        end_time: None,
        ..ended(2, 0)
    }
}

#[test]
fn every_filter_is_for_some_kind_of_line_and_counts_what_it_asks_for() {
    let known: BTreeSet<_> = KINDS.into_iter().flatten().copied().collect();
    let names: BTreeSet<_> = FILTERS.keys().map(String::as_str).collect();
    assert_eq!(names, known);
    for (name, filter) in FILTERS.iter() {
        // CloudWatch takes a value or a dimension only from a member that the pattern speaks of.
        let needs = filter.pattern.needs();
        let value = filter.value.strip_prefix("$.");
        for member in filter.dimensions.iter().map(String::as_str).chain(value) {
            assert!(needs.contains(member), "{name} asks for {member}");
        }
    }
}

#[test]
fn the_grammar_is_read_as_documented() {
    let line = json!({ "text": "exported", "number": 3, "no": false, "yes": true, "zero": 0, "null": null });
    for (pattern, matches) in [
        (r#"{ $.text = "exported" }"#, true),
        (r#"{ $.text = "export" }"#, false),
        (r#"{ $.text = "*" }"#, true),
        (r#"{ $.absent = "*" }"#, false),
        (r#"{ $.null = "*" }"#, false),
        ("{ $.number >= 3 }", true),
        ("{ $.number >= 4 }", false),
        ("{ $.text >= 0 }", false),
        ("{ $.absent >= 0 }", false),
        ("{ $.no IS FALSE }", true),
        ("{ $.zero IS FALSE }", false),
        ("{ $.absent IS FALSE }", false),
        ("{ $.yes IS TRUE }", true),
        ("{ $.no IS TRUE }", false),
        ("{ $.absent IS TRUE }", false),
        ("{ $.number < 4 }", true),
        ("{ $.number < 3 }", false),
        ("{ $.absent < 3 }", false),
        (r#"{ $.number >= 4 || $.text = "exported" }"#, true),
        ("{ $.number >= 3 && $.no IS FALSE }", true),
        (
            r#"{ ($.number >= 4 || $.number >= 3) && $.text = "gone" }"#,
            false,
        ),
        (
            r#"{ ($.text = "gone" || $.text = "exported") && $.zero >= 0 }"#,
            true,
        ),
    ] {
        assert_eq!(Pattern::parse(pattern).matches(&line), matches, "{pattern}");
    }
}

#[tokio::test]
async fn each_outcome_is_counted_as_itself_with_its_participants_and_its_delay() {
    let (mut stack, _folder) = stack().await;
    let work = request(STAGE_ARN, SESSION_ID);
    stack.invoke(work.clone()).await.unwrap();
    let key = stack.s3.keys().remove(0);
    let before = now() - TimeDelta::minutes(60);
    stack.s3.set_last_modified(&key, before.into());
    stack.invoke(work.clone()).await.unwrap();
    stack.invoke(work.clone()).await.unwrap();
    stack.s3.set_last_modified(&key, before.into());
    let mut rewrite = work.clone();
    rewrite["rewrite_before"] = timestamp(now() - TimeDelta::minutes(1)).into();
    stack.invoke(rewrite).await.unwrap();
    for hours in [23, 25] {
        stack
            .ivs
            .world()
            .put(&stage(1), &session(1), live_for(hours));
        let hint = hint(&stage(1), &session(1), now());
        stack.invoke(hint).await.unwrap();
    }
    let gone = request(STAGE_ARN, &session(404));
    stack.invoke(gone).await.unwrap();
    let fault = When::Nth(1);
    stack
        .ivs
        .world()
        .fault("GetStageSession", fault, Kind::Throttle429);
    stack.invoke(work).await.unwrap();

    let lines = stack.function.log_lines();
    let kinds = [
        EXPORTED,
        CONFIRMED,
        UP_TO_DATE,
        REWRITTEN,
        STILL_LIVE,
        LIVE_OVER_A_DAY,
        GONE,
        THROTTLED,
        UP_TO_DATE,
    ];
    assert_counted(&lines, &kinds);
    let value = |line: usize, filter| counted(&lines[line])[filter];
    for written in [0, 1, 3] {
        assert_eq!(value(written, "ParticipantsWrittenFilter"), 250);
    }
    assert!((3660..3760).contains(&value(0, "ExportDelayFilter")));
    assert!((90_000..90_100).contains(&value(5, "LiveOverADayFilter")));
    assert_eq!(value(6, "SessionsGoneFilter"), 1);
}

#[tokio::test]
async fn a_collection_is_counted_with_its_delay_and_one_that_tells_nothing_for_a_day() {
    let (mut stack, _folder) = stack_with(&QUICK).await;
    let collect = |number| json!({ "collect": request(&stage(number), &session(number)) });
    // The third was collected of an old session; the fourth is not final.
    for (number, minutes, is_mute) in [
        (1, 61, false),
        (2, 61, true),
        (3, 1501, true),
        (4, 5, false),
    ] {
        let mut ended = ended(2, minutes);
        if is_mute {
            let people = ended.participants.iter_mut();
            people.for_each(|person| person.events.clear());
        }
        stack
            .ivs
            .world()
            .put(&stage(number), &session(number), ended);
        let work = request(&stage(number), &session(number));
        stack.invoke(work).await.unwrap();
    }
    let before = stack.function.log_lines().len();
    for number in [1, 2, 3, 4, 1, 404] {
        stack.invoke(collect(number)).await.unwrap();
    }

    let lines = stack.function.log_lines();
    let kinds = [
        COLLECTED,
        COLLECTED,
        TOLD_NOTHING,
        COLLECTED,
        // It tells nothing either, but ended more than a day ago.
        NOTHING,
        // Not due, and up to date.
        NOTHING,
        NOTHING,
        GONE,
    ];
    assert_counted(&lines[before..], &kinds);
    let delay = counted(&lines[before])["AttendanceDelayFilter"];
    assert!((3660..3760).contains(&delay), "{delay}");
}

#[tokio::test]
async fn a_session_that_the_list_of_stages_shows_to_be_live_is_still_live() {
    let circle = circle().await;
    let hints: Vec<_> = (0..6)
        .map(|number| {
            let (stage, session) = (stage(number), session(number));
            circle.ivs.world().put(&stage, &session, live_for(30));
            message(&number.to_string(), &hint(&stage, &session, now()))
        })
        .collect();
    let answer = circle.invoke(json!({ "Records": hints })).await;
    assert_eq!(answer.unwrap().unwrap()["batchItemFailures"], json!([]));
    // Nobody asked for their start.
    assert_counted(&circle.pool.log_lines(), &[STILL_LIVE; 6]);
}

/// The `error_type` of the only line, which is counted as an error.
fn only_error(lines: &[Value], what: &str) -> String {
    let errors: Vec<_> = lines
        .iter()
        .filter(|line| line["error_type"].is_string())
        .collect();
    assert_eq!(errors.len(), 1, "{what}: {lines:#?}");
    for line in lines {
        let kind = if line == errors[0] { FAILED } else { THROTTLED };
        assert_counted(std::slice::from_ref(line), &[kind]);
    }
    errors[0]["error_type"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn each_error_of_ivs_is_counted_by_its_type() {
    let lasting = [
        (Kind::AccessDenied, "AccessDenied"),
        (Kind::Validation, "IvsRejected"),
        (Kind::TokenRepeated, "BrokenPagination"),
        (Kind::Throttle400, "IvsUnavailable"),
        (Kind::NoAnswer, "OutOfTime"),
    ];
    let attempts = lasting.map(|(kind, error_type)| async move {
        let (mut stack, _folder) = stack().await;
        // An access that is denied is so from the second call on.
        stack
            .ivs
            .world()
            .fault("ListParticipants", When::Always, kind);
        let time = match kind {
            Kind::NoAnswer => Duration::from_secs(4),
            _ => ivs_attendance_local::TIMEOUT,
        };
        let work = request(STAGE_ARN, SESSION_ID);
        let failure = stack.function.invoke(work, time).await.unwrap_err();
        assert_eq!(failure.error_type, error_type, "{kind:?}");
        let lines = stack.function.log_lines();
        assert_eq!(only_error(&lines, error_type), error_type);
        let throttles = lines.len() - 1;
        assert_eq!(throttles > 0, kind == Kind::Throttle400, "{throttles}");
    });
    futures::future::join_all(attempts).await;
}

#[tokio::test]
async fn a_session_too_large_is_counted_by_its_type() {
    // So little that nothing is left for rows.
    let (mut stack, _folder) = stack_with(&[("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "24")]).await;
    let failure = stack
        .invoke(request(STAGE_ARN, SESSION_ID))
        .await
        .unwrap_err();
    assert_eq!(failure.error_type, "SessionTooLarge");
    let lines = stack.function.log_lines();
    assert_eq!(only_error(&lines, "no memory"), "SessionTooLarge");
}

#[tokio::test]
async fn a_payload_that_is_refused_and_a_lake_that_fails_are_counted_by_their_types() {
    let (mut stack, _folder) = stack().await;
    let foreign = event("composition-session-end");
    stack.invoke(foreign).await.unwrap_err();
    let lines = stack.function.log_lines();
    assert_eq!(only_error(&lines, "an event"), "InvalidEvent");

    let (mut stack, _folder) = self::stack().await;
    stack.s3.fault("PUT", When::Always, S3Kind::Error500);
    let work = request(STAGE_ARN, SESSION_ID);
    stack.invoke(work.clone()).await.unwrap_err();
    let lines = stack.function.log_lines();
    assert_eq!(only_error(&lines, "a PUT"), "LakeError");

    // As a message: the line of the message, and the one of the marker, which cannot be put either.
    let batch = json!({ "Records": [message("m", &work)] });
    stack.invoke(batch).await.unwrap();
    let lines = stack.function.log_lines();
    assert_counted(&lines[1..], &[FAILED, FAILED]);
    assert_eq!(lines[1]["message"], "the message failed");
}

#[test]
fn a_function_that_cannot_start_or_panics_says_so_in_one_line() {
    let start = |variables: &[(&str, &str)]| -> Vec<Value> {
        let output = Command::new(BOOTSTRAP)
            .env_clear()
            .env("AWS_REGION", REGION)
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        assert!(!output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    assert_eq!(only_error(&start(&[]), "no variable"), "InvalidSettings");
    // Lambda's own variables are missing, which its runtime panics at.
    let ours = [("BUCKET", "lake"), ("QUEUE_URL", "https://queue/work")];
    assert_eq!(only_error(&start(&ours), "no Lambda"), "Panic");
}

#[tokio::test]
async fn a_sweep_is_counted_with_what_it_found_and_a_dry_run_is_not() {
    let circle = circle().await;
    let put = |number: usize| {
        let session = self::session(number);
        circle
            .ivs
            .world()
            .put(&stage(number % 3), &session, ended(1, 61));
    };
    (0..90).for_each(put);
    circle.ivs.world().sick_stages.insert(stage(2));
    let sweep = async |options: Value| {
        let report = circle.invoke(json!({ "sweep": options })).await;
        report.unwrap().unwrap();
        circle.until_quiet(PATIENCE).await.unwrap();
        let lines = circle.pool.log_lines();
        lines
            .into_iter()
            .rfind(|line| line["stages"].is_u64())
            .unwrap()
    };
    let found = |line: &Value| {
        let values = counted(line);
        let value = |what| values[format!("Sweep{what}Filter").as_str()];
        ["Missing", "Due", "Left", "Failing", "FailedStages"].map(value)
    };
    let dry = sweep(json!({ "dry_run": true })).await;
    assert_eq!((&dry["left"], &dry["dry_run"]), (&json!(60), &json!(true)));
    assert_counted(&[dry], &[NOTHING]);
    let first = sweep(json!({})).await;
    assert_eq!(found(&first), [60, 0, 40, 0, 1]);

    // One of the twenty wants a second look; one of the others fails.
    let key = &circle.s3.keys()[0];
    let before = now() - TimeDelta::minutes(60);
    circle.s3.set_last_modified(key, before.into());
    circle
        .ivs
        .world()
        .fault("ListParticipants", When::Nth(1), Kind::Validation);
    let exported = circle.s3.keys();
    let left = (0..90).map(|number| (stage(number % 3), session(number)));
    let mut left = left.filter(|(stage, _)| *stage != self::stage(2));
    let (stage, session) = left
        .rfind(|(_, session)| !exported.iter().any(|key| key.contains(session)))
        .unwrap();
    let batch = json!({ "Records": [message("m", &request(&stage, &session))] });
    circle.invoke(batch).await.unwrap().unwrap();
    let second = sweep(json!({})).await;
    assert_eq!(found(&second), [40, 1, 20, 1, 1]);
    assert_eq!(counted(&second)["SweepsFilter"], 1);

    for line in circle.pool.log_lines() {
        let kind = match line["message"].as_str().unwrap() {
            "the stage could not be swept" | "the message failed" => FAILED,
            _ if line["dry_run"] == true => NOTHING,
            _ if line["stages"].is_u64() => SWEPT,
            text if text.ends_with(": exported") => EXPORTED,
            text if text.ends_with(": confirmed") => CONFIRMED,
            text if text.ends_with(": collected") => COLLECTED,
            text => panic!("{text}"),
        };
        assert_counted(&[line], &[kind]);
    }
}

#[tokio::test]
async fn a_tick_that_fails_is_no_sweep() {
    let circle = circle().await;
    circle.ivs.world().put(&stage(0), &session(0), ended(1, 5));
    circle.sqs.on_request(|attempt| {
        (attempt.operation == "SendMessageBatch").then_some(Fault::InternalFailure)
    });
    circle.tick();
    circle.until_quiet(PATIENCE).await.unwrap();
    let lines = circle.pool.log_lines();
    assert_counted(&lines, &[FAILED]);
    assert_eq!(lines[0]["message"], "the sweep failed");
    assert_eq!(lines[0]["error_type"], "QueueError");
}

#[test]
fn lambdas_own_lines_are_counted_by_no_filter() {
    // As documented for the log format JSON, of a run that failed.
    let id = "79b4f56e-95b1-4643-9700-2807f4e68189";
    let record = |status, kind| json!({ "requestId": id, "status": status, "errorType": kind });
    let lines = [
        ("platform.initStart", json!({ "initializationType": "on-demand", "phase": "init" })),
        ("platform.start", json!({ "requestId": id, "version": "$LATEST" })),
        ("platform.report", record("error", "Function.Unknown")),
        ("platform.report", record("timeout", "Sandbox.Timedout")),
    ]
    .map(|(kind, record)| json!({ "time": "2026-11-24T12:00:00.000Z", "type": kind, "record": record }));
    assert_counted(&lines, &[NOTHING; 4]);
}
