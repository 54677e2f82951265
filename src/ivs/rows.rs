//! The SDK's types as rows.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use aws_sdk_ivsrealtime::primitives::DateTime as SdkDateTime;
use aws_sdk_ivsrealtime::types::{
    Event as SdkEvent, ExchangedParticipantToken, Participant as SdkParticipant,
    ParticipantSummary, ParticipantTokenCapability,
};
use chrono::{DateTime, Utc};

use crate::table::Map;
use crate::table::attendance::Details;
use crate::table::participant_events::{Event, Rare, Token};
use crate::table::participants::Participant;

/// One summary as a row; the participant's id if its time is out of range.
pub(super) fn participant(summary: ParticipantSummary) -> Result<Participant, Option<String>> {
    let first_join_time = summary.first_join_time.map(to_the_milli);
    if first_join_time == Some(None) {
        return Err(summary.participant_id);
    }
    Ok(Participant {
        participant_id: summary.participant_id,
        user_id: summary.user_id,
        state: summary.state.map(|value| value.as_str().into()),
        first_join_time: first_join_time.flatten(),
        published: Some(summary.published),
        recording_state: summary.recording_state.map(|value| value.as_str().into()),
        replication_type: summary.replication_type.map(|value| value.as_str().into()),
        replication_state: summary.replication_state.map(|value| value.as_str().into()),
        source_stage_arn: summary.source_stage_arn,
        source_session_id: summary.source_session_id,
        redundant_ingest: Some(summary.redundant_ingest),
        ingest_configuration_arn: summary.ingest_configuration_arn,
    })
}

/// Cuts a time to the millisecond that a file can hold, so that rows compare equal before and after storage.
pub(super) fn to_the_milli(time: SdkDateTime) -> Option<DateTime<Utc>> {
    let millis = i128::from(time.secs()) * 1000 + i128::from(time.subsec_nanos() / 1_000_000);
    DateTime::from_timestamp_millis(i64::try_from(millis).ok()?)
}

/// A participant's details.
pub(super) fn details(participant: SdkParticipant) -> Details {
    Details {
        attributes: by_key(participant.attributes.unwrap_or_default()),
        browser_name: participant.browser_name.map(Into::into),
        browser_version: participant.browser_version.map(Into::into),
        os_name: participant.os_name.map(Into::into),
        os_version: participant.os_version.map(Into::into),
        sdk_version: participant.sdk_version.map(Into::into),
        isp_name: participant.isp_name.map(Into::into),
        protocol: participant.protocol.map(|value| value.as_str().into()),
        recording_s3_bucket_name: participant.recording_s3_bucket_name.map(Into::into),
        recording_s3_prefix: participant.recording_s3_prefix.map(Into::into),
    }
}

/// An event as a row; `None` if a time is out of range.
pub(super) fn event(event: SdkEvent) -> Option<Event> {
    let event_time = event.event_time.map(to_the_milli);
    if event_time == Some(None) {
        return None;
    }
    let told = |token: &Token| *token != Token::default();
    let rare = Rare {
        error_code: event.error_code.map(|value| value.as_str().to_owned()),
        destination_stage_arn: event.destination_stage_arn,
        destination_session_id: event.destination_session_id,
        previous_token: match event.previous_token {
            Some(listed) => Some(token(listed)?).filter(told),
            None => None,
        },
        new_token: match event.new_token {
            Some(listed) => Some(token(listed)?).filter(told),
            None => None,
        },
    };
    Some(Event {
        event_time: event_time.flatten(),
        name: event.name.map(|value| value.as_str().into()),
        remote_participant_id: event.remote_participant_id.map(Into::into),
        replica: Some(event.replica),
        rare: (rare != Rare::default()).then(|| Box::new(rare)),
        ..Event::default()
    })
}

/// A token as a row has it; its default if it says nothing. `None` if a time is out of range.
fn token(token: ExchangedParticipantToken) -> Option<Token> {
    let joined = |capabilities: Vec<ParticipantTokenCapability>| {
        let texts: Vec<_> = capabilities
            .iter()
            .map(ParticipantTokenCapability::as_str)
            .collect();
        texts.join(",")
    };
    let expiration_time = token.expiration_time.map(to_the_milli);
    if expiration_time == Some(None) {
        return None;
    }
    Some(Token {
        user_id: token.user_id,
        capabilities: token.capabilities.map(joined),
        expiration_time: expiration_time.flatten(),
        attributes: token.attributes.map(by_key),
    })
}

pub(super) fn by_key(map: HashMap<String, String>) -> Map {
    let mut entries: Map = map.into_iter().collect();
    entries.sort_unstable();
    entries
}

pub(super) fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
