//! The operator's commands, `make` and all, with a stand-in for the AWS CLI: what they send, and what they say.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use chrono::DateTime;
use ivs_attendance::event::{self, Arrival, Payload, Work};
use ivs_attendance::sweep::Report;
use serde_json::{Value, json};
use tempfile::TempDir;

const STAGE: &str = "arn:aws:ivs:us-west-2:123456789012:stage/AbCdef1G2hij";
const SESSION: &str = "st-1CVugbu2cf2n8";
const WORK: &str = "https://sqs.us-west-2.amazonaws.com/123456789012/ivs-attendance-work";
const SWEEPS: &str = "https://sqs.us-west-2.amazonaws.com/123456789012/sweeps.fifo";
const COLLECT: &str =
    "https://sqs.us-west-2.amazonaws.com/123456789012/ivs-attendance-collect.fifo";
const DEAD: &str = "https://sqs.us-west-2.amazonaws.com/123456789012/dead";
const DEAD_COLLECTIONS: &str = "https://sqs.us-west-2.amazonaws.com/123456789012/dead.fifo";

const ARRIVAL: Arrival<'static> = Arrival {
    region: "us-west-2",
    collect_queue: "ivs-attendance-collect.fifo",
    now: DateTime::UNIX_EPOCH,
};

/// A deployed stack, as far as the stand-in knows it.
struct Deployed {
    folder: TempDir,
    answers: BTreeMap<&'static str, Vec<Value>>,
    parameters: BTreeMap<&'static str, &'static str>,
    /// What stands in the operator's environment.
    environment: BTreeMap<&'static str, &'static str>,
}

struct Said {
    success: bool,
    text: String,
    error: String,
}

impl Deployed {
    fn new() -> Self {
        let folder = folder_with_aws();
        let parameters = [
            ("CallsPerSecond", "2"),
            ("SweepCallsPerSecond", "4"),
            ("QueueAtMost", "300"),
            ("SweepSchedule", "rate(15 minutes)"),
            ("SweepState", "ENABLED"),
            ("IgnoreEndedBefore", ""),
            ("RetentionDays", "0"),
        ];
        let sent = json!({ "stdout": { "MessageId": "2e1424d4-f796-459a-8184-9c92662be6da" } });
        let account = json!({ "stdout": { "Account": "123456789012" } });
        Self {
            folder,
            answers: BTreeMap::from([
                ("sqs send-message", vec![sent]),
                ("sts get-caller-identity", vec![account]),
            ]),
            parameters: parameters.into(),
            environment: BTreeMap::from([("AWS_REGION", "us-west-2")]),
        }
    }

    /// With the answers of dry runs, one after the other.
    fn reports(mut self, reports: &[Report]) -> Self {
        let answer =
            |report: &Report| json!({ "stdout": { "StatusCode": 200 }, "payload": report });
        let answers = reports.iter().map(answer).collect();
        self.answers.insert("lambda invoke", answers);
        self
    }

    fn stack(&self) -> Value {
        let outputs = [
            ("FunctionName", "ivs-attendance-Function"),
            ("WorkQueueUrl", WORK),
            ("SweepQueueUrl", SWEEPS),
            ("WorkDeadLetterQueueUrl", DEAD),
            ("CollectQueueUrl", COLLECT),
            ("CollectDeadLetterQueueUrl", DEAD_COLLECTIONS),
            ("FollowLogs", "aws logs tail the-log --follow"),
        ];
        let outputs = outputs.map(|(key, value)| json!({ "OutputKey": key, "OutputValue": value }));
        let parameters: Vec<_> = self
            .parameters
            .iter()
            .map(|(key, value)| json!({ "ParameterKey": key, "ParameterValue": value }))
            .collect();
        let id = "arn:aws:cloudformation:us-west-2:123456789012:stack/ivs-attendance/1";
        json!({ "Stacks": [{ "StackId": id, "Outputs": outputs, "Parameters": parameters }] })
    }

    /// `make` with these arguments, and this as what the operator types.
    fn make(&self, arguments: &[&str], typed: &str) -> Said {
        let mut answers = self.answers.clone();
        answers
            .entry("cloudformation describe-stacks")
            .or_insert_with(|| vec![json!({ "stdout": self.stack() })]);
        let file = self.folder.path().join("answers.json");
        std::fs::write(file, json!(answers).to_string()).unwrap();
        let folder = self.folder.path().to_str().unwrap();
        let path = std::env::var_os("PATH").unwrap().into_string().unwrap();
        let path = format!("{folder}:{path}");
        said(&path, &self.environment, arguments, typed)
    }

    fn calls(&self) -> Vec<Value> {
        let lines = std::fs::read_to_string(self.folder.path().join("calls.jsonl"));
        let lines = lines.unwrap_or_default();
        lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The calls of one command, each as its named arguments.
    fn named(&self, command: &str) -> Vec<BTreeMap<String, String>> {
        let calls = self.calls();
        let calls = calls.iter().filter(|call| call["command"] == command);
        let named = calls.map(|call| {
            let arguments: Vec<_> = call["arguments"].as_array().unwrap().iter().collect();
            let pairs = arguments[2..].windows(2);
            pairs
                .map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap()))
                .filter(|(name, _)| name.starts_with("--"))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect()
        });
        named.collect()
    }
}

/// A folder that holds Python itself: a manager's stand-in for it, such as pyenv's, may put a folder with a real `aws`
/// before ours.
fn folder() -> TempDir {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let python = printed("python3", &["-c", "import sys; print(sys.executable)"]);
    symlink(python, folder.path().join("python3")).unwrap();
    folder
}

/// The same with the stand-in for the AWS CLI, which nobody has called yet.
fn folder_with_aws() -> TempDir {
    let folder = folder();
    let fake = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake_aws.py");
    symlink(fake, folder.path().join("aws")).unwrap();
    folder
}

fn printed(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn said(
    path: &str,
    environment: &BTreeMap<&'static str, &'static str>,
    arguments: &[&str],
    typed: &str,
) -> Said {
    let mut make = Command::new("make");
    make.arg("--no-print-directory").args(arguments);
    for variable in [
        "MAKEFLAGS",
        "MFLAGS",
        "MAKELEVEL",
        "STACK",
        "STAGE",
        "SESSION",
        "YES",
        "BEFORE",
        "PARAMETERS",
    ] {
        make.env_remove(variable);
    }
    for (variable, _) in std::env::vars_os() {
        if variable.to_str().is_some_and(|it| it.starts_with("AWS_")) {
            make.env_remove(variable);
        }
    }
    // Should a real `aws` be found all the same, it reaches nothing.
    make.env("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    make.env("PATH", path)
        .envs(environment)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    make.stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut running = make.spawn().unwrap();
    // It may have ended already, with an error.
    let _ = running.stdin.take().unwrap().write_all(typed.as_bytes());
    let output = running.wait_with_output().unwrap();
    Said {
        success: output.status.success(),
        text: String::from_utf8(output.stdout).unwrap(),
        error: String::from_utf8(output.stderr).unwrap(),
    }
}

fn file(name: &str) -> String {
    std::fs::read_to_string(format!("events/{name}.json")).unwrap()
}

fn report(stages: usize, sessions: usize, left: usize, after: Option<&str>) -> Report {
    Report {
        stages,
        sessions,
        live: 1,
        missing: left,
        due: 1,
        failing: 1,
        left,
        after: after.map(|arn| arn.parse().unwrap()),
        ..Report::default()
    }
}

#[test]
fn a_sweep_by_hand_is_the_file_in_the_group_of_sweeps_with_an_id_of_its_own() {
    let mut ids = Vec::new();
    for _ in 0..2 {
        let stack = Deployed::new();
        let said = stack.make(&["sweep"], "");
        assert!(said.success, "{}", said.error);
        let sent = stack.named("sqs send-message");
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0]["--message-body"], file("sweep").trim());
        assert_eq!(sent[0]["--queue-url"], SWEEPS);
        assert_eq!(sent[0]["--message-group-id"], "sweep");
        ids.push(sent[0]["--message-deduplication-id"].clone());
        assert!(said.text.contains("aws logs tail the-log --follow"));
        assert!(said.text.contains(&format!("--queue-url {WORK}")));
    }
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn the_stack_is_the_one_that_was_named() {
    let stack = Deployed::new();
    assert!(stack.make(&["sweep", "STACK=another"], "").success);
    let described = stack.named("cloudformation describe-stacks");
    assert_eq!(described[0]["--stack-name"], "another");
    let stack = Deployed::new();
    assert!(stack.make(&["sweep"], "").success);
    let described = stack.named("cloudformation describe-stacks");
    assert_eq!(described[0]["--stack-name"], "ivs-attendance");
}

#[test]
fn a_backfill_asks_over_all_stages_adds_up_and_then_sends_the_sweep() {
    let (first, second) = (
        "arn:aws:ivs:us-west-2:1:stage/a",
        "arn:aws:ivs:us-west-2:1:stage/b",
    );
    let sick = Report {
        failed: 1,
        failed_stages: vec![STAGE.to_owned()],
        ..report(300, 4000, 3600, None)
    };
    let stack = Deployed::new().reports(&[
        report(600, 12_000, 11_000, Some(first)),
        report(500, 7000, 7000, Some(second)),
        sick,
    ]);
    let said = stack.make(&["backfill"], "y\n");
    assert!(said.success, "{}", said.error);

    let calls = stack.calls();
    let invocations: Vec<_> = calls
        .iter()
        .filter(|call| call["command"] == "lambda invoke")
        .collect();
    let payloads: Vec<_> = invocations
        .iter()
        .map(|call| call["payload"].clone())
        .collect();
    let dry_run: Value = serde_json::from_str(&file("sweep-dry-run")).unwrap();
    let after = |arn| json!({ "sweep": { "dry_run": true, "after": arn } });
    assert_eq!(payloads, [dry_run, after(first), after(second)]);
    let attempts = |call: &&Value| call["environment"]["AWS_MAX_ATTEMPTS"] == "1";
    assert!(invocations.iter().all(attempts));
    for invocation in stack.named("lambda invoke") {
        assert_eq!(invocation["--cli-read-timeout"], "0");
        assert_eq!(invocation["--function-name"], "ivs-attendance-Function");
    }
    // 21,600 sessions at 4 a second, and 72 portions of 300, one every 15 minutes.
    for (number, meaning) in [
        ("1,400", "stages (stages)"),
        ("1", "of them could not be listed (failed)"),
        ("23,000", "sessions (sessions)"),
        ("3", "of them are live (live)"),
        (
            "21,600",
            "have ended and are missing from the lake (missing)",
        ),
        ("3", "are due for their second look, or for a rewrite (due)"),
        (
            "3",
            "of these two failed for good within a day, and are left out (failing)",
        ),
        ("21,600", "to export (left)"),
    ] {
        let line = format!("  {number:>9}  {meaning}\n");
        assert!(said.text.contains(&line), "{line} in {}", said.text);
    }
    for words in [
        &format!("could not be listed: {STAGE}"),
        "It lists 1 stages a second, a quarter of SweepCallsPerSecond, so\n1,000 stages take at least 17 minutes",
        "21,600 sessions to export, in at least 43,200 calls to IVS",
        "4 calls a second of each (2 by one of 2 invocations):\n  at least 1.5 hours",
        "it takes at least 72 sweeps:\n  at rate(15 minutes) that is at least 17.8 hours",
        "QueueAtMost=3600",
        "the ticks carry on (rate(15 minutes))",
    ] {
        assert!(said.text.contains(words), "{words} in {}", said.text);
    }
    let sent = stack.named("sqs send-message");
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0]["--message-body"], file("sweep").trim());
}

#[test]
fn a_backfill_sends_nothing_without_a_yes() {
    for (typed, success) in [("n\n", true), ("\n", true), ("", false)] {
        let stack = Deployed::new().reports(&[report(1, 9, 9, None)]);
        let said = stack.make(&["backfill"], typed);
        assert_eq!(said.success, success, "{typed:?}: {}", said.error);
        assert!(
            format!("{}{}", said.text, said.error)
                .to_lowercase()
                .contains("nothing was sent")
        );
        assert!(stack.named("sqs send-message").is_empty(), "{typed:?}");
    }
    // The schedule asks nobody.
    let stack = Deployed::new().reports(&[report(1, 9, 9, None)]);
    let said = stack.make(&["backfill"], "n\n");
    assert!(said.text.contains("the next tick sweeps all the same"));
    let stack = Deployed::new().reports(&[report(1, 9, 9, None)]);
    assert!(stack.make(&["backfill", "YES=1"], "").success);
    assert_eq!(stack.named("sqs send-message").len(), 1);
}

#[test]
fn a_backfill_with_nothing_to_export_neither_asks_nor_sends() {
    let stack = Deployed::new().reports(&[report(40, 200, 0, None)]);
    let said = stack.make(&["backfill", "YES=1"], "");
    assert!(said.success && said.text.contains("nothing to export"));
    assert!(stack.named("sqs send-message").is_empty());
}

#[test]
fn a_backfill_tells_what_it_leaves_out() {
    let mut stack = Deployed::new().reports(&[Report::default()]);
    stack.parameters.insert("RetentionDays", "90");
    stack
        .parameters
        .insert("IgnoreEndedBefore", "2026-01-01T00:00:00Z");
    let said = stack.make(&["backfill"], "");
    assert!(said.success, "{}", said.error);
    for line in [
        "What ended before 2026-01-01T00:00:00Z is left out (IgnoreEndedBefore).",
        "What ended more than 90 days ago is left out (RetentionDays).",
    ] {
        assert!(said.text.contains(line), "{}", said.text);
    }
}

#[test]
fn without_its_schedule_a_backfill_does_not_promise_ticks() {
    let mut stack = Deployed::new().reports(&[report(1, 900, 900, None)]);
    stack.parameters.insert("SweepState", "DISABLED");
    let said = stack.make(&["backfill", "YES=1"], "");
    assert!(
        said.text.contains("the schedule is off") && !said.text.contains("carry on"),
        "{}",
        said.text
    );
}

#[test]
fn a_dry_run_that_fails_or_goes_round_in_circles_ends_the_backfill() {
    let mut stack = Deployed::new();
    let failure =
        json!({ "errorType": "AccessDenied", "errorMessage": "ListStages is not allowed" });
    let answer = json!({ "stdout": { "StatusCode": 200, "FunctionError": "Unhandled" }, "payload": failure });
    stack.answers.insert("lambda invoke", vec![answer]);
    let said = stack.make(&["backfill", "YES=1"], "");
    assert!(
        said.error
            .contains("AccessDenied: ListStages is not allowed"),
        "{}",
        said.error
    );
    assert!(!said.success && stack.named("sqs send-message").is_empty());

    let again = report(1, 9, 9, Some(STAGE));
    let stack = Deployed::new().reports(&[again.clone(), again]);
    let said = stack.make(&["backfill", "YES=1"], "");
    assert!(
        said.error
            .contains(&format!("goes on after '{STAGE}', which must lie behind")),
        "{}",
        said.error
    );
    assert!(!said.success && stack.named("sqs send-message").is_empty());

    let mut stack = Deployed::new();
    let answer = json!({ "stdout": { "StatusCode": 200 }, "payload": { "stages": 3 } });
    stack.answers.insert("lambda invoke", vec![answer]);
    let said = stack.make(&["backfill", "YES=1"], "");
    assert!(
        said.error
            .contains(r#"answered {"stages": 3}, which must be a report"#),
        "{}",
        said.error
    );
}

#[test]
fn a_request_goes_to_the_queue_of_work_at_once_in_the_form_of_the_file() {
    let stack = Deployed::new();
    let (stage, session) = (format!("STAGE={STAGE}"), format!("SESSION={SESSION}"));
    let said = stack.make(&["export", &stage, &session], "");
    assert!(said.success, "{}", said.error);
    let sent = stack.named("sqs send-message");
    assert_eq!((sent.len(), &sent[0]["--delay-seconds"][..]), (1, "0"));
    assert_eq!(sent[0]["--queue-url"], WORK);
    let body: Value = serde_json::from_str(&sent[0]["--message-body"]).unwrap();
    let mut form: Value = serde_json::from_str(&file("request")).unwrap();
    form["stage_arn"] = STAGE.into();
    form["session_id"] = SESSION.into();
    assert_eq!(body, form);
    event::parse(body, ARRIVAL).unwrap();
}

#[test]
fn a_collection_goes_to_its_queue_in_the_group_of_its_session_with_an_id_of_its_own() {
    let (stage, session) = (format!("STAGE={STAGE}"), format!("SESSION={SESSION}"));
    let sent = [(); 2].map(|()| {
        let stack = Deployed::new();
        let said = stack.make(&["collect", &stage, &session], "");
        assert!(said.success, "{}", said.error);
        assert!(said.text.contains(&format!("--queue-url {COLLECT}")));
        let sent = stack.named("sqs send-message");
        assert_eq!(sent.len(), 1);
        sent[0].clone()
    });
    // SQS refuses a delay of a message in a FIFO queue.
    assert!(!sent[0].contains_key("--delay-seconds"));
    assert_eq!(sent[0]["--queue-url"], COLLECT);
    let id = |number: usize| &sent[number]["--message-deduplication-id"];
    assert_ne!(id(0), id(1));
    let body: Value = serde_json::from_str(&sent[0]["--message-body"]).unwrap();
    let mut form: Value = serde_json::from_str(&file("collect")).unwrap();
    form["collect"] = json!({ "stage_arn": STAGE, "session_id": SESSION });
    assert_eq!(body, form);
    let Ok(Payload::One(Work::Collect(request))) = event::parse(body, ARRIVAL) else {
        panic!("the function takes it for something else");
    };
    let order = request.message(DateTime::UNIX_EPOCH).order.unwrap();
    assert_eq!(sent[0]["--message-group-id"], order.group);
}

#[test]
fn a_request_that_the_function_would_refuse_is_not_sent() {
    let long = format!("arn:aws:ivs:us-west-2:1:stage/{}", "a".repeat(100));
    for (stage, session, quoted) in [
        ("", SESSION, "STAGE is missing"),
        (STAGE, "", "SESSION is missing"),
        (
            "AbCdef1G2hij",
            SESSION,
            "STAGE='AbCdef1G2hij' must be a stage's ARN",
        ),
        (
            "arn:aws:ivs:us-west-2:1:channel/a",
            SESSION,
            "channel/a' must be a stage's ARN",
        ),
        (
            &format!("{STAGE} "),
            SESSION,
            "AbCdef1G2hij ' must be a stage's ARN",
        ),
        (
            "arn:aws:ivs:us-west-2:٣:stage/a",
            SESSION,
            "must be a stage's ARN",
        ),
        (&long, SESSION, "of at most 128 characters"),
        (
            STAGE,
            "st-ZyXwvu1T2s",
            "SESSION='st-ZyXwvu1T2s' must be a stage session's id",
        ),
        (
            "arn:aws:ivs:eu-west-1:1:stage/a",
            SESSION,
            "must be a stage of us-west-2",
        ),
    ] {
        let stack = Deployed::new();
        let arguments = [format!("STAGE={stage}"), format!("SESSION={session}")];
        let said = stack.make(&["export", &arguments[0], &arguments[1]], "");
        assert!(
            !said.success && said.error.contains(quoted),
            "{quoted} in {}",
            said.error
        );
        assert!(stack.named("sqs send-message").is_empty());
        // What is refused here and what is refused there is the same.
        let request = json!({ "stage_arn": stage, "session_id": session });
        event::parse(request, ARRIVAL).unwrap_err();
    }
}

#[test]
fn a_redrive_moves_both_dead_letter_queues_back() {
    let mut stack = Deployed::new();
    let queues = [("dead", "7"), ("dead.fifo", "2")]
        .map(|(name, count)| (format!("arn:aws:sqs:us-west-2:123456789012:{name}"), count));
    let answers = queues.iter().map(|(arn, count)| {
        let attributes = json!({ "QueueArn": arn, "ApproximateNumberOfMessages": count });
        json!({ "stdout": { "Attributes": attributes } })
    });
    stack
        .answers
        .insert("sqs get-queue-attributes", answers.collect());
    let task = json!({ "stdout": { "TaskHandle": "x" } });
    stack
        .answers
        .insert("sqs start-message-move-task", vec![task.clone(), task]);
    let said = stack.make(&["redrive"], "");
    assert!(said.success, "{}", said.error);
    for words in [
        "About 7 messages go back from the dead-letter queue to the queue of work.",
        "About 2 messages go back from the dead-letter queue to the queue of collections.",
    ] {
        assert!(said.text.contains(words), "{}", said.text);
    }
    let asked = stack.named("sqs get-queue-attributes");
    let asked: Vec<_> = asked.iter().map(|call| &*call["--queue-url"]).collect();
    assert_eq!(asked, [DEAD, DEAD_COLLECTIONS]);
    let moved = stack.named("sqs start-message-move-task");
    let moved: Vec<_> = moved.iter().map(|call| &call["--source-arn"]).collect();
    assert_eq!(moved, [&queues[0].0, &queues[1].0]);

    // One that cannot be moved, as while a move runs already, does not keep the other.
    stack.folder = folder_with_aws();
    let running = json!({ "stderr": "There is already a task running", "code": 254 });
    let task = json!({ "stdout": { "TaskHandle": "x" } });
    stack
        .answers
        .insert("sqs start-message-move-task", vec![running, task]);
    let said = stack.make(&["redrive"], "");
    assert!(!said.success && said.error.contains("already a task running"));
    assert!(said.text.contains("About 2 messages"), "{}", said.text);
}

/// The region that each program was given, by both of the variables from which the tools of AWS read it.
fn regions(stack: &Deployed) -> Vec<(Value, Value)> {
    let calls = stack.calls();
    let worked = calls
        .iter()
        .filter(|call| call["command"] != "configure get");
    let both = worked.map(|call| &call["environment"]);
    both.map(|it| (it["AWS_REGION"].clone(), it["AWS_DEFAULT_REGION"].clone()))
        .collect()
}

#[test]
fn all_of_a_command_works_in_the_one_region_that_it_names_first() {
    for (environment, profile, region) in [
        (&[("AWS_REGION", "eu-west-1")][..], "us-east-1", "eu-west-1"),
        (
            &[("AWS_DEFAULT_REGION", "eu-west-1")],
            "us-east-1",
            "eu-west-1",
        ),
        (
            &[
                ("AWS_REGION", "eu-west-1"),
                ("AWS_DEFAULT_REGION", "us-east-1"),
            ],
            "us-east-1",
            "eu-west-1",
        ),
        (&[("AWS_REGION", "")], "us-east-1", "us-east-1"),
    ] {
        let mut stack = Deployed::new();
        stack.environment = environment.iter().copied().collect();
        let of_profile = json!({ "text": profile });
        stack.answers.insert("configure get", vec![of_profile]);
        let said = stack.make(&["sweep"], "");
        assert!(said.success, "{}", said.error);
        let first = format!("Account 123456789012, region {region}, stack ivs-attendance\n");
        assert!(said.text.starts_with(&first), "{}", said.text);
        let regions = regions(&stack);
        assert_eq!(regions.len(), 3);
        for given in regions {
            assert_eq!(given, (json!(region), json!(region)));
        }
    }
}

#[test]
fn without_a_region_or_with_one_that_cannot_be_a_command_asks_nothing_of_aws() {
    for (environment, profile, quoted) in [
        (
            &[][..],
            json!({ "stderr": "", "code": 1 }),
            "no region is set; AWS_REGION",
        ),
        (
            &[("AWS_REGION", "Ireland")],
            json!({}),
            "AWS_REGION='Ireland' must be the name of a region",
        ),
        (
            &[],
            json!({ "text": "eu_west_1" }),
            "the region of your profile, 'eu_west_1', must be",
        ),
        (
            &[("AWS_PROFILE", "nobody")],
            json!({ "stderr": "The config profile (nobody) could not be found", "code": 255 }),
            "The config profile (nobody) could not be found",
        ),
    ] {
        let mut stack = Deployed::new();
        stack.environment = environment.iter().copied().collect();
        stack.answers.insert("configure get", vec![profile]);
        let said = stack.make(&["sweep"], "");
        assert!(
            !said.success && said.error.contains(quoted),
            "{quoted} in {}",
            said.error
        );
        assert!(regions(&stack).is_empty());
    }
}

#[test]
fn the_operators_own_settings_of_the_cli_change_nothing() {
    let mut stack = Deployed::new().reports(&[report(1, 9, 9, None)]);
    stack.environment.extend([
        ("AWS_CLI_AUTO_PROMPT", "on"),
        ("AWS_PAGER", "less"),
        ("AWS_DEFAULT_OUTPUT", "text"),
        ("AWS_RETRY_MODE", "legacy"),
        ("AWS_MAX_ATTEMPTS", "7"),
    ]);
    let said = stack.make(&["backfill"], "y\n");
    assert!(said.success, "{}", said.error);
    let calls = stack.calls();
    assert_eq!(calls.len(), 4);
    for call in calls {
        let set = |name: &str| call["environment"][name].as_str().unwrap().to_owned();
        assert_eq!(set("AWS_CLI_AUTO_PROMPT"), "off");
        assert_eq!(set("AWS_PAGER"), "");
        let attempts = if call["command"] == "lambda invoke" {
            "1"
        } else {
            "3"
        };
        assert_eq!(
            (&*set("AWS_RETRY_MODE"), &*set("AWS_MAX_ATTEMPTS")),
            ("standard", attempts)
        );
        let arguments = call["arguments"].as_array().unwrap();
        assert!(arguments.ends_with(&[json!("--output"), json!("json")]));
        // The operator's yes is for the question, and not for a prompt of the CLI.
        assert_eq!(call["stdin"], "");
    }
}

/// A stack that is being rewritten before this instant, if it is one, and whose updates succeed.
fn rewritten(before: &'static str) -> Deployed {
    let mut stack = Deployed::new();
    stack.parameters.insert("RewriteBefore", before);
    let id = json!({ "stdout": { "StackId": "arn:aws:cloudformation:us-west-2:123456789012:stack/ivs-attendance/1" } });
    stack
        .answers
        .insert("cloudformation update-stack", vec![id]);
    stack
        .answers
        .insert("cloudformation wait", vec![json!({ "text": "" })]);
    stack
}

#[test]
fn a_rewrite_changes_the_one_parameter_of_the_stack_and_says_how_to_see_what_is_left() {
    let stack = rewritten("");
    let said = stack.make(&["rewrite", "BEFORE=2026-11-24T12:00:00Z"], "");
    assert!(said.success, "{}", said.error);
    let updates = stack.named("cloudformation update-stack");
    assert_eq!(
        (updates.len(), &*updates[0]["--stack-name"]),
        (1, "ivs-attendance")
    );
    let parameters: Vec<Value> = serde_json::from_str(&updates[0]["--parameters"]).unwrap();
    let (changed, others): (Vec<_>, Vec<_>) = parameters
        .into_iter()
        .partition(|it| it["ParameterKey"] == "RewriteBefore");
    let instant =
        json!({ "ParameterKey": "RewriteBefore", "ParameterValue": "2026-11-24T12:00:00Z" });
    assert_eq!(changed, [instant]);
    let names: Vec<_> = others
        .iter()
        .map(|it| it["ParameterKey"].as_str().unwrap())
        .collect();
    let all = stack.parameters.keys().copied();
    assert_eq!(
        names,
        all.filter(|name| *name != "RewriteBefore")
            .collect::<Vec<_>>()
    );
    assert!(others.iter().all(|it| it["UsePreviousValue"] == true));
    let calls = stack.calls();
    let update = calls
        .iter()
        .find(|call| call["command"] == "cloudformation update-stack");
    for argument in [
        "--use-previous-template",
        "CAPABILITY_IAM",
        "CAPABILITY_AUTO_EXPAND",
    ] {
        assert!(
            update.unwrap()["arguments"]
                .as_array()
                .unwrap()
                .contains(&argument.into())
        );
    }
    assert_eq!(stack.named("cloudformation wait").len(), 1);
    for words in [
        "The update is done.",
        "`make backfill` under `due`",
        "Rows that `make erase` removed before that instant come back",
        "aws logs tail the-log --follow",
    ] {
        assert!(said.text.contains(words), "{words} in {}", said.text);
    }
}

#[test]
fn an_empty_instant_ends_a_rewrite_and_none_at_all_does_not() {
    let stack = rewritten("2026-11-24T12:00:00Z");
    let said = stack.make(&["rewrite", "BEFORE="], "");
    assert!(said.success, "{}", said.error);
    let update = &stack.named("cloudformation update-stack")[0]["--parameters"];
    assert!(
        update.contains(r#"{"ParameterKey": "RewriteBefore", "ParameterValue": ""}"#),
        "{update}"
    );

    let stack = rewritten("2026-11-24T12:00:00Z");
    let said = stack.make(&["rewrite"], "");
    assert!(
        !said.success && said.error.contains("BEFORE is missing"),
        "{}",
        said.error
    );
    assert!(stack.calls().is_empty());
}

#[test]
fn an_instant_that_the_function_would_refuse_does_not_reach_the_stack() {
    for (before, rule) in [
        ("2026-11-24", "must be an instant by RFC 3339"),
        ("2026-11-24T12:00:00", "must be an instant by RFC 3339"),
        ("2026-13-45T12:00:00Z", "must be an instant by RFC 3339"),
        (
            "2026-02-30T12:00:00+01:00",
            "must be an instant by RFC 3339",
        ),
        ("yesterday", "must be an instant by RFC 3339"),
        (
            "2099-01-01T00:00:00Z",
            "must not lie in the future: now it is 20",
        ),
    ] {
        let stack = rewritten("");
        let said = stack.make(&["rewrite", &format!("BEFORE={before}")], "");
        let quoted = format!("BEFORE='{before}' {rule}");
        assert!(
            !said.success && said.error.contains(&quoted),
            "{}",
            said.error
        );
        assert!(stack.calls().is_empty());
    }
}

#[test]
fn a_rewrite_that_changes_nothing_or_cannot_is_told_so() {
    let stack = rewritten("2026-11-24T12:00:00Z");
    let said = stack.make(&["rewrite", "BEFORE=2026-11-24T12:00:00Z"], "");
    assert!(
        said.success && said.text.contains("already, so nothing was changed"),
        "{}",
        said.error
    );
    assert!(stack.named("cloudformation update-stack").is_empty());

    let older = Deployed::new();
    let said = older.make(&["rewrite", "BEFORE=2026-11-24T12:00:00Z"], "");
    assert!(
        !said.success
            && said
                .error
                .contains("no parameter RewriteBefore; deploy this version first"),
        "{}",
        said.error
    );

    let mut stack = rewritten("");
    let failure = json!({ "stderr": "Waiter StackUpdateComplete failed", "code": 255 });
    stack.answers.insert("cloudformation wait", vec![failure]);
    let said = stack.make(&["rewrite", "BEFORE=2026-11-24T12:00:00Z"], "");
    let events =
        "aws cloudformation describe-stack-events --region us-west-2 --stack-name ivs-attendance";
    assert!(
        !said.success && said.error.contains(events),
        "{}",
        said.error
    );
}

#[test]
fn a_recollection_changes_its_own_parameter() {
    let mut stack = rewritten("2026-11-23T12:00:00Z");
    stack.parameters.insert("RecollectBefore", "");
    let said = stack.make(&["recollect", "BEFORE=2026-11-24T12:00:00Z"], "");
    assert!(said.success, "{}", said.error);
    let update = &stack.named("cloudformation update-stack")[0]["--parameters"];
    for parameter in [
        r#"{"ParameterKey": "RecollectBefore", "ParameterValue": "2026-11-24T12:00:00Z"}"#,
        r#"{"ParameterKey": "RewriteBefore", "UsePreviousValue": true}"#,
    ] {
        assert!(update.contains(parameter), "{update}");
    }
    assert!(said.text.contains("collected once more"), "{}", said.text);

    let mut stack = rewritten("");
    stack
        .parameters
        .insert("RecollectBefore", "2026-11-24T12:00:00Z");
    let said = stack.make(&["recollect", "BEFORE=2026-11-24T12:00:00Z"], "");
    assert!(
        said.success && said.text.contains("already, so nothing was changed"),
        "{}",
        said.error
    );
    let missing = stack.make(&["recollect"], "");
    assert!(!missing.success && missing.error.contains("BEFORE is missing"));
}

#[test]
fn a_cli_that_cannot_work_is_not_blamed_on_the_stack() {
    let mut stack = Deployed::new();
    let failure = json!({ "stderr": "The SSO session has expired", "code": 255 });
    stack
        .answers
        .insert("sts get-caller-identity", vec![failure.clone()]);
    let said = stack.make(&["sweep"], "");
    assert!(
        !said.success
            && said
                .error
                .contains("`aws sts get-caller-identity` failed with exit code 255")
    );
    let mut stack = Deployed::new();
    stack
        .answers
        .insert("cloudformation describe-stacks", vec![failure]);
    let said = stack.make(&["sweep"], "");
    assert!(!said.success && said.error.contains("The SSO session has expired"));
    assert!(!said.error.contains("must name a stack"), "{}", said.error);
}

#[test]
fn failures_of_the_cli_are_told_as_they_are() {
    let mut stack = Deployed::new();
    let refusal = json!({ "stderr": "Stack with id nowhere does not exist", "code": 254 });
    stack
        .answers
        .insert("cloudformation describe-stacks", vec![refusal]);
    let said = stack.make(&["sweep", "STACK=nowhere"], "");
    assert!(!said.success);
    for words in [
        "Stack with id nowhere does not exist",
        "`aws cloudformation describe-stacks` failed with exit code 254",
        "STACK='nowhere' must name a stack",
    ] {
        assert!(said.error.contains(words), "{words} in {}", said.error);
    }
    let said = stack.make(&["sweep", "STACK=no_where"], "");
    assert!(
        said.error
            .contains("STACK='no_where' must be a stack's name"),
        "{}",
        said.error
    );
}

#[test]
fn without_the_cli_it_says_what_to_install() {
    // A PATH with nothing but what make and the script need.
    let folder = folder();
    for program in ["bash", "make"] {
        let found = printed("bash", &["-c", &format!("command -v {program}")]);
        symlink(found, folder.path().join(program)).unwrap();
    }
    let environment = BTreeMap::from([("AWS_REGION", "us-west-2")]);
    let path = folder.path().to_str().unwrap();
    let said = said(path, &environment, &["sweep"], "");
    assert!(!said.success);
    for words in ["the AWS CLI is missing", "install its version 2"] {
        assert!(said.error.contains(words), "{}", said.error);
    }
}
