//! The venvs of the Makefile: which Python makes them, and when they are made again.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Puts a stand-in for Python at `path`: the real one, that says it is of another version.
fn python(path: &Path, version: &str) {
    let real = Command::new("python3")
        .args(["-c", "import sys; print(sys.executable)"])
        .output()
        .unwrap();
    let real = String::from_utf8(real.stdout).unwrap();
    let script = format!(
        "#!/bin/sh\nexec '{}' -c \"import sys; sys.version_info = ({version}, 'final', 0)\n$2\"\n",
        real.trim()
    );
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, script).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// `make` of the tools' venv in a folder, with this before the usual PATH.
fn make(venv: &Path, before: &Path) -> Output {
    let path = std::env::var_os("PATH").unwrap().into_string().unwrap();
    Command::new("make")
        .env_remove("MAKEFLAGS")
        .env("PATH", format!("{}:{path}", before.display()))
        .arg("--no-print-directory")
        .arg(format!("VENV={}", venv.display()))
        .arg(venv.join("installed"))
        .output()
        .unwrap()
}

/// The script as the Makefile calls it, with requirements that need no network.
fn script(venv: &Path, requirements: &Path) -> Output {
    Command::new("tools/venv.sh")
        .args([venv, requirements])
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_python_that_is_too_old_is_named_with_its_version_and_makes_nothing() {
    let folder = folder();
    let old = folder.path().join("old");
    python(&old.join("python3"), "3, 9, 2");
    let venv = folder.path().join("venv");
    let made = make(&venv, &old);
    assert!(!made.status.success());
    let error = text(&made.stderr);
    let first = error.lines().next().unwrap_or_default();
    for words in [
        "Python 3.11 or newer, with venv, is needed",
        "is 3.9.2",
        old.to_str().unwrap(),
    ] {
        assert!(first.contains(words), "{words} in {error}");
    }
    assert!(!venv.exists());
}

#[test]
fn a_venv_of_an_older_python_or_a_broken_one_is_made_again_and_one_that_works_stays() {
    let folder = folder();
    let requirements = folder.path().join("requirements.txt");
    std::fs::write(&requirements, "").unwrap();
    let venv = folder.path().join("venv");
    python(&venv.join("bin/python3"), "3, 9, 2");
    let left = venv.join("left");
    let stale = || {
        std::fs::write(&left, "").unwrap();
        std::fs::write(venv.join("installed"), "").unwrap();
    };
    stale();
    let made = script(&venv, &requirements);
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert!(!left.exists(), "it was made from nothing");
    let runs = Command::new(venv.join("bin/python3"))
        .args(["-c", "import pip, sys; assert sys.version_info >= (3, 11)"])
        .status();
    assert!(runs.unwrap().success());

    stale();
    let stays = script(&venv, &requirements);
    assert!(stays.status.success() && left.exists());
    assert_eq!(text(&stays.stdout), "");

    // Its Python is gone.
    std::fs::remove_file(venv.join("bin/python3")).unwrap();
    let made = script(&venv, &requirements);
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert!(!left.exists());
}

#[test]
fn each_venv_of_the_makefile_is_made_by_the_same_script() {
    let makefile = std::fs::read_to_string("Makefile").unwrap();
    assert_eq!(makefile.matches("tools/venv.sh $(").count(), 3);
    assert!(!makefile.contains("-m venv"));
}
