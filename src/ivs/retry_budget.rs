//! How long a call to IVS is retried: for a minute, not for a number of attempts.
//!
//! The customer's application shares the quota, so throttling can last. The SDK's three attempts are too few: a throttle alone
//! must not fail a session. The deadline of the invocation ends a call earlier (`deadline`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction};
use aws_smithy_runtime_api::http::StatusCode;
use tokio::time::Instant;

/// How long a call is retried before it fails.
pub const RETRY_BUDGET: Duration = Duration::from_mins(1);

/// Ends the SDK's retries of a call after [`RETRY_BUDGET`], and also retries errors that the SDK treats as final. Calls come one at
/// a time.
#[derive(Clone, Debug)]
pub struct RetryBudget {
    began: Arc<Mutex<Instant>>,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            began: Arc::new(Mutex::new(Instant::now())),
        }
    }
}

impl RetryBudget {
    /// Begins a new budget, before a call.
    pub fn begin(&self) {
        *self.began.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// How long the call has been tried.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.began
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed()
    }
}

impl ClassifyRetry for RetryBudget {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let failed = context
            .output_or_error()
            .is_some_and(|result| result.is_err());
        let status = context.response().map(HttpResponse::status);
        let answered = status.is_some_and(StatusCode::is_success);
        let broken = status.is_some_and(StatusCode::is_server_error);
        if self.waited() >= RETRY_BUDGET {
            RetryAction::RetryForbidden
        } else if failed && (answered || broken) {
            // The SDK does not retry an answer that it cannot parse, and retries only four of the 5xx.
            RetryAction::transient_error()
        } else {
            RetryAction::NoActionIndicated
        }
    }

    fn name(&self) -> &'static str {
        "retry budget"
    }
}
