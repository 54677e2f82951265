//! An SQS batch: each session once, however many messages name it, and each message answered for itself.
//!
//! Cost must grow with the sessions that end, not with the messages that name live ones, so of a batch that names
//! many, the live ones are first told apart a hundred stages a call. What time does not suffice for is sent to the queue
//! anew and acknowledged: waiting must never count as failing.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use serde_json::{Value, json};
use tracing::{error, info};

use crate::deadline::Deadline;
use crate::error::Error;
use crate::event::{Message, Request, Work};
use crate::queue::Queue;
use crate::reconcile::Reconciler;
use crate::session::SessionRef;
use crate::sweep::{Sweep, Sweeper};

/// A batch of fewer sessions is not worth a list of stages.
const FEW_SESSIONS: usize = 5;

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

/// What is kept of a message until it is answered.
struct Envelope {
    id: String,
    body: String,
    receives: u32,
}

impl Batch<'_> {
    /// Does the work of all messages, and gives the ids of those that failed.
    pub async fn run(&self, messages: Vec<Message>) -> Value {
        let mut failed = BTreeSet::new();
        let (mut tasks, sweeps) = sort_out(messages, &mut failed);
        // What came back has the whole of the time: a large session must not fail for its place in a batch.
        tasks.sort_by_key(|task| {
            Reverse(task.messages.iter().map(|message| message.receives).max())
        });
        let live = self.live_among(&tasks).await;
        let mut not_begun = Vec::new();
        for (place, task) in tasks.into_iter().enumerate() {
            if self.deadline.has_passed() {
                not_begun.extend(task.messages);
                continue;
            }
            let known_live = live.contains(&task.request.session);
            let now = (self.clock)();
            // Boxed: the SDK's futures are deep, and the compiler's limit on nested types is not.
            let done =
                Box::pin(
                    self.reconciler
                        .reconcile(&task.request, known_live, now, self.deadline),
                );
            match done.await {
                Ok(_) => {}
                // It had only what the others left of the time.
                Err(Error::OutOfTime { .. }) if place > 0 => not_begun.extend(task.messages),
                Err(failure) => {
                    for message in &task.messages {
                        fail(
                            &mut failed,
                            &message.id,
                            Some(&task.request.session),
                            &failure,
                        );
                    }
                    self.mark(&task.request.session, &failure).await;
                }
            }
        }
        self.send_anew(not_begun, &mut failed).await;
        for (message, sweep) in sweeps {
            let sweeping = self
                .sweeper
                .sweep_from_queue(&sweep, (self.clock)(), self.deadline);
            if let Err(failure) = Box::pin(sweeping).await {
                fail(&mut failed, &message.id, None, &failure);
            }
        }
        let failures: Vec<_> = failed
            .iter()
            .map(|id| json!({ "itemIdentifier": id }))
            .collect();
        json!({ "batchItemFailures": failures })
    }

    /// The sessions of the batch's hints that the list of stages shows to be live. What was not hinted at was found to
    /// have ended, or asked for by hand. Reads at most half as many pages as there are sessions, so that it never costs
    /// much more than it saves; without it, each session is asked for itself.
    async fn live_among(&self, tasks: &[Task]) -> HashSet<SessionRef> {
        let mut live = HashSet::new();
        let hints = tasks
            .iter()
            .map(|task| &task.request)
            .filter(|request| request.hinted_at.is_some());
        let named: HashSet<&SessionRef> = hints.map(|request| &request.session).collect();
        if named.len() < FEW_SESSIONS {
            return live;
        }
        let read = async {
            let mut pages = std::pin::pin!(self.reconciler.ivs.stages());
            for _ in 0..named.len() / 2 {
                let Some(page) = pages.try_next().await? else {
                    break;
                };
                for stage in page {
                    let Some(Ok(session_id)) = stage.active_session_id.map(|id| id.parse()) else {
                        continue;
                    };
                    let session = SessionRef {
                        stage_arn: stage.arn,
                        session_id,
                    };
                    if named.contains(&session) {
                        live.insert(session);
                    }
                }
            }
            Ok(())
        };
        if let Err(failure) = self.deadline.prepare("ListStages", "the batch", read).await {
            info!(
                reason = failure.chain(),
                "the sessions of the batch are asked for one by one"
            );
        }
        live
    }

    /// Leaves a marker of a session that failed, so that sweeps leave it to the redelivery of its message, and after the
    /// last one out for a day.
    async fn mark(&self, session: &SessionRef, failure: &Error) {
        let marker =
            json!({ "error_type": failure.error_type(), "error": failure.chain() }).to_string();
        let put = self.reconciler.lake.put_failed(session, marker);
        if let Err(failure) = self
            .deadline
            .put("PutObject", &session.to_string(), put)
            .await
        {
            error!(
                error_type = failure.error_type(),
                error = failure.chain(),
                "the session could not be marked as failed"
            );
        }
    }

    async fn send_anew(&self, messages: Vec<Envelope>, failed: &mut BTreeSet<String>) {
        if messages.is_empty() {
            return;
        }
        let (ids, bodies): (Vec<_>, Vec<_>) = messages
            .into_iter()
            .map(|message| (message.id, message.body))
            .unzip();
        let sent = self
            .deadline
            .put(
                "SendMessageBatch",
                "the messages not begun",
                self.work.send(bodies),
            )
            .await;
        match sent {
            Ok(()) => info!(
                sent_anew = ids.len(),
                "no time was left for {} messages",
                ids.len()
            ),
            Err(failure) => ids.iter().for_each(|id| fail(failed, id, None, &failure)),
        }
    }
}

/// The sessions that the messages name, in the order in which they are named first, and the sweeps.
fn sort_out(
    messages: Vec<Message>,
    failed: &mut BTreeSet<String>,
) -> (Vec<Task>, Vec<(Envelope, Sweep)>) {
    let (mut tasks, mut sweeps) = (Vec::<Task>::new(), Vec::new());
    let mut places = HashMap::new();
    for Message {
        id,
        body,
        receives,
        holds_up_others,
        work,
    } in messages
    {
        let message = Envelope { id, body, receives };
        match work {
            Err(failure) => {
                fail(failed, &message.id, None, &failure);
                if holds_up_others {
                    // It would come back until it expires, and no sweep would run meanwhile. The line is what is left.
                    failed.remove(&message.id);
                }
            }
            Ok(Work::Sweep(sweep)) => sweeps.push((message, sweep)),
            Ok(Work::Session(request)) => {
                let place = *places.entry(request.session.clone()).or_insert(tasks.len());
                match tasks.get_mut(place) {
                    Some(task) => {
                        task.request.join(&request);
                        task.messages.push(message);
                    }
                    None => tasks.push(Task {
                        request,
                        messages: vec![message],
                    }),
                }
            }
        }
    }
    (tasks, sweeps)
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
