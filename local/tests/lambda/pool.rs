//! Processes: started, kept warm, killed, and started again.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use ivs_attendance_local::lambda::function::{Died, Function};
use ivs_attendance_local::lambda::mapping::{Mapping, MappingSettings};
use ivs_attendance_local::lambda::pool::Pool;
use ivs_attendance_local::sqs::Sqs;
use ivs_attendance_local::sqs::queues::QueueSettings;

/// A function in a few lines of shell: it prints its process id and answers with it, or does as it is told.
const BOOTSTRAP: &str = r#"#!/bin/sh
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
while event=$(curl -sf -D "$0.$$" "$api/next"); do
    id=$(sed -n 's/^lambda-runtime-aws-request-id: *//Ip' "$0.$$" | tr -d '\r')
    echo "{\"process\":$$,\"event\":$event}"
    case $event in
        '"wait"') exec sleep 600 ;;
        '"end"') exit 3 ;;
        '"fail"') curl -sf -d '{"errorType":"Told","errorMessage":"to fail"}' "$api/$id/error" ;;
        *) curl -sf -d "$$" "$api/$id/response" ;;
    esac >&2
done
"#;
const LONG: Duration = Duration::from_secs(60);

/// A folder with the function in it, and the variables that it needs.
fn function() -> (PathBuf, HashMap<String, String>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let bootstrap = folder.path().join("bootstrap");
    fs::write(&bootstrap, BOOTSTRAP).unwrap();
    fs::set_permissions(&bootstrap, Permissions::from_mode(0o755)).unwrap();
    let path = ("PATH".to_owned(), std::env::var("PATH").unwrap());
    (bootstrap, HashMap::from([path]), folder)
}

fn pool(most: usize) -> (Arc<Pool>, TempDir) {
    let (bootstrap, variables, folder) = function();
    let folder_of_logs = folder.path().to_owned();
    let pool = Pool::new(bootstrap, variables, folder_of_logs, most);
    (Arc::new(pool), folder)
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_process_starts_with_the_first_invocation_and_stays_warm() {
    let (pool, _folder) = pool(2);
    assert_eq!(pool.started(), 0);

    let first = pool.invoke(json!("go"), LONG).await;
    let second = pool.invoke(json!("go"), LONG).await;

    assert!(matches!(&first, Ok(Ok(Value::Number(_)))), "{first:?}");
    assert_eq!(first, second);
    assert_eq!(pool.started(), 1);
}

#[tokio::test]
async fn a_lambda_error_keeps_the_process() {
    let (pool, _folder) = pool(1);

    let failure = pool.invoke(json!("fail"), LONG).await.unwrap().unwrap_err();

    assert_eq!(failure.error_type, "Told");
    pool.invoke(json!("go"), LONG).await.unwrap().unwrap();
    assert_eq!(pool.started(), 1);
}

#[tokio::test]
async fn a_timeout_kills_the_process_and_the_next_one_is_new() {
    let (pool, _folder) = pool(1);

    let died = pool.invoke(json!("wait"), Duration::from_millis(200)).await;

    assert_eq!(died, Err(Died::TimedOut));
    pool.invoke(json!("go"), LONG).await.unwrap().unwrap();
    assert_eq!(pool.started(), 2);
}

#[tokio::test]
async fn a_function_that_timed_out_does_not_work_on_in_secret() {
    let (bootstrap, variables, folder) = function();
    let log = folder.path().join("log");
    let mut function = Function::start(&bootstrap, &variables, log).await.unwrap();

    let died = function.try_invoke(json!("wait"), Duration::from_millis(200));

    assert_eq!(died.await, Err(Died::TimedOut));
    assert!(!function.lives());
}

#[tokio::test]
async fn a_process_that_ends_by_itself_is_an_error_that_tells_its_status() {
    let (pool, _folder) = pool(1);

    let died = pool.invoke(json!("end"), LONG).await;

    assert_eq!(died, Err(Died::Ended("exit status: 3".to_owned())));
    pool.invoke(json!("go"), LONG).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_deployment_lets_no_later_work_find_an_old_process() {
    let (pool, _folder) = pool(1);
    pool.invoke(json!("go"), LONG).await.unwrap().unwrap();
    pool.deploy("NEW", "1");
    pool.invoke(json!("go"), LONG).await.unwrap().unwrap();
    pool.invoke(json!("go"), LONG).await.unwrap().unwrap();
    assert_eq!(pool.started(), 2);
}

#[tokio::test]
async fn a_busy_process_is_killed_on_request_and_its_lines_stay_readable() {
    let (pool, _folder) = pool(2);
    assert!(!pool.kill_one(), "nothing is at work");
    let invocation = tokio::spawn(pool.invoker(LONG)(json!("wait")));
    until(|| pool.printed().ends_with('\n')).await;

    assert!(pool.kill_one());

    let died = invocation.await.unwrap();
    assert_eq!(died, Err(Died::Ended("killed".to_owned())));
    pool.invoke(json!("go"), LONG).await.unwrap().unwrap();
    let lines = pool.log_lines();
    let events: Vec<_> = lines.iter().map(|line| &line["event"]).collect();
    assert_eq!(events, ["wait", "go"]);
}

#[tokio::test]
async fn at_most_so_many_processes_are_at_work_and_the_rest_waits() {
    let (pool, _folder) = pool(2);
    let invocations: Vec<_> = (0..3)
        .map(|_| tokio::spawn(pool.invoker(LONG)(json!("wait"))))
        .collect();
    until(|| pool.printed().lines().count() == 2).await;

    assert_eq!((pool.busy(), pool.started()), (2, 2));
    assert!(pool.kill_one());
    until(|| pool.printed().lines().count() == 3).await;

    assert_eq!((pool.busy(), pool.started()), (2, 3));
    drop(invocations);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_had_in_hand_comes_back_by_the_queue() {
    let sqs = Sqs::start().await.unwrap();
    let visibility_timeout = Duration::from_millis(300);
    sqs.create(
        "work",
        QueueSettings {
            visibility_timeout,
            ..QueueSettings::default()
        },
    );
    let (pool, _folder) = pool(2);
    let settings = MappingSettings {
        batch_size: 1,
        window: Duration::ZERO,
        max_concurrency: 2,
        reports_failures: false,
    };
    // The first batch hangs until its process is killed, and works when it comes again.
    let (first, hangs) = (AtomicBool::new(true), pool.invoker(LONG));
    let mapping = Mapping::start(&sqs, "work", settings, move |payload| {
        let hang = first.swap(false, Ordering::Relaxed);
        hangs(if hang { json!("wait") } else { payload })
    });
    sqs.send("work", "hangs");
    until(|| pool.printed().contains("wait")).await;
    for number in 0..20 {
        sqs.send("work", &number.to_string());
    }
    assert!(pool.kill_one());

    sqs.until_empty(&["work"], LONG).await.unwrap();
    mapping.until_idle().await;

    let deliveries = mapping.deliveries();
    let died = deliveries.iter().filter(|delivery| {
        let (_, result) = delivery.ended.as_ref().unwrap();
        result.is_err()
    });
    let died: Vec<_> = died.map(|delivery| &delivery.messages[0].body).collect();
    assert!(died.contains(&&"hangs".to_owned()), "{died:?}");
    let done = deliveries
        .iter()
        .filter(|delivery| delivery.failed.is_empty());
    let done: BTreeSet<_> = done.map(|delivery| &delivery.messages[0].body).collect();
    assert_eq!(done.len(), 21);
}
