//! The commands that measure: `make bench`, `bench-instructions`, `bench-memory`, `bench-quota`,
//! `bench-collect` and `costs`.

mod bench;
mod collect;
mod costs;
mod measured;
mod memory;
mod quota;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use crate::bench::Handlers;
use crate::collect::{Question, collect};
use crate::costs::costs;
use crate::memory::memory;
use crate::quota::quota;
use ivs_attendance_local::command::{built, exit_code, within};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    exit_code(command(&arguments).await)
}

async fn command(arguments: &[&str]) -> Result<(), Box<dyn Error>> {
    match *arguments {
        ["bench", function, others, python, document, folder] => {
            let handlers = handlers(built(function)?, others, python);
            let document = Path::new(document);
            within(folder, async |folder| {
                bench::bench(handlers, folder, document).await
            })
            .await
        }
        ["bench-instructions", function, others, folder] => {
            let handlers = handlers(built(function)?, others, "");
            within(folder, async |folder| {
                bench::instructions(handlers, folder).await
            })
            .await
        }
        ["bench-memory", bootstrap, folder] => {
            let bootstrap = built(bootstrap)?;
            within(folder, async |folder| memory(bootstrap, folder).await).await
        }
        ["bench-quota", bootstrap, folder] => {
            let bootstrap = built(bootstrap)?;
            within(folder, async |folder| quota(bootstrap, folder).await).await
        }
        [
            "bench-collect",
            function,
            others,
            folder,
            ref questions @ ..,
        ] => {
            let handlers = handlers(built(function)?, others, "");
            let questions = Question::named(questions)?;
            within(folder, async |folder| {
                collect(handlers, folder, &questions).await
            })
            .await
        }
        ["costs", bootstrap, folder] => {
            let bootstrap = built(bootstrap)?;
            within(folder, async |folder| costs(bootstrap, folder).await).await
        }
        _ => Err(
            "usage: ivs-attendance-measure bench BOOTSTRAP HANDLERS PYTHON DOCUMENT FOLDER | \
             bench-instructions BOOTSTRAP HANDLERS FOLDER | bench-memory BOOTSTRAP FOLDER | \
             bench-quota BOOTSTRAP FOLDER | bench-collect BOOTSTRAP HANDLERS FOLDER [QUESTION…] | \
             costs BOOTSTRAP FOLDER"
                .into(),
        ),
    }
}

fn handlers<'a>(function: &'a Path, others: &'a str, python: &'a str) -> Handlers<'a> {
    Handlers {
        function,
        others: Path::new(others),
        python: Path::new(python),
    }
}
