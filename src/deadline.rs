//! How long an invocation may work, kept as instants of the monotonic clock.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::error::Error;

/// The end of an invocation's time. The last tenth, at most 10 s, is kept for the PUT and the answer. What is not ready to be
/// put by then is not put.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    work_until: Instant,
    put_until: Instant,
}

impl Deadline {
    /// The deadline of an invocation that has `remaining` left.
    #[must_use]
    pub fn after(remaining: Duration) -> Self {
        let kept = (remaining / 10).min(Duration::from_secs(10));
        let end = Instant::now() + remaining;
        Self {
            work_until: end - kept,
            put_until: end - kept / 4,
        }
    }

    /// The same, or an earlier one: that of an invocation that has only `remaining` left.
    #[must_use]
    pub fn at_most(&self, remaining: Duration) -> Self {
        let earlier = Self::after(remaining);
        Self {
            work_until: self.work_until.min(earlier.work_until),
            put_until: self.put_until.min(earlier.put_until),
        }
    }

    /// Whether it is too late to begin anything.
    #[must_use]
    pub fn has_passed(&self) -> bool {
        self.left().is_zero()
    }

    /// The time left for the work before the PUT.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.work_until.saturating_duration_since(Instant::now())
    }

    /// Does work that comes before the PUT, or gives up in time.
    ///
    /// # Errors
    /// The work's own, or [`Error::OutOfTime`].
    pub async fn within_work_time<T>(
        &self,
        doing: &'static str,
        resource: &str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        until(self.work_until, doing, resource, work).await
    }

    /// Runs the PUT and its retries after a lost race. Stops early enough to return an error.
    ///
    /// # Errors
    /// The work's own, or [`Error::OutOfTime`].
    pub async fn within_put_time<T>(
        &self,
        doing: &'static str,
        resource: &str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        until(self.put_until, doing, resource, work).await
    }
}

async fn until<T>(
    end: Instant,
    doing: &'static str,
    resource: &str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    // A time-out alone would start the work even if the end has passed.
    if Instant::now() < end
        && let Ok(result) = timeout_at(end, work).await
    {
        return result;
    }
    Err(Error::OutOfTime {
        doing,
        resource: resource.to_owned(),
    })
}
