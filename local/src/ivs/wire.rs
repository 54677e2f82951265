//! The answers of IVS as bytes: restJson1, changed by the faults that hit the call.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::Response;
use bytes::Bytes;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::faults::Kind;
use crate::ivs::request::{Refusal, refusal};
use crate::server::{DropConnection, Script};

/// The members that hold lists of structures.
const LISTS: [&str; 4] = ["participants", "events", "stages", "stageSessions"];

/// The members that hold maps of strings. Their entries are no members.
const MAPS: [&str; 2] = ["attributes", "tags"];

/// The error that is sent because of a fault.
pub(crate) fn refused(kind: Kind, operation: &str, later_page: bool) -> Option<Refusal> {
    let (status, code, message) = match kind {
        Kind::Throttle429 => (429, "ThrottlingException", "Rate exceeded"),
        Kind::Throttle400 => (400, "ThrottlingException", "Rate exceeded"),
        Kind::Error500 => (500, "InternalServerException", "Internal server error"),
        Kind::AccessDenied => {
            let message = format!("User is not authorized to perform: ivs:{operation}");
            return Some(refusal(403, "AccessDeniedException", message));
        }
        Kind::TokenExpired if later_page => (400, "ValidationException", "nextToken has expired"),
        Kind::Validation if !later_page => (400, "ValidationException", "refused on request"),
        Kind::PendingVerification => {
            let message = "Your account is pending verification";
            (403, "PendingVerification", message)
        }
        _ => return None,
    };
    Some(refusal(status, code, message.to_owned()))
}

/// An answer that is ready to go.
pub(crate) struct Answer {
    status: StatusCode,
    error_type: Option<&'static str>,
    body: Bytes,
}

impl Answer {
    pub(crate) fn new(result: Result<Value, Refusal>, faults: &[Kind]) -> Self {
        let (status, error_type, mut body) = match result {
            Ok(answer) => (StatusCode::OK, None, answer),
            Err(Refusal {
                status,
                code,
                message,
            }) => {
                // The model's exceptions carry `exceptionMessage`; a throttle is not in the model.
                let member = match code {
                    "ThrottlingException" => "message",
                    _ => "exceptionMessage",
                };
                (status, Some(code), json!({ member: message }))
            }
        };
        if faults.contains(&Kind::NullParticipant) {
            for list in LISTS {
                if let Some(Value::Array(list)) = body.get_mut(list) {
                    list.insert(list.len() / 2, Value::Null);
                }
            }
        }
        if faults.contains(&Kind::UnknownMembers) {
            add_unknown_members(&mut body);
        }
        Self {
            status,
            error_type,
            body: unsorted(&body).into(),
        }
    }

    /// The status that will be sent; 0 if nothing will.
    pub(crate) fn status_sent(&self, faults: &[Kind]) -> u16 {
        match broken(faults) {
            Some(Kind::ResetBefore | Kind::NoAnswer) => 0,
            Some(Kind::Html503) => 503,
            Some(Kind::EmptyBody) => 200,
            _ => self.status.as_u16(),
        }
    }

    pub(crate) async fn send(self, faults: &[Kind]) -> Response {
        let bytes = self.body.clone();
        let length = bytes.len();
        match broken(faults) {
            Some(Kind::ResetBefore) => DropConnection::response(),
            Some(Kind::NoAnswer) => std::future::pending().await,
            Some(Kind::Html503) => {
                let page = "<html><body><h1>503 Service Unavailable</h1></body></html>";
                let mut response = Response::new(Body::from(page));
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                let headers = response.headers_mut();
                headers.insert(CONTENT_TYPE, "text/html".parse().expect("a header's value"));
                response
            }
            Some(Kind::EmptyBody) => Response::new(Body::empty()),
            Some(Kind::BrokenJson) => self.with(length / 2, Body::from(bytes.slice(..length / 2))),
            Some(Kind::ResetWithin) => self.with(length, Body::new(Script::cut(&bytes))),
            Some(Kind::Trickle) => self.with(length, Body::new(Script::trickle(&bytes))),
            _ => self.with(length, Body::from(bytes)),
        }
    }

    fn with(self, length: usize, body: Body) -> Response {
        let mut response = Response::builder()
            .status(self.status)
            .header(CONTENT_TYPE, "application/json")
            .header(CONTENT_LENGTH, length);
        if let Some(code) = self.error_type {
            response = response.header("x-amzn-errortype", code);
        }
        response
            .body(body)
            .expect("the parts of a response are valid")
    }
}

/// The first fault that breaks the answer itself.
fn broken(faults: &[Kind]) -> Option<Kind> {
    let breaks = |kind: &Kind| {
        matches!(
            kind,
            Kind::ResetBefore
                | Kind::NoAnswer
                | Kind::Html503
                | Kind::EmptyBody
                | Kind::BrokenJson
                | Kind::ResetWithin
                | Kind::Trickle
        )
    };
    faults.iter().copied().find(breaks)
}

/// JSON whose members are not sorted by their names, since the service promises no order of them.
fn unsorted(value: &Value) -> String {
    struct Unsorted<'a>(&'a Value);
    impl Serialize for Unsorted<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self.0 {
                Value::Object(members) => {
                    let members = members.iter().rev();
                    serializer.collect_map(members.map(|(name, value)| (name, Unsorted(value))))
                }
                Value::Array(values) => serializer.collect_seq(values.iter().map(Unsorted)),
                value => value.serialize(serializer),
            }
        }
    }
    serde_json::to_string(&Unsorted(value)).expect("a value is JSON")
}

fn add_unknown_members(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(add_unknown_members),
        Value::Object(members) => {
            for (name, value) in members.iter_mut() {
                if !MAPS.contains(&name.as_str()) {
                    add_unknown_members(value);
                }
            }
            let more = json!({
                "newText": "of tomorrow", "newNumber": -1.5e3, "newFlag": true, "newNothing": null,
                "newList": [1, null, "two", [], {}], "newStructure": { "deep": { "deeper": [false] } },
            });
            if let Value::Object(more) = more {
                members.extend(more);
            }
        }
        _ => {}
    }
}
