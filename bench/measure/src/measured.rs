//! One process of a handler, measured: when it asks for events, when it answers, and what the kernel says that it used.

use std::collections::HashMap;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use ivs_attendance_local::TIMEOUT;
use ivs_attendance_local::lambda::runtime_api::{RuntimeApi, Said};
use serde_json::Value;
use tokio::process::{Child, Command};

/// How long a start or an invocation may take. Valgrind makes them slow.
const LONGEST: Duration = Duration::from_mins(10);

/// The time that something took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
}

/// A process that has started and waits for an event.
pub(crate) struct Measured {
    api: RuntimeApi,
    process: Child,
    /// Nanoseconds of processor time by thread. A thread that has ended keeps its last value.
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
        let api = RuntimeApi::start().await?;
        let began = Instant::now();
        let process = api.spawn(command, variables, log)?;
        let mut measured = Self {
            api,
            process,
            threads: HashMap::new(),
            start: Spent::default(),
        };
        let asked = measured.until_next().await?;
        // What another thread does at the start belongs to it.
        measured.until_idle().await?;
        measured.start = Spent {
            wall: asked.0 - began,
            cpu: measured.cpu()?,
        };
        Ok(measured)
    }

    /// Gives the process an event. The time is measured until it answers, the processor time until it asks for the next
    /// event.
    ///
    /// # Errors
    /// When it fails or ends.
    pub(crate) async fn invoke(&mut self, event: Value) -> Result<(Value, Spent), Box<dyn Error>> {
        let (began, cpu) = (Instant::now(), self.cpu()?);
        self.api.invoke(event, TIMEOUT);
        let (_, answered) = self.until_next().await?;
        let (at, answer) = answered.ok_or("it asked for an event without an answer")?;
        let spent = Spent {
            wall: at - began,
            cpu: self.cpu()?.saturating_sub(cpu),
        };
        Ok((serde_json::from_slice(&answer)?, spent))
    }

    /// Waits until the process asks for an event. Returns when it did, and its answer before that.
    async fn until_next(
        &mut self,
    ) -> Result<(Instant, Option<(Instant, Vec<u8>)>), Box<dyn Error>> {
        let mut answered = None;
        loop {
            let said = tokio::select! {
                said = self.api.said() => said,
                status = self.process.wait() => return Err(format!("it ended: {}", status?).into()),
                () = tokio::time::sleep(LONGEST) => return Err("it took too long".into()),
            };
            match said {
                (at, Said::Next) => return Ok((at, answered)),
                (at, Said::Answered(answer)) => answered = Some((at, answer.to_vec())),
                (_, Said::Failed(why) | Said::NotStarted(why)) => {
                    return Err(String::from_utf8_lossy(&why).into());
                }
            }
        }
    }

    /// Waits until all threads of the process are idle. It reads often, because the time of a thread after the last reading
    /// is lost when it ends.
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

    /// The peak resident memory, in bytes.
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

    /// Terminates the process, so that it can still print something.
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

    /// The processor time of all threads so far. `stat` would have hundredths of a second only.
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
