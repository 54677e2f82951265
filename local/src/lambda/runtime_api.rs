//! Lambda's Runtime API for one process: it gives the process events, and reports what the process says and when.
//!
//! After <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>. Not here: extensions, and streamed answers.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path as Segments, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc};

use crate::folder::at;
use crate::server::Server;
use crate::{ACCOUNT, REGION};

/// The largest answer, in bytes.
const LARGEST: usize = 6 * 1024 * 1024;

/// What the process says.
#[derive(Clone, Debug)]
pub enum Said {
    /// It asks for an event.
    Next,
    /// The invocation succeeded, with this answer.
    Answered(Bytes),
    /// The invocation failed, with this error.
    Failed(Bytes),
    /// It could not start, with this error.
    NotStarted(Bytes),
}

struct Event {
    payload: Value,
    deadline: SystemTime,
}

/// The running API.
pub struct RuntimeApi {
    server: Server,
    events: mpsc::UnboundedSender<Event>,
    said: mpsc::UnboundedReceiver<(Instant, Said)>,
}

/// The state that all requests share.
#[derive(Clone)]
struct Shared {
    events: Arc<Mutex<mpsc::UnboundedReceiver<Event>>>,
    said: mpsc::UnboundedSender<(Instant, Said)>,
}

impl RuntimeApi {
    /// Starts the API on a free port.
    pub async fn start() -> io::Result<Self> {
        let (events, to_give) = mpsc::unbounded_channel();
        let (says, said) = mpsc::unbounded_channel();
        let shared = Shared {
            events: Arc::new(Mutex::new(to_give)),
            said: says,
        };
        let routes = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/{how}", post(done))
            .route("/2018-06-01/runtime/init/error", post(not_started))
            .layer(DefaultBodyLimit::max(LARGEST))
            .with_state(shared);
        Ok(Self {
            server: Server::start(routes).await?,
            events,
            said,
        })
    }

    /// Starts a command as Lambda would, with Lambda's own variables and `variables`; what it prints goes into `log`. It is
    /// killed when the value is dropped.
    pub fn spawn(
        &self,
        command: &[&Path],
        variables: &HashMap<String, String>,
        log: &Path,
    ) -> io::Result<Child> {
        let output = File::create(log).map_err(at(log))?;
        let (program, arguments) = command.split_first().expect("a command has a program");
        Command::new(program)
            .args(arguments)
            .env_clear()
            .envs([
                (
                    "AWS_LAMBDA_RUNTIME_API",
                    self.server.url().trim_start_matches("http://"),
                ),
                ("AWS_LAMBDA_FUNCTION_NAME", "ivs-attendance"),
                ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
                ("AWS_REGION", REGION),
                ("AWS_DEFAULT_REGION", REGION),
            ])
            .envs(variables)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .map_err(at(program))
    }

    /// Gives the process an event, at once or as soon as it asks. Its time-out begins now.
    pub fn invoke(&self, payload: Value, timeout: Duration) {
        let deadline = SystemTime::now() + timeout;
        // It fails only if the server is gone, which ends with this value.
        let _ = self.events.send(Event { payload, deadline });
    }

    /// Waits for the next thing that the process says.
    pub async fn said(&mut self) -> (Instant, Said) {
        match self.said.recv().await {
            Some(said) => said,
            None => std::future::pending().await,
        }
    }
}

async fn next(State(shared): State<Shared>) -> Response {
    // Nobody listens any more when the value is being dropped.
    let _ = shared.said.send((Instant::now(), Said::Next));
    let Some(event) = shared.events.lock().await.recv().await else {
        return std::future::pending().await;
    };
    let deadline = event.deadline.duration_since(UNIX_EPOCH);
    let deadline = deadline.unwrap_or_default().as_millis().to_string();
    let function = format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:ivs-attendance");
    Response::builder()
        // Without it Lambda's client for Python crashes.
        .header("content-type", "application/json")
        .header(
            "lambda-runtime-aws-request-id",
            "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
        )
        .header("lambda-runtime-deadline-ms", deadline)
        .header("lambda-runtime-invoked-function-arn", function)
        .header(
            "lambda-runtime-trace-id",
            "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0",
        )
        .body(Body::from(event.payload.to_string()))
        .expect("the parts of a response are valid")
}

async fn done(
    State(shared): State<Shared>,
    Segments((_, how)): Segments<(String, String)>,
    body: Bytes,
) -> StatusCode {
    let said = match how.as_str() {
        "response" => Said::Answered(body),
        _ => Said::Failed(body),
    };
    let _ = shared.said.send((Instant::now(), said));
    StatusCode::ACCEPTED
}

async fn not_started(State(shared): State<Shared>, body: Bytes) -> StatusCode {
    let _ = shared.said.send((Instant::now(), Said::NotStarted(body)));
    StatusCode::ACCEPTED
}
