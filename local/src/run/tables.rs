//! The tables that `make run` ends with, read from the lake's files: who attended a session, and the state of all sessions.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMillisecondArray,
};
use arrow::compute::concat_batches;
use arrow::util::pretty::pretty_format_batches;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// What marks a time that no event states.
const INFERRED: &str = "*";

/// The rows of a Parquet file.
pub(super) struct Rows(RecordBatch);

impl Rows {
    pub(super) fn of(file: Bytes) -> Result<Self, Box<dyn Error>> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
        let schema = Arc::clone(builder.schema());
        let batches = builder.build()?.collect::<Result<Vec<_>, _>>()?;
        Ok(Self(concat_batches(&schema, &batches)?))
    }

    pub(super) fn count(&self) -> usize {
        self.0.num_rows()
    }

    /// The value of a column in a row, if it is not null.
    fn value<'a, A: Array + 'static>(&'a self, column: &str, row: usize) -> Option<&'a A> {
        let array = self.0.column_by_name(column)?;
        let array = array.is_valid(row).then_some(array)?;
        array.as_any().downcast_ref()
    }

    fn text(&self, column: &str, row: usize) -> Option<&str> {
        Some(self.value::<StringArray>(column, row)?.value(row))
    }

    fn time(&self, column: &str, row: usize) -> Option<DateTime<Utc>> {
        let millis = self.value::<TimestampMillisecondArray>(column, row)?;
        DateTime::from_timestamp_millis(millis.value(row))
    }

    fn flag(&self, column: &str, row: usize) -> bool {
        let flag = self.value::<BooleanArray>(column, row);
        flag.is_some_and(|flags| flags.value(row))
    }

    fn minutes(&self, column: &str, row: usize) -> Option<String> {
        let millis = self.value::<Int64Array>(column, row)?.value(row);
        Some(minutes(TimeDelta::milliseconds(millis)))
    }

    fn number(&self, column: &str, row: usize) -> Option<i32> {
        Some(self.value::<Int32Array>(column, row)?.value(row))
    }

    /// The first `most` rows of the table `attendance`, as a person asks for them.
    pub(super) fn attendance(&self, most: usize) -> Result<String, Box<dyn Error>> {
        let lines = (0..self.count().min(most)).map(|row| {
            let mark = |inferred| if inferred { INFERRED } else { "" };
            let time = |time: Option<DateTime<Utc>>, inferred| {
                time.map(|time| format!("{}{}", clock(time), mark(inferred)))
            };
            let (join_inferred, leave_inferred) = (
                self.flag("join_inferred", row),
                self.flag("leave_inferred", row),
            );
            let mut left = self.time("last_leave_time", row);
            if leave_inferred {
                // A stay without a LEFT ends with the session.
                left = left.max(self.time("session_end_time", row));
            }
            let user = self.text("user_id", row).filter(|id| !id.is_empty());
            [
                user.or(self.text("participant_id", row)).map(str::to_owned),
                time(self.time("first_join_time", row), join_inferred),
                time(left, leave_inferred),
                self.number("joins", row).map(|joins| joins.to_string()),
                self.minutes("connected_ms", row),
                self.minutes("watch_ms", row),
                self.minutes("publish_ms", row),
                self.device(row),
            ]
        });
        let names = [
            "user or participant id",
            "joined",
            "left",
            "joins",
            "minutes",
            "watched",
            "published",
            "device",
        ];
        table(names, lines.collect())
    }

    fn device(&self, row: usize) -> Option<String> {
        let text = |column| self.text(column, row).filter(|text| !text.is_empty());
        match (text("browser_name"), text("os_name")) {
            (Some(browser), Some(system)) => Some(format!("{browser} on {system}")),
            (None, Some(system)) => Some(format!("an application on {system}")),
            (browser, None) => browser.map(str::to_owned),
        }
    }
}

/// All sessions of some files of the table `sessions`. `people` are the rows of `participants`, by session id.
pub(super) fn sessions(
    files: &[Rows],
    people: &BTreeMap<String, usize>,
) -> Result<String, Box<dyn Error>> {
    let mut lines = Vec::new();
    for file in files {
        for row in 0..file.count() {
            let stage = file.text("stage_arn", row).unwrap_or_default();
            let session = file.text("session_id", row).unwrap_or_default();
            let people = people.get(session).copied();
            let time = |column| file.time(column, row);
            let state = match (
                time("session_end_time"),
                time("participants_written_time"),
                time("attendance_written_time"),
            ) {
                (None, ..) => "live",
                (Some(_), None, _) => "missing",
                (Some(_), Some(_), _) if people == Some(0) => "empty",
                (Some(_), Some(_), None) => "exported",
                (Some(_), Some(_), Some(_)) => "collected",
            };
            lines.push([
                stage.rsplit('/').next().map(str::to_owned),
                Some(session.to_owned()),
                time("session_start_time").map(clock),
                time("session_end_time").map(clock),
                people.map(|people| people.to_string()),
                Some(state.to_owned()),
            ]);
        }
    }
    let names = ["stage", "session", "started", "ended", "people", "state"];
    table(names, lines)
}

fn table<const COLUMNS: usize>(
    names: [&str; COLUMNS],
    lines: Vec<[Option<String>; COLUMNS]>,
) -> Result<String, Box<dyn Error>> {
    let columns = names.iter().enumerate().map(|(place, &name)| {
        let values = lines.iter().map(|line| line[place].as_deref());
        let values: ArrayRef = Arc::new(values.collect::<StringArray>());
        (name, values)
    });
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.map(|(name, values)| (name, values, true)),
    )?;
    Ok(pretty_format_batches(&[batch])?.to_string())
}

fn clock(time: DateTime<Utc>) -> String {
    time.format("%H:%M:%S").to_string()
}

/// Minutes to one decimal.
fn minutes(length: TimeDelta) -> String {
    let tenths = (length.num_milliseconds() + 3_000) / 6_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_have_one_decimal() {
        for (seconds, shown) in [
            (0, "0.0"),
            (2, "0.0"),
            (3, "0.1"),
            (90, "1.5"),
            (2_517, "42.0"),
        ] {
            assert_eq!(minutes(TimeDelta::seconds(seconds)), shown);
        }
    }
}
