//! `attendance`: until when, and for how long. One row for each row of `participants`.
//!
//! Times and counts are those of [`crate::presence`]. Details follow the API's `Participant`
//! (<https://docs.aws.amazon.com/ivs/latest/RealTimeAPIReference/API_Participant.html>).

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Column, Kind, Map, Table, column, map_weight, session_columns, text_weight};

/// What became of a participant. What IVS was not asked for is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attendee {
    pub participant_id: Option<Arc<str>>,
    pub user_id: Option<Arc<str>>,
    pub first_join_time: Option<DateTime<Utc>>,
    pub published: Option<bool>,
    pub last_leave_time: Option<DateTime<Utc>>,
    pub last_event_time: Option<DateTime<Utc>>,
    pub connected_ms: Option<i64>,
    pub watch_ms: Option<i64>,
    pub publish_ms: Option<i64>,
    pub joins: Option<i32>,
    pub publish_starts: Option<i32>,
    pub publishers_watched: Option<i32>,
    pub errors: Option<i32>,
    pub events: Option<i32>,
    pub join_inferred: Option<bool>,
    pub leave_inferred: Option<bool>,
    pub details: Option<Box<Details>>,
    /// Not a column: a replica's presence follows other rules.
    pub is_replica: bool,
}

/// What `GetParticipant` says of a participant beyond `ListParticipants`. It is a person's: never logged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// By key; empty if IVS sent none.
    pub attributes: Map,
    pub browser_name: Option<Arc<str>>,
    pub browser_version: Option<Arc<str>>,
    pub os_name: Option<Arc<str>>,
    pub os_version: Option<Arc<str>>,
    pub sdk_version: Option<Arc<str>>,
    pub isp_name: Option<Arc<str>>,
    pub protocol: Option<Arc<str>>,
    pub recording_s3_bucket_name: Option<Arc<str>>,
    pub recording_s3_prefix: Option<Arc<str>>,
}

impl Details {
    /// What they take of memory, in bytes: of strings only those that no other participant has, and what encoding them takes.
    #[must_use]
    pub fn weight(&self) -> usize {
        let prefix = self.recording_s3_prefix.as_deref();
        size_of::<Self>() + map_weight(&self.attributes) + prefix.map_or(0, text_weight)
    }

    /// The strings that many participants have in common.
    pub fn texts(&mut self) -> impl Iterator<Item = &mut Arc<str>> {
        let Self {
            attributes: _,
            browser_name,
            browser_version,
            os_name,
            os_version,
            sdk_version,
            isp_name,
            protocol,
            recording_s3_bucket_name,
            recording_s3_prefix: _,
        } = self;
        let texts = [
            browser_name,
            browser_version,
            os_name,
            os_version,
            sdk_version,
            isp_name,
            protocol,
            recording_s3_bucket_name,
        ];
        texts.into_iter().flatten()
    }
}

macro_rules! detail {
    ($name:ident, $comment:expr) => {
        Column {
            name: stringify!($name),
            comment: $comment,
            kind: Kind::Text(
                |row: &Attendee| row.details.as_ref()?.$name.as_deref(),
                |row: &mut Attendee, value| {
                    if value.is_some() {
                        row.details.get_or_insert_default().$name = value.map(Into::into);
                    }
                },
            ),
        }
    };
}

/// `attendance`: one row for each row of `participants`, in its order.
pub const ATTENDANCE: Table<Attendee> = Table {
    name: "attendance",
    schema_version: 1,
    rows_of: "participants",
    id: |row| row.participant_id.as_deref(),
    merge: |rows| rows,
    columns: session_columns![
        column!(
            Text,
            participant_id,
            "Id of the participant, assigned by IVS; unique within the session (participantId)"
        ),
        column!(
            Text,
            user_id,
            "The user's id in the customer's own system, as in the table participants"
        ),
        column!(
            Time,
            first_join_time,
            "When the participant first joined, UTC, as in the table participants"
        ),
        column!(
            Flag,
            published,
            "Whether the participant ever published, as in the table participants"
        ),
        column!(
            Time,
            last_leave_time,
            "Time of the latest LEFT, UTC, whole seconds; null if IVS told of none, or was not asked"
        ),
        column!(
            Time,
            last_event_time,
            "Time of the latest event of any name, UTC, whole seconds; null if IVS told of none, or was not asked"
        ),
        column!(
            Millis,
            connected_ms,
            "How long the participant was connected, all stays together, in milliseconds; null if IVS was not asked"
        ),
        column!(
            Millis,
            watch_ms,
            "How long the participant was subscribed to at least one publisher, in milliseconds; null if IVS was not asked"
        ),
        column!(
            Millis,
            publish_ms,
            "How long the participant published, in milliseconds; null if IVS was not asked"
        ),
        column!(
            Count,
            joins,
            "How many JOINED events the participant has; null if IVS was not asked"
        ),
        column!(
            Count,
            publish_starts,
            "How many PUBLISH_STARTED events the participant has; null if IVS was not asked"
        ),
        column!(
            Count,
            publishers_watched,
            "How many different publishers the participant subscribed to; null if IVS was not asked"
        ),
        column!(
            Count,
            errors,
            "How many events have a name that ends in _ERROR: a lower bound, since failures of the client's network are no events; null if IVS was not asked"
        ),
        column!(
            Count,
            events,
            "How many events the participant has in participant_events; null if IVS was not asked"
        ),
        column!(
            Flag,
            join_inferred,
            "Whether a LEFT has no JOINED before it, so that a beginning is inferred or missing; null if IVS was not asked"
        ),
        column!(
            Flag,
            leave_inferred,
            "Whether the last stay has no LEFT, so that its end is inferred; null if IVS was not asked"
        ),
        Column {
            name: "attributes",
            comment: "Attributes of the token that the participant joined with; an empty map if it had none, null if IVS was not asked or no longer knew the participant (attributes)",
            kind: Kind::Map(
                |row: &Attendee| row.details.as_ref().map(|details| &details.attributes),
                |row: &mut Attendee, value| {
                    if let Some(attributes) = value {
                        row.details.get_or_insert_default().attributes = attributes;
                    }
                },
            ),
        },
        detail!(
            browser_name,
            "The participant's browser; null if IVS sent none or was not asked (browserName)"
        ),
        detail!(
            browser_version,
            "Version of the browser; null if IVS sent none or was not asked (browserVersion)"
        ),
        detail!(
            os_name,
            "The participant's operating system; null if IVS sent none or was not asked (osName)"
        ),
        detail!(
            os_version,
            "Version of the operating system; null if IVS sent none or was not asked (osVersion)"
        ),
        detail!(
            sdk_version,
            "Version of the IVS broadcast SDK; often empty; null if IVS sent none or was not asked (sdkVersion)"
        ),
        detail!(
            isp_name,
            "The participant's internet provider; null if IVS sent none or was not asked (ispName)"
        ),
        detail!(
            protocol,
            "UNKNOWN, WHIP, RTMP or RTMPS, or a newer one; null if IVS sent none or was not asked (protocol)"
        ),
        detail!(
            recording_s3_bucket_name,
            "Bucket of the participant's recording; empty if not recorded; null if IVS sent none or was not asked (recordingS3BucketName)"
        ),
        detail!(
            recording_s3_prefix,
            "Folder of the participant's recording; empty if not recorded; null if IVS sent none or was not asked (recordingS3Prefix)"
        ),
    ],
};
