//! The services around ivs-attendance, on one machine: Lambda's Runtime API with the real binary behind it, IVS
//! Real-Time, S3, and SQS with its source mapping. Started in a line by tests, benches and `make run`; never a part of
//! the function.
//!
//! Everything listens on a free port of the loopback address, and ends with the value.

pub mod bench;
pub mod circle;
#[cfg(test)]
mod client;
pub mod costs;
pub mod faults;
pub mod folder;
pub mod function;
pub mod ivs;
mod listing;
pub mod mapping;
mod measured;
pub mod memory_bench;
pub mod pool;
pub mod queues;
mod quota;
pub mod quota_bench;
mod request;
pub mod s3;
pub mod sample;
pub mod scene;
mod server;
pub mod soak;
pub mod sqs;
pub mod template;
mod wire;
mod world;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::function::{Answer, Function};
use crate::ivs::Ivs;
use crate::s3::S3;
use crate::template::Template;

/// The region, bucket and keys of the stack. The keys open nothing but the local servers.
pub const REGION: &str = "us-west-2";
pub const BUCKET: &str = "attendance-lake";
pub const ACCESS_KEY: &str = "local";
pub const SECRET_KEY: &str = "local-secret";

/// Lambda's time-out, as in `template.yaml`.
pub const TIMEOUT: Duration = Duration::from_secs(900);

/// The stack: IVS, S3, and the function, which has started and waits for an event.
pub struct Stack {
    pub ivs: Ivs,
    pub s3: S3,
    pub function: Function,
}

impl Stack {
    /// Starts everything, with the function's files in `folder` and `settings` beside (or instead of) its usual
    /// variables.
    ///
    /// # Errors
    /// When a server or the binary cannot be started.
    pub async fn start(
        bootstrap: &Path,
        folder: &Path,
        settings: &[(&str, &str)],
    ) -> io::Result<Self> {
        let ivs = Ivs::start(REGION).await?;
        let s3 = S3::start(&folder.join("s3"), BUCKET).await?;
        let mut variables = variables(&ivs, &s3);
        variables.extend(
            settings
                .iter()
                .map(|&(name, value)| (name.to_owned(), value.to_owned())),
        );
        let log: PathBuf = folder.join("function.log");
        let function = Function::start(bootstrap, REGION, &variables, log).await?;
        Ok(Self { ivs, s3, function })
    }

    /// Starts everything in a folder of its own below `parent`, which lives as long as the value beside the stack.
    ///
    /// # Errors
    /// As [`Stack::start`].
    pub async fn temporary(
        bootstrap: &Path,
        parent: &Path,
        settings: &[(&str, &str)],
    ) -> io::Result<(Self, TempDir)> {
        let folder = tempfile::tempdir_in(parent)?;
        Ok((
            Self::start(bootstrap, folder.path(), settings).await?,
            folder,
        ))
    }

    /// Invokes the function with Lambda's whole time-out.
    pub async fn invoke(&mut self, payload: Value) -> Answer {
        self.function.invoke(payload, TIMEOUT).await
    }
}

/// The variables that point a function at these servers.
#[must_use]
pub fn variables(ivs: &Ivs, s3: &S3) -> HashMap<String, String> {
    let memory = Template::scaled(1).memory_megabytes().to_string();
    [
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ("AWS_ENDPOINT_URL_IVS_REALTIME", ivs.url()),
        ("AWS_ENDPOINT_URL_S3", s3.url()),
        ("BUCKET", BUCKET),
        // Nothing listens there: only a sweep, or time that runs out, sends to a queue.
        ("QUEUE_URL", "http://127.0.0.1:9/000000000000/work"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &memory),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}
