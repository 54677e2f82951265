//! What all commands share: their folder, the path of the function's binary, and the one line that reports a failure.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use crate::folder::Folder;

/// The process's exit code. A failure is printed in one line.
pub fn exit_code(result: Result<(), Box<dyn Error>>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Runs `work` in an empty folder that no other process uses. A failure says where the files and logs are.
pub async fn within(
    folder: &str,
    work: impl AsyncFnOnce(&Path) -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let fresh = Folder::fresh(folder)?;
    work(&fresh).await.map_err(|error| {
        let error = with_causes(&*error);
        format!("{error}; what was written until then, logs included, is in {folder}").into()
    })
}

/// The path of the function's binary. It is checked first, since starting the services would only delay the error.
pub fn built(function: &str) -> Result<&Path, String> {
    let path = Path::new(function);
    if path.is_file() {
        return Ok(path);
    }
    Err(format!(
        "{function} is no file: it must be the function's binary, which `cargo build --workspace` makes"
    ))
}

/// An error and its causes, in one line.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
