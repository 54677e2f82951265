//! The settings of a soak, and the options of `make soak` that set them.

use std::error::Error;
use std::time::Duration;

/// `CONFIRM_AFTER_MINUTES`. It is short, so that both looks happen during a soak.
pub(super) const CONFIRM_AFTER: Duration = Duration::from_mins(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    pub seed: u64,
    pub sessions: usize,
    /// How long the faults last.
    pub chaos: Duration,
    /// All times of the template are divided by it.
    pub factor: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 0,
            sessions: 300,
            chaos: Duration::from_mins(2),
            factor: 120,
        }
    }
}

impl Settings {
    /// Reads options like `seed=7`. The default of the seed is `any_seed`.
    ///
    /// # Errors
    /// When an option is unknown or its value is no number. The error quotes the option.
    pub fn parse(options: &[&str], any_seed: u64) -> Result<Self, Box<dyn Error>> {
        let mut settings = Self {
            seed: any_seed,
            ..Self::default()
        };
        for option in options {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let wrong = |error: &dyn Error| format!("{option}: {error}");
            match name {
                "seed" => settings.seed = value.parse().map_err(|error| wrong(&error))?,
                "sessions" => settings.sessions = value.parse().map_err(|error| wrong(&error))?,
                "minutes" => {
                    let minutes: f64 = value.parse().map_err(|error| wrong(&error))?;
                    settings.chaos = Duration::try_from_secs_f64(minutes * 60.0)?;
                }
                _ => return Err(format!("{option}: there are seed, sessions and minutes").into()),
            }
        }
        Ok(settings)
    }

    pub(super) fn stages(&self) -> usize {
        (self.sessions / 6).max(3)
    }
}
