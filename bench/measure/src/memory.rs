//! `make bench-memory`: what the function takes and costs with several sizes of memory. Lambda gives processor time in
//! proportion to memory; `bench/limited.sh` does both here.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bench::Services;
use crate::measured::{Measured, Spent};
use ivs_attendance_local::scene::{STAGE_ARN, ended, request};

/// Megabytes, as `MemorySize` in the template.
const SIZES: [u32; 4] = [128, 256, 512, 1024];
/// US dollars for a GB-second on Arm, as in docs/costs.md.
const GB_SECOND: f64 = 13.3334e-6;
/// The default rates.
const PACES: [(&str, &str); 2] = [("CALLS_PER_SECOND", "2"), ("SWEEP_CALLS_PER_SECOND", "4")];
/// The highest rates that the settings allow, where only memory matters.
const FAST: [(&str, &str); 2] = [
    ("CALLS_PER_SECOND", "1000"),
    ("SWEEP_CALLS_PER_SECOND", "1000"),
];
const SWEPT_STAGES: usize = 100;
/// About the most that one invocation can list at the default rate.
const MOST: usize = 170_000;
const SESSION: &str = "st-0000000000001";

/// Measures, and prints the table of docs/settings.md.
///
/// # Errors
/// When a server or the function fails, or the limits cannot be set.
pub(crate) async fn memory(function: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    println!(
        "| MB | start, ms | a session of 100, first event, ms | of 1,000, s | of 10,000, s | a sweep of {SWEPT_STAGES} stages, s | \
         {MOST} at full pace: first look, s | second look, s | peak MB | US$ for 1,000 exports of 1,000 |"
    );
    println!("|{}", "---|".repeat(10));
    for megabytes in SIZES {
        println!("{}", row(function, folder, megabytes).await?);
    }
    Ok(())
}

async fn row(function: &Path, folder: &Path, megabytes: u32) -> Result<String, Box<dyn Error>> {
    let limited = Limited {
        function,
        folder,
        megabytes,
    };
    let (start, small) = limited.export(100).await?;
    let (_, middle) = limited.export(1_000).await?;
    let (_, large) = limited.export(10_000).await?;

    let services = Services::start(folder).await?;
    for stage in 0..SWEPT_STAGES {
        let stage = format!("{STAGE_ARN}{stage}");
        services.ivs.world().put(&stage, SESSION, ended(1, 61));
    }
    let mut sweeper = limited.start(&services, &PACES).await?;
    let (_, sweep) = sweeper
        .invoke(json!({ "sweep": { "dry_run": true } }))
        .await?;

    let largest = match limited.largest().await {
        Ok(cells) => cells,
        Err(error) if error.to_string().contains("signal: 9") => "out of memory | | |".to_owned(),
        Err(error) => return Err(error),
    };

    // Each export starts a process here: the most expensive case.
    let export = start.wall + middle.wall;
    let dollars = 1_000.0 * export.as_secs_f64() * f64::from(megabytes) / 1024.0 * GB_SECOND;
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    Ok(format!(
        "| {megabytes} | {:.0} | {:.0} | {:.1} | {:.1} | {:.1} | {largest} {dollars:.3} |",
        milliseconds(start.wall),
        milliseconds(small.wall),
        seconds(middle),
        seconds(large),
        seconds(sweep),
    ))
}

fn seconds(spent: Spent) -> f64 {
    spent.wall.as_secs_f64()
}

/// The function with so much memory.
pub(crate) struct Limited<'a> {
    pub(crate) function: &'a Path,
    pub(crate) folder: &'a Path,
    pub(crate) megabytes: u32,
}

impl Limited<'_> {
    pub(crate) async fn start(
        &self,
        services: &Services,
        paces: &[(&str, &str)],
    ) -> Result<Measured, Box<dyn Error>> {
        let mut variables = services.variables();
        for &(name, value) in paces {
            variables.insert(name.to_owned(), value.to_owned());
        }
        variables.insert("PATH".to_owned(), "/usr/bin:/bin".to_owned());
        let megabytes = self.megabytes.to_string();
        let command = [
            Path::new("bench/limited.sh"),
            Path::new(&megabytes),
            self.function,
        ];
        let log = services.folder.path().join("log");
        let started = Measured::start(&command, &variables, &log).await;
        let printed = || std::fs::read_to_string(&log).unwrap_or_default();
        started.map_err(|error| format!("{megabytes} MB: {error}\n{}", printed()).into())
    }

    /// Both looks at the largest session, and the most memory: three cells of the table.
    async fn largest(&self) -> Result<String, Box<dyn Error>> {
        let services = Services::start(self.folder).await?;
        services
            .ivs
            .world()
            .put(STAGE_ARN, SESSION, ended(MOST, 61));
        let mut function = self.start(&services, &FAST).await?;
        let (_, first) = function.invoke(request(STAGE_ARN, SESSION)).await?;
        let mut again = request(STAGE_ARN, SESSION);
        again["rewrite_before"] = json!(ivs_attendance_local::scene::now());
        let (report, second) = function.invoke(again).await?;
        expect(&report, "rewritten", MOST)?;
        let (first, second, peak) = (seconds(first), seconds(second), function.peak_rss()? >> 20);
        Ok(format!("{first:.1} | {second:.1} | {peak} |"))
    }

    /// Starts a process and exports a session at the default rate.
    async fn export(&self, participants: usize) -> Result<(Spent, Spent), Box<dyn Error>> {
        let services = Services::start(self.folder).await?;
        services
            .ivs
            .world()
            .put(STAGE_ARN, SESSION, ended(participants, 61));
        let mut function = self.start(&services, &PACES).await?;
        let (report, spent) = function.invoke(request(STAGE_ARN, SESSION)).await?;
        expect(&report, "exported", participants)?;
        Ok((function.start, spent))
    }
}

fn expect(report: &Value, outcome: &str, participants: usize) -> Result<(), Box<dyn Error>> {
    if report["outcome"] == outcome && report["participants"] == participants {
        return Ok(());
    }
    Err(format!("{report} should be {outcome}, {participants}").into())
}
