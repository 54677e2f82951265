//! `make serve`: keeps the services running, for a function that a person starts and invokes by hand.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use chrono::Utc;

use crate::ivs::Ivs;
use crate::ivs::quota::Quota;
use crate::lambda::circle::{COLLECT, WORK};
use crate::lambda::variables;
use crate::s3::S3;
use crate::scene;
use crate::sqs::Sqs;
use crate::template::Template;
use crate::{BUCKET, REGION};

/// Starts the services and prints every call of IVS, until Ctrl-C.
///
/// # Errors
/// When a server cannot be started, or the file of variables cannot be written.
pub async fn serve(folder: &Path) -> Result<(), Box<dyn Error>> {
    let ivs = Ivs::start(REGION).await?;
    let s3 = S3::start(&folder.join("s3"), BUCKET).await?;
    ivs.world().quota = Quota::Bucket;
    scene::set(&mut ivs.world(), Utc::now());

    let sqs = Sqs::start().await?;
    let template = Template::scaled(1);
    let work = sqs.create(WORK, template.queue("WorkQueue"));
    let collect = sqs.create(COLLECT, template.queue("CollectQueue"));

    let mut settings: Vec<_> = variables(&ivs, &s3)
        .into_iter()
        .filter(|(name, _)| name != "QUEUE_URL")
        .collect();
    for (name, value) in [
        ("AWS_REGION", REGION),
        ("AWS_ENDPOINT_URL_SQS", sqs.url()),
        ("QUEUE_URL", &work),
        ("COLLECT_QUEUE_URL", &collect),
    ] {
        settings.push((name.to_owned(), value.to_owned()));
    }
    settings.sort();
    let file = folder.join("env");
    let lines: String = settings
        .iter()
        .map(|(name, value)| format!("{name}={value}\n"))
        .collect();
    std::fs::write(&file, lines).map_err(|error| format!("{}: {error}", file.display()))?;

    println!(
        "IVS Real-Time  {}\nS3             {}  (bucket {BUCKET}, in {})",
        ivs.url(),
        s3.url(),
        folder.join("s3").display()
    );
    println!("\nIn a second terminal, start the function:\n");
    println!(
        "  .venv/bin/cargo-lambda lambda watch --invoke-address 127.0.0.1 --env-file {}",
        file.display()
    );
    println!("\nIn a third, send it what you like:\n");
    for name in ["participant-unpublished", "request", "sqs-batch"] {
        println!(
            "  .venv/bin/cargo-lambda lambda invoke ivs-attendance --data-file events/{name}.json"
        );
    }
    println!("\nWhere HTTP_PROXY is set, give both of them NO_PROXY=127.0.0.1. Ctrl-C ends this.");
    let mut shown = 0;
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(()),
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
        let calls: Vec<_> = ivs.world().calls.iter().skip(shown).cloned().collect();
        for call in &calls {
            println!("{} {}", call.operation, call.status);
        }
        shown += calls.len();
    }
}
