//! What the tests of the real binary start it with.

/// The function, as it was built for the tests.
pub(crate) const BOOTSTRAP: &str = env!("CARGO_BIN_EXE_ivs-attendance");
/// Where tests leave their files.
pub(crate) const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");
