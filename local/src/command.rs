//! What all commands share: the folder they work in, the function's binary, and one line about what failed.

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

/// Works in a folder that is empty and nobody else's. A failure says where its files are, the logs among them.
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

/// The function's binary, which must be there: the services would wait for it for long.
pub fn built(function: &str) -> Result<&Path, String> {
    let path = Path::new(function);
    if path.is_file() {
        return Ok(path);
    }
    Err(format!(
        "{function} is no file: it must be the function's binary, which `cargo build --workspace` makes"
    ))
}

/// An error and what caused it, in one line.
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
