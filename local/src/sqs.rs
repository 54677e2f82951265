//! An emulator of SQS. [`queues`] holds the messages, [`wire`] answers the requests of senders. Nobody receives over the
//! wire: Lambda's mapping, which would, takes the messages from the queues directly.

pub mod queues;
pub mod wire;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;

use crate::ACCOUNT;
use crate::server::Server;
use crate::sqs::queues::{Depth, Parcel, QueueSettings, Queues, Received};
use crate::sqs::wire::{Attempt, Fault, LARGEST, SqsRequest, Wire, answer};

/// The running emulator.
pub struct Sqs {
    server: Server,
    queues: Queues,
    wire: Arc<Wire>,
}

impl Sqs {
    /// Starts the emulator on a free port, without queues.
    pub async fn start() -> io::Result<Self> {
        let queues = Queues::new();
        let wire = Arc::new(Wire::new(queues.clone()));
        let app = Router::new()
            .fallback(answer)
            // Escaping makes the largest batch several times longer.
            .layer(DefaultBodyLimit::max(8 * LARGEST))
            .with_state(Arc::clone(&wire));
        Ok(Self {
            server: Server::start(app).await?,
            queues,
            wire,
        })
    }

    pub fn url(&self) -> &str {
        self.server.url()
    }

    /// Creates a queue and returns its URL. Its dead-letter queue must be created first.
    pub fn create(&self, name: &str, settings: QueueSettings) -> String {
        self.queues
            .change(|world, _| world.create(name, settings.clone()));
        format!("{}/{ACCOUNT}/{name}", self.url())
    }

    /// Sends a message to a standard queue with the queue's delay, as EventBridge does.
    pub fn send(&self, name: &str, body: &str) {
        self.put(name, body, None, None);
    }

    /// Sends a message to a group of a FIFO queue with content-based deduplication, as EventBridge's scheduler does.
    pub fn send_to_group(&self, name: &str, group: &str, body: &str) {
        self.put(name, body, Some(group.to_owned()), None);
    }

    /// Sends a message to a group of a FIFO queue with a unique deduplication id.
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

    /// The number of messages in a queue now.
    pub fn depth(&self, name: &str) -> Depth {
        self.queues.look(|world, now| world.depth(name, now))
    }

    /// The bodies of all messages in a queue, in the order of their arrival.
    pub fn bodies(&self, name: &str) -> Vec<String> {
        self.queues.look(|world, now| world.bodies(name, now))
    }

    /// Receives up to `at_most` messages that are visible, as a person with the AWS CLI would.
    pub fn receive(&self, name: &str, at_most: usize) -> Vec<Received> {
        self.queues
            .change(|world, now| world.receive(name, now, at_most, |_| true))
    }

    /// Deletes a received message. Returns false if the receipt is no longer valid.
    pub fn delete(&self, name: &str, receipt: &str) -> bool {
        self.queues
            .change(|world, now| world.delete(name, now, receipt))
    }

    /// Moves the visible messages of the dead-letter queue `from` to `to`, as `StartMessageMoveTask` does, and returns
    /// their number. They become new messages with a receive count of 0.
    pub fn redrive(&self, from: &str, to: &str) -> usize {
        self.queues
            .change(|world, now| world.redrive(from, to, now))
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<SqsRequest> {
        self.wire.requests()
    }

    /// Calls `hook` before each valid request. It returns the fault, if any. A later hook replaces an earlier one.
    pub fn on_request(&self, hook: impl FnMut(&Attempt<'_>) -> Option<Fault> + Send + 'static) {
        self.wire.on_request(hook);
    }

    /// Waits until the condition is true. It is checked whenever the state of a message changes.
    ///
    /// # Errors
    /// `TimedOut` with the depth of every queue.
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

    /// Waits until these queues are all empty at the same moment.
    ///
    /// # Errors
    /// `TimedOut` with the depth of every queue.
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

#[cfg(test)]
mod tests;
