//! The wire of SQS for senders: the three operations that the function calls.
//!
//! AWS JSON 1.0 (`POST /`, `x-amz-target: AmazonSQS.Operation`). SDKs read the older error codes in `x-amzn-query-error`,
//! beside the newer ones in the body. Shapes and limits from
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/Welcome.html>. A member that this emulator does
//! not know is refused. What the SDK makes sure of is not checked: signatures, ids and characters.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::ACCOUNT;
use crate::sqs::queues::{Parcel, QueueSettings, Queues, Sent};

/// The largest message, and the largest batch of them, in bytes.
pub(crate) const LARGEST: usize = 1_048_576;
const LARGEST_BATCH: usize = 10;

/// The state that all requests share.
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
    /// The bodies of its messages, including those of failed entries.
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

/// What goes wrong with a valid request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 500, and nothing was done.
    InternalFailure,
    /// 500, but the messages were sent.
    LostAnswer,
    /// 403, and nothing was done.
    AccessDenied,
    /// 403 with the code of a throttle, and nothing was done.
    Throttled,
    /// 400 with the code of a throttle of KMS, and nothing was done.
    KmsThrottled,
    /// The entries of a batch at these positions, from 0, fail with `SenderFault` false. The others are sent.
    Entries(Vec<usize>),
}

/// An error: its status, its shape in the model, its older code, and the message.
#[derive(Debug)]
struct Refusal(u16, &'static str, &'static str, String);

/// A message as a request describes it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Message {
    /// In a batch only.
    id: Option<String>,
    /// In a request of its own only; read by `queue_named`.
    #[serde(rename = "QueueUrl")]
    _queue_url: Option<String>,
    #[serde(default)]
    message_body: String,
    delay_seconds: Option<u64>,
    message_group_id: Option<String>,
    message_deduplication_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Batch {
    #[serde(rename = "QueueUrl")]
    _queue_url: String,
    #[serde(default)]
    entries: Vec<Message>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Attributes {
    #[serde(rename = "QueueUrl")]
    _queue_url: String,
    #[serde(default)]
    attribute_names: Vec<String>,
}

/// A valid request. Single entries of a batch may still be invalid.
enum Request {
    SendMessage(Parcel),
    SendMessageBatch(Vec<(String, Result<Parcel, Refusal>)>),
    GetQueueAttributes(Vec<String>),
}

pub(crate) const COUNTS: [&str; 3] = [
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
];

pub(crate) async fn answer(
    State(wire): State<Arc<Wire>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let at = Instant::now();
    let target = headers.get("x-amz-target");
    let operation = target
        .and_then(|target| target.to_str().ok()?.strip_prefix("AmazonSQS."))
        .unwrap_or_default()
        .to_owned();
    let parsed: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let mut response = Response::builder().header("content-type", "application/x-amz-json-1.0");
    let (status, body) = match wire.answer(&operation, &parsed) {
        Ok(answer) => (200, answer),
        Err(Refusal(status, shape, code, message)) => {
            let whose = if status < 500 { "Sender" } else { "Receiver" };
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
        queue: queue_named(&parsed).unwrap_or_default().to_owned(),
        bodies: bodies.map(str::to_owned).collect(),
        body: parsed.clone(),
        status,
    });
    response
        .status(StatusCode::from_u16(status).expect("a status code"))
        .body(Body::from(body.to_string()))
        .expect("the parts of a response are valid")
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

    /// Calls `hook` before each valid request from now on.
    pub(crate) fn on_request(
        &self,
        hook: impl FnMut(&Attempt<'_>) -> Option<Fault> + Send + 'static,
    ) {
        self.records().hook = Some(Box::new(hook));
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, operation: &str, body: &Value) -> Result<Value, Refusal> {
        let (queue, request) = self.read(operation, body)?;
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
        let failing = match &fault {
            None | Some(Fault::LostAnswer) => &[],
            Some(Fault::Entries(positions)) => &positions[..],
            Some(fault) => return Err(fault.refusal(operation, body)),
        };
        let answer = self.queues.change(|world, now| match request {
            Request::SendMessage(parcel) => Value::Object(told(world.send(&queue, now, parcel))),
            Request::SendMessageBatch(entries) => {
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
                        Err(Refusal(_, _, code, message)) => failed.push(json!({
                            "Id": id, "SenderFault": true, "Code": code, "Message": message,
                        })),
                    }
                }
                let lists = [("Successful", successful), ("Failed", failed)];
                let there = lists.into_iter().filter(|(_, list)| !list.is_empty());
                there
                    .map(|(name, list)| (name.to_owned(), Value::Array(list)))
                    .collect()
            }
            Request::GetQueueAttributes(names) => {
                let depth = world.told_depth(&queue, now);
                let counts = [depth.visible, depth.in_flight, depth.delayed];
                let asked = COUNTS.iter().zip(counts);
                let asked = asked.filter(|(name, _)| names.iter().any(|asked| asked == *name));
                let attributes: Map<_, _> = asked
                    .map(|(&name, count)| (name.to_owned(), count.to_string().into()))
                    .collect();
                json!({ "Attributes": attributes })
            }
        });
        match fault {
            Some(Fault::LostAnswer) => Err(internal_failure()),
            _ => Ok(answer),
        }
    }

    /// A request's queue, and what it asks for.
    fn read(&self, operation: &str, body: &Value) -> Result<(String, Request), Refusal> {
        let queue = queue_named(body).unwrap_or_default();
        let settings = self.queues.look(|world, _| world.settings(queue).cloned());
        let settings = settings.ok_or_else(|| {
            refusal(
                "com.amazonaws.sqs#QueueDoesNotExist",
                "AWS.SimpleQueueService.NonExistentQueue",
                format!("The specified queue does not exist: {}", body["QueueUrl"]),
            )
        })?;
        let request = match operation {
            "SendMessage" => Request::SendMessage(parcel(parsed(body)?, &settings)?),
            "SendMessageBatch" => Request::SendMessageBatch(entries(parsed(body)?, &settings)?),
            "GetQueueAttributes" => {
                Request::GetQueueAttributes(parsed::<Attributes>(body)?.attribute_names)
            }
            _ => {
                return Err(refusal(
                    "com.amazonaws.sqs#UnsupportedOperation",
                    "AWS.SimpleQueueService.UnsupportedOperation",
                    format!("this emulator has no {operation:?}"),
                ));
            }
        };
        Ok((queue.to_owned(), request))
    }
}

impl Fault {
    /// The error that is sent instead of the answer.
    fn refusal(&self, operation: &str, body: &Value) -> Refusal {
        match self {
            Self::AccessDenied => {
                // A batch needs the permission of the single operation.
                let action = operation.trim_end_matches("Batch").to_lowercase();
                let queue = &body["QueueUrl"];
                Refusal(
                    403,
                    "com.amazon.coral.service#AccessDeniedException",
                    "AccessDenied",
                    format!("User is not authorized to perform: sqs:{action} on resource: {queue}"),
                )
            }
            Self::Throttled => Refusal(
                403,
                "com.amazonaws.sqs#RequestThrottled",
                "RequestThrottled",
                "Request is throttled.".to_owned(),
            ),
            Self::KmsThrottled => refusal(
                "com.amazonaws.sqs#KmsThrottled",
                "KMS.ThrottlingException",
                "Rate exceeded".to_owned(),
            ),
            Self::InternalFailure | Self::LostAnswer | Self::Entries(_) => internal_failure(),
        }
    }
}

/// The name of the queue in a request's URL.
fn queue_named(body: &Value) -> Option<&str> {
    let (_, name) = body["QueueUrl"]
        .as_str()?
        .split_once(&format!("/{ACCOUNT}/"))?;
    Some(name)
}

fn parsed<T: DeserializeOwned>(body: &Value) -> Result<T, Refusal> {
    T::deserialize(body).map_err(|error| {
        refusal(
            "com.amazon.coral.service#SerializationException",
            "MalformedInput",
            error.to_string(),
        )
    })
}

fn parcel(message: Message, settings: &QueueSettings) -> Result<Parcel, Refusal> {
    let fifo = settings.fifo;
    let invalid = |message: String| {
        refusal(
            "com.amazon.coral.service#InvalidParameterValueException",
            "InvalidParameterValue",
            message,
        )
    };
    let missing = |name: &str| {
        refusal(
            "com.amazon.coral.service#MissingRequiredParameterException",
            "MissingParameter",
            format!("The request must contain the parameter {name}."),
        )
    };
    let other_type = |name: &str| {
        invalid(format!(
            "{name} is invalid. Reason: The request include parameter that is not valid for this queue type."
        ))
    };
    let bytes = message.message_body.len();
    match message.delay_seconds {
        Some(seconds) if seconds > 900 => {
            return Err(invalid(format!("DelaySeconds {seconds} must be <= 900")));
        }
        _ if bytes > LARGEST => {
            return Err(invalid(format!(
                "Message must be shorter than {LARGEST} bytes, not {bytes}"
            )));
        }
        _ if bytes == 0 => return Err(missing("MessageBody")),
        _ if fifo && message.message_group_id.is_none() => return Err(missing("MessageGroupId")),
        // 0 is taken.
        Some(1..) if fifo => return Err(other_type("DelaySeconds")),
        _ if !fifo && message.message_deduplication_id.is_some() => {
            return Err(other_type("MessageDeduplicationId"));
        }
        _ if fifo
            && message.message_deduplication_id.is_none()
            && !settings.content_based_deduplication =>
        {
            return Err(invalid(
                "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly"
                    .to_owned(),
            ));
        }
        _ => {}
    }
    Ok(Parcel {
        body: message.message_body,
        // In a FIFO queue a message has no delay of its own.
        delay: message
            .delay_seconds
            .filter(|_| !fifo)
            .map(Duration::from_secs),
        group: message.message_group_id,
        deduplication_id: message.message_deduplication_id,
    })
}

type Entries = Vec<(String, Result<Parcel, Refusal>)>;

fn entries(batch: Batch, settings: &QueueSettings) -> Result<Entries, Refusal> {
    let count = batch.entries.len();
    let ids: BTreeSet<_> = batch.entries.iter().map(|entry| &entry.id).collect();
    let bytes = batch.entries.iter().map(|entry| entry.message_body.len());
    let refused = if count == 0 {
        Some((
            "com.amazonaws.sqs#EmptyBatchRequest",
            "AWS.SimpleQueueService.EmptyBatchRequest",
        ))
    } else if count > LARGEST_BATCH {
        Some((
            "com.amazonaws.sqs#TooManyEntriesInBatchRequest",
            "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
        ))
    } else if ids.len() < count {
        Some((
            "com.amazonaws.sqs#BatchEntryIdsNotDistinct",
            "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
        ))
    } else if bytes.sum::<usize>() > LARGEST {
        Some((
            "com.amazonaws.sqs#BatchRequestTooLong",
            "AWS.SimpleQueueService.BatchRequestTooLong",
        ))
    } else {
        None
    };
    if let Some((shape, code)) = refused {
        return Err(refusal(shape, code, format!("a batch of {count} entries")));
    }
    let entry = |mut entry: Message| {
        let id = entry.id.take().unwrap_or_default();
        (id, parcel(entry, settings))
    };
    Ok(batch.entries.into_iter().map(entry).collect())
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

fn refusal(shape: &'static str, code: &'static str, message: String) -> Refusal {
    Refusal(400, shape, code, message)
}

fn internal_failure() -> Refusal {
    Refusal(
        500,
        "com.amazon.coral.service#InternalFailure",
        "InternalFailure",
        "We encountered an internal error. Please try again.".to_owned(),
    )
}
