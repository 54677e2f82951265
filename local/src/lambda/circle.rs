//! The deployed system on one machine: event → queue of work → function → lake, and tick → queue of sweeps → function →
//! queues of work and of collections. Queues, mappings and the function's time-out have the settings of `template.yaml`. All times are divided
//! by one factor.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::ivs::Ivs;
use crate::ivs::quota::Quota;
use crate::lambda::function::{Answer, Died};
use crate::lambda::mapping::Mapping;
use crate::lambda::pool::Pool;
use crate::lambda::variables;
use crate::s3::S3;
use crate::sqs::Sqs;
use crate::sqs::queues::QueueSettings;
use crate::template::Template;
use crate::{BUCKET, REGION};

/// The names of the queues.
pub const WORK: &str = "work";
pub const SWEEPS: &str = "sweeps.fifo";
pub const COLLECT: &str = "collect.fifo";
pub const DEAD: &str = "work-dead";
pub const DEAD_COLLECTIONS: &str = "collect-dead.fifo";

/// SQS needs a minute or more until its counts are correct.
const COUNTS_LAG: Duration = Duration::from_secs(90);

/// The settings of a circle.
#[derive(Clone, Debug)]
pub struct CircleSettings {
    /// Additional variables of the function.
    pub variables: Vec<(String, String)>,
    /// All times are divided by it: those of the template, and the lag of the queues' counts. With 100, Lambda's time-out
    /// is 9 s, and a failed message comes back after 10 s.
    pub factor: u32,
    /// The maximum number of processes.
    pub processes: usize,
}

impl Default for CircleSettings {
    fn default() -> Self {
        Self {
            variables: Vec::new(),
            factor: 100,
            processes: 5,
        }
    }
}

impl CircleSettings {
    /// With all times divided by `factor`.
    pub fn at(factor: u32) -> Self {
        Self {
            factor,
            ..Self::default()
        }
    }

    /// With these variables.
    pub fn with(mut self, variables: &[(&str, &str)]) -> Self {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        self.variables.extend(variables.iter().map(owned));
        self
    }
}

/// The running circle.
pub struct Circle {
    pub ivs: Ivs,
    pub s3: S3,
    pub sqs: Sqs,
    pub pool: Arc<Pool>,
    pub work: Mapping,
    pub sweeps: Mapping,
    pub collect: Mapping,
    timeout: Duration,
    counts_lag: Duration,
    folder: PathBuf,
    /// Removes the folder when the value is dropped.
    own: Option<TempDir>,
}

impl Circle {
    /// Starts everything in a new folder below `parent`, which is removed when the value is dropped.
    pub async fn start(
        bootstrap: &Path,
        parent: &Path,
        settings: CircleSettings,
    ) -> io::Result<Self> {
        let own = tempfile::tempdir_in(parent)?;
        let mut circle = Self::start_in(bootstrap, own.path(), settings).await?;
        circle.own = Some(own);
        Ok(circle)
    }

    /// As [`Circle::start`], with the quota of IVS off.
    ///
    /// # Errors
    /// As there.
    pub async fn without_quota(
        bootstrap: impl AsRef<Path>,
        parent: impl AsRef<Path>,
        settings: CircleSettings,
    ) -> io::Result<Self> {
        let circle = Self::start(bootstrap.as_ref(), parent.as_ref(), settings).await?;
        circle.ivs.world().quota = Quota::Off;
        Ok(circle)
    }

    /// Starts everything in a folder that is kept.
    pub async fn start_in(
        bootstrap: &Path,
        folder: &Path,
        settings: CircleSettings,
    ) -> io::Result<Self> {
        let ivs = Ivs::start(REGION).await?;
        let s3 = S3::start(&folder.join("s3"), BUCKET).await?;
        let sqs = Sqs::start().await?;
        let template = Template::scaled(settings.factor);
        let counts_lag = template.scale(COUNTS_LAG);
        let queue = |resource| QueueSettings {
            counts_lag,
            ..template.queue(resource)
        };
        sqs.create(DEAD, queue("WorkDeadLetterQueue"));
        sqs.create(DEAD_COLLECTIONS, queue("CollectDeadLetterQueue"));
        let with_dead_letters = |resource, dead: &str| QueueSettings {
            dead_letter: Some((dead.to_owned(), template.receives(resource))),
            ..queue(resource)
        };
        let work = sqs.create(WORK, with_dead_letters("WorkQueue", DEAD));
        let collect = sqs.create(COLLECT, with_dead_letters("CollectQueue", DEAD_COLLECTIONS));
        sqs.create(SWEEPS, queue("SweepQueue"));

        let mut all: HashMap<String, String> = variables(&ivs, &s3);
        for (name, value) in [
            ("AWS_ENDPOINT_URL_SQS", sqs.url()),
            ("QUEUE_URL", &work),
            ("COLLECT_QUEUE_URL", &collect),
        ] {
            all.insert(name.to_owned(), value.to_owned());
        }
        all.extend(settings.variables);
        let logs: PathBuf = folder.join("logs");
        std::fs::create_dir_all(&logs)?;
        let pool = Arc::new(Pool::new(
            bootstrap.to_owned(),
            all,
            logs,
            settings.processes,
        ));
        let timeout = template.timeout();
        let mapping = |queue, event| {
            let settings = template.mapping(event);
            Mapping::start(&sqs, queue, settings, pool.invoker(timeout))
        };
        Ok(Self {
            work: mapping(WORK, "Work"),
            sweeps: mapping(SWEEPS, "Sweeps"),
            collect: mapping(COLLECT, "Collections"),
            timeout,
            counts_lag,
            ivs,
            s3,
            sqs,
            pool,
            folder: folder.to_owned(),
            own: None,
        })
    }

    /// Invokes the function directly, without the queues.
    pub async fn invoke(&self, payload: Value) -> Result<Answer, Died> {
        self.pool.invoke(payload, self.timeout).await
    }

    /// Keeps the folder, with the bucket and the logs.
    pub fn keep(&mut self) -> &Path {
        if let Some(own) = &mut self.own {
            own.disable_cleanup(true);
        }
        &self.folder
    }

    /// Sends the message of the schedule. Tests send it more often than the schedule does, so each has a unique
    /// deduplication id.
    pub fn tick(&self) {
        self.send_to_sweeps(&json!({ "sweep": {} }));
    }

    /// Sends a message to the queue of sweeps, as a person would.
    pub fn send_to_sweeps(&self, payload: &Value) {
        self.sqs.send_once(SWEEPS, "sweep", &payload.to_string());
    }

    /// Sends a request for a collection, as a person would. Its group is the session, as in the function's own messages.
    pub fn send_to_collect(&self, stage_arn: &str, session_id: &str) {
        let stage_id = stage_arn.rsplit('/').next().unwrap_or_default();
        let collect = json!({ "stage_arn": stage_arn, "session_id": session_id });
        let body = json!({ "collect": collect }).to_string();
        let group = format!("{stage_id}_{session_id}");
        self.sqs.send_once(COLLECT, &group, &body);
    }

    /// Waits until all queues but those of dead letters are empty.
    ///
    /// # Errors
    /// `TimedOut` with the depth of every queue.
    pub async fn until_quiet(&self, timeout: Duration) -> io::Result<()> {
        self.sqs
            .until_empty(&[WORK, SWEEPS, COLLECT], timeout)
            .await
    }

    /// Waits until those queues are empty and their reported counts are 0.
    pub async fn until_settled(&self, timeout: Duration) -> io::Result<()> {
        self.until_quiet(timeout).await?;
        tokio::time::sleep(self.counts_lag).await;
        Ok(())
    }

    /// The log lines of all finished sweeps, in no particular order.
    pub fn swept(&self) -> Vec<Value> {
        self.pool
            .log_lines()
            .into_iter()
            .filter(|line| line["stages"].is_u64())
            .collect()
    }
}
