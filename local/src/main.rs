//! The commands of the local world: `make run`, `make serve`, `make soak`, and the samples for `make athena` and
//! `make query`.

use std::error::Error;
use std::process::ExitCode;

use chrono::Utc;
use ivs_attendance_local::command::{built, exit_code, within};
use ivs_attendance_local::run::run;
use ivs_attendance_local::sample;
use ivs_attendance_local::serve::serve;
use ivs_attendance_local::soak::settings::Settings;
use ivs_attendance_local::soak::soak;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    exit_code(command(&arguments).await)
}

async fn command(arguments: &[&str]) -> Result<(), Box<dyn Error>> {
    match *arguments {
        ["run", bootstrap, folder] => {
            let bootstrap = built(bootstrap)?;
            within(folder, async |folder| run(bootstrap, folder).await).await
        }
        ["serve", folder] => within(folder, serve).await,
        ["soak", bootstrap, folder, ref options @ ..] => {
            let any_seed = u64::from(Utc::now().timestamp_subsec_micros());
            let settings = Settings::parse(options, any_seed)?;
            let bootstrap = built(bootstrap)?;
            within(folder, async |folder| soak(bootstrap, folder, settings).await).await
        }
        ["sample", bootstrap, folder, s3_url, today, ref steps @ ..] => {
            let bootstrap = built(bootstrap)?;
            within(folder, async |folder| {
                sample::fill(bootstrap, folder, s3_url, today, steps).await
            })
            .await
        }
        _ => Err(
            "usage: ivs-attendance-local run BOOTSTRAP FOLDER | serve FOLDER | \
             soak BOOTSTRAP FOLDER [seed=N] [sessions=N] [minutes=N] | sample BOOTSTRAP FOLDER (S3_URL | folder) TODAY STEP…"
                .into(),
        ),
    }
}
