//! Lambda's execution environments: processes of the function's binary, each with one invocation at a time. A process stays
//! warm between invocations. A new one starts when none is free, or when one has died.
//!
//! After <https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html>. Lambda refuses invocations above
//! its limit; here they wait.

use std::collections::HashMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Notify, Semaphore, watch};

use crate::lambda::function::{Answer, Died, Function};

/// The environments of a function. They end when the value is dropped.
pub struct Pool {
    bootstrap: PathBuf,
    folder: PathBuf,
    free: Semaphore,
    state: Mutex<State>,
    /// How many invocations have begun.
    begun: watch::Sender<usize>,
}

/// An invocation under way.
pub type Invocation = Pin<Box<dyn Future<Output = Result<Answer, Died>> + Send>>;

#[derive(Default)]
struct State {
    variables: HashMap<String, String>,
    /// How often the variables were changed. A process keeps those that it started with.
    deployments: usize,
    /// Idle processes, each with the number of its deployment.
    warm: Vec<(usize, Function)>,
    /// For each running invocation, by its number: notified to kill its process.
    busy: HashMap<usize, Arc<Notify>>,
    invocations: usize,
    logs: Vec<PathBuf>,
}

impl Pool {
    /// A pool of at most `most` processes of `bootstrap`. None is started yet. Each writes its log to a file in `folder`,
    /// which must exist.
    pub fn new(
        bootstrap: PathBuf,
        variables: HashMap<String, String>,
        folder: PathBuf,
        most: usize,
    ) -> Self {
        Self {
            bootstrap,
            folder,
            free: Semaphore::new(most),
            state: Mutex::new(State {
                variables,
                ..State::default()
            }),
            begun: watch::Sender::new(0),
        }
    }

    /// Invokes the function in a warm process, or in a new one if there is none, with Lambda's `timeout`.
    ///
    /// # Errors
    /// When the process died by itself, was killed, or ran out of time.
    pub async fn invoke(&self, payload: Value, timeout: Duration) -> Result<Answer, Died> {
        let _turn = self.free.acquire().await.expect("it is never closed");
        let (deployment, mut function) = self.function().await;
        let (busy, kill) = Busy::new(self);
        let result = tokio::select! {
            result = function.try_invoke(payload, timeout) => result,
            () = kill.notified() => Err(Died::Ended("killed".to_owned())),
        };
        drop(busy);
        if result.is_ok() {
            self.lock().warm.push((deployment, function));
        } else {
            function.kill().await;
        }
        result
    }

    /// [`Pool::invoke`] as a function that a mapping can call.
    pub fn invoker(
        self: &Arc<Self>,
        timeout: Duration,
    ) -> impl Fn(Value) -> Invocation + Send + Sync + 'static {
        let pool = Arc::clone(self);
        move |payload| {
            let pool = Arc::clone(&pool);
            Box::pin(async move { pool.invoke(payload, timeout).await })
        }
    }

    /// Changes a variable, as a deployment does: running invocations keep the old value, later ones get a new process.
    pub fn deploy(&self, variable: &str, value: &str) {
        let mut state = self.lock();
        state.deployments += 1;
        state
            .variables
            .insert(variable.to_owned(), value.to_owned());
    }

    /// Kills the busy process whose invocation began first. Returns false if there is none.
    pub fn kill_one(&self) -> bool {
        self.kill(|_| 0)
    }

    /// Kills one of the busy processes. Returns false if there is none. `choose` gets their number and returns a position
    /// in the order in which their invocations began.
    pub fn kill(&self, choose: impl FnOnce(usize) -> usize) -> bool {
        let mut state = self.lock();
        let mut busy: Vec<_> = state.busy.keys().copied().collect();
        if busy.is_empty() {
            return false;
        }
        busy.sort_unstable();
        if let Some(kill) = state.busy.remove(&busy[choose(busy.len())]) {
            kill.notify_one();
        }
        true
    }

    /// Waits until the invocation of this number has begun; the first is 1.
    pub async fn until_begun(&self, number: usize) {
        let mut begun = self.begun.subscribe();
        begun
            .wait_for(|begun| *begun >= number)
            .await
            .expect("the sender lives");
    }

    /// The number of busy processes.
    pub fn busy(&self) -> usize {
        self.lock().busy.len()
    }

    /// The number of processes that were started.
    pub fn started(&self) -> usize {
        self.lock().logs.len()
    }

    /// The output of all processes, including dead ones.
    pub fn printed(&self) -> String {
        let logs = self.lock().logs.clone();
        let read = |log| std::fs::read_to_string(log).expect("a log of the function");
        logs.iter().map(read).collect()
    }

    /// The log lines of all processes, including dead ones. A line that was cut off by the death of its process is left
    /// out.
    pub fn log_lines(&self) -> Vec<Value> {
        let logs = self.lock().logs.clone();
        let mut lines = Vec::new();
        for log in logs {
            let text = std::fs::read_to_string(log).expect("a log of the function");
            let cut_off = !text.ends_with('\n');
            let count = text.lines().count();
            for (number, line) in text.lines().enumerate() {
                match serde_json::from_str(line) {
                    Ok(line) => lines.push(line),
                    Err(_) if cut_off && number + 1 == count => {}
                    Err(error) => panic!("{error}: {line}"),
                }
            }
        }
        lines
    }

    async fn function(&self) -> (usize, Function) {
        loop {
            let (warm, now) = {
                let mut state = self.lock();
                (state.warm.pop(), state.deployments)
            };
            let Some((deployment, mut function)) = warm else {
                break;
            };
            if deployment == now && function.lives() {
                return (deployment, function);
            }
            function.kill().await;
        }
        let (log, deployment, variables) = {
            let mut state = self.lock();
            let number = state.logs.len() + 1;
            let log = self.folder.join(format!("function-{number}.log"));
            // Created now, so that all logs can be read at any time.
            std::fs::write(&log, "").unwrap_or_else(|error| panic!("{}: {error}", log.display()));
            state.logs.push(log.clone());
            (log, state.deployments, state.variables.clone())
        };
        let started = Function::start(&self.bootstrap, &variables, log).await;
        let function =
            started.unwrap_or_else(|error| panic!("the function did not start: {error}"));
        (deployment, function)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets an invocation be killed until the value is dropped.
struct Busy<'a> {
    pool: &'a Pool,
    number: usize,
}

impl<'a> Busy<'a> {
    fn new(pool: &'a Pool) -> (Self, Arc<Notify>) {
        let kill = Arc::new(Notify::new());
        let mut state = pool.lock();
        state.invocations += 1;
        let number = state.invocations;
        state.busy.insert(number, Arc::clone(&kill));
        pool.begun.send_replace(number);
        (Self { pool, number }, kill)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.pool.lock().busy.remove(&self.number);
    }
}
