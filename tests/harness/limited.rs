//! The function with little memory.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::harness::{BOOTSTRAP, FOLDER};

/// The function with so much memory for data, and told so. Where the limit cannot be set, it does not start, and the test
/// fails.
pub(crate) fn limited(megabytes: usize) -> (PathBuf, TempDir) {
    let folder = tempfile::tempdir_in(FOLDER).unwrap();
    let bootstrap = folder.path().join("bootstrap");
    let script = format!(
        "#!/bin/sh\nulimit -d {} || exit 1\nexport AWS_LAMBDA_FUNCTION_MEMORY_SIZE={megabytes}\nexec '{}'\n",
        megabytes * 1024,
        BOOTSTRAP
    );
    std::fs::write(&bootstrap, script).unwrap();
    std::fs::set_permissions(&bootstrap, Permissions::from_mode(0o755)).unwrap();
    (bootstrap, folder)
}
