//! `sessions`: what sweeps know of every session that IVS lists. One row for each session, one file for each day of start.
//!
//! Columns follow the API's `StageSessionSummary` and `StageSummary`
//! (<https://docs.aws.amazon.com/ivs/latest/RealTimeAPIReference/API_StageSessionSummary.html>).

use chrono::{DateTime, Utc};

use super::{Column, Kind, Map, Table, column};

/// A session as sweeps saw it last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    pub stage_arn: Option<String>,
    pub stage_name: Option<String>,
    pub stage_tags: Option<Map>,
    pub session_id: Option<String>,
    pub session_start_time: Option<DateTime<Utc>>,
    pub session_end_time: Option<DateTime<Utc>>,
    pub participants_written_time: Option<DateTime<Utc>>,
    pub attendance_written_time: Option<DateTime<Utc>>,
    pub failed_time: Option<DateTime<Utc>>,
}

/// `sessions`: one row for each session that sweeps do not leave out.
pub const SESSIONS: Table<Session, ()> = Table {
    name: "sessions",
    schema_version: 1,
    rows_of: "sessions",
    id: |row| row.session_id.as_deref(),
    merge,
    columns: &[
        column!(Text, stage_arn, "ARN of the stage"),
        column!(
            Text,
            stage_name,
            "Name of the stage when last listed; empty if it has none; null if ListStages was never asked (StageSummary.name)"
        ),
        column!(
            Map,
            stage_tags,
            "Tags of the stage when last listed; null if ListStages was never asked (StageSummary.tags)"
        ),
        column!(
            Text,
            session_id,
            "Id of the session within the stage (StageSessionSummary.sessionId)"
        ),
        column!(
            Time,
            session_start_time,
            "When the session started, UTC, to the millisecond (StageSessionSummary.startTime)"
        ),
        column!(
            Time,
            session_end_time,
            "When the session ended, UTC, to the millisecond; null if it was live when last seen (StageSessionSummary.endTime)"
        ),
        column!(
            Time,
            participants_written_time,
            "When the session's file of participants was last written, UTC (its LastModified in S3); null: missing"
        ),
        column!(
            Time,
            attendance_written_time,
            "When the session's file of attendance was last written, UTC (its LastModified in S3); null: not collected"
        ),
        column!(
            Time,
            failed_time,
            "When exporting or collecting the session last failed, UTC; it counts if it is later than what was written and younger than a day; null: never seen to fail"
        ),
    ],
};

/// The union of rows, each session once, by start, stage and id. Of two rows the later times stay, and the start, the name and the
/// tags of the row that comes later in `rows`.
fn merge(mut rows: Vec<Session>) -> Vec<Session> {
    let name = |row: &Session| (row.stage_arn.clone(), row.session_id.clone());
    // Stable: what is told later comes later.
    rows.sort_by_cached_key(name);
    rows.dedup_by(|next, kept| {
        let same = name(next) == name(kept);
        if same {
            kept.session_start_time = next.session_start_time.or(kept.session_start_time);
            kept.stage_name = next.stage_name.take().or(kept.stage_name.take());
            kept.stage_tags = next.stage_tags.take().or(kept.stage_tags.take());
            for (kept, next) in [
                (&mut kept.session_end_time, next.session_end_time),
                (
                    &mut kept.participants_written_time,
                    next.participants_written_time,
                ),
                (
                    &mut kept.attendance_written_time,
                    next.attendance_written_time,
                ),
                (&mut kept.failed_time, next.failed_time),
            ] {
                *kept = next.max(*kept);
            }
        }
        same
    });
    rows.sort_by_key(|row| row.session_start_time);
    rows
}
