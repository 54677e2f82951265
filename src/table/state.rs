//! States as IVS names them, those of tomorrow too.
//!
//! The values of the enums of `Participant`
//! (<https://docs.aws.amazon.com/ivs/latest/RealTimeAPIReference/API_Participant.html>), each from the first to the last.

use std::borrow::Cow;

pub const STATES: &[&str] = &["CONNECTED", "DISCONNECTED"];
pub const RECORDING_STATES: &[&str] = &[
    "DISABLED", "STARTING", "ACTIVE", "STOPPING", "STOPPED", "FAILED",
];
pub const REPLICATION_TYPES: &[&str] = &["NONE", "SOURCE", "REPLICA"];
pub const REPLICATION_STATES: &[&str] = &["ACTIVE", "STOPPED"];

/// The value of a state, to the byte. A documented one takes no memory besides this: a row has up to four.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State(Cow<'static, str>);

impl State {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The string that is not documented, if it is one.
    #[must_use]
    pub fn undocumented(&self) -> Option<&str> {
        match &self.0 {
            Cow::Borrowed(_) => None,
            Cow::Owned(text) => Some(text),
        }
    }
}

impl From<&str> for State {
    fn from(value: &str) -> Self {
        let documented = [
            STATES,
            RECORDING_STATES,
            REPLICATION_TYPES,
            REPLICATION_STATES,
        ];
        let mut documented = documented.into_iter().flatten();
        Self(match documented.find(|&&state| state == value) {
            Some(state) => Cow::Borrowed(state),
            None => Cow::Owned(value.to_owned()),
        })
    }
}
