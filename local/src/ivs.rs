//! An emulator of IVS Real-Time's read operations. It is as strict about requests as the service, and as hard on its
//! callers: the order of a list changes, tokens are opaque, and each operation has a quota.
//!
//! restJson1, `POST /OperationName`. Shapes, limits and patterns follow
//! <https://docs.aws.amazon.com/ivs/latest/RealTimeAPIReference/Welcome.html>. Some things are not documented: the order of
//! a list, how long a token is valid, the sessions of a deleted stage, the events of a participant whom nobody knows. There this emulator does one of the possible
//! things, and no test may depend on it.

mod listing;
mod lives;
mod places;
pub mod quota;
mod request;
mod wire;
pub mod world;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use serde_json::{Value, json};

use crate::faults::{Kind, due};
use crate::ivs::listing::Item;
use crate::ivs::quota::Used;
use crate::ivs::request::{
    Refusal, check_signature, invalid, members, name, not_found, refusal, stage_arn,
};
use crate::ivs::wire::{Answer, refused};
use crate::ivs::world::{Call, Session, World, sessions_of, timestamp};
use crate::server::Server;

/// The operations of the service that are emulated.
const OPERATIONS: [&str; 6] = [
    "GetParticipant",
    "GetStageSession",
    "ListParticipantEvents",
    "ListParticipants",
    "ListStages",
    "ListStageSessions",
];

/// The running emulator of one region.
pub struct Ivs {
    server: Server,
    shared: Shared,
}

type Shared = Arc<Mutex<World>>;

impl Ivs {
    /// Starts the emulator of `region` on a free port.
    pub async fn start(region: &str) -> io::Result<Self> {
        let shared: Shared = Arc::new(Mutex::new(World::new(region)));
        let app = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&shared));
        Ok(Self {
            server: Server::start(app).await?,
            shared,
        })
    }

    pub fn url(&self) -> &str {
        self.server.url()
    }

    /// The emulated region, to be read or changed. Requests wait meanwhile.
    pub fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.shared)
    }

    /// Waits until an operation was called that many times.
    pub async fn until_called(&self, operation: &str, times: usize) {
        let mut called = self.world().called.subscribe();
        while self.count(operation) < times {
            called.changed().await.expect("the sender lives");
        }
    }

    /// How often an operation was called so far.
    pub fn count(&self, operation: &str) -> usize {
        self.world()
            .calls
            .iter()
            .filter(|call| call.operation == operation)
            .count()
    }
}

async fn answer(
    State(shared): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let operation = uri.path().trim_start_matches('/').to_owned();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let (answer, faults) = {
        let mut world = lock(&shared);
        let world = &mut *world;
        let faults = due(&mut world.faults, &operation, &mut world.random);
        let result = world.answer(&method, &operation, &headers, &body, &faults);
        let answer = Answer::new(result, &faults);
        world.calls.push(Call {
            at: Instant::now(),
            operation,
            body,
            status: answer.status_sent(&faults),
            faults: faults.clone(),
        });
        let calls = world.calls.len();
        world.called.send_replace(calls);
        (answer, faults)
    };
    answer.send(&faults).await
}

impl World {
    fn answer(
        &mut self,
        method: &Method,
        operation: &str,
        headers: &HeaderMap,
        body: &Value,
        faults: &[Kind],
    ) -> Result<Value, Refusal> {
        if method != Method::POST || !OPERATIONS.contains(&operation) {
            return Err(refusal(
                404,
                "UnknownOperationException",
                format!("{method} /{operation}"),
            ));
        }
        check_signature(headers, &self.region)?;
        let later_page = body.get("nextToken").is_some();
        let refused = |&kind: &Kind| refused(kind, operation, later_page);
        if let Some(refusal) = faults.iter().find_map(refused) {
            return Err(refusal);
        }
        let now = Instant::now();
        let used = self.used.entry(operation.to_owned());
        if !used
            .or_insert_with(|| Used::nothing(now))
            .take(self.quota, now)
        {
            let message = "Rate exceeded".to_owned();
            return Err(refusal(429, "ThrottlingException", message));
        }
        if self.denied.contains(operation) {
            let message = format!("User is not authorized to perform: ivs:{operation}");
            return Err(refusal(403, "AccessDeniedException", message));
        }
        match operation {
            "GetParticipant" => self.get_participant(body),
            "ListParticipantEvents" => self.list_participant_events(body, faults),
            "GetStageSession" => self.get_stage_session(body),
            "ListParticipants" => self.list_participants(body, faults),
            "ListStages" => self.list_stages(body, faults),
            _ => self.list_stage_sessions(body, faults),
        }
    }

    fn get_stage_session(&self, body: &Value) -> Result<Value, Refusal> {
        members(body, &["stageArn", "sessionId"])?;
        let name = name(body)?;
        let session = self.sessions.get(&name).ok_or_else(|| not_found(&name))?;
        Ok(json!({ "stageSession": self.summary(&name, session) }))
    }

    /// A session in the answers of `GetStageSession` and `ListStageSessions`. While it is live, its end is null.
    fn summary(&self, name: &(String, String), session: &Session) -> Value {
        json!({
            "sessionId": name.1,
            "startTime": session.start_time.map(timestamp),
            "endTime": self.end_time(name).map(timestamp),
        })
    }

    fn list_participants(&mut self, body: &Value, faults: &[Kind]) -> Result<Value, Refusal> {
        const FILTERS: [&str; 4] = [
            "filterByUserId",
            "filterByPublished",
            "filterByState",
            "filterByRecordingState",
        ];
        members(
            body,
            &[
                &["stageArn", "sessionId", "maxResults", "nextToken"][..],
                &FILTERS,
            ]
            .concat(),
        )?;
        let name = name(body)?;
        if FILTERS.iter().any(|&filter| body.get(filter).is_some()) {
            return Err(invalid(
                "this emulator has no filters, and a complete list uses none",
            ));
        }
        if !self.sessions.contains_key(&name) {
            return if self.lists_nobody_of_the_unknown {
                Ok(json!({ "participants": [] }))
            } else {
                Err(not_found(&name))
            };
        }
        let target = format!("{} {}", name.0, name.1);
        let items = || {
            let now = Instant::now();
            let participants = self.sessions[&name].participants.iter().enumerate();
            participants
                .filter(|(_, who)| who.listed_from.is_none_or(|from| from <= now))
                .map(|(place, _)| Item::Participant(place))
                .collect()
        };
        let page = self.listings.page(
            "ListParticipants",
            target,
            self.calls.len(),
            body,
            faults,
            items,
        )?;
        let participants = &self.sessions[&name].participants;
        Ok(page.json("participants", |item| match item {
            Item::Participant(place) => participants.get(*place).map(|who| json!(who)),
            Item::Stage(_) | Item::Session(_) | Item::Event(_) => None,
        }))
    }

    fn list_stages(&mut self, body: &Value, faults: &[Kind]) -> Result<Value, Refusal> {
        members(body, &["maxResults", "nextToken"])?;
        let items = || self.stages.iter().cloned().map(Item::Stage).collect();
        let page = self.listings.page(
            "ListStages",
            String::new(),
            self.calls.len(),
            body,
            faults,
            items,
        )?;
        Ok(page.json("stages", |item| match item {
            Item::Stage(arn) => self.stage(arn),
            Item::Session(_) | Item::Participant(_) | Item::Event(_) => None,
        }))
    }

    /// A stage in a list, if it was not deleted meanwhile.
    fn stage(&self, arn: &str) -> Option<Value> {
        let arn = self.stages.get(arn)?;
        let labels = self.labels.get(arn).cloned().unwrap_or_default();
        let mut stage = json!(labels);
        stage["arn"] = arn.clone().into();
        let live = sessions_of(&self.sessions, arn)
            .filter(|(name, _)| self.end_time(name).is_none())
            .max_by_key(|(_, session)| session.start_time);
        if let Some((name, _)) = live {
            stage["activeSessionId"] = name.1.clone().into();
        }
        Some(stage)
    }

    fn list_stage_sessions(&mut self, body: &Value, faults: &[Kind]) -> Result<Value, Refusal> {
        members(body, &["stageArn", "maxResults", "nextToken"])?;
        let stage_arn = stage_arn(body)?;
        if !self.stages.contains(&stage_arn) {
            let message = format!("there is no stage {stage_arn}");
            return Err(refusal(404, "ResourceNotFoundException", message));
        }
        if self.sick_stages.contains(&stage_arn) {
            return Err(refusal(
                403,
                "PendingVerification",
                "the account is being verified".to_owned(),
            ));
        }
        let items = || {
            sessions_of(&self.sessions, &stage_arn)
                .map(|(name, _)| Item::Session(name.1.clone()))
                .collect()
        };
        let page = self.listings.page(
            "ListStageSessions",
            stage_arn.clone(),
            self.calls.len(),
            body,
            faults,
            items,
        )?;
        Ok(page.json("stageSessions", |item| match item {
            Item::Session(id) => {
                let name = (stage_arn.clone(), id.clone());
                let mut summary = self.summary(&name, self.sessions.get(&name)?);
                if self.listed_without_start.contains(&name) {
                    summary["startTime"] = Value::Null;
                }
                if let Some(start) = self.listed_starts.get(&name) {
                    summary["startTime"] = timestamp(*start).into();
                }
                Some(summary)
            }
            Item::Stage(_) | Item::Participant(_) | Item::Event(_) => None,
        }))
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, World> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
