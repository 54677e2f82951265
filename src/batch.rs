//! An SQS batch: each session once, however many messages name it, and each message answered for itself.
//!
//! A batch is a bulkhead: what one session does never decides another's fate. Cost must grow with the sessions that end, not
//! with the messages that name live ones, so a batch of many hints first finds the live sessions with ListStages, 100 stages
//! a call. Messages that were not begun when the time ran out are sent again and acknowledged: waiting never counts as
//! failing. A session that was begun is handed back, so that it comes first in its next batch; at
//! its last receive it is sent again.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use serde_json::{Value, json};
use tracing::{error, info};

use crate::bulkhead::contain;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::event::{Message, Work};
use crate::queue::{Queue, Unsent};
use crate::reconcile::{Reconciler, Request};
use crate::session::SessionRef;
use crate::sweep::{Sweep, Sweeper};

/// With fewer sessions a batch does not list the stages.
const FEW_SESSIONS: usize = 5;

/// The template's maxReceiveCount: a message that is handed back at its last receive goes to the dead-letter queue.
pub const MOST_RECEIVES: u32 = 5;

/// What a batch needs.
#[derive(Debug)]
pub struct Batch<'a> {
    pub reconciler: &'a Reconciler,
    pub sweeper: &'a Sweeper,
    pub work: &'a Queue,
    pub deadline: &'a Deadline,
    /// Reads the time, once for each session or sweep.
    pub clock: fn() -> DateTime<Utc>,
}

/// One session of a batch, and the messages that name it.
struct Task {
    request: Request,
    messages: Vec<Envelope>,
}

/// The parts of a message that its answer needs.
struct Envelope {
    id: String,
    body: String,
    receives: u32,
}

impl Batch<'_> {
    /// Does the work of all messages. Returns the ids of those that failed or were cut short, which SQS delivers again; messages that
    /// were not begun are sent as new ones.
    pub async fn run(&self, messages: Vec<Message>) -> Value {
        let mut failed = BTreeSet::new();
        let mut sorted = sort_out(messages, &mut failed);
        // Redelivered messages go first, so that a large session gets the whole invocation.
        sorted.tasks.sort_by_key(|task| {
            Reverse(task.messages.iter().map(|message| message.receives).max())
        });
        let live = self.live_among(&sorted.tasks).await;
        for (place, mut task) in sorted.tasks.into_iter().enumerate() {
            if self.deadline.has_passed() {
                sorted.not_begun.extend(task.messages);
                continue;
            }
            let Err(failure) = self.reconcile(&mut task.request, &live).await else {
                continue;
            };
            let session = &task.request.session;
            if place > 0 && matches!(failure, Error::OutOfTime { .. }) {
                // It had only what the others left of the time, so this is no failure.
                info!(
                    stage_arn = session.stage_arn.as_str(),
                    session_id = session.session_id.as_str(),
                    "session {}: cut short, comes back",
                    session.session_id
                );
                for message in task.messages {
                    if message.receives < MOST_RECEIVES {
                        failed.insert(message.id);
                    } else {
                        sorted.not_begun.push(message);
                    }
                }
                continue;
            }
            for message in &task.messages {
                fail(&mut failed, &message.id, Some(session), &failure);
            }
            let resource = session.to_string();
            let mark = self.reconciler.mark(&task.request, &failure);
            let marked = self.deadline.within_put_time("PutObject", &resource, mark);
            if let Err(failure) = marked.await {
                error!(
                    error_type = failure.error_type(),
                    error = failure.chain(),
                    "the session could not be marked as failed"
                );
            }
        }
        self.send_again(sorted.not_begun, &mut failed).await;
        for (message, sweep, from_sweeps) in sorted.sweeps {
            let now = (self.clock)();
            let swept = self.sweeper.sweep(&sweep, from_sweeps, now, self.deadline);
            if let Err(failure) = Box::pin(contain("the sweep", swept)).await {
                // Acknowledged all the same: the next tick tries again, and one that came back would hold it up.
                error!(
                    message_id = message.id,
                    error_type = failure.error_type(),
                    error = failure.chain(),
                    "the sweep failed"
                );
            }
        }
        let failures: Vec<_> = failed
            .iter()
            .map(|id| json!({ "itemIdentifier": id }))
            .collect();
        json!({ "batchItemFailures": failures })
    }

    async fn reconcile(
        &self,
        request: &mut Request,
        live: &HashSet<SessionRef>,
    ) -> Result<(), Error> {
        let known_live = request.only_hinted && live.contains(&request.session);
        let resource = request.session.to_string();
        let reconciled =
            self.reconciler
                .reconcile(request, known_live, (self.clock)(), self.deadline);
        // Boxed: the SDK's futures are deep, and the compiler's limit on nested types is not.
        Box::pin(contain(&resource, reconciled)).await.map(|_| ())
    }

    /// The hinted sessions of the batch that the list of stages shows to be live. Other messages come from a sweep or a
    /// person, and are always checked. Reads at most a page for every five sessions: with ListStages further apart than other
    /// calls, it then takes at most half as long as it saves. If it fails, each session is asked for.
    async fn live_among(&self, tasks: &[Task]) -> HashSet<SessionRef> {
        let mut live = HashSet::new();
        let hints = tasks
            .iter()
            .map(|task| &task.request)
            .filter(|request| request.only_hinted);
        let named: HashSet<&SessionRef> = hints.map(|request| &request.session).collect();
        if named.len() < FEW_SESSIONS {
            return live;
        }
        let read = async {
            let mut pages = std::pin::pin!(self.reconciler.ivs.stages());
            for _ in 0..named.len() / FEW_SESSIONS {
                let Some(page) = pages.try_next().await? else {
                    break;
                };
                for stage in page {
                    let session_id = stage.active_session_id.map(|id| id.parse());
                    let (Ok(stage_arn), Some(Ok(session_id))) = (stage.arn.parse(), session_id)
                    else {
                        continue;
                    };
                    let session = SessionRef {
                        stage_arn,
                        session_id,
                    };
                    if named.contains(&session) {
                        live.insert(session);
                    }
                }
            }
            Ok(())
        };
        if let Err(failure) = self
            .deadline
            .within_work_time("ListStages", "the batch", read)
            .await
        {
            info!(
                reason = failure.chain(),
                "the sessions of the batch are asked for one by one"
            );
        }
        live
    }

    /// Sends messages to the queue of work as new ones. What cannot be sent is handed back.
    async fn send_again(&self, messages: Vec<Envelope>, failed: &mut BTreeSet<String>) {
        if messages.is_empty() {
            return;
        }
        let bodies = messages
            .iter()
            .map(|message| message.body.clone())
            .collect();
        let sent = async { Ok(self.work.send(bodies).await) };
        let sent =
            self.deadline
                .within_put_time("SendMessageBatch", "the messages not begun", sent);
        let (failure, unsent) = match sent.await {
            Ok(Ok(())) => (None, Vec::new()),
            Ok(Err(Unsent { error, bodies })) => (Some(error), bodies),
            Err(out_of_time) => (
                Some(out_of_time),
                messages
                    .iter()
                    .map(|message| message.body.clone())
                    .collect(),
            ),
        };
        let back = messages
            .iter()
            .filter(|message| unsent.contains(&message.body));
        let back: Vec<_> = back.map(|message| &message.id).collect();
        let sent_again = messages.len() - back.len();
        info!(
            sent_again,
            "sent {sent_again} messages again that were not begun"
        );
        if let Some(failure) = failure {
            for id in back {
                fail(failed, id, None, &failure);
            }
        }
    }
}

/// What a batch asks for.
#[derive(Default)]
struct Sorted {
    /// The sessions, in the order in which they are named first.
    tasks: Vec<Task>,
    /// The sweeps, and whether they come from their queue.
    sweeps: Vec<(Envelope, Sweep, bool)>,
    /// Messages in the queue of sweeps that are no sweeps: they are sent to the queue of work.
    not_begun: Vec<Envelope>,
}

fn sort_out(messages: Vec<Message>, failed: &mut BTreeSet<String>) -> Sorted {
    let mut sorted = Sorted::default();
    let mut places = HashMap::new();
    for Message {
        id,
        body,
        receives,
        from_sweeps,
        work,
    } in messages
    {
        let message = Envelope { id, body, receives };
        match work {
            Ok(Work::Sweep(sweep)) => sorted.sweeps.push((message, sweep, from_sweeps)),
            _ if from_sweeps => sorted.not_begun.push(message),
            Err(failure) => fail(failed, &message.id, None, &failure),
            Ok(Work::Session(request)) => {
                let place = *places
                    .entry(request.session.clone())
                    .or_insert(sorted.tasks.len());
                match sorted.tasks.get_mut(place) {
                    Some(task) => {
                        task.request.join(&request);
                        task.messages.push(message);
                    }
                    None => sorted.tasks.push(Task {
                        request,
                        messages: vec![message],
                    }),
                }
            }
        }
    }
    sorted
}

fn fail(
    failed: &mut BTreeSet<String>,
    message_id: &str,
    session: Option<&SessionRef>,
    failure: &Error,
) {
    error!(
        message_id,
        stage_arn = session.map(|session| session.stage_arn.as_str()),
        session_id = session.map(|session| session.session_id.as_str()),
        error_type = failure.error_type(),
        error = failure.chain(),
        "the message failed",
    );
    failed.insert(message_id.to_owned());
}
