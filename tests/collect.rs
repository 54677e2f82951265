//! Collections by the real binary on the local stack: until when everybody was there, and what a failure leaves.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::path::Path;
use std::process::Command;

use ivs_attendance_local::lambda::stack::Stack;
use ivs_attendance_local::scene::{self, QUICK, SESSION_ID as SESSION, STAGE_ARN as STAGE, ended};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{BOOTSTRAP, FOLDER};

async fn stack(settings: &[(&str, &str)]) -> (Stack, TempDir) {
    let settings = [&QUICK, settings].concat();
    Stack::temporary(Path::new(BOOTSTRAP), Path::new(FOLDER), &settings)
        .await
        .unwrap()
}

fn collect() -> Value {
    json!({ "collect": scene::request(STAGE, SESSION) })
}

/// A file as pyarrow reads it.
fn read(stack: &Stack, key: &str) -> Value {
    let output = Command::new(".venv/bin/python3")
        .arg("tests/read_parquet.py")
        .arg(stack.s3.path(key))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn a_session_of_three_people_is_collected() {
    let (mut stack, _folder) = stack(&[]).await;
    stack.ivs.world().put(STAGE, SESSION, ended(3, 120));
    stack.invoke(scene::request(STAGE, SESSION)).await;
    let answer = format!("{:?}", stack.invoke(collect()).await);
    println!("{answer}");
    for key in stack.s3.keys() {
        println!("{key}\n{:#}", read(&stack, &key));
    }
    assert!(answer.contains("collected"), "{answer}");
}
