//! IVS Real-Time: the two calls of an export, their pages, and what their failures mean.
//!
//! The SDK signs, retries and parses. Ours are the pages: never the SDK's paginator, which ends without an error when
//! a token repeats, so that a truncated list would look complete. The API does not say in which order it lists, how
//! long a token lives, or that a participant is listed once; nothing here depends on it.
//!
//! <https://docs.aws.amazon.com/ivs/latest/RealTimeAPIReference/API_GetStageSession.html>,
//! <https://docs.aws.amazon.com/ivs/latest/RealTimeAPIReference/API_ListParticipants.html>.

use std::collections::HashSet;
use std::error::Error as StdError;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_ivsrealtime::Client;
use aws_sdk_ivsrealtime::config::interceptors::InterceptorContext;
use aws_sdk_ivsrealtime::config::retry::{
    ClassifyRetry, RetryAction, RetryConfig, RetryPartition, TokenBucket,
};
use aws_sdk_ivsrealtime::config::timeout::TimeoutConfig;
use aws_sdk_ivsrealtime::config::{Builder, SharedHttpClient};
use aws_sdk_ivsrealtime::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ivsrealtime::operation::get_stage_session::GetStageSessionError;
use aws_sdk_ivsrealtime::operation::list_participants::{
    ListParticipantsError, ListParticipantsOutput,
};
use aws_sdk_ivsrealtime::primitives::DateTime as SdkDateTime;
use aws_sdk_ivsrealtime::types::ParticipantSummary;
use chrono::{DateTime, Utc};
use futures::Stream;
use futures::stream::try_unfold;
use tokio::time::Instant;

use crate::error::Error;
use crate::pace::{Pace, PacedHttpClient};
use crate::session::{EndedSession, SessionRef};
use crate::table::Participant;

/// The most that the API gives at once.
const PAGE_SIZE: i32 = 100;
/// How long a call is retried before it fails.
const PATIENCE: Duration = Duration::from_mins(1);
/// So many pages in a row without anybody new, each with a token, are no list any more.
const MOST_PAGES_WITHOUT_NEWS: usize = 50;
/// The codes of a throttle, which the API's model lacks. AWS's own list: `aws_runtime::retries::classifiers`.
const THROTTLES: [&str; 4] = [
    "ThrottlingException",
    "Throttling",
    "TooManyRequestsException",
    "RequestLimitExceeded",
];

const GET_STAGE_SESSION: &str = "GetStageSession";
const LIST_PARTICIPANTS: &str = "ListParticipants";

/// IVS Real-Time in one region.
#[derive(Debug)]
pub struct Ivs {
    client: Client,
    pace: Arc<Pace>,
    patience: Patience,
}

/// What IVS knows of a session.
#[derive(Debug, PartialEq)]
pub enum Found {
    Ended(EndedSession),
    Live,
    Unknown,
}

impl Ivs {
    /// A client that starts each operation at most once in `interval`.
    #[must_use]
    pub fn new(config: &SdkConfig, http_client: SharedHttpClient, interval: Duration) -> Self {
        let pace = Arc::new(Pace::new(interval));
        let http_client = PacedHttpClient {
            client: http_client,
            pace: Arc::clone(&pace),
        };
        let patience = Patience::new(Arc::clone(&pace));
        let config = patient(Builder::from(config).http_client(http_client), &patience);
        Self {
            client: Client::from_conf(config.build()),
            pace,
            patience,
        }
    }

    /// The requests sent so far, retries included.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.pace.calls()
    }

    /// Asks what became of a session.
    ///
    /// # Errors
    /// Any of IVS's; an ended session without a start time is [`Error::IvsUnavailable`].
    pub async fn find(&self, name: &SessionRef) -> Result<Found, Error> {
        self.patience.begin();
        let request = self.client.get_stage_session();
        let answer = request
            .stage_arn(name.stage_arn.as_str())
            .session_id(name.session_id.as_str())
            .send()
            .await;
        let session = match answer {
            Ok(answer) => answer.stage_session,
            Err(error) if error.code() == Some("ResourceNotFoundException") => {
                return Ok(Found::Unknown);
            }
            Err(error) => return Err(self.failure(GET_STAGE_SESSION, name, error)),
        };
        let malformed = |fault: &str| self.unusable(GET_STAGE_SESSION, name, fault.to_owned());
        let session = session.ok_or_else(|| malformed("the answer has no stageSession"))?;
        let Some(end_time) = session.end_time else {
            return Ok(Found::Live);
        };
        let start_time = session
            .start_time
            .ok_or_else(|| malformed("an ended session has no startTime"))?;
        let to_the_milli =
            |time| to_the_milli(time).ok_or_else(|| malformed("a time is out of range"));
        Ok(Found::Ended(EndedSession {
            name: name.clone(),
            start_time: to_the_milli(start_time)?,
            end_time: to_the_milli(end_time)?,
        }))
    }

    /// Lists the participants, page after page, in the order and with the repetitions of the API. If a later page is
    /// refused, which is how a token that has expired shows, the list begins once more at the first page; rows that
    /// were given already come again.
    ///
    /// # Errors
    /// Any of IVS's, and [`Error::BrokenPagination`]. The stream ends with it.
    pub fn participants<'a>(
        &'a self,
        name: &'a SessionRef,
    ) -> impl Stream<Item = Result<Vec<Participant>, Error>> + 'a {
        try_unfold(Some(Walk::default()), move |walk| async move {
            let Some(mut walk) = walk else {
                return Ok(None);
            };
            let page = match self.list(name, walk.token.clone()).await {
                Err(Error::IvsRejected { code, .. })
                    if code == "ValidationException" && walk.token.is_some() && !walk.restarted =>
                {
                    walk = Walk {
                        restarted: true,
                        ..Walk::default()
                    };
                    self.list(name, None).await?
                }
                answer => answer?,
            };
            let next_token = page.next_token;
            let rows = page
                .participants
                .into_iter()
                .map(participant)
                .collect::<Option<Vec<_>>>();
            let rows = rows.ok_or_else(|| {
                self.unusable(
                    LIST_PARTICIPANTS,
                    name,
                    "a firstJoinTime is out of range".to_owned(),
                )
            })?;
            let next = walk
                .follow(next_token, &rows)
                .map_err(|fault| Error::BrokenPagination {
                    operation: LIST_PARTICIPANTS,
                    resource: name.to_string(),
                    fault,
                })?;
            Ok(Some((rows, next)))
        })
    }

    async fn list(
        &self,
        name: &SessionRef,
        token: Option<String>,
    ) -> Result<ListParticipantsOutput, Error> {
        self.patience.begin();
        let request = self.client.list_participants();
        request
            .stage_arn(name.stage_arn.as_str())
            .session_id(name.session_id.as_str())
            .max_results(PAGE_SIZE)
            .set_next_token(token)
            .send()
            .await
            .map_err(|error| self.failure(LIST_PARTICIPANTS, name, error))
    }

    fn failure<E>(&self, operation: &'static str, name: &SessionRef, error: SdkError<E>) -> Error
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        let resource = name.to_string();
        let code = error.code().unwrap_or_default();
        let status = error
            .raw_response()
            .map(|response| response.status().as_u16());
        if matches!(code, "AccessDeniedException" | "AccessDenied") {
            return Error::AccessDenied {
                operation,
                resource,
                source: Box::new(error),
            };
        }
        let refused =
            matches!(error, SdkError::ServiceError(_)) && status.is_some_and(|status| status < 500);
        if refused && !THROTTLES.contains(&code) {
            let code = if code.is_empty() {
                format!("HTTP {}", status.unwrap_or(0))
            } else {
                code.to_owned()
            };
            let message = error.message().unwrap_or("no message").to_owned();
            return Error::IvsRejected {
                operation,
                resource,
                code,
                message,
            };
        }
        self.unusable(operation, name, error)
    }

    fn unusable(
        &self,
        operation: &'static str,
        name: &SessionRef,
        source: impl Into<crate::error::BoxError>,
    ) -> Error {
        Error::IvsUnavailable {
            operation,
            resource: name.to_string(),
            seconds_waited: self.patience.waited().as_secs(),
            source: source.into(),
        }
    }
}

/// Where a walk over pages stands.
#[derive(Default)]
struct Walk {
    token: Option<String>,
    tokens_seen: HashSet<String>,
    people_seen: HashSet<u64>,
    pages_without_news: usize,
    restarted: bool,
}

impl Walk {
    /// The walk's next step behind a page, `None` where the list ends. The fault is in words.
    fn follow(
        mut self,
        next_token: Option<String>,
        rows: &[Participant],
    ) -> Result<Option<Self>, String> {
        let Some(token) = next_token.filter(|token| !token.is_empty()) else {
            return Ok(None);
        };
        let known = self.people_seen.len();
        for row in rows {
            let mut hasher = DefaultHasher::new();
            row.participant_id.hash(&mut hasher);
            self.people_seen.insert(hasher.finish());
        }
        let news =
            self.people_seen.len() > known || rows.iter().any(|row| row.participant_id.is_none());
        self.pages_without_news = if news { 0 } else { self.pages_without_news + 1 };
        if !self.tokens_seen.insert(token.clone()) {
            return Err(format!("nextToken {token:?} came twice"));
        }
        if self.pages_without_news >= MOST_PAGES_WITHOUT_NEWS {
            return Err(format!(
                "{MOST_PAGES_WITHOUT_NEWS} pages in a row had a nextToken and nobody new"
            ));
        }
        self.token = Some(token);
        Ok(Some(self))
    }
}

/// One summary as a row; `None` if its time is out of range.
fn participant(summary: ParticipantSummary) -> Option<Participant> {
    Some(Participant {
        participant_id: summary.participant_id,
        user_id: summary.user_id,
        state: summary.state.map(|value| value.as_str().to_owned()),
        first_join_time: match summary.first_join_time {
            Some(time) => Some(to_the_milli(time)?),
            None => None,
        },
        published: Some(summary.published),
        recording_state: summary
            .recording_state
            .map(|value| value.as_str().to_owned()),
        replication_type: summary
            .replication_type
            .map(|value| value.as_str().to_owned()),
        replication_state: summary
            .replication_state
            .map(|value| value.as_str().to_owned()),
        source_stage_arn: summary.source_stage_arn,
        source_session_id: summary.source_session_id,
        redundant_ingest: Some(summary.redundant_ingest),
        ingest_configuration_arn: summary.ingest_configuration_arn,
    })
}

/// Cuts a time to the millisecond that a file can hold, so that rows compare equal before and after storage.
fn to_the_milli(time: SdkDateTime) -> Option<DateTime<Utc>> {
    let millis = i128::from(time.secs()) * 1000 + i128::from(time.subsec_nanos() / 1_000_000);
    DateTime::from_timestamp_millis(i64::try_from(millis).ok()?)
}

/// Retries for as long as we have patience, instead of a number of times: against a quota that others use up, the
/// SDK's three attempts are too few.
fn patient(config: Builder, patience: &Patience) -> Builder {
    config
        .retry_config(
            RetryConfig::standard()
                // More than fit into the patience. Not u32::MAX: the SDK sums a term for each attempt at each call.
                .with_max_attempts(1000)
                .with_initial_backoff(Duration::from_millis(500))
                .with_max_backoff(Duration::from_secs(8)),
        )
        // The default bucket forbids retries after some tens of failures; ours end by time.
        .retry_partition(
            RetryPartition::custom("ivs")
                .token_bucket(TokenBucket::unlimited())
                .build(),
        )
        .retry_classifier(patience.clone())
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(Duration::from_secs(3))
                // Includes the wait for the turn, 5 s at most.
                .operation_attempt_timeout(Duration::from_secs(20))
                .build(),
        )
}

/// Ends the SDK's retries of a call after [`PATIENCE`], and tells the pace of throttles. Calls come one at a time.
#[derive(Clone, Debug)]
struct Patience {
    began: Arc<Mutex<Instant>>,
    pace: Arc<Pace>,
}

impl Patience {
    fn new(pace: Arc<Pace>) -> Self {
        Self {
            began: Arc::new(Mutex::new(Instant::now())),
            pace,
        }
    }

    fn begin(&self) {
        *self.began.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn waited(&self) -> Duration {
        self.began
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed()
    }
}

impl ClassifyRetry for Patience {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let error = context.output_or_error().and_then(Result::err);
        if let Some(error) = error.and_then(|error| error.as_operation_error()) {
            let get_stage_session = error.downcast_ref::<GetStageSessionError>();
            let list_participants = error.downcast_ref::<ListParticipantsError>();
            for (operation, code) in [
                (
                    GET_STAGE_SESSION,
                    get_stage_session.and_then(ProvideErrorMetadata::code),
                ),
                (
                    LIST_PARTICIPANTS,
                    list_participants.and_then(ProvideErrorMetadata::code),
                ),
            ] {
                if code.is_some_and(|code| THROTTLES.contains(&code)) {
                    tracing::debug!(operation, "throttled");
                    self.pace.give_way(operation);
                }
            }
        }
        if self.waited() < PATIENCE {
            RetryAction::NoActionIndicated
        } else {
            RetryAction::RetryForbidden
        }
    }

    fn name(&self) -> &'static str {
        "patience"
    }
}
