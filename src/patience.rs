//! How long a call to IVS is tried, with the SDK's own retries: for a minute, not for a number of attempts.
//!
//! Against a quota that others use up, the SDK's three attempts are too few, and a session that is throttled has not
//! failed. The deadline of the invocation ends a call earlier (`deadline`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction};
use aws_smithy_runtime_api::http::StatusCode;
use tokio::time::Instant;

/// How long a call is retried before it fails.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Ends the SDK's retries of a call after [`PATIENCE`], and has retried what the SDK takes for final. Calls come one at
/// a time.
#[derive(Clone, Debug)]
pub struct Patience {
    began: Arc<Mutex<Instant>>,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            began: Arc::new(Mutex::new(Instant::now())),
        }
    }
}

impl Patience {
    /// Starts anew, before a call.
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

impl ClassifyRetry for Patience {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let failed = context
            .output_or_error()
            .is_some_and(|result| result.is_err());
        let status = context.response().map(HttpResponse::status);
        let answered = status.is_some_and(StatusCode::is_success);
        let broken = status.is_some_and(StatusCode::is_server_error);
        if self.waited() >= PATIENCE {
            RetryAction::RetryForbidden
        } else if failed && (answered || broken) {
            // What does not parse is for the SDK an error of the operation like any other, and final; of the 5xx it
            // retries four.
            RetryAction::transient_error()
        } else {
            RetryAction::NoActionIndicated
        }
    }

    fn name(&self) -> &'static str {
        "patience"
    }
}
