//! `participants`: who was there. One row for each participant of each session.
//!
//! Columns follow the API's `ParticipantSummary`
//! (<https://docs.aws.amazon.com/ivs/latest/RealTimeAPIReference/API_ParticipantSummary.html>).

use chrono::{DateTime, Utc};

use super::state::{RECORDING_STATES, REPLICATION_STATES, REPLICATION_TYPES, STATES, State};
use super::{Column, Kind, Table, column, session_columns};

macro_rules! state {
    ($states:expr, $name:ident, $comment:expr) => {
        Column {
            name: stringify!($name),
            comment: $comment,
            kind: Kind::State(
                $states,
                |row| row.$name.as_ref(),
                |row, value| row.$name = value,
            ),
        }
    };
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
    schema_version: 1,
    rows_of: "participants",
    id: |row| row.participant_id.as_deref(),
    merge,
    columns: session_columns![
        column!(
            Text,
            participant_id,
            "Id of the participant, assigned by IVS; unique within the session (participantId)"
        ),
        column!(
            Text,
            user_id,
            "The user's id in the customer's own system, from the token; empty when the token had an empty one, null when IVS sent none (userId)"
        ),
        state!(
            STATES,
            state,
            "CONNECTED or DISCONNECTED when listed, after the session's end (state)"
        ),
        column!(
            Time,
            first_join_time,
            "When the participant first joined the session, UTC, to the millisecond (firstJoinTime)"
        ),
        column!(
            Flag,
            published,
            "Whether the participant ever published; false also where IVS left it out (published)"
        ),
        state!(
            RECORDING_STATES,
            recording_state,
            "STARTING, ACTIVE, STOPPING, STOPPED, FAILED or DISABLED when listed (recordingState)"
        ),
        state!(
            REPLICATION_TYPES,
            replication_type,
            "SOURCE if replicated to another stage, REPLICA if from another stage, or NONE (replicationType)"
        ),
        state!(
            REPLICATION_STATES,
            replication_state,
            "ACTIVE or STOPPED when listed (replicationState)"
        ),
        column!(
            Text,
            source_stage_arn,
            "ARN of the stage that a replica comes from (sourceStageArn)"
        ),
        column!(
            Text,
            source_session_id,
            "Id of the session that a replica comes from (sourceSessionId)"
        ),
        column!(
            Flag,
            redundant_ingest,
            "Whether redundant ingest is on for the participant; false also where IVS left it out (redundantIngest)"
        ),
        column!(
            Text,
            ingest_configuration_arn,
            "ARN of the ingest configuration that the participant published through (ingestConfigurationArn)"
        ),
    ],
};

/// The union of all rows, by the time of joining (those without one last) and the id. Of rows with one id the one stays that is further along,
/// compared member by member, the states first. Rows without an id are duplicates only if all columns are equal.
fn merge(mut rows: Vec<Participant>) -> Vec<Participant> {
    let progress = |a: &_, b: &_| PARTICIPANTS.progress(a, b);
    // Rows with one id lie together, the one that is furthest along last.
    rows.sort_unstable_by(|a, b| {
        let ids = a.participant_id.cmp(&b.participant_id);
        ids.then_with(|| progress(a, b))
    });
    rows.dedup_by(|next, kept| {
        let same = match (&next.participant_id, &kept.participant_id) {
            (None, None) => progress(next, kept).is_eq(),
            (next, kept) => next == kept,
        };
        if same {
            std::mem::swap(next, kept);
        }
        same
    });
    // Stable: rows of one time stay in the order of their ids.
    rows.sort_by_key(|row| {
        let time = row.first_join_time;
        time.map_or(i64::MAX, |time| time.timestamp_millis())
    });
    rows
}
