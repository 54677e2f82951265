//! A table of the lake: one list of columns, from which the Arrow schema, the Parquet file, the Glue table, the
//! documentation and the order in which rows replace one another derive. Each table has a file in `table/`.
//!
//! Strings are what IVS sent, to the byte; times are cut to milliseconds, Athena's precision. Nothing here knows S3, IVS or
//! the clock.
//!
//! Memory: all rows and the encoded file are held at once, and the Arrow columns of `ROWS_AT_ONCE` rows. A row takes some 400
//! bytes (docs/settings.md).

pub mod participants;
pub mod state;

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::types::TimestampMillisecondType;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
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

/// A table whose rows are `R`.
#[derive(Debug)]
pub struct Table<R: 'static> {
    pub name: &'static str,
    /// Stored with each object. It rises with every new column, so that an older function does not write over newer files.
    pub schema_version: u32,
    pub columns: &'static [Column<R>],
    /// The row's key. Two rows without a key are duplicates only if all columns are equal.
    id: fn(&R) -> Option<&str>,
    /// Rows of a file are sorted by this time, those without one last, and then by id.
    time: fn(&R) -> Option<DateTime<Utc>>,
}

/// A column: its name in SQL, what it means, and how it is filled.
#[derive(Debug)]
pub struct Column<R: 'static> {
    pub name: &'static str,
    /// Meaning, unit and the API's member, as the Glue table and the documentation show it.
    pub comment: &'static str,
    kind: Kind<R>,
}

/// What a column holds. The kinds of a row's own members also say which of two values is further along.
#[derive(Debug)]
enum Kind<R: 'static> {
    /// A string of the session, equal in all rows of a file.
    SessionText(fn(&EndedSession) -> &str),
    /// The session's start, equal in all rows of a file.
    SessionStart,
    /// The session's end, equal in all rows of a file. The latest that was seen stays.
    SessionEnd,
    /// A string; the later one by its bytes is further along.
    Text(Member<R, Option<String>>),
    /// A state; the one later in the list is further along, and a value that is not in the list is further than all of them.
    State(&'static [&'static str], Member<R, Option<State>>),
    /// A time; the later one is further along.
    Time(Member<R, Option<DateTime<Utc>>>),
    /// A yes or no; yes is further along.
    Flag(Member<R, Option<bool>>),
}

#[derive(Debug)]
struct Member<R, T> {
    get: fn(&R) -> &T,
    get_mut: fn(&mut R) -> &mut T,
}

macro_rules! member {
    ($name:ident) => {
        Member {
            get: |row| &row.$name,
            get_mut: |row| &mut row.$name,
        }
    };
}
use member;

/// The rows of a file take more memory than there is for them.
#[derive(Debug, thiserror::Error)]
#[error("its {rows} rows take more memory than there is")]
pub struct TooLarge {
    pub rows: usize,
}

/// What a file holds: the rows, and the end of the session by which it was written (none in a file of zero rows).
#[derive(Debug, PartialEq)]
pub struct Stored<R> {
    pub rows: Vec<R>,
    pub session_end_time: Option<DateTime<Utc>>,
}

impl<R> Default for Stored<R> {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            session_end_time: None,
        }
    }
}

impl<R: Clone + Default> Table<R> {
    /// The union of all rows, in file order: of rows with one id the one that is further along, compared member by
    /// member, the states first. Neither the order nor the repetition of `rows` decides anything.
    #[must_use]
    pub fn merge(&self, mut rows: Vec<R>) -> Vec<R> {
        // Rows with one id lie together, the one that is furthest along last.
        rows.sort_unstable_by(|a, b| {
            let ids = (self.id)(a).cmp(&(self.id)(b));
            ids.then_with(|| self.progress(a, b))
        });
        rows.dedup_by(|next, kept| {
            let same = match ((self.id)(next), (self.id)(kept)) {
                (None, None) => self.progress(next, kept).is_eq(),
                (next, kept) => next == kept,
            };
            if same {
                std::mem::swap(next, kept);
            }
            same
        });
        // Stable: rows of one time stay in the order of their ids.
        rows.sort_by_key(|row| (self.time)(row).map_or(i64::MAX, |time| time.timestamp_millis()));
        rows
    }

    /// The memory that rows take, in bytes: their own size, that of their strings, and what encoding these takes.
    #[must_use]
    pub fn weight(&self, rows: &[R]) -> usize {
        let strings = |row: &R| -> usize {
            let columns = self.columns.iter().map(|column| column.string(row));
            columns.flatten().map(text_weight).sum()
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

    /// States come first: a row with an earlier state must not stay because its user id sorts later.
    fn progress(&self, a: &R, b: &R) -> Ordering {
        let is_state = |column: &&Column<R>| matches!(column.kind, Kind::State(..));
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
            let of_session = column.is_of_session();
            Field::new(column.name, column.arrow_type(), !of_session)
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
    pub fn encode(&self, session: &EndedSession, rows: &[R]) -> Result<Vec<u8>, BoxError> {
        // The Parquet schema is the contract; a second one in Arrow's own words could only differ from it.
        let options = ArrowWriterOptions::new()
            .with_properties(self.properties().build())
            .with_skip_arrow_metadata(true);
        let schema = self.schema();
        let mut writer =
            ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&schema), options)?;
        for rows in rows.chunks(ROWS_AT_ONCE) {
            let columns = self.columns.iter().map(|column| column.fill(session, rows));
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
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)?;
        let rows = usize::try_from(reader.metadata().file_metadata().num_rows())?;
        let mut room = Room {
            rows,
            bytes_left: most_bytes,
        };
        room.take(rows.saturating_mul(size_of::<R>()))?;
        let mut stored = Stored::default();
        for batch in reader.with_batch_size(ROWS_AT_ONCE).build()? {
            let batch = batch?;
            let begin = stored.rows.len();
            if begin + batch.num_rows() > rows {
                return Err(format!("more rows than the {rows} that the file says").into());
            }
            stored
                .rows
                .resize_with(begin + batch.num_rows(), R::default);
            for column in self.columns {
                if let Some(array) = batch.column_by_name(column.name) {
                    column.read(array, &mut stored, begin, &mut room)?;
                }
            }
        }
        if stored.rows.len() != rows {
            return Err(format!("{} rows in a file of {rows}", stored.rows.len()).into());
        }
        Ok(stored)
    }
}

/// The memory that is left for the rows of a file.
struct Room {
    /// What the file says that it holds.
    rows: usize,
    bytes_left: usize,
}

impl Room {
    fn take(&mut self, bytes: usize) -> Result<(), TooLarge> {
        let left = self.bytes_left.checked_sub(bytes);
        self.bytes_left = left.ok_or(TooLarge { rows: self.rows })?;
        Ok(())
    }

    fn take_text(&mut self, text: &str) -> Result<(), TooLarge> {
        self.take(text_weight(text))
    }
}

fn text_weight(text: &str) -> usize {
    text.len() * (1 + ENCODING) + ALLOCATION
}

impl<R> Column<R> {
    /// The column's type in Athena's DDL.
    #[must_use]
    pub fn athena_type(&self) -> &'static str {
        match self.kind {
            Kind::SessionText(_) | Kind::Text(_) | Kind::State(..) => "string",
            Kind::SessionStart | Kind::SessionEnd | Kind::Time(_) => "timestamp",
            Kind::Flag(_) => "boolean",
        }
    }

    fn arrow_type(&self) -> DataType {
        match self.kind {
            Kind::SessionText(_) | Kind::Text(_) | Kind::State(..) => DataType::Utf8,
            Kind::SessionStart | Kind::SessionEnd | Kind::Time(_) => {
                DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
            }
            Kind::Flag(_) => DataType::Boolean,
        }
    }

    /// Whether its value is the session's, and so never null.
    fn is_of_session(&self) -> bool {
        matches!(
            self.kind,
            Kind::SessionText(_) | Kind::SessionStart | Kind::SessionEnd
        )
    }

    /// Whether its values repeat, so that a dictionary pays. One of values that do not is built and then thrown away.
    fn repeats(&self) -> bool {
        !matches!(self.kind, Kind::Text(_) | Kind::Time(_))
    }

    /// Which of two rows is further along in this column.
    fn compare(&self, a: &R, b: &R) -> Ordering {
        match &self.kind {
            Kind::SessionText(_) | Kind::SessionStart | Kind::SessionEnd => Ordering::Equal,
            Kind::Text(member) => (member.get)(a).cmp((member.get)(b)),
            Kind::Time(member) => (member.get)(a).cmp((member.get)(b)),
            Kind::Flag(member) => (member.get)(a).cmp((member.get)(b)),
            Kind::State(states, member) => {
                let rank = |row| {
                    let value = (member.get)(row).as_ref()?.as_str();
                    let known = states.iter().position(|&state| state == value);
                    Some((known.unwrap_or(states.len()), value))
                };
                rank(a).cmp(&rank(b))
            }
        }
    }

    /// The string that a row holds memory for in this column.
    fn string<'a>(&self, row: &'a R) -> Option<&'a str> {
        match &self.kind {
            Kind::Text(member) => (member.get)(row).as_deref(),
            Kind::State(_, member) => (member.get)(row).as_ref()?.undocumented(),
            _ => None,
        }
    }

    fn fill(&self, session: &EndedSession, rows: &[R]) -> ArrayRef {
        let times = |values: TimestampMillisecondArray| Arc::new(values.with_timezone("UTC"));
        let repeated = |time: DateTime<Utc>| {
            let millis = time.timestamp_millis();
            times(TimestampMillisecondArray::from_value(millis, rows.len()))
        };
        match &self.kind {
            Kind::SessionText(get) => Arc::new(StringArray::new_repeated(get(session), rows.len())),
            Kind::SessionStart => repeated(session.start_time),
            Kind::SessionEnd => repeated(session.end_time),
            Kind::Text(member) => {
                let values = rows.iter().map(|row| (member.get)(row).as_deref());
                Arc::new(values.collect::<StringArray>())
            }
            Kind::State(_, member) => {
                let values = rows
                    .iter()
                    .map(|row| (member.get)(row).as_ref().map(State::as_str));
                Arc::new(values.collect::<StringArray>())
            }
            Kind::Time(member) => {
                let values = rows
                    .iter()
                    .map(|row| (member.get)(row).map(|time| time.timestamp_millis()));
                times(values.collect())
            }
            Kind::Flag(member) => {
                let values = rows.iter().map(|row| *(member.get)(row));
                Arc::new(values.collect::<BooleanArray>())
            }
        }
    }

    /// Takes the values of some rows of a file over, from the row at `begin` on.
    fn read(
        &self,
        array: &ArrayRef,
        stored: &mut Stored<R>,
        begin: usize,
        room: &mut Room,
    ) -> Result<(), BoxError> {
        let same = match (self.arrow_type(), array.data_type()) {
            // Parquet does not keep the name of a time zone.
            (DataType::Timestamp(ours, _), DataType::Timestamp(theirs, _)) => ours == *theirs,
            (ours, theirs) => ours == *theirs,
        };
        if !same {
            let (name, theirs) = (self.name, array.data_type());
            return Err(format!("the stored column {name} is of another type, {theirs}").into());
        }
        let rows = &mut stored.rows[begin..];
        match &self.kind {
            // The key names the session, and IVS is asked for its start at each write.
            Kind::SessionText(_) | Kind::SessionStart => {}
            Kind::SessionEnd => {
                let latest = times(array).flatten().max();
                stored.session_end_time = latest.max(stored.session_end_time);
            }
            Kind::Text(member) => {
                for (row, value) in rows.iter_mut().zip(array.as_string::<i32>()) {
                    value.map_or(Ok(()), |text| room.take_text(text))?;
                    *(member.get_mut)(row) = value.map(str::to_owned);
                }
            }
            Kind::State(_, member) => {
                for (row, value) in rows.iter_mut().zip(array.as_string::<i32>()) {
                    let state = value.map(State::from);
                    let text = state.as_ref().and_then(State::undocumented);
                    text.map_or(Ok(()), |text| room.take_text(text))?;
                    *(member.get_mut)(row) = state;
                }
            }
            Kind::Time(member) => {
                for (row, value) in rows.iter_mut().zip(times(array)) {
                    *(member.get_mut)(row) = value;
                }
            }
            Kind::Flag(member) => {
                for (row, value) in rows.iter_mut().zip(array.as_boolean()) {
                    *(member.get_mut)(row) = value;
                }
            }
        }
        Ok(())
    }
}

fn times(array: &ArrayRef) -> impl Iterator<Item = Option<DateTime<Utc>>> {
    let millis = array.as_primitive::<TimestampMillisecondType>().iter();
    millis.map(|millis| DateTime::from_timestamp_millis(millis?))
}

#[cfg(test)]
mod tests;
