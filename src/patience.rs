//! Which failures of a call are retried, and how long a call to IVS is retried: for a minute, not for a number of attempts.
//!
//! Against a quota that others use up, the SDK's three attempts are too few, and a session that is throttled has not
//! failed. The deadline of the invocation ends a call earlier (`deadline`).

use std::error::Error as StdError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_runtime::retries::classifiers::{THROTTLING_ERRORS, TRANSIENT_ERRORS};
use aws_smithy_runtime_api::client::interceptors::context::{Error, InterceptorContext};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction};
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use tokio::time::Instant;

/// How long a call is retried before it fails.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// The codes of throttles that AWS's own list in the SDK lacks: of KMS, which S3 and SQS pass on
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html>).
const MORE_THROTTLES: [&str; 2] = ["KMS.ThrottlingException", "KmsThrottled"];

/// Whether an error means "too many requests". The code decides; the status only where there is no code.
#[must_use]
pub fn is_throttle(code: Option<&str>, status: Option<u16>) -> bool {
    match code {
        Some(code) => THROTTLING_ERRORS.contains(&code) || MORE_THROTTLES.contains(&code),
        None => status == Some(429),
    }
}

/// Whether an error means "it took too long", by the same rule.
#[must_use]
pub fn is_time_out(code: Option<&str>, status: Option<u16>) -> bool {
    match code {
        Some(code) => TRANSIENT_ERRORS.contains(&code),
        None => status == Some(408),
    }
}

/// Finds the code in an error of one of a service's operations.
pub type CodeOf = fn(&Error) -> Option<&str>;

/// The code, if it is this operation's error.
#[must_use]
pub fn code<E: StdError + ProvideErrorMetadata + Send + Sync + 'static>(
    error: &Error,
) -> Option<&str> {
    error.downcast_ref::<E>()?.code()
}

/// Has the SDK retry all throttles and time-outs that are known here, some of which it treats as final.
#[derive(Clone, Copy, Debug)]
pub struct Throttles(pub CodeOf);

impl ClassifyRetry for Throttles {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let status = context
            .response()
            .map(|response| response.status().as_u16());
        let error = context.output_or_error().and_then(Result::err);
        let error = error.and_then(|error| error.as_operation_error());
        let code = error.and_then(self.0);
        if is_throttle(code, status) {
            RetryAction::throttling_error()
        } else if is_time_out(code, status) {
            RetryAction::transient_error()
        } else {
            RetryAction::NoActionIndicated
        }
    }

    fn name(&self) -> &'static str {
        "throttles"
    }
}

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
