//! SQS for senders: an emulator of the three operations that the function calls, as strict about requests as the
//! service; receiving is the business of `mapping.rs`, which stands in for Lambda.
//!
//! AWS JSON 1.0 (`POST /`, `x-amz-target: AmazonSQS.Operation`), with the older error codes beside the newer in
//! `x-amzn-query-error`, from which SDKs read them. Shapes and limits from
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/Welcome.html>. Stricter than the service: a
//! member that is unknown, or that this emulator would have to ignore, is refused.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::REGION;
pub use crate::queues::{Depth, QueueSettings, Received};
use crate::queues::{Parcel, Queues, Sent};
use crate::server::Server;

/// The account that owns the queues.
pub const ACCOUNT: &str = "123456789012";

/// The largest message, and the largest batch of them, in bytes.
const LARGEST: usize = 1_048_576;
const LARGEST_BATCH: usize = 10;

/// The running emulator.
pub struct Sqs {
    server: Server,
    queues: Queues,
    wire: Arc<Wire>,
}

/// What the requests share.
struct Wire {
    queues: Queues,
    records: Mutex<Records>,
}

#[derive(Default)]
struct Records {
    requests: Vec<SqsRequest>,
    counts: HashMap<String, usize>,
    hook: Option<Hook>,
}

type Hook = Box<dyn FnMut(&Attempt<'_>) -> Option<Fault> + Send>;

/// A request as it came, and how it was answered.
#[derive(Clone, Debug)]
pub struct SqsRequest {
    pub at: Instant,
    pub operation: String,
    /// The name of the queue, if the request named one.
    pub queue: String,
    /// The bodies of its messages, those of failed entries too.
    pub bodies: Vec<String>,
    pub body: Value,
    pub status: u16,
}

/// A request that is about to be answered.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    pub operation: &'a str,
    /// Counts the requests of that operation; the first is 1.
    pub number: usize,
    pub body: &'a Value,
}

/// What goes wrong with a request that is in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 500, and nothing was done.
    InternalFailure,
    /// 500, but the messages were sent.
    LostAnswer,
    /// 403, and nothing was done.
    AccessDenied,
    /// 403, by its code a throttle, and nothing was done.
    Throttled,
    /// 400: SQS passes on that KMS throttled it.
    KmsThrottled,
    /// The entries of a batch at these positions, from 0, fail by no fault of the sender; the others are sent.
    Entries(Vec<usize>),
}

#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    /// The shape in the model, and the code of old.
    names: (&'static str, &'static str),
    message: String,
}

impl Sqs {
    /// Starts the emulator on a free port, without queues.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start() -> io::Result<Self> {
        let queues = Queues::new();
        let wire = Arc::new(Wire {
            queues: queues.clone(),
            records: Mutex::default(),
        });
        let app = Router::new()
            .fallback(answer)
            // Escaped, a batch of the largest size can be some times as long.
            .layer(DefaultBodyLimit::max(8 * LARGEST))
            .with_state(Arc::clone(&wire));
        Ok(Self {
            server: Server::start(app).await?,
            queues,
            wire,
        })
    }

    #[must_use]
    pub fn url(&self) -> &str {
        self.server.url()
    }

    /// Creates a queue and returns its URL.
    ///
    /// # Panics
    /// If SQS would refuse it, or one of that name is there; its dead-letter queue must be created first.
    pub fn create(&self, name: &str, settings: QueueSettings) -> String {
        self.queues
            .change(|world, _| world.create(name, settings.clone()));
        format!("{}/{ACCOUNT}/{name}", self.url())
    }

    /// Sends a message to a standard queue as EventBridge would: with the queue's delay.
    ///
    /// # Panics
    /// If there is no such queue, or it is a FIFO queue.
    pub fn send(&self, name: &str, body: &str) {
        self.put(name, body, None, None);
    }

    /// Sends a message to a group of a FIFO queue as EventBridge's scheduler would: deduplicated by its content.
    ///
    /// # Panics
    /// If there is no such queue, or it is no FIFO queue.
    pub fn send_to_group(&self, name: &str, group: &str, body: &str) {
        self.put(name, body, Some(group.to_owned()), None);
    }

    /// Sends a message to a group of a FIFO queue with a deduplication id that no other message has.
    ///
    /// # Panics
    /// As [`Sqs::send_to_group`].
    pub fn send_once(&self, name: &str, group: &str, body: &str) {
        let id = format!("{:x}", fastrand::u128(..));
        self.put(name, body, Some(group.to_owned()), Some(id));
    }

    fn put(&self, name: &str, body: &str, group: Option<String>, deduplication_id: Option<String>) {
        self.queues.change(|world, now| {
            if let Some(settings) = world.settings(name) {
                assert_eq!(
                    settings.fifo,
                    group.is_some(),
                    "{name}: FIFO queues, and only those, take a group"
                );
            }
            let parcel = Parcel {
                body: body.to_owned(),
                group,
                deduplication_id,
                ..Parcel::default()
            };
            world.send(name, now, parcel);
        });
    }

    /// How many messages lie in a queue right now, without lag.
    ///
    /// # Panics
    /// If there is no such queue, as all that follows.
    #[must_use]
    pub fn depth(&self, name: &str) -> Depth {
        self.queues.look(|world, now| world.depth(name, now))
    }

    /// How many messages lie in a queue as SQS tells it, with lag.
    #[must_use]
    pub fn told_depth(&self, name: &str) -> Depth {
        self.queues.look(|world, now| world.told_depth(name, now))
    }

    /// The bodies of the messages in a queue, in whatever state, in the order of their arrival.
    #[must_use]
    pub fn bodies(&self, name: &str) -> Vec<String> {
        self.queues.look(|world, now| world.bodies(name, now))
    }

    /// Receives up to `at_most` messages that are visible, as a person with the AWS CLI would.
    #[must_use]
    pub fn receive(&self, name: &str, at_most: usize) -> Vec<Received> {
        self.queues
            .change(|world, now| world.receive(name, now, at_most, |_| true))
    }

    /// Deletes a received message, and says whether the receipt was still good.
    pub fn delete(&self, name: &str, receipt: &str) -> bool {
        self.queues
            .change(|world, now| world.delete(name, now, receipt))
    }

    /// Moves what is visible in the dead-letter queue `from` to `to`, as `StartMessageMoveTask` does, and returns how
    /// many messages that are. They are new messages: their receives start anew.
    ///
    /// # Panics
    /// If `from` is no queue's dead-letter queue, or one of the two is not there.
    pub fn redrive(&self, from: &str, to: &str) -> usize {
        self.queues
            .change(|world, now| world.redrive(from, to, now))
    }

    /// Every request so far.
    #[must_use]
    pub fn requests(&self) -> Vec<SqsRequest> {
        self.wire.records().requests.clone()
    }

    /// Asks `hook` before each request that is in order whether something goes wrong with it. The last hook counts.
    pub fn on_request(&self, hook: impl FnMut(&Attempt<'_>) -> Option<Fault> + Send + 'static) {
        self.wire.records().hook = Some(Box::new(hook));
    }

    /// Waits until the condition holds. It is looked at whenever a queue changes or time moves a message.
    ///
    /// # Errors
    /// `TimedOut`, naming every queue's depth, if it does not hold within `timeout`.
    pub async fn until(
        &self,
        timeout: Duration,
        mut condition: impl FnMut(&Self) -> bool,
    ) -> io::Result<()> {
        let mut changes = self.queues.changes();
        let waited = tokio::time::timeout(timeout, async {
            loop {
                let now = tokio::time::Instant::now();
                if condition(self) {
                    return;
                }
                self.queues.next(&mut changes, now).await;
            }
        });
        waited
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, self.queues.to_string()))
    }

    /// Waits until nothing is visible, delayed or in flight in these queues at one moment.
    ///
    /// # Errors
    /// `TimedOut`, naming every queue's depth, if that does not come within `timeout`.
    pub async fn until_empty(&self, names: &[&str], timeout: Duration) -> io::Result<()> {
        self.until(timeout, |sqs| {
            sqs.queues
                .look(|world, now| names.iter().all(|name| world.depth(name, now).all() == 0))
        })
        .await
    }

    pub(crate) fn queues(&self) -> &Queues {
        &self.queues
    }
}

impl Wire {
    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(
    State(wire): State<Arc<Wire>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let at = Instant::now();
    let operation = text(&headers, "x-amz-target")
        .strip_prefix("AmazonSQS.")
        .unwrap_or_default()
        .to_owned();
    let parsed: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let result = check_envelope(&method, &uri, &headers)
        .and_then(|()| Request::read(&operation, &parsed, &wire))
        .and_then(|request| wire.answer(request, &operation, &parsed));
    let mut response = Response::builder().header("content-type", "application/x-amz-json-1.0");
    let (status, body) = match result {
        Ok(answer) => (StatusCode::OK, answer),
        Err(Refusal {
            status,
            names: (shape, code),
            message,
        }) => {
            let whose = if status.is_server_error() {
                "Receiver"
            } else {
                "Sender"
            };
            response = response.header("x-amzn-query-error", format!("{code};{whose}"));
            (status, json!({ "__type": shape, "message": message }))
        }
    };
    let entries = parsed.get("Entries").and_then(Value::as_array);
    let messages = entries.map_or(std::slice::from_ref(&parsed), Vec::as_slice);
    let bodies = messages
        .iter()
        .filter_map(|message| message["MessageBody"].as_str());
    wire.records().requests.push(SqsRequest {
        at,
        operation,
        queue: parsed["QueueUrl"]
            .as_str()
            .and_then(|url| url.rsplit('/').next())
            .unwrap_or_default()
            .to_owned(),
        bodies: bodies.map(str::to_owned).collect(),
        body: parsed.clone(),
        status: status.as_u16(),
    });
    response
        .status(status)
        .body(Body::from(body.to_string()))
        .expect("the parts of a response are valid")
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

fn check_envelope(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    let content_type = text(headers, "content-type");
    if method != Method::POST || uri.path() != "/" || content_type != "application/x-amz-json-1.0" {
        return Err(unsupported(&format!(
            "{method} {} with content-type {content_type:?}; AWS JSON 1.0 is POST / with application/x-amz-json-1.0",
            uri.path()
        )));
    }
    let refuse = |message: String| {
        let names = (
            "com.amazon.coral.service#InvalidSignatureException",
            "SignatureDoesNotMatch",
        );
        refusal(403, names, message)
    };
    let authorization = text(headers, "authorization");
    let scope = authorization
        .strip_prefix("AWS4-HMAC-SHA256 Credential=")
        .and_then(|rest| rest.split(',').next())
        .ok_or_else(|| refuse("the request is not signed by AWS4-HMAC-SHA256".to_owned()))?;
    let expected = format!("/{REGION}/sqs/aws4_request");
    if !scope.ends_with(&expected)
        || !authorization.contains("Signature=")
        || text(headers, "x-amz-date").is_empty()
    {
        return Err(refuse(format!(
            "the scope {scope} does not end in {expected}, or date or signature are missing"
        )));
    }
    Ok(())
}

/// A request that is in order, as far as that is not the business of a batch's single entries.
enum Request {
    SendMessage(String, Parcel),
    SendMessageBatch(String, Vec<(String, Result<Parcel, Refusal>)>),
    GetQueueAttributes(String, Vec<&'static str>),
}

impl Request {
    fn read(operation: &str, body: &Value, wire: &Wire) -> Result<Self, Refusal> {
        let own: &[&str] = match operation {
            "SendMessage" => &MESSAGE_MEMBERS,
            "SendMessageBatch" => &["Entries"],
            "GetQueueAttributes" => &["AttributeNames"],
            _ => return Err(unsupported(&format!("this emulator has no {operation:?}"))),
        };
        let members = members(body, &[own, &["QueueUrl"]].concat())?;
        let (queue, fifo) = queue(members, wire)?;
        match operation {
            "SendMessage" => Ok(Self::SendMessage(queue, parcel(members, fifo)?)),
            "SendMessageBatch" => Ok(Self::SendMessageBatch(queue, entries(members, fifo)?)),
            _ => Ok(Self::GetQueueAttributes(queue, attributes(members)?)),
        }
    }
}

const MESSAGE_MEMBERS: [&str; 4] = [
    "MessageBody",
    "DelaySeconds",
    "MessageGroupId",
    "MessageDeduplicationId",
];

const COUNTS: [&str; 3] = [
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
];

impl Wire {
    fn answer(&self, request: Request, operation: &str, body: &Value) -> Result<Value, Refusal> {
        let fault = {
            let mut records = self.records();
            let count = records.counts.entry(operation.to_owned()).or_default();
            *count += 1;
            let attempt = Attempt {
                operation,
                number: *count,
                body,
            };
            records.hook.as_mut().and_then(|hook| hook(&attempt))
        };
        match &fault {
            Some(Fault::InternalFailure) => return Err(internal_failure()),
            Some(Fault::AccessDenied) => return Err(access_denied(operation, body)),
            Some(Fault::Throttled) => {
                let names = ("com.amazonaws.sqs#RequestThrottled", "RequestThrottled");
                return Err(refusal(403, names, "Request is throttled.".to_owned()));
            }
            Some(Fault::KmsThrottled) => {
                let names = ("com.amazonaws.sqs#KmsThrottled", "KMS.ThrottlingException");
                return Err(refusal(400, names, "Rate exceeded".to_owned()));
            }
            Some(Fault::LostAnswer | Fault::Entries(_)) | None => {}
        }
        let failing = match &fault {
            Some(Fault::Entries(positions)) => &positions[..],
            _ => &[],
        };
        let answer = self.queues.change(|world, now| match request {
            Request::SendMessage(queue, parcel) => {
                Value::Object(told(world.send(&queue, now, parcel)))
            }
            Request::SendMessageBatch(queue, entries) => {
                let (mut successful, mut failed) = (Vec::new(), Vec::new());
                for (position, (id, parcel)) in entries.into_iter().enumerate() {
                    match parcel {
                        Ok(_) if failing.contains(&position) => failed.push(json!({
                            "Id": id, "SenderFault": false, "Code": "InternalError",
                            "Message": "We encountered an internal error. Please try again.",
                        })),
                        Ok(parcel) => {
                            let mut entry = told(world.send(&queue, now, parcel));
                            entry.insert("Id".to_owned(), id.into());
                            successful.push(Value::Object(entry));
                        }
                        Err(refusal) => failed.push(json!({
                            "Id": id, "SenderFault": true, "Code": refusal.names.1,
                            "Message": refusal.message,
                        })),
                    }
                }
                let lists = [("Successful", successful), ("Failed", failed)];
                let there = lists.into_iter().filter(|(_, list)| !list.is_empty());
                there
                    .map(|(name, list)| (name.to_owned(), Value::Array(list)))
                    .collect()
            }
            Request::GetQueueAttributes(queue, names) => {
                let depth = world.told_depth(&queue, now);
                let counts = [depth.visible, depth.in_flight, depth.delayed];
                let asked = COUNTS.iter().zip(counts);
                let asked = asked.filter(|(name, _)| names.contains(name));
                let attributes: Map<_, _> = asked
                    .map(|(&name, count)| (name.to_owned(), count.to_string().into()))
                    .collect();
                json!({ "Attributes": attributes })
            }
        });
        if fault == Some(Fault::LostAnswer) {
            return Err(internal_failure());
        }
        Ok(answer)
    }
}

fn told(sent: Sent) -> Map<String, Value> {
    let mut members = Map::new();
    members.insert("MessageId".to_owned(), sent.id.into());
    members.insert("MD5OfMessageBody".to_owned(), sent.md5.into());
    if let Some(sequence) = sent.sequence {
        members.insert("SequenceNumber".to_owned(), sequence.into());
    }
    members
}

fn members<'a>(body: &'a Value, known: &[&str]) -> Result<&'a Map<String, Value>, Refusal> {
    let malformed = |message: String| {
        let names = (
            "com.amazon.coral.service#SerializationException",
            "MalformedInput",
        );
        refusal(400, names, message)
    };
    let object = body
        .as_object()
        .ok_or_else(|| malformed("the body must be a JSON object".to_owned()))?;
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        Some(unknown) => Err(malformed(format!(
            "{unknown} is no member that this emulator knows"
        ))),
        None => Ok(object),
    }
}

/// The name of the queue that a request is for, and whether it is a FIFO queue.
fn queue(members: &Map<String, Value>, wire: &Wire) -> Result<(String, bool), Refusal> {
    let url = string(members, "QueueUrl")?.ok_or_else(|| missing("QueueUrl"))?;
    let marker = format!("/{ACCOUNT}/");
    let name = url.split_once(&marker).map(|(_, name)| name);
    let fifo = name.and_then(|name| {
        wire.queues
            .look(|world, _| world.settings(name).map(|settings| settings.fifo))
    });
    match (name, fifo) {
        (Some(name), Some(fifo)) => Ok((name.to_owned(), fifo)),
        _ => {
            let names = (
                "com.amazonaws.sqs#QueueDoesNotExist",
                "AWS.SimpleQueueService.NonExistentQueue",
            );
            let message = format!("The specified queue does not exist: {url}");
            Err(refusal(400, names, message))
        }
    }
}

fn parcel(members: &Map<String, Value>, fifo: bool) -> Result<Parcel, Refusal> {
    let body = match string(members, "MessageBody")? {
        None | Some("") => return Err(missing("MessageBody")),
        Some(body) => body,
    };
    if body.len() > LARGEST {
        return Err(invalid(&format!(
            "Message must be shorter than {LARGEST} bytes, not {}",
            body.len()
        )));
    }
    let legal = |character: char| matches!(character, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    if let Some(illegal) = body.chars().find(|&character| !legal(character)) {
        let names = (
            "com.amazonaws.sqs#InvalidMessageContents",
            "InvalidMessageContents",
        );
        let message = format!("{illegal:?} is outside the characters that a message may have");
        return Err(refusal(400, names, message));
    }
    let delay = match members.get("DelaySeconds") {
        None | Some(Value::Null) => None,
        // The queue's own delay is the only one that a FIFO queue has; the service lets a zero pass.
        Some(seconds) if fifo && seconds.as_i64() == Some(0) => None,
        Some(seconds) if fifo => {
            return Err(invalid(&format!(
                "DelaySeconds {seconds} is not valid for this queue type"
            )));
        }
        Some(seconds) => match seconds.as_u64() {
            Some(seconds @ 0..=900) => Some(Duration::from_secs(seconds)),
            _ => {
                return Err(invalid(&format!(
                    "DelaySeconds {seconds} must be >= 0 and <= 900"
                )));
            }
        },
    };
    let group = name(members, "MessageGroupId")?;
    let deduplication_id = name(members, "MessageDeduplicationId")?;
    if fifo && group.is_none() {
        return Err(missing("MessageGroupId"));
    }
    if !fifo && deduplication_id.is_some() {
        return Err(invalid(
            "MessageDeduplicationId is not valid for this queue type",
        ));
    }
    Ok(Parcel {
        body: body.to_owned(),
        delay,
        group,
        deduplication_id,
    })
}

type Entries = Vec<(String, Result<Parcel, Refusal>)>;

fn entries(batch: &Map<String, Value>, fifo: bool) -> Result<Entries, Refusal> {
    let refuse = |shape, code, message: String| Err(refusal(400, (shape, code), message));
    let entries = match batch.get("Entries") {
        Some(Value::Array(entries)) if !entries.is_empty() => entries,
        _ => {
            return refuse(
                "com.amazonaws.sqs#EmptyBatchRequest",
                "AWS.SimpleQueueService.EmptyBatchRequest",
                "There should be at least one SendMessageBatchRequestEntry in the request."
                    .to_owned(),
            );
        }
    };
    if entries.len() > LARGEST_BATCH {
        return refuse(
            "com.amazonaws.sqs#TooManyEntriesInBatchRequest",
            "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
            format!(
                "Maximum number of entries per request are {LARGEST_BATCH}. You have sent {}.",
                entries.len()
            ),
        );
    }
    let mut read: Entries = Vec::new();
    let mut bytes = 0;
    for entry in entries {
        let members = members(entry, &[&MESSAGE_MEMBERS[..], &["Id"]].concat())?;
        let id = string(members, "Id")?.unwrap_or_default();
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if id.is_empty() || id.len() > 80 || !id.bytes().all(legal) {
            return refuse(
                "com.amazonaws.sqs#InvalidBatchEntryId",
                "AWS.SimpleQueueService.InvalidBatchEntryId",
                format!("{id:?} must have 1 to 80 letters, digits, hyphens and underscores."),
            );
        }
        if read.iter().any(|(other, _)| other == id) {
            return refuse(
                "com.amazonaws.sqs#BatchEntryIdsNotDistinct",
                "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
                format!("Id {id} repeated."),
            );
        }
        bytes += string(members, "MessageBody")?.unwrap_or_default().len();
        read.push((id.to_owned(), parcel(members, fifo)));
    }
    if bytes > LARGEST {
        return refuse(
            "com.amazonaws.sqs#BatchRequestTooLong",
            "AWS.SimpleQueueService.BatchRequestTooLong",
            format!(
                "Batch requests cannot be longer than {LARGEST} bytes. You have sent {bytes} bytes."
            ),
        );
    }
    Ok(read)
}

fn attributes(members: &Map<String, Value>) -> Result<Vec<&'static str>, Refusal> {
    let empty = Vec::new();
    let names = match members.get("AttributeNames") {
        None => &empty,
        Some(Value::Array(names)) => names,
        Some(other) => return Err(invalid(&format!("AttributeNames {other} must be a list"))),
    };
    let mut asked = Vec::new();
    for name in names {
        match COUNTS.iter().find(|count| name == **count) {
            Some(count) => asked.push(*count),
            None if name == "All" => asked.extend(COUNTS),
            None => {
                let names = (
                    "com.amazonaws.sqs#InvalidAttributeName",
                    "InvalidAttributeName",
                );
                let message = format!("Unknown Attribute {name}; this emulator has the counts");
                return Err(refusal(400, names, message));
            }
        }
    }
    Ok(asked)
}

fn string<'a>(members: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Refusal> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(invalid(&format!("{name} {other} must be a string"))),
    }
}

/// The id of a group or for deduplication.
fn name(members: &Map<String, Value>, name: &str) -> Result<Option<String>, Refusal> {
    match string(members, name)? {
        None => Ok(None),
        Some(id)
            if (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()) =>
        {
            Ok(Some(id.to_owned()))
        }
        Some(id) => Err(invalid(&format!(
            "{name} {id:?} can only include alphanumeric and punctuation characters. 1 to 128 in length."
        ))),
    }
}

fn refusal(status: u16, names: (&'static str, &'static str), message: String) -> Refusal {
    Refusal {
        status: StatusCode::from_u16(status).expect("a status code"),
        names,
        message,
    }
}

fn invalid(message: &str) -> Refusal {
    let names = (
        "com.amazon.coral.service#InvalidParameterValueException",
        "InvalidParameterValue",
    );
    refusal(400, names, message.to_owned())
}

fn missing(name: &str) -> Refusal {
    let names = (
        "com.amazon.coral.service#MissingRequiredParameterException",
        "MissingParameter",
    );
    let message = format!("The request must contain the parameter {name}.");
    refusal(400, names, message)
}

fn unsupported(message: &str) -> Refusal {
    let names = (
        "com.amazonaws.sqs#UnsupportedOperation",
        "AWS.SimpleQueueService.UnsupportedOperation",
    );
    refusal(400, names, message.to_owned())
}

fn internal_failure() -> Refusal {
    let names = (
        "com.amazon.coral.service#InternalFailure",
        "InternalFailure",
    );
    let message = "We encountered an internal error. Please try again.";
    refusal(500, names, message.to_owned())
}

fn access_denied(operation: &str, body: &Value) -> Refusal {
    let names = (
        "com.amazon.coral.service#AccessDeniedException",
        "AccessDenied",
    );
    // The permission of a batch is that of its single form.
    let action = operation.trim_end_matches("Batch").to_lowercase();
    let message = format!(
        "User is not authorized to perform: sqs:{action} on resource: {}",
        body["QueueUrl"]
    );
    refusal(403, names, message)
}

#[cfg(test)]
mod tests {
    use aws_sdk_sqs::Client;
    use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
    use aws_sdk_sqs::error::ProvideErrorMetadata;
    use aws_sdk_sqs::types::{QueueAttributeName, SendMessageBatchRequestEntry};
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    async fn sqs(settings: QueueSettings) -> (Sqs, String) {
        let sqs = Sqs::start().await.unwrap();
        let name = if settings.fifo { "work.fifo" } else { "work" };
        let url = sqs.create(name, settings);
        (sqs, url)
    }

    fn depth(visible: usize, delayed: usize, in_flight: usize) -> Depth {
        Depth {
            visible,
            delayed,
            in_flight,
        }
    }

    fn bodies(received: &[Received]) -> Vec<&str> {
        received.iter().map(|message| &message.body[..]).collect()
    }

    /// A request past the socket, so that it works while time stands still: status, code and answer.
    async fn ask(sqs: &Sqs, operation: &str, body: Value) -> (u16, String, Value) {
        let scope = format!("local/20261123/{REGION}/sqs/aws4_request");
        signed(sqs, operation, body, &scope).await
    }

    async fn signed(sqs: &Sqs, operation: &str, body: Value, scope: &str) -> (u16, String, Value) {
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0");
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "application/x-amz-json-1.0"),
            ("x-amz-date", "20261123T000000Z"),
            ("authorization", &authorization),
            ("x-amz-target", &format!("AmazonSQS.{operation}")),
        ] {
            headers.insert(
                axum::http::HeaderName::try_from(name).unwrap(),
                value.parse().unwrap(),
            );
        }
        let response = answer(
            State(Arc::clone(&sqs.wire)),
            Method::POST,
            Uri::from_static("/"),
            headers,
            body.to_string().into(),
        )
        .await;
        let code = text(response.headers(), "x-amzn-query-error");
        let code = code.split(';').next().unwrap().to_owned();
        let status = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await;
        (
            status,
            code,
            serde_json::from_slice(&bytes.unwrap()).unwrap(),
        )
    }

    async fn refused(sqs: &Sqs, operation: &str, body: Value) -> String {
        let (status, code, answer) = ask(sqs, operation, body).await;
        assert_eq!(status, 400, "{answer}");
        code
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_is_hidden_until_its_delay_ends() {
        let delay = 10 * SECOND;
        let (sqs, _) = sqs(QueueSettings {
            delay,
            ..QueueSettings::default()
        })
        .await;
        sqs.send("work", "a");

        advance(delay - SECOND).await;
        assert_eq!(sqs.depth("work"), depth(0, 1, 0));
        assert_eq!(sqs.receive("work", 10), []);
        advance(SECOND).await;

        assert_eq!(sqs.depth("work"), depth(1, 0, 0));
        assert_eq!(bodies(&sqs.receive("work", 10)), ["a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_may_bring_a_delay_of_its_own() {
        let (sqs, url) = sqs(QueueSettings {
            delay: MINUTE,
            ..QueueSettings::default()
        })
        .await;
        let body = json!({ "QueueUrl": url, "MessageBody": "a", "DelaySeconds": 0 });

        assert_eq!(ask(&sqs, "SendMessage", body).await.0, 200);

        assert_eq!(sqs.depth("work"), depth(1, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_received_message_comes_back_when_its_visibility_ends() {
        let (sqs, _) = sqs(QueueSettings::default()).await;
        sqs.send("work", "a");

        let first = sqs.receive("work", 10).remove(0);
        assert_eq!(sqs.depth("work"), depth(0, 0, 1));
        advance(30 * SECOND).await;
        let second = sqs.receive("work", 10).remove(0);

        assert_eq!((first.receives, second.receives), (1, 2));
        assert_eq!(first.id, second.id);
        assert_eq!(second.first_received_at, first.first_received_at);
        assert!(!sqs.delete("work", &first.receipt), "it is void by now");
        assert!(sqs.delete("work", &second.receipt));
        assert_eq!(sqs.depth("work").all(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_received_too_often_goes_to_the_dead_letters() {
        let sqs = Sqs::start().await.unwrap();
        sqs.create("dead", QueueSettings::default());
        let dead_letter = Some(("dead".to_owned(), 2));
        sqs.create(
            "work",
            QueueSettings {
                dead_letter,
                ..QueueSettings::default()
            },
        );
        sqs.send("work", "a");

        for receives in 1..=2 {
            assert_eq!(sqs.receive("work", 10)[0].receives, receives);
            advance(30 * SECOND).await;
        }
        assert_eq!(sqs.bodies("dead"), [""; 0]);
        assert_eq!(sqs.receive("work", 10), []);

        assert_eq!(sqs.bodies("dead"), ["a"]);
        assert_eq!(sqs.depth("work").all(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_redriven_message_is_a_new_one() {
        let sqs = Sqs::start().await.unwrap();
        sqs.create("dead", QueueSettings::default());
        let dead_letter = Some(("dead".to_owned(), 1));
        sqs.create(
            "work",
            QueueSettings {
                dead_letter,
                ..QueueSettings::default()
            },
        );
        sqs.send("work", "a");
        let first = sqs.receive("work", 10).remove(0);
        advance(30 * SECOND).await;
        assert_eq!(sqs.receive("work", 10), []);

        assert_eq!(sqs.redrive("dead", "work"), 1);

        let again = sqs.receive("work", 10).remove(0);
        assert_eq!((again.receives, &again.body[..]), (1, "a"));
        assert_ne!(again.id, first.id);
        assert_eq!(sqs.depth("dead").all(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_is_dropped_when_its_retention_ends() {
        let (sqs, _) = sqs(QueueSettings {
            retention: MINUTE,
            ..QueueSettings::default()
        })
        .await;
        sqs.send("work", "a");

        advance(MINUTE).await;

        assert_eq!(sqs.depth("work").all(), 0);
        assert_eq!(sqs.receive("work", 10), []);
    }

    #[tokio::test(start_paused = true)]
    async fn told_counts_lag_and_known_ones_do_not() {
        let (sqs, url) = sqs(QueueSettings {
            delay: 5 * SECOND,
            counts_lag: MINUTE,
            ..QueueSettings::default()
        })
        .await;
        sqs.send("work", "a");
        sqs.send("work", "b");
        advance(5 * SECOND).await;
        let received = sqs.receive("work", 1).remove(0);
        advance(SECOND).await;
        assert!(sqs.delete("work", &received.receipt));
        assert_eq!(sqs.depth("work"), depth(1, 0, 0));

        let mut told = Vec::new();
        for wait in [SECOND, 53 * SECOND, 5 * SECOND, SECOND] {
            advance(wait).await;
            let body = json!({ "QueueUrl": url, "AttributeNames": COUNTS });
            let (_, _, answer) = ask(&sqs, "GetQueueAttributes", body).await;
            told.push(COUNTS.map(|name| answer["Attributes"][name].as_str().unwrap().to_owned()));
        }

        // Before the sending, delayed, one in flight, one deleted.
        let expected = [
            ["0", "0", "0"],
            ["0", "0", "2"],
            ["1", "1", "0"],
            ["1", "0", "0"],
        ];
        assert_eq!(told, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_of_a_fifo_queue_waits_for_what_is_in_flight_and_keeps_its_order() {
        let (sqs, _) = sqs(QueueSettings {
            fifo: true,
            ..QueueSettings::default()
        })
        .await;
        for (group, body) in [("one", "a"), ("one", "b"), ("two", "c")] {
            sqs.send_to_group("work.fifo", group, body);
        }

        let first = sqs.receive("work.fifo", 1);
        assert_eq!(bodies(&first), ["a"]);
        assert_eq!(bodies(&sqs.receive("work.fifo", 10)), ["c"]);
        advance(30 * SECOND).await;
        assert!(!sqs.delete("work.fifo", &first[0].receipt), "it came back");

        assert_eq!(bodies(&sqs.receive("work.fifo", 10)), ["a", "b", "c"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fifo_queue_takes_the_same_content_once_in_five_minutes() {
        let (sqs, url) = sqs(QueueSettings {
            fifo: true,
            ..QueueSettings::default()
        })
        .await;
        let message = json!({ "QueueUrl": url, "MessageBody": "a", "MessageGroupId": "one" });
        let mut other = message.clone();
        other["MessageDeduplicationId"] = "other".into();

        let (_, _, first) = ask(&sqs, "SendMessage", message.clone()).await;
        let received = sqs.receive("work.fifo", 1).remove(0);
        assert!(sqs.delete("work.fifo", &received.receipt));
        let (_, _, second) = ask(&sqs, "SendMessage", message.clone()).await;
        assert_eq!(first, second);
        assert_eq!(sqs.depth("work.fifo").all(), 0);
        ask(&sqs, "SendMessage", other).await;
        assert_eq!(sqs.depth("work.fifo").all(), 1);
        advance(5 * MINUTE).await;
        ask(&sqs, "SendMessage", message).await;

        assert_eq!(sqs.depth("work.fifo").all(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_an_empty_queue_ends_with_its_last_message() {
        let (sqs, _) = sqs(QueueSettings {
            delay: MINUTE,
            ..QueueSettings::default()
        })
        .await;
        sqs.send("work", "a");

        let early = sqs.until_empty(&["work"], SECOND).await.unwrap_err();
        assert_eq!(early.kind(), io::ErrorKind::TimedOut);
        assert!(early.to_string().contains("delayed: 1"), "{early}");
        sqs.until(2 * MINUTE, |sqs| sqs.depth("work").visible == 1)
            .await
            .unwrap();
        let received = sqs.receive("work", 1).remove(0);
        let (empty, _) = tokio::join!(sqs.until_empty(&["work"], SECOND), async {
            sqs.delete("work", &received.receipt)
        });

        empty.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn requests_out_of_order_are_refused() {
        let (sqs, url) = sqs(QueueSettings::default()).await;
        let fifo = QueueSettings {
            fifo: true,
            ..QueueSettings::default()
        };
        let fifo = sqs.create("sweeps.fifo", fifo);
        let entry = |id: &str| json!({ "Id": id, "MessageBody": "a" });
        let many: Vec<_> = (0..11).map(|id| entry(&id.to_string())).collect();
        let half = "a".repeat(LARGEST / 2 + 1);
        let halves = ["a", "b"].map(|id| json!({ "Id": id, "MessageBody": half }));
        let send = |more: Value| {
            let mut body = json!({ "QueueUrl": url, "MessageBody": "a" });
            body.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            ("SendMessage", body)
        };
        let batch = |entries: Value| {
            (
                "SendMessageBatch",
                json!({ "QueueUrl": url, "Entries": entries }),
            )
        };
        let attributes = |names: Value| {
            (
                "GetQueueAttributes",
                json!({ "QueueUrl": url, "AttributeNames": names }),
            )
        };
        let cases = [
            ("MalformedInput", send(json!({ "Body": "a" }))),
            ("MalformedInput", send(json!({ "MessageAttributes": {} }))),
            ("MissingParameter", send(json!({ "QueueUrl": null }))),
            ("MissingParameter", send(json!({ "MessageBody": "" }))),
            (
                "InvalidMessageContents",
                send(json!({ "MessageBody": "\u{b}" })),
            ),
            (
                "InvalidParameterValue",
                send(json!({ "MessageBody": "a".repeat(LARGEST + 1) })),
            ),
            (
                "InvalidParameterValue",
                send(json!({ "DelaySeconds": 901 })),
            ),
            ("InvalidParameterValue", send(json!({ "DelaySeconds": -1 }))),
            (
                "InvalidParameterValue",
                send(json!({ "MessageDeduplicationId": "a" })),
            ),
            (
                "InvalidParameterValue",
                send(json!({ "MessageGroupId": "a b" })),
            ),
            ("MissingParameter", send(json!({ "QueueUrl": fifo }))),
            (
                "InvalidParameterValue",
                send(json!({ "QueueUrl": fifo, "MessageGroupId": "a", "DelaySeconds": 1 })),
            ),
            (
                "AWS.SimpleQueueService.NonExistentQueue",
                send(json!({ "QueueUrl": format!("{url}s") })),
            ),
            ("AWS.SimpleQueueService.EmptyBatchRequest", batch(json!([]))),
            (
                "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
                batch(json!(many)),
            ),
            (
                "AWS.SimpleQueueService.InvalidBatchEntryId",
                batch(json!([entry("a b")])),
            ),
            (
                "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
                batch(json!([entry("a"), entry("a")])),
            ),
            (
                "AWS.SimpleQueueService.BatchRequestTooLong",
                batch(json!(halves)),
            ),
            ("InvalidAttributeName", attributes(json!(["Depth"]))),
            (
                "AWS.SimpleQueueService.UnsupportedOperation",
                ("PurgeQueue", json!({ "QueueUrl": url })),
            ),
        ];

        for (expected, (operation, body)) in cases {
            let shown = body.to_string();
            let code = refused(&sqs, operation, body).await;
            assert_eq!(code, expected, "{operation} {:.200}", shown);
        }
        assert_eq!(sqs.depth("work").all() + sqs.depth("sweeps.fifo").all(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_of_the_largest_size_is_taken() {
        let (sqs, url) = sqs(QueueSettings::default()).await;
        let body = json!({ "QueueUrl": url, "MessageBody": "a".repeat(LARGEST) });

        assert_eq!(ask(&sqs, "SendMessage", body).await.0, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn a_signature_for_another_service_is_refused() {
        let (sqs, url) = sqs(QueueSettings::default()).await;
        let body = json!({ "QueueUrl": url, "MessageBody": "a" });

        let scope = format!("local/20261123/{REGION}/ivs/aws4_request");
        let (status, code, _) = signed(&sqs, "SendMessage", body, &scope).await;

        assert_eq!((status, &code[..]), (403, "SignatureDoesNotMatch"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_bad_entry_fails_alone() {
        let (sqs, url) = sqs(QueueSettings::default()).await;
        let entries = json!([
            { "Id": "good", "MessageBody": "a" },
            { "Id": "bad", "MessageBody": "b", "DelaySeconds": 1000 },
        ]);
        let body = json!({ "QueueUrl": url, "Entries": entries });

        let (status, _, answer) = ask(&sqs, "SendMessageBatch", body).await;

        assert_eq!(status, 200);
        assert_eq!(answer["Successful"][0]["Id"], "good");
        assert_eq!(answer["Failed"][0]["Id"], "bad");
        assert_eq!(answer["Failed"][0]["SenderFault"], true);
        assert_eq!(sqs.bodies("work"), ["a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn faults_come_as_the_hook_says_and_every_request_is_recorded() {
        let (sqs, url) = sqs(QueueSettings::default()).await;
        sqs.on_request(|attempt| match (attempt.operation, attempt.number) {
            ("SendMessage", 1) => Some(Fault::InternalFailure),
            ("SendMessage", 2) => Some(Fault::LostAnswer),
            ("SendMessage", 3) => Some(Fault::AccessDenied),
            ("SendMessage", 4) => Some(Fault::Throttled),
            ("SendMessageBatch", _) => Some(Fault::Entries(vec![0])),
            _ => None,
        });
        for body in ["1", "2", "3", "4", "5"] {
            let body = json!({ "QueueUrl": url, "MessageBody": body });
            ask(&sqs, "SendMessage", body).await;
        }
        let entries = json!([{ "Id": "0", "MessageBody": "6" }, { "Id": "1", "MessageBody": "7" }]);
        let batch = json!({ "QueueUrl": url, "Entries": entries });
        let (_, _, answer) = ask(&sqs, "SendMessageBatch", batch).await;

        assert_eq!(sqs.bodies("work"), ["2", "5", "7"]);
        assert_eq!(answer["Failed"][0]["SenderFault"], false);
        let requests = sqs.requests();
        let statuses: Vec<_> = requests.iter().map(|request| request.status).collect();
        assert_eq!(statuses, [500, 500, 403, 400, 200, 200]);
        assert_eq!(requests[5].operation, "SendMessageBatch");
        assert_eq!(requests[5].queue, "work");
        assert_eq!(requests[5].bodies, ["6", "7"]);
    }

    fn client(sqs: &Sqs) -> Client {
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .credentials_provider(Credentials::new("local", "local", None, None, "test"))
            .endpoint_url(sqs.url());
        Client::from_conf(config.build())
    }

    #[tokio::test]
    async fn the_sdk_can_send_one_and_many_and_read_the_counts() {
        let (sqs, url) = sqs(QueueSettings::default()).await;
        let client = client(&sqs);

        let send = client.send_message().queue_url(&url).message_body("hello");
        let sent = send.send().await.unwrap();
        let mut batch = client.send_message_batch().queue_url(&url);
        for id in ["a", "b"] {
            let entry = SendMessageBatchRequestEntry::builder().id(id);
            batch = batch.entries(entry.message_body(id).delay_seconds(900).build().unwrap());
        }
        let batch = batch.send().await.unwrap();
        let counts = client
            .get_queue_attributes()
            .queue_url(&url)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessages)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessagesDelayed);
        let counts = counts.send().await.unwrap().attributes.unwrap();

        // `printf hello | md5sum`
        let md5 = sent.md5_of_message_body().unwrap();
        assert_eq!(md5, "5d41402abc4b2a76b9719d911017c592");
        assert_eq!((batch.successful().len(), batch.failed().len()), (2, 0));
        assert_eq!(counts.len(), 2);
        assert_eq!(
            counts[&QueueAttributeName::ApproximateNumberOfMessages],
            "1"
        );
        assert_eq!(
            counts[&QueueAttributeName::ApproximateNumberOfMessagesDelayed],
            "2"
        );
    }

    #[tokio::test]
    async fn the_sdk_knows_the_errors() {
        let (sqs, url) = sqs(QueueSettings::default()).await;
        let client = client(&sqs);
        sqs.on_request(|_| Some(Fault::AccessDenied));

        let send = |url: &str| {
            client
                .send_message()
                .queue_url(url)
                .message_body("a")
                .send()
        };
        let denied = send(&url).await.unwrap_err().into_service_error();
        let unknown = send("http://sqs.local/123456789012/none").await;
        let unknown = unknown.unwrap_err().into_service_error();

        assert_eq!(denied.code(), Some("AccessDenied"));
        assert!(denied.message().unwrap().contains("sqs:sendmessage"));
        assert!(unknown.is_queue_does_not_exist(), "{unknown:?}");
    }
}
