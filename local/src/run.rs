//! `make run`: invokes the function with the files in `events/` and with a sweep, and shows what it wrote.

use std::collections::HashSet;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use arrow::error::ArrowError;
use arrow::util::pretty::pretty_format_batches;
use chrono::Utc;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::BUCKET;
use crate::lambda::circle::{Circle, CircleSettings};
use crate::lambda::function::Answer;
use crate::scene::{self, event};

/// The files in the order in which they are sent, what each shows, and the expected result: an outcome, an error type, or
/// the number of failed messages of a batch.
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

/// Sends every file and a tick, prints the results, and then the content of the lake.
///
/// # Errors
/// When a server cannot be started, or a result is not the expected one.
pub async fn run(bootstrap: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
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

/// The batch with its times in an offset, which Arrow can print without a time zone database.
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

/// Prints new log lines.
fn show_new_lines(circle: &Circle, shown: &mut HashSet<String>) {
    for line in circle.pool.printed().lines() {
        if shown.insert(line.to_owned()) {
            println!("   log     {line}");
        }
    }
}
