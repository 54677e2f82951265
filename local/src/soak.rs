//! `make soak`: the whole circle under every fault at once, by chance, and then the question whether anything was lost.
//!
//! Two parts. While the faults last, sessions begin and end, hints come late, twice or never, ticks come, calls of IVS,
//! S3 and SQS fail, processes are killed. Then all is well, a day passes for the markers of what failed for good, the
//! dead letters are redriven, and ticks come until nothing is missing or due. What the lake holds then is compared
//! with what the emulator knows.

mod script;
pub mod settings;
pub mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use fastrand::Rng;
use serde_json::{Value, json};

use crate::faults::{Fault, Kind, S3Kind, When};
use crate::ivs::quota::Quota;
use crate::ivs::world::{Call, Session, timestamp};
use crate::lambda::circle::{Circle, CircleSettings, DEAD, WORK};
use crate::lambda::function::Died;
use crate::lambda::mapping::Delivery;
use crate::s3::S3Request;
use crate::scene::{hint, now, request};
use crate::soak::script::{Action, Deadly, MEMORY_MEGABYTES, Name, Plan, Script};
use crate::soak::settings::{CONFIRM_AFTER, Settings};
use crate::soak::verdict::Verdict;
use crate::sqs::wire::{Attempt, Fault as SqsFault};

/// How long the end may take, from when the faults stop.
const PATIENCE: Duration = Duration::from_mins(2);

/// What took place, and what came of it.
#[derive(Clone, Debug)]
pub struct Report {
    pub settings: Settings,
    pub live: usize,
    pub empty: usize,
    /// Sessions whose stage was deleted meanwhile.
    pub deleted: usize,
    pub participants: usize,
    pub forgotten: usize,
    pub hints: usize,
    pub calls: usize,
    pub requests: usize,
    pub invocations: usize,
    pub processes: usize,
    pub kills: usize,
    /// Invocations that Lambda's time-out ended.
    pub timed_out: usize,
    /// How often each kind of fault took place.
    pub faults: BTreeMap<String, usize>,
    /// How often each error was logged.
    pub failures: BTreeMap<String, usize>,
    pub redeliveries: usize,
    /// Messages that no time was left for.
    pub sent_again: u64,
    pub dead_letters: usize,
    pub markers: usize,
    pub ticks: usize,
    pub took: Duration,
    pub verdict: Verdict,
    /// What was still missing when patience ended.
    pub unfinished: Option<String>,
    /// Where the bucket and the logs are, if something was found.
    pub kept: Option<PathBuf>,
}

impl Report {
    pub fn is_clean(&self) -> bool {
        self.verdict.is_clean() && self.unfinished.is_none()
    }
}

/// Runs a soak of the function `bootstrap`, in a folder of its own below `parent`.
///
/// # Errors
/// When a server or the function cannot be started. What the soak finds is in the report.
pub async fn run(bootstrap: &Path, parent: &Path, settings: Settings) -> io::Result<Report> {
    let mut random = Rng::with_seed(settings.seed);
    let script = Script::draw(&settings, now(), &mut random);
    let circle = CircleSettings {
        processes: 4,
        ..CircleSettings::at(settings.factor)
    };
    let circle = circle.with(&[
        ("CALLS_PER_SECOND", "500"),
        ("SWEEP_CALLS_PER_SECOND", "500"),
        ("CONFIRM_AFTER_MINUTES", "1"),
        ("QUEUE_AT_MOST", "100"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", MEMORY_MEGABYTES),
    ]);
    let circle = Circle::start(bootstrap, parent, circle).await?;
    circle.ivs.world().quota = Quota::Off;
    circle.ivs.world().stages.extend(script.stages);
    let mut soak = Soak::new(settings, circle, script.plans, &mut random);
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
    /// What every object must be newer than in the end.
    rewrite_before: Option<DateTime<Utc>>,
    /// Objects of sessions whose end had not shown yet.
    too_early: Vec<String>,
    /// Sessions whose stage was deleted, as they were then.
    deleted: BTreeMap<Name, Session>,
}

struct SqsFaults {
    random: Rng,
    lasting: Option<SqsFault>,
    stopped: bool,
    took_place: BTreeMap<String, usize>,
}

impl Soak {
    fn new(settings: Settings, circle: Circle, plans: Vec<Plan>, random: &mut Rng) -> Self {
        let sqs = Arc::new(Mutex::new(SqsFaults {
            random: random.fork(),
            lasting: None,
            stopped: false,
            took_place: BTreeMap::new(),
        }));
        let hook = Arc::clone(&sqs);
        circle.sqs.on_request(move |attempt| {
            let mut faults = hook.lock().unwrap_or_else(PoisonError::into_inner);
            faults.strike(attempt)
        });
        circle.ivs.world().seed(random.u64(..));
        circle.s3.seed(random.u64(..));
        let soak = Self {
            settings,
            circle,
            plans,
            began: Instant::now(),
            sqs,
            random: random.fork(),
            forgotten: 0,
            hints: 0,
            kills: 0,
            dead_letters: 0,
            ticks: 0,
            rewrite_before: None,
            too_early: Vec::new(),
            deleted: BTreeMap::new(),
        };
        soak.set_faults();
        soak
    }

    /// The faults that strike single calls, each kind where it makes a difference.
    fn set_faults(&self) {
        let mut world = self.circle.ivs.world();
        for (operations, probability, kinds) in [
            (
                &["*"][..],
                0.006,
                &[
                    Kind::Throttle429,
                    Kind::Throttle400,
                    Kind::Error500,
                    Kind::Html503,
                    Kind::ResetBefore,
                    Kind::ResetWithin,
                    Kind::BrokenJson,
                    Kind::EmptyBody,
                ][..],
            ),
            (&["*"], 0.02, &[Kind::UnknownMembers]),
            (
                &["ListParticipants", "ListStages", "ListStageSessions"],
                0.02,
                &[
                    Kind::EmptyPageFirst,
                    Kind::EmptyPageMiddle,
                    Kind::EmptyPageLast,
                    Kind::RepeatsParticipants,
                ],
            ),
            (
                &["ListParticipants", "ListStages", "ListStageSessions"],
                0.006,
                &[
                    Kind::NullParticipant,
                    Kind::TokenRepeated,
                    Kind::TokensEverNew,
                    Kind::TokenExpired,
                ],
            ),
            (
                &["ListParticipants"],
                // What could pass for the end of a list strikes often: only a look that no other one mends shows it.
                0.2,
                &[Kind::TokenRepeated, Kind::TokensCycle],
            ),
            (&["ListParticipants"], 0.07, &[Kind::EmptyBody]),
            (
                &["*"],
                0.002,
                &[
                    Kind::AccessDenied,
                    Kind::Validation,
                    Kind::PendingVerification,
                ],
            ),
            (&["*"], 0.003, &[Kind::NoAnswer, Kind::Trickle]),
        ] {
            for operation in operations {
                for &kind in kinds {
                    world.fault(operation, When::Probability(probability), kind);
                }
            }
        }
        drop(world);
        self.set_s3_faults();
    }

    fn set_s3_faults(&self) {
        for (operation, probability, kind) in [
            ("*", 0.005, S3Kind::Error500),
            ("*", 0.005, S3Kind::SlowDown503),
            ("*", 0.003, S3Kind::Forbidden403),
            ("*", 0.005, S3Kind::ResetBefore),
            ("*", 0.05, S3Kind::Slow(Duration::from_millis(700))),
            ("*", 0.002, S3Kind::NoAnswer),
            ("PUT", 0.02, S3Kind::PreconditionFailed412),
            ("PUT", 0.02, S3Kind::Conflict409),
            ("PUT", 0.01, S3Kind::NoSuchKey404),
            ("PUT", 0.02, S3Kind::ResetAfterWrite),
            ("HEAD", 0.01, S3Kind::NoSuchKey404),
            ("GET", 0.01, S3Kind::NoSuchKey404),
            ("GET", 0.03, S3Kind::CutBody),
            ("LIST", 0.03, S3Kind::CutBody),
        ] {
            let when = When::Probability(probability);
            self.circle.s3.fault(operation, when, kind);
        }
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
                // As S3 tells whole seconds.
                let before = now().trunc_subsecs(0);
                circle.pool.deploy("REWRITE_BEFORE", &timestamp(before));
                self.rewrite_before = Some(before);
            }
            Action::Kill => {
                let random = &mut self.random;
                let killed = circle.pool.kill(|busy| random.usize(0..busy));
                self.kills += usize::from(killed);
            }
            Action::Redrive => self.dead_letters += circle.sqs.redrive(DEAD, WORK),
            Action::IvsFails(operation, kind) => {
                circle.ivs.world().fault(operation, When::Always, kind);
            }
            Action::S3Fails(operation, kind) => circle.s3.fault(operation, When::Always, kind),
            Action::SqsFails(fault) => self.sqs().lasting = Some(fault),
            Action::AllWell => {
                let lasting = |fault: &Fault| fault.when == When::Always;
                circle.ivs.world().faults.retain(|fault| !lasting(fault));
                circle.s3.clear_faults();
                self.set_s3_faults();
                self.sqs().lasting = None;
            }
            Action::Delete(stage) => {
                let mut world = circle.ivs.world();
                let sessions = world.sessions.iter();
                let its: Vec<_> = sessions
                    .filter(|((its, _), _)| *its == stage)
                    .map(|(name, session)| (name.clone(), session.clone()))
                    .collect();
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

    /// Somebody who is in the session's file is in no list any more, and must stay in the file.
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
            // The place stays taken, since lists under way go by places.
            known[chosen].listed_from = Some(now + Duration::from_hours(24));
            self.forgotten += 1;
        }
    }

    /// The end of all faults.
    fn stop(&mut self) {
        let mut world = self.circle.ivs.world();
        world.faults.clear();
        world.sick_stages.clear();
        for plan in &self.plans {
            if let Some(session) = world.sessions.get_mut(&plan.name) {
                session.start_time = Some(plan.start);
                if plan.deadly == Some(Deadly::TooLarge) {
                    session
                        .participants
                        .iter_mut()
                        .for_each(|who| who.user_id = Some("short".to_owned()));
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

    /// A day passes, the dead letters are redriven, ticks come: until nothing is missing or due, or patience ends.
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
            self.dead_letters += self.circle.sqs.redrive(DEAD, WORK);
            self.tick();
            let left = PATIENCE.saturating_sub(stopped.elapsed());
            if let Err(error) = self.circle.until_quiet(left).await {
                return Some(error.to_string());
            }
            let sweep = json!({ "sweep": { "dry_run": true } });
            let found = self.circle.invoke(sweep).await;
            let nothing = |found: &Value| {
                let counts = ["missing", "due", "left", "failed"];
                counts.iter().all(|&name| found[name] == 0)
            };
            let dead = self.circle.sqs.depth(DEAD).all();
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
        let early = |key: &String| format!("{key} was there before the session's end");
        verdict.live.extend(self.too_early.iter().map(early));
        // What IVS has forgotten stays as it is.
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
        let deliveries = [circle.work.deliveries(), circle.sweeps.deliveries()].concat();
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
        let mut faults = self.sqs().took_place.clone();
        let world = circle.ivs.world();
        for call in &world.calls {
            for &kind in call.faults.iter().filter(|&&kind| matters(call, kind)) {
                *faults.entry(format!("IVS {kind:?}")).or_default() += 1;
            }
        }
        let requests = circle.s3.requests();
        for request in &requests {
            for &kind in request
                .faults
                .iter()
                .filter(|&&kind| s3_matters(request, kind))
            {
                let name = format!("{kind:?}");
                let name = name.split('(').next().unwrap_or_default();
                *faults.entry(format!("S3 {name}")).or_default() += 1;
            }
        }
        let markers = circle.s3.keys();
        let sessions = world.sessions.values();
        let report = Report {
            settings: self.settings,
            live: sessions
                .clone()
                .filter(|session| session.end_time.is_none())
                .count(),
            empty: sessions
                .clone()
                .filter(|session| session.participants.is_empty())
                .count(),
            participants: sessions.map(|session| session.participants.len()).sum(),
            forgotten: self.forgotten,
            hints: self.hints,
            calls: world.calls.len(),
            requests: requests.len(),
            invocations: deliveries.len(),
            processes: circle.pool.started(),
            kills: self.kills,
            timed_out: deliveries.iter().filter(timed_out).count(),
            faults,
            failures,
            redeliveries: deliveries.iter().map(again).sum(),
            sent_again: lines
                .iter()
                .filter_map(|line| line["sent_again"].as_u64())
                .sum(),
            dead_letters: self.dead_letters,
            markers: markers
                .iter()
                .filter(|key| key.starts_with("failed/"))
                .count(),
            ticks: self.ticks,
            took: self.began.elapsed(),
            deleted: self.deleted.len(),
            verdict,
            unfinished,
            kept: None,
        };
        drop(world);
        if report.is_clean() {
            return report;
        }
        Report {
            kept: Some(self.circle.keep().to_owned()),
            ..report
        }
    }
}

/// States that are not the last ones.
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

impl SqsFaults {
    fn strike(&mut self, attempt: &Attempt<'_>) -> Option<SqsFault> {
        if self.stopped {
            return None;
        }
        let fault = self.lasting.clone().or_else(|| self.chance(attempt))?;
        let name = format!("{fault:?}");
        let name = name.split('(').next().unwrap_or_default();
        *self.took_place.entry(format!("SQS {name}")).or_default() += 1;
        Some(fault)
    }

    fn chance(&mut self, attempt: &Attempt<'_>) -> Option<SqsFault> {
        let entries = attempt.body["Entries"].as_array().map_or(0, Vec::len);
        match self.random.f64() {
            p if p < 0.05 => Some(SqsFault::InternalFailure),
            p if p < 0.10 && attempt.operation != "GetQueueAttributes" => {
                Some(SqsFault::LostAnswer)
            }
            p if p < 0.15 => Some(SqsFault::Throttled),
            p if p < 0.18 => Some(SqsFault::AccessDenied),
            p if p < 0.35 && entries > 0 => {
                let bad = (0..entries).filter(|_| self.random.bool());
                Some(SqsFault::Entries(bad.collect())).filter(
                    |fault| !matches!(fault, SqsFault::Entries(entries) if entries.is_empty()),
                )
            }
            _ => None,
        }
    }
}

/// Whether a fault that hit a call made a difference to it.
fn matters(call: &Call, kind: Kind) -> bool {
    let list = call.operation != "GetStageSession";
    let later = call.body.get("nextToken").is_some();
    match kind {
        Kind::TokenExpired | Kind::EmptyPageMiddle | Kind::RepeatsParticipants => list && later,
        Kind::EmptyPageFirst => list && !later,
        Kind::Validation => !later,
        Kind::NullParticipant
        | Kind::TokenRepeated
        | Kind::TokensCycle
        | Kind::TokensEverNew
        | Kind::EmptyPageLast => list,
        _ => true,
    }
}

fn s3_matters(request: &S3Request, kind: S3Kind) -> bool {
    let conditional = request.if_match.is_some() || request.if_none_match.is_some();
    let put = request.operation == "PUT" && conditional;
    match kind {
        S3Kind::PreconditionFailed412 | S3Kind::Conflict409 => put,
        S3Kind::NoSuchKey404 => put || ["GET", "HEAD"].contains(&request.operation.as_str()),
        S3Kind::CutBody => ["GET", "LIST"].contains(&request.operation.as_str()),
        _ => true,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = |counts: &BTreeMap<String, usize>, prefix: &str| {
            let named = counts.iter().filter_map(|(name, count)| {
                Some((name.strip_prefix(prefix)?, count)).filter(|_| *count > 0)
            });
            let texts: Vec<_> = named
                .map(|(name, count)| format!("{name} {count}"))
                .collect();
            texts.join(", ")
        };
        let Settings {
            seed,
            sessions,
            chaos,
            ..
        } = self.settings;
        let Verdict {
            lost,
            doubled,
            torn,
            live,
            unconditional,
            listed_too_often,
        } = &self.verdict;
        writeln!(
            to,
            "seed          {seed}, {sessions} sessions on {} stages, {} s of faults, {} s in all",
            self.settings.stages(),
            chaos.as_secs(),
            self.took.as_secs()
        )?;
        writeln!(
            to,
            "sessions      {} live to the end, {} without anybody, {} of deleted stages; {} participants, {} of them forgotten by IVS",
            self.live, self.empty, self.deleted, self.participants, self.forgotten
        )?;
        writeln!(
            to,
            "work          {} hints, {} ticks, {} invocations in {} processes, {} calls of IVS, {} of S3",
            self.hints, self.ticks, self.invocations, self.processes, self.calls, self.requests
        )?;
        writeln!(
            to,
            "trouble       {} kills, {} time-outs, {} redeliveries, {} messages sent again, {} dead letters redriven, {} markers",
            self.kills,
            self.timed_out,
            self.redeliveries,
            self.sent_again,
            self.dead_letters,
            self.markers
        )?;
        for service in ["IVS", "S3", "SQS"] {
            let prefix = format!("{service} ");
            writeln!(
                to,
                "faults of {service:<4}{}",
                counts(&self.faults, &prefix)
            )?;
        }
        writeln!(to, "errors logged {}", counts(&self.failures, ""))?;
        for (name, cases) in [
            ("lost", lost),
            ("doubled", doubled),
            ("torn", torn),
            ("live", live),
            ("unconditional PUTs", unconditional),
            ("listed more than twice without a reason", listed_too_often),
        ] {
            writeln!(to, "{:>13} {name}", cases.len())?;
            for case in cases.iter().take(MOST_CASES) {
                writeln!(to, "              {case}")?;
            }
            if let Some(more) = cases.len().checked_sub(MOST_CASES + 1) {
                writeln!(to, "              and {} more", more + 1)?;
            }
        }
        if let Some(unfinished) = &self.unfinished {
            writeln!(to, "not finished  {unfinished}")?;
        }
        if let Some(kept) = &self.kept {
            writeln!(to, "bucket, logs  {}", kept.display())?;
        }
        Ok(())
    }
}

/// So many cases of each sort are printed.
const MOST_CASES: usize = 20;
