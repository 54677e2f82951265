//! The least that listing a session can cost with the SDK: all pages, dropped as they come. With `DEFAULTS` set, by the
//! SDK's default settings; else by those of the function that cost less.

use aws_config::BehaviorVersion;
use aws_sdk_ivsrealtime::Client;
use aws_sdk_ivsrealtime::config::{Builder, StalledStreamProtectionConfig};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let sdk = aws_config::load_defaults(BehaviorVersion::v2026_01_12()).await;
    let mut config = Builder::from(&sdk);
    if std::env::var_os("DEFAULTS").is_none() {
        config = config.stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    }
    let client = &Client::from_conf(config.build());
    run(service_fn(async |event: LambdaEvent<Value>| {
        let text = |member: &str| event.payload[member].as_str().map(str::to_owned);
        let request = client.list_participants().max_results(100);
        let request = request
            .set_stage_arn(text("stage_arn"))
            .set_session_id(text("session_id"));
        let (mut listed, mut token) = (0, None);
        loop {
            let page = request.clone().set_next_token(token).send().await?;
            listed += page.participants().len();
            token = page.next_token;
            if token.is_none() {
                return Ok::<_, Error>(json!({ "participants": listed }));
            }
        }
    }))
    .await
}
