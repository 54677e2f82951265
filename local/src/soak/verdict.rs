//! Compares the lake with what the emulator knows. It reads the files with Arrow only, without any code of the function.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{
    Array, AsArray, BooleanArray, Int32Array, Int64Array, MapArray, StringArray,
    TimestampMillisecondArray,
};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use tokio::time::Instant;

use crate::ivs::world::{Participant, Session};
use crate::lambda::circle::Circle;
use crate::soak::script::Name;

/// Everything that is wrong, a line for each case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Ended sessions without an object, and participants who were listed and are not in the file.
    pub lost: Vec<String>,
    /// Sessions with two objects, and participants who are twice in a file.
    pub doubled: Vec<String>,
    /// Files that cannot be parsed, or differ from what IVS says.
    pub torn: Vec<String>,
    /// Objects of sessions that have not ended.
    pub live: Vec<String>,
    /// PUTs without a condition.
    pub unconditional: Vec<String>,
    /// Sessions that were listed too often. Two listings are allowed, and one more for each of these: a fault of a call
    /// that lists the participants; a fault of a request for the object; a batch whose process died; a batch that
    /// overlapped an earlier one; an `OutOfTime` or `SessionTooLarge` in the log; a batch that ran out of time for it; a
    /// rewrite.
    pub listed_too_often: Vec<String>,
    /// Ended sessions without attendance, or without the events that it was built from.
    pub uncollected: Vec<String>,
    /// Objects of attendance that were visible without the events, and objects that lacked people or events when they became visible.
    pub half_collected: Vec<String>,
    /// Objects of attendance or of events that said something else than IVS when they became visible.
    pub wrong_attendance: Vec<String>,
    /// Participants who were asked for more than once. For each of these once more is allowed: a fault of such a call; a
    /// delivery of the collection that failed or overlapped another; a new list of participants; a deployment of `RecollectBefore`.
    pub collected_too_often: Vec<String>,
    /// Log lines, failure markers and messages with a user id, an attribute, a device or a provider.
    pub personal: Vec<String>,
}

/// The columns of the table, of a session and of a participant.
const COLUMNS: [&str; 16] = [
    "stage_arn",
    "session_id",
    "session_start_time",
    "session_end_time",
    "participant_id",
    "user_id",
    "state",
    "first_join_time",
    "published",
    "recording_state",
    "replication_type",
    "replication_state",
    "source_stage_arn",
    "source_session_id",
    "redundant_ingest",
    "ingest_configuration_arn",
];
/// The position of `participant_id`.
pub(super) const ID: usize = 4;

/// A row's values as text, in the order of the columns.
pub(super) type Row = Vec<Option<String>>;

/// An entry of a map as text.
pub(super) fn entry(key: &str, value: &str) -> String {
    format!("{key:?}: {value:?}; ")
}

impl Verdict {
    /// IVS no longer knows the sessions in `deleted`, so their files may be incomplete.
    pub(super) fn of(circle: &Circle, deleted: &BTreeMap<Name, Session>) -> Self {
        let mut verdict = Self::default();
        let sessions = circle.ivs.world().sessions.clone();
        let mut objects = objects(circle);
        for (name, session) in &sessions {
            let keys = objects.remove(&file_name(name)).unwrap_or_default();
            verdict.judge(circle, name, session, &keys, false);
        }
        for (name, session) in deleted {
            if let Some(keys) = objects.remove(&file_name(name)) {
                verdict.judge(circle, name, session, &keys, true);
            }
        }
        for key in objects.into_values().flatten() {
            verdict
                .torn
                .push(format!("{key} is of no session that there was"));
        }
        for put in circle.s3.unconditional_puts() {
            verdict
                .unconditional
                .push(format!("{} {}", put.method, put.path));
        }
        verdict.count_listings(circle, sessions.keys().chain(deleted.keys()));
        verdict
    }

    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }

    fn judge(
        &mut self,
        circle: &Circle,
        name: &Name,
        session: &Session,
        keys: &[String],
        deleted: bool,
    ) {
        let (stage, id) = name;
        let Some(end) = session.end_time else {
            let object = |key| format!("{key} is of a session that has not ended");
            self.live.extend(keys.iter().map(object));
            return;
        };
        let Some(key) = keys.first() else {
            self.lost
                .push(format!("session {id} of {stage} has no object"));
            return;
        };
        if keys.len() > 1 {
            self.doubled
                .push(format!("session {id} of {stage} has the objects {keys:?}"));
        }
        let day = session
            .start_time
            .map(|start| format!("dt={}/", start.date_naive()));
        if day.is_none_or(|day| !key.contains(&day)) {
            self.torn
                .push(format!("{key} does not lie under the day of its start"));
        }
        let rows = match rows(circle, key) {
            Ok(rows) => rows,
            Err(error) => {
                self.torn.push(format!("{key} does not parse: {error}"));
                return;
            }
        };
        // A row without an id is its own id.
        let key_of = |row: &Row| match &row[ID] {
            Some(id) => id.clone(),
            None => format!("{row:?}"),
        };
        let mut stored = BTreeMap::<String, Vec<Row>>::new();
        for row in rows {
            stored.entry(key_of(&row)).or_default().push(row);
        }
        for who in &session.participants {
            let expected = row(name, session, end, who);
            let id = key_of(&expected);
            let Some(found) = stored.remove(&id) else {
                if !deleted {
                    self.lost.push(format!("participant {id} of {key}"));
                }
                continue;
            };
            if found.len() > 1 {
                let times = found.len();
                self.doubled
                    .push(format!("participant {id} is {times} times in {key}"));
            }
            if found[0] != expected && !deleted {
                let differs = COLUMNS.iter().zip(found[0].iter().zip(&expected));
                let differs: Vec<_> = differs
                    .filter(|(_, (found, expected))| found != expected)
                    .collect();
                self.torn.push(format!(
                    "participant {id} of {key} differs in (column, (file, IVS)): {differs:?}"
                ));
            }
        }
        for id in stored.into_keys() {
            self.torn.push(format!(
                "participant {id} of {key} is nobody of that session"
            ));
        }
    }

    fn count_listings<'a>(&mut self, circle: &Circle, names: impl Iterator<Item = &'a Name>) {
        let mut listings = BTreeMap::<Name, usize>::new();
        let mut reasons = BTreeMap::<Name, Vec<&str>>::new();
        for call in &circle.ivs.world().calls {
            if call.operation != "ListParticipants" {
                continue;
            }
            let Some(name) = named(&call.body) else {
                continue;
            };
            if call.body.get("nextToken").is_none() {
                *listings.entry(name.clone()).or_default() += 1;
            }
            if !call.faults.is_empty() {
                reasons.entry(name).or_default().push("fault of IVS");
            }
        }
        let by_file: BTreeMap<_, _> = names.map(|name| (file_name(name), name)).collect();
        for request in circle.s3.requests() {
            let file = request.path.rsplit('/').next().unwrap_or_default();
            if let Some(&name) = by_file.get(file)
                && request.path.contains("/participants/")
                && !request.faults.is_empty()
            {
                reasons.entry(name.clone()).or_default().push("fault of S3");
            }
        }
        let mut at_work = BTreeMap::<Name, Vec<(Instant, Instant)>>::new();
        let mut deliveries = circle.work.deliveries();
        deliveries.sort_by_key(|delivery| delivery.started);
        for delivery in deliveries {
            let Some((ended, result)) = delivery.ended else {
                continue;
            };
            let bodies = delivery
                .messages
                .iter()
                .filter_map(|message| serde_json::from_str(&message.body).ok());
            let names: BTreeSet<_> = bodies.filter_map(|body| named(&body)).collect();
            for name in names {
                let reasons = reasons.entry(name.clone()).or_default();
                if result.is_err() {
                    reasons.push("death");
                }
                let before = at_work.entry(name).or_default();
                if before.iter().any(|(_, end)| *end > delivery.started) {
                    reasons.push("overlap");
                }
                before.push((delivery.started, ended));
            }
        }
        for line in circle.pool.log_lines() {
            let message = line["message"].as_str().unwrap_or_default();
            let reason = match line["error_type"].as_str() {
                Some("OutOfTime") if message == "the message failed" => "out of time",
                Some("SessionTooLarge") if message == "the message failed" => "too large",
                None if message.contains(": cut short") => "cut short",
                None if line["outcome"] == "rewritten" => "rewritten",
                _ => continue,
            };
            if let Some(name) = named(&line) {
                reasons.entry(name).or_default().push(reason);
            }
        }
        for (name, times) in listings {
            let reasons = reasons.remove(&name).unwrap_or_default();
            if times > 2 + reasons.len() {
                let (stage, id) = name;
                self.listed_too_often.push(format!(
                    "session {id} of {stage} was listed {times} times, with {reasons:?}"
                ));
            }
        }
    }
}

/// The keys of the objects of `participants`, by file name. The file name identifies the session.
pub(super) fn objects(circle: &Circle) -> BTreeMap<String, Vec<String>> {
    objects_of(circle, "participants")
}

/// The keys of a table's objects, by file name.
pub(super) fn objects_of(circle: &Circle, table: &str) -> BTreeMap<String, Vec<String>> {
    let mut objects = BTreeMap::<_, Vec<_>>::new();
    let folder = format!("{table}/");
    for key in circle.s3.keys() {
        if key.starts_with(&folder) {
            let file = key.rsplit('/').next().unwrap_or_default().to_owned();
            objects.entry(file).or_default().push(key);
        }
    }
    objects
}

pub(super) fn file_name((stage, session): &Name) -> String {
    let stage = stage.rsplit('/').next().unwrap_or_default();
    format!("{stage}_{session}.parquet")
}

/// The session that a payload, a request or a log line names.
pub(super) fn named(body: &Value) -> Option<Name> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let stage = text(&body["stage_arn"])
        .or_else(|| text(&body["stageArn"]))
        .or_else(|| text(&body["resources"][0]))?;
    let session = text(&body["session_id"])
        .or_else(|| text(&body["sessionId"]))
        .or_else(|| text(&body["detail"]["session_id"]))?;
    Some((stage, session))
}

/// The row that a participant should have.
fn row(name: &Name, session: &Session, end: DateTime<Utc>, who: &Participant) -> Row {
    let millis = |time: DateTime<Utc>| time.timestamp_millis().to_string();
    let join = who
        .first_join_time
        .as_ref()
        .and_then(|time| DateTime::parse_from_rfc3339(time).ok());
    let flag = |flag: Option<bool>| Some(flag.unwrap_or(false).to_string());
    vec![
        Some(name.0.clone()),
        Some(name.1.clone()),
        session.start_time.map(millis),
        Some(millis(end)),
        who.participant_id.clone(),
        who.user_id.clone(),
        who.state.clone(),
        join.map(|time| millis(time.to_utc())),
        flag(who.published),
        who.recording_state.clone(),
        who.replication_type.clone(),
        who.replication_state.clone(),
        who.source_stage_arn.clone(),
        who.source_session_id.clone(),
        flag(who.redundant_ingest),
        who.ingest_configuration_arn.clone(),
    ]
}

/// The rows of a file of `participants`.
pub(super) fn rows(circle: &Circle, key: &str) -> Result<Vec<Row>, String> {
    rows_of(circle.s3.read(key), &COLUMNS)
}

/// The rows of a file that has these columns.
pub(super) fn rows_of(file: Bytes, columns: &[&str]) -> Result<Vec<Row>, String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let builder = ParquetRecordBatchReaderBuilder::try_new(file);
    let reader = builder
        .and_then(ParquetRecordBatchReaderBuilder::build)
        .map_err(|error| text(&error))?;
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|error| text(&error))?;
        let names = batch
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect::<Vec<_>>();
        if names != columns {
            return Err(format!("the columns are {names:?}"));
        }
        for row in 0..batch.num_rows() {
            let values = batch.columns().iter().map(|column| value(column, row));
            rows.push(values.collect::<Result<Row, _>>()?);
        }
    }
    Ok(rows)
}

fn value(column: &dyn Array, row: usize) -> Result<Option<String>, String> {
    if column.is_null(row) {
        return Ok(None);
    }
    let any = column.as_any();
    if let Some(texts) = any.downcast_ref::<StringArray>() {
        Ok(Some(texts.value(row).to_owned()))
    } else if let Some(flags) = any.downcast_ref::<BooleanArray>() {
        Ok(Some(flags.value(row).to_string()))
    } else if let Some(times) = any.downcast_ref::<TimestampMillisecondArray>() {
        Ok(Some(times.value(row).to_string()))
    } else if let Some(numbers) = any.downcast_ref::<Int64Array>() {
        Ok(Some(numbers.value(row).to_string()))
    } else if let Some(numbers) = any.downcast_ref::<Int32Array>() {
        Ok(Some(numbers.value(row).to_string()))
    } else if let Some(maps) = any.downcast_ref::<MapArray>() {
        let entries = maps.value(row);
        let [keys, values] = [0, 1].map(|column| entries.column(column).as_string::<i32>());
        let entries = keys.iter().zip(values);
        let entries = entries.map(|(key, value)| entry(key.unwrap_or(""), value.unwrap_or("")));
        Ok(Some(entries.collect()))
    } else {
        Err(format!("a column is of type {}", column.data_type()))
    }
}
