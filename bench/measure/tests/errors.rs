//! What the program says when it cannot work: one line, with what failed and where.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

#[test]
fn a_file_that_cannot_be_read_is_named() {
    // It runs in this package's folder, not in the project's.
    let output = Command::new(env!("CARGO_BIN_EXE_ivs-attendance-measure"))
        .arg("bill")
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(
        error.starts_with("error: template.yaml: No such file"),
        "{error}"
    );
}
