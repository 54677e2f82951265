//! The tables of the lake: one list of columns each, from which the Arrow schema, the Parquet file, the Glue table, the
//! documentation and the order in which rows supersede one another derive.
//!
//! Columns follow the API's `Participant`
//! (<https://docs.aws.amazon.com/ivs/latest/RealTimeAPIReference/API_ParticipantSummary.html>). Strings are what IVS
//! sent, to the byte; times are cut to milliseconds, Athena's precision. Nothing here knows S3, IVS or the clock.
//!
//! Memory: the rows, their Arrow columns and the encoded file are held at once; each grows with the rows only.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field as ArrowField, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::error::BoxError;
use crate::session::EndedSession;

/// The version of the columns, stored with each object. It rises with every change to a list of columns.
pub const SCHEMA_VERSION: u32 = 1;

/// A table whose rows are `R`.
#[derive(Debug)]
pub struct Table<R: 'static> {
    pub name: &'static str,
    pub columns: &'static [Column<R>],
    /// What makes a row the same row in two listings. A row without it is the same only if all of it is.
    id: fn(&R) -> Option<&str>,
    /// The order in a file.
    order: fn(&R, &R) -> Ordering,
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
    State(&'static [&'static str], Member<R, Option<String>>),
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

/// A participant of a session, as `ListParticipants` lists it. Absent members are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Participant {
    pub participant_id: Option<String>,
    pub user_id: Option<String>,
    pub state: Option<String>,
    pub first_join_time: Option<DateTime<Utc>>,
    pub published: Option<bool>,
    pub recording_state: Option<String>,
    pub replication_type: Option<String>,
    pub replication_state: Option<String>,
    pub source_stage_arn: Option<String>,
    pub source_session_id: Option<String>,
    pub redundant_ingest: Option<bool>,
    pub ingest_configuration_arn: Option<String>,
}

/// `participants`: one row for each participant of each session.
pub const PARTICIPANTS: Table<Participant> = Table {
    name: "participants",
    id: |row| row.participant_id.as_deref(),
    order: |a, b| {
        let key = |row: &Participant| (row.first_join_time.is_none(), row.first_join_time);
        key(a)
            .cmp(&key(b))
            .then_with(|| a.participant_id.cmp(&b.participant_id))
    },
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
            kind: Kind::State(&["CONNECTED", "DISCONNECTED"], member!(state)),
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
            kind: Kind::State(
                &[
                    "DISABLED", "STARTING", "ACTIVE", "STOPPING", "STOPPED", "FAILED",
                ],
                member!(recording_state),
            ),
        },
        Column {
            name: "replication_type",
            comment: "SOURCE if replicated to another stage, REPLICA if from another stage, or NONE (replicationType)",
            kind: Kind::State(&["NONE", "SOURCE", "REPLICA"], member!(replication_type)),
        },
        Column {
            name: "replication_state",
            comment: "ACTIVE or STOPPED when listed (replicationState)",
            kind: Kind::State(&["ACTIVE", "STOPPED"], member!(replication_state)),
        },
        Column {
            name: "source_stage_arn",
            comment: "Of a replica: ARN of the stage that it comes from (sourceStageArn)",
            kind: Kind::Text(member!(source_stage_arn)),
        },
        Column {
            name: "source_session_id",
            comment: "Of a replica: id of the session that it comes from (sourceSessionId)",
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
        rows.sort_by(|a, b| {
            (self.id)(a)
                .cmp(&(self.id)(b))
                .then_with(|| self.progress(b, a))
        });
        rows.dedup_by(|next, kept| match ((self.id)(next), (self.id)(kept)) {
            (None, None) => self.progress(next, kept).is_eq(),
            (next, kept) => next == kept,
        });
        rows.sort_by(|a, b| (self.order)(a, b).then_with(|| self.progress(a, b)));
        rows
    }

    /// The stored rows whose id is not among the fresh ones: those that a rewrite keeps.
    #[must_use]
    pub fn only_stored(&self, mut stored: Vec<R>, fresh: &[R]) -> Vec<R> {
        let listed: HashSet<&str> = fresh.iter().filter_map(self.id).collect();
        stored.retain(|row| (self.id)(row).is_none_or(|id| !listed.contains(id)));
        stored
    }

    fn progress(&self, a: &R, b: &R) -> Ordering {
        let orders = self.columns.iter().map(|column| match &column.kind {
            Kind::SessionText(_) | Kind::SessionTime(_) => Ordering::Equal,
            Kind::Text(member) => (member.get)(a).cmp((member.get)(b)),
            Kind::Time(member) => (member.get)(a).cmp((member.get)(b)),
            Kind::Flag(member) => (member.get)(a).cmp((member.get)(b)),
            Kind::State(states, member) => {
                let rank = |row| {
                    let value: &str = (member.get)(row).as_deref()?;
                    let known = states.iter().position(|&state| state == value);
                    Some((known.unwrap_or(states.len()), value))
                };
                rank(a).cmp(&rank(b))
            }
        });
        orders.fold(Ordering::Equal, Ordering::then)
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

    /// Encodes rows, which are in file order, as a whole Parquet file.
    ///
    /// # Errors
    /// What Arrow or Parquet say; none is expected.
    pub fn encode(&self, session: &EndedSession, rows: &[R]) -> Result<Vec<u8>, BoxError> {
        let schema = self.schema();
        let columns = self
            .columns
            .iter()
            .map(|column| column.fill(session, rows))
            .collect();
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .build();
        // The Parquet schema is the contract; a second one in Arrow's own words could only differ from it.
        let options = ArrowWriterOptions::new()
            .with_properties(properties)
            .with_skip_arrow_metadata(true);
        let mut writer = ArrowWriter::try_new_with_options(Vec::new(), schema, options)?;
        writer.write(&batch)?;
        Ok(writer.into_inner()?)
    }

    /// Reads a file back. Columns that it lacks (an older schema) read as null, columns that we lack are passed over.
    ///
    /// # Errors
    /// What is not a Parquet file, or has a column of another type.
    pub fn decode(&self, file: Bytes) -> Result<Stored<R>, BoxError> {
        let mut stored = Stored {
            rows: Vec::new(),
            session_end_time: None,
        };
        for batch in ParquetRecordBatchReaderBuilder::try_new(file)?.build()? {
            let batch = batch?;
            let begin = stored.rows.len();
            stored
                .rows
                .resize_with(begin + batch.num_rows(), R::default);
            let rows = &mut stored.rows[begin..];
            for column in self.columns {
                if let Some(array) = batch.column_by_name(column.name) {
                    column.read(array, rows)?;
                }
            }
            if let Some(array) = batch.column_by_name("session_end_time") {
                let ends = times(array, "session_end_time")?;
                stored.session_end_time = ends.flatten().max().max(stored.session_end_time);
            }
        }
        Ok(stored)
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
            Kind::SessionText(get) => Arc::new(StringArray::from_iter_values(
                rows.iter().map(|_| get(session)),
            )),
            Kind::SessionTime(get) => times(TimestampMillisecondArray::from_iter_values(
                rows.iter().map(|_| get(session).timestamp_millis()),
            )),
            Kind::Text(member) | Kind::State(_, member) => Arc::new(
                rows.iter()
                    .map(|row| (member.get)(row).as_deref())
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

    fn read(&self, array: &ArrayRef, rows: &mut [R]) -> Result<(), BoxError> {
        match &self.kind {
            // The session is named by the key, and asked anew at each write.
            Kind::SessionText(_) | Kind::SessionTime(_) => {}
            Kind::Text(member) | Kind::State(_, member) => {
                let values: &StringArray = typed(array, self.name)?;
                for (row, value) in rows.iter_mut().zip(values) {
                    *(member.get_mut)(row) = value.map(str::to_owned);
                }
            }
            Kind::Time(member) => {
                for (row, value) in rows.iter_mut().zip(times(array, self.name)?) {
                    *(member.get_mut)(row) = value;
                }
            }
            Kind::Flag(member) => {
                let values: &BooleanArray = typed(array, self.name)?;
                for (row, value) in rows.iter_mut().zip(values) {
                    *(member.get_mut)(row) = value;
                }
            }
        }
        Ok(())
    }
}

fn times<'a>(
    array: &'a ArrayRef,
    name: &str,
) -> Result<impl Iterator<Item = Option<DateTime<Utc>>> + 'a, BoxError> {
    let values: &TimestampMillisecondArray = typed(array, name)?;
    Ok(values
        .iter()
        .map(|millis| millis.and_then(DateTime::from_timestamp_millis)))
}

fn typed<'a, A: 'static>(array: &'a ArrayRef, name: &str) -> Result<&'a A, BoxError> {
    array.as_any().downcast_ref().ok_or_else(|| {
        format!(
            "the stored column {name} is of another type, {}",
            array.data_type()
        )
        .into()
    })
}
