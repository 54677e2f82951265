//! `make bench-collect`: what collecting takes under the quota of IVS, in the queue, of the processor, and of memory. It prints
//! figures and their limits; no test depends on them.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use aws_sdk_ivsrealtime::Client;
use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::bench::{Handler, Handlers, Runs, Services};
use crate::costs::with_real_ids;
use crate::measured::{Measured, Spent};
use crate::memory::Limited;
use crate::quota::{beside, export};
use ivs_attendance_local::TIMEOUT;
use ivs_attendance_local::ivs::quota::Quota;
use ivs_attendance_local::ivs::world::{Call, Event, Session};
use ivs_attendance_local::lambda::circle::{Circle, CircleSettings};
use ivs_attendance_local::scene::{
    QUICK, STAGE_ARN, ended, message, now, request, session as session_id,
};

/// The lists of participants of sessions that ended so long ago are final once they are exported.
const ENDED_MINUTES_AGO: i64 = 120;
const OPERATIONS: [&str; 2] = ["GetParticipant", "ListParticipantEvents"];
/// The default of `COLLECT_CALLS_PER_SECOND`.
const CALLS_PER_SECOND: f64 = 2.0;
/// How much longer a collection may take than its pace makes it wait.
const RATE_LIMIT: f64 = 1.05;
/// How much more processor time a collection may take than the floor.
const WORK_LIMIT: f64 = 1.5;
/// How long a small session may wait for large ones.
const WAIT_LIMIT: Duration = Duration::from_mins(6);
/// The people of a part, and of a session of one part.
const PART: usize = 200;
/// How long a part takes at the default pace.
const PART_TAKES: Duration = Duration::from_secs(100);
/// The parts that fit into the five minutes for which an invocation takes parts, and a little room.
const PARTS_AT_ONCE: f64 = 3.2;
/// What all times of the queue's measurement are divided by.
const FACTOR: u32 = 25;
const LARGE: usize = 1_200;
const SMALL: usize = 10;
const RUNS: usize = 3;
const PEOPLE: usize = 10_000;
const EVENTS: usize = 10;
/// `MemorySize` in the template.
const MEGABYTES: u32 = 256;
const LONG: Duration = Duration::from_mins(10);

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Quota,
    Queue,
    Processor,
    Memory,
}

impl Question {
    const ALL: [(&str, Self); 4] = [
        ("quota", Self::Quota),
        ("queue", Self::Queue),
        ("processor", Self::Processor),
        ("memory", Self::Memory),
    ];

    /// The questions of these names, or all if there is no name.
    ///
    /// # Errors
    /// A name that is none of a question.
    pub(crate) fn named(names: &[&str]) -> Result<Vec<Self>, String> {
        if names.is_empty() {
            return Ok(Self::ALL.map(|(_, question)| question).into());
        }
        let find = |name: &&str| {
            let found = Self::ALL.iter().find(|(known, _)| known == name);
            let found = found.map(|(_, question)| *question);
            found.ok_or_else(|| format!("{name} is none of quota, queue, processor, memory"))
        };
        names.iter().map(find).collect()
    }
}

/// Measures, and prints a Markdown table for each question.
///
/// # Errors
/// When a server or the function fails, or the limits of memory cannot be set.
pub(crate) async fn collect(
    handlers: Handlers<'_>,
    folder: &Path,
    questions: &[Question],
) -> Result<(), Box<dyn Error>> {
    for question in questions {
        match question {
            Question::Quota => {
                beside_a_customer(handlers.function, folder).await?;
                two_at_once(handlers.function, folder).await?;
            }
            Question::Queue => small_behind_large(handlers.function, folder).await?,
            Question::Processor => processor(handlers, folder).await?,
            Question::Memory => memory(handlers.function, folder).await?,
        }
    }
    Ok(())
}

async fn beside_a_customer(bootstrap: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    println!(
        "## A session of {PART} at {CALLS_PER_SECOND} calls a second, and a customer's client at 1 of each operation\n"
    );
    println!(
        "| quota | seconds | ÷ ({PART} ÷ {CALLS_PER_SECOND}), at most {RATE_LIMIT} | throttles | the client's calls | \
         … that failed in the end |\n|---|---|---|---|---|---|"
    );
    for quota in [Quota::Window, Quota::Bucket] {
        let circle = Circle::start(bootstrap, folder, CircleSettings::at(1)).await?;
        circle.ivs.world().quota = quota;
        put_and_export(&circle, 1, &ended(PART, ENDED_MINUTES_AGO)).await?;
        let calls = async |client: &Client| {
            let (id, who) = (session_id(1), "p00000000000");
            let details = client.get_participant().stage_arn(STAGE_ARN);
            let details = details.session_id(&id).participant_id(who);
            let events = client.list_participant_events().stage_arn(STAGE_ARN);
            let events = events.session_id(&id).participant_id(who);
            let (details, events) = tokio::join!(details.send(), events.send());
            [details.is_err(), events.is_err()]
        };
        let work = invoke(&circle, 1);
        let (took, (made, failed)) = beside(work, circle.ivs.url(), calls).await;
        let took = took?.as_secs_f64();
        let ratio = took / (PART as f64 / CALLS_PER_SECOND);
        let world = circle.ivs.world();
        let throttles = world.calls.iter().filter(|call| call.status == 429).count();
        println!(
            "| {quota:?} | {took:.1} | {ratio:.3}{} | {throttles} | {made} | {failed}{} |",
            mark(ratio <= RATE_LIMIT),
            mark(failed == 0)
        );
    }
    println!();
    Ok(())
}

async fn two_at_once(bootstrap: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    println!(
        "## Two sessions of {PART} at once, {CALLS_PER_SECOND} calls a second of each operation\n"
    );
    println!(
        "| operation | least interval of each session, ms | calls a second together, mean | most in 5 s | throttles |\n|---|---|---|---|---|"
    );
    let circle = Circle::start(bootstrap, folder, CircleSettings::at(1)).await?;
    for number in 1..=2 {
        put_and_export(&circle, number, &ended(PART, ENDED_MINUTES_AGO)).await?;
    }
    let (one, other) = tokio::join!(invoke(&circle, 1), invoke(&circle, 2));
    one.and(other)?;
    for operation in OPERATIONS {
        let world = circle.ivs.world();
        let calls = world.calls.iter();
        let calls: Vec<&Call> = calls.filter(|call| call.operation == operation).collect();
        let least = [1, 2].map(|number| {
            let of_one = calls
                .iter()
                .filter(|call| call.body["sessionId"] == session_id(number));
            let times: Vec<_> = of_one.map(|call| call.at).collect();
            let intervals = times.windows(2).map(|pair| pair[1] - pair[0]);
            let least = intervals.min().unwrap_or_default();
            format!("{:.0}", least.as_secs_f64() * 1000.0)
        });
        let times: Vec<_> = calls.iter().map(|call| call.at).collect();
        let lasted = match (times.first(), times.last()) {
            (Some(first), Some(last)) => *last - *first,
            _ => Duration::ZERO,
        };
        // Each of the two has an interval less than it has calls.
        let mean = times.len().saturating_sub(2) as f64 / lasted.as_secs_f64();
        let throttles = calls.iter().filter(|call| call.status == 429).count();
        println!(
            "| {operation} | {} | {mean:.2} | {} | {throttles} |",
            least.join(", "),
            most_within(&times, Duration::from_secs(5))
        );
    }
    println!();
    Ok(())
}

/// The most calls in any window of this length.
fn most_within(times: &[Instant], window: Duration) -> usize {
    let within = |(place, &from): (usize, &Instant)| {
        let until = times.partition_point(|&time| time < from + window);
        until - place
    };
    times.iter().enumerate().map(within).max().unwrap_or(0)
}

/// An invocation takes parts for five minutes, which nothing divides. So Lambda's time-out stands for them: at the pace
/// three parts fit into it.
async fn small_behind_large(bootstrap: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    println!("## {SMALL} sessions of 3, sent behind large ones of {LARGE}\n");
    println!(
        "| large ones | minutes from sent to collected: first, median and last small one | at most | large ones |\n|---|---|---|---|"
    );
    // The last tenth of the time-out is not for parts.
    let part_takes = (TIMEOUT / FACTOR).mul_f64(0.9 / PARTS_AT_ONCE);
    let scale = PART_TAKES.as_secs_f64() / part_takes.as_secs_f64();
    let pace = (CALLS_PER_SECOND * scale).to_string();
    for large in [1, 2] {
        let settings = CircleSettings::at(FACTOR).with(&QUICK);
        let settings = settings.with(&[("COLLECT_CALLS_PER_SECOND", &pace)]);
        let circle = Circle::without_quota(bootstrap, folder, settings).await?;
        for number in 0..large + SMALL {
            let people = if number < large { LARGE } else { 3 };
            put_and_export(&circle, number, &ended(people, ENDED_MINUTES_AGO)).await?;
        }
        let sent = SystemTime::now();
        for number in 0..large {
            circle.send_to_collect(STAGE_ARN, &session_id(number));
        }
        circle.ivs.until_called(OPERATIONS[1], 2 * large).await;
        let small_sent = SystemTime::now();
        for number in large..large + SMALL {
            circle.send_to_collect(STAGE_ARN, &session_id(number));
        }
        circle.until_quiet(LONG).await?;
        let mut minutes = Vec::new();
        for number in 0..large + SMALL {
            let (id, keys) = (session_id(number), circle.s3.keys());
            let of_it = |key: &&String| key.starts_with("attendance/") && key.contains(&id);
            let key = keys.iter().find(of_it);
            let key = key.ok_or_else(|| format!("{id} was not collected"))?;
            let sent = if number < large { sent } else { small_sent };
            let took = circle.s3.last_modified(key).duration_since(sent)?;
            minutes.push(took.as_secs_f64() * scale / 60.0);
        }
        let (of_large, of_small) = minutes.split_at_mut(large);
        of_small.sort_by(f64::total_cmp);
        let [first, median, last] = [0, SMALL / 2, SMALL - 1].map(|place| of_small[place]);
        let limit = WAIT_LIMIT.as_secs_f64() / 60.0;
        let of_large: Vec<_> = of_large.iter().map(|it| format!("{it:.1}")).collect();
        println!(
            "| {large} | {first:.1}, {median:.1}, {last:.1}{} | {limit} | {} |",
            mark(last <= limit),
            of_large.join(", ")
        );
    }
    println!();
    Ok(())
}

async fn processor(handlers: Handlers<'_>, folder: &Path) -> Result<(), Box<dyn Error>> {
    println!("## {PEOPLE} participants with {EVENTS} events each, as fast as it goes\n");
    println!(
        "| handler | seconds | CPU seconds | CPU µs a participant | peak MB | calls |\n|---|---|---|---|---|---|"
    );
    let session = eventful(PEOPLE, EVENTS);
    let mut cpu = Vec::new();
    for handler in [Handler::Function, Handler::Floor] {
        let (mut wall, mut work, mut peak) = (Runs::default(), Runs::default(), 0);
        let mut calls = 0;
        for _ in 0..RUNS {
            let services = Services::start(folder).await?;
            let id = session_id(1);
            services.ivs.world().put(STAGE_ARN, &id, session.clone());
            let mut process = handlers.start(handler, &services, &[]).await?;
            let mut asked = request(STAGE_ARN, &id);
            if handler == Handler::Function {
                process.invoke(asked.clone()).await?;
                asked = json!({ "collect": asked });
            } else {
                asked["participants"] = PEOPLE.into();
            }
            let before = services.ivs.world().calls.len();
            let spent = until_collected(&mut process, &asked, &services).await?;
            calls = services.ivs.world().calls.len() - before;
            wall.0.push(spent.wall.as_secs_f64());
            work.0.push(spent.cpu.as_secs_f64());
            peak = peak.max(process.peak_rss()? >> 20);
        }
        let each = work.median() * 1e6 / PEOPLE as f64;
        println!(
            "| {} | {wall} | {work} | {each:.0} | {peak} | {calls} |",
            handler.name()
        );
        cpu.push(work.median());
    }
    let ratio = cpu[0] / cpu[1];
    println!(
        "\nCPU ≤ {WORK_LIMIT} × floor: {ratio:.2}{}\n",
        mark(ratio <= WORK_LIMIT)
    );
    Ok(())
}

/// Invokes until all parts are there.
async fn until_collected(
    process: &mut Measured,
    asked: &Value,
    services: &Services,
) -> Result<Spent, Box<dyn Error>> {
    let mut all = Spent::default();
    loop {
        let (answer, spent) = process.invoke(asked.clone()).await?;
        all.wall += spent.wall;
        all.cpu += spent.cpu;
        if answer["outcome"] == "continued" {
            continue;
        }
        if answer["collected"] != PEOPLE {
            return Err(format!("{answer}\n{}", printed(services)).into());
        }
        return Ok(all);
    }
}

async fn memory(function: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    println!("## {MEGABYTES} MB, as fast as it goes\n");
    println!(
        "| participants | events of each | became | invocations | seconds | CPU seconds | peak MB | object of events, bytes | then a small one |\n\
         |---|---|---|---|---|---|---|---|---|"
    );
    // The same events of few people and of many, and three times as many. Last, parts that are large by themselves.
    for (people, events) in [(10_000, 100), (100_000, 10), (30_000, 100), (400, 5_000)] {
        let services = Services::start(folder).await?;
        let [large, small] = [1, 2].map(session_id);
        let session = with_real_ids(eventful(people, events));
        services.ivs.world().put(STAGE_ARN, &large, session);
        let few = ended(3, ENDED_MINUTES_AGO);
        services.ivs.world().put(STAGE_ARN, &small, few);
        let limited = Limited {
            function,
            folder,
            megabytes: MEGABYTES,
        };
        let mut process = limited.start(&services, &[]).await?;
        for id in [&large, &small] {
            process.invoke(request(STAGE_ARN, id)).await?;
        }
        let (mut invocations, mut all) = (0, Spent::default());
        let became = loop {
            let (outcome, spent) = by_message(&mut process, &large, &services).await?;
            invocations += 1;
            all.wall += spent.wall;
            all.cpu += spent.cpu;
            if outcome != "continued" {
                break outcome;
            }
        };
        let peak = process.peak_rss()? >> 20;
        let object = |key: &String| key.starts_with("participant_events/") && key.contains(&large);
        let key = services.s3.keys().into_iter().find(object);
        let bytes = key.map_or("–".to_owned(), |key| {
            services.s3.read(&key).len().to_string()
        });
        let (after, _) = by_message(&mut process, &small, &services).await?;
        println!(
            "| {people} | {events} | {became} | {invocations} | {:.0} | {:.0} | {peak} | {bytes} | {after} |",
            all.wall.as_secs_f64(),
            all.cpu.as_secs_f64()
        );
    }
    println!();
    Ok(())
}

/// Delivers a message about a session, and tells what became of it: its outcome, or the name of its error.
async fn by_message(
    process: &mut Measured,
    id: &str,
    services: &Services,
) -> Result<(String, Spent), Box<dyn Error>> {
    let body = json!({ "collect": request(STAGE_ARN, id) });
    let batch = json!({ "Records": [message("one", &body)] });
    let answered = process.invoke(batch).await;
    let printed = printed(services);
    let (_, spent) = answered.map_err(|error| format!("{error}\n{printed}"))?;
    let lines = printed.lines().rev();
    let mut lines = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let told = lines.find_map(|line| {
        let of_it = line["session_id"] == id && line["table"] == "attendance";
        let outcome = of_it.then(|| line["outcome"].as_str()).flatten();
        let told = outcome.or(line["error_type"].as_str());
        told.map(str::to_owned)
    });
    Ok((told.ok_or(printed)?, spent))
}

fn printed(services: &Services) -> String {
    fs::read_to_string(services.folder.path().join("log")).unwrap_or_default()
}

/// A session whose participants have so many events each: they join, watch several publishers, and leave.
fn eventful(people: usize, events: usize) -> Session {
    const PUBLISHERS: usize = 12;
    let mut session = ended(people, ENDED_MINUTES_AGO);
    let start = session.start_time.unwrap_or_else(now);
    for (number, who) in session.participants.iter_mut().enumerate() {
        let id = who.participant_id.clone().unwrap_or_default();
        let event = |place: usize| {
            let name = match place {
                0 => "JOINED",
                _ if place + 1 == events => "LEFT",
                _ if place % 2 == 1 => "SUBSCRIBE_STARTED",
                _ => "SUBSCRIBE_STOPPED",
            };
            let seconds = number * 7 % 1_000 + place;
            let seconds = TimeDelta::seconds(i64::try_from(seconds).unwrap_or(0));
            let publisher = (number + place / 2) % PUBLISHERS;
            let watches = name.starts_with("SUBSCRIBE");
            Event {
                remote_participant_id: watches.then(|| format!("Publisher{publisher:03}")),
                ..Event::new(name, &id, start + seconds)
            }
        };
        who.events = (0..events).map(event).collect();
    }
    session
}

async fn put_and_export(
    circle: &Circle,
    number: usize,
    session: &Session,
) -> Result<(), Box<dyn Error>> {
    let id = session_id(number);
    circle.ivs.world().put(STAGE_ARN, &id, session.clone());
    export(circle, number).await.map(drop)
}

/// Collects a session by one invocation, and tells how long it took.
async fn invoke(circle: &Circle, number: usize) -> Result<Duration, Box<dyn Error>> {
    let id = session_id(number);
    let began = Instant::now();
    let answer = circle
        .invoke(json!({ "collect": request(STAGE_ARN, &id) }))
        .await;
    let took = began.elapsed();
    let report = answer
        .map_err(|died| died.to_string())?
        .map_err(|failure| failure.message)?;
    if report["outcome"] != "collected" {
        return Err(format!("not collected: {report}").into());
    }
    Ok(took)
}

fn mark(kept: bool) -> &'static str {
    if kept { "" } else { " **over**" }
}
