//! A handler as Lambda sees it, measured: a process behind a Runtime API that notes when it asks and when it answers,
//! and what it used by the kernel's own count.
//!
//! Not `lambda-simulator`, whose polls would be in the times. <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::collections::HashMap;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path as Segment, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc};

use ivs_attendance_local::folder::at;
use ivs_attendance_local::server::Server;
use ivs_attendance_local::{REGION, TIMEOUT};

/// How long a start or an invocation may take; under valgrind they take long.
const LONGEST: Duration = Duration::from_mins(10);

/// What the process says to its Runtime API.
enum Said {
    /// It asks for an event.
    Next,
    Answered(Bytes),
    Failed(Bytes),
}

#[derive(Clone)]
struct Api {
    said: mpsc::UnboundedSender<(Instant, Said)>,
    events: Arc<Mutex<mpsc::UnboundedReceiver<Value>>>,
}

/// What something took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
}

/// A process that has started and waits for an event.
pub(crate) struct Measured {
    _api: Server,
    events: mpsc::UnboundedSender<Value>,
    said: mpsc::UnboundedReceiver<(Instant, Said)>,
    process: Child,
    /// Nanoseconds on a processor, by thread: a thread that has ended keeps what it was last seen with.
    threads: HashMap<OsString, u64>,
    pub(crate) start: Spent,
}

impl Measured {
    /// Starts a command with Lambda's variables and `variables`, and waits until it asks for its first event.
    ///
    /// # Errors
    /// When it cannot be started, or ends or fails before.
    pub(crate) async fn start(
        command: &[&Path],
        variables: &HashMap<String, String>,
        log: &Path,
    ) -> Result<Self, Box<dyn Error>> {
        let (said, hears) = mpsc::unbounded_channel();
        let (events, receiver) = mpsc::unbounded_channel();
        let state = Api {
            said,
            events: Arc::new(Mutex::new(receiver)),
        };
        let routes = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/{how}", post(done))
            .route("/2018-06-01/runtime/init/error", post(failed))
            .with_state(state);
        let api = Server::start(routes).await?;
        let (program, arguments) = command.split_first().ok_or("no command")?;
        let output = fs::File::create(log).map_err(at(log))?;
        let address = api.url().trim_start_matches("http://").to_owned();
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs([
                ("AWS_LAMBDA_RUNTIME_API", address.as_str()),
                ("AWS_LAMBDA_FUNCTION_NAME", "measured"),
                ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
                ("AWS_REGION", REGION),
                ("AWS_DEFAULT_REGION", REGION),
            ])
            .envs(variables)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true);
        let began = Instant::now();
        let process = command.spawn().map_err(at(program))?;
        let mut measured = Self {
            _api: api,
            events,
            said: hears,
            process,
            threads: HashMap::new(),
            start: Spent::default(),
        };
        let asked = measured.until_next().await?;
        // What a thread does beside the start belongs to it.
        measured.until_idle().await?;
        measured.start = Spent {
            wall: asked.0 - began,
            cpu: measured.cpu()?,
        };
        Ok(measured)
    }

    /// Gives the process an event. Its time runs until it answers, its processor time until it asks for the next event.
    ///
    /// # Errors
    /// When it fails or ends.
    pub(crate) async fn invoke(&mut self, event: Value) -> Result<(Value, Spent), Box<dyn Error>> {
        let (began, cpu) = (Instant::now(), self.cpu()?);
        self.events.send(event)?;
        let (_, answered) = self.until_next().await?;
        let (at, answer) = answered.ok_or("it asked for an event without an answer")?;
        let spent = Spent {
            wall: at - began,
            cpu: self.cpu()?.saturating_sub(cpu),
        };
        Ok((serde_json::from_slice(&answer)?, spent))
    }

    /// Waits until the process asks for an event: when it did, and what it answered before, and when.
    async fn until_next(&mut self) -> Result<(Instant, Option<(Instant, Bytes)>), Box<dyn Error>> {
        let mut answered = None;
        loop {
            let said = tokio::select! {
                said = self.said.recv() => said.ok_or("the Runtime API is gone")?,
                status = self.process.wait() => return Err(format!("it ended: {}", status?).into()),
                () = tokio::time::sleep(LONGEST) => return Err("it took too long".into()),
            };
            match said {
                (at, Said::Next) => return Ok((at, answered)),
                (at, Said::Answered(answer)) => answered = Some((at, answer)),
                (_, Said::Failed(why)) => return Err(String::from_utf8_lossy(&why).into()),
            }
        }
    }

    /// Waits until no thread of the process has anything to do. It looks often: a thread that ends takes what it used
    /// since the last look with it.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub(crate) async fn until_idle(&mut self) -> Result<(), Box<dyn Error>> {
        let (mut used, mut since) = (self.cpu()?, Instant::now());
        while since.elapsed() < Duration::from_millis(200) {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let now = self.cpu()?;
            if now != used {
                (used, since) = (now, Instant::now());
            }
        }
        Ok(())
    }

    /// The most memory that it ever had resident, in bytes.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub(crate) fn peak_rss(&self) -> Result<u64, Box<dyn Error>> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .ok_or("no VmHWM")?;
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kilobytes * 1024)
    }

    /// Ends the process in order, so that it or its tool can say a last word.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub(crate) async fn terminate(mut self) -> Result<(), Box<dyn Error>> {
        let pid = self.pid()?.to_string();
        Command::new("kill").args(["-TERM", &pid]).status().await?;
        self.process.wait().await?;
        Ok(())
    }

    fn pid(&self) -> io::Result<u32> {
        self.process
            .id()
            .ok_or_else(|| io::Error::other("it has ended"))
    }

    /// The processor time so far, of all threads. Not from `stat`, which counts hundredths of a second.
    fn cpu(&mut self) -> Result<Duration, Box<dyn Error>> {
        for thread in fs::read_dir(format!("/proc/{}/task", self.pid()?))? {
            let thread = thread?;
            // A thread may end meanwhile.
            if let Ok(line) = fs::read_to_string(thread.path().join("schedstat")) {
                let on_a_processor = line.split(' ').next().unwrap_or_default().parse()?;
                self.threads.insert(thread.file_name(), on_a_processor);
            }
        }
        Ok(Duration::from_nanos(self.threads.values().sum()))
    }
}

async fn next(State(api): State<Api>) -> Response {
    // It fails only when the measuring has ended.
    let _ = api.said.send((Instant::now(), Said::Next));
    let event = api.events.lock().await.recv().await;
    let Some(event) = event else {
        return std::future::pending().await;
    };
    let deadline = SystemTime::now() + TIMEOUT;
    let deadline = deadline.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut response = Response::new(Body::from(event.to_string()));
    for (name, value) in [
        // Without it the client in Python crashes.
        ("content-type", "application/json".to_owned()),
        (
            "lambda-runtime-aws-request-id",
            "8476a536-e9f4-11e8-9739-2dfe598c3fcd".to_owned(),
        ),
        (
            "lambda-runtime-deadline-ms",
            deadline.as_millis().to_string(),
        ),
        (
            "lambda-runtime-invoked-function-arn",
            format!("arn:aws:lambda:{REGION}:123456789012:function:measured"),
        ),
    ] {
        let value = value.parse().expect("a header's value");
        response.headers_mut().insert(name, value);
    }
    response
}

async fn done(
    State(api): State<Api>,
    Segment((_, how)): Segment<(String, String)>,
    body: Bytes,
) -> StatusCode {
    let said = match how.as_str() {
        "response" => Said::Answered(body),
        _ => Said::Failed(body),
    };
    let _ = api.said.send((Instant::now(), said));
    StatusCode::ACCEPTED
}

async fn failed(State(api): State<Api>, body: Bytes) -> StatusCode {
    let _ = api.said.send((Instant::now(), Said::Failed(body)));
    StatusCode::ACCEPTED
}
