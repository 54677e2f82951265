//! The world around the function, on one machine: IVS Real-Time, S3, SQS, and Lambda with the real binary. Tests, the
//! measurements in `bench/` and `make run` start it in one line. It is never a part of the function.
//!
//! Each server listens on a free port of the loopback address and stops when its value is dropped.
//!
//! - The services: [`ivs`], [`s3`], [`sqs`] and [`lambda`], each on a [`server`]; [`faults`] makes them fail on request.
//! - What they are set up with: [`template`] reads `template.yaml`, [`scene`] has the sessions of the examples and tests.
//! - The commands: [`run`], [`serve`], [`soak`] and [`sample`], each in a [`folder`] that no other process uses.
//!
//! A method panics where only a mistake of its caller can be the cause, such as a queue that does not exist.

pub mod command;
pub mod faults;
pub mod folder;
pub mod ivs;
pub mod lambda;
pub mod run;
pub mod s3;
pub mod sample;
pub mod scene;
pub mod serve;
pub mod server;
pub mod soak;
pub mod sqs;
pub mod template;

use std::time::Duration;

/// The region and the account of all services.
pub const REGION: &str = "us-west-2";
pub const ACCOUNT: &str = "123456789012";

/// The bucket of the lake, and the keys that open it. They open nothing but the local servers.
pub const BUCKET: &str = "attendance-lake";
pub const ACCESS_KEY: &str = "local";
pub const SECRET_KEY: &str = "local-secret";

/// Lambda's time-out, as in `template.yaml`.
pub const TIMEOUT: Duration = Duration::from_secs(900);
