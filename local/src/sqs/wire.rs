//! The wire of SQS for senders: the three operations that the function calls, as strict about requests as the service.
//!
//! AWS JSON 1.0 (`POST /`, `x-amz-target: AmazonSQS.Operation`), with the older error codes beside the newer in
//! `x-amzn-query-error`, from which SDKs read them. Shapes and limits from
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/Welcome.html>. Stricter than the service: a
//! member that is unknown, or that this emulator would have to ignore, is refused.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::sqs::queues::{Parcel, Queues, Sent};
use crate::{ACCOUNT, REGION};

/// The largest message, and the largest batch of them, in bytes.
pub(crate) const LARGEST: usize = 1_048_576;
const LARGEST_BATCH: usize = 10;

/// What the requests share.
pub(crate) struct Wire {
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

impl Wire {
    pub(crate) fn new(queues: Queues) -> Self {
        Self {
            queues,
            records: Mutex::default(),
        }
    }

    /// Every request so far.
    pub(crate) fn requests(&self) -> Vec<SqsRequest> {
        self.records().requests.clone()
    }

    /// Asks `hook` before each request from now on.
    pub(crate) fn on_request(
        &self,
        hook: impl FnMut(&Attempt<'_>) -> Option<Fault> + Send + 'static,
    ) {
        self.records().hook = Some(Box::new(hook));
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) async fn answer(
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

pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
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

pub(crate) const COUNTS: [&str; 3] = [
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
