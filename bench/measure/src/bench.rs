//! `make bench`: what the function costs, beside an empty handler, a handler that only lists, and one in Python.
//! `make bench-instructions`: the same in CPU instructions, which hardly differ from run to run.
//!
//! Both print figures and their limits. No test depends on them.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::measured::{Measured, Spent};
use ivs_attendance_local::folder::at;
use ivs_attendance_local::ivs::Ivs;
use ivs_attendance_local::ivs::quota::Quota;
use ivs_attendance_local::lambda::circle::{COLLECT, SWEEPS, WORK};
use ivs_attendance_local::lambda::variables;
use ivs_attendance_local::s3::S3;
use ivs_attendance_local::scene::{
    self, QUICK, STAGE_ARN, ended, hint, message, now, put_confirmed, request,
};
use ivs_attendance_local::sqs::Sqs;
use ivs_attendance_local::sqs::queues::QueueSettings;
use ivs_attendance_local::{BUCKET, REGION};

/// How much more processor time an export may take than the floor, from 10,000 participants on.
const WORK_LIMIT: f64 = 1.3;
/// How much longer an export may take than the rate limiter makes it wait.
const RATE_LIMIT: f64 = 1.05;
const PEAK_LIMIT: u64 = 64 << 20;
const ZIP_LIMIT: usize = 5_500_000;

const STARTS: usize = 21;
/// Participants, and runs.
const SIZES: [(usize, usize); 4] = [(100, 7), (1_000, 7), (10_000, 5), (100_000, 3)];
/// The handler in Python takes so long that the largest size is measured once, the others three times.
const PYTHON_RUNS: usize = 3;
const OTHER_RUNS: usize = 3;
const SWEPT_STAGES: usize = 1_000;
/// A little more than one sweep can list at the default rate: 0.6 of 890 seconds, 4 calls a second, 100 sessions each.
const BACKFILL_SESSIONS: usize = 216_000;
const BACKFILL_STAGES: usize = 60;
const BACKFILL_DAYS: usize = 60;
const HINTS: usize = 200;
const RATE: usize = 5;
const RATE_PARTICIPANTS: usize = 5_000;

/// The paths of the function, of the folder with `empty` and `floor`, and of the Python that runs the handler in Python.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handlers<'a> {
    pub(crate) function: &'a Path,
    pub(crate) others: &'a Path,
    pub(crate) python: &'a Path,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handler {
    Function,
    Empty,
    Floor,
    /// The floor with the SDK's default settings.
    Defaults,
    Python,
}

impl Handler {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Function => "**the function**",
            Self::Empty => "an empty handler",
            Self::Floor => "the floor",
            Self::Defaults => "the floor by the SDK's defaults",
            Self::Python => "Python",
        }
    }
}

/// The services, with an empty bucket.
pub(crate) struct Services {
    pub(crate) ivs: Ivs,
    pub(crate) s3: S3,
    sqs: Sqs,
    /// The URLs of the queues of work, of sweeps and of collections.
    queues: [String; 3],
    pub(crate) folder: TempDir,
}

impl Services {
    pub(crate) async fn start(parent: &Path) -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir_in(parent)?;
        let ivs = Ivs::start(REGION).await?;
        ivs.world().quota = Quota::Off;
        let sqs = Sqs::start().await?;
        let names = [(WORK, false), (SWEEPS, true), (COLLECT, true)];
        let queues = names.map(|(name, fifo)| {
            let settings = QueueSettings {
                fifo,
                ..QueueSettings::default()
            };
            sqs.create(name, settings)
        });
        Ok(Self {
            ivs,
            s3: S3::start(&folder.path().join("s3"), BUCKET).await?,
            sqs,
            queues,
            folder,
        })
    }

    /// The variables of a function with the highest rates that its settings allow.
    pub(crate) fn variables(&self) -> HashMap<String, String> {
        let mut variables = variables(&self.ivs, &self.s3);
        for (name, value) in [
            ("AWS_ENDPOINT_URL_SQS", self.sqs.url()),
            ("QUEUE_URL", &self.queues[0]),
            ("COLLECT_QUEUE_URL", &self.queues[2]),
        ]
        .into_iter()
        .chain(QUICK)
        {
            variables.insert(name.to_owned(), value.to_owned());
        }
        variables
    }

    fn calls(&self) -> usize {
        self.ivs.world().calls.len()
    }

    fn object_bytes(&self) -> usize {
        let keys = self.s3.keys();
        let last = keys.last().map(|key| self.s3.read(key).len());
        last.unwrap_or_default()
    }
}

impl Handlers<'_> {
    pub(crate) async fn start(
        &self,
        handler: Handler,
        services: &Services,
        more: &[(&str, &str)],
    ) -> Result<Measured, Box<dyn Error>> {
        let mut variables = services.variables();
        for &(name, value) in more {
            variables.insert(name.to_owned(), value.to_owned());
        }
        let (empty, floor) = (self.others.join("empty"), self.others.join("floor"));
        let command: &[&Path] = match handler {
            Handler::Function => &[self.function],
            Handler::Empty => &[&empty],
            Handler::Floor => &[&floor],
            Handler::Defaults => {
                variables.insert("DEFAULTS".to_owned(), "1".to_owned());
                &[&floor]
            }
            Handler::Python => {
                variables.insert("PYTHONPATH".to_owned(), "bench/python".to_owned());
                let arguments = ["-m", "awslambdaric", "handler.handler"].map(Path::new);
                &[self.python, arguments[0], arguments[1], arguments[2]]
            }
        };
        let log = services.folder.path().join("log");
        let started = Measured::start(command, &variables, &log).await;
        started.map_err(|error| format!("{handler:?}: {error}\n{}", printed(services)).into())
    }
}

fn printed(services: &Services) -> String {
    fs::read_to_string(services.folder.path().join("log")).unwrap_or_default()
}

/// The results of several runs.
#[derive(Default)]
pub(crate) struct Runs(pub(crate) Vec<f64>);

impl Runs {
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }
}

/// The median, with the lowest and the highest in brackets.
impl std::fmt::Display for Runs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lowest = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = self.0.iter().copied().fold(0.0, f64::max);
        let digits = if self.median() < 100.0 { 1 } else { 0 };
        write!(f, "{:.digits$}", self.median())?;
        if self.0.len() > 1 {
            write!(f, " ({lowest:.digits$}–{highest:.digits$})")?;
        }
        Ok(())
    }
}

/// A row: what was done, by which handler, and what it took.
#[derive(Default)]
struct Row {
    what: String,
    handler: &'static str,
    wall: Runs,
    cpu: Runs,
    peak: Runs,
    calls: Option<usize>,
    bytes: Option<usize>,
    limit: String,
}

impl Row {
    fn new(what: &str, handler: Handler) -> Self {
        Self {
            what: what.to_owned(),
            handler: handler.name(),
            ..Self::default()
        }
    }

    fn add(&mut self, spent: Spent, peak: u64) {
        self.wall.0.push(spent.wall.as_secs_f64() * 1000.0);
        self.cpu.0.push(spent.cpu.as_secs_f64() * 1000.0);
        self.peak.0.push(peak as f64 / f64::from(1 << 20));
    }

    /// Adds a limit, and whether it was exceeded.
    fn hold(&mut self, limit: &str, value: &str, kept: bool) {
        if !self.limit.is_empty() {
            self.limit.push_str("; ");
        }
        let mark = if kept { "" } else { " **over**" };
        let _ = write!(self.limit, "{limit}: {value}{mark}");
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let number = |number: Option<usize>| number.map_or(String::new(), |it| it.to_string());
        let (calls, bytes) = (number(self.calls), number(self.bytes));
        let Self {
            what,
            handler,
            wall,
            cpu,
            peak,
            limit,
            ..
        } = self;
        write!(
            f,
            "| {what} | {handler} | {wall} | {cpu} | {:.1} | {calls} | {bytes} | {limit} |",
            peak.median()
        )
    }
}

/// Measures everything, prints the table row by row, and writes it to `document`.
///
/// # Errors
/// When a server or a handler fails.
pub(crate) async fn bench(
    handlers: Handlers<'_>,
    folder: &Path,
    document: &Path,
) -> Result<(), Box<dyn Error>> {
    println!("{}\n\n{HEADER}", machine()?);
    let mut rows = Vec::new();
    let mut keep = |new: Vec<Row>| {
        for row in new {
            println!("{row}");
            rows.push(row);
        }
    };
    keep(starts(handlers, folder).await?);
    for (people, runs) in SIZES {
        keep(exports(handlers, folder, people, runs).await?);
    }
    keep(second_looks(handlers, folder).await?);
    keep(sweeps(handlers, folder).await?);
    keep(vec![backfill(handlers, folder).await?]);
    keep(hints(handlers, folder).await?);
    keep(at_rate(handlers, folder).await?);
    let zip = zipped(handlers.function)?;
    let mut text = format!("{ABOUT}\n{}\n\n{HEADER}\n", machine()?);
    for row in rows {
        let _ = writeln!(text, "{row}");
    }
    let kept = if zip <= ZIP_LIMIT { "" } else { " **over**" };
    let size = format!(
        "\nThe function's zip (x86-64; what is deployed is arm64): {zip} bytes (limit {ZIP_LIMIT}){kept}.\n"
    );
    println!("{size}");
    text.push_str(&size);
    fs::write(document, text).map_err(at(document))?;
    println!("The same stands in {}.", document.display());
    Ok(())
}

/// From the start of the process to its first `/next`.
async fn starts(handlers: Handlers<'_>, folder: &Path) -> Result<Vec<Row>, Box<dyn Error>> {
    let services = Services::start(folder).await?;
    let all = [
        (Handler::Empty, STARTS),
        (Handler::Function, STARTS),
        (Handler::Floor, STARTS),
        (Handler::Python, PYTHON_RUNS),
    ];
    let mut rows = all.map(|(handler, _)| Row::new("start", handler));
    for run in 0..STARTS {
        for (row, (handler, runs)) in rows.iter_mut().zip(all) {
            if run < runs {
                let process = handlers.start(handler, &services, &[]).await?;
                row.add(process.start, process.peak_rss()?);
            }
        }
    }
    Ok(rows.into())
}

/// The first and a warm invocation, each for a session of so many.
async fn exports(
    handlers: Handlers<'_>,
    folder: &Path,
    people: usize,
    runs: usize,
) -> Result<Vec<Row>, Box<dyn Error>> {
    let python_runs = if people > 10_000 { 1 } else { PYTHON_RUNS };
    let all = [
        (Handler::Function, runs),
        (Handler::Floor, runs),
        (Handler::Defaults, runs),
        (Handler::Python, python_runs),
    ];
    let what = |when: &str| format!("{people} participants, {when}");
    let mut rows =
        all.map(|(handler, _)| ["first", "warm"].map(|when| Row::new(&what(when), handler)));
    for run in 0..runs {
        for (rows, (handler, runs)) in rows.iter_mut().zip(all) {
            if run >= runs {
                continue;
            }
            let services = Services::start(folder).await?;
            let session = ended(people, 61);
            for number in 1..=2 {
                let id = format!("st-{number:013}");
                services.ivs.world().put(STAGE_ARN, &id, session.clone());
            }
            let mut process = handlers.start(handler, &services, &[]).await?;
            for (number, row) in (1..).zip(rows) {
                let calls = services.calls();
                let event = request(STAGE_ARN, &format!("st-{number:013}"));
                let (answer, spent) = process
                    .invoke(event)
                    .await
                    .map_err(|error| format!("{handler:?}: {error}\n{}", printed(&services)))?;
                if answer["participants"] != people {
                    return Err(format!("{answer}\n{}", printed(&services)).into());
                }
                row.add(spent, process.peak_rss()?);
                row.calls = Some(services.calls() - calls);
                row.bytes = Some(services.object_bytes()).filter(|&bytes| bytes > 0);
            }
        }
    }
    let [function, floor, defaults, _] = &mut rows;
    for (function, floor) in function.iter_mut().zip(&*floor) {
        let ratio = function.cpu.median() / floor.cpu.median();
        let limit = format!("CPU ≤ {WORK_LIMIT} × floor");
        if people >= 10_000 {
            function.hold(&limit, &format!("{ratio:.2}"), ratio <= WORK_LIMIT);
        }
        let (calls, limit) = (function.calls.unwrap_or(0), people.div_ceil(100) + 1);
        function.hold(
            &format!("calls = {limit}"),
            &calls.to_string(),
            calls == limit,
        );
        let peak = function.peak.0.iter().copied().fold(0.0, f64::max);
        if people == 100_000 {
            let kept = peak * f64::from(1 << 20) <= PEAK_LIMIT as f64;
            let limit = format!("peak ≤ {} MB", PEAK_LIMIT >> 20);
            function.hold(&limit, &format!("{peak:.1}"), kept);
        }
    }
    for (floor, defaults) in floor.iter_mut().zip(&*defaults) {
        let ratio = floor.cpu.median() / defaults.cpu.median();
        if people >= 10_000 {
            floor.hold("CPU < the defaults'", &format!("{ratio:.2}"), ratio < 1.0);
        }
    }
    Ok(rows.into_iter().flatten().collect())
}

/// The second and last look at a session of 10,000: listed, merged with what is stored, put.
async fn second_looks(handlers: Handlers<'_>, folder: &Path) -> Result<Vec<Row>, Box<dyn Error>> {
    let mut row = Row::new("10000 participants, second look", Handler::Function);
    for _ in 0..OTHER_RUNS {
        let services = Services::start(folder).await?;
        let event = request(STAGE_ARN, "st-0000000000001");
        let session = ended(10_000, 61);
        services
            .ivs
            .world()
            .put(STAGE_ARN, "st-0000000000001", session);
        let mut first = handlers.start(Handler::Function, &services, &[]).await?;
        first.invoke(event.clone()).await?;
        for key in services.s3.keys() {
            let soon_after = SystemTime::now() - Duration::from_mins(55);
            services.s3.set_last_modified(&key, soon_after);
        }
        let calls = services.calls();
        let mut process = handlers.start(Handler::Function, &services, &[]).await?;
        let (answer, spent) = process.invoke(event).await?;
        if answer["outcome"] != "confirmed" {
            return Err(format!("{answer}\n{}", printed(&services)).into());
        }
        row.add(spent, process.peak_rss()?);
        row.calls = Some(services.calls() - calls);
        row.bytes = Some(services.object_bytes());
    }
    Ok(vec![row])
}

/// A sweep that finds nothing to do.
async fn sweeps(handlers: Handlers<'_>, folder: &Path) -> Result<Vec<Row>, Box<dyn Error>> {
    let what = format!("sweep of {SWEPT_STAGES} stages");
    let mut row = Row::new(&what, Handler::Function);
    let services = Services::start(folder).await?;
    for stage in 0..SWEPT_STAGES {
        put_confirmed(
            &services.ivs,
            &services.s3,
            &scene::stage(stage),
            "st-0000000000001",
        )?;
    }
    for _ in 0..OTHER_RUNS {
        let mut process = handlers.start(Handler::Function, &services, &[]).await?;
        let calls = services.calls();
        let (answer, spent) = process.invoke(json!({ "sweep": {} })).await?;
        if answer["stages"] != SWEPT_STAGES || answer["missing"] != 0 || answer["failed"] != 0 {
            return Err(format!("{answer}\n{}", printed(&services)).into());
        }
        row.add(spent, process.peak_rss()?);
        row.calls = Some(services.calls() - calls);
    }
    let limit = SWEPT_STAGES + SWEPT_STAGES.div_ceil(100);
    let calls = row.calls.unwrap_or(0);
    row.hold(
        &format!("calls = {limit}"),
        &calls.to_string(),
        calls == limit,
    );
    Ok(vec![row])
}

/// A sweep of the most sessions that one message can list, none of which the lake has.
async fn backfill(handlers: Handlers<'_>, folder: &Path) -> Result<Row, Box<dyn Error>> {
    let what = format!("sweep of {BACKFILL_SESSIONS} sessions, all missing");
    let mut row = Row::new(&what, Handler::Function);
    for _ in 0..OTHER_RUNS {
        let services = Services::start(folder).await?;
        for number in 0..BACKFILL_SESSIONS {
            let (stage, day) = (
                number % BACKFILL_STAGES,
                number / BACKFILL_STAGES % BACKFILL_DAYS,
            );
            let session = ended(0, i64::try_from(day)? * 24 * 60 + 120);
            let arn = format!("arn:aws:ivs:us-west-2:123456789012:stage/stage{stage:07}");
            let session_id = format!("st-{number:013}");
            services.ivs.world().put(&arn, &session_id, session);
        }
        let mut process = handlers.start(Handler::Function, &services, &[]).await?;
        let (answer, spent) = process.invoke(json!({ "sweep": {} })).await?;
        if answer["missing"] != BACKFILL_SESSIONS || answer["enqueued"] != 300 {
            return Err(format!("{answer}\n{}", printed(&services)).into());
        }
        row.add(spent, process.peak_rss()?);
        row.calls = Some(services.calls());
    }
    let of_a_stage = (BACKFILL_SESSIONS / BACKFILL_STAGES).div_ceil(100);
    let limit = BACKFILL_STAGES.div_ceil(100) + BACKFILL_STAGES * of_a_stage;
    let calls = row.calls.unwrap_or(0);
    row.hold(
        &format!("calls = {limit}"),
        &calls.to_string(),
        calls == limit,
    );
    Ok(row)
}

/// A batch of hints, each of a session of three that has ended.
async fn hints(handlers: Handlers<'_>, folder: &Path) -> Result<Vec<Row>, Box<dyn Error>> {
    let what = format!("batch of {HINTS} hints");
    let mut row = Row::new(&what, Handler::Function);
    for _ in 0..OTHER_RUNS {
        let services = Services::start(folder).await?;
        let messages: Vec<Value> = (0..HINTS)
            .map(|number| {
                let id = format!("st-{number:013}");
                services.ivs.world().put(STAGE_ARN, &id, ended(3, 61));
                message(&number.to_string(), &hint(STAGE_ARN, &id, now()))
            })
            .collect();
        let mut process = handlers.start(Handler::Function, &services, &[]).await?;
        let (answer, spent) = process.invoke(json!({ "Records": messages })).await?;
        if answer["batchItemFailures"] != json!([]) || services.s3.keys().len() != HINTS {
            return Err(format!("{answer}\n{}", printed(&services)).into());
        }
        row.add(spent, process.peak_rss()?);
        row.calls = Some(services.calls());
    }
    Ok(vec![row])
}

/// An export at the whole quota of an account.
async fn at_rate(handlers: Handlers<'_>, folder: &Path) -> Result<Vec<Row>, Box<dyn Error>> {
    let what = format!("{RATE_PARTICIPANTS} participants at {RATE} calls a second");
    let mut row = Row::new(&what, Handler::Function);
    for _ in 0..OTHER_RUNS {
        let services = Services::start(folder).await?;
        let session = ended(RATE_PARTICIPANTS, 61);
        services
            .ivs
            .world()
            .put(STAGE_ARN, "st-0000000000001", session);
        let rate = RATE.to_string();
        let paced = [("CALLS_PER_SECOND", rate.as_str())];
        let mut process = handlers.start(Handler::Function, &services, &paced).await?;
        let event = request(STAGE_ARN, "st-0000000000001");
        let (answer, spent) = process.invoke(event).await?;
        if answer["participants"] != RATE_PARTICIPANTS {
            return Err(format!("not all were exported: {answer}").into());
        }
        row.add(spent, process.peak_rss()?);
        row.calls = Some(services.calls());
        row.bytes = Some(services.object_bytes());
    }
    // Each call of ListParticipants after the first one waits for the rate limiter. GetStageSession has a rate limiter of
    // its own.
    let waits = RATE_PARTICIPANTS / 100 - 1;
    let least = waits as f64 / RATE as f64 * 1000.0;
    let ratio = row.wall.median() / least;
    row.hold(
        &format!("1 to {RATE_LIMIT} × {waits} ÷ {RATE} s"),
        &format!("{ratio:.3}"),
        (1.0..=RATE_LIMIT).contains(&ratio),
    );
    Ok(vec![row])
}

/// Prints the instructions of each handler, counted by callgrind, to compare before and after a change.
///
/// # Errors
/// When valgrind is missing, or a handler fails.
pub(crate) async fn instructions(
    handlers: Handlers<'_>,
    folder: &Path,
) -> Result<(), Box<dyn Error>> {
    println!(
        "| handler | start, million instructions | 10,000 participants, million |\n|---|---|---|"
    );
    let (empty, floor) = (handlers.others.join("empty"), handlers.others.join("floor"));
    for (handler, binary) in [
        (Handler::Empty, empty.as_path()),
        (Handler::Defaults, &floor),
        (Handler::Floor, &floor),
        (Handler::Function, handlers.function),
    ] {
        let start = counted(handler, binary, folder, 0).await?;
        let work = if handler == Handler::Empty {
            String::new()
        } else {
            let whole = counted(handler, binary, folder, 10_000).await?;
            format!("{:.1}", whole - start)
        };
        println!("| {} | {start:.2} | {work} |", handler.name());
    }
    println!(
        "\nTwo runs differ by less than 1 %. A change that adds 3 % to a figure should say what for."
    );
    Ok(())
}

/// Millions of instructions from the start of a process to its end, with an export of so many in between.
async fn counted(
    handler: Handler,
    binary: &Path,
    folder: &Path,
    people: usize,
) -> Result<f64, Box<dyn Error>> {
    let services = Services::start(folder).await?;
    let session = ended(people, 61);
    services
        .ivs
        .world()
        .put(STAGE_ARN, "st-0000000000001", session);
    let profile = std::env::var("CALLGRIND_OUT").unwrap_or_else(|_| "/dev/null".to_owned());
    let file = format!("--callgrind-out-file={profile}");
    let command = [
        Path::new("/usr/bin/valgrind"),
        Path::new("--tool=callgrind"),
        Path::new(&file),
        binary,
    ];
    let log = services.folder.path().join("log");
    let mut variables = services.variables();
    if handler == Handler::Defaults {
        variables.insert("DEFAULTS".to_owned(), "1".to_owned());
    }
    let mut process = Measured::start(&command, &variables, &log).await?;
    process.until_idle().await?;
    if people > 0 {
        process
            .invoke(request(STAGE_ARN, "st-0000000000001"))
            .await?;
    }
    process.terminate().await?;
    let printed = fs::read_to_string(&log)?;
    let collected = printed
        .lines()
        .find_map(|line| line.split_once("Collected : "))
        .ok_or_else(|| format!("callgrind did not count: {printed}"))?;
    Ok(collected.1.trim().parse::<f64>()? / 1e6)
}

/// The bytes of the zip that would be deployed.
fn zipped(binary: &Path) -> Result<usize, Box<dyn Error>> {
    let script = "import sys, zlib; \
        c = zlib.compressobj(6, zlib.DEFLATED, -15); \
        print(len(c.compress(open(sys.argv[1], 'rb').read())) + len(c.flush()) + 150)";
    let output = Command::new("python3")
        .arg("-c")
        .arg(script)
        .arg(binary)
        .output()
        .map_err(at("python3".as_ref()))?;
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

/// A line about the machine and the day.
fn machine() -> Result<String, Box<dyn Error>> {
    let info = fs::read_to_string("/proc/cpuinfo")?;
    let cores = info
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model
        .unwrap_or(": unknown")
        .trim_start_matches(['\t', ' ', ':']);
    let day = now().date_naive();
    let arch = std::env::consts::ARCH;
    Ok(format!(
        "Measured on {day}: {model}, {cores} cores, {arch}."
    ))
}

const HEADER: &str = "\
| what | handler | ms | CPU ms | peak MB | calls | object bytes | limit |
|---|---|---|---|---|---|---|---|";

const ABOUT: &str = "\
# Performance

Written by `make bench`. Do not edit.

The release build at work on the local stack, with the quota of IVS off. *ms* is from the event to the answer, at a start
from the start of the process to its first `/next`; the local servers are debug builds, and most of it is theirs. *CPU ms*
is the processor time of the process, by the kernel's count (of a start with all that it does beside, on a second core, until
it rests), and *peak MB* the most memory that it ever had resident. Each is
the median of several runs, and in brackets the lowest and the highest.

The *floor* is a handler of a few lines that lists the same pages with the same SDK and drops them (`bench/`). *Python* is
what one would write instead, with boto3, pyarrow and Lambda's own client for Python; its objects are larger by its settings
of Parquet, not by its language. The function runs at
`CALLS_PER_SECOND=1000`, the most that it takes; a call takes longer than the millisecond between two of them, so the
rate limiter never waits. *First* is the first event of a process, *warm* the second.

What collecting takes: processor time and memory in settings.md, time and quota in survival.md (`make bench-collect`).

What bounds them:

- **The start** by what the process is: a larger program to map and relocate, Lambda's client, and the clients of AWS with the
  system's roots.
- **Processor time** by decoding and signing, which the floor shares. Beyond it are Arrow and Parquet, the rows and their merge;
  settings.md has the figures. In time the ratio differs from run to run by a fifth; instructions do not.
- **Memory** by the rows: they are held until the file is whole, and at a second look those stored beside those listed. The
  Arrow columns are made of 8,192 rows at a time.
- **Calls** by the API: a page for each hundred participants, and one for the session. **Seconds** by the rate limiter: each page
  but the first waits for its turn.
- **A sweep and a batch** by their calls, one for each stage or session. A sweep's memory by the sessions that it lists; if
  they are stored, by S3's lists, too.
";
