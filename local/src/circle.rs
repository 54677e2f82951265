//! The whole circle: event → queue of work → function → lake, and tick → queue of sweeps → function → queue of work.
//! The queues and their source mappings are as in `template.yaml`, with shorter times.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::function::{Answer, Died};
use crate::ivs::Ivs;
use crate::mapping::{Mapping, MappingSettings};
use crate::pool::Pool;
use crate::queues::QueueSettings;
use crate::s3::S3;
use crate::sqs::Sqs;
use crate::{BUCKET, REGION, TIMEOUT, variables};

/// The names of the queues.
pub const WORK: &str = "work";
pub const SWEEPS: &str = "sweeps.fifo";
pub const DEAD: &str = "work-dead";

/// What differs from one circle to another.
#[derive(Clone, Debug)]
pub struct CircleSettings {
    /// Variables of the function, beside its usual ones.
    pub variables: Vec<(String, String)>,
    /// How long a hint waits.
    pub delay: Duration,
    /// How long a failed message waits for its next try.
    pub visibility_timeout: Duration,
    /// How much the counts of the queues lag.
    pub counts_lag: Duration,
    /// Lambda's time-out.
    pub timeout: Duration,
    /// Processes of the function at most.
    pub processes: usize,
    /// Batches of work at a time.
    pub concurrency: usize,
}

impl Default for CircleSettings {
    fn default() -> Self {
        Self {
            variables: Vec::new(),
            delay: Duration::ZERO,
            visibility_timeout: Duration::from_secs(20),
            counts_lag: Duration::ZERO,
            timeout: TIMEOUT,
            processes: 3,
            concurrency: 2,
        }
    }
}

impl CircleSettings {
    /// With these variables.
    #[must_use]
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
    timeout: Duration,
    folder: PathBuf,
    /// Removes the folder with the value.
    own: Option<TempDir>,
}

impl Circle {
    /// Starts everything in a folder of its own below `parent`, which goes with the value.
    ///
    /// # Errors
    /// When a server cannot be started.
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

    /// Starts everything in a folder, which stays.
    ///
    /// # Errors
    /// When a server cannot be started.
    pub async fn start_in(
        bootstrap: &Path,
        folder: &Path,
        settings: CircleSettings,
    ) -> io::Result<Self> {
        let ivs = Ivs::start(REGION).await?;
        let s3 = S3::start(&folder.join("s3"), BUCKET).await?;
        let sqs = Sqs::start().await?;
        let CircleSettings {
            visibility_timeout,
            counts_lag,
            ..
        } = settings;
        let plain = QueueSettings {
            visibility_timeout,
            counts_lag,
            ..QueueSettings::default()
        };
        sqs.create(DEAD, plain.clone());
        let dead_letter = Some((DEAD.to_owned(), 5));
        let work = sqs.create(
            WORK,
            QueueSettings {
                delay: settings.delay,
                dead_letter,
                ..plain.clone()
            },
        );
        let sweeps = sqs.create(
            SWEEPS,
            QueueSettings {
                fifo: true,
                deduplication: Duration::ZERO,
                ..plain
            },
        );

        let mut all: HashMap<String, String> = variables(&ivs, &s3);
        for (name, value) in [
            ("AWS_ENDPOINT_URL_SQS", sqs.url()),
            ("QUEUE_URL", &work),
            ("SWEEP_QUEUE_URL", &sweeps),
        ] {
            all.insert(name.to_owned(), value.to_owned());
        }
        all.extend(settings.variables);
        let logs: PathBuf = folder.join("logs");
        std::fs::create_dir_all(&logs)?;
        let pool = Arc::new(Pool::new(
            bootstrap.to_owned(),
            REGION,
            all,
            logs,
            settings.processes,
        ));
        let batches = MappingSettings {
            batch_size: 200,
            window: Duration::from_millis(200),
            max_concurrency: settings.concurrency,
            reports_failures: true,
        };
        let one = MappingSettings {
            batch_size: 1,
            window: Duration::ZERO,
            ..batches
        };
        Ok(Self {
            work: Mapping::start(&sqs, WORK, batches, pool.invoker(settings.timeout)),
            sweeps: Mapping::start(&sqs, SWEEPS, one, pool.invoker(settings.timeout)),
            timeout: settings.timeout,
            ivs,
            s3,
            sqs,
            pool,
            folder: folder.to_owned(),
            own: None,
        })
    }

    /// Invokes the function directly, past the queues.
    ///
    /// # Errors
    /// When its process died.
    pub async fn invoke(&self, payload: Value) -> Result<Answer, Died> {
        self.pool.invoke(payload, self.timeout).await
    }

    /// Leaves the folder, with the bucket and what the processes printed, where it is.
    pub fn keep(&mut self) -> &Path {
        if let Some(own) = &mut self.own {
            own.disable_cleanup(true);
        }
        &self.folder
    }

    /// What the schedule sends.
    pub fn tick(&self) {
        self.sqs
            .send_to_group(SWEEPS, "sweep", &json!({ "sweep": {} }).to_string());
    }

    /// Waits until both queues are empty and nothing is worked on.
    ///
    /// # Errors
    /// `TimedOut`, naming every queue's depth.
    pub async fn until_quiet(&self, timeout: Duration) -> io::Result<()> {
        self.sqs.until_empty(&[WORK, SWEEPS], timeout).await
    }

    /// The log lines of all sweeps that came to an end, in no particular order.
    #[must_use]
    pub fn swept(&self) -> Vec<Value> {
        self.pool
            .log_lines()
            .into_iter()
            .filter(|line| line["stages"].is_u64())
            .collect()
    }
}
