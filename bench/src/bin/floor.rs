//! The least that listing a session can cost with the SDK: all pages, dropped as they come. Or, if the payload has a number of
//! `participants`, the least that asking for each of them can cost, by the ids of the local stack's audience. With `DEFAULTS` set,
//! by the SDK's default settings; else by those of the function that cost less.

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
        if let Some(people) = event.payload["participants"].as_u64() {
            let (stage_arn, session_id) = (text("stage_arn"), text("session_id"));
            // The function asks both side by side, too.
            let details = async {
                for number in 0..people {
                    let request = client.get_participant().participant_id(id(number));
                    let request = request.set_stage_arn(stage_arn.clone());
                    let answer = request.set_session_id(session_id.clone()).send().await;
                    // It does not know some of them.
                    answer
                        .map(drop)
                        .or_else(|error| match error.as_service_error() {
                            Some(refusal) if refusal.is_resource_not_found_exception() => Ok(()),
                            _ => Err(Error::from(error)),
                        })?;
                }
                Ok::<_, Error>(())
            };
            let events = async {
                let mut events = 0;
                for number in 0..people {
                    let request = client.list_participant_events().max_results(100);
                    let request = request
                        .participant_id(id(number))
                        .set_stage_arn(stage_arn.clone())
                        .set_session_id(session_id.clone());
                    let mut token = None;
                    loop {
                        let page = request.clone().set_next_token(token).send().await?;
                        events += page.events().len();
                        token = page.next_token;
                        if token.is_none() {
                            break;
                        }
                    }
                }
                Ok(events)
            };
            let ((), events) = tokio::try_join!(details, events)?;
            return Ok(json!({ "collected": people, "events": events }));
        }
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

fn id(number: u64) -> String {
    format!("p{number:011}")
}
