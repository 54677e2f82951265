//! The report of a soak.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::soak::settings::Settings;
use crate::soak::verdict::Verdict;

/// The most cases of each kind that are printed.
const MOST_CASES: usize = 20;

/// What happened, and the result.
#[derive(Clone, Debug)]
pub struct Report {
    pub settings: Settings,
    pub kills: usize,
    /// Objects of attendance that were put.
    pub collected: usize,
    /// Other counts, a line for each group.
    pub figures: Vec<(&'static str, String)>,
    /// How often each kind of fault happened.
    pub faults: BTreeMap<String, usize>,
    /// How often each error was logged.
    pub failures: BTreeMap<String, usize>,
    pub took: Duration,
    pub verdict: Verdict,
    /// What was still missing when the time was over.
    pub unfinished: Option<String>,
    /// The folder with bucket and logs, kept if something is wrong.
    pub kept: Option<PathBuf>,
}

impl Report {
    pub fn is_clean(&self) -> bool {
        self.verdict.is_clean() && self.unfinished.is_none()
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
            uncollected,
            half_collected,
            wrong_attendance,
            collected_too_often,
            personal,
        } = &self.verdict;
        writeln!(
            to,
            "seed          {seed}, {sessions} sessions on {} stages, {} s of faults, {} s in all",
            self.settings.stages(),
            chaos.as_secs(),
            self.took.as_secs()
        )?;
        for (name, figures) in &self.figures {
            writeln!(to, "{name:<14}{figures}")?;
        }
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
            ("not collected", uncollected),
            ("half-collected", half_collected),
            ("wrong attendance", wrong_attendance),
            ("asked for twice without a reason", collected_too_often),
            ("personal data in logs, markers or messages", personal),
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
