//! `participants`: who was there. One row for each participant of each session.
//!
//! Columns follow the API's `ParticipantSummary`
//! (<https://docs.aws.amazon.com/ivs/latest/RealTimeAPIReference/API_ParticipantSummary.html>).

use chrono::{DateTime, Utc};

use super::state::{RECORDING_STATES, REPLICATION_STATES, REPLICATION_TYPES, STATES, State};
use super::{Column, Kind, Member, Table, member};

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
            kind: Kind::SessionStart,
        },
        Column {
            name: "session_end_time",
            comment: "When the session ended, UTC, to the millisecond (StageSession.endTime)",
            kind: Kind::SessionEnd,
        },
        Column {
            name: "participant_id",
            comment: "Id of the participant, assigned by IVS; unique within the session (participantId)",
            kind: Kind::Text(member!(participant_id)),
        },
        Column {
            name: "user_id",
            comment: "The user's id in the customer's own system, from the token; empty when the token had an empty one, null when IVS sent none (userId)",
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
