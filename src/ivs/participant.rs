//! What IVS says of one participant: GetParticipant and ListParticipantEvents.
//!
//! <https://docs.aws.amazon.com/ivs/latest/RealTimeAPIReference/API_GetParticipant.html>,
//! <https://docs.aws.amazon.com/ivs/latest/RealTimeAPIReference/API_ListParticipantEvents.html>. Only GetParticipant says that it does not
//! know a participant. An empty list of events proves nothing.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use aws_sdk_ivsrealtime::error::ProvideErrorMetadata;
use aws_sdk_ivsrealtime::types::Event as SdkEvent;
use aws_sdk_ivsrealtime::types::{ExchangedParticipantToken, ParticipantTokenCapability};
use futures::Stream;

use super::pages::{Page, follow};
use super::{
    GET_PARTICIPANT, Ivs, LIST_PARTICIPANT_EVENTS, NOT_FOUND, PAGE_SIZE, SdkDateTime, to_the_milli,
};
use crate::error::Error;
use crate::session::SessionRef;
use crate::table::Map;
use crate::table::attendance::Details;
use crate::table::participant_events::{Event, Rare, Token};

impl Ivs {
    /// Asks for the details of a participant; `None` if IVS does not know the participant.
    ///
    /// # Errors
    /// Any of IVS's.
    pub async fn details(
        &self,
        name: &SessionRef,
        participant_id: &str,
    ) -> Result<Option<Details>, Error> {
        self.budget_beside.begin();
        let request = self.beside.get_participant();
        let answer = request
            .stage_arn(name.stage_arn.as_str())
            .session_id(name.session_id.as_str())
            .participant_id(participant_id)
            .send()
            .await;
        let resource = || format!("participant {participant_id} of {name}");
        let participant = match answer {
            Ok(answer) => answer.participant,
            Err(error) if error.code() == Some(NOT_FOUND) => return Ok(None),
            Err(error) => return Err(self.failure(GET_PARTICIPANT, &resource(), error)),
        };
        let fault = "the answer has no participant";
        let participant =
            participant.ok_or_else(|| self.unusable(GET_PARTICIPANT, &resource(), fault))?;
        Ok(Some(Details {
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
        }))
    }

    /// Lists the events of a participant, page after page ([`follow`]), in no particular order. The rows do not name the
    /// participant yet.
    ///
    /// # Errors
    /// Any of IVS's, and [`Error::BrokenPagination`].
    pub fn events<'a>(
        &'a self,
        name: &'a SessionRef,
        participant_id: &'a str,
    ) -> impl Stream<Item = Result<Vec<Event>, Error>> + 'a {
        let resource = format!("participant {participant_id} of {name}");
        follow(
            LIST_PARTICIPANT_EVENTS,
            resource,
            |event: &Event| Some(hash(event)),
            move |token| async move {
                self.retry_budget.begin();
                let resource = || format!("participant {participant_id} of {name}");
                let request = self
                    .client
                    .list_participant_events()
                    .max_results(PAGE_SIZE)
                    .set_next_token(token);
                let request = request
                    .stage_arn(name.stage_arn.as_str())
                    .session_id(name.session_id.as_str())
                    .participant_id(participant_id);
                let answer = request
                    .send()
                    .await
                    .map_err(|error| self.failure(LIST_PARTICIPANT_EVENTS, &resource(), error))?;
                let events = answer.events.into_iter().map(|listed| {
                    event(listed).ok_or_else(|| {
                        let fault = "a time of an event is out of range";
                        self.unusable(LIST_PARTICIPANT_EVENTS, &resource(), fault)
                    })
                });
                Ok(Page {
                    items: events.collect::<Result<_, Error>>()?,
                    next_token: answer.next_token,
                })
            },
        )
    }
}

/// An event as a row; `None` if a time is out of range.
fn event(event: SdkEvent) -> Option<Event> {
    let rare = Rare {
        error_code: event.error_code.map(|value| value.as_str().to_owned()),
        destination_stage_arn: event.destination_stage_arn,
        destination_session_id: event.destination_session_id,
        previous_token: event.previous_token.map_or(Some(None), token)?,
        new_token: event.new_token.map_or(Some(None), token)?,
    };
    Some(Event {
        event_time: in_range(event.event_time)?,
        name: event.name.map(|value| value.as_str().into()),
        remote_participant_id: event.remote_participant_id.map(Into::into),
        replica: Some(event.replica),
        rare: (rare != Rare::default()).then(|| Box::new(rare)),
        ..Event::default()
    })
}

/// A token as a row has it, or `None` if it says nothing. The outer `None`: a time is out of range.
fn token(token: ExchangedParticipantToken) -> Option<Option<Token>> {
    let joined = |capabilities: Vec<ParticipantTokenCapability>| {
        let texts: Vec<_> = capabilities.iter().map(|value| value.as_str()).collect();
        texts.join(",")
    };
    let token = Token {
        user_id: token.user_id,
        capabilities: token.capabilities.map(joined),
        expiration_time: in_range(token.expiration_time)?,
        attributes: token.attributes.map(by_key),
    };
    Some((token != Token::default()).then_some(token))
}

/// A time cut to the millisecond. The outer `None`: it is out of range.
fn in_range(time: Option<SdkDateTime>) -> Option<Option<chrono::DateTime<chrono::Utc>>> {
    time.map_or(Some(None), |time| to_the_milli(time).map(Some))
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
