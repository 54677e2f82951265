//! The tables of the lake: one list of columns each, from which the Arrow schema, the Parquet file, the Glue table, the
//! documentation and the order in which rows supersede one another derive.
//!
//! Columns follow the API's `Participant`
//! (<https://docs.aws.amazon.com/ivs/latest/RealTimeAPIReference/API_ParticipantSummary.html>). Strings are what IVS
//! sent, to the byte; times are cut to milliseconds, Athena's precision. Nothing here knows S3, IVS or the clock.
//!
//! Memory: the rows and the encoded file are held at once, and the Arrow columns of `ROWS_AT_ONCE` rows. It grows with
//! the rows only: by some 400 bytes for each (docs/performance.md).

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field as ArrowField, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::{ArrowWriter, parquet_to_arrow_schema};
use parquet::basic::{Compression, ZstdLevel};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_typed_column_reader};
use parquet::data_type::{BoolType, ByteArrayType, DataType as ParquetType, Int64Type};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::{ColumnDescriptor, ColumnPath};

use crate::error::BoxError;
use crate::session::EndedSession;

/// The version of the columns, stored with each object. It rises with every change to a list of columns.
pub const SCHEMA_VERSION: u32 = 1;

/// Stands in each file. Not the library's name and version: an upgrade alone must not change the bytes of a file that a
/// query is reading.
const CREATED_BY: &str = "ivs-attendance";

/// What the allocator adds to a string, in bytes.
const ALLOCATION: usize = 16;

/// So many rows at a time become Arrow columns.
const ROWS_AT_ONCE: usize = 8192;

/// A table whose rows are `R`.
#[derive(Debug)]
pub struct Table<R: 'static> {
    pub name: &'static str,
    pub columns: &'static [Column<R>],
    /// What makes a row the same row in two listings. A row without it is the same only if all of it is.
    id: fn(&R) -> Option<&str>,
    /// Where a row lies in a file: by this time, those without one last, and then by id.
    time: fn(&R) -> Option<DateTime<Utc>>,
}

/// A column: its name in SQL, what it means, and how it is filled.
#[derive(Debug)]
pub struct Column<R: 'static> {
    pub name: &'static str,
    /// Meaning, unit and the API's member, as the Glue table and README show it.
    pub comment: &'static str,
    kind: Kind<R>,
}

/// What a column holds. The kinds of a row's own members also say which of two values is further along.
#[derive(Debug)]
enum Kind<R: 'static> {
    /// A string of the session, equal in all rows of a file.
    SessionText(fn(&EndedSession) -> &str),
    /// A time of the session, equal in all rows of a file.
    SessionTime(fn(&EndedSession) -> DateTime<Utc>),
    /// A string; the later one by its bytes is further along.
    Text(Member<R, Option<String>>),
    /// A state; further along in the list is further along, and a value that is not in it beyond all that are.
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

/// The value of a state, to the byte. One that IVS documents takes no memory of its own: a row has up to four.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State(Cow<'static, str>);

const STATES: &[&str] = &["CONNECTED", "DISCONNECTED"];
const RECORDING_STATES: &[&str] = &[
    "DISABLED", "STARTING", "ACTIVE", "STOPPING", "STOPPED", "FAILED",
];
const REPLICATION_TYPES: &[&str] = &["NONE", "SOURCE", "REPLICA"];
const REPLICATION_STATES: &[&str] = &["ACTIVE", "STOPPED"];

impl State {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn weight(&self) -> usize {
        match &self.0 {
            Cow::Borrowed(_) => 0,
            Cow::Owned(text) => text_weight(text),
        }
    }
}

fn text_weight(text: &str) -> usize {
    text.len() + ALLOCATION
}

impl From<&str> for State {
    fn from(value: &str) -> Self {
        let documented = [
            STATES,
            RECORDING_STATES,
            REPLICATION_TYPES,
            REPLICATION_STATES,
        ];
        let mut documented = documented.into_iter().flatten();
        Self(match documented.find(|&&state| state == value) {
            Some(state) => Cow::Borrowed(state),
            None => Cow::Owned(value.to_owned()),
        })
    }
}

/// A participant of a session, as `ListParticipants` lists it. Absent members are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Participant {
    pub participant_id: Option<String>,
    pub user_id: Option<String>,
    pub state: Option<State>,
    pub first_join_time: Option<DateTime<Utc>>,
    pub published: Option<bool>,
    pub recording_state: Option<State>,
    pub replication_type: Option<State>,
    pub replication_state: Option<State>,
    pub source_stage_arn: Option<String>,
    pub source_session_id: Option<String>,
    pub redundant_ingest: Option<bool>,
    pub ingest_configuration_arn: Option<String>,
}

/// `participants`: one row for each participant of each session.
pub const PARTICIPANTS: Table<Participant> = Table {
    name: "participants",
    id: |row| row.participant_id.as_deref(),
    time: |row| row.first_join_time,
    columns: &[
        Column {
            name: "stage_arn",
            comment: "ARN of the stage",
            kind: Kind::SessionText(|session| session.name.stage_arn.as_str()),
        },
        Column {
            name: "session_id",
            comment: "Id of the session within the stage (StageSession.sessionId)",
            kind: Kind::SessionText(|session| session.name.session_id.as_str()),
        },
        Column {
            name: "session_start_time",
            comment: "When the session started, UTC, to the millisecond (StageSession.startTime)",
            kind: Kind::SessionTime(|session| session.start_time),
        },
        Column {
            name: "session_end_time",
            comment: "When the session ended, UTC, to the millisecond (StageSession.endTime)",
            kind: Kind::SessionTime(|session| session.end_time),
        },
        Column {
            name: "participant_id",
            comment: "Id of the participant, assigned by IVS; unique within the session (participantId)",
            kind: Kind::Text(member!(participant_id)),
        },
        Column {
            name: "user_id",
            comment: "The customer's own name for the user, from the token; empty when the token had an empty one (userId)",
            kind: Kind::Text(member!(user_id)),
        },
        Column {
            name: "state",
            comment: "CONNECTED or DISCONNECTED when listed, after the session's end (state)",
            kind: Kind::State(STATES, member!(state)),
        },
        Column {
            name: "first_join_time",
            comment: "When the participant first joined the session, UTC, to the millisecond (firstJoinTime)",
            kind: Kind::Time(member!(first_join_time)),
        },
        Column {
            name: "published",
            comment: "Whether the participant ever published; false also where IVS left it out (published)",
            kind: Kind::Flag(member!(published)),
        },
        Column {
            name: "recording_state",
            comment: "STARTING, ACTIVE, STOPPING, STOPPED, FAILED or DISABLED when listed (recordingState)",
            kind: Kind::State(RECORDING_STATES, member!(recording_state)),
        },
        Column {
            name: "replication_type",
            comment: "SOURCE if replicated to another stage, REPLICA if from another stage, or NONE (replicationType)",
            kind: Kind::State(REPLICATION_TYPES, member!(replication_type)),
        },
        Column {
            name: "replication_state",
            comment: "ACTIVE or STOPPED when listed (replicationState)",
            kind: Kind::State(REPLICATION_STATES, member!(replication_state)),
        },
        Column {
            name: "source_stage_arn",
            comment: "ARN of the stage that a replica comes from (sourceStageArn)",
            kind: Kind::Text(member!(source_stage_arn)),
        },
        Column {
            name: "source_session_id",
            comment: "Id of the session that a replica comes from (sourceSessionId)",
            kind: Kind::Text(member!(source_session_id)),
        },
        Column {
            name: "redundant_ingest",
            comment: "Whether redundant ingest is on for the participant; false also where IVS left it out (redundantIngest)",
            kind: Kind::Flag(member!(redundant_ingest)),
        },
        Column {
            name: "ingest_configuration_arn",
            comment: "ARN of the ingest configuration that the participant published through (ingestConfigurationArn)",
            kind: Kind::Text(member!(ingest_configuration_arn)),
        },
    ],
};

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

impl<R: Clone + Default> Table<R> {
    /// The union of all rows, in file order: of rows with one id the one that is further along, compared member by
    /// member in the order of the columns. Neither the order nor the repetition of `rows` decides anything.
    #[must_use]
    pub fn merge(&self, mut rows: Vec<R>) -> Vec<R> {
        // What is sorted are places, each behind its time: a row is some 240 bytes.
        let mut order: Vec<(i64, usize)> = Vec::with_capacity(rows.len());
        {
            let mut by_id: HashMap<&str, usize> = HashMap::with_capacity(rows.len());
            for (place, row) in rows.iter().enumerate() {
                let time = (self.time)(row).map_or(i64::MAX, |time| time.timestamp_millis());
                if let Some(id) = (self.id)(row) {
                    match by_id.entry(id) {
                        Entry::Vacant(new) => {
                            new.insert(order.len());
                        }
                        Entry::Occupied(kept) => {
                            let kept = &mut order[*kept.get()];
                            if self.progress(row, &rows[kept.1]).is_gt() {
                                *kept = (time, place);
                            }
                            continue;
                        }
                    }
                }
                order.push((time, place));
            }
        }
        let compare = |a: &(i64, usize), b: &(i64, usize)| {
            let beyond = || {
                let (a, b) = (&rows[a.1], &rows[b.1]);
                let ids = (self.id)(a).cmp(&(self.id)(b));
                ids.then_with(|| self.progress(a, b))
            };
            a.0.cmp(&b.0).then_with(beyond)
        };
        order.sort_unstable_by(compare);
        order.dedup_by(|next, kept| compare(next, kept).is_eq());
        for place in 0..order.len() {
            let mut from = order[place].1;
            // What lay before this place has been swapped away since, to where its place took its own row from.
            while from < place {
                from = order[from].1;
            }
            // For speed only: without it the chain of a rotated list is as long as the list.
            order[place].1 = from;
            rows.swap(place, from);
        }
        rows.truncate(order.len());
        rows
    }

    /// The memory that rows take, in bytes: their own size, and that of their strings.
    #[must_use]
    pub fn weight(&self, rows: &[R]) -> usize {
        let strings = |row: &R| -> usize {
            let lengths = self.columns.iter().map(|column| match &column.kind {
                Kind::Text(member) => (member.get)(row)
                    .as_ref()
                    .map_or(0, |text| text_weight(text)),
                Kind::State(_, member) => (member.get)(row).as_ref().map_or(0, State::weight),
                _ => 0,
            });
            lengths.sum()
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

    /// The states are compared before all else: a later user id must not keep a row that is behind.
    fn progress(&self, a: &R, b: &R) -> Ordering {
        let is_state = |column: &&Column<R>| matches!(column.kind, Kind::State(..));
        let states = self.columns.iter().filter(is_state);
        let others = self.columns.iter().filter(|column| !is_state(column));
        let mut orders = states.chain(others).map(|column| match &column.kind {
            Kind::SessionText(_) | Kind::SessionTime(_) => Ordering::Equal,
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
        });
        orders
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    }

    /// The file's schema, the same for every file.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        let fields = self.columns.iter().map(|column| {
            let of_session = matches!(column.kind, Kind::SessionText(_) | Kind::SessionTime(_));
            ArrowField::new(column.name, column.arrow_type(), !of_session)
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
        let schema = self.schema();
        // The Parquet schema is the contract; a second one in Arrow's own words could only differ from it.
        let options = ArrowWriterOptions::new()
            .with_properties(self.properties().build())
            .with_skip_arrow_metadata(true);
        let mut writer = ArrowWriter::try_new_with_options(Vec::new(), schema, options)?;
        for rows in rows.chunks(ROWS_AT_ONCE) {
            let columns = self.columns.iter().map(|column| column.fill(session, rows));
            let batch = RecordBatch::try_new(self.schema(), columns.collect())?;
            writer.write(&batch)?;
        }
        Ok(writer.into_inner()?)
    }

    /// Reads a file back, if its rows take at most `most_bytes` of memory (as [`weight`](Self::weight) counts). Columns that
    /// it lacks (an older schema) read as null, columns that we lack are passed over.
    ///
    /// Not by Arrow's reader, which is written for all types and brings a tenth of the whole function with it.
    ///
    /// # Errors
    /// What is not a Parquet file, or has a column of another type; [`TooLarge`], before the memory is taken.
    pub fn decode(&self, file: Bytes, most_bytes: usize) -> Result<Stored<R>, BoxError> {
        let mut stored = Stored {
            rows: Vec::new(),
            session_end_time: None,
        };
        let file = SerializedFileReader::new(file)?;
        let schema = file.metadata().file_metadata().schema_descr();
        let types = parquet_to_arrow_schema(schema, None)?;
        let mut room = Room {
            rows: 0,
            bytes_left: most_bytes,
        };
        for group in 0..file.num_row_groups() {
            let group = file.get_row_group(group)?;
            let begin = stored.rows.len();
            let count = group.metadata().num_rows();
            let mut found = Vec::new();
            for column in self.columns {
                let Ok(field) = types.field_with_name(column.name) else {
                    continue;
                };
                let (name, stored_type) = (column.name, field.data_type());
                let mut leaves = schema.columns().iter();
                let place = leaves.position(|leaf| leaf.path().parts() == [name]);
                let Some(place) = place.filter(|_| column.reads(stored_type)) else {
                    let text =
                        format!("the stored column {name} is of another type, {stored_type}");
                    return Err(text.into());
                };
                // Else a wrong count would pass for fewer rows.
                let values = group.metadata().column(place).num_values();
                if values != count {
                    let text = format!("{values} values of the column {name} in {count} rows");
                    return Err(text.into());
                }
                found.push((column, place));
            }
            let count = usize::try_from(count)?;
            room.rows += count;
            room.take(count.saturating_mul(size_of::<R>()))?;
            stored.rows.resize_with(begin + count, R::default);
            let rows = &mut stored.rows[begin..];
            for (column, place) in found {
                let (reader, leaf) = (group.get_column_reader(place)?, schema.column(place));
                if column.name == "session_end_time" {
                    let ends = times(reader, &leaf, count)?;
                    let end = ends.into_iter().flatten().max();
                    stored.session_end_time = end.max(stored.session_end_time);
                } else {
                    column.read(reader, &leaf, rows, &mut room)?;
                }
            }
        }
        let (rows, said) = (
            stored.rows.len(),
            file.metadata().file_metadata().num_rows(),
        );
        if i64::try_from(rows)? != said {
            return Err(format!("{rows} rows in a file of {said}").into());
        }
        Ok(stored)
    }
}

/// The memory that is left for the rows of a file.
struct Room {
    /// The rows that the file is known to hold so far.
    rows: usize,
    bytes_left: usize,
}

impl Room {
    fn take(&mut self, bytes: usize) -> Result<(), TooLarge> {
        let left = self.bytes_left.checked_sub(bytes);
        self.bytes_left = left.ok_or(TooLarge { rows: self.rows })?;
        Ok(())
    }
}

impl<R> Column<R> {
    /// The column's type in Athena's DDL.
    #[must_use]
    pub fn athena_type(&self) -> &'static str {
        match self.kind {
            Kind::SessionText(_) | Kind::Text(_) | Kind::State(..) => "string",
            Kind::SessionTime(_) | Kind::Time(_) => "timestamp",
            Kind::Flag(_) => "boolean",
        }
    }

    /// Whether its values repeat, so that a dictionary pays. One of values that do not is built and then thrown away.
    fn repeats(&self) -> bool {
        match self.kind {
            Kind::SessionText(_) | Kind::SessionTime(_) | Kind::State(..) | Kind::Flag(_) => true,
            Kind::Text(_) | Kind::Time(_) => false,
        }
    }

    fn arrow_type(&self) -> DataType {
        match self.kind {
            Kind::SessionText(_) | Kind::Text(_) | Kind::State(..) => DataType::Utf8,
            Kind::SessionTime(_) | Kind::Time(_) => {
                DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
            }
            Kind::Flag(_) => DataType::Boolean,
        }
    }

    fn fill(&self, session: &EndedSession, rows: &[R]) -> ArrayRef {
        let times = |values: TimestampMillisecondArray| Arc::new(values.with_timezone("UTC"));
        match &self.kind {
            Kind::SessionText(get) => Arc::new(StringArray::new_repeated(get(session), rows.len())),
            Kind::SessionTime(get) => times(TimestampMillisecondArray::from_value(
                get(session).timestamp_millis(),
                rows.len(),
            )),
            Kind::Text(member) => Arc::new(
                rows.iter()
                    .map(|row| (member.get)(row).as_deref())
                    .collect::<StringArray>(),
            ),
            Kind::State(_, member) => Arc::new(
                rows.iter()
                    .map(|row| (member.get)(row).as_ref().map(State::as_str))
                    .collect::<StringArray>(),
            ),
            Kind::Time(member) => times(
                rows.iter()
                    .map(|row| (member.get)(row).map(|time| time.timestamp_millis()))
                    .collect(),
            ),
            Kind::Flag(member) => Arc::new(
                rows.iter()
                    .map(|row| *(member.get)(row))
                    .collect::<BooleanArray>(),
            ),
        }
    }

    /// Whether values of this type in a file are ours. Parquet does not keep the name of a time zone.
    fn reads(&self, stored: &DataType) -> bool {
        match self.arrow_type() {
            DataType::Timestamp(unit, _) => {
                matches!(stored, DataType::Timestamp(of, _) if *of == unit)
            }
            ours => *stored == ours,
        }
    }

    fn read(
        &self,
        reader: ColumnReader,
        leaf: &ColumnDescriptor,
        rows: &mut [R],
        room: &mut Room,
    ) -> Result<(), BoxError> {
        let count = rows.len();
        match &self.kind {
            // The session is named by the key, and asked anew at each write.
            Kind::SessionText(_) | Kind::SessionTime(_) => {}
            Kind::Text(member) => {
                let reader = get_typed_column_reader::<ByteArrayType>(reader);
                for (row, value) in rows.iter_mut().zip(values(reader, leaf, count)?) {
                    if let Some(value) = value {
                        let text = value.as_utf8()?;
                        room.take(text.len() + ALLOCATION)?;
                        *(member.get_mut)(row) = Some(text.to_owned());
                    }
                }
            }
            Kind::State(_, member) => {
                let reader = get_typed_column_reader::<ByteArrayType>(reader);
                for (row, value) in rows.iter_mut().zip(values(reader, leaf, count)?) {
                    if let Some(value) = value {
                        let state = State::from(value.as_utf8()?);
                        room.take(state.weight())?;
                        *(member.get_mut)(row) = Some(state);
                    }
                }
            }
            Kind::Time(member) => {
                for (row, value) in rows.iter_mut().zip(times(reader, leaf, count)?) {
                    *(member.get_mut)(row) = value;
                }
            }
            Kind::Flag(member) => {
                let reader = get_typed_column_reader::<BoolType>(reader);
                for (row, value) in rows.iter_mut().zip(values(reader, leaf, count)?) {
                    *(member.get_mut)(row) = value;
                }
            }
        }
        Ok(())
    }
}

fn times(
    reader: ColumnReader,
    leaf: &ColumnDescriptor,
    count: usize,
) -> Result<Vec<Option<DateTime<Utc>>>, BoxError> {
    let values = values(get_typed_column_reader::<Int64Type>(reader), leaf, count)?;
    let time = |millis: Option<i64>| millis.and_then(DateTime::from_timestamp_millis);
    Ok(values.into_iter().map(time).collect())
}

/// So many values of a column of a flat table, `None` where it is null.
fn values<T: ParquetType>(
    mut reader: ColumnReaderImpl<T>,
    leaf: &ColumnDescriptor,
    count: usize,
) -> Result<Vec<Option<T::T>>, BoxError> {
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    let mut read = 0;
    while read < count {
        let (records, _, _) =
            reader.read_records(count - read, Some(&mut levels), None, &mut values)?;
        if records == 0 {
            return Err(format!("the stored column {} ends early", leaf.name()).into());
        }
        read += records;
    }
    if leaf.max_def_level() == 0 {
        return Ok(values.into_iter().map(Some).collect());
    }
    let mut values = values.into_iter();
    let value = |level| (level > 0).then(|| values.next()).flatten();
    Ok(levels.into_iter().map(value).collect())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::select;
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::session::SessionRef;

    fn session() -> EndedSession {
        EndedSession {
            name: SessionRef {
                stage_arn: "arn:aws:ivs:us-west-2:123456789012:stage/AbCdef1G2hij"
                    .parse()
                    .unwrap(),
                session_id: "st-1CVugbu2cf2n8".parse().unwrap(),
            },
            start_time: millis(1_763_480_000_123),
            end_time: millis(1_763_483_600_456),
        }
    }

    fn millis(millis: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(millis).unwrap()
    }

    /// Rows that often agree in a member: few ids, states of today and of tomorrow, awkward strings.
    fn row() -> impl Strategy<Value = Participant> {
        let text = || {
            option::of(prop_oneof![
                select(vec!["", "a", "é\u{0}", "\"\n'", "🦀"]).prop_map(str::to_owned),
                ".{0,4}"
            ])
        };
        let state = |states: &'static [&'static str]| {
            option::of(prop_oneof![
                select(states).prop_map(State::from),
                select(vec!["", "PAUSED", "AWAY"]).prop_map(State::from)
            ])
        };
        let time = option::of(
            prop_oneof![-2i64..3, 1_763_480_000_000i64..1_763_480_000_003].prop_map(millis),
        );
        let flag = || option::of(any::<bool>());
        (
            (
                option::weighted(
                    0.9,
                    select(vec!["p1", "p2", "p3", ""]).prop_map(str::to_owned),
                ),
                text(),
                state(&["CONNECTED", "DISCONNECTED"]),
                time,
            ),
            (
                flag(),
                state(&[
                    "DISABLED", "STARTING", "ACTIVE", "STOPPING", "STOPPED", "FAILED",
                ]),
                state(&["NONE", "SOURCE", "REPLICA"]),
            ),
            (
                state(&["ACTIVE", "STOPPED"]),
                text(),
                text(),
                flag(),
                text(),
            ),
        )
            .prop_map(|(a, b, c)| Participant {
                participant_id: a.0,
                user_id: a.1,
                state: a.2,
                first_join_time: a.3,
                published: b.0,
                recording_state: b.1,
                replication_type: b.2,
                replication_state: c.0,
                source_stage_arn: c.1,
                source_session_id: c.2,
                redundant_ingest: c.3,
                ingest_configuration_arn: c.4,
            })
    }

    fn merge(sides: &[&[Participant]]) -> Vec<Participant> {
        PARTICIPANTS.merge(sides.concat())
    }

    fn ids(rows: &[Participant]) -> HashSet<Option<&str>> {
        rows.iter()
            .map(|row| row.participant_id.as_deref())
            .collect()
    }

    proptest! {
        #[test]
        fn rows_survive_the_file(rows in vec(row(), 0..20)) {
            let file = PARTICIPANTS.encode(&session(), &rows).unwrap();
            let stored = PARTICIPANTS.decode(file.into(), usize::MAX).unwrap();
            prop_assert_eq!(&stored.rows, &rows);
            prop_assert_eq!(stored.session_end_time, (!rows.is_empty()).then(|| session().end_time));
        }

        #[test]
        fn order_paging_and_repetition_change_no_byte(
            rows in vec(row(), 1..12),
            shuffled in vec(any::<prop::sample::Index>(), 0..30),
        ) {
            let once = PARTICIPANTS.encode(&session(), &merge(&[&rows])).unwrap();
            let repeated: Vec<_> = shuffled.iter().map(|index| index.get(&rows).clone()).collect();
            let mut reversed = rows.clone();
            reversed.reverse();
            let again = PARTICIPANTS.encode(&session(), &merge(&[&repeated, &reversed])).unwrap();
            prop_assert!(once == again);
        }

        #[test]
        fn merging_is_what_one_would_write_without_thought_of_speed(rows in vec(row(), 0..40)) {
            let mut expected: Vec<Participant> = Vec::new();
            for row in &rows {
                let same = |other: &&mut Participant| match &row.participant_id {
                    Some(_) => other.participant_id == row.participant_id,
                    None => **other == *row,
                };
                match expected.iter_mut().find(same) {
                    Some(kept) if PARTICIPANTS.progress(row, kept).is_gt() => *kept = row.clone(),
                    Some(_) => {}
                    None => expected.push(row.clone()),
                }
            }
            expected.sort_by(|a, b| {
                let place = |row: &Participant| {
                    (row.first_join_time.is_none(), row.first_join_time, row.participant_id.clone())
                };
                place(a).cmp(&place(b)).then_with(|| PARTICIPANTS.progress(a, b))
            });
            prop_assert_eq!(merge(&[&rows]), expected);
        }

        #[test]
        fn merging_is_commutative_associative_and_idempotent(
            a in vec(row(), 0..8), b in vec(row(), 0..8), c in vec(row(), 0..8),
        ) {
            prop_assert_eq!(merge(&[&a, &b]), merge(&[&b, &a]));
            prop_assert_eq!(merge(&[&merge(&[&a, &b]), &c]), merge(&[&a, &merge(&[&b, &c])]));
            prop_assert_eq!(merge(&[&merge(&[&a]), &a]), merge(&[&a]));
        }

        #[test]
        fn merging_drops_nobody_and_doubles_nobody(a in vec(row(), 0..8), b in vec(row(), 0..8)) {
            let merged = merge(&[&a, &b]);
            let all = [a.clone(), b.clone()].concat();
            prop_assert_eq!(ids(&merged), ids(&all));
            let named = merged.iter().filter(|row| row.participant_id.is_some()).count();
            prop_assert_eq!(named, ids(&merged).iter().flatten().count());
            for nameless in a.iter().chain(&b).filter(|row| row.participant_id.is_none()) {
                prop_assert_eq!(merged.iter().filter(|row| row == &nameless).count(), 1);
            }
        }
    }

    #[test]
    fn the_row_that_is_further_along_stays() {
        let row = |change: fn(&mut Participant)| {
            let mut row = Participant {
                participant_id: Some("p".to_owned()),
                ..Participant::default()
            };
            change(&mut row);
            row
        };
        for (behind, ahead) in [
            (row(|_| ()), row(|row| row.user_id = Some(String::new()))),
            (
                row(|row| row.user_id = Some("a".into())),
                row(|row| row.user_id = Some("b".into())),
            ),
            (
                row(|row| row.state = Some("CONNECTED".into())),
                row(|row| row.state = Some("DISCONNECTED".into())),
            ),
            (
                row(|row| row.state = Some("DISCONNECTED".into())),
                row(|row| row.state = Some("AWAY".into())),
            ),
            (
                row(|row| row.state = Some("AWAY".into())),
                row(|row| row.state = Some("BANNED".into())),
            ),
            (
                row(|row| row.recording_state = Some("STOPPED".into())),
                row(|row| row.recording_state = Some("FAILED".into())),
            ),
            (
                row(|row| row.recording_state = Some("DISABLED".into())),
                row(|row| row.recording_state = Some("ACTIVE".into())),
            ),
            (
                row(|row| row.replication_type = Some("SOURCE".into())),
                row(|row| row.replication_type = Some("REPLICA".into())),
            ),
            (
                row(|row| row.published = Some(false)),
                row(|row| row.published = Some(true)),
            ),
            (
                row(|row| row.first_join_time = Some(millis(1))),
                row(|row| row.first_join_time = Some(millis(2))),
            ),
            // An earlier column decides before a later one.
            (
                row(|row| (row.state, row.published) = (Some("CONNECTED".into()), Some(true))),
                row(|row| (row.state, row.published) = (Some("DISCONNECTED".into()), Some(false))),
            ),
        ] {
            let (behind, ahead) = ([behind], [ahead]);
            assert_eq!(merge(&[&behind, &ahead]), ahead, "{behind:?}");
            assert_eq!(merge(&[&ahead, &behind]), ahead, "{behind:?}");
        }
    }

    #[test]
    fn rows_lie_by_join_time_then_id_and_those_without_a_time_last() {
        let row = |id: &str, time: Option<i64>| Participant {
            participant_id: Some(id.to_owned()),
            first_join_time: time.map(millis),
            ..Participant::default()
        };
        let merged = merge(&[&[
            row("a", None),
            row("c", Some(5)),
            row("b", Some(5)),
            row("d", Some(4)),
            row("f", Some(-2)),
            row("e", Some(-1)),
        ]]);
        let order: Vec<_> = merged
            .iter()
            .filter_map(|row| row.participant_id.as_deref())
            .collect();
        assert_eq!(order, ["f", "e", "d", "b", "c", "a"]);
    }

    #[test]
    fn a_rewrite_keeps_the_stored_rows_that_are_not_listed_any_more() {
        let row = |id: Option<&str>| Participant {
            participant_id: id.map(str::to_owned),
            ..Participant::default()
        };
        let stored = vec![row(Some("gone")), row(Some("listed")), row(None)];
        assert_eq!(
            PARTICIPANTS.only_stored(stored, &[row(Some("listed"))]),
            [row(Some("gone")), row(None)]
        );
    }

    #[test]
    fn a_file_of_an_older_schema_reads_with_nulls() {
        let full = Participant {
            participant_id: Some("p".to_owned()),
            redundant_ingest: Some(true),
            ingest_configuration_arn: Some("arn".to_owned()),
            ..Participant::default()
        };
        let older = Table {
            name: PARTICIPANTS.name,
            columns: &PARTICIPANTS.columns[..PARTICIPANTS.columns.len() - 2],
            id: PARTICIPANTS.id,
            time: PARTICIPANTS.time,
        };
        let file = older
            .encode(&session(), std::slice::from_ref(&full))
            .unwrap();
        let read = PARTICIPANTS.decode(file.into(), usize::MAX).unwrap().rows;
        assert_eq!(
            read,
            [Participant {
                redundant_ingest: None,
                ingest_configuration_arn: None,
                ..full
            }]
        );
    }

    #[test]
    fn what_is_no_file_of_ours_is_an_error() {
        assert!(
            PARTICIPANTS
                .decode(Bytes::from_static(b"dt,people\n"), usize::MAX)
                .is_err()
        );
        let other = Table::<Participant> {
            name: "other",
            columns: &[Column {
                name: "user_id",
                comment: "",
                kind: Kind::Flag(member!(published)),
            }],
            id: |_| None,
            time: |_| None,
        };
        let file = other.encode(&session(), &[Participant::default()]).unwrap();
        let message = PARTICIPANTS
            .decode(file.into(), usize::MAX)
            .unwrap_err()
            .to_string();
        assert_eq!(
            message,
            "the stored column user_id is of another type, Boolean"
        );
    }

    /// A column of lists has no leaf by its own name, and must not be passed over as one that an older file lacks.
    #[test]
    fn a_nested_column_is_of_another_type() {
        let mut builder = arrow::array::ListBuilder::new(arrow::array::StringBuilder::new())
            .with_field(ArrowField::new("element", DataType::Utf8, true));
        builder.append_value([Some("ana")]);
        let column: ArrayRef = Arc::new(builder.finish());
        let batch = RecordBatch::try_from_iter([("user_id", column)]).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        let file = writer.into_inner().unwrap();
        let message = PARTICIPANTS
            .decode(file.into(), usize::MAX)
            .unwrap_err()
            .to_string();
        assert!(message.contains("user_id is of another type"), "{message}");
    }

    #[test]
    fn a_wrong_count_of_rows_is_an_error_and_not_fewer_rows() {
        const ROWS: u16 = 300;
        let row = |number: u16| Participant {
            participant_id: Some(format!("p{number:011}")),
            ..Participant::default()
        };
        let rows: Vec<_> = (0..ROWS).map(row).collect();
        let file = PARTICIPANTS.encode(&session(), &rows).unwrap();
        // 300 as the footer writes it (a zigzag varint), wherever it may stand there, and 299 in its place.
        let (right, wrong) = ([0xd8, 0x04], [0xd6, 0x04]);
        let mut refused = 0;
        for at in 0..file.len() - 1 {
            if file[at..at + 2] != right {
                continue;
            }
            let mut file = file.clone();
            file[at..at + 2].copy_from_slice(&wrong);
            match PARTICIPANTS.decode(file.into(), usize::MAX) {
                Ok(stored) => assert_eq!(stored.rows.len(), usize::from(ROWS), "at {at}"),
                Err(_) => refused += 1,
            }
        }
        assert!(refused >= 2, "of the row group and of the file");
    }

    #[test]
    fn rows_come_into_their_order_from_any_rotation() {
        const ROWS: i64 = 50;
        let row = |number: i64| Participant {
            participant_id: Some(format!("p{number:011}")),
            first_join_time: DateTime::from_timestamp(number, 0),
            ..Participant::default()
        };
        let rows: Vec<_> = (0..ROWS).map(row).collect();
        for by in 0..rows.len() {
            let mut rotated = rows.clone();
            rotated.rotate_left(by);
            assert_eq!(PARTICIPANTS.merge(rotated.clone()), rows, "{by}");
            rotated.reverse();
            assert_eq!(PARTICIPANTS.merge(rotated), rows, "{by}, reversed");
        }
    }

    #[test]
    fn of_two_rows_the_states_decide_before_all_else() {
        let stale = Participant {
            participant_id: Some("p".to_owned()),
            user_id: Some("zed".to_owned()),
            state: Some("CONNECTED".into()),
            recording_state: Some("ACTIVE".into()),
            ..Participant::default()
        };
        let last = Participant {
            user_id: Some("ana".to_owned()),
            state: Some("DISCONNECTED".into()),
            recording_state: Some("STOPPED".into()),
            ..stale.clone()
        };
        for rows in [[&stale, &last], [&last, &stale]] {
            let rows = rows.map(Clone::clone).to_vec();
            assert_eq!(PARTICIPANTS.merge(rows), std::slice::from_ref(&last));
        }
    }

    #[test]
    fn a_small_file_of_many_rows_is_too_large_before_the_memory_is_taken() {
        const ROWS: usize = 1_000_000;
        let column: ArrayRef = Arc::new(StringArray::new_null(ROWS));
        let batch = RecordBatch::try_from_iter_with_nullable([("user_id", column, true)]).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        let file = Bytes::from(writer.into_inner().unwrap());
        assert!(file.len() < 10_000);
        let least = ROWS * size_of::<Participant>();
        let error = PARTICIPANTS.decode(file.clone(), least - 1).unwrap_err();
        assert_eq!(error.downcast::<TooLarge>().unwrap().rows, ROWS);
        assert_eq!(PARTICIPANTS.decode(file, least).unwrap().rows.len(), ROWS);
    }

    #[test]
    fn long_strings_count_where_rows_are_few() {
        let row = |number: usize| Participant {
            participant_id: Some(format!("p{number}")),
            // One value in the file, but one of its own in each row.
            user_id: Some("u".repeat(100_000)),
            ..Participant::default()
        };
        let rows: Vec<_> = (0..100).map(row).collect();
        let file = Bytes::from(PARTICIPANTS.encode(&session(), &rows).unwrap());
        let weight = PARTICIPANTS.weight(&rows);
        assert!(weight > 10_000_000);
        assert!(PARTICIPANTS.decode(file.clone(), weight - 1).is_err());
        assert_eq!(PARTICIPANTS.decode(file, weight).unwrap().rows, rows);
    }

    /// Equal bytes keep a query that reads the file whole while it is written again. If a library changes them, say so in
    /// CHANGELOG, and put the new hash here.
    #[test]
    fn the_bytes_of_a_file_are_the_same_in_every_build() {
        let rows = ["ana", "ben"].map(|user| Participant {
            participant_id: Some(format!("p-{user}")),
            user_id: Some(user.to_owned()),
            state: Some("DISCONNECTED".into()),
            first_join_time: Some(millis(1_763_480_001_000)),
            published: Some(true),
            redundant_ingest: Some(false),
            ..Participant::default()
        });
        let file = PARTICIPANTS.encode(&session(), &rows).unwrap();
        let reader = SerializedFileReader::new(Bytes::from(file.clone())).unwrap();
        let written_by = reader
            .metadata()
            .file_metadata()
            .created_by()
            .map(str::to_owned);
        assert_eq!(written_by.as_deref(), Some("ivs-attendance"));
        let hash = Bytes::from(Sha256::digest(&file).to_vec());
        insta::assert_snapshot!(format!("{hash:x}"), @"f0ede7e1d7b0d853bd00d203efe906285096647f317bbff0aa7f0ddb92e7a24f");
    }

    #[test]
    fn the_schema_is_the_contract() {
        let schema = PARTICIPANTS.schema();
        let lines: Vec<_> = schema
            .fields()
            .iter()
            .zip(PARTICIPANTS.columns)
            .map(|(field, column)| {
                let null = if field.is_nullable() { "" } else { " not null" };
                format!(
                    "{:<25}{:<11}{}{null}",
                    field.name(),
                    column.athena_type(),
                    field.data_type()
                )
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        stage_arn                string     Utf8 not null
        session_id               string     Utf8 not null
        session_start_time       timestamp  Timestamp(ms, "UTC") not null
        session_end_time         timestamp  Timestamp(ms, "UTC") not null
        participant_id           string     Utf8
        user_id                  string     Utf8
        state                    string     Utf8
        first_join_time          timestamp  Timestamp(ms, "UTC")
        published                boolean    Boolean
        recording_state          string     Utf8
        replication_type         string     Utf8
        replication_state        string     Utf8
        source_stage_arn         string     Utf8
        source_session_id        string     Utf8
        redundant_ingest         boolean    Boolean
        ingest_configuration_arn string     Utf8
        "#);
    }
}
