//! `tools/erase.py` on files of the real function: what it leaves is a lake with which the function goes on, without the user.
//! What it does about versions is in `tests/athena/`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::path::Path;
use std::process::Command;

use chrono::TimeDelta;
use ivs_attendance_local::ivs::world::timestamp;
use ivs_attendance_local::lambda::stack::Stack;
use ivs_attendance_local::scene::{
    QUICK, SESSION_ID as SESSION, STAGE_ARN as STAGE, ended, now, request,
};
use ivs_attendance_local::{ACCESS_KEY, BUCKET, SECRET_KEY};
use serde_json::{Value, json};

use crate::harness::{BOOTSTRAP, FOLDER};

async fn python(arguments: &[&str]) -> String {
    let mut python = Command::new(".venv/bin/python3");
    python
        .args(arguments)
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .env("NO_PROXY", "127.0.0.1");
    // Meanwhile this thread is S3.
    let output = tokio::task::spawn_blocking(move || python.output());
    let output = output.await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

/// How often a text stands in a file's rows.
async fn times(stack: &Stack, key: &str, text: &str) -> usize {
    let file = stack.s3.path(key);
    let rows = python(&["tests/read_parquet.py", file.to_str().unwrap()]).await;
    rows.matches(&format!("{text:?}")).count()
}

/// The one is in no file, and the other in each.
async fn assert_clean(stack: &Stack, keys: &[String]) {
    for key in keys {
        assert_eq!(times(stack, key, "erased").await, 0, "{key}");
        assert!(times(stack, key, "kept").await > 0, "{key}");
    }
}

#[tokio::test]
async fn an_erased_user_is_in_no_table_and_a_recollection_brings_nobody_back() {
    let (mut stack, _folder) = Stack::temporary(Path::new(BOOTSTRAP), Path::new(FOLDER), &QUICK)
        .await
        .unwrap();
    let mut session = ended(3, 120);
    session.participants[0].user_id = Some("erased".to_owned());
    session.participants[1].user_id = Some("kept".to_owned());
    stack.ivs.world().put(STAGE, SESSION, session);
    stack.invoke(request(STAGE, SESSION)).await.unwrap();
    let mut collect = json!({ "collect": request(STAGE, SESSION) });
    stack.invoke(collect.clone()).await.unwrap();
    let keys = stack.s3.keys();
    let tables = keys.iter().map(|key| key.split('/').next().unwrap());
    let tables: Vec<_> = tables.collect();
    assert_eq!(tables, ["attendance", "participant_events", "participants"]);
    for key in &keys {
        assert!(times(&stack, key, "erased").await > 0, "{key}");
    }

    let mut arguments = vec!["tests/erase_rows.py", stack.s3.url(), BUCKET, "erased"];
    arguments.extend(keys.iter().map(String::as_str));
    python(&arguments).await;
    assert_clean(&stack, &keys).await;

    let outcome = |answer: Result<Value, _>| answer.map(|it: Value| it["outcome"].clone());
    let again = stack.invoke(collect.clone()).await;
    assert_eq!(outcome(again), Ok(json!("up_to_date")));
    // Written more than a moment ago, so that the rewrite takes them for old.
    let before = now() - TimeDelta::minutes(10);
    for key in &keys {
        stack.s3.set_last_modified(key, before.into());
    }
    collect["collect"]["rewrite_before"] = timestamp(now() - TimeDelta::minutes(1)).into();
    let again = stack.invoke(collect).await;
    assert_eq!(outcome(again), Ok(json!("collected")));
    assert_clean(&stack, &keys).await;
}
