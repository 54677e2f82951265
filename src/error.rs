//! The types of errors: two failures have different types if the operator must act differently. And the one place that turns
//! them into a Lambda error.
//!
//! The names (`error_type`) are an interface: Lambda's `errorType`, the log lines, the metrics, the alarms and the
//! runbook key on them. Lambda's error shape: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>.

use std::error::Error as StdError;
use std::fmt::Write;

use lambda_runtime::Diagnostic;

/// An error of a client or a codec: the source of an error here.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Why a session or a sweep failed. Each message names the operation and what it was about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a payload that this function knows; no call was made. Mend the sender.
    #[error("{field} {value}: {rule}")]
    InvalidEvent {
        field: String,
        value: String,
        rule: String,
    },

    /// The function's role has not the permission. Mend the policy.
    #[error("{operation} on {resource}: access denied")]
    AccessDenied {
        operation: &'static str,
        resource: String,
        source: BoxError,
    },

    /// IVS throttled, failed or did not answer for as long as we waited. Redelivery tries again.
    #[error("{operation} for {resource}: no usable answer after {seconds_waited} s")]
    IvsUnavailable {
        operation: &'static str,
        resource: String,
        seconds_waited: u64,
        source: BoxError,
    },

    /// IVS refused the request for a reason that waiting does not mend.
    #[error("{operation} for {resource}: refused with {code}: {message}")]
    IvsRejected {
        operation: &'static str,
        resource: String,
        code: String,
        message: String,
    },

    /// The pages never end, so the list cannot be known to be complete.
    #[error("{operation} for {resource}: {fault}")]
    BrokenPagination {
        operation: &'static str,
        resource: String,
        fault: String,
    },

    /// S3 refused or failed, or the object under the key is no file of this table.
    #[error("{operation} of s3://{bucket}/{key}: {fault}")]
    LakeError {
        operation: &'static str,
        bucket: String,
        key: String,
        fault: String,
        source: Option<BoxError>,
    },

    /// SQS refused or failed, or left messages out.
    #[error("{operation} to {queue}: {fault}")]
    QueueError {
        operation: &'static str,
        queue: String,
        fault: String,
        source: Option<BoxError>,
    },

    /// The rows of a session take more memory than the function has; nothing was written. Give it more memory.
    #[error(
        "{resource}: {rows} {rows_of} take more memory than the function's {memory_megabytes} MB leave for rows"
    )]
    SessionTooLarge {
        resource: String,
        rows: usize,
        /// What a row is about: `participants`, `events`, or `sessions`.
        rows_of: &'static str,
        memory_megabytes: usize,
    },

    /// The code panicked at this place while it worked on a session, a sweep or a whole invocation. Report it as a bug.
    #[error("{resource}: the function panicked at {location}")]
    Panic { resource: String, location: String },

    /// The invocation's time ran out before the object was put, or before S3 said that it was.
    #[error("{doing} for {resource}: the invocation's time ran out")]
    OutOfTime {
        doing: &'static str,
        resource: String,
    },
}

impl Error {
    /// The stable name of this failure.
    #[must_use]
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::InvalidEvent { .. } => "InvalidEvent",
            Self::AccessDenied { .. } => "AccessDenied",
            Self::IvsUnavailable { .. } => "IvsUnavailable",
            Self::IvsRejected { .. } => "IvsRejected",
            Self::BrokenPagination { .. } => "BrokenPagination",
            Self::LakeError { .. } => "LakeError",
            Self::QueueError { .. } => "QueueError",
            Self::SessionTooLarge { .. } => "SessionTooLarge",
            Self::Panic { .. } => "Panic",
            Self::OutOfTime { .. } => "OutOfTime",
        }
    }

    /// The message and those of its sources, outermost first.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = self.source();
        while let Some(error) = source {
            let cause = error.to_string();
            if !text.ends_with(&cause) {
                // Writing to a String cannot fail.
                let _ = write!(text, ": {cause}");
            }
            source = error.source();
        }
        text
    }

    /// A value from outside that broke a rule, quoted (shortened where it is long).
    pub(crate) fn invalid(field: &str, value: &str, rule: impl Into<String>) -> Self {
        const SHOWN: usize = 200;
        let value = match value.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{:?} (its first {SHOWN} characters)", &value[..end]),
            None => format!("{value:?}"),
        };
        Self::InvalidEvent {
            field: field.to_owned(),
            value,
            rule: rule.into(),
        }
    }
}

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        Self {
            error_type: error.error_type().to_owned(),
            error_message: error.chain(),
        }
    }
}
