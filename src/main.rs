//! Cold start: logging, settings, clients; then Lambda's loop.

use std::sync::Arc;

use ivs_attendance::Attendance;
use ivs_attendance::config::Config;
use lambda_runtime::{Diagnostic, LambdaEvent, run, service_fn};
use serde_json::Value;
use tracing::error;
use tracing_subscriber::EnvFilter;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the environment is read here, once"
    )]
    let lookup = |variable: &str| std::env::var(variable).ok();
    start_logging(lookup);
    std::panic::set_hook(Box::new(
        |panic| error!(error_type = "Panic", error = %panic, "the function panicked"),
    ));
    let config = Config::parse(lookup).inspect_err(|wrong| {
        error!(error_type = "InvalidSettings", error = %wrong, "the function cannot start");
    })?;
    let attendance = Arc::new(Attendance::connect(config).await);
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
    let level = lookup("AWS_LAMBDA_LOG_LEVEL").unwrap_or_else(|| "info".to_owned());
    // The level is ours alone: at `trace` the SDK prints whole answers, with the people in them. And the runtime would
    // print each failure once more, without its `error_type`.
    let filter = format!(
        "warn,ivs_attendance={level},lambda_runtime=info,lambda_runtime::layers::panic=off"
    );
    let filter = EnvFilter::new(filter);
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false);
    if lookup("AWS_LAMBDA_LOG_FORMAT").is_some_and(|format| format.eq_ignore_ascii_case("text")) {
        lines.with_ansi(false).init();
    } else {
        lines
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .init();
    }
}
