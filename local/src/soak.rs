//! `make soak`: runs the whole system with every fault at random, and then checks that nothing was lost.
//!
//! A soak has two parts. While the faults last, sessions begin and end, hints come late, twice or never, calls of IVS, S3
//! and SQS fail, and processes are killed. Then the faults stop, the failure markers age by a day, the dead letters are
//! redriven, and sweeps run until nothing is missing or due. In the end the lake is compared with what the emulator
//! knows. Objects of a collection are also compared as each becomes visible, so that nothing half-collected goes unseen.

mod attendance;
mod collected;
mod faults;
pub mod report;
mod script;
pub mod settings;
pub mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use fastrand::Rng;
use serde_json::{Value, json};

use crate::faults::{Fault, When};
use crate::ivs::quota::Quota;
use crate::ivs::world::{Session, timestamp};
use crate::lambda::circle::{COLLECT, Circle, CircleSettings, DEAD, DEAD_COLLECTIONS, WORK};
use crate::lambda::function::Died;
use crate::lambda::mapping::{Delivery, Mapping};
use crate::scene::{hint, now, request};
use crate::soak::collected::{Known, Sights};
use crate::soak::faults::SqsFaults;
use crate::soak::report::Report;
use crate::soak::script::{Action, Deadly, MEMORY_MEGABYTES, Name, PERSONAL, Plan, Script};
use crate::soak::settings::{CONFIRM_AFTER, Settings};
use crate::soak::verdict::Verdict;

/// How long it may take until all is done after the faults stop.
const PATIENCE: Duration = Duration::from_mins(8);

/// Runs a soak of the function `bootstrap` in a new folder below `parent`.
///
/// # Errors
/// When a server or the function cannot be started. What the soak finds is in the report.
pub async fn run(bootstrap: &Path, parent: &Path, settings: Settings) -> io::Result<Report> {
    let mut random = Rng::with_seed(settings.seed);
    let circle = CircleSettings {
        processes: 6,
        ..CircleSettings::at(settings.factor)
    };
    let circle = circle.with(&[
        ("CALLS_PER_SECOND", "500"),
        ("SWEEP_CALLS_PER_SECOND", "500"),
        // About what a debug build manages: a part of a collection is begun only if it fits into the rest of the time.
        ("COLLECT_CALLS_PER_SECOND", "150"),
        ("CONFIRM_AFTER_MINUTES", "1"),
        ("QUEUE_AT_MOST", "100"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", MEMORY_MEGABYTES),
    ]);
    let circle = Circle::start(bootstrap, parent, circle).await?;
    circle.ivs.world().quota = Quota::Off;
    // On a busy machine the first start of the function takes longer than the times of the script leave room for.
    let started = circle.invoke(json!({ "sweep": { "dry_run": true } })).await;
    started
        .map_err(|died| io::Error::other(died.to_string()))?
        .ok();
    let began = Instant::now();
    let script = Script::draw(&settings, now(), &mut random);
    circle.ivs.world().stages.extend(script.stages);
    let mut soak = Soak::new(settings, circle, script.plans, began, &mut random);
    for (at, action) in script.actions {
        tokio::time::sleep_until((soak.began + at).into()).await;
        soak.act(action);
    }
    tokio::time::sleep_until((soak.began + settings.chaos).into()).await;
    soak.stop();
    let unfinished = soak.finish().await;
    Ok(soak.report(unfinished))
}

/// Runs a soak, and prints what it found.
///
/// # Errors
/// As [`run`], and when it found something.
pub async fn soak(
    bootstrap: &Path,
    folder: &Path,
    settings: Settings,
) -> Result<(), Box<dyn Error>> {
    let seconds = settings.chaos.as_secs();
    println!(
        "seed {}: {} sessions, {seconds} s of faults, and about a minute until all is quiet",
        settings.seed, settings.sessions
    );
    let report = run(bootstrap, folder, settings).await?;
    println!("{report}");
    if report.is_clean() {
        return Ok(());
    }
    Err(format!("the soak with the seed {} found something", settings.seed).into())
}

struct Soak {
    settings: Settings,
    circle: Circle,
    plans: Vec<Plan>,
    began: Instant,
    sqs: Arc<Mutex<SqsFaults>>,
    random: Rng,
    forgotten: usize,
    hints: usize,
    kills: usize,
    dead_letters: usize,
    ticks: usize,
    /// In the end every object must be newer.
    rewrite_before: Option<DateTime<Utc>>,
    /// The same of attendance.
    recollect_before: Option<DateTime<Utc>>,
    /// Sessions of which IVS forgot events after they were collected.
    events_forgotten: usize,
    /// The objects of collections as they became visible.
    sights: Sights,
    /// Objects that were written before the end of their session was visible.
    too_early: Vec<String>,
    /// Sessions whose stage was deleted, as they were then.
    deleted: BTreeMap<Name, Session>,
    deleted_at: BTreeMap<Name, Instant>,
}

impl Soak {
    fn new(
        settings: Settings,
        circle: Circle,
        plans: Vec<Plan>,
        began: Instant,
        random: &mut Rng,
    ) -> Self {
        let sqs = Arc::new(Mutex::new(SqsFaults::new(random.fork())));
        let hook = Arc::clone(&sqs);
        circle.sqs.on_request(move |attempt| {
            let mut faults = hook.lock().unwrap_or_else(PoisonError::into_inner);
            faults.strike(attempt)
        });
        circle.ivs.world().seed(random.u64(..));
        circle.s3.seed(random.u64(..));
        let sights = collected::watch(&circle);
        let soak = Self {
            settings,
            circle,
            plans,
            began,
            sqs,
            random: random.fork(),
            forgotten: 0,
            hints: 0,
            kills: 0,
            dead_letters: 0,
            ticks: 0,
            rewrite_before: None,
            recollect_before: None,
            events_forgotten: 0,
            sights,
            too_early: Vec::new(),
            deleted: BTreeMap::new(),
            deleted_at: BTreeMap::new(),
        };
        faults::set(&soak.circle);
        soak
    }

    fn act(&mut self, action: Action) {
        let Self { circle, plans, .. } = self;
        match action {
            Action::Begin(place) => {
                let plan = &plans[place];
                let mut session = Session {
                    start_time: (!plan.startless).then_some(plan.start),
                    end_time: None,
                    participants: plan.people.clone(),
                };
                for &(who, after) in &plan.late {
                    session.participants[who].listed_from = Some(self.began + after);
                }
                if plan.unsettled {
                    unsettle(&mut session);
                }
                let (stage, id) = &plan.name;
                let mut world = circle.ivs.world();
                if world.stages.contains(stage) {
                    world.put(stage, id, session);
                }
            }
            Action::End(place) => {
                let file = verdict::file_name(&plans[place].name);
                let early = verdict::objects(circle).remove(&file);
                self.too_early.extend(early.into_iter().flatten());
                if let Some(session) = circle.ivs.world().sessions.get_mut(&plans[place].name) {
                    session.end_time = plans[place].end;
                }
            }
            Action::Settle(place) => {
                let mut world = circle.ivs.world();
                let Some(session) = world.sessions.get_mut(&plans[place].name) else {
                    return;
                };
                for (who, last) in session.participants.iter_mut().zip(&plans[place].people) {
                    who.state.clone_from(&last.state);
                    who.recording_state.clone_from(&last.recording_state);
                    who.replication_state.clone_from(&last.replication_state);
                }
            }
            Action::Forget(place) => self.forget(place),
            Action::Hint(place) => {
                self.hints += 1;
                let (stage, id) = &plans[place].name;
                circle.sqs.send(WORK, &hint(stage, id, now()).to_string());
            }
            Action::Request(place) => {
                let (stage, id) = &plans[place].name;
                circle.sqs.send(WORK, &request(stage, id).to_string());
            }
            Action::Tick => self.tick(),
            Action::Rewrite => {
                // S3 has whole seconds only.
                let before = now().trunc_subsecs(0);
                circle.pool.deploy("REWRITE_BEFORE", &timestamp(before));
                self.rewrite_before = Some(before);
            }
            Action::Recollect => self.recollect(),
            Action::Kill => {
                let random = &mut self.random;
                let killed = circle.pool.kill(|busy| random.usize(0..busy));
                self.kills += usize::from(killed);
            }
            Action::Redrive => self.dead_letters += redrive(circle),
            Action::IvsFails(operation, kind) => {
                circle.ivs.world().fault(operation, When::Always, kind);
            }
            Action::S3Fails(operation, kind) => circle.s3.fault(operation, When::Always, kind),
            Action::SqsFails(fault) => self.sqs().lasting = Some(fault),
            Action::AllWell => {
                let lasting = |fault: &Fault| fault.when == When::Always;
                circle.ivs.world().faults.retain(|fault| !lasting(fault));
                circle.s3.clear_faults();
                faults::set_s3(circle);
                self.sqs().lasting = None;
            }
            Action::Delete(stage) => {
                let mut world = circle.ivs.world();
                let sessions = world.sessions.iter();
                let its: Vec<_> = sessions
                    .filter(|((its, _), _)| *its == stage)
                    .map(|(name, session)| (name.clone(), session.clone()))
                    .collect();
                let now = Instant::now();
                let names = its.iter().map(|(name, _)| (name.clone(), now));
                self.deleted_at.extend(names);
                self.deleted.extend(its);
                world.delete_stage(&stage, true);
            }
            Action::Sick(stage) => {
                circle.ivs.world().sick_stages.insert(stage);
            }
            Action::Healthy(stage) => {
                circle.ivs.world().sick_stages.remove(&stage);
            }
        }
    }

    fn tick(&mut self) {
        self.ticks += 1;
        self.circle.tick();
    }

    /// Deploys `RecollectBefore`. Of some sessions that are collected already IVS tells less from now on, so they must stay as
    /// they are.
    fn recollect(&mut self) {
        let collected = verdict::objects_of(&self.circle, "attendance");
        let mut world = self.circle.ivs.world();
        for plan in &self.plans {
            let is_collected = collected.contains_key(&verdict::file_name(&plan.name));
            let session = world.sessions.get_mut(&plan.name);
            let Some(session) = session.filter(|_| is_collected) else {
                continue;
            };
            let people = session.participants.iter_mut();
            let who = people.max_by_key(|who| who.events.len());
            if let Some(who) = who
                && self.random.f64() < 0.2
            {
                who.events.truncate(who.events.len() / 2);
                self.events_forgotten += 1;
            }
        }
        drop(world);
        let before = now().trunc_subsecs(0);
        let before_text = timestamp(before);
        self.circle.pool.deploy("RECOLLECT_BEFORE", &before_text);
        self.recollect_before = Some(before);
    }

    /// Removes a participant who is in the session's file from all lists. The file must keep them.
    fn forget(&mut self, place: usize) {
        let name = &self.plans[place].name;
        let file = verdict::file_name(name);
        let keys = verdict::objects(&self.circle).remove(&file);
        let Some(key) = keys.and_then(|keys| keys.into_iter().next()) else {
            return;
        };
        let Ok(rows) = verdict::rows(&self.circle, &key) else {
            return;
        };
        let stored: BTreeSet<_> = rows
            .into_iter()
            .filter_map(|row| row[verdict::ID].clone())
            .collect();
        let mut world = self.circle.ivs.world();
        let Some(session) = world.sessions.get_mut(name) else {
            return;
        };
        let now = Instant::now();
        let mut known: Vec<_> = session
            .participants
            .iter_mut()
            .filter(|who| who.listed_from.is_none_or(|from| from <= now))
            .filter(|who| {
                who.participant_id
                    .as_ref()
                    .is_some_and(|id| stored.contains(id))
            })
            .collect();
        if !known.is_empty() {
            let chosen = self.random.usize(0..known.len());
            // They keep their position, because running lists go by position.
            known[chosen].listed_from = Some(now + Duration::from_hours(24));
            self.forgotten += 1;
        }
    }

    /// Stops all faults.
    fn stop(&mut self) {
        let mut world = self.circle.ivs.world();
        world.faults.clear();
        world.sick_stages.clear();
        for plan in &mut self.plans {
            if let Some(session) = world.sessions.get_mut(&plan.name) {
                session.start_time = Some(plan.start);
                if plan.deadly == Some(Deadly::TooLarge) {
                    let people = session.participants.iter_mut().chain(&mut plan.people);
                    people.for_each(|who| who.user_id = Some(format!("{PERSONAL}short")));
                }
            }
            if plan.deadly == Some(Deadly::Panics) {
                world.sessions.remove(&plan.name);
            }
        }
        drop(world);
        self.circle.s3.clear_faults();
        self.sqs().stopped = true;
    }

    /// Ages the failure markers by a day, redrives the dead letters and sends ticks, until nothing is missing or due or the
    /// time is over. Returns what is unfinished.
    async fn finish(&mut self) -> Option<String> {
        let stopped = Instant::now();
        let ends = self.plans.iter().filter_map(|plan| plan.end);
        let confirm_after = TimeDelta::from_std(CONFIRM_AFTER).unwrap_or_default();
        let last_due = ends.max().map(|end| end + confirm_after);
        loop {
            let markers = self.circle.s3.keys();
            for key in markers.iter().filter(|key| key.starts_with("failed/")) {
                let yesterday = now() - TimeDelta::hours(25);
                self.circle.s3.set_last_modified(key, yesterday.into());
            }
            self.dead_letters += redrive(&self.circle);
            self.tick();
            let left = PATIENCE.saturating_sub(stopped.elapsed());
            if let Err(error) = self.circle.until_quiet(left).await {
                return Some(error.to_string());
            }
            let sweep = json!({ "sweep": { "dry_run": true } });
            let found = self.circle.invoke(sweep).await;
            let nothing = |found: &Value| {
                let counts = ["missing", "due", "left", "failed"];
                let attendance = &found["attendance"]["missing"];
                counts.iter().all(|&name| found[name] == 0) && *attendance == 0
            };
            let dead = [DEAD, DEAD_COLLECTIONS].map(|name| self.circle.sqs.depth(name).all());
            let dead: usize = dead.into_iter().sum();
            let done = matches!(&found, Ok(Ok(found)) if nothing(found)) && dead == 0;
            let all_due = last_due.is_none_or(|due| due <= now());
            if done && all_due {
                return None;
            }
            if stopped.elapsed() > PATIENCE {
                return Some(format!("{dead} dead letters, and a sweep says {found:?}"));
            }
            if done {
                // Some second looks are not due yet.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }

    fn sqs(&self) -> std::sync::MutexGuard<'_, SqsFaults> {
        self.sqs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(mut self, unfinished: Option<String>) -> Report {
        let circle = &self.circle;
        let mut verdict = Verdict::of(circle, &self.deleted);
        let sights =
            std::mem::take(&mut *self.sights.lock().unwrap_or_else(PoisonError::into_inner));
        let known = Known {
            circle,
            plans: &self.plans,
            deleted: &self.deleted_at,
            sights: &sights,
            recollect_before: self.recollect_before,
        };
        known.judge(&mut verdict);
        let early = |key: &String| format!("{key} was there before the session's end");
        verdict.live.extend(self.too_early.iter().map(early));
        // Sessions that IVS forgot are not rewritten.
        let known: BTreeSet<_> = {
            let world = circle.ivs.world();
            world.sessions.keys().map(verdict::file_name).collect()
        };
        for (file, keys) in verdict::objects(circle) {
            for key in keys.iter().filter(|_| known.contains(&file)) {
                let written: DateTime<Utc> = circle.s3.last_modified(key).into();
                if self.rewrite_before.is_some_and(|before| written < before) {
                    verdict.torn.push(format!("{key} was not rewritten"));
                }
            }
        }
        let mappings = [&circle.work, &circle.sweeps, &circle.collect];
        let deliveries = mappings.map(Mapping::deliveries).concat();
        let again = |delivery: &Delivery| {
            let messages = delivery.messages.iter();
            messages.filter(|message| message.receives > 1).count()
        };
        let timed_out =
            |delivery: &&Delivery| matches!(delivery.ended, Some((_, Err(Died::TimedOut))));
        let mut failures = BTreeMap::new();
        let lines = circle.pool.log_lines();
        for line in &lines {
            if let Some(error_type) = line["error_type"].as_str() {
                *failures.entry(error_type.to_owned()).or_default() += 1;
            }
        }
        let outcomes = |outcome: &str| {
            let lines = lines.iter();
            let of = |line: &&Value| line["table"] == "attendance" && line["outcome"] == outcome;
            lines.filter(of).count()
        };
        let its_deaths = circle.collect.deliveries();
        let died = |delivery: &&Delivery| matches!(delivery.ended, Some((_, Err(_))));
        let its_deaths = its_deaths.iter().filter(died).count();
        let mut faults = faults::that_mattered(circle);
        faults.extend(self.sqs().took_place.clone());
        let world = circle.ivs.world();
        let sessions = || world.sessions.values();
        let live = sessions().filter(|session| session.end_time.is_none());
        let empty = sessions().filter(|session| session.participants.is_empty());
        let people = sessions().map(|session| session.participants.len());
        let markers = circle.s3.keys();
        let markers = markers.iter().filter(|key| key.starts_with("failed/"));
        let sent_again = lines.iter().filter_map(|line| line["sent_again"].as_u64());
        let figures = vec![
            (
                "sessions",
                format!(
                    "{} live to the end, {} without anybody, {} of deleted stages; {} participants, {} of them forgotten by IVS",
                    live.count(),
                    empty.count(),
                    self.deleted.len(),
                    people.sum::<usize>(),
                    self.forgotten,
                ),
            ),
            (
                "work",
                format!(
                    "{} hints, {} ticks, {} invocations in {} processes, {} calls of IVS, {} of S3",
                    self.hints,
                    self.ticks,
                    deliveries.len(),
                    circle.pool.started(),
                    world.calls.len(),
                    circle.s3.requests().len(),
                ),
            ),
            (
                "collected",
                format!(
                    "{} times, {} continued, {} kept; {} deaths of a collection, {} sessions with events forgotten by IVS",
                    outcomes("collected"),
                    outcomes("continued"),
                    outcomes("kept"),
                    its_deaths,
                    self.events_forgotten,
                ),
            ),
            (
                "trouble",
                format!(
                    "{} kills, {} time-outs, {} redeliveries, {} messages sent again, {} dead letters redriven, {} markers",
                    self.kills,
                    deliveries.iter().filter(timed_out).count(),
                    deliveries.iter().map(again).sum::<usize>(),
                    sent_again.sum::<u64>(),
                    self.dead_letters,
                    markers.count(),
                ),
            ),
        ];
        drop(world);
        let report = Report {
            settings: self.settings,
            kills: self.kills,
            collected: outcomes("collected"),
            figures,
            faults,
            failures,
            took: self.began.elapsed(),
            verdict,
            unfinished,
            kept: None,
        };
        if report.is_clean() {
            return report;
        }
        Report {
            kept: Some(self.circle.keep().to_owned()),
            ..report
        }
    }
}

/// Redrives both queues of dead letters, and returns their number.
fn redrive(circle: &Circle) -> usize {
    let queues = [(DEAD, WORK), (DEAD_COLLECTIONS, COLLECT)];
    let moved = queues.map(|(from, to)| circle.sqs.redrive(from, to));
    moved.into_iter().sum()
}

/// Sets states that are not final.
fn unsettle(session: &mut Session) {
    for who in &mut session.participants {
        who.state = Some("CONNECTED".to_owned());
        if who.recording_state.as_deref() == Some("STOPPED") {
            who.recording_state = Some("STOPPING".to_owned());
        }
        if who.replication_state.is_some() {
            who.replication_state = Some("ACTIVE".to_owned());
        }
    }
}
