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
            // Escaped, a batch of the largest size can be some times as long.
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

    /// Sends a message to a standard queue as EventBridge would: with the queue's delay.
    pub fn send(&self, name: &str, body: &str) {
        self.put(name, body, None, None);
    }

    /// Sends a message to a group of a FIFO queue as EventBridge's scheduler would: deduplicated by its content.
    pub fn send_to_group(&self, name: &str, group: &str, body: &str) {
        self.put(name, body, Some(group.to_owned()), None);
    }

    /// Sends a message to a group of a FIFO queue with a deduplication id that no other message has.
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
    pub fn depth(&self, name: &str) -> Depth {
        self.queues.look(|world, now| world.depth(name, now))
    }

    /// How many messages lie in a queue as SQS tells it, with lag.
    pub fn told_depth(&self, name: &str) -> Depth {
        self.queues.look(|world, now| world.told_depth(name, now))
    }

    /// The bodies of the messages in a queue, in whatever state, in the order of their arrival.
    pub fn bodies(&self, name: &str) -> Vec<String> {
        self.queues.look(|world, now| world.bodies(name, now))
    }

    /// Receives up to `at_most` messages that are visible, as a person with the AWS CLI would.
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
    pub fn redrive(&self, from: &str, to: &str) -> usize {
        self.queues
            .change(|world, now| world.redrive(from, to, now))
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<SqsRequest> {
        self.wire.requests()
    }

    /// Asks `hook` before each request that is in order whether something goes wrong with it. The last hook counts.
    pub fn on_request(&self, hook: impl FnMut(&Attempt<'_>) -> Option<Fault> + Send + 'static) {
        self.wire.on_request(hook);
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

#[cfg(test)]
mod tests;
