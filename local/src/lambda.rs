//! Lambda with the real binary. [`function`] is one process behind its [`runtime_api`], [`pool`] starts and reuses several,
//! and [`mapping`] delivers a queue's messages to them. [`stack`] is one function with IVS and S3; [`circle`] adds the queues and their mappings.

pub mod circle;
pub mod function;
pub mod mapping;
pub mod pool;
pub mod runtime_api;
pub mod stack;

use std::collections::HashMap;

use crate::ivs::Ivs;
use crate::s3::S3;
use crate::template::Template;
use crate::{ACCESS_KEY, BUCKET, SECRET_KEY};

/// The environment variables that point a function at these servers.
pub fn variables(ivs: &Ivs, s3: &S3) -> HashMap<String, String> {
    let memory = Template::scaled(1).memory_megabytes().to_string();
    [
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ("AWS_ENDPOINT_URL_IVS_REALTIME", ivs.url()),
        ("AWS_ENDPOINT_URL_S3", s3.url()),
        ("BUCKET", BUCKET),
        // Nothing listens there: only sweeps, and batches that run out of time, send messages.
        ("QUEUE_URL", "http://127.0.0.1:9/000000000000/work"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &memory),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}
