//! Keeps a distance between the requests of each operation: first attempts and the SDK's own retries alike.
//!
//! IVS allows 5 calls a second of one operation, per account and region, and the customer's application draws on the
//! same quota (<https://docs.aws.amazon.com/ivs/latest/RealTimeUserGuide/service-quotas.html>). So the distance is kept
//! where requests leave, in the SDK's HTTP client, which knows nothing of sessions.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::{
    RuntimeComponents, RuntimeComponentsBuilder,
};
use aws_smithy_types::config_bag::ConfigBag;
use tokio::time::{Instant, sleep_until};

/// The slowest that throttles can make an operation.
const LONGEST_INTERVAL: Duration = Duration::from_secs(5);

/// The distance between requests, for all operations of one service in this process.
#[derive(Debug)]
pub struct RateLimiter {
    interval: Duration,
    longest: Duration,
    operations: Mutex<HashMap<String, Slots>>,
    calls: AtomicU64,
}

#[derive(Debug)]
struct Slots {
    next: Instant,
    interval: Duration,
    /// What the interval comes back to after a throttle.
    set: Duration,
}

impl RateLimiter {
    /// Lets an operation start at most once in `interval`. No operation will be set to more than `longest`.
    #[must_use]
    pub fn new(interval: Duration, longest: Duration) -> Self {
        Self {
            interval,
            longest: longest.max(interval).max(LONGEST_INTERVAL),
            operations: Mutex::default(),
            calls: AtomicU64::new(0),
        }
    }

    /// From now on, lets this operation start at most once in `interval`. One that was throttled comes back to it as before.
    pub fn space(&self, operation: &str, interval: Duration) {
        self.with(operation, |slots| {
            let was_throttled = slots.interval > slots.set;
            slots.interval = if was_throttled {
                slots.interval.max(interval)
            } else {
                interval
            };
            slots.set = interval;
        });
    }

    /// The requests let through so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// The longest interval that the limiter may put between two calls.
    #[must_use]
    pub fn longest_interval(&self) -> Duration {
        self.longest
    }

    /// Backs off after a throttle: doubles the interval of `operation`, up to 5 s or the interval that was set. From then on each call brings it a
    /// tenth closer to the interval that was set.
    pub fn back_off(&self, operation: &str) {
        self.with(operation, |slots| {
            let longest = LONGEST_INTERVAL.max(slots.set);
            slots.interval = (slots.interval * 2).clamp(slots.set, longest);
            slots.next = slots.next.max(Instant::now() + slots.interval);
        });
    }

    /// The time that now lies between two calls of an operation.
    #[cfg(test)]
    pub(crate) fn interval(&self, operation: &str) -> Duration {
        self.with(operation, |slots| slots.interval)
    }

    async fn turn(&self, operation: &str) {
        let now = Instant::now();
        let turn = self.with(operation, |slots| {
            let turn = slots.next.max(now);
            slots.next = turn + slots.interval;
            slots.interval = slots.interval.mul_f64(0.9).max(slots.set);
            turn
        });
        // The timer counts milliseconds, and would keep even a turn that has come waiting for the next one.
        if turn > now {
            sleep_until(turn).await;
        }
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    fn with<T>(&self, operation: &str, change: impl FnOnce(&mut Slots) -> T) -> T {
        let mut operations = self
            .operations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let slots = operations.entry(operation.to_owned());
        change(slots.or_insert_with(|| Slots {
            next: Instant::now(),
            interval: self.interval,
            set: self.interval,
        }))
    }
}

/// An HTTP client that sends each request in its operation's turn. The operation is the request's path, as restJson1
/// services have it (`POST /ListParticipants`).
#[derive(Clone, Debug)]
pub struct LimitedHttpClient {
    pub client: SharedHttpClient,
    pub limiter: Arc<RateLimiter>,
}

impl HttpClient for LimitedHttpClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let connector = self.client.http_connector(settings, components);
        SharedHttpConnector::new(LimitedHttpConnector {
            connector,
            limiter: Arc::clone(&self.limiter),
        })
    }

    fn validate_base_client_config(
        &self,
        components: &RuntimeComponentsBuilder,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.client.validate_base_client_config(components, config)
    }

    fn validate_final_config(
        &self,
        components: &RuntimeComponents,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.client.validate_final_config(components, config)
    }
}

#[derive(Debug)]
struct LimitedHttpConnector {
    connector: SharedHttpConnector,
    limiter: Arc<RateLimiter>,
}

impl HttpConnector for LimitedHttpConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (connector, limiter) = (self.connector.clone(), Arc::clone(&self.limiter));
        HttpConnectorFuture::new(async move {
            limiter.turn(operation(request.uri())).await;
            connector.call(request).await
        })
    }
}

fn operation(uri: &str) -> &str {
    uri.rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn millis_of_turns(limiter: &RateLimiter, operation: &str, turns: usize) -> Vec<u128> {
        let start = Instant::now();
        let mut at = Vec::new();
        for _ in 0..turns {
            limiter.turn(operation).await;
            at.push(start.elapsed().as_millis());
        }
        at
    }

    #[tokio::test(start_paused = true)]
    async fn each_operation_starts_once_an_interval() {
        let limiter = RateLimiter::new(Duration::from_millis(500), Duration::ZERO);
        assert_eq!(
            millis_of_turns(&limiter, "ListParticipants", 3).await,
            [0, 500, 1000]
        );
        assert_eq!(
            millis_of_turns(&limiter, "GetStageSession", 2).await,
            [0, 500]
        );
        assert_eq!(limiter.calls(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn another_interval_does_not_make_up_for_a_throttle() {
        let limiter = RateLimiter::new(Duration::from_millis(500), Duration::ZERO);
        let seconds = |seconds| Duration::from_secs(seconds);
        limiter.space("GetStageSession", seconds(2));
        assert_eq!(limiter.interval("GetStageSession"), seconds(2));
        limiter.back_off("GetStageSession");
        limiter.space("GetStageSession", seconds(1));
        assert_eq!(limiter.interval("GetStageSession"), seconds(4));
        limiter.space("GetParticipant", seconds(2));
        limiter.space("GetParticipant", seconds(1));
        assert_eq!(limiter.interval("GetParticipant"), seconds(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttle_slows_its_operation_which_climbs_back() {
        let limiter = RateLimiter::new(Duration::from_millis(500), Duration::ZERO);
        limiter.turn("ListParticipants").await;
        limiter.back_off("ListParticipants");
        let slow = millis_of_turns(&limiter, "ListParticipants", 20).await;
        assert_eq!(
            slow[..3],
            [1000, 2000, 2900],
            "twice the interval, then a tenth shorter each time"
        );
        assert_eq!(slow[19] - slow[18], 500);
        assert_eq!(
            millis_of_turns(&limiter, "GetStageSession", 2).await,
            [0, 500],
            "the others keep theirs"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn throttles_without_end_leave_a_call_every_five_seconds() {
        let limiter = RateLimiter::new(Duration::from_millis(500), Duration::ZERO);
        for _ in 0..40 {
            limiter.back_off("ListParticipants");
        }
        assert_eq!(
            millis_of_turns(&limiter, "ListParticipants", 2).await,
            [5000, 10000]
        );
    }
}
