//! Which errors of AWS mean "later": throttles and time-outs, by their code, and by their status where there is no code.
//!
//! The one list of such codes, for the clients of all services.

use std::error::Error as StdError;

use aws_runtime::retries::classifiers::{THROTTLING_ERRORS, TRANSIENT_ERRORS};
use aws_smithy_runtime_api::client::interceptors::context::{Error, InterceptorContext};
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

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
