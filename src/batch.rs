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
use crate::collect::{self, Collector};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::event::{Message, Work};
use crate::lake::Failed;
use crate::marker;
use crate::queue::{Outgoing, Queue, Unsent};
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
    pub collector: &'a Collector,
    pub sweeper: &'a Sweeper,
    pub work: &'a Queue,
    pub deadline: &'a Deadline,
    /// Reads the time, once for each session or sweep.
    pub clock: fn() -> DateTime<Utc>,
}

/// One session of a batch, what is asked of it, and the messages that ask.
struct Task {
    job: Job,
    messages: Vec<Envelope>,
}

/// What is asked of a session.
enum Job {
    Reconcile(Request),
    Collect(collect::Request),
}

/// The parts of a message that its answer needs.
struct Envelope {
    id: String,
    body: String,
    receives: u32,
    /// If it is a collection: the same as a message for that queue.
    collection: Option<Outgoing>,
}

impl Job {
    fn session(&self) -> &SessionRef {
        match self {
            Self::Reconcile(request) => &request.session,
            Self::Collect(request) => &request.session,
        }
    }
}

impl Task {
    fn receives(&self) -> u32 {
        let receives = self.messages.iter().map(|message| message.receives);
        receives.max().unwrap_or(1)
    }
}

impl Batch<'_> {
    /// Does the work of all messages. Returns the ids of those that failed or were cut short, which SQS delivers again; messages that
    /// were not begun are sent as new ones.
    pub async fn run(&self, messages: Vec<Message>) -> Value {
        let mut failed = BTreeSet::new();
        let mut sorted = sort_out(messages, (self.clock)(), &mut failed);
        // Redelivered messages go first, so that a large session gets the whole invocation.
        sorted.tasks.sort_by_key(|task| Reverse(task.receives()));
        let live = self.live_among(&sorted.tasks).await;
        for (place, mut task) in sorted.tasks.into_iter().enumerate() {
            if self.deadline.has_passed() {
                sorted.not_begun.extend(task.messages);
                continue;
            }
            let Err(failure) = self.work_on(&mut task, &live).await else {
                continue;
            };
            let session = task.job.session();
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
            let (lake, what, told) = match &task.job {
                Job::Reconcile(it) => (&self.reconciler.lake, Failed::Export, it.start_time),
                Job::Collect(it) => (&self.collector.lake, Failed::Collection, it.start_time),
            };
            let mark = marker::leave(lake, session, what, told, &failure);
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

    async fn work_on(&self, task: &mut Task, live: &HashSet<SessionRef>) -> Result<(), Error> {
        let (receives, now) = (task.receives(), (self.clock)());
        let resource = task.job.session().to_string();
        let worked = async {
            match &mut task.job {
                Job::Reconcile(request) => {
                    let known_live = request.only_hinted && live.contains(&request.session);
                    let reconciled =
                        self.reconciler
                            .reconcile(request, known_live, now, self.deadline);
                    reconciled.await.map(|_| ())
                }
                Job::Collect(request) => {
                    let collected = self
                        .collector
                        .collect(request, receives, now, self.deadline);
                    collected.await.map(|_| ())
                }
            }
        };
        // Boxed: the SDK's futures are deep, and the compiler's limit on nested types is not.
        Box::pin(contain(&resource, worked)).await
    }

    /// The hinted sessions of the batch that the list of stages shows to be live. Other messages come from a sweep or a
    /// person, and are always checked. Reads at most a page for every five sessions: with ListStages further apart than other
    /// calls, it then takes at most half as long as it saves. If it fails, each session is asked for.
    async fn live_among(&self, tasks: &[Task]) -> HashSet<SessionRef> {
        let mut live = HashSet::new();
        let requests = tasks.iter().filter_map(|task| match &task.job {
            Job::Reconcile(request) => Some(request),
            Job::Collect(_) => None,
        });
        let hints = requests.filter(|request| request.only_hinted);
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

    /// Sends messages to their queues as new ones. What cannot be sent is handed back.
    async fn send_again(&self, messages: Vec<Envelope>, failed: &mut BTreeSet<String>) {
        let (collections, work): (Vec<_>, Vec<_>) = messages
            .into_iter()
            .partition(|message| message.collection.is_some());
        self.send_to(self.work, work, failed).await;
        self.send_to(&self.collector.queue, collections, failed)
            .await;
    }

    async fn send_to(&self, queue: &Queue, messages: Vec<Envelope>, failed: &mut BTreeSet<String>) {
        if messages.is_empty() {
            return;
        }
        let outgoing: Vec<Outgoing> = messages.iter().map(Envelope::outgoing).collect();
        let sent = async { Ok(queue.send(outgoing.clone()).await) };
        let sent =
            self.deadline
                .within_put_time("SendMessageBatch", "the messages not begun", sent);
        let (failure, unsent) = match sent.await {
            Ok(Ok(())) => (None, Vec::new()),
            Ok(Err(Unsent { error, messages })) => (Some(error), messages),
            Err(out_of_time) => (Some(out_of_time), outgoing.clone()),
        };
        let both = messages.iter().zip(&outgoing);
        let back = both.filter(|(_, outgoing)| unsent.contains(outgoing));
        let back: Vec<_> = back.map(|(message, _)| &message.id).collect();
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

impl Envelope {
    fn outgoing(&self) -> Outgoing {
        let body = || self.body.clone().into();
        self.collection.clone().unwrap_or_else(body)
    }
}

/// What a batch asks for.
#[derive(Default)]
struct Sorted {
    /// The sessions, in the order in which they are named first.
    tasks: Vec<Task>,
    /// The sweeps, and whether they come from their queue.
    sweeps: Vec<(Envelope, Sweep, bool)>,
    /// Messages in the queue of sweeps that are no sweeps: they are sent to their own queue.
    not_begun: Vec<Envelope>,
}

fn sort_out(messages: Vec<Message>, now: DateTime<Utc>, failed: &mut BTreeSet<String>) -> Sorted {
    let mut sorted = Sorted::default();
    let (mut sessions, mut collections) = (HashMap::new(), HashMap::new());
    for Message {
        id,
        body,
        receives,
        from_sweeps,
        work,
    } in messages
    {
        let mut message = Envelope {
            id,
            body,
            receives,
            collection: None,
        };
        if let Ok(Work::Collect(request)) = &work {
            message.collection = Some(request.message(now));
        }
        let (place, job) = match work {
            Ok(Work::Sweep(sweep)) => {
                sorted.sweeps.push((message, sweep, from_sweeps));
                continue;
            }
            _ if from_sweeps => {
                sorted.not_begun.push(message);
                continue;
            }
            Err(failure) => {
                fail(failed, &message.id, None, &failure);
                continue;
            }
            Ok(Work::Session(request)) => {
                let place = sessions.entry(request.session.clone());
                (place, Job::Reconcile(request))
            }
            Ok(Work::Collect(request)) => {
                let place = collections.entry(request.session.clone());
                (place, Job::Collect(request))
            }
        };
        let place = *place.or_insert(sorted.tasks.len());
        if let Some(task) = sorted.tasks.get_mut(place) {
            match (&mut task.job, &job) {
                (Job::Reconcile(one), Job::Reconcile(other)) => one.join(other),
                (Job::Collect(one), Job::Collect(other)) => one.join(other),
                // Each kind has its own places.
                _ => {}
            }
            task.messages.push(message);
        } else {
            sorted.tasks.push(Task {
                job,
                messages: vec![message],
            });
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
