//! An emulator of IVS Real-Time's read operations, as strict about requests as the service and as unhelpful in its
//! answers: pages in an order of their own, opaque tokens, a quota for each operation.
//!
//! restJson1, `POST /OperationName`; shapes, limits and patterns from
//! <https://docs.aws.amazon.com/ivs/latest/RealTimeAPIReference/Welcome.html>. Where the reference is silent (order,
//! the life of a token, a list of an unknown session), what it answers here is one possibility; nothing should depend
//! on it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::server::Server;

/// The running emulator of one region.
pub struct Ivs {
    server: Server,
    shared: Shared,
}

type Shared = Arc<Mutex<World>>;

/// What the emulated region knows, to be set up and changed at any time.
pub struct World {
    pub region: String,
    pub quota: Quota,
    /// The operations that the caller's role does not allow.
    pub denied: BTreeSet<String>,
    /// Sessions by stage ARN and session id.
    pub sessions: BTreeMap<(String, String), Session>,
    /// Every request so far.
    pub calls: Vec<Call>,
    walks: HashMap<String, Walk>,
    used: HashMap<String, Used>,
}

/// How many calls a second of one operation are let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    Off,
    /// At most 5 in any second.
    Window,
    /// A bucket of 5 tokens that gains 5 a second.
    Bucket,
}

const CALLS_PER_SECOND: usize = 5;

/// A session of a stage; live while it has no end.
#[derive(Clone, Debug, Default)]
pub struct Session {
    pub start_time: Option<DateTime<Utc>>,
    pub end_time: Option<DateTime<Utc>>,
    pub participants: Vec<Participant>,
}

/// A participant, with the members of `ParticipantSummary`; what is `None` is left out of the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Participant {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participant_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_join_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recording_state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication_state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_stage_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_session_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redundant_ingest: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingest_configuration_arn: Option<String>,
    /// Members that the SDK does not know yet.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// A request as it came, and how it was answered.
#[derive(Clone, Debug)]
pub struct Call {
    pub at: Instant,
    pub operation: String,
    pub body: Value,
    pub status: u16,
}

/// A list that is being paged through: its order is drawn when it begins.
#[derive(Clone)]
struct Walk {
    session: (String, String),
    order: u64,
    offset: usize,
}

struct Used {
    recent: VecDeque<Instant>,
    tokens: f64,
    filled: Instant,
}

struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Ivs {
    /// Starts the emulator of `region` on a free port.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(region: &str) -> io::Result<Self> {
        let shared: Shared = Arc::new(Mutex::new(World {
            region: region.to_owned(),
            quota: Quota::Bucket,
            denied: BTreeSet::new(),
            sessions: BTreeMap::new(),
            calls: Vec::new(),
            walks: HashMap::new(),
            used: HashMap::new(),
        }));
        let app = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&shared));
        Ok(Self {
            server: Server::start(app).await?,
            shared,
        })
    }

    #[must_use]
    pub fn url(&self) -> &str {
        self.server.url()
    }

    /// The emulated region, for a look or a change; requests wait meanwhile.
    pub fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.shared)
    }

    /// How often an operation was called so far.
    #[must_use]
    pub fn count(&self, operation: &str) -> usize {
        self.world()
            .calls
            .iter()
            .filter(|call| call.operation == operation)
            .count()
    }
}

impl World {
    /// Puts a session into its stage.
    pub fn put(&mut self, stage_arn: &str, session_id: &str, session: Session) {
        self.sessions
            .insert((stage_arn.to_owned(), session_id.to_owned()), session);
    }

    /// The session, to be changed.
    ///
    /// # Panics
    /// If there is none.
    pub fn session(&mut self, stage_arn: &str, session_id: &str) -> &mut Session {
        let name = (stage_arn.to_owned(), session_id.to_owned());
        self.sessions
            .get_mut(&name)
            .expect("the session was put before")
    }
}

async fn answer(
    State(shared): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut world = lock(&shared);
    let operation = uri.path().trim_start_matches('/').to_owned();
    let parsed = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let result = world.answer(&method, &operation, &headers, &parsed);
    let (status, error_type, body) = match result {
        Ok(answer) => (StatusCode::OK, None, answer),
        // The model's exceptions carry `exceptionMessage`; a throttle is not in the model.
        Err(Refusal {
            status,
            code: "ThrottlingException",
            message,
        }) => (
            status,
            Some("ThrottlingException"),
            json!({ "message": message }),
        ),
        Err(Refusal {
            status,
            code,
            message,
        }) => (status, Some(code), json!({ "exceptionMessage": message })),
    };
    let call = Call {
        at: Instant::now(),
        operation,
        body: parsed,
        status: status.as_u16(),
    };
    world.calls.push(call);
    let mut response = Response::builder()
        .status(status)
        .header("content-type", "application/json");
    if let Some(code) = error_type {
        response = response.header("x-amzn-errortype", code);
    }
    response
        .body(Body::from(body.to_string()))
        .expect("the parts of a response are valid")
}

impl World {
    fn answer(
        &mut self,
        method: &Method,
        operation: &str,
        headers: &HeaderMap,
        body: &Value,
    ) -> Result<Value, Refusal> {
        if method != Method::POST || !["GetStageSession", "ListParticipants"].contains(&operation) {
            return Err(refusal(
                404,
                "UnknownOperationException",
                format!("{method} /{operation}"),
            ));
        }
        self.check_signature(headers)?;
        self.take_from_quota(operation)?;
        if self.denied.contains(operation) {
            let message = format!("User is not authorized to perform: ivs:{operation}");
            return Err(refusal(403, "AccessDeniedException", message));
        }
        match operation {
            "GetStageSession" => self.get_stage_session(body),
            _ => self.list_participants(body),
        }
    }

    fn check_signature(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let refuse = |message: String| refusal(403, "InvalidSignatureException", message);
        let text = |name: &str| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        let authorization = text("authorization");
        let scope = authorization
            .strip_prefix("AWS4-HMAC-SHA256 Credential=")
            .and_then(|rest| rest.split(',').next())
            .ok_or_else(|| refuse("the request is not signed by AWS4-HMAC-SHA256".to_owned()))?;
        let expected = format!("/{}/ivs/aws4_request", self.region);
        if !scope.ends_with(&expected)
            || !authorization.contains("Signature=")
            || text("x-amz-date").is_empty()
        {
            return Err(refuse(format!(
                "the scope {scope} does not end in {expected}, or date or signature are missing"
            )));
        }
        if text("content-type") != "application/json" {
            return Err(invalid("content-type must be application/json"));
        }
        Ok(())
    }

    fn take_from_quota(&mut self, operation: &str) -> Result<(), Refusal> {
        let now = Instant::now();
        let used = self
            .used
            .entry(operation.to_owned())
            .or_insert_with(|| Used {
                recent: VecDeque::new(),
                tokens: CALLS_PER_SECOND as f64,
                filled: now,
            });
        let granted = match self.quota {
            Quota::Off => true,
            Quota::Window => {
                while used
                    .recent
                    .front()
                    .is_some_and(|&call| now - call >= Duration::from_secs(1))
                {
                    used.recent.pop_front();
                }
                used.recent.len() < CALLS_PER_SECOND
            }
            Quota::Bucket => {
                let gained = (now - used.filled).as_secs_f64() * CALLS_PER_SECOND as f64;
                used.tokens = (used.tokens + gained).min(CALLS_PER_SECOND as f64);
                used.filled = now;
                used.tokens >= 1.0
            }
        };
        if !granted {
            return Err(refusal(
                429,
                "ThrottlingException",
                "Rate exceeded".to_owned(),
            ));
        }
        used.recent.push_back(now);
        used.tokens -= 1.0;
        Ok(())
    }

    fn get_stage_session(&self, body: &Value) -> Result<Value, Refusal> {
        members(body, &["stageArn", "sessionId"])?;
        let name = name(body)?;
        let session = self.sessions.get(&name).ok_or_else(|| not_found(&name))?;
        let mut answer = Map::new();
        answer.insert("sessionId".to_owned(), name.1.into());
        for (member, time) in [
            ("startTime", session.start_time),
            ("endTime", session.end_time),
        ] {
            // While a session is live the service sends null, or nothing.
            answer.insert(
                member.to_owned(),
                time.map_or(Value::Null, |time| timestamp(time).into()),
            );
        }
        Ok(json!({ "stageSession": answer }))
    }

    fn list_participants(&mut self, body: &Value) -> Result<Value, Refusal> {
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
        let page_size = match body.get("maxResults") {
            None => 50,
            Some(number) => match number
                .as_u64()
                .and_then(|number| usize::try_from(number).ok())
            {
                Some(number @ 1..=100) => number,
                _ => return Err(invalid("maxResults must be from 1 to 100")),
            },
        };
        let walk = match body
            .get("nextToken")
            .map(|token| token.as_str().unwrap_or_default())
        {
            None => Walk {
                session: name.clone(),
                order: self.calls.len() as u64,
                offset: 0,
            },
            Some(token) => match self.walks.get(token) {
                Some(walk) if walk.session == name => walk.clone(),
                _ => return Err(invalid("nextToken is not one of this list")),
            },
        };
        let session = self.sessions.get(&name).ok_or_else(|| not_found(&name))?;
        let mut listed: Vec<&Participant> = session.participants.iter().collect();
        listed.sort_by_cached_key(|participant| hash((walk.order, &participant.participant_id)));
        let page: Vec<_> = listed
            .iter()
            .skip(walk.offset)
            .take(page_size)
            .map(|who| json!(who))
            .collect();
        let offset = walk.offset + page.len();
        let mut answer = json!({ "participants": page });
        if offset < listed.len() {
            let token = format!("{:016x}", hash((self.calls.len(), &name, offset)));
            answer["nextToken"] = token.clone().into();
            self.walks.insert(token, Walk { offset, ..walk });
        }
        Ok(answer)
    }
}

fn members(body: &Value, known: &[&str]) -> Result<(), Refusal> {
    let object = body
        .as_object()
        .ok_or_else(|| invalid("the body must be a JSON object"))?;
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        Some(unknown) => Err(invalid(&format!("{unknown} is no member of this request"))),
        None => Ok(()),
    }
}

fn name(body: &Value) -> Result<(String, String), Refusal> {
    let text = |member: &str| {
        body.get(member)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (stage_arn, session_id) = (text("stageArn"), text("sessionId"));
    let parts: Vec<_> = stage_arn.split(':').collect();
    let alphanumeric =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match parts[..] {
        ["arn", "aws", "ivs", _, account, resource]
            if account.bytes().all(|byte| byte.is_ascii_digit())
                && resource
                    .strip_prefix("stage/")
                    .is_some_and(|id| alphanumeric(&id.replace('-', "0"))) => {}
        _ => {
            return Err(invalid(
                "stageArn must match arn:aws:ivs:[a-z0-9-]+:[0-9]+:stage/[a-zA-Z0-9-]+",
            ));
        }
    }
    if session_id.len() != 16 || !session_id.strip_prefix("st-").is_some_and(alphanumeric) {
        return Err(invalid(
            "sessionId must match st-[a-zA-Z0-9]+ and have 16 characters",
        ));
    }
    Ok((stage_arn, session_id))
}

fn refusal(status: u16, code: &'static str, message: String) -> Refusal {
    Refusal {
        status: StatusCode::from_u16(status).expect("a status code"),
        code,
        message,
    }
}

fn invalid(message: &str) -> Refusal {
    refusal(400, "ValidationException", message.to_owned())
}

fn not_found((stage_arn, session_id): &(String, String)) -> Refusal {
    refusal(
        404,
        "ResourceNotFoundException",
        format!("{stage_arn} has no session {session_id}"),
    )
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// A time as the service writes it.
#[must_use]
pub fn timestamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

fn lock(shared: &Shared) -> MutexGuard<'_, World> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
