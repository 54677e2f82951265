//! The function's real binary, fed by the crate `lambda-simulator` through a real Runtime API.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use lambda_simulator::{InvocationBuilder, InvocationStatus, Simulator};
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
        let millis = u64::try_from(timeout.as_millis()).expect("a time-out of less than an age");
        let invocation = InvocationBuilder::new()
            .payload(payload)
            .timeout_ms(millis)
            .build();
        let id = self
            .simulator
            .enqueue(invocation.expect("a payload was given"))
            .await;
        let state = tokio::select! {
            state = self.simulator.wait_for_invocation_complete(&id, timeout) => state,
            status = self.process.wait() => panic!("the function ended by itself: {status:?}\n{}", self.printed()),
        };
        let state = state.unwrap_or_else(|error| panic!("{error}\n{}", self.printed()));
        match (state.status, state.response, state.error) {
            (InvocationStatus::Success, Some(response), _) => Ok(response.payload),
            (InvocationStatus::Error, _, Some(error)) => Err(Failure {
                error_type: error.error_type,
                message: error.error_message,
            }),
            (status, ..) => panic!("the invocation ended as {status:?} without an answer"),
        }
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
