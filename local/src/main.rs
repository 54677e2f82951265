//! `make run`, `make serve`, `make soak`, `make bench`, `make bench-quota`, `make costs`, `make athena`: the function at
//! work on the files in `events/` and beyond, on this machine.

use std::collections::HashSet;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use arrow::error::ArrowError;
use arrow::util::pretty::pretty_format_batches;
use chrono::Utc;
use ivs_attendance_local::bench::{self, Handlers};
use ivs_attendance_local::circle::{Circle, CircleSettings, WORK};
use ivs_attendance_local::costs::{costs, write_bill};
use ivs_attendance_local::folder::Folder;
use ivs_attendance_local::function::Answer;
use ivs_attendance_local::ivs::{Ivs, Quota};
use ivs_attendance_local::memory_bench::memory;
use ivs_attendance_local::quota_bench::quota_bench;
use ivs_attendance_local::s3::S3;
use ivs_attendance_local::sample;
use ivs_attendance_local::scene::{self, event};
use ivs_attendance_local::soak::{self, Settings};
use ivs_attendance_local::sqs::Sqs;
use ivs_attendance_local::template::Template;
use ivs_attendance_local::{BUCKET, REGION, variables};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// The files in the order in which they are sent, what each shows, and what must come back: an outcome, an error type,
/// or of a batch the number of messages that failed.
const DELIVERIES: [(&str, &str, &str); 8] = [
    (
        "participant-unpublished",
        "a hint: the session of 3 people has ended",
        "exported",
    ),
    (
        "recording-end",
        "another kind of hint: a session of 250, three pages",
        "exported",
    ),
    (
        "participant-unpublished-live",
        "somebody stopped publishing, but the session goes on",
        "still_live",
    ),
    (
        "composition-session-end",
        "a look-alike: a composition ended, not a stage session",
        "InvalidEvent",
    ),
    (
        "stream-session-ended",
        "a look-alike: a low-latency channel",
        "InvalidEvent",
    ),
    (
        "participant-unpublished",
        "the first hint again: events come twice",
        "up_to_date",
    ),
    (
        "request",
        "a request by hand: an ended session that nobody joined",
        "exported",
    ),
    (
        "sqs-batch",
        "4 messages from the queue: 2 sessions, and one malformed id",
        "1 failed",
    ),
];

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match command(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn command(arguments: &[&str]) -> Result<(), Box<dyn Error>> {
    match *arguments {
        ["run", bootstrap, folder] => {
            let bootstrap = built(bootstrap)?;
            within(folder, async |folder| run(bootstrap, folder).await).await
        }
        ["serve", folder] => within(folder, serve).await,
        ["bench", function, others, python, document, folder] => {
            let handlers = handlers(built(function)?, others, python);
            let document = Path::new(document);
            within(folder, async |folder| {
                bench::bench(handlers, folder, document).await
            })
            .await
        }
        ["bench-instructions", function, others, folder] => {
            let handlers = handlers(built(function)?, others, "");
            within(folder, async |folder| {
                bench::instructions(handlers, folder).await
            })
            .await
        }
        ["bench-memory", bootstrap, folder] => {
            let bootstrap = built(bootstrap)?;
            within(folder, async |folder| memory(bootstrap, folder).await).await
        }
        ["bench-quota", bootstrap, folder] => {
            let bootstrap = built(bootstrap)?;
            within(folder, async |folder| quota_bench(bootstrap, folder).await).await
        }
        ["costs", bootstrap, folder] => {
            let bootstrap = built(bootstrap)?;
            within(folder, async |folder| costs(bootstrap, folder).await).await
        }
        ["bill"] => write_bill(),
        ["soak", bootstrap, folder, ref options @ ..] => {
            let settings = soak_settings(options)?;
            let bootstrap = built(bootstrap)?;
            within(folder, async |folder| {
                soak(bootstrap, folder, settings).await
            })
            .await
        }
        ["sample", bootstrap, folder, s3_url, today, ref steps @ ..] => {
            let bootstrap = built(bootstrap)?;
            within(folder, async |folder| {
                sample::fill(bootstrap, folder, s3_url, today, steps).await
            })
            .await
        }
        _ => Err(
            "usage: ivs-attendance-local serve FOLDER | run BOOTSTRAP FOLDER | \
             bench BOOTSTRAP HANDLERS PYTHON DOCUMENT FOLDER | bench-instructions BOOTSTRAP HANDLERS FOLDER | \
             bench-memory BOOTSTRAP FOLDER | bench-quota BOOTSTRAP FOLDER | sample BOOTSTRAP FOLDER S3_URL TODAY STEP… | costs BOOTSTRAP FOLDER | bill | \
             soak BOOTSTRAP FOLDER [seed=N] [sessions=N] [minutes=N]"
                .into(),
        ),
    }
}

/// Works in a folder that is empty and nobody else's. A failure says where its files are, the logs among them.
async fn within(
    folder: &str,
    work: impl AsyncFnOnce(&Path) -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let fresh = Folder::fresh(folder)?;
    work(&fresh).await.map_err(|error| {
        let error = with_causes(&*error);
        format!("{error}; what was written until then, logs included, is in {folder}").into()
    })
}

/// An error and what caused it, in one line.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

/// The function's binary, which must be there: the services would wait for it for long.
fn built(function: &str) -> Result<&Path, String> {
    let path = Path::new(function);
    if path.is_file() {
        return Ok(path);
    }
    Err(format!(
        "{function} is no file: it must be the function's binary, which `cargo build --workspace` makes"
    ))
}

fn handlers<'a>(function: &'a Path, others: &'a str, python: &'a str) -> Handlers<'a> {
    Handlers {
        function,
        others: Path::new(others),
        python: Path::new(python),
    }
}

/// Prints the log lines that were not there before.
fn show_new_lines(circle: &Circle, shown: &mut HashSet<String>) {
    for line in circle.pool.printed().lines() {
        if shown.insert(line.to_owned()) {
            println!("   log     {line}");
        }
    }
}

/// The settings of a soak from options like `seed=7`. Without a seed it is one that nobody chose.
fn soak_settings(options: &[&str]) -> Result<Settings, Box<dyn Error>> {
    let mut settings = Settings {
        seed: u64::from(Utc::now().timestamp_subsec_micros()),
        ..Settings::default()
    };
    for option in options {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let wrong = |error: &dyn Error| format!("{option}: {error}");
        match name {
            "seed" => settings.seed = value.parse().map_err(|error| wrong(&error))?,
            "sessions" => settings.sessions = value.parse().map_err(|error| wrong(&error))?,
            "minutes" => {
                let minutes: f64 = value.parse().map_err(|error| wrong(&error))?;
                settings.chaos = Duration::try_from_secs_f64(minutes * 60.0)?;
            }
            _ => return Err(format!("{option}: there are seed, sessions and minutes").into()),
        }
    }
    Ok(settings)
}

async fn soak(bootstrap: &Path, folder: &Path, settings: Settings) -> Result<(), Box<dyn Error>> {
    let seconds = settings.chaos.as_secs();
    println!(
        "seed {}: {} sessions, {seconds} s of faults, and about a minute until all is quiet",
        settings.seed, settings.sessions
    );
    let report = soak::run(bootstrap, folder, settings).await?;
    println!("{report}");
    if report.is_clean() {
        return Ok(());
    }
    Err(format!("the soak with the seed {} found something", settings.seed).into())
}

async fn run(bootstrap: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    let circle = Circle::start_in(bootstrap, folder, CircleSettings::default()).await?;
    scene::set(&mut circle.ivs.world(), Utc::now());
    let mut shown = HashSet::new();
    for (name, meaning, expected) in DELIVERIES {
        println!("\n── events/{name}.json ── {meaning}");
        let answer = circle
            .invoke(event(name))
            .await
            .map_err(|died| died.to_string())?;
        show_new_lines(&circle, &mut shown);
        let came = match &answer {
            Answer::Ok(report) => {
                println!("   answer  {report}");
                let failures = report["batchItemFailures"]
                    .as_array()
                    .map(|failures| format!("{} failed", failures.len()));
                failures
                    .unwrap_or_else(|| report["outcome"].as_str().unwrap_or_default().to_owned())
            }
            Answer::Err(failure) => {
                println!("   error   {}: {}", failure.error_type, failure.message);
                failure.error_type.clone()
            }
        };
        if came != expected {
            return Err(format!(
                "events/{name}.json should have come to {expected}, and came to {came}"
            )
            .into());
        }
    }

    println!(
        "\n── a tick of the schedule ── the sweep finds what no event told of, and the queue brings it"
    );
    circle.tick();
    circle.until_quiet(Duration::from_mins(1)).await?;
    show_new_lines(&circle, &mut shown);

    println!("\n── the lake, s3://{BUCKET}/");
    println!("   {:>8}  {:>5}  key", "bytes", "rows");
    let mut first = None;
    for key in circle.s3.keys() {
        let bytes = circle.s3.read(&key);
        let size = bytes.len();
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)?.build()?;
        let batches = reader.collect::<Result<Vec<_>, _>>()?;
        let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
        println!("   {size:>8}  {rows:>5}  {key}");
        first = first.or_else(|| batches.into_iter().find(|batch| batch.num_rows() == 3));
    }
    if let Some(batch) = first {
        let shown = [
            "session_id",
            "participant_id",
            "user_id",
            "state",
            "first_join_time",
            "published",
            "recording_state",
        ];
        let shown = shown
            .map(|name| batch.schema().index_of(name))
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?;
        println!(
            "\n── the rows of the first session, {} of {} columns",
            shown.len(),
            batch.num_columns()
        );
        println!(
            "{}",
            pretty_format_batches(&[printable(&batch.project(&shown)?)?])?
        );
    }
    println!(
        "\nEverything above is in {}: s3/ is the bucket, logs/ what the function printed.",
        folder.display()
    );
    Ok(())
}

/// The batch with its times in an offset, which Arrow can print without the whole time zone database.
fn printable(batch: &RecordBatch) -> Result<RecordBatch, Box<dyn Error>> {
    let utc = DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into()));
    let schema = batch.schema();
    let columns = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| {
            let time = matches!(field.data_type(), DataType::Timestamp(..));
            let column = if time {
                cast(column, &utc)?
            } else {
                Arc::clone(column)
            };
            Ok((field.name().clone(), column))
        });
    Ok(RecordBatch::try_from_iter(
        columns.collect::<Result<Vec<_>, ArrowError>>()?,
    )?)
}

async fn serve(folder: &Path) -> Result<(), Box<dyn Error>> {
    let ivs = Ivs::start(REGION).await?;
    let s3 = S3::start(&folder.join("s3"), BUCKET).await?;
    ivs.world().quota = Quota::Bucket;
    scene::set(&mut ivs.world(), Utc::now());

    let sqs = Sqs::start().await?;
    let work = sqs.create(WORK, Template::scaled(1).queue("WorkQueue"));

    let mut settings: Vec<_> = variables(&ivs, &s3)
        .into_iter()
        .filter(|(name, _)| name != "QUEUE_URL")
        .collect();
    for (name, value) in [
        ("AWS_REGION", REGION),
        ("AWS_ENDPOINT_URL_SQS", sqs.url()),
        ("QUEUE_URL", &work),
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
