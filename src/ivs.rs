//! IVS Real-Time: its calls, what their answers hold, and what their failures mean.
//!
//! The SDK signs, retries and parses. This file checks the optional fields of the SDK's types that the rest needs.
//! <https://docs.aws.amazon.com/ivs/latest/RealTimeAPIReference/Welcome.html>: GetStageSession, ListParticipants,
//! ListStages, ListStageSessions, GetParticipant, ListParticipantEvents.

pub mod pages;
pub mod rate_limiter;
pub mod retry_budget;
mod rows;

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_ivsrealtime::Client;
use aws_sdk_ivsrealtime::config::interceptors::{
    AfterDeserializationInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_sdk_ivsrealtime::config::retry::{RetryConfig, RetryPartition, TokenBucket};
use aws_sdk_ivsrealtime::config::timeout::TimeoutConfig;
use aws_sdk_ivsrealtime::config::{
    Builder, ConfigBag, Intercept, RuntimeComponents, StalledStreamProtectionConfig,
};
use aws_sdk_ivsrealtime::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_sdk_ivsrealtime::operation::get_participant::{GetParticipantError, GetParticipantOutput};
use aws_sdk_ivsrealtime::operation::get_stage_session::{
    GetStageSessionError, GetStageSessionOutput,
};
use aws_sdk_ivsrealtime::operation::list_participant_events::{
    ListParticipantEventsError, ListParticipantEventsOutput,
};
use aws_sdk_ivsrealtime::operation::list_participants::{
    ListParticipantsError, ListParticipantsOutput,
};
use aws_sdk_ivsrealtime::operation::list_stage_sessions::{
    ListStageSessionsError, ListStageSessionsOutput,
};
use aws_sdk_ivsrealtime::operation::list_stages::{ListStagesError, ListStagesOutput};
use aws_smithy_runtime_api::client::interceptors::context::Error as OperationError;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use chrono::{DateTime, Utc};
use futures::Stream;

use self::pages::{Page, follow};
use self::rate_limiter::{LimitedHttpClient, RateLimiter};
use self::retry_budget::RetryBudget;
use self::rows::{by_key, details, event, hash, participant, to_the_milli};
use crate::error::Error;
use crate::session::{EndedSession, SessionRef, StageArn};
use crate::table::Map;
use crate::table::attendance::Details;
use crate::table::participant_events::Event;
use crate::table::participants::Participant;
use crate::throttles::{Throttles, code, is_throttle, is_time_out};

/// The most that the API gives at once, of anything.
const PAGE_SIZE: i32 = 100;
/// How long one attempt of a call may take, from its turn on.
const ATTEMPT: Duration = Duration::from_secs(20);
const NOT_FOUND: &str = "ResourceNotFoundException";

const GET_STAGE_SESSION: &str = "GetStageSession";
const LIST_PARTICIPANTS: &str = "ListParticipants";
const GET_PARTICIPANT: &str = "GetParticipant";
const LIST_PARTICIPANT_EVENTS: &str = "ListParticipantEvents";
const LIST_STAGES: &str = "ListStages";
const LIST_STAGE_SESSIONS: &str = "ListStageSessions";

/// IVS Real-Time in one region.
#[derive(Debug)]
pub struct Ivs {
    client: Client,
    retry_budget: RetryBudget,
    /// For GetParticipant, which runs beside another operation and has its own budget.
    beside: Client,
    budget_beside: RetryBudget,
    limiter: Arc<RateLimiter>,
    spacing: Spacing,
}

/// The least interval between two requests of one operation in one invocation. An account has 5 calls a second of each operation,
/// and invocations that run at the same time share it. By default, in calls a second:
///
/// | operation | who may call it at the same time | together |
/// |---|---|---|
/// | GetStageSession | two batches, 2 each, and two collections, 0.5 each | 5 |
/// | ListParticipants | two batches, 2 each | 4 |
/// | GetParticipant, ListParticipantEvents | two collections, 2 each | 4 |
/// | ListStages | two batches, a tick and a dry run, 0.8 each | 3.2 |
/// | ListStageSessions | a tick, 4, and a dry run, 1 | 5 |
#[derive(Clone, Copy, Debug)]
pub struct Spacing {
    /// `CALLS_PER_SECOND`: of GetStageSession and ListParticipants. ListStages derives from it.
    pub calls: Duration,
    /// `SWEEP_CALLS_PER_SECOND`: of ListStageSessions in a tick.
    pub tick: Duration,
    /// `COLLECT_CALLS_PER_SECOND`: of GetParticipant, and of ListParticipantEvents.
    pub collect: Duration,
}

impl Spacing {
    /// Further apart, up to 2 s, since a call tells of a hundred stages; but never closer than other calls.
    fn list_stages(self) -> Duration {
        (self.calls * 5 / 2).min(self.calls.max(Duration::from_secs(2)))
    }

    /// Of GetStageSession, which a collection calls once, and once more for a part where somebody has no events.
    fn collections(self) -> Duration {
        self.calls * 4
    }

    /// Four times as far apart as a tick's.
    fn dry_run(self) -> Duration {
        self.tick * 4
    }

    fn longest(self) -> Duration {
        let longest = self.list_stages().max(self.dry_run());
        longest.max(self.collections()).max(self.collect)
    }
}

/// What IVS knows of a session.
#[derive(Debug, PartialEq)]
pub enum Found {
    Ended(EndedSession),
    Live { start_time: Option<DateTime<Utc>> },
    Unknown,
}

/// A stage as it is listed. The ARN is not checked yet: a malformed one must not hide the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    pub arn: String,
    /// The id of the session that is live, if one is.
    pub active_session_id: Option<String>,
    pub name: Option<String>,
    pub tags: Option<Map>,
}

/// A session as it is listed. The id is not checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedSession {
    pub session_id: String,
    pub start_time: Option<DateTime<Utc>>,
    /// `None` while it is live.
    pub end_time: Option<DateTime<Utc>>,
    /// The rule that this entry breaks, if any.
    pub fault: Option<&'static str>,
}

impl Ivs {
    /// A client whose requests keep this distance.
    #[must_use]
    pub fn new(sdk: &SdkConfig, spacing: Spacing) -> Self {
        let limiter = Arc::new(RateLimiter::new(spacing.calls, spacing.longest()));
        limiter.space(LIST_STAGES, spacing.list_stages());
        for operation in [GET_PARTICIPANT, LIST_PARTICIPANT_EVENTS] {
            limiter.space(operation, spacing.collect);
        }
        let client = |retry_budget: &RetryBudget| {
            let mut config = configure(Builder::from(sdk), retry_budget, &limiter);
            if let Some(client) = sdk.http_client() {
                let limiter = Arc::clone(&limiter);
                config = config.http_client(LimitedHttpClient { client, limiter });
            }
            Client::from_conf(config.build())
        };
        let (retry_budget, budget_beside) = (RetryBudget::default(), RetryBudget::default());
        Self {
            client: client(&retry_budget),
            beside: client(&budget_beside),
            retry_budget,
            budget_beside,
            limiter,
            spacing,
        }
    }

    /// Sets the interval between ListStageSessions calls: the short one for a tick, the long one for any other sweep, because it
    /// may run at the same time as a tick.
    pub fn begin_sweep(&self, is_tick: bool) {
        let Spacing { tick, .. } = self.spacing;
        let interval = if is_tick {
            tick
        } else {
            self.spacing.dry_run()
        };
        self.limiter.space(LIST_STAGE_SESSIONS, interval);
    }

    /// Sets the interval between GetStageSession calls: the long one for a collection, which seldom asks, the short one for a batch of
    /// sessions.
    pub fn begin_session(&self, is_collected: bool) {
        let interval = if is_collected {
            self.spacing.collections()
        } else {
            self.spacing.calls
        };
        self.limiter.space(GET_STAGE_SESSION, interval);
    }

    /// The requests sent so far, retries included.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.limiter.calls()
    }

    /// Asks what became of a session.
    ///
    /// # Errors
    /// Any of IVS's; an ended session without a start time is [`Error::IvsUnavailable`].
    pub async fn get_session(&self, name: &SessionRef) -> Result<Found, Error> {
        self.retry_budget.begin();
        let request = self.client.get_stage_session();
        let answer = request
            .stage_arn(name.stage_arn.as_str())
            .session_id(name.session_id.as_str())
            .send()
            .await;
        let session = match answer {
            Ok(answer) => answer.stage_session,
            Err(error) if error.code() == Some(NOT_FOUND) => return Ok(Found::Unknown),
            Err(error) => return Err(self.failure(GET_STAGE_SESSION, &name.to_string(), error)),
        };
        let malformed =
            |fault: &str| self.unusable(GET_STAGE_SESSION, &name.to_string(), fault.to_owned());
        let session = session.ok_or_else(|| malformed("the answer has no stageSession"))?;
        let Some(end_time) = session.end_time else {
            // It only tells how long the session has been live: one without it is live all the same.
            let start_time = session.start_time.and_then(to_the_milli);
            return Ok(Found::Live { start_time });
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

    /// Lists the participants of a session, page after page ([`follow`]).
    ///
    /// # Errors
    /// Any of IVS's, and [`Error::BrokenPagination`].
    pub fn participants<'a>(
        &'a self,
        name: &'a SessionRef,
    ) -> impl Stream<Item = Result<Vec<Participant>, Error>> + 'a {
        follow(
            LIST_PARTICIPANTS,
            name.to_string(),
            |row: &Participant| row.participant_id.as_ref().map(hash),
            |token| async {
                self.retry_budget.begin();
                let request = self
                    .client
                    .list_participants()
                    .max_results(PAGE_SIZE)
                    .set_next_token(token);
                let request = request
                    .stage_arn(name.stage_arn.as_str())
                    .session_id(name.session_id.as_str());
                let answer = request
                    .send()
                    .await
                    .map_err(|error| self.failure(LIST_PARTICIPANTS, &name.to_string(), error))?;
                let rows = answer.participants.into_iter().map(|summary| {
                    participant(summary).map_err(|id| {
                        let fault =
                            format!("the firstJoinTime of participant {id:?} is out of range");
                        self.unusable(LIST_PARTICIPANTS, &name.to_string(), fault)
                    })
                });
                Ok(Page {
                    items: rows.collect::<Result<_, Error>>()?,
                    next_token: answer.next_token,
                })
            },
        )
    }

    /// Lists all stages of the account in this region, page after page.
    ///
    /// # Errors
    /// As [`Ivs::participants`].
    pub fn stages(&self) -> impl Stream<Item = Result<Vec<Stage>, Error>> + '_ {
        const RESOURCE: &str = "the account";
        follow(
            LIST_STAGES,
            RESOURCE.to_owned(),
            |stage: &Stage| Some(hash(&stage.arn)),
            |token| async {
                self.retry_budget.begin();
                let request = self
                    .client
                    .list_stages()
                    .max_results(PAGE_SIZE)
                    .set_next_token(token);
                let answer = request
                    .send()
                    .await
                    .map_err(|error| self.failure(LIST_STAGES, RESOURCE, error))?;
                let stages = answer.stages.into_iter().map(|stage| Stage {
                    arn: stage.arn,
                    active_session_id: stage.active_session_id.filter(|id| !id.is_empty()),
                    name: stage.name,
                    tags: stage.tags.map(by_key),
                });
                Ok(Page {
                    items: stages.collect(),
                    next_token: answer.next_token,
                })
            },
        )
    }

    /// Lists the sessions of a stage, page after page, in no particular order. A stage that IVS does not know (any more) has
    /// none.
    ///
    /// # Errors
    /// As [`Ivs::participants`].
    pub fn sessions<'a>(
        &'a self,
        stage: &'a StageArn,
    ) -> impl Stream<Item = Result<Vec<ListedSession>, Error>> + 'a {
        follow(
            LIST_STAGE_SESSIONS,
            stage.to_string(),
            |session: &ListedSession| Some(hash(&session.session_id)),
            |token| async {
                self.retry_budget.begin();
                let request = self
                    .client
                    .list_stage_sessions()
                    .max_results(PAGE_SIZE)
                    .set_next_token(token);
                let answer = match request.stage_arn(stage.as_str()).send().await {
                    Ok(answer) => answer,
                    Err(error) if error.code() == Some(NOT_FOUND) => {
                        return Ok(Page {
                            items: Vec::new(),
                            next_token: None,
                        });
                    }
                    Err(error) => {
                        return Err(self.failure(LIST_STAGE_SESSIONS, stage.as_str(), error));
                    }
                };
                // One that is malformed must not hide the others.
                let sessions = answer.stage_sessions.into_iter().map(|session| {
                    let (start, end) = (session.start_time, session.end_time);
                    let (start_time, end_time) =
                        (start.and_then(to_the_milli), end.and_then(to_the_milli));
                    let lost = start.is_some() && start_time.is_none()
                        || end.is_some() && end_time.is_none();
                    ListedSession {
                        session_id: session.session_id.unwrap_or_default(),
                        start_time,
                        end_time,
                        fault: lost.then_some("must have times that are in range"),
                    }
                });
                Ok(Page {
                    items: sessions.collect(),
                    next_token: answer.next_token,
                })
            },
        )
    }

    /// Asks for the details of a participant; `None` if IVS does not know the participant.
    ///
    /// # Errors
    /// Any of IVS's.
    pub async fn details(
        &self,
        name: &SessionRef,
        participant_id: &str,
    ) -> Result<Option<Details>, Error> {
        self.budget_beside.begin();
        let request = self.beside.get_participant();
        let answer = request
            .stage_arn(name.stage_arn.as_str())
            .session_id(name.session_id.as_str())
            .participant_id(participant_id)
            .send()
            .await;
        let resource = || format!("participant {participant_id} of {name}");
        let participant = match answer {
            Ok(answer) => answer.participant,
            Err(error) if error.code() == Some(NOT_FOUND) => return Ok(None),
            Err(error) => return Err(self.failure(GET_PARTICIPANT, &resource(), error)),
        };
        let fault = "the answer has no participant";
        let participant =
            participant.ok_or_else(|| self.unusable(GET_PARTICIPANT, &resource(), fault))?;
        Ok(Some(details(participant)))
    }

    /// Lists the events of a participant, page after page ([`follow`]), in no particular order. The rows do not name the
    /// participant yet.
    ///
    /// # Errors
    /// Any of IVS's, and [`Error::BrokenPagination`].
    pub fn events<'a>(
        &'a self,
        name: &'a SessionRef,
        participant_id: &'a str,
    ) -> impl Stream<Item = Result<Vec<Event>, Error>> + 'a {
        let resource = format!("participant {participant_id} of {name}");
        follow(
            LIST_PARTICIPANT_EVENTS,
            resource,
            |event: &Event| Some(hash(event)),
            move |token| async move {
                self.retry_budget.begin();
                let resource = || format!("participant {participant_id} of {name}");
                let request = self
                    .client
                    .list_participant_events()
                    .max_results(PAGE_SIZE)
                    .set_next_token(token);
                let request = request
                    .stage_arn(name.stage_arn.as_str())
                    .session_id(name.session_id.as_str())
                    .participant_id(participant_id);
                let answer = request
                    .send()
                    .await
                    .map_err(|error| self.failure(LIST_PARTICIPANT_EVENTS, &resource(), error))?;
                let events = answer.events.into_iter().map(|listed| {
                    event(listed).ok_or_else(|| {
                        let fault = "a time of an event is out of range";
                        self.unusable(LIST_PARTICIPANT_EVENTS, &resource(), fault)
                    })
                });
                Ok(Page {
                    items: events.collect::<Result<_, Error>>()?,
                    next_token: answer.next_token,
                })
            },
        )
    }

    fn budget(&self, operation: &str) -> &RetryBudget {
        match operation {
            GET_PARTICIPANT => &self.budget_beside,
            _ => &self.retry_budget,
        }
    }

    fn failure<E>(&self, operation: &'static str, resource: &str, error: SdkError<E>) -> Error
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        let code = error.code();
        let status = error
            .raw_response()
            .map(|response| response.status().as_u16());
        if matches!(code, Some("AccessDeniedException" | "AccessDenied")) {
            return Error::AccessDenied {
                operation,
                resource: resource.to_owned(),
                source: Box::new(error),
            };
        }
        let refused = status.is_some_and(|status| (300..500).contains(&status));
        if refused && !is_throttle(code, status) && !is_time_out(code, status) {
            let without_code = || format!("HTTP {}", status.unwrap_or(0));
            let code = code.map_or_else(without_code, str::to_owned);
            let message = message(&error).unwrap_or_else(|| "no message".to_owned());
            return Error::IvsRejected {
                operation,
                resource: resource.to_owned(),
                code,
                message,
            };
        }
        self.unusable(operation, resource, error)
    }

    fn unusable(
        &self,
        operation: &'static str,
        resource: &str,
        source: impl Into<crate::error::BoxError>,
    ) -> Error {
        Error::IvsUnavailable {
            operation,
            resource: resource.to_owned(),
            seconds_waited: self.budget(operation).waited().as_secs(),
            source: source.into(),
        }
    }
}

/// The service's words. Its modelled errors have them in `exceptionMessage`, where the SDK does not look.
fn message<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Option<String> {
    let said = || {
        let body = error.raw_response()?.body().bytes()?;
        let body: serde_json::Value = serde_json::from_slice(body).ok()?;
        Some(body.get("exceptionMessage")?.as_str()?.to_owned())
    };
    error.message().map(str::to_owned).or_else(said)
}

fn configure(config: Builder, retry_budget: &RetryBudget, limiter: &Arc<RateLimiter>) -> Builder {
    config
        .retry_config(
            RetryConfig::standard()
                // More than fit into the retry_budget, which holds some 20. Not u32::MAX: the SDK sums a
                // term for each attempt at each call.
                .with_max_attempts(100)
                .with_initial_backoff(Duration::from_millis(500))
                .with_max_backoff(Duration::from_secs(8)),
        )
        // The default bucket forbids retries after some tens of failures; ours end by time.
        .retry_partition(
            RetryPartition::custom("ivs")
                .token_bucket(TokenBucket::unlimited())
                .build(),
        )
        .retry_classifier(Throttles(code_of))
        .retry_classifier(retry_budget.clone())
        .interceptor(Watch {
            limiter: Arc::clone(limiter),
        })
        // It takes the wait for the turn for a stalled upload; the time-out of the attempt stands in for it.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(Duration::from_secs(3))
                // Includes the wait for the turn.
                .operation_attempt_timeout(ATTEMPT + limiter.longest_interval())
                .build(),
        )
}

/// Looks at each answer before it is believed.
#[derive(Debug)]
struct Watch {
    limiter: Arc<RateLimiter>,
}

#[dyn_dispatch_hint]
impl Intercept for Watch {
    fn name(&self) -> &'static str {
        "watch"
    }

    // The SDK reads an answer without its list as an empty list: a body that got lost would pass for the end.
    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Ok(output) = context.output_or_error() else {
            return Ok(());
        };
        let member = if output.downcast_ref::<ListParticipantsOutput>().is_some() {
            (r#""participants""#, b'[')
        } else if output.downcast_ref::<GetStageSessionOutput>().is_some() {
            (r#""stageSession""#, b'{')
        } else if output.downcast_ref::<GetParticipantOutput>().is_some() {
            (r#""participant""#, b'{')
        } else if output
            .downcast_ref::<ListParticipantEventsOutput>()
            .is_some()
        {
            (r#""events""#, b'[')
        } else if output.downcast_ref::<ListStagesOutput>().is_some() {
            (r#""stages""#, b'[')
        } else if output.downcast_ref::<ListStageSessionsOutput>().is_some() {
            (r#""stageSessions""#, b'[')
        } else {
            return Err("an operation whose answer nobody checks".into());
        };
        let body = context.response().body().bytes().unwrap_or_default();
        if has_member(body, member) {
            return Ok(());
        }
        Err(format!("the answer of {} bytes has no {}", body.len(), member.0).into())
    }

    // Not in the retry classifier, which the SDK asks more than once about one attempt.
    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let status = context
            .response()
            .map(|response| response.status().as_u16());
        let error = context.output_or_error().and_then(Result::err);
        let code = error
            .and_then(|error| error.as_operation_error())
            .and_then(code_of);
        if error.is_some() && is_throttle(code, status) {
            let operation = config.load::<Metadata>().map_or("", Metadata::name);
            tracing::info!(throttled = operation, "{operation} was throttled");
            self.limiter.back_off(operation);
        }
        Ok(())
    }
}

fn code_of(error: &OperationError) -> Option<&str> {
    code::<GetStageSessionError>(error)
        .or_else(|| code::<ListParticipantsError>(error))
        .or_else(|| code::<GetParticipantError>(error))
        .or_else(|| code::<ListParticipantEventsError>(error))
        .or_else(|| code::<ListStagesError>(error))
        .or_else(|| code::<ListStageSessionsError>(error))
}

/// Whether a JSON text has a member with this name, in its quotes, whose value begins like this.
fn has_member(json: &[u8], (name, begin): (&str, u8)) -> bool {
    let behind = |at: usize| json[at + name.len()..].trim_ascii_start();
    let value = |at: usize| behind(at).strip_prefix(b":").map(<[u8]>::trim_ascii_start);
    let names = json
        .windows(name.len())
        .enumerate()
        .filter(|(_, part)| *part == name.as_bytes());
    names
        .filter_map(|(at, _)| value(at))
        .any(|value| value.first() == Some(&begin))
}

#[cfg(test)]
pub(crate) mod tests {
    use aws_sdk_ivsrealtime::config::http::HttpResponse;
    use aws_sdk_ivsrealtime::operation::get_stage_session::GetStageSessionOutput;
    use aws_sdk_ivsrealtime::primitives::DateTime as SdkDateTime;
    use aws_sdk_ivsrealtime::types::{ParticipantSummary, StageSession};
    use aws_smithy_mocks::{
        MockResponseInterceptor, Rule, RuleMode, create_mock_http_client, mock,
    };
    use aws_smithy_types::body::SdkBody;
    use futures::TryStreamExt;
    use tokio::time::Instant;

    use super::retry_budget::RETRY_BUDGET;
    use super::*;

    pub(crate) fn name() -> SessionRef {
        SessionRef {
            stage_arn: "arn:aws:ivs:us-west-2:123456789012:stage/AbCdef1G2hij"
                .parse()
                .unwrap(),
            session_id: "st-1CVugbu2cf2n8".parse().unwrap(),
        }
    }

    /// The real client with answers put in place of the service's, in their order.
    pub(crate) fn ivs(rules: &[Rule]) -> Ivs {
        answered(RuleMode::Sequential, rules)
    }

    pub(crate) fn answered(mode: RuleMode, rules: &[Rule]) -> Ivs {
        let spacing = Spacing {
            calls: Duration::from_millis(500),
            tick: Duration::from_millis(250),
            collect: Duration::from_millis(500),
        };
        let limiter = Arc::new(RateLimiter::new(spacing.calls, spacing.longest()));
        let client = |retry_budget: &RetryBudget| {
            let mut answers = MockResponseInterceptor::new().rule_mode(mode);
            for rule in rules {
                answers = answers.with_rule(rule);
            }
            let config = aws_sdk_ivsrealtime::Config::builder()
                .with_test_defaults_v2()
                .http_client(create_mock_http_client())
                .interceptor(answers);
            let config = configure(config, retry_budget, &limiter)
                .sleep_impl(aws_smithy_async::rt::sleep::TokioSleep::new())
                .build();
            Client::from_conf(config)
        };
        let (retry_budget, budget_beside) = (RetryBudget::default(), RetryBudget::default());
        Ivs {
            client: client(&retry_budget),
            beside: client(&budget_beside),
            retry_budget,
            budget_beside,
            limiter,
            spacing,
        }
    }

    pub(crate) fn page(token: Option<&str>, ids: &[&str]) -> ListParticipantsOutput {
        let people = ids
            .iter()
            .map(|id| ParticipantSummary::builder().participant_id(*id).build());
        ListParticipantsOutput::builder()
            .set_participants(Some(people.collect()))
            .set_next_token(token.map(str::to_owned))
            .build()
            .unwrap()
    }

    /// The page that answers exactly this token.
    fn answering(
        asked: Option<&'static str>,
        token: Option<&'static str>,
        ids: &'static [&'static str],
    ) -> Rule {
        mock!(Client::list_participants)
            .match_requests(move |request| {
                request.next_token() == asked
                    && request.max_results() == Some(100)
                    && request.stage_arn() == Some(name().stage_arn.as_str())
                    && request.session_id() == Some(name().session_id.as_str())
            })
            .then_output(move || page(token, ids))
    }

    fn http(status: u16, code: &'static str, body: &'static str) -> HttpResponse {
        let mut response = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
        response.headers_mut().insert("x-amzn-errortype", code);
        response
    }

    fn refusing(status: u16, code: &'static str, body: &'static str) -> Rule {
        mock!(Client::list_participants).then_http_response(move || http(status, code, body))
    }

    async fn list(ivs: &Ivs) -> Result<Vec<String>, Error> {
        let rows: Vec<_> = ivs.participants(&name()).try_concat().await?;
        Ok(rows
            .into_iter()
            .filter_map(|row| row.participant_id)
            .collect())
    }

    #[tokio::test(start_paused = true)]
    async fn pages_are_followed_by_their_tokens_to_the_last() {
        let ivs = ivs(&[
            answering(None, Some("t1"), &["a", "b"]),
            answering(Some("t1"), Some("t2"), &["c"]),
            answering(Some("t2"), None, &["d"]),
        ]);
        assert_eq!(list(&ivs).await.unwrap(), ["a", "b", "c", "d"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_page_with_a_token_is_not_the_end() {
        let ivs = ivs(&[
            answering(None, Some("t1"), &[]),
            answering(Some("t1"), Some("t2"), &["a"]),
            answering(Some("t2"), Some("t3"), &[]),
            answering(Some("t3"), None, &["b"]),
        ]);
        assert_eq!(list(&ivs).await.unwrap(), ["a", "b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_comes_twice_is_an_error_and_not_the_end() {
        let ivs = ivs(&[
            answering(None, Some("t1"), &["a"]),
            answering(Some("t1"), Some("t2"), &["b"]),
            answering(Some("t2"), Some("t1"), &["c"]),
        ]);
        let error = list(&ivs).await.unwrap_err();
        assert_eq!(error.error_type(), "BrokenPagination");
        assert_eq!(
            error.to_string(),
            format!(
                "ListParticipants for {}: nextToken \"t1\" came twice",
                name()
            )
        );
    }

    #[tokio::test(start_paused = true)]
    async fn ever_new_tokens_without_anybody_new_are_an_error() {
        let calls = std::sync::atomic::AtomicUsize::new(0);
        let rule = mock!(Client::list_participants).then_compute_output(move |_| {
            let call = calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            page(Some(&format!("t{call}")), &["a", "b"])
        });
        let error = list(&answered(RuleMode::MatchAny, &[rule]))
            .await
            .unwrap_err();
        assert_eq!(error.error_type(), "BrokenPagination");
        assert!(error.to_string().contains("50 pages in a row"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_has_expired_begins_the_list_once_more() {
        let ivs = ivs(&[
            answering(None, Some("t1"), &["a"]),
            refusing(
                400,
                "ValidationException",
                r#"{"exceptionMessage":"token expired"}"#,
            ),
            answering(None, Some("t1"), &["b"]),
            answering(Some("t1"), None, &["a"]),
        ]);
        assert_eq!(list(&ivs).await.unwrap(), ["a", "b", "a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_expires_again_is_a_refusal_with_the_services_words() {
        let ivs = ivs(&[
            answering(None, Some("t1"), &["a"]),
            refusing(
                400,
                "ValidationException",
                r#"{"exceptionMessage":"token expired"}"#,
            ),
            answering(None, Some("t1"), &["a"]),
            refusing(
                400,
                "ValidationException",
                r#"{"exceptionMessage":"token expired"}"#,
            ),
        ]);
        let error = list(&ivs).await.unwrap_err();
        assert_eq!(error.error_type(), "IvsRejected");
        assert!(
            error
                .to_string()
                .ends_with("refused with ValidationException: token expired"),
            "{error}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_page_that_is_refused_fails_at_once() {
        let ivs = ivs(&[refusing(
            400,
            "PendingVerification",
            r#"{"exceptionMessage":"wait a day"}"#,
        )]);
        let began = Instant::now();
        let error = list(&ivs).await.unwrap_err();
        assert_eq!(error.error_type(), "IvsRejected");
        assert!(
            error
                .to_string()
                .ends_with("refused with PendingVerification: wait a day"),
            "{error}"
        );
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn throttles_failures_and_torn_answers_are_retried() {
        let plain =
            |status: u16, body| HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
        let rule = mock!(Client::list_participants)
            .sequence()
            .http_response(|| http(429, "ThrottlingException", "{}"))
            .http_response(|| http(400, "ThrottlingException", "{}"))
            .http_response(|| http(500, "InternalServerException", "{}"))
            .http_response(move || plain(503, "<html>busy</html>"))
            .http_response(move || plain(429, "<html>too many</html>"))
            .http_response(move || plain(429, "{}"))
            .http_response(move || plain(408, "<html>too slow</html>"))
            .http_response(move || plain(408, "{}"))
            .http_response(move || plain(200, r#"{"participants":[{"participantId":"a"#))
            .http_response(move || plain(200, r#"{"participants":[null]}"#))
            .http_response(move || plain(200, ""))
            .http_response(move || plain(200, "{}"))
            .http_response(move || plain(200, r#"{"participants": null, "nextToken": "t1"}"#))
            .output(|| page(None, &["a"]))
            .build();
        assert_eq!(
            list(&ivs(std::slice::from_ref(&rule))).await.unwrap(),
            ["a"]
        );
        assert_eq!(rule.num_calls(), 14);
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttle_makes_its_operation_back_off() {
        let with_code = || http(429, "ThrottlingException", "{}");
        let without =
            || HttpResponse::new(429.try_into().unwrap(), SdkBody::from("<html>no</html>"));
        for throttle in [with_code as fn() -> HttpResponse, without] {
            let rule = mock!(Client::list_participants)
                .sequence()
                .http_response(throttle)
                .output(|| page(None, &["a"]))
                .build();
            let ivs = ivs(&[rule]);
            list(&ivs).await.unwrap();
            assert_eq!(
                ivs.limiter.interval(LIST_PARTICIPANTS),
                Duration::from_secs(1)
            );
            assert_eq!(
                ivs.limiter.interval(GET_STAGE_SESSION),
                Duration::from_millis(500)
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn lasting_throttles_without_a_code_are_no_refusal() {
        for status in [429, 408] {
            let plain = move || HttpResponse::new(status.try_into().unwrap(), SdkBody::from("{}"));
            let rule = mock!(Client::list_participants).then_http_response(plain);
            let error = list(&answered(RuleMode::MatchAny, &[rule]))
                .await
                .unwrap_err();
            assert_eq!(error.error_type(), "IvsUnavailable", "{status}");
        }
    }

    #[test]
    fn what_runs_at_once_stays_within_the_quota_of_5_a_second() {
        let spacing = Spacing {
            calls: Duration::from_millis(500),
            tick: Duration::from_millis(250),
            collect: Duration::from_millis(500),
        };
        let a_second = |interval: Duration| 1.0 / interval.as_secs_f64();
        let (batches, collections, a_tick, a_dry_run) = (2.0, 2.0, 1.0, 1.0);
        let of_each = [
            batches * a_second(spacing.calls) + collections * a_second(spacing.collections()),
            batches * a_second(spacing.calls),
            collections * a_second(spacing.collect),
            (batches + a_tick + a_dry_run) * a_second(spacing.list_stages()),
            a_second(spacing.tick) + a_second(spacing.dry_run()),
        ];
        let tenths = of_each.map(|calls| format!("{calls:.1}"));
        assert_eq!(tenths, ["5.0", "4.0", "4.0", "3.2", "5.0"]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_retry_budget_ends_after_a_minute_with_the_last_cause() {
        let ivs = ivs(&[refusing(
            429,
            "ThrottlingException",
            r#"{"message":"Rate exceeded"}"#,
        )]);
        let began = Instant::now();
        let error = list(&ivs).await.unwrap_err();
        assert_eq!(error.error_type(), "IvsUnavailable");
        assert!(
            error.chain().contains("ThrottlingException"),
            "{}",
            error.chain()
        );
        let waited = began.elapsed();
        assert!(
            waited >= RETRY_BUDGET && waited < RETRY_BUDGET + Duration::from_secs(10),
            "{waited:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_denied_call_names_operation_and_session_at_once() {
        let ivs = ivs(&[refusing(
            403,
            "AccessDeniedException",
            r#"{"exceptionMessage":"no"}"#,
        )]);
        let began = Instant::now();
        let error = list(&ivs).await.unwrap_err();
        assert_eq!(error.error_type(), "AccessDenied");
        assert_eq!(
            error.to_string(),
            format!("ListParticipants on {}: access denied", name())
        );
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    async fn find(session: Option<StageSession>) -> Result<Found, Error> {
        let rule = mock!(Client::get_stage_session).then_output(move || {
            GetStageSessionOutput::builder()
                .set_stage_session(session.clone())
                .build()
        });
        ivs(&[rule]).get_session(&name()).await
    }

    #[tokio::test]
    async fn times_are_cut_to_the_millisecond() {
        let session = StageSession::builder()
            .start_time(SdkDateTime::from_secs_and_nanos(10, 123_999_999))
            .end_time(SdkDateTime::from_secs_and_nanos(-2, 1_999_999))
            .build();
        let Found::Ended(session) = find(Some(session)).await.unwrap() else {
            panic!("it has ended")
        };
        assert_eq!(session.start_time.timestamp_millis(), 10_123);
        assert_eq!(session.end_time.timestamp_millis(), -1_999);
    }

    #[tokio::test]
    async fn a_session_without_an_end_is_live() {
        let session = StageSession::builder()
            .start_time(SdkDateTime::from_secs(10))
            .build();
        let start_time = DateTime::from_timestamp(10, 0);
        let live = Found::Live { start_time };
        assert_eq!(find(Some(session)).await.unwrap(), live);
    }

    #[tokio::test]
    async fn an_ended_session_without_a_start_is_an_error_that_says_so() {
        let error = find(Some(
            StageSession::builder()
                .end_time(SdkDateTime::from_secs(10))
                .build(),
        ))
        .await
        .unwrap_err();
        assert_eq!(error.error_type(), "IvsUnavailable");
        assert!(
            error.chain().ends_with("an ended session has no startTime"),
            "{}",
            error.chain()
        );
        assert!(
            find(None)
                .await
                .unwrap_err()
                .chain()
                .ends_with("no stageSession")
        );
    }

    #[tokio::test]
    async fn an_unknown_session_is_no_error() {
        let rule = mock!(Client::get_stage_session)
            .then_http_response(|| http(404, "ResourceNotFoundException", "{}"));
        assert_eq!(
            ivs(&[rule]).get_session(&name()).await.unwrap(),
            Found::Unknown
        );
    }

    #[tokio::test]
    async fn a_404_of_anything_else_is_not_an_unknown_session() {
        let rule = mock!(Client::get_stage_session).then_http_response(|| {
            HttpResponse::new(
                404.try_into().unwrap(),
                SdkBody::from("<html>no such host</html>"),
            )
        });
        let error = ivs(&[rule]).get_session(&name()).await.unwrap_err();
        assert_eq!(error.error_type(), "IvsRejected");
        assert!(error.to_string().contains("HTTP 404"), "{error}");
    }
}
