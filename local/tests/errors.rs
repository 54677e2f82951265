//! What the program says when it cannot work: one line, with what failed, where, and what to do.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use ivs_attendance_local::folder::Folder;

/// The one line that `ivs-attendance-local` prints as it fails. It runs in this package's folder, not in the project's.
fn error(arguments: &[&Path]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_ivs-attendance-local"))
        .args(arguments)
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

#[test]
fn a_function_that_is_not_built_is_named_and_nothing_is_started() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("run");
    let error = error(&[Path::new("run"), Path::new("no/bootstrap"), &folder]);
    assert!(
        error.starts_with("error: no/bootstrap is no file: "),
        "{error}"
    );
    assert!(!folder.exists());
}

#[test]
fn what_fails_later_says_where_its_files_and_logs_are() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("sample");
    let program = Path::new(env!("CARGO_BIN_EXE_ivs-attendance-local"));
    let (url, today) = (Path::new("http://127.0.0.1:9"), Path::new("yesterday"));
    let error = error(&[Path::new("sample"), program, &folder, url, today]);
    let words = format!("logs included, is in {}", folder.display());
    assert!(error.contains(&words), "{error}");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = error(&[Path::new("serve"), &file.join("serve")]);
    assert!(error.contains("file/serve.lock cannot be taken"), "{error}");
}

#[test]
fn a_folder_in_which_another_process_works_is_left_to_it() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("soak");
    let held = Folder::fresh(&folder).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_ivs-attendance-local"));
    let error = error(&[Path::new("soak"), program, &folder]);
    let id = std::process::id();
    assert!(
        error.starts_with(&format!("error: the process {id} works in ")),
        "{error}"
    );
    assert!(error.contains("wait for its end, or end it"), "{error}");
    assert!(held.exists());
}

#[test]
fn an_option_that_is_no_number_is_quoted() {
    let option = Path::new("seed=seven");
    let error = error(&[Path::new("soak"), Path::new("b"), Path::new("f"), option]);
    assert!(error.contains("seed=seven: "), "{error}");
    assert!(!Path::new("f").exists());
}
