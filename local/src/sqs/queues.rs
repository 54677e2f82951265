//! The messages of SQS queues, and what happens to them over time.
//!
//! Each message has a timeline of its states, future ones included: the end of its delay, the end of its visibility
//! time-out. So nothing runs in the background, and the counts at any earlier moment can be computed. SQS's approximate
//! counts are such counts.
//!
//! Delay, visibility, receive counts and dead letters follow
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/welcome.html>. Where that page says nothing,
//! a comment here does. Not here: long polling, the limit of messages in flight, message attributes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::Utc;
use md5::Md5;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The attributes of a queue. The default is what SQS gives a new standard queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// How long a new message stays hidden, unless its sender says otherwise.
    pub delay: Duration,
    /// How long a received message stays hidden.
    pub visibility_timeout: Duration,
    /// How long a message is kept.
    pub retention: Duration,
    /// The dead-letter queue, and the maximum receive count. A message moves there when it would be received once more.
    pub dead_letter: Option<(String, u32)>,
    /// A FIFO queue: messages of a group come in order, one batch at a time, without duplicates.
    pub fifo: bool,
    /// Whether a FIFO queue takes messages without a deduplication id, and their content in its place.
    pub content_based_deduplication: bool,
    /// How long a FIFO queue treats a second message with the same deduplication id as a duplicate. 5 minutes in SQS;
    /// shorter where times are scaled.
    pub deduplication: Duration,
    /// `GetQueueAttributes` returns the counts as they were that long ago.
    pub counts_lag: Duration,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            visibility_timeout: Duration::from_secs(30),
            retention: Duration::from_secs(4 * 24 * 60 * 60),
            dead_letter: None,
            fifo: false,
            content_based_deduplication: false,
            deduplication: Duration::from_secs(5 * 60),
            counts_lag: Duration::ZERO,
        }
    }
}

/// The number of messages in a queue, by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    pub visible: usize,
    pub delayed: usize,
    pub in_flight: usize,
}

impl Depth {
    /// Messages in any state.
    pub fn all(self) -> usize {
        self.visible + self.delayed + self.in_flight
    }
}

/// A message as a receiver gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub id: String,
    /// Deletes the message. It is invalid after the next receive.
    pub receipt: String,
    pub body: String,
    pub md5: String,
    /// This receive included.
    pub receives: u32,
    /// In milliseconds since 1970, like the next one.
    pub sent_at: i64,
    pub first_received_at: i64,
    pub group: Option<String>,
    pub deduplication_id: Option<String>,
    pub sequence: Option<String>,
}

/// A message as its sender describes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parcel {
    pub(crate) body: String,
    pub(crate) delay: Option<Duration>,
    pub(crate) group: Option<String>,
    pub(crate) deduplication_id: Option<String>,
}

/// What the sender of a message gets.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) id: String,
    pub(crate) md5: String,
    pub(crate) sequence: Option<String>,
}

/// All queues, and those who wait for a change. A clone is another handle to the same queues.
#[derive(Clone)]
pub(crate) struct Queues {
    world: Arc<Mutex<World>>,
    changes: Arc<watch::Sender<()>>,
}

pub(crate) struct World {
    queues: BTreeMap<String, Queue>,
    /// Counts messages, receipts and moves, so it changes with each of them.
    counter: u64,
    started: Instant,
    started_millis: i64,
}

struct Queue {
    settings: QueueSettings,
    messages: Vec<Message>,
    recent: HashMap<String, (Instant, Sent)>,
}

#[derive(Clone)]
struct Message {
    sent: Sent,
    body: String,
    group: Option<String>,
    deduplication_id: Option<String>,
    sent_at: Instant,
    first_received_at: Option<Instant>,
    receives: u32,
    receipt: Option<String>,
    expires: Instant,
    timeline: Vec<(Instant, Place)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Delayed,
    Visible,
    InFlight,
    /// Deleted, expired, or moved to another queue.
    Gone,
}

impl Queues {
    pub(crate) fn new() -> Self {
        Self {
            world: Arc::new(Mutex::new(World {
                queues: BTreeMap::new(),
                counter: 0,
                started: Instant::now(),
                started_millis: Utc::now().timestamp_millis(),
            })),
            changes: Arc::new(watch::Sender::new(())),
        }
    }

    /// Reads without a change.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&World, Instant) -> T) -> T {
        let world = self.lock();
        look(&world, Instant::now())
    }

    /// Makes a change, and wakes everyone who waits.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut World, Instant) -> T) -> T {
        let result = change(&mut self.lock(), Instant::now());
        self.changes.send_replace(());
        result
    }

    /// Tries at once, and again at every change of a message, until `attempt` returns something.
    pub(crate) async fn until<T>(
        &self,
        mut attempt: impl FnMut(&mut World, Instant) -> Option<T>,
    ) -> T {
        let mut changes = self.changes();
        loop {
            let now = Instant::now();
            let (found, changed) = {
                let mut world = self.lock();
                let before = world.counter;
                (attempt(&mut world, now), world.counter != before)
            };
            if changed {
                self.changes.send_replace(());
            }
            match found {
                Some(found) => return found,
                None => self.next(&mut changes, now).await,
            }
        }
    }

    /// The changes from now on, for [`Queues::next`].
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Waits for the next change: one that was made since the last call, or one that time makes after `looked`.
    pub(crate) async fn next(&self, changes: &mut watch::Receiver<()>, looked: Instant) {
        let by_time = self.look(|world, _| world.next_step(looked));
        let time = async {
            match by_time {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = changes.changed() => changed.expect("this handle keeps the sender"),
            () = time => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Queues {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.look(|world, now| {
            let mut names = world.queues.keys();
            names.try_for_each(|name| write!(to, "{name}: {:?}; ", world.depth(name, now)))
        })
    }
}

impl World {
    /// Adds a queue.
    pub(crate) fn create(&mut self, name: &str, settings: QueueSettings) {
        assert_eq!(
            name.ends_with(".fifo"),
            settings.fifo,
            "{name}: the names of FIFO queues, and only those, end in .fifo"
        );
        if let Some((dead_letters, _)) = &settings.dead_letter {
            assert!(
                self.queues.contains_key(dead_letters),
                "{name}: its dead-letter queue must be there before"
            );
        }
        let queue = Queue {
            settings,
            messages: Vec::new(),
            recent: HashMap::new(),
        };
        assert!(
            self.queues.insert(name.to_owned(), queue).is_none(),
            "{name} is there already"
        );
    }

    pub(crate) fn settings(&self, name: &str) -> Option<&QueueSettings> {
        Some(&self.queues.get(name)?.settings)
    }

    /// Puts a message into a queue, unless it is a duplicate.
    pub(crate) fn send(&mut self, name: &str, now: Instant, parcel: Parcel) -> Sent {
        let number = self.number();
        let queue = self.queue_mut(name);
        let Parcel {
            body,
            delay,
            group,
            mut deduplication_id,
        } = parcel;
        if queue.settings.fifo {
            let id = deduplication_id.get_or_insert_with(|| hex(&Sha256::digest(&body)));
            let window = queue.settings.deduplication;
            queue.recent.retain(|_, (at, _)| now - *at < window);
            if let Some((_, sent)) = queue.recent.get(id) {
                return sent.clone();
            }
        }
        let sent = Sent {
            id: message_id(number),
            md5: hex(&Md5::digest(&body)),
            sequence: queue.settings.fifo.then(|| format!("{number:020}")),
        };
        if let Some(id) = &deduplication_id {
            queue.recent.insert(id.clone(), (now, sent.clone()));
        }
        let mut message = Message {
            sent: sent.clone(),
            body,
            group,
            deduplication_id,
            sent_at: now,
            first_received_at: None,
            receives: 0,
            receipt: None,
            expires: now + queue.settings.retention,
            timeline: Vec::new(),
        };
        let delay = delay.unwrap_or(queue.settings.delay);
        message.step(now, &[(now, Place::Delayed), (now + delay, Place::Visible)]);
        queue.messages.push(message);
        sent
    }

    /// Receives up to `at_most` messages, and stops at the first that does not `fit`. Messages that were received too often
    /// are moved to the dead-letter queue instead.
    pub(crate) fn receive(
        &mut self,
        name: &str,
        now: Instant,
        at_most: usize,
        mut fits: impl FnMut(&str) -> bool,
    ) -> Vec<Received> {
        let (started, started_millis) = (self.started, self.started_millis);
        let millis = |at: Instant| {
            let since = i64::try_from((at - started).as_millis()).expect("less than an age");
            started_millis + since
        };
        let mut counter = self.counter;
        let queue = self.queue_mut(name);
        queue.forget(now);
        let settings = &queue.settings;
        let mut blocked: HashSet<Option<String>> = queue
            .messages
            .iter()
            .filter(|message| settings.fifo && message.place(now) == Some(Place::InFlight))
            .map(|message| message.group.clone())
            .collect();
        let mut received = Vec::new();
        let mut dead = Vec::new();
        for message in &mut queue.messages {
            if received.len() == at_most {
                break;
            }
            if blocked.contains(&message.group) {
                continue;
            }
            match message.place(now) {
                Some(Place::Visible) => {}
                // Later messages of its group have to wait.
                Some(Place::Delayed) if settings.fifo => {
                    blocked.insert(message.group.clone());
                    continue;
                }
                _ => continue,
            }
            if let Some((_, most)) = &settings.dead_letter
                && message.receives >= *most
            {
                dead.push(message.clone());
                message.step(now, &[(now, Place::Gone)]);
                continue;
            }
            if !fits(&message.body) {
                break;
            }
            counter += 1;
            let receipt = format!("receipt-{counter}");
            message.receives += 1;
            message.receipt = Some(receipt.clone());
            let first = *message.first_received_at.get_or_insert(now);
            let back = now + settings.visibility_timeout;
            message.step(now, &[(now, Place::InFlight), (back, Place::Visible)]);
            received.push(Received {
                id: message.sent.id.clone(),
                receipt,
                body: message.body.clone(),
                md5: message.sent.md5.clone(),
                receives: message.receives,
                sent_at: millis(message.sent_at),
                first_received_at: millis(first),
                group: message.group.clone(),
                deduplication_id: message.deduplication_id.clone(),
                sequence: message.sent.sequence.clone(),
            });
        }
        let dead_letters = settings.dead_letter.clone();
        self.counter = counter;
        if let Some((dead_letters, _)) = dead_letters {
            for message in dead {
                self.number();
                self.queue_mut(&dead_letters).bury(message, now);
            }
        }
        received
    }

    /// Deletes the message with this receipt, and returns whether there was one. As in SQS, a receipt stays valid in a
    /// standard queue when the message is visible again, but not in a FIFO queue.
    pub(crate) fn delete(&mut self, name: &str, now: Instant, receipt: &str) -> bool {
        let queue = self.queue_mut(name);
        let fifo = queue.settings.fifo;
        let message = queue.messages.iter_mut().find(|message| {
            message.receipt.as_deref() == Some(receipt)
                && match message.place(now) {
                    Some(Place::InFlight) => true,
                    Some(Place::Visible) => !fifo,
                    _ => false,
                }
        });
        match message {
            Some(message) => {
                message.step(now, &[(now, Place::Gone)]);
                true
            }
            None => false,
        }
    }

    /// Moves the visible messages of a dead-letter queue to another queue, and returns their number. The documentation says
    /// that they are new messages with new ids. That the queue's delay applies to them, and deduplication does not, is a
    /// guess.
    pub(crate) fn redrive(&mut self, from: &str, to: &str, now: Instant) -> usize {
        let serves =
            |queue: &Queue| matches!(&queue.settings.dead_letter, Some((name, _)) if name == from);
        assert!(
            self.queues.values().any(serves),
            "{from} is no dead-letter queue, and only those can be redriven"
        );
        let mut moved = Vec::new();
        for message in &mut self.queue_mut(from).messages {
            if message.place(now) == Some(Place::Visible) {
                moved.push(message.clone());
                message.step(now, &[(now, Place::Gone)]);
            }
        }
        let count = moved.len();
        for mut message in moved {
            message.sent.id = message_id(self.number());
            message.sent_at = now;
            let queue = self.queue_mut(to);
            queue.accept(message, now, queue.settings.delay);
        }
        count
    }

    pub(crate) fn depth(&self, name: &str, at: Instant) -> Depth {
        let mut depth = Depth::default();
        for message in &self.queue(name).messages {
            match message.place(at) {
                Some(Place::Delayed) => depth.delayed += 1,
                Some(Place::Visible) => depth.visible += 1,
                Some(Place::InFlight) => depth.in_flight += 1,
                Some(Place::Gone) | None => {}
            }
        }
        depth
    }

    /// The counts as SQS would report them.
    pub(crate) fn told_depth(&self, name: &str, now: Instant) -> Depth {
        now.checked_sub(self.queue(name).settings.counts_lag)
            .map(|at| self.depth(name, at))
            .unwrap_or_default()
    }

    pub(crate) fn bodies(&self, name: &str, now: Instant) -> Vec<String> {
        let here = |message: &&Message| message.place(now) != Some(Place::Gone);
        let messages = self.queue(name).messages.iter().filter(here);
        messages.map(|message| message.body.clone()).collect()
    }

    /// The next moment at which a message changes without anybody doing anything.
    fn next_step(&self, after: Instant) -> Option<Instant> {
        let messages = self.queues.values().flat_map(|queue| &queue.messages);
        let steps = messages.flat_map(|message| &message.timeline);
        steps.map(|&(at, _)| at).filter(|&at| at > after).min()
    }

    fn number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    fn queue(&self, name: &str) -> &Queue {
        match self.queues.get(name) {
            Some(queue) => queue,
            None => panic!("there is no queue {name}"),
        }
    }

    fn queue_mut(&mut self, name: &str) -> &mut Queue {
        match self.queues.get_mut(name) {
            Some(queue) => queue,
            None => panic!("there is no queue {name}"),
        }
    }
}

impl Queue {
    /// Takes a message that was received too often. In a standard queue it keeps its age.
    fn bury(&mut self, mut message: Message, now: Instant) {
        if self.settings.fifo {
            message.sent_at = now;
        }
        self.accept(message, now, Duration::ZERO);
    }

    /// Takes a message of another queue. Its receive count becomes 0.
    fn accept(&mut self, mut message: Message, now: Instant, delay: Duration) {
        message.first_received_at = None;
        message.receives = 0;
        message.receipt = None;
        message.expires = message.sent_at + self.settings.retention;
        message.timeline.clear();
        message.step(now, &[(now, Place::Delayed), (now + delay, Place::Visible)]);
        self.messages.push(message);
    }

    /// Forgets messages that left the queue so long ago that no reported count includes them.
    fn forget(&mut self, now: Instant) {
        let lag = self.settings.counts_lag;
        if let Some(told) = now.checked_sub(lag) {
            self.messages
                .retain(|message| message.place(told) != Some(Place::Gone));
        }
    }
}

impl Message {
    /// The state of the message at that time; none before it was sent. The end of its retention is the last step of the
    /// timeline, even if another step is later.
    fn place(&self, at: Instant) -> Option<Place> {
        let last = self.timeline.iter().rev().find(|(since, _)| *since <= at);
        last.map(|&(_, place)| place)
    }

    /// Replaces the future steps.
    fn step(&mut self, now: Instant, steps: &[(Instant, Place)]) {
        self.timeline.retain(|&(at, _)| at <= now);
        self.timeline.extend(steps);
        self.timeline.push((self.expires, Place::Gone));
    }
}

/// An id that looks like one of SQS.
fn message_id(number: u64) -> String {
    let hex = hex(&Md5::digest(format!("message {number}")));
    let (parts, last) = hex.split_at(20);
    format!(
        "{}-{}-{}-{}-{last}",
        &parts[..8],
        &parts[8..12],
        &parts[12..16],
        &parts[16..]
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
