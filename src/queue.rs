//! SQS: how full a queue is, and sending to it.
//!
//! Messages are sent ten at a time, as the API allows
//! (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html>). A batch can fail
//! in part without an error, so each entry's result is looked at.

use std::error::Error as StdError;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::Builder;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::operation::get_queue_attributes::GetQueueAttributesError;
use aws_sdk_sqs::operation::send_message_batch::SendMessageBatchError;
use aws_sdk_sqs::types::{QueueAttributeName, SendMessageBatchRequestEntry};
use aws_smithy_runtime_api::client::interceptors::context::Error as OperationError;
use futures::stream::{self, StreamExt};

use crate::error::{BoxError, Error};
use crate::throttles::{Throttles, code, is_throttle};

/// The API's limit.
const ENTRIES_PER_CALL: usize = 10;
/// Calls at once. SQS has no quota that a sweep could reach.
const CALLS_AT_ONCE: usize = 4;
/// How often entries are sent that a call left out.
const MOST_ROUNDS: usize = 4;

const COUNTS: [QueueAttributeName; 3] = [
    QueueAttributeName::ApproximateNumberOfMessages,
    QueueAttributeName::ApproximateNumberOfMessagesDelayed,
    QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
];

const SEND_MESSAGE_BATCH: &str = "SendMessageBatch";
const GET_QUEUE_ATTRIBUTES: &str = "GetQueueAttributes";

/// One queue.
#[derive(Clone, Debug)]
pub struct Queue {
    client: Client,
    url: String,
}

/// A message to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub body: String,
    /// What a FIFO queue asks for; a standard queue gets none of it.
    pub order: Option<Order>,
}

/// The message group, and the id by which a FIFO queue drops repetitions within five minutes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub group: String,
    pub deduplication_id: String,
}

/// Messages that may not have been sent, and why.
#[derive(Debug)]
pub struct Unsent {
    pub error: Error,
    pub messages: Vec<Outgoing>,
}

impl From<String> for Outgoing {
    fn from(body: String) -> Self {
        Self { body, order: None }
    }
}

impl Queue {
    /// The queue at `url`.
    #[must_use]
    pub fn new(sdk: &SdkConfig, url: String) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(3))
            .operation_attempt_timeout(Duration::from_secs(10));
        let config = Builder::from(sdk)
            .retry_config(RetryConfig::standard().with_max_attempts(5))
            .retry_classifier(Throttles(code_of))
            .timeout_config(timeouts.build());
        Self {
            client: Client::from_conf(config.build()),
            url,
        }
    }

    /// The queue's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or_default()
    }

    fn is_fifo(&self) -> bool {
        self.url.strip_suffix(".fifo").is_some()
    }

    /// The messages that wait or are being worked on, as SQS counts them: visible, delayed and in flight. The counts lag
    /// by a minute and more.
    ///
    /// # Errors
    /// [`Error::AccessDenied`] or [`Error::QueueError`].
    pub async fn depth(&self) -> Result<usize, Error> {
        let request = self.client.get_queue_attributes().queue_url(&self.url);
        let answer = request
            .set_attribute_names(Some(COUNTS.to_vec()))
            .send()
            .await;
        let answer = answer.map_err(|error| self.failure(GET_QUEUE_ATTRIBUTES, error))?;
        let attributes = answer.attributes.unwrap_or_default();
        COUNTS.iter().try_fold(0, |sum, name| {
            let count = attributes
                .get(name)
                .and_then(|count| count.parse::<usize>().ok());
            let missing = || {
                self.fault(
                    GET_QUEUE_ATTRIBUTES,
                    &format!("the answer has no {name}"),
                    None,
                )
            };
            Ok(sum + count.ok_or_else(missing)?)
        })
    }

    /// Sends messages, without the queue's delay. A call that fails does not stop the others.
    ///
    /// # Errors
    /// As [`Queue::depth`], with the messages that may not have been sent.
    pub async fn send(&self, messages: Vec<Outgoing>) -> Result<(), Unsent> {
        let calls: Vec<_> = messages
            .chunks(ENTRIES_PER_CALL)
            .map(|chunk| self.send_chunk(chunk.to_vec()))
            .collect();
        let failed: Vec<_> = stream::iter(calls)
            .buffer_unordered(CALLS_AT_ONCE)
            .filter_map(|sent| async { sent.err() })
            .collect()
            .await;
        failed
            .into_iter()
            .reduce(|mut first, next| {
                first.messages.extend(next.messages);
                first
            })
            .map_or(Ok(()), Err)
    }

    async fn send_chunk(&self, mut messages: Vec<Outgoing>) -> Result<(), Unsent> {
        let mut left_out = String::new();
        for _ in 0..MOST_ROUNDS {
            let entries = messages.iter().enumerate().map(|(index, message)| {
                let entry = SendMessageBatchRequestEntry::builder()
                    .id(index.to_string())
                    .message_body(&message.body);
                // A FIFO queue refuses a delay of single messages.
                let order = message.order.as_ref().filter(|_| self.is_fifo());
                let entry = match order {
                    None => entry.delay_seconds(0),
                    Some(order) => entry
                        .message_group_id(&order.group)
                        .message_deduplication_id(&order.deduplication_id),
                };
                entry.build()
            });
            let entries = match entries.collect::<Result<Vec<_>, _>>() {
                Ok(entries) => entries,
                Err(error) => {
                    let fault = "an entry could not be built";
                    let error = self.fault(SEND_MESSAGE_BATCH, fault, Some(error.into()));
                    return Err(Unsent { error, messages });
                }
            };
            let request = self.client.send_message_batch().queue_url(&self.url);
            let failed = match request.set_entries(Some(entries)).send().await {
                Ok(answer) => answer.failed,
                Err(error) => {
                    let error = self.failure(SEND_MESSAGE_BATCH, error);
                    return Err(Unsent { error, messages });
                }
            };
            let Some(first) = failed.first() else {
                return Ok(());
            };
            left_out = format!(
                "{}: {}",
                first.code,
                first.message.as_deref().unwrap_or("no message")
            );
            let again = failed
                .iter()
                .filter_map(|entry| messages.get(entry.id.parse::<usize>().ok()?).cloned());
            messages = again.collect();
        }
        let fault = format!(
            "{} messages were left out {MOST_ROUNDS} times with {left_out}",
            messages.len()
        );
        let error = self.fault(SEND_MESSAGE_BATCH, &fault, None);
        Err(Unsent { error, messages })
    }

    fn failure<E>(&self, operation: &'static str, error: SdkError<E>) -> Error
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        let status = error
            .raw_response()
            .map(|response| response.status().as_u16());
        let denied = error
            .code()
            .is_some_and(|code| code.contains("AccessDenied"));
        // SQS answers some throttles with 403.
        if denied || status == Some(403) && !is_throttle(error.code(), status) {
            return Error::AccessDenied {
                operation,
                resource: self.url.clone(),
                source: Box::new(error),
            };
        }
        let fault = error.code().map_or_else(
            || "failed".to_owned(),
            |code| format!("refused with {code}"),
        );
        self.fault(operation, &fault, Some(Box::new(error)))
    }

    fn fault(&self, operation: &'static str, fault: &str, source: Option<BoxError>) -> Error {
        Error::QueueError {
            operation,
            queue: self.url.clone(),
            fault: fault.to_owned(),
            source,
        }
    }
}

fn code_of(error: &OperationError) -> Option<&str> {
    code::<SendMessageBatchError>(error).or_else(|| code::<GetQueueAttributesError>(error))
}
