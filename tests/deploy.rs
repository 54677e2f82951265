//! `make deploy` and `make erase` before they reach AWS, with stand-ins for SAM and for the service that tells whose
//! credentials they are: what is refused, where they work, and what SAM is given.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

const ACCOUNT: &str = "123456789012";

/// The operator's machine: a folder in place of .venv, in which `sam` only writes down how it was called.
struct Machine {
    folder: TempDir,
    /// The service STS, and the requests that it got.
    sts: String,
    asked: Receiver<String>,
}

struct Said {
    success: bool,
    text: String,
    error: String,
}

const SAM: &str = "#!/usr/bin/env python3
import json, os, sys
regions = [os.environ.get(name) for name in ('AWS_REGION', 'AWS_DEFAULT_REGION')]
with open(os.path.join(os.path.dirname(sys.argv[0]), 'calls'), 'a') as calls:
    print(json.dumps({'arguments': sys.argv[1:], 'regions': regions}), file=calls)
";

impl Machine {
    fn new() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let local = root.join(".local");
        std::fs::create_dir_all(&local).unwrap();
        // Within the project, because the Makefile takes the path of .venv from there.
        let folder = tempfile::tempdir_in(local).unwrap();
        std::fs::create_dir(folder.path().join("bin")).unwrap();
        std::fs::write(folder.path().join("installed"), "").unwrap();
        let python = root.join(".venv/bin/python3");
        let python = format!("#!/bin/sh\nexec '{}' \"$@\"\n", python.display());
        for (name, script) in [("sam", SAM), ("python3", &python), ("python", &python)] {
            let path = folder.path().join("bin").join(name);
            std::fs::write(&path, script).unwrap();
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        }
        let (sts, asked) = sts();
        Self { folder, sts, asked }
    }

    fn bin(&self) -> PathBuf {
        self.folder.path().join("bin")
    }

    /// `make` with these arguments, in such an environment.
    fn make(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Said {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let venv = self.folder.path().strip_prefix(root).unwrap();
        let mut make = Command::new("make");
        for (variable, _) in std::env::vars_os() {
            let variable = variable.to_string_lossy().into_owned();
            let ours = [
                "MAKEFLAGS",
                "MFLAGS",
                "MAKELEVEL",
                "STACK",
                "YES",
                "PARAMETERS",
            ];
            if variable.starts_with("AWS_") || ours.contains(&&*variable) {
                make.env_remove(variable);
            }
        }
        let output = make
            .arg("--no-print-directory")
            .arg(format!("VENV={}", venv.display()))
            .args(["-o", venv.join("installed").to_str().unwrap()])
            .args(arguments)
            .env("AWS_CONFIG_FILE", "/dev/null")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
            .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_ENDPOINT_URL", &self.sts)
            .env("NO_PROXY", "127.0.0.1")
            .envs(environment.iter().copied())
            .current_dir(root)
            .output()
            .unwrap();
        Said {
            success: output.status.success(),
            text: String::from_utf8(output.stdout).unwrap(),
            error: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn calls_of_sam(&self) -> Vec<Value> {
        let calls = std::fs::read_to_string(self.bin().join("calls")).unwrap_or_default();
        let calls = calls.lines();
        calls
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// What SAM makes of the parameters that it was given.
    fn parameters(&self) -> Value {
        let deploy = self.calls_of_sam().pop().unwrap();
        let arguments: Vec<_> = deploy["arguments"].as_array().unwrap().iter().collect();
        let flag = arguments
            .iter()
            .position(|it| **it == "--parameter-overrides");
        let parse = "import json, sys; from samcli.cli.types import CfnParameterOverridesType; \
                     print(json.dumps(CfnParameterOverridesType().convert(tuple(sys.argv[1:]), None, None)))";
        let output = Command::new(".venv/bin/python3")
            .args(["-c", parse])
            .args(
                arguments[flag.unwrap() + 1..]
                    .iter()
                    .map(|it| it.as_str().unwrap()),
            )
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// A service that takes any credentials for those of one account.
fn sts() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, requests) = channel();
    let body = format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
         <Arn>arn:aws:iam::{ACCOUNT}:user/x</Arn><UserId>x</UserId><Account>{ACCOUNT}</Account>\
         </GetCallerIdentityResult></GetCallerIdentityResponse>"
    );
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut request, mut buffer) = (String::new(), [0; 4096]);
            while !request.contains("Action=GetCallerIdentity") {
                let read = stream.read(&mut buffer).unwrap();
                request.push_str(&String::from_utf8_lossy(&buffer[..read]));
                if read == 0 {
                    break;
                }
            }
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/xml\r\ncontent-length: {}\r\nconnection: close\r\n",
                body.len()
            );
            stream
                .write_all(format!("{head}\r\n{body}").as_bytes())
                .unwrap();
            if sender.send(request).is_err() {
                break;
            }
        }
    });
    (address, requests)
}

#[test]
fn a_deployment_is_of_the_named_stack_in_the_region_that_it_names_first() {
    let machine = Machine::new();
    let said = machine.make(
        &["deploy", "STACK=staging"],
        &[
            ("AWS_REGION", "eu-west-1"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
        ],
    );
    assert!(said.success, "{}", said.error);
    let first = format!("Account {ACCOUNT}, region eu-west-1, stack staging\n");
    assert!(said.text.starts_with(&first), "{}", said.text);
    let asked = machine.asked.recv().unwrap();
    assert!(asked.contains("/eu-west-1/sts/aws4_request"), "{asked}");
    let regions = json!(["eu-west-1", "eu-west-1"]);
    let deploy = [
        "deploy",
        "--stack-name",
        "staging",
        "--s3-prefix",
        "staging",
        "--region",
        "eu-west-1",
    ];
    assert_eq!(
        machine.calls_of_sam(),
        [
            json!({ "arguments": ["build"], "regions": regions }),
            json!({ "arguments": deploy, "regions": regions }),
        ]
    );
}

#[test]
fn without_a_name_the_stack_is_ivs_attendance_and_the_region_that_of_the_profile() {
    let machine = Machine::new();
    let config = machine.bin().join("config");
    std::fs::write(&config, "[profile work]\nregion = ap-south-1\n").unwrap();
    let profile = [
        ("AWS_PROFILE", "work"),
        ("AWS_CONFIG_FILE", config.to_str().unwrap()),
    ];
    let said = machine.make(&["deploy", "YES=1"], &profile);
    assert!(said.success, "{}", said.error);
    let deploy = &machine.calls_of_sam()[1];
    let arguments = [
        "deploy",
        "--stack-name",
        "ivs-attendance",
        "--s3-prefix",
        "ivs-attendance",
        "--region",
        "ap-south-1",
        "--no-confirm-changeset",
    ];
    assert_eq!(deploy["arguments"], json!(arguments));
    assert_eq!(deploy["regions"], json!(["ap-south-1", "ap-south-1"]));
}

#[test]
fn without_a_region_or_an_account_nothing_is_deployed() {
    let machine = Machine::new();
    let said = machine.make(&["deploy"], &[]);
    assert!(
        !said.success && said.error.contains("no region is set"),
        "{}",
        said.error
    );
    let said = machine.make(&["deploy"], &[("AWS_REGION", "Ireland")]);
    assert!(
        said.error
            .contains("AWS_REGION='Ireland' must be the name of a region"),
        "{}",
        said.error
    );
    let nobody = [("AWS_REGION", "eu-west-1"), ("AWS_PROFILE", "nobody")];
    let said = machine.make(&["deploy"], &nobody);
    assert!(
        said.error
            .contains("The config profile (nobody) could not be found"),
        "{}",
        said.error
    );
    let nowhere = [
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
    ];
    let said = machine.make(&["deploy"], &nowhere);
    assert!(
        said.error
            .contains("AWS does not tell whose credentials these are"),
        "{}",
        said.error
    );
    assert!(machine.calls_of_sam().is_empty());
}

#[test]
fn a_name_with_which_the_stack_could_not_be_made_is_refused_at_once() {
    let machine = Machine::new();
    let region = [("AWS_REGION", "eu-west-1")];
    for name in [
        "a".repeat(76),
        "1st".to_owned(),
        "my_stack".to_owned(),
        String::new(),
    ] {
        let said = machine.make(&["deploy", &format!("STACK={name}")], &region);
        let quoted = format!("STACK='{name}' must be a stack's name");
        assert!(
            !said.success && said.error.contains(&quoted),
            "{}",
            said.error
        );
    }
    assert!(machine.calls_of_sam().is_empty());
    // A queue's name has at most 80 characters.
    let name = "a".repeat(67);
    assert!(
        machine
            .make(&["deploy", &format!("STACK={name}")], &region)
            .success
    );
    assert_eq!(format!("{name}-collect.fifo").len(), 80);
}

#[test]
fn parameters_that_the_stack_or_the_function_could_not_live_with_are_refused_all_together() {
    let machine = Machine::new();
    let parameters = "PARAMETERS=FirstDay=2026-02-30 IgnoreEndedBefore=2026-13-45T00:00:00Z ConfirmAfterMinutes=1.5 \
                      SweepSchedule='rate(5 minutes)' NoSweepSeconds=1800 Sweepstate=DISABLED";
    let said = machine.make(&["deploy", parameters], &[("AWS_REGION", "eu-west-1")]);
    assert!(!said.success);
    for words in [
        "FirstDay='2026-02-30' must be a date",
        "IgnoreEndedBefore='2026-13-45T00:00:00Z' must be empty or an instant by RFC 3339",
        "ConfirmAfterMinutes='1.5' must be a whole number of minutes from 1 to 1440",
        "SweepSchedule='rate(5 minutes)' must be rate(10 minutes) or rarer",
        "NoSweepSeconds='1800' must be one of 3600, 7200",
        "the stack has no parameter 'Sweepstate'; it must be one of BucketName, ",
    ] {
        assert!(said.error.contains(words), "{words} in {}", said.error);
    }
    for (parameters, words) in [
        (
            "FirstDay=2099-01-01",
            "FirstDay='2099-01-01' must not lie in the future",
        ),
        (
            "SweepSchedule=rate\\(15 minutes\\)",
            "'minutes)' must be NAME=VALUE",
        ),
        ("QueueAtMost", "'QueueAtMost' must be NAME=VALUE"),
        (
            "AlarmEmail='a\\@example.com'",
            "must hold no double quote and no backslash",
        ),
    ] {
        let parameters = format!("PARAMETERS={parameters}");
        let said = machine.make(&["deploy", &parameters], &[("AWS_REGION", "eu-west-1")]);
        assert!(
            !said.success && said.error.contains(words),
            "{words} in {}",
            said.error
        );
    }
    assert!(machine.calls_of_sam().is_empty());
}

/// The commands of README and the other pages that begin so, as arguments of make.
fn commands_of_pages(begin: &str) -> Vec<Vec<String>> {
    let pages = std::fs::read_dir("docs").unwrap();
    let pages = pages.map(|page| page.unwrap().path());
    let pages = pages.filter(|page| page.extension().is_some_and(|it| it == "md"));
    let text: String = pages
        .chain(["README.md".into()])
        .map(|page| std::fs::read_to_string(page).unwrap())
        .collect();
    let commands = text
        .split(begin)
        .skip(1)
        .map(|rest| rest.split('`').next().unwrap());
    let words = commands.map(|command| {
        let script = format!("printf '%s\\n' deploy {command}");
        let output = Command::new("bash").args(["-c", &script]).output().unwrap();
        let words = String::from_utf8(output.stdout).unwrap();
        words.lines().map(str::to_owned).collect()
    });
    words.collect()
}

#[test]
fn the_pages_values_reach_the_stack_whole_with_spaces_and_empty() {
    let machine = Machine::new();
    let commands = commands_of_pages("`make deploy ");
    assert!(commands.len() >= 4, "{commands:?}");
    let mut given = Vec::new();
    for command in commands {
        let arguments: Vec<_> = command.iter().map(String::as_str).collect();
        let said = machine.make(&arguments, &[("AWS_REGION", "us-west-2")]);
        assert!(said.success, "{arguments:?}: {}", said.error);
        given.push(machine.parameters());
    }
    let expected = [
        json!({ "SweepSchedule": "rate(10 minutes)" }),
        json!({ "KmsKeyArn": "" }),
    ];
    for parameters in expected {
        assert!(given.contains(&parameters), "{parameters} in {given:?}");
    }
    // What people try, or have in their scripts.
    for (parameters, taken) in [
        (
            "KmsKeyArn='' QueueAtMost=100",
            json!({ "KmsKeyArn": "", "QueueAtMost": "100" }),
        ),
        ("KmsKeyArn='\"\"'", json!({ "KmsKeyArn": "" })),
        (
            "SweepSchedule='\"cron(0/20 * * * ? *)\"'",
            json!({ "SweepSchedule": "cron(0/20 * * * ? *)" }),
        ),
    ] {
        let said = machine.make(
            &["deploy", &format!("PARAMETERS={parameters}")],
            &[("AWS_REGION", "us-west-2")],
        );
        assert!(said.success, "{}", said.error);
        assert_eq!(machine.parameters(), taken);
    }
}

#[test]
fn an_erasure_says_first_where_it_works_and_works_nowhere_without_a_region() {
    let machine = Machine::new();
    let said = machine.make(&["erase"], &[("AWS_DEFAULT_REGION", "eu-west-1")]);
    let first = format!("Account {ACCOUNT}, region eu-west-1, stack ivs-attendance\n");
    assert!(
        said.text.starts_with(&first),
        "{} {}",
        said.text,
        said.error
    );
    assert!(
        !said.success && said.error.contains("USER_ID"),
        "{}",
        said.error
    );
    let said = machine.make(&["erase"], &[]);
    assert!(
        !said.success && said.error.contains("no region is set"),
        "{}",
        said.error
    );
}
