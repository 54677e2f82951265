//! SQS: how full a queue is, and sending to it.
//!
//! Messages are sent ten at a time, as the API allows
//! (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html>). A batch can fail
//! in part without an error, so each entry's result is looked at.

use std::error::Error as StdError;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::config::{Builder, SharedHttpClient};
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{QueueAttributeName, SendMessageBatchRequestEntry};
use chrono::{DateTime, Utc};
use futures::stream::{self, TryStreamExt};

use crate::error::{BoxError, Error};

/// The one message group of a FIFO queue of sweeps: a group's messages are handed out one at a time.
pub const SWEEP_GROUP: &str = "sweep";
/// The API's limit.
const ENTRIES_PER_CALL: usize = 10;
/// Calls under way at once: SQS has no quota of its own that a sweep could reach.
const CALLS_AT_ONCE: usize = 4;
/// How often the entries that a call left out are sent again.
const MOST_ROUNDS: usize = 4;

const VISIBLE: QueueAttributeName = QueueAttributeName::ApproximateNumberOfMessages;
const IN_FLIGHT: QueueAttributeName = QueueAttributeName::ApproximateNumberOfMessagesNotVisible;
const DELAYED: QueueAttributeName = QueueAttributeName::ApproximateNumberOfMessagesDelayed;

const SEND_MESSAGE: &str = "SendMessage";
const SEND_MESSAGE_BATCH: &str = "SendMessageBatch";
const GET_QUEUE_ATTRIBUTES: &str = "GetQueueAttributes";

/// One queue.
#[derive(Clone, Debug)]
pub struct Queue {
    /// Made by the first call: an export needs none.
    client: Arc<LazyLock<Client, Box<dyn FnOnce() -> Client + Send>>>,
    url: String,
}

impl Queue {
    /// The queue at `url`.
    #[must_use]
    pub fn new(config: SdkConfig, http_client: SharedHttpClient, url: String) -> Self {
        let client = move || {
            let config = Builder::from(&config)
                .http_client(http_client)
                .retry_config(RetryConfig::standard().with_max_attempts(5))
                .timeout_config(
                    TimeoutConfig::builder()
                        .connect_timeout(Duration::from_secs(3))
                        .operation_attempt_timeout(Duration::from_secs(10))
                        .build(),
                );
            Client::from_conf(config.build())
        };
        Self {
            client: Arc::new(LazyLock::new(Box::new(client))),
            url,
        }
    }

    /// The queue at another `url`, by the same client.
    #[must_use]
    pub fn at(&self, url: String) -> Self {
        Self {
            url,
            ..self.clone()
        }
    }

    /// The messages that wait or are being worked on, as SQS counts them: the visible ones and those in flight. The
    /// counts lag.
    ///
    /// # Errors
    /// [`Error::AccessDenied`] or [`Error::QueueSend`].
    pub async fn depth(&self) -> Result<usize, Error> {
        self.count([VISIBLE, IN_FLIGHT]).await
    }

    /// The messages behind the one that is being worked on: the visible ones and those delayed. The counts lag.
    ///
    /// # Errors
    /// As [`Queue::depth`].
    pub async fn waiting(&self) -> Result<usize, Error> {
        self.count([VISIBLE, DELAYED]).await
    }

    async fn count(&self, names: [QueueAttributeName; 2]) -> Result<usize, Error> {
        let request = self.client.get_queue_attributes().queue_url(&self.url);
        let answer = request
            .set_attribute_names(Some(names.to_vec()))
            .send()
            .await;
        let answer = answer.map_err(|error| self.failure(GET_QUEUE_ATTRIBUTES, error))?;
        let attributes = answer.attributes.unwrap_or_default();
        names.iter().try_fold(0, |sum, name| {
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

    /// Sends messages to a standard queue, without its delay.
    ///
    /// # Errors
    /// As [`Queue::depth`]; some of the messages may have been sent.
    pub async fn send(&self, bodies: Vec<String>) -> Result<(), Error> {
        let chunks = bodies
            .chunks(ENTRIES_PER_CALL)
            .map(<[String]>::to_vec)
            .collect::<Vec<_>>();
        stream::iter(chunks.into_iter().map(Ok))
            .try_for_each_concurrent(CALLS_AT_ONCE, |chunk| self.send_chunk(chunk))
            .await
    }

    async fn send_chunk(&self, mut bodies: Vec<String>) -> Result<(), Error> {
        let mut left_out = String::new();
        for _ in 0..MOST_ROUNDS {
            let entries = bodies.iter().enumerate().map(|(index, body)| {
                SendMessageBatchRequestEntry::builder()
                    .id(index.to_string())
                    .message_body(body)
                    .delay_seconds(0)
                    .build()
            });
            let entries = entries.collect::<Result<Vec<_>, _>>().map_err(|error| {
                self.fault(
                    SEND_MESSAGE_BATCH,
                    "an entry could not be built",
                    Some(error.into()),
                )
            })?;
            let request = self.client.send_message_batch().queue_url(&self.url);
            let answer = request.set_entries(Some(entries)).send().await;
            let failed = answer
                .map_err(|error| self.failure(SEND_MESSAGE_BATCH, error))?
                .failed;
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
                .filter_map(|entry| bodies.get(entry.id.parse::<usize>().ok()?).cloned());
            bodies = again.collect();
        }
        let fault = format!(
            "{} messages were left out {MOST_ROUNDS} times with {left_out}",
            bodies.len()
        );
        Err(self.fault(SEND_MESSAGE_BATCH, &fault, None))
    }

    /// Sends one message to a FIFO queue, in its one group, so that one sweep runs at a time; to a standard queue
    /// without its delay.
    ///
    /// # Errors
    /// As [`Queue::depth`].
    pub async fn send_sweep(&self, body: String, now: DateTime<Utc>) -> Result<(), Error> {
        let request = self
            .client
            .send_message()
            .queue_url(&self.url)
            .message_body(body);
        let request = if self.is_fifo() {
            // By its content alone, a message would be lost if the round before came to the same stage within 5 minutes.
            let id = now.timestamp_micros().to_string();
            request
                .message_group_id(SWEEP_GROUP)
                .message_deduplication_id(id)
        } else {
            request.delay_seconds(0)
        };
        request
            .send()
            .await
            .map_err(|error| self.failure(SEND_MESSAGE, error))?;
        Ok(())
    }

    /// Whether it hands out one message of a group at a time: by the suffix that SQS demands, in lower case.
    #[must_use]
    pub fn is_fifo(&self) -> bool {
        self.url.strip_suffix(".fifo").is_some()
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
        if denied || status == Some(403) {
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
        Error::QueueSend {
            operation,
            queue: self.url.clone(),
            fault: fault.to_owned(),
            source,
        }
    }
}
