//! The quota of one operation. AWS does not say how it counts calls, so there are two ways to do it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const CALLS_PER_SECOND: usize = 5;

/// How many calls a second of one operation are let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    Off,
    /// At most 5 in any second.
    Window,
    /// A bucket of 5 tokens that gains 5 a second.
    Bucket,
}

/// How much of the quota of one operation is used.
pub(crate) struct Used {
    recent: VecDeque<Instant>,
    tokens: f64,
    filled: Instant,
}

impl Used {
    pub(crate) fn nothing(now: Instant) -> Self {
        Self {
            recent: VecDeque::new(),
            tokens: CALLS_PER_SECOND as f64,
            filled: now,
        }
    }

    /// Takes one call if the quota allows it.
    pub(crate) fn take(&mut self, quota: Quota, now: Instant) -> bool {
        let granted = match quota {
            Quota::Off => true,
            Quota::Window => {
                while self
                    .recent
                    .front()
                    .is_some_and(|&call| now - call >= Duration::from_secs(1))
                {
                    self.recent.pop_front();
                }
                self.recent.len() < CALLS_PER_SECOND
            }
            Quota::Bucket => {
                let gained = (now - self.filled).as_secs_f64() * CALLS_PER_SECOND as f64;
                self.tokens = (self.tokens + gained).min(CALLS_PER_SECOND as f64);
                self.filled = now;
                self.tokens >= 1.0
            }
        };
        if granted {
            self.recent.push_back(now);
            if self.recent.len() > CALLS_PER_SECOND {
                self.recent.pop_front();
            }
            self.tokens = (self.tokens - 1.0).max(0.0);
        }
        granted
    }
}
