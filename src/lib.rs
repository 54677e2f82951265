//! The attendance record of every Amazon IVS Real-Time stage session, as one Parquet object a session on S3.
//!
//! The route of a request, and the modules in the order of it:
//!
//! ```text
//! Lambda ─► main ─► handle ─► event      a payload becomes sessions to look at
//!                     │
//!                     └─ each session once ─► reconcile
//!                          1. ivs    GetStageSession: live or unknown? done
//!                          2. lake   is its object there, and final? done
//!                          3. ivs    ListParticipants, page after page, at the pace of `pace`
//!                             table  rows, merged with those stored, as Parquet
//!                             lake   one conditional PUT
//! ```
//!
//! Limits: a session is listed within one invocation (`deadline`), at `CALLS_PER_SECOND` × 100 participants a second,
//! and its rows are held in memory.
//!
//! On failure: nothing is written, and the [`error::Error`] reaches whoever delivered the payload. Of a batch, the
//! messages that failed are named in the answer and come again; after the queue's last try they lie in the dead-letter
//! queue.

pub mod config;
pub mod deadline;
pub mod error;
pub mod event;
pub mod ivs;
pub mod lake;
pub mod pace;
pub mod reconcile;
pub mod session;
pub mod table;

use std::collections::{BTreeSet, HashMap};
use std::time::SystemTime;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tracing::error;

use crate::config::Config;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::event::{Message, Work};
use crate::ivs::Ivs;
use crate::lake::Lake;
use crate::reconcile::{Reconciler, Report};

/// The function, ready for payloads: clients that all invocations share.
#[derive(Debug)]
pub struct Attendance {
    reconciler: Reconciler,
    region: String,
}

impl Attendance {
    /// Builds the clients. Nothing is called yet.
    pub async fn connect(config: Config) -> Self {
        let http_client = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .build_https();
        let sdk: SdkConfig = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http_client.clone())
            .load()
            .await;
        let ivs = Ivs::new(&sdk, http_client.clone(), config.call_interval());
        let lake = Lake::new(
            &sdk,
            http_client,
            config.path_style,
            config.bucket,
            config.prefix,
        );
        let reconciler = Reconciler {
            ivs,
            lake,
            confirm_after: config.confirm_after,
        };
        Self {
            reconciler,
            region: config.region,
        }
    }

    /// Does what a payload asks for before `end_of_time`, and gives the answer in the shape that the sender expects: a
    /// session's report, or the failed messages of a batch.
    ///
    /// # Errors
    /// Of a single request any [`Error`]; of a batch only what makes it no batch at all.
    pub async fn handle(&self, payload: Value, end_of_time: SystemTime) -> Result<Value, Error> {
        let remaining = end_of_time.duration_since(now().into()).unwrap_or_default();
        let deadline = Deadline::after(remaining);
        let answer = match event::parse(payload, &self.region, now()) {
            Ok(Work::Session(request)) => self.one(&request, &deadline).await,
            Ok(Work::Batch(messages)) => return Ok(self.batch(messages, &deadline).await),
            Err(error) => Err(error),
        };
        answer.inspect_err(|failure| {
            error!(
                error_type = failure.error_type(),
                error = failure.chain(),
                "the request failed"
            );
        })
    }

    /// Boxed: the SDK's futures are deep, and the compiler's limit on nested types is not.
    fn reconcile<'a>(
        &'a self,
        request: &'a event::Request,
        deadline: &'a Deadline,
    ) -> BoxFuture<'a, Result<Report, Error>> {
        Box::pin(self.reconciler.reconcile(request, now(), deadline))
    }

    async fn one(&self, request: &event::Request, deadline: &Deadline) -> Result<Value, Error> {
        let report: Report = self.reconcile(request, deadline).await?;
        // A struct of strings and numbers always is a JSON value.
        Ok(serde_json::to_value(report).unwrap_or_default())
    }

    /// Looks at each session of a batch once, however many messages name it. A failure is the failure of the messages
    /// that name the session, and of no other.
    async fn batch(&self, messages: Vec<Message>, deadline: &Deadline) -> Value {
        let mut failed = BTreeSet::new();
        let mut fail = |message_id: &str, failure: &Error| {
            let (error_type, chain) = (failure.error_type(), failure.chain());
            error!(message_id, error_type, error = chain, "the message failed");
            failed.insert(message_id.to_owned());
        };

        let mut sessions: Vec<(event::Request, Vec<String>)> = Vec::new();
        let mut places = HashMap::new();
        for message in messages {
            match message.request {
                Err(failure) => fail(&message.id, &failure),
                Ok(request) => {
                    let place = *places
                        .entry(request.session.clone())
                        .or_insert(sessions.len());
                    match sessions.get_mut(place) {
                        Some((joined, ids)) => {
                            joined.join(&request);
                            ids.push(message.id);
                        }
                        None => sessions.push((request, vec![message.id])),
                    }
                }
            }
        }
        for (request, message_ids) in sessions {
            if let Err(failure) = self.reconcile(&request, deadline).await {
                for message_id in &message_ids {
                    fail(message_id, &failure);
                }
            }
        }
        let failures: Vec<_> = failed
            .iter()
            .map(|id| json!({ "itemIdentifier": id }))
            .collect();
        json!({ "batchItemFailures": failures })
    }
}

/// The time now: read here, once for each session, and handed down as a value.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the clock is read"
)]
fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}
