//! `make bench-quota`: how long exports take under the quota of IVS. It prints figures; no test depends on them.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use aws_sdk_ivsrealtime::Client;
use aws_sdk_ivsrealtime::config::{BehaviorVersion, Credentials, Region};

use ivs_attendance_local::ivs::quota::Quota;
use ivs_attendance_local::lambda::circle::{Circle, CircleSettings};
use ivs_attendance_local::scene::{STAGE_ARN, ended, request};
use ivs_attendance_local::{ACCESS_KEY, REGION, SECRET_KEY};

const RUNS: usize = 10;

/// Measures, and prints a Markdown table for each question.
///
/// # Errors
/// When the stack cannot be started, or an export fails.
pub(crate) async fn quota(bootstrap: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    large_session(bootstrap, folder).await?;
    beside_a_customer(bootstrap, folder).await?;
    too_fast(bootstrap, folder).await
}

async fn large_session(bootstrap: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    println!("## A session of 10,000 participants, at 5 calls a second of quota\n");
    println!("| calls a second | calls | seconds | calls ÷ rate | ratio |\n|---|---|---|---|---|");
    for rate in ["2", "4"] {
        let settings = CircleSettings::at(1).with(&[("CALLS_PER_SECOND", rate)]);
        let circle = Circle::start(bootstrap, folder, settings).await?;
        circle
            .ivs
            .world()
            .put(STAGE_ARN, "st-0000000000001", ended(10_000, 61));
        let report = export(&circle, 1).await?;
        let seconds = circle
            .pool
            .log_lines()
            .iter()
            .find_map(|line| line["milliseconds"].as_f64())
            .unwrap_or(0.0)
            / 1000.0;
        let calls = report["calls"].as_f64().unwrap_or(0.0);
        let limit = calls / rate.parse::<f64>()?;
        println!(
            "| {rate} | {calls} | {seconds:.1} | {limit:.1} | {:.3} |",
            seconds / limit
        );
    }
    println!();
    Ok(())
}

async fn beside_a_customer(bootstrap: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    println!("## Two functions at 2 calls a second and a customer's client at 1, {RUNS} runs\n");
    println!(
        "The client has the SDK's defaults: three attempts. Each function exports a session of 1,000.\n"
    );
    println!(
        "| quota | exports that failed | throttles | the client's calls | … that failed in the end | seconds a run |\n|---|---|---|---|---|---|"
    );
    for quota in [Quota::Window, Quota::Bucket] {
        let (mut failed, mut throttled, mut calls, mut refused) = (0, 0, 0, 0);
        let began = Instant::now();
        for _ in 0..RUNS {
            let circle = Circle::start(bootstrap, folder, CircleSettings::at(1)).await?;
            circle.ivs.world().quota = quota;
            for number in 1..=3 {
                circle
                    .ivs
                    .world()
                    .put(STAGE_ARN, &format!("st-{number:013}"), ended(1000, 61));
            }
            let both = async { tokio::join!(export(&circle, 1), export(&circle, 2)) };
            let list = async |client: &Client| {
                let list = client.list_participants().stage_arn(STAGE_ARN);
                [list.session_id("st-0000000000003").send().await.is_err()]
            };
            let ((one, other), client) = beside(both, circle.ivs.url(), list).await;
            failed += usize::from(one.is_err()) + usize::from(other.is_err());
            calls += client.0;
            refused += client.1;
            throttled += circle
                .ivs
                .world()
                .calls
                .iter()
                .filter(|call| call.status == 429)
                .count();
        }
        let seconds = began.elapsed().as_secs_f64() / 10.0;
        println!("| {quota:?} | {failed} | {throttled} | {calls} | {refused} | {seconds:.1} |");
    }
    println!();
    Ok(())
}

async fn too_fast(bootstrap: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    println!("## A wrong setting: CALLS_PER_SECOND=50, a session of 3,000\n");
    println!("| quota | participants | calls | throttles | seconds |\n|---|---|---|---|---|");
    for quota in [Quota::Window, Quota::Bucket] {
        let settings = CircleSettings::at(1).with(&[("CALLS_PER_SECOND", "50")]);
        let circle = Circle::start(bootstrap, folder, settings).await?;
        circle.ivs.world().quota = quota;
        circle
            .ivs
            .world()
            .put(STAGE_ARN, "st-0000000000001", ended(3000, 61));
        let began = Instant::now();
        let report = export(&circle, 1).await?;
        let throttled = circle
            .ivs
            .world()
            .calls
            .iter()
            .filter(|call| call.status == 429)
            .count();
        let (participants, calls) = (&report["participants"], &report["calls"]);
        println!(
            "| {quota:?} | {participants} | {calls} | {throttled} | {:.1} |",
            began.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

pub(crate) async fn export(
    circle: &Circle,
    number: usize,
) -> Result<serde_json::Value, Box<dyn Error>> {
    let answer = circle
        .invoke(request(STAGE_ARN, &format!("st-{number:013}")))
        .await;
    let report = answer
        .map_err(|died| died.to_string())?
        .map_err(|failure| failure.message)?;
    match report["outcome"].as_str() {
        Some("exported") => Ok(report),
        _ => Err(format!("not exported: {report}").into()),
    }
}

/// Does the work while a customer's client makes `calls` once a second; counts its calls, and those that failed. `calls` tells of
/// each whether it failed.
pub(crate) async fn beside<T, const N: usize>(
    work: impl Future<Output = T>,
    url: &str,
    calls: impl AsyncFn(&Client) -> [bool; N],
) -> (T, (usize, usize)) {
    let config = aws_sdk_ivsrealtime::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(Credentials::new(
            ACCESS_KEY, SECRET_KEY, None, None, "local",
        ))
        .endpoint_url(url);
    let client = Client::from_conf(config.build());
    let (mut made, mut failed) = (0, 0);
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            result = &mut work => return (result, (made, failed)),
            _ = second.tick() => {}
        }
        tokio::select! {
            result = &mut work => return (result, (made, failed)),
            answers = calls(&client) => {
                made += N;
                failed += answers.iter().filter(|&&failed| failed).count();
            }
        }
    }
}
