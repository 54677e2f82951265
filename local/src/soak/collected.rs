//! Compares what was collected with what the emulator knows: each object when it became visible, and all of them in the end.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::time::Instant;

use crate::lambda::circle::Circle;
use crate::lambda::mapping::{Delivery, Mapping};
use crate::soak::attendance::{ATTENDANCE_COLUMNS, EVENT_COLUMNS, Expected};
use crate::soak::script::{Name, PERSONAL, Plan};
use crate::soak::verdict::{ID, Row, Verdict, file_name, named, objects_of, rows, rows_of};

const EVENTS: &str = "participant_events";
const ATTENDANCE: &str = "attendance";

/// The two tables, and their columns.
const TABLES: [(&str, &[&str]); 2] = [(EVENTS, &EVENT_COLUMNS), (ATTENDANCE, &ATTENDANCE_COLUMNS)];

/// An object of a collection as it became visible.
pub(super) struct Sight {
    key: String,
    file: Bytes,
    at: std::time::Instant,
    /// Whether the session's events were visible then.
    with_events: bool,
}

pub(super) type Sights = Arc<Mutex<Vec<Sight>>>;

/// Keeps each object of a collection that is put from now on.
pub(super) fn watch(circle: &Circle) -> Sights {
    let sights = Sights::default();
    let (seen, bucket) = (Arc::clone(&sights), circle.s3.path(""));
    circle.s3.on_write(move |key| {
        let Some((table, path)) = key.split_once('/') else {
            return;
        };
        if TABLES.iter().any(|&(known, _)| known == table) {
            let read = |path: &Path| std::fs::read(path).unwrap_or_default();
            let sight = Sight {
                key: key.to_owned(),
                file: read(&bucket.join(key)).into(),
                at: std::time::Instant::now(),
                with_events: bucket.join(EVENTS).join(path).is_file(),
            };
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.push(sight);
        }
    });
    sights
}

/// What is known of the sessions when a soak is over.
pub(super) struct Known<'a> {
    pub(super) circle: &'a Circle,
    pub(super) plans: &'a [Plan],
    /// When the stages of sessions were deleted, and their sessions with them.
    pub(super) deleted: &'a BTreeMap<Name, std::time::Instant>,
    pub(super) sights: &'a [Sight],
    /// Attendance of every session that IVS knows must be newer.
    pub(super) recollect_before: Option<DateTime<Utc>>,
}

impl Known<'_> {
    pub(super) fn judge(&self, verdict: &mut Verdict) {
        let plans: HashMap<_, _> = self
            .plans
            .iter()
            .map(|it| (file_name(&it.name), it))
            .collect();
        let mut expected = HashMap::new();
        for sight in self.sights {
            let file = sight.key.rsplit('/').next().unwrap_or_default();
            let plan = plans.get(file).copied();
            let Some((plan, end)) = plan.and_then(|plan| Some((plan, plan.end?))) else {
                let key = &sight.key;
                let live = format!("{key} is of no session that has ended");
                verdict.wrong_attendance.push(live);
                continue;
            };
            // Of a session that IVS does not know any more it tells nothing.
            let deleted = self.deleted.get(&plan.name);
            if deleted.is_some_and(|&deleted| deleted <= sight.at) {
                continue;
            }
            let expected = expected
                .entry(file)
                .or_insert_with(|| Expected::of(plan, end));
            sight.judge(verdict, plan, expected);
        }
        self.judge_end(verdict);
        self.count_asking(verdict);
        self.find_personal(verdict);
    }

    /// Each session that IVS knows and that has ended has both objects, once.
    fn judge_end(&self, verdict: &mut Verdict) {
        let known: BTreeSet<_> = self.circle.ivs.world().sessions.keys().cloned().collect();
        for (table, _) in TABLES {
            let objects = objects_of(self.circle, table);
            let ended = self.plans.iter().filter(|plan| plan.end.is_some());
            for plan in ended.filter(|plan| known.contains(&plan.name)) {
                let (stage, id) = &plan.name;
                let keys = objects.get(&file_name(&plan.name));
                let keys = keys.map(Vec::as_slice).unwrap_or_default();
                let [key] = keys else {
                    let fault =
                        format!("session {id} of {stage} has the objects {keys:?} of {table}");
                    verdict.uncollected.push(fault);
                    continue;
                };
                let same = |sight: &&Sight| sight.key == *key;
                let last = self.sights.iter().rfind(same);
                if last.is_none_or(|last| last.file != self.circle.s3.read(key)) {
                    let fault = format!("{key} was changed without a PUT");
                    verdict.wrong_attendance.push(fault);
                }
                if table == ATTENDANCE {
                    self.judge_attendance(verdict, key);
                }
            }
        }
    }

    /// Attendance has the rows of `participants` in their order, and is new enough.
    fn judge_attendance(&self, verdict: &mut Verdict, key: &str) {
        let ids = |rows: Vec<Row>| rows.into_iter().map(|row| row[ID].clone()).collect();
        let of = |rows: Result<Vec<Row>, String>| rows.map(ids).unwrap_or_default();
        let listed: Vec<_> = of(rows(self.circle, &key.replace(ATTENDANCE, "participants")));
        let there: Vec<_> = of(rows_of(self.circle.s3.read(key), &ATTENDANCE_COLUMNS));
        if listed != there {
            let fault = format!("{key} has other people than participants, or in another order");
            verdict.wrong_attendance.push(fault);
        }
        let written: DateTime<Utc> = self.circle.s3.last_modified(key).into();
        if self.recollect_before.is_some_and(|before| written < before) {
            let fault = format!("{key} was not collected once more");
            verdict.uncollected.push(fault);
        }
    }

    fn count_asking(&self, verdict: &mut Verdict) {
        let mut allowed = BTreeMap::<Name, usize>::new();
        let mut at_work = BTreeMap::<Name, Instant>::new();
        let mut deliveries = self.circle.collect.deliveries();
        deliveries.sort_by_key(|delivery| delivery.started);
        for delivery in deliveries {
            for name in named_in(&delivery) {
                let allowed = allowed.entry(name.clone()).or_default();
                let ended = delivery.ended.as_ref().map(|(ended, _)| *ended);
                let free = at_work
                    .get(&name)
                    .is_none_or(|&busy| busy <= delivery.started);
                let failed = !delivery.failed.is_empty() || ended.is_none();
                *allowed += usize::from(failed) + usize::from(!free);
                let ended = ended.unwrap_or(delivery.started);
                at_work.insert(name, ended);
            }
        }
        for line in self.circle.pool.log_lines() {
            if line["outcome"] == "rewritten"
                && let Some(name) = named(&line)
            {
                *allowed.entry(name).or_default() += 1;
            }
        }
        let once = 1 + usize::from(self.recollect_before.is_some());
        let mut asked = BTreeMap::<(Name, String), (usize, usize)>::new();
        for call in &self.circle.ivs.world().calls {
            if call.operation != "ListParticipantEvents" {
                continue;
            }
            let id = call.body["participantId"].as_str().unwrap_or_default();
            if let Some(name) = named(&call.body) {
                let (asked, faults) = asked.entry((name, id.to_owned())).or_default();
                *faults += usize::from(!call.faults.is_empty());
                *asked +=
                    usize::from(call.faults.is_empty() && call.body.get("nextToken").is_none());
            }
        }
        for ((name, id), (asked, faults)) in asked {
            let allowed = once + faults + allowed.get(&name).copied().unwrap_or_default();
            if asked > allowed {
                let (stage, session) = name;
                verdict.collected_too_often.push(format!(
                    "participant {id} of session {session} of {stage} was asked for {asked} times, where {allowed} are explained"
                ));
            }
        }
    }

    /// Looks for personal data where none may be.
    fn find_personal(&self, verdict: &mut Verdict) {
        let circle = self.circle;
        let logged = circle.pool.printed();
        let lines = logged.lines().map(|line| ("the log", line.to_owned()));
        let markers = circle.s3.keys().into_iter();
        let markers = markers.filter(|key| key.starts_with("failed/")).map(|key| {
            let text = String::from_utf8_lossy(&circle.s3.read(&key)).into_owned();
            ("a marker", text)
        });
        let mappings = [&circle.work, &circle.sweeps, &circle.collect];
        let deliveries = mappings.into_iter().flat_map(Mapping::deliveries);
        let messages = deliveries.flat_map(|delivery| delivery.messages);
        let messages = messages.map(|message| ("a message", message.body));
        for (place, text) in lines.chain(markers).chain(messages) {
            if text.contains(PERSONAL) {
                let start: String = text.chars().take(1_000).collect();
                verdict.personal.push(format!("{place}: {start}"));
            }
        }
    }
}

impl Sight {
    fn judge(&self, verdict: &mut Verdict, plan: &Plan, expected: &Expected) {
        let key = &self.key;
        let table = key.split('/').next().unwrap_or_default();
        if !key.contains(&format!("/dt={}/", plan.start.date_naive())) {
            let fault = format!("{key} does not lie under the day of its start");
            verdict.wrong_attendance.push(fault);
        }
        if !self.with_events {
            let fault = format!("{key} was visible without the events");
            verdict.half_collected.push(fault);
        }
        let (columns, expected) = match table {
            EVENTS => (&EVENT_COLUMNS[..], &expected.events),
            _ => (&ATTENDANCE_COLUMNS[..], &expected.attendance),
        };
        let rows = match rows_of(self.file.clone(), columns) {
            Ok(rows) => rows,
            Err(error) => {
                let fault = format!("{key} does not parse: {error}");
                verdict.half_collected.push(fault);
                return;
            }
        };
        if rows.len() < expected.len() {
            let fault = format!("{key} had {} rows of {}", rows.len(), expected.len());
            verdict.half_collected.push(fault);
        }
        if rows != *expected {
            let differs = rows
                .iter()
                .zip(expected)
                .find(|(row, expected)| row != expected);
            let values = differs.map(|(row, expected)| {
                let values = columns.iter().zip(row.iter().zip(expected));
                values
                    .filter(|(_, (found, expected))| found != expected)
                    .collect::<Vec<_>>()
            });
            verdict.wrong_attendance.push(format!(
                "{key} had {} rows of {}, and differed first in (column, (file, IVS)): {values:?}",
                rows.len(),
                expected.len(),
            ));
        }
    }
}

/// The sessions whose collections a delivery asked for.
pub(super) fn named_in(delivery: &Delivery) -> BTreeSet<Name> {
    let bodies = delivery.messages.iter();
    let bodies = bodies.filter_map(|message| serde_json::from_str::<Value>(&message.body).ok());
    bodies.filter_map(|body| named(&body["collect"])).collect()
}
