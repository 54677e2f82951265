//! The function's real binary, fed by the crate `lambda-simulator` through a real Runtime API.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use lambda_simulator::{InvocationBuilder, InvocationStatus, Simulator, SimulatorPhase};
use serde_json::Value;
use tokio::process::{Child, Command};

/// A running function.
pub struct Function {
    simulator: Simulator,
    process: Child,
    log: PathBuf,
}

/// What came back of an invocation: the answer, or the Lambda error.
pub type Answer = Result<Value, Failure>;

/// A Lambda error, by its two members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub error_type: String,
    pub message: String,
}

/// Why an invocation brought no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Died {
    /// Lambda's time-out ran out, and the process was killed.
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
    ///
    /// # Errors
    /// When the binary cannot be started or no port can be had.
    pub async fn start(
        bootstrap: &Path,
        region: &str,
        variables: &HashMap<String, String>,
        log: PathBuf,
    ) -> io::Result<Self> {
        let simulator = Simulator::builder()
            .function_name("ivs-attendance")
            .region(region)
            .build()
            .await
            .map_err(io::Error::other)?;
        let output = File::create(&log)?;
        let process = Command::new(bootstrap)
            .env_clear()
            .envs(simulator.lambda_env_vars())
            .envs(variables)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", bootstrap.display()))
            })?;
        Ok(Self {
            simulator,
            process,
            log,
        })
    }

    /// Invokes the function with Lambda's `timeout`, and waits for what comes back.
    ///
    /// # Panics
    /// If nothing comes back within that time: the function must answer before its end.
    pub async fn invoke(&mut self, payload: Value, timeout: Duration) -> Answer {
        match self.try_invoke(payload, timeout).await {
            Ok(answer) => answer,
            Err(died) => panic!("{died}\n{}", self.printed()),
        }
    }

    /// Invokes the function with Lambda's `timeout`, and waits for what comes back. As in Lambda, the time runs from
    /// when the function has started and waits for an event, and its end kills the process. The start may take as long
    /// again.
    ///
    /// # Errors
    /// If the process ended, by itself or because the time had run out. It is of no use any more.
    pub async fn try_invoke(&mut self, payload: Value, timeout: Duration) -> Result<Answer, Died> {
        let simulator = &self.simulator;
        // Both waits of the simulator can miss what happens just as they begin, so they are begun anew now and then.
        const SLICE: Duration = Duration::from_millis(100);
        let answered = async {
            let starts = async {
                while !simulator.is_initialized().await {
                    let _ = simulator.wait_for_phase(SimulatorPhase::Ready, SLICE).await;
                }
            };
            tokio::time::timeout(timeout, starts).await?;
            let millis =
                u64::try_from(timeout.as_millis()).expect("a time-out of less than an age");
            let invocation = InvocationBuilder::new()
                .payload(payload)
                .timeout_ms(millis)
                .build();
            let id = simulator
                .enqueue(invocation.expect("a payload was given"))
                .await;
            let answers = async {
                loop {
                    if let Ok(state) = simulator.wait_for_invocation_complete(&id, SLICE).await {
                        return state;
                    }
                }
            };
            tokio::time::timeout(timeout, answers).await
        };
        let state = tokio::select! {
            state = answered => state,
            status = self.process.wait() => {
                let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                return Err(Died::Ended(status));
            }
        };
        let Ok(state) = state else {
            self.kill().await;
            return Err(Died::TimedOut);
        };
        match (state.status, state.response, state.error) {
            (InvocationStatus::Success, Some(response), _) => Ok(Ok(response.payload)),
            (InvocationStatus::Error, _, Some(error)) => Ok(Err(Failure {
                error_type: error.error_type,
                message: error.error_message,
            })),
            (status, ..) => panic!("the invocation ended as {status:?} without an answer"),
        }
    }

    /// Sends SIGKILL and waits for the end.
    pub(crate) async fn kill(&mut self) {
        // It fails only if the process has ended already.
        let _ = self.process.kill().await;
    }

    /// Whether the process still runs.
    pub(crate) fn lives(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// Ends the process and its Runtime API.
    pub(crate) async fn end(mut self) {
        self.kill().await;
        self.simulator.shutdown().await;
    }

    /// What the function printed so far. It prints before it answers, so after an answer nothing is missing.
    ///
    /// # Panics
    /// If the log cannot be read.
    #[must_use]
    pub fn printed(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the function's log")
    }

    /// The log lines so far.
    ///
    /// # Panics
    /// If a line is not JSON: the function logs nothing else.
    #[must_use]
    pub fn log_lines(&self) -> Vec<Value> {
        let line =
            |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.printed().lines().map(line).collect()
    }

    /// The address of the Runtime API, `HOST:PORT`.
    #[must_use]
    pub fn runtime_api(&self) -> String {
        self.simulator.addr().to_string()
    }
}
