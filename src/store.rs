//! The one way into the lake, for every table: encode, put under a condition, read. And for tables whose rows merge: read what is
//! stored, merge, put, and learn from a lost race.
//!
//! The rows of a session are held in memory, those that were listed and those that are stored. So their size
//! is checked before memory is taken: a process that dies would fail its whole batch.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::error::Error;
use crate::lake::{File, Lake, Object, Put, Seen};
use crate::session::EndedSession;
use crate::table::{Kept, Stored, Table, TooLarge};

/// A race for one object is lost at most so often before the session goes back to the queue.
pub const MOST_PUTS: usize = 5;
/// The pause after a lost race, doubled each time.
const AFTER_A_RACE: Duration = Duration::from_millis(50);
/// What the process takes besides the rows of a session, at most.
const OVERHEAD_MEGABYTES: usize = 24;

/// In an object's metadata: the table's schema version, and the number of participants.
const SCHEMA_VERSION: &str = "schema-version";
pub const PARTICIPANTS_COUNTED: &str = "participants";

/// The function's memory.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    pub megabytes: usize,
}

/// How a PUT treats an existing object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// None was seen. If one appears in between, its rows are merged.
    Absent,
    /// Its rows are merged with the new ones.
    Merged,
    /// If it was last written before this instant, a new row replaces a stored one with the same id. Else as
    /// [`Existing::Merged`]: somebody else has listed the session since, and the order of the two must not decide.
    Replaced { before: DateTime<Utc> },
}

/// What the lake holds of a session after a PUT.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// False if somebody else was faster and had all of it.
    pub written: bool,
    pub rows: usize,
    pub end_time: DateTime<Utc>,
}

/// The lake, and the memory for rows.
#[derive(Clone, Copy, Debug)]
pub struct Store<'a> {
    pub lake: &'a Lake,
    pub memory: Memory,
}

impl Memory {
    /// The most that rows may weigh, in bytes. Measured (docs/settings.md): a process takes some 10 MB before its first row,
    /// and merging takes at most a quarter more than the rows themselves.
    #[must_use]
    pub fn for_rows(self) -> usize {
        self.megabytes.saturating_sub(OVERHEAD_MEGABYTES) * 1_048_576 / 5 * 4
    }

    /// The error of a session with so many rows.
    #[must_use]
    pub fn too_small(self, resource: &str, rows: usize, rows_of: &'static str) -> Error {
        Error::SessionTooLarge {
            resource: resource.to_owned(),
            rows,
            rows_of,
            memory_megabytes: self.megabytes,
        }
    }
}

/// A number in an object's metadata; `None` if they do not tell it.
#[must_use]
pub fn counted(seen: &Seen, name: &str) -> Option<u64> {
    seen.metadata.get(name)?.parse().ok()
}

/// Waits after the `put`th PUT lost a race: the other's upload may still be under way.
pub async fn after_a_race(put: usize) {
    tokio::time::sleep(AFTER_A_RACE * (1 << put)).await;
}

impl Store<'_> {
    /// A file of rows in file order, ready to be put. Its metadata tell the schema's version, and what else is handed in.
    ///
    /// # Errors
    /// None is expected: the table's own.
    pub fn file<R: Clone + Default, C>(
        &self,
        table: &Table<R, C>,
        shared: &C,
        key: &str,
        rows: &[R],
        metadata: &[(&str, String)],
    ) -> Result<File, Error> {
        let bytes = table.encode(shared, rows).map_err(|error| {
            let fault = "the rows could not be encoded";
            self.lake.fault("PutObject", key, fault, Some(error))
        })?;
        let version = (SCHEMA_VERSION, table.schema_version.to_string());
        let metadata = metadata.iter().cloned().chain([version]);
        let metadata = metadata.map(|(name, value)| (name.to_owned(), value));
        Ok(File::parquet(bytes, metadata.collect()))
    }

    /// Reads the rows of an object, some thousands at a time, beside rows that take `held` bytes already.
    ///
    /// # Errors
    /// An object that is no file of this table, or one of a newer version; [`Error::SessionTooLarge`] for `resource`.
    pub fn decode<R: Clone + Default, C>(
        &self,
        table: &Table<R, C>,
        resource: &str,
        key: &str,
        object: &Object,
        (held, kept): (usize, Kept<R>),
        each: impl FnMut(Vec<R>),
    ) -> Result<Stored<R>, Error> {
        self.check_version(table, "GetObject", key, &object.metadata)?;
        let room = self.memory.for_rows().saturating_sub(held);
        let decoded = table.decode_each(object.bytes.clone(), room, &kept, each);
        decoded.map_err(|error| match error.downcast::<TooLarge>() {
            Ok(too_large) => self
                .memory
                .too_small(resource, too_large.rows, table.rows_of),
            Err(error) => {
                let fault = format!("the object is no file of the table {}", table.name);
                self.lake.fault("GetObject", key, &fault, Some(error))
            }
        })
    }

    /// Fails for an object of a newer function that was rolled back: its further columns would be lost.
    ///
    /// # Errors
    /// [`Error::LakeError`].
    pub fn check_version<R, C>(
        &self,
        table: &Table<R, C>,
        operation: &'static str,
        key: &str,
        metadata: &HashMap<String, String>,
    ) -> Result<(), Error> {
        let (version, known) = (metadata.get(SCHEMA_VERSION), table.schema_version);
        let version = version.and_then(|version| version.parse::<u32>().ok());
        let Some(newer) = version.filter(|version| *version > known) else {
            return Ok(());
        };
        let fault =
            format!("the object has schema version {newer}, and this function knows {known}");
        Err(self.lake.fault(operation, key, &fault, None))
    }

    /// The error of an object that others kept changing.
    #[must_use]
    pub fn lost_every_race(&self, key: &str) -> Error {
        let fault = format!(
            "{MOST_PUTS} conditional PUTs in a row met an object that was not the one read"
        );
        self.lake.fault("PutObject", key, &fault, None)
    }

    /// Puts the rows of a session under `key`, on the condition that nobody else writes in between. Whoever loses a race reads
    /// the winner's object and adds what it lacks.
    ///
    /// # Errors
    /// As [`Lake::put`] and [`Lake::read`]; an object that is no file of this table, or one of a newer version;
    /// [`Error::SessionTooLarge`].
    pub async fn put<R: Clone + Default>(
        &self,
        table: &Table<R>,
        mut session: EndedSession,
        key: &str,
        fresh: Vec<R>,
        existing: Existing,
    ) -> Result<Outcome, Error> {
        let listed_end = session.end_time;
        // For `Replaced` kept apart: only a row that was listed may replace one that was stored.
        let (mut rows, replacing) = match existing {
            Existing::Replaced { before } => (Vec::new(), Some((fresh, before))),
            _ => (fresh, None),
        };
        // The ETag that the last PUT expected.
        let mut expected = None;
        for put in 0..MOST_PUTS {
            // An object that was not seen is not read. If there is one, the condition says so.
            let object = if existing == Existing::Absent && put == 0 {
                None
            } else {
                self.lake.read(key).await?
            };
            // Rows that replace are held twice: merging takes a copy, and a lost race needs them again.
            let replacing_bytes = replacing.as_ref().map_or(0, |(it, _)| table.weight(it));
            let held = table.weight(&rows) + 2 * replacing_bytes;
            let resource = session.name.to_string();
            let mut stored = Stored::default();
            if let Some(object) = &object {
                let mut all = Vec::new();
                let each = |rows: Vec<R>| all.extend(rows);
                let memory = (held, Kept::Whole(size_of::<R>()));
                stored = self.decode(table, &resource, key, object, memory, each)?;
                stored.rows = all;
            }
            let stored_end = stored.session_end_time;
            // The later end stays, so that the order of two writers decides nothing.
            session.end_time = stored_end.map_or(listed_end, |end| end.max(listed_end));
            let is_older = |before| object.as_ref().is_some_and(|it| it.last_modified < before);
            match &replacing {
                Some((fresh, before)) if is_older(*before) => {
                    session.end_time = listed_end;
                    rows = table.only_stored(stored.rows, fresh);
                    rows.extend_from_slice(fresh);
                }
                Some((fresh, _)) => {
                    rows = stored.rows;
                    rows.extend_from_slice(fresh);
                }
                None => rows.extend(stored.rows),
            }
            let (etag, winner) = object.map(|it| (it.etag, it.bytes)).unzip();
            rows = (table.merge)(rows);
            let outcome = |written| Outcome {
                written,
                rows: rows.len(),
                end_time: session.end_time,
            };
            let count = (PARTICIPANTS_COUNTED, rows.len().to_string());
            let file = self.file(table, &session, key, &rows, &[count])?;
            // S3 also answers 404 and 409 where nobody else wrote. Then the ETag is still the expected one, and the object is put
            // again: without a race a second look writes equal bytes, too, so that the object's time confirms them.
            if put > 0 && etag != expected && winner.is_some_and(|winner| file.holds(&winner)) {
                return Ok(outcome(false));
            }
            if let Put::Written(_) = self.lake.put(key, file, etag.as_deref()).await? {
                return Ok(outcome(true));
            }
            expected = etag;
            after_a_race(put).await;
        }
        Err(self.lost_every_race(key))
    }
}
