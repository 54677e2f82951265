//! IVS, S3 and one process of the function, without queues: the tests invoke it directly.

use std::io;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::ivs::Ivs;
use crate::lambda::function::{Answer, Function};
use crate::lambda::variables;
use crate::s3::S3;
use crate::{BUCKET, REGION, TIMEOUT};

/// The running servers, and the function.
pub struct Stack {
    pub ivs: Ivs,
    pub s3: S3,
    pub function: Function,
}

impl Stack {
    /// Starts everything, with the function's files in `folder`. `settings` are added to the function's usual variables,
    /// or replace them.
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
        let log = folder.join("function.log");
        let function = Function::start(bootstrap, &variables, log).await?;
        Ok(Self { ivs, s3, function })
    }

    /// Starts everything in a new folder below `parent`, which is removed when the second value is dropped.
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

    /// Invokes the function with Lambda's full time-out.
    pub async fn invoke(&mut self, payload: Value) -> Answer {
        self.function.invoke(payload, TIMEOUT).await
    }
}
