//! Lambda's processes and its mapping, with functions of a few lines.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod mapping;
mod pool;
