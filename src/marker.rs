//! The failure marker of a session: why an export or a collection failed, and when the session started.
//!
//! Sweeps leave a session with a young marker to the redelivery of its message, and after the last one out for a day. A later try
//! learns the start from it, in case IVS has forgotten the session by then.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::error::Error;
use crate::lake::{Failed, Lake};
use crate::session::SessionRef;

const START_TIME: &str = "session_start_time";

/// Leaves a marker. It keeps a start that IVS told at an earlier try, if the sender does not know it (`told`).
///
/// # Errors
/// As [`Lake::put_failed`].
pub async fn leave(
    lake: &Lake,
    session: &SessionRef,
    what: Failed,
    told: Option<DateTime<Utc>>,
    failure: &Error,
) -> Result<(), Error> {
    let marker = json!({
        "error_type": failure.error_type(),
        "error": failure.chain(),
        START_TIME: start_time(lake, session, what, told).await?,
    });
    lake.put_failed(session, what, marker.to_string()).await
}

/// When a session started, by the sender (`told`) or by its marker, if one of them tells.
///
/// # Errors
/// As [`Lake::head`].
pub async fn start_time(
    lake: &Lake,
    session: &SessionRef,
    what: Failed,
    told: Option<DateTime<Utc>>,
) -> Result<Option<DateTime<Utc>>, Error> {
    if told.is_some() {
        return Ok(told);
    }
    let marker = lake.read_failed(session, what).await?;
    let marker: Option<Value> = marker.and_then(|marker| serde_json::from_slice(&marker).ok());
    Ok(marker.and_then(|marker| marker[START_TIME].as_str()?.parse().ok()))
}
