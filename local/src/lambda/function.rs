//! One process of the function's binary, with its own Runtime API.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::process::Child;
use tokio::time::{Instant, sleep_until};

use crate::lambda::runtime_api::{RuntimeApi, Said};

/// A running process.
pub struct Function {
    api: RuntimeApi,
    process: Child,
    log: PathBuf,
}

/// The result of an invocation: the answer, or the Lambda error.
pub type Answer = Result<Value, Failure>;

/// A Lambda error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub error_type: String,
    pub message: String,
}

/// Why an invocation brought no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Died {
    /// It did not answer within the time-out, and was killed.
    TimedOut,
    /// The process ended, with this status.
    Ended(String),
}

impl fmt::Display for Died {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => to.write_str("the function did not answer in time"),
            Self::Ended(status) => write!(to, "the function ended by itself: {status}"),
        }
    }
}

impl Function {
    /// Starts `bootstrap` with Lambda's own variables and `variables`; what it prints goes into `log`.
    pub async fn start(
        bootstrap: &Path,
        variables: &HashMap<String, String>,
        log: PathBuf,
    ) -> io::Result<Self> {
        let api = RuntimeApi::start().await?;
        let process = api.spawn(&[bootstrap], variables, &log)?;
        Ok(Self { api, process, log })
    }

    /// Invokes the function with Lambda's `timeout`, within which it must answer.
    pub async fn invoke(&mut self, payload: Value, timeout: Duration) -> Answer {
        match self.try_invoke(payload, timeout).await {
            Ok(answer) => answer,
            Err(died) => panic!("{died}\n{}", self.printed()),
        }
    }

    /// Invokes the function with Lambda's `timeout`, and waits for the result. As in Lambda, the time starts when the
    /// function has started and asks for an event, and the process is killed when it ends. The start may take as long
    /// again.
    ///
    /// # Errors
    /// When the process ended by itself or ran out of time. It cannot be used again.
    pub async fn try_invoke(&mut self, payload: Value, timeout: Duration) -> Result<Answer, Died> {
        let started_by = Instant::now() + timeout;
        while !matches!(self.said(started_by).await?, Said::Next) {}
        self.api.invoke(payload, timeout);
        let ends = Instant::now() + timeout;
        loop {
            match self.said(ends).await? {
                Said::Answered(answer) => return Ok(Ok(json(&answer))),
                Said::Failed(error) => {
                    let error = json(&error);
                    let text = |member: &str| error[member].as_str().unwrap_or_default().to_owned();
                    return Ok(Err(Failure {
                        error_type: text("errorType"),
                        message: text("errorMessage"),
                    }));
                }
                Said::Next | Said::NotStarted(_) => {}
            }
        }
    }

    /// What the process says next. If that does not come in time, the process is killed.
    async fn said(&mut self, in_time: Instant) -> Result<Said, Died> {
        tokio::select! {
            // Something said before the process ended still counts.
            biased;
            (_, said) = self.api.said() => return Ok(said),
            status = self.process.wait() => {
                let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                return Err(Died::Ended(status));
            }
            () = sleep_until(in_time) => {}
        }
        self.kill().await;
        Err(Died::TimedOut)
    }

    /// Sends SIGKILL and waits for the end.
    pub(crate) async fn kill(&mut self) {
        // It fails only if the process has ended already.
        let _ = self.process.kill().await;
    }

    /// Whether the process still runs.
    pub fn lives(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// The output of the process so far. It logs before it answers, so after an answer the output is complete.
    pub fn printed(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the function's log")
    }

    /// The log lines so far.
    pub fn log_lines(&self) -> Vec<Value> {
        let line =
            |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.printed().lines().map(line).collect()
    }
}

fn json(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(body));
    })
}
