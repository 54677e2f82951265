//! Cold start: logging, settings, clients; then Lambda's loop.

use std::sync::Arc;

use ivs_attendance::bulkhead::watch_for_panics;
use ivs_attendance::config::{Config, ConfigError};
use ivs_attendance::{Attendance, now};
use lambda_runtime::{Diagnostic, LambdaEvent, run, service_fn};
use serde_json::Value;
use tracing::error;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the environment is read here, once"
    )]
    let lookup = |variable: &str| std::env::var(variable).ok();
    start_logging(lookup);
    watch_for_panics();
    let cannot_start = |wrong: &ConfigError| error!(error_type = "InvalidSettings", error = %wrong, "the function cannot start");
    let config = Config::parse(lookup, now()).inspect_err(cannot_start)?;
    let attendance = Attendance::connect(config).inspect_err(cannot_start)?;
    let attendance = Arc::new(attendance);
    run(service_fn(move |event: LambdaEvent<Value>| {
        let attendance = Arc::clone(&attendance);
        async move {
            let end_of_time = event.context.deadline();
            attendance
                .handle(event.payload, end_of_time)
                .await
                .map_err(Diagnostic::from)
        }
    }))
    .await
}

/// JSON lines with the fields on top, where CloudWatch's metric filters look.
/// <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-advanced.html>
fn start_logging(lookup: impl Fn(&str) -> Option<String>) {
    // The level is ours alone: at `trace` the SDK prints whole answers, with the people in them. And the runtime would
    // print each failure once more, without its `error_type`.
    let level = lookup("AWS_LAMBDA_LOG_LEVEL").map(|level| level.parse());
    let level = level.unwrap_or(Ok(LevelFilter::INFO));
    let filter = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("ivs_attendance", level.unwrap_or(LevelFilter::WARN))
        .with_target("lambda_runtime", LevelFilter::INFO)
        .with_target("lambda_runtime::layers::panic", LevelFilter::OFF);
    let lines = tracing_subscriber::fmt::layer().with_target(false);
    let registry = tracing_subscriber::registry().with(filter);
    if lookup("AWS_LAMBDA_LOG_FORMAT").is_some_and(|format| format.eq_ignore_ascii_case("text")) {
        registry.with(lines.with_ansi(false)).init();
    } else {
        let lines = lines.json().flatten_event(true).with_span_list(false);
        registry.with(lines).init();
    }
}
