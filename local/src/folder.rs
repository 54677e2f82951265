//! The folder of a command. It is empty at the start, and only one process at a time uses it.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};

/// Marks a folder that this program made, and so may empty.
const MARK: &str = ".made-by-ivs-attendance-local";

/// A folder that this process uses until the value is dropped.
pub struct Folder {
    path: PathBuf,
    /// The system releases it when the process ends, for whatever reason.
    _lock: File,
}

impl Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

/// Puts the path in front of an error's message: `.map_err(at(path))`.
pub fn at(path: &Path) -> impl Fn(io::Error) -> io::Error + '_ {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

impl Folder {
    /// Makes an empty folder at `path`. An older one is removed if this program made it. The lock `PATH.lock` is beside it
    /// and contains the id of the process that holds it.
    ///
    /// # Errors
    /// When another process uses it, this program did not make it, or it cannot be written. Each error names the path.
    pub fn fresh(path: impl Into<PathBuf>) -> Result<Self, String> {
        let path = path.into();
        let lock = lock(&path)?;
        let at = |error: io::Error| format!("{} cannot be made empty: {error}", path.display());
        let mark = path.join(MARK);
        if mark.exists() {
            std::fs::remove_dir_all(&path).map_err(at)?;
        } else if path.exists() {
            return Err(format!(
                "{} is there already, and was not made by this program; move it away",
                path.display()
            ));
        }
        std::fs::create_dir_all(&path).map_err(at)?;
        std::fs::write(&mark, "").map_err(at)?;
        Ok(Self { path, _lock: lock })
    }
}

/// Takes the lock of a folder for this process.
fn lock(folder: &Path) -> Result<File, String> {
    let mut path = folder.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let at = |error: io::Error| format!("the lock {} cannot be taken: {error}", path.display());
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(at)?;
    }
    let file = File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(&path);
    let mut file = file.map_err(at)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = std::fs::read_to_string(&path).unwrap_or_default();
            let holder = match holder.trim() {
                "" => "another process".to_owned(),
                id => format!("the process {id}"),
            };
            return Err(format!(
                "{holder} works in {} (it holds {}); wait for its end, or end it",
                folder.display(),
                path.display()
            ));
        }
        Err(TryLockError::Error(error)) => return Err(at(error)),
    }
    file.set_len(0).map_err(at)?;
    writeln!(file, "{}", std::process::id()).map_err(at)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(path: &Path) -> String {
        match Folder::fresh(path) {
            Ok(_) => panic!("{} should have been refused", path.display()),
            Err(error) => error,
        }
    }

    #[test]
    fn a_second_one_is_told_who_works_there_and_comes_in_after_it() {
        let parent = tempfile::tempdir().expect("a folder");
        let path = parent.path().join("run");
        let first = Folder::fresh(&path).expect("a fresh folder");
        std::fs::write(first.join("file"), "").expect("a file");
        let said = error(&path);
        let id = std::process::id();
        assert!(
            said.starts_with(&format!("the process {id} works in {}", path.display())),
            "{said}"
        );
        assert!(path.join("file").exists(), "nothing was touched");
        drop(first);
        let second = Folder::fresh(&path).expect("a fresh folder");
        assert!(!second.join("file").exists());
    }

    #[test]
    fn the_lock_of_a_process_that_is_gone_holds_up_nobody() {
        let parent = tempfile::tempdir().expect("a folder");
        let path = parent.path().join("run");
        std::fs::write(parent.path().join("run.lock"), "4194304\n").expect("a lock");
        assert!(Folder::fresh(&path).is_ok());
        let lock = std::fs::read_to_string(parent.path().join("run.lock")).expect("a lock");
        assert_eq!(lock, format!("{}\n", std::process::id()));
    }

    #[test]
    fn what_was_not_made_here_stays_and_what_cannot_be_made_is_named() {
        let parent = tempfile::tempdir().expect("a folder");
        let path = parent.path().join("mine");
        std::fs::create_dir(&path).expect("a folder");
        std::fs::write(path.join("file"), "").expect("a file");
        assert!(error(&path).contains("mine is there already, and was not made by this program"));
        let below = path.join("file/run");
        assert!(error(&below).contains("mine/file/run.lock cannot be taken"));
        assert!(path.join("file").exists());
    }
}
