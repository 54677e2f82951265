//! A table of the lake: one list of columns, from which the Arrow schema, the Parquet file, the Glue table, the
//! documentation and the order in which rows replace one another derive. Each table has a file in `table/`.
//!
//! Strings are what IVS sent, to the byte; times are cut to milliseconds, Athena's precision. Nothing here knows S3, IVS or
//! the clock.
//!
//! Memory: all rows and the encoded file are held at once, and the Arrow columns of `ROWS_AT_ONCE` rows. A row takes some 400
//! bytes (docs/settings.md).

pub mod attendance;
pub mod participant_events;
pub mod participants;
pub mod sessions;
pub mod state;

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::types::{Int32Type, Int64Type, TimestampMillisecondType};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, MapArray, MapBuilder,
    MapFieldNames, RecordBatch, StringArray, StringBuilder, TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use self::state::State;
use crate::error::BoxError;
use crate::session::EndedSession;

/// The author that each file names. The library's name and version would change the bytes of files at each upgrade, while
/// queries read them.
const CREATED_BY: &str = "ivs-attendance";

/// What the allocator adds to each string, in bytes.
const ALLOCATION: usize = 16;
/// What encoding takes for each byte of a string: strings that do not compress lie in the pages of a file under way, and in the
/// file, whose buffer may double.
const ENCODING: usize = 3;

/// So many rows at a time become Arrow columns.
const ROWS_AT_ONCE: usize = 8192;

/// A table whose rows are `R`. All rows of a file share a `C`: their session, or nothing.
#[derive(Debug)]
pub struct Table<R: 'static, C: 'static = EndedSession> {
    pub name: &'static str,
    /// Stored with each object. It rises with every new column, so that an older function does not write over newer files.
    pub schema_version: u32,
    pub columns: &'static [Column<R, C>],
    /// What a row is about, in the plural, for errors.
    pub rows_of: &'static str,
    /// The row's key, if rows have one.
    id: fn(&R) -> Option<&str>,
    /// The union of rows, in file order. Neither their order nor their repetition decides anything.
    pub merge: fn(Vec<R>) -> Vec<R>,
}

/// A column: its name in SQL, what it means, and how it is filled.
#[derive(Debug)]
pub struct Column<R: 'static, C: 'static = EndedSession> {
    pub name: &'static str,
    /// Meaning, unit and the API's member, as the Glue table and the documentation show it.
    pub comment: &'static str,
    kind: Kind<R, C>,
}

/// The entries of a map, by key.
pub type Map = Vec<(String, String)>;

/// What a column holds. The kinds of a row's own members also say which of two values is further along.
#[derive(Debug)]
enum Kind<R: 'static, C: 'static> {
    /// A string that all rows of a file share.
    SharedText(fn(&C) -> &str),
    /// The session's start, shared by all rows of a file.
    SessionStart(fn(&C) -> DateTime<Utc>),
    /// The session's end, shared by all rows of a file. The latest that was seen stays.
    SessionEnd(fn(&C) -> DateTime<Utc>),
    /// A string; the later one by its bytes is further along.
    Text(fn(&R) -> Option<&str>, fn(&mut R, Option<&str>)),
    /// A state; the one later in the list is further along, and a value that is not in the list is further than all of them.
    State(
        &'static [&'static str],
        fn(&R) -> Option<&State>,
        fn(&mut R, Option<State>),
    ),
    /// A time; the later one is further along.
    Time(
        fn(&R) -> Option<DateTime<Utc>>,
        fn(&mut R, Option<DateTime<Utc>>),
    ),
    /// A yes or no; yes is further along.
    Flag(fn(&R) -> Option<bool>, fn(&mut R, Option<bool>)),
    /// A number of milliseconds.
    Millis(fn(&R) -> Option<i64>, fn(&mut R, Option<i64>)),
    /// How many there are.
    Count(fn(&R) -> Option<i32>, fn(&mut R, Option<i32>)),
    /// A map from string to string.
    Map(fn(&R) -> Option<&Map>, fn(&mut R, Option<Map>)),
}

/// Columns of a row's own members.
macro_rules! column {
    ($kind:ident, $name:ident, $comment:expr) => {
        Column {
            name: stringify!($name),
            comment: $comment,
            kind: column!(@$kind $name),
        }
    };
    (@Text $name:ident) => {
        Kind::Text(|row| row.$name.as_deref(), |row, value| row.$name = value.map(Into::into))
    };
    (@Map $name:ident) => {
        Kind::Map(|row| row.$name.as_ref(), |row, value| row.$name = value)
    };
    (@$kind:ident $name:ident) => {
        Kind::$kind(|row| row.$name, |row, value| row.$name = value)
    };
}
use column;

/// The columns that say to which session a row belongs.
macro_rules! session_columns {
    ($($more:expr),* $(,)?) => {
        &[
            Column {
                name: "stage_arn",
                comment: "ARN of the stage",
                kind: Kind::SharedText(|session| session.name.stage_arn.as_str()),
            },
            Column {
                name: "session_id",
                comment: "Id of the session within the stage (StageSession.sessionId)",
                kind: Kind::SharedText(|session| session.name.session_id.as_str()),
            },
            Column {
                name: "session_start_time",
                comment: "When the session started, UTC, to the millisecond (StageSession.startTime)",
                kind: Kind::SessionStart(|session| session.start_time),
            },
            Column {
                name: "session_end_time",
                comment: "When the session ended, UTC, to the millisecond (StageSession.endTime)",
                kind: Kind::SessionEnd(|session| session.end_time),
            },
            $($more),*
        ]
    };
}
use session_columns;

/// The rows of a file take more memory than there is for them.
#[derive(Debug, thiserror::Error)]
#[error("its {rows} rows take more memory than there is")]
pub struct TooLarge {
    pub rows: usize,
}

/// What a file holds: the rows, and the start and the end of the session by which it was written (none in a file of zero rows).
#[derive(Debug, PartialEq)]
pub struct Stored<R> {
    pub rows: Vec<R>,
    pub session_start_time: Option<DateTime<Utc>>,
    pub session_end_time: Option<DateTime<Utc>>,
}

/// What is kept of the rows of a file.
#[derive(Debug)]
pub enum Kept<R> {
    /// So many bytes of each row, and all its strings.
    Whole(usize),
    /// What this counts of each row: strings that other rows have, too, are kept once.
    Shared(fn(&R) -> usize),
}

impl<R> Default for Stored<R> {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            session_start_time: None,
            session_end_time: None,
        }
    }
}

impl<R: Clone + Default, C> Table<R, C> {
    /// The memory that rows take, in bytes: their own size, that of their strings, and what encoding these takes.
    #[must_use]
    pub fn weight(&self, rows: &[R]) -> usize {
        let strings = |row: &R| -> usize {
            let columns = self.columns.iter();
            columns.map(|column| column.weight(row)).sum()
        };
        size_of_val(rows) + rows.iter().map(strings).sum::<usize>()
    }

    /// The stored rows whose id is not among the fresh ones: those that a rewrite keeps.
    #[must_use]
    pub fn only_stored(&self, mut stored: Vec<R>, fresh: &[R]) -> Vec<R> {
        let listed: HashSet<&str> = fresh.iter().filter_map(self.id).collect();
        stored.retain(|row| (self.id)(row).is_none_or(|id| !listed.contains(id)));
        stored
    }

    /// The order of two rows, column by column: null first, false before true, strings by their bytes, maps by their entries.
    fn compare(&self, a: &R, b: &R) -> Ordering {
        let columns = self.columns.iter().map(|column| column.compare(a, b));
        columns.fold(Ordering::Equal, Ordering::then)
    }

    /// States come first: a row with an earlier state must not stay because its user id sorts later.
    fn progress(&self, a: &R, b: &R) -> Ordering {
        let is_state = |column: &&Column<R, C>| matches!(column.kind, Kind::State(..));
        let states = self.columns.iter().filter(is_state);
        let others = self.columns.iter().filter(|column| !is_state(column));
        states
            .chain(others)
            .map(|column| column.compare(a, b))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    }

    /// The file's schema, the same for every file.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        let fields = self.columns.iter().map(|column| {
            let shared = column.is_shared();
            Field::new(column.name, column.arrow_type(), !shared)
        });
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// How files are written; chosen by the table in docs/settings.md.
    #[must_use]
    pub fn properties(&self) -> WriterPropertiesBuilder {
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by(CREATED_BY.to_owned());
        for column in self.columns.iter().filter(|column| !column.repeats()) {
            let path = ColumnPath::from(column.name);
            properties = properties.set_column_dictionary_enabled(path, false);
        }
        properties
    }

    /// Encodes rows, which are in file order, as a whole Parquet file.
    ///
    /// # Errors
    /// What Arrow or Parquet say; none is expected.
    pub fn encode(&self, shared: &C, rows: &[R]) -> Result<Vec<u8>, BoxError> {
        // The Parquet schema is the contract; a second one in Arrow's own words could only differ from it.
        let options = ArrowWriterOptions::new()
            .with_properties(self.properties().build())
            .with_skip_arrow_metadata(true);
        let schema = self.schema();
        let mut writer =
            ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&schema), options)?;
        for rows in rows.chunks(ROWS_AT_ONCE) {
            let columns = self.columns.iter().map(|column| column.fill(shared, rows));
            let batch = RecordBatch::try_new(Arc::clone(&schema), columns.collect())?;
            writer.write(&batch)?;
        }
        Ok(writer.into_inner()?)
    }

    /// Reads a file, if its rows take at most `most_bytes` of memory (as [`weight`](Self::weight) counts). Columns that it
    /// lacks (an older schema) read as null; columns that this table lacks are ignored.
    ///
    /// # Errors
    /// What is not a Parquet file, or has a column of another type; [`TooLarge`], before the memory is taken.
    pub fn decode(&self, file: Bytes, most_bytes: usize) -> Result<Stored<R>, BoxError> {
        let mut rows = Vec::new();
        let each = |some: Vec<R>| rows.extend(some);
        let kept = Kept::Whole(size_of::<R>());
        let stored = self.decode_each(file, most_bytes, &kept, each)?;
        Ok(Stored { rows, ..stored })
    }

    /// As [`decode`](Self::decode), but hands the rows over some thousands at a time, and returns none.
    ///
    /// # Errors
    /// As there.
    pub fn decode_each(
        &self,
        file: Bytes,
        most_bytes: usize,
        kept: &Kept<R>,
        mut each: impl FnMut(Vec<R>),
    ) -> Result<Stored<R>, BoxError> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)?;
        let rows = usize::try_from(reader.metadata().file_metadata().num_rows())?;
        let mut room = Room {
            rows,
            bytes_left: most_bytes,
            counts_texts: matches!(kept, Kept::Whole(_)),
        };
        let least_bytes = match kept {
            Kept::Whole(bytes) => *bytes,
            Kept::Shared(_) => size_of::<R>(),
        };
        room.take(rows.saturating_mul(least_bytes))?;
        let (mut read, mut stored) = (0, Stored::default());
        for batch in reader.with_batch_size(ROWS_AT_ONCE).build()? {
            let batch = batch?;
            read += batch.num_rows();
            if read > rows {
                return Err(format!("more rows than the {rows} that the file says").into());
            }
            stored.rows = vec![R::default(); batch.num_rows()];
            for column in self.columns {
                if let Some(array) = batch.column_by_name(column.name) {
                    column.read(array, &mut stored, &mut room)?;
                }
            }
            if let Kept::Shared(weight) = kept {
                let beyond = |row| weight(row).saturating_sub(least_bytes);
                room.take(stored.rows.iter().map(beyond).sum())?;
            }
            each(std::mem::take(&mut stored.rows));
        }
        if read != rows {
            return Err(format!("{read} rows in a file of {rows}").into());
        }
        Ok(stored)
    }
}

/// The memory that is left for the rows of a file.
struct Room {
    /// What the file says that it holds.
    rows: usize,
    bytes_left: usize,
    counts_texts: bool,
}

impl Room {
    fn take(&mut self, bytes: usize) -> Result<(), TooLarge> {
        let left = self.bytes_left.checked_sub(bytes);
        self.bytes_left = left.ok_or(TooLarge { rows: self.rows })?;
        Ok(())
    }

    fn take_text(&mut self, text: &str) -> Result<(), TooLarge> {
        if self.counts_texts {
            self.take(text_weight(text))?;
        }
        Ok(())
    }
}

fn text_weight(text: &str) -> usize {
    text.len() * (1 + ENCODING) + ALLOCATION
}

fn map_weight(map: &Map) -> usize {
    let entries = map.iter();
    let entries = entries.map(|(key, value)| text_weight(key) + text_weight(value));
    size_of_val(&**map) + entries.sum::<usize>()
}

impl<R, C> Column<R, C> {
    /// The column's type in Athena's DDL.
    #[must_use]
    pub fn athena_type(&self) -> &'static str {
        match self.kind {
            Kind::SharedText(_) | Kind::Text(..) | Kind::State(..) => "string",
            Kind::SessionStart(_) | Kind::SessionEnd(_) | Kind::Time(..) => "timestamp",
            Kind::Flag(..) => "boolean",
            Kind::Millis(..) => "bigint",
            Kind::Count(..) => "int",
            Kind::Map(..) => "map<string,string>",
        }
    }

    fn arrow_type(&self) -> DataType {
        match self.kind {
            Kind::SharedText(_) | Kind::Text(..) | Kind::State(..) => DataType::Utf8,
            Kind::SessionStart(_) | Kind::SessionEnd(_) | Kind::Time(..) => {
                DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
            }
            Kind::Flag(..) => DataType::Boolean,
            Kind::Millis(..) => DataType::Int64,
            Kind::Count(..) => DataType::Int32,
            Kind::Map(..) => {
                let entries = Fields::from(vec![
                    Field::new("key", DataType::Utf8, false),
                    Field::new("value", DataType::Utf8, true),
                ]);
                let entries = Field::new("key_value", DataType::Struct(entries), false);
                DataType::Map(Arc::new(entries), false)
            }
        }
    }

    /// Whether all rows of a file share its value, which then is never null.
    fn is_shared(&self) -> bool {
        matches!(
            self.kind,
            Kind::SharedText(_) | Kind::SessionStart(_) | Kind::SessionEnd(_)
        )
    }

    /// Whether its values repeat, so that a dictionary pays. One of values that do not is built and then thrown away.
    fn repeats(&self) -> bool {
        !matches!(
            self.kind,
            Kind::Text(..) | Kind::Time(..) | Kind::Millis(..)
        )
    }

    /// Which of two rows is further along in this column.
    fn compare(&self, a: &R, b: &R) -> Ordering {
        match &self.kind {
            Kind::SharedText(_) | Kind::SessionStart(_) | Kind::SessionEnd(_) => Ordering::Equal,
            Kind::Text(get, _) => get(a).cmp(&get(b)),
            Kind::Time(get, _) => get(a).cmp(&get(b)),
            Kind::Flag(get, _) => get(a).cmp(&get(b)),
            Kind::Millis(get, _) => get(a).cmp(&get(b)),
            Kind::Count(get, _) => get(a).cmp(&get(b)),
            Kind::Map(get, _) => get(a).cmp(&get(b)),
            Kind::State(states, get, _) => {
                let rank = |row| {
                    let value = get(row)?.as_str();
                    let known = states.iter().position(|&state| state == value);
                    Some((known.unwrap_or(states.len()), value))
                };
                rank(a).cmp(&rank(b))
            }
        }
    }

    /// The memory that a row holds in this column besides its own size, in bytes, and what encoding it takes.
    fn weight(&self, row: &R) -> usize {
        let text = match &self.kind {
            Kind::Text(get, _) => get(row),
            Kind::State(_, get, _) => get(row).and_then(State::undocumented),
            Kind::Map(get, _) => return get(row).map_or(0, map_weight),
            _ => None,
        };
        text.map_or(0, text_weight)
    }

    fn fill(&self, shared: &C, rows: &[R]) -> ArrayRef {
        let times = |values: TimestampMillisecondArray| Arc::new(values.with_timezone("UTC"));
        let repeated = |time: DateTime<Utc>| {
            let millis = time.timestamp_millis();
            times(TimestampMillisecondArray::from_value(millis, rows.len()))
        };
        let each = rows.iter();
        match &self.kind {
            Kind::SharedText(get) => Arc::new(StringArray::new_repeated(get(shared), rows.len())),
            Kind::SessionStart(get) | Kind::SessionEnd(get) => repeated(get(shared)),
            Kind::Text(get, _) => Arc::new(each.map(get).collect::<StringArray>()),
            Kind::State(_, get, _) => {
                let values = each.map(|row| get(row).map(State::as_str));
                Arc::new(values.collect::<StringArray>())
            }
            Kind::Time(get, _) => {
                let values = each.map(|row| get(row).map(|time| time.timestamp_millis()));
                times(values.collect())
            }
            Kind::Flag(get, _) => Arc::new(each.map(get).collect::<BooleanArray>()),
            Kind::Millis(get, _) => Arc::new(each.map(get).collect::<Int64Array>()),
            Kind::Count(get, _) => Arc::new(each.map(get).collect::<Int32Array>()),
            Kind::Map(get, _) => Arc::new(maps(each.map(get))),
        }
    }

    /// Takes the values of some rows of a file over.
    fn read(
        &self,
        array: &ArrayRef,
        stored: &mut Stored<R>,
        room: &mut Room,
    ) -> Result<(), BoxError> {
        let same = match (self.arrow_type(), array.data_type()) {
            // Parquet does not keep the name of a time zone.
            (DataType::Timestamp(ours, _), DataType::Timestamp(theirs, _)) => ours == *theirs,
            (DataType::Map(..), DataType::Map(..)) => true,
            (ours, theirs) => ours == *theirs,
        };
        if !same {
            let (name, theirs) = (self.name, array.data_type());
            return Err(format!("the stored column {name} is of another type, {theirs}").into());
        }
        let rows = stored.rows.iter_mut();
        match &self.kind {
            // The key names the session.
            Kind::SharedText(_) => {}
            Kind::SessionStart(_) => {
                let first = times(array).flatten().next();
                stored.session_start_time = stored.session_start_time.or(first);
            }
            Kind::SessionEnd(_) => {
                let latest = times(array).flatten().max();
                stored.session_end_time = latest.max(stored.session_end_time);
            }
            Kind::Text(_, set) => {
                for (row, value) in rows.zip(array.as_string::<i32>()) {
                    value.map_or(Ok(()), |text| room.take_text(text))?;
                    set(row, value);
                }
            }
            Kind::State(_, _, set) => {
                for (row, value) in rows.zip(array.as_string::<i32>()) {
                    let state = value.map(State::from);
                    let text = state.as_ref().and_then(State::undocumented);
                    text.map_or(Ok(()), |text| room.take_text(text))?;
                    set(row, state);
                }
            }
            Kind::Time(_, set) => rows
                .zip(times(array))
                .for_each(|(row, time)| set(row, time)),
            Kind::Flag(_, set) => {
                let values = array.as_boolean();
                rows.zip(values).for_each(|(row, flag)| set(row, flag));
            }
            Kind::Millis(_, set) => {
                let values = array.as_primitive::<Int64Type>();
                rows.zip(values).for_each(|(row, millis)| set(row, millis));
            }
            Kind::Count(_, set) => {
                let values = array.as_primitive::<Int32Type>();
                rows.zip(values).for_each(|(row, count)| set(row, count));
            }
            Kind::Map(_, set) => {
                let string = |array: &ArrayRef| array.as_string_opt::<i32>().cloned();
                for (row, entries) in rows.zip(array.as_map().iter()) {
                    let map = entries.map(|entries| {
                        let columns = entries.columns();
                        let texts = (string(&columns[0]), string(&columns[1]));
                        let (Some(keys), Some(values)) = texts else {
                            return Err(format!("the map {} is not of strings", self.name));
                        };
                        let owned = |text: Option<&str>| text.unwrap_or_default().to_owned();
                        let entries = keys.iter().zip(values.iter());
                        Ok(entries
                            .map(|(key, value)| (owned(key), owned(value)))
                            .collect())
                    });
                    let map: Option<Map> = map.transpose()?;
                    for (key, value) in map.iter().flatten() {
                        room.take_text(key)?;
                        room.take_text(value)?;
                    }
                    set(row, map);
                }
            }
        }
        Ok(())
    }
}

/// Maps with the names of Parquet's specification, which Athena asks for.
fn maps<'a>(values: impl Iterator<Item = Option<&'a Map>>) -> MapArray {
    let names = MapFieldNames {
        entry: "key_value".to_owned(),
        key: "key".to_owned(),
        value: "value".to_owned(),
    };
    let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for map in values {
        for (key, value) in map.into_iter().flatten() {
            builder.keys().append_value(key);
            builder.values().append_value(value);
        }
        // Fails only where the numbers of keys and values differ.
        let _ = builder.append(map.is_some());
    }
    builder.finish()
}

fn times(array: &ArrayRef) -> impl Iterator<Item = Option<DateTime<Utc>>> {
    let millis = array.as_primitive::<TimestampMillisecondType>().iter();
    millis.map(|millis| DateTime::from_timestamp_millis(millis?))
}

#[cfg(test)]
mod tests;
