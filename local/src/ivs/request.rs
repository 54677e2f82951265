//! The checks of a request to IVS, and the errors that IVS answers with.

use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;

/// An answer that is an error.
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

/// Checks the scope of a signature, but not the signature.
pub(crate) fn check_signature(headers: &HeaderMap, region: &str) -> Result<(), Refusal> {
    let refuse = |message: String| refusal(403, "InvalidSignatureException", message);
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let authorization = text("authorization");
    let scope = authorization
        .strip_prefix("AWS4-HMAC-SHA256 Credential=")
        .and_then(|rest| rest.split(',').next())
        .ok_or_else(|| refuse("the request is not signed by AWS4-HMAC-SHA256".to_owned()))?;
    let expected = format!("/{region}/ivs/aws4_request");
    if !scope.ends_with(&expected)
        || !authorization.contains("Signature=")
        || text("x-amz-date").is_empty()
    {
        return Err(refuse(format!(
            "the scope {scope} does not end in {expected}, or date or signature are missing"
        )));
    }
    if text("content-type") != "application/json" {
        return Err(invalid("content-type must be application/json"));
    }
    Ok(())
}

/// Checks that a request has no other members.
pub(crate) fn members(body: &Value, known: &[&str]) -> Result<(), Refusal> {
    let object = body
        .as_object()
        .ok_or_else(|| invalid("the body must be a JSON object"))?;
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        Some(unknown) => Err(invalid(&format!("{unknown} is no member of this request"))),
        None => Ok(()),
    }
}

fn alphanumeric(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn text(body: &Value, member: &str) -> String {
    let text = body.get(member).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

pub(crate) fn stage_arn(body: &Value) -> Result<String, Refusal> {
    let stage_arn = text(body, "stageArn");
    let parts: Vec<_> = stage_arn.split(':').collect();
    match parts[..] {
        ["arn", "aws", "ivs", _, account, resource]
            if account.bytes().all(|byte| byte.is_ascii_digit())
                && resource
                    .strip_prefix("stage/")
                    .is_some_and(|id| alphanumeric(&id.replace('-', "0"))) =>
        {
            Ok(stage_arn)
        }
        _ => Err(invalid(
            "stageArn must match arn:aws:ivs:[a-z0-9-]+:[0-9]+:stage/[a-zA-Z0-9-]+",
        )),
    }
}

/// A session's stage ARN and id.
pub(crate) fn name(body: &Value) -> Result<(String, String), Refusal> {
    let (stage_arn, session_id) = (stage_arn(body)?, text(body, "sessionId"));
    if session_id.len() != 16 || !session_id.strip_prefix("st-").is_some_and(alphanumeric) {
        return Err(invalid(
            "sessionId must match st-[a-zA-Z0-9]+ and have 16 characters",
        ));
    }
    Ok((stage_arn, session_id))
}

/// The id of a participant. The model allows an empty one, but that names nobody, so it is a mistake of the caller.
pub(crate) fn participant_id(body: &Value) -> Result<String, Refusal> {
    let id = text(body, "participantId");
    if id.len() > 64 || !alphanumeric(&id.replace('-', "0")) {
        return Err(invalid(
            "participantId must match [a-zA-Z0-9-]+ and have at most 64 characters",
        ));
    }
    Ok(id)
}

pub(crate) fn refusal(status: u16, code: &'static str, message: String) -> Refusal {
    Refusal {
        status: StatusCode::from_u16(status).expect("a status code"),
        code,
        message,
    }
}

pub(crate) fn invalid(message: &str) -> Refusal {
    refusal(400, "ValidationException", message.to_owned())
}

pub(crate) fn not_found((stage_arn, session_id): &(String, String)) -> Refusal {
    refusal(
        404,
        "ResourceNotFoundException",
        format!("{stage_arn} has no session {session_id}"),
    )
}
