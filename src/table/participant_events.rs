//! `participant_events`: what happened when. One row for each event of each participant.
//!
//! Columns follow the API's `Event` and `ExchangedParticipantToken`
//! (<https://docs.aws.amazon.com/ivs/latest/RealTimeAPIReference/API_Event.html>). A session has many of them, so a row is
//! small: strings that repeat are shared ([`Texts`]), and members that most events lack are kept apart.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Column, Kind, Map, Table, column, map_weight, session_columns, text_weight};

/// The participant that IVS was asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Person {
    pub participant_id: Arc<str>,
    /// As the table `participants` has it.
    pub user_id: Option<Arc<str>>,
}

/// An event of a participant, as `ListParticipantEvents` lists it. Absent members are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Event {
    #[serde(skip)]
    pub person: Arc<Person>,
    pub event_time: Option<DateTime<Utc>>,
    pub name: Option<Arc<str>>,
    pub remote_participant_id: Option<Arc<str>>,
    /// The SDK cannot tell false from absent.
    pub replica: Option<bool>,
    /// `None` if the event has none of these.
    pub rare: Option<Box<Rare>>,
}

/// The members that most events lack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rare {
    pub error_code: Option<String>,
    pub destination_stage_arn: Option<String>,
    pub destination_session_id: Option<String>,
    pub previous_token: Option<Token>,
    pub new_token: Option<Token>,
}

/// What an event says of a token (`ExchangedParticipantToken`). It is a person's: never logged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Token {
    pub user_id: Option<String>,
    /// As IVS lists them, joined by commas.
    pub capabilities: Option<String>,
    pub expiration_time: Option<DateTime<Utc>>,
    /// By key.
    pub attributes: Option<Map>,
}

impl Event {
    /// The strings that many events have in common.
    pub fn texts(&mut self) -> impl Iterator<Item = &mut Arc<str>> {
        let texts = [&mut self.name, &mut self.remote_participant_id];
        texts.into_iter().flatten()
    }

    /// Leaves out what tokens say of a person beyond ids.
    pub fn drop_attributes(&mut self) {
        let Some(rare) = &mut self.rare else {
            return;
        };
        for token in [&mut rare.previous_token, &mut rare.new_token] {
            *token = token.take().and_then(|token| {
                let attributes = None;
                let token = Token {
                    attributes,
                    ..token
                };
                (token != Token::default()).then_some(token)
            });
        }
        if **rare == Rare::default() {
            self.rare = None;
        }
    }

    /// What it takes of memory, in bytes: of strings only those that no other event has, and what encoding them takes.
    #[must_use]
    pub fn weight(&self) -> usize {
        let Some(rare) = &self.rare else {
            return size_of::<Self>();
        };
        let tokens = [&rare.previous_token, &rare.new_token];
        let tokens = tokens.into_iter().flatten().map(|token| {
            let Token {
                user_id,
                capabilities,
                expiration_time: _,
                attributes,
            } = token;
            let texts = [user_id, capabilities].into_iter().flatten();
            texts.map(|text| text_weight(text)).sum::<usize>()
                + attributes.as_ref().map_or(0, map_weight)
        });
        let texts = [
            &rare.error_code,
            &rare.destination_stage_arn,
            &rare.destination_session_id,
        ];
        let texts = texts.into_iter().flatten().map(|text| text_weight(text));
        size_of::<Self>() + size_of::<Rare>() + tokens.sum::<usize>() + texts.sum::<usize>()
    }
}

/// The names of events in the order of one instant. All others come behind, by their text.
const NAMES: [&str; 12] = [
    "JOINED",
    "TOKEN_EXCHANGED",
    "REPLICATION_STARTED",
    "PUBLISH_STARTED",
    "SUBSCRIBE_STARTED",
    "JOIN_ERROR",
    "PUBLISH_ERROR",
    "SUBSCRIBE_ERROR",
    "SUBSCRIBE_STOPPED",
    "PUBLISH_STOPPED",
    "REPLICATION_STOPPED",
    "LEFT",
];

macro_rules! person {
    ($name:ident, $comment:expr, $get:expr, $set:expr) => {
        Column {
            name: stringify!($name),
            comment: $comment,
            kind: Kind::Text($get, $set),
        }
    };
}

macro_rules! rare {
    ($kind:ident, $column:ident, [$($path:ident).+], $comment:expr) => {
        Column {
            name: stringify!($column),
            comment: $comment,
            kind: rare!(@$kind $($path).+),
        }
    };
    (@Text $member:ident) => {
        Kind::Text(
            |row: &Event| row.rare.as_ref()?.$member.as_deref(),
            |row: &mut Event, value| if value.is_some() {
                row.rare.get_or_insert_default().$member = value.map(str::to_owned);
            },
        )
    };
    (@Text $token:ident.$member:ident) => {
        Kind::Text(
            |row: &Event| row.rare.as_ref()?.$token.as_ref()?.$member.as_deref(),
            |row: &mut Event, value| if value.is_some() {
                let rare = row.rare.get_or_insert_default();
                rare.$token.get_or_insert_default().$member = value.map(str::to_owned);
            },
        )
    };
    (@Time $token:ident.$member:ident) => {
        Kind::Time(
            |row: &Event| row.rare.as_ref()?.$token.as_ref()?.$member,
            |row: &mut Event, value| if value.is_some() {
                let rare = row.rare.get_or_insert_default();
                rare.$token.get_or_insert_default().$member = value;
            },
        )
    };
    (@Map $token:ident.$member:ident) => {
        Kind::Map(
            |row: &Event| row.rare.as_ref()?.$token.as_ref()?.$member.as_ref(),
            |row: &mut Event, value| if value.is_some() {
                let rare = row.rare.get_or_insert_default();
                rare.$token.get_or_insert_default().$member = value;
            },
        )
    };
}

/// `participant_events`: one row for each event of each participant.
pub const PARTICIPANT_EVENTS: Table<Event> = Table {
    name: "participant_events",
    schema_version: 1,
    rows_of: "events",
    id: |_| None,
    merge,
    columns: session_columns![
        person!(
            participant_id,
            "Id of the participant whose events IVS was asked for",
            |row: &Event| Some(&*row.person.participant_id),
            |row: &mut Event, value| Arc::make_mut(&mut row.person).participant_id =
                value.unwrap_or_default().into()
        ),
        person!(
            user_id,
            "The participant's user id, as in the table participants",
            |row: &Event| row.person.user_id.as_deref(),
            |row: &mut Event, value| Arc::make_mut(&mut row.person).user_id = value.map(Into::into)
        ),
        column!(
            Time,
            event_time,
            "When it happened, UTC; IVS tells whole seconds; null when IVS sent none (Event.eventTime)"
        ),
        column!(
            Text,
            name,
            "What happened: JOINED, LEFT, PUBLISH_STARTED, PUBLISH_STOPPED, SUBSCRIBE_STARTED, SUBSCRIBE_STOPPED, JOIN_ERROR, PUBLISH_ERROR, SUBSCRIBE_ERROR, REPLICATION_STARTED, REPLICATION_STOPPED, TOKEN_EXCHANGED, or a newer name (Event.name)"
        ),
        column!(
            Text,
            remote_participant_id,
            "Of a SUBSCRIBE event: id of the publisher, which with redundant ingest is in no row of participants; null of other events (Event.remoteParticipantId)"
        ),
        rare!(
            Text,
            error_code,
            [error_code],
            "Of an error: why, such as QUOTA_EXCEEDED; null of other events (Event.errorCode)"
        ),
        column!(
            Flag,
            replica,
            "Whether the event concerns a replica; false also where IVS left it out (Event.replica)"
        ),
        rare!(
            Text,
            destination_stage_arn,
            [destination_stage_arn],
            "Of a replication: ARN of the stage that it goes to; null of other events (Event.destinationStageArn)"
        ),
        rare!(
            Text,
            destination_session_id,
            [destination_session_id],
            "Of a replication: id of the session that it goes to; null of other events (Event.destinationSessionId)"
        ),
        rare!(
            Text,
            previous_user_id,
            [previous_token.user_id],
            "Of a TOKEN_EXCHANGED: user id of the old token; null of other events, or if the token had none (Event.previousToken.userId)"
        ),
        rare!(
            Text,
            new_user_id,
            [new_token.user_id],
            "Of a TOKEN_EXCHANGED: user id of the new token; null of other events, or if the token had none (Event.newToken.userId)"
        ),
        rare!(
            Text,
            previous_capabilities,
            [previous_token.capabilities],
            "Of a TOKEN_EXCHANGED: capabilities of the old token, joined by commas; null of other events (Event.previousToken.capabilities)"
        ),
        rare!(
            Text,
            new_capabilities,
            [new_token.capabilities],
            "Of a TOKEN_EXCHANGED: capabilities of the new token, joined by commas; null of other events (Event.newToken.capabilities)"
        ),
        rare!(
            Time,
            previous_expiration_time,
            [previous_token.expiration_time],
            "Of a TOKEN_EXCHANGED: when the old token expires, UTC; null of other events (Event.previousToken.expirationTime)"
        ),
        rare!(
            Time,
            new_expiration_time,
            [new_token.expiration_time],
            "Of a TOKEN_EXCHANGED: when the new token expires, UTC; null of other events (Event.newToken.expirationTime)"
        ),
        rare!(
            Map,
            previous_attributes,
            [previous_token.attributes],
            "Of a TOKEN_EXCHANGED: attributes of the old token; null of other events, and with COLLECT_DETAILS=false (Event.previousToken.attributes)"
        ),
        rare!(
            Map,
            new_attributes,
            [new_token.attributes],
            "Of a TOKEN_EXCHANGED: attributes of the new token; null of other events, and with COLLECT_DETAILS=false (Event.newToken.attributes)"
        ),
    ],
};

/// The events in file order, each once: by participant, time (those without one last), name, and then every other column. Pages
/// repeat, and IVS gives events no id, so rows that are equal in all columns are one.
fn merge(mut events: Vec<Event>) -> Vec<Event> {
    events.sort_unstable_by(order);
    events.dedup();
    events
}

fn order(a: &Event, b: &Event) -> Ordering {
    let time = |event: &Event| {
        event
            .event_time
            .map_or((true, None), |time| (false, Some(time)))
    };
    let ids = a.person.participant_id.cmp(&b.person.participant_id);
    ids.then_with(|| time(a).cmp(&time(b)))
        .then_with(|| place(a.name.as_deref()).cmp(&place(b.name.as_deref())))
        .then_with(|| PARTICIPANT_EVENTS.compare(a, b))
}

/// Where a name stands among the events of one instant: the known ones, then others by text, then none.
fn place(name: Option<&str>) -> (usize, &str) {
    let Some(name) = name else {
        return (NAMES.len() + 1, "");
    };
    let known = NAMES.iter().position(|&known| known == name);
    known.map_or((NAMES.len(), name), |place| (place, ""))
}

/// Strings that are kept once, however many rows have them.
#[derive(Debug, Default)]
pub struct Texts(HashSet<Arc<str>>);

impl Texts {
    /// Puts the one copy in the place of each string.
    pub fn share_in<'a>(&mut self, texts: impl Iterator<Item = &'a mut Arc<str>>) {
        for text in texts {
            *text = self.share(text);
        }
    }

    /// The one copy of a string.
    fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return Arc::clone(known);
        }
        let text: Arc<str> = text.into();
        self.0.insert(Arc::clone(&text));
        text
    }
}
