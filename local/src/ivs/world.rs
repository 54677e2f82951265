//! What the emulated region knows: stages, their sessions, and the participants. Tests set it up and change it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::watch;

use crate::faults::{Fault, Kind, When};
use crate::ivs::listing::Listings;
use crate::ivs::places::Places;
use crate::ivs::quota::{Quota, Used};

/// What the emulated region knows, to be set up and changed at any time.
pub struct World {
    pub region: String,
    pub quota: Quota,
    /// The operations that the caller's role does not allow.
    pub denied: BTreeSet<String>,
    /// The ARNs of the stages that exist, with or without a session.
    pub stages: BTreeSet<String>,
    /// What ListStages says of a stage besides its ARN. Other stages have an empty name and no tags.
    pub labels: BTreeMap<String, Labels>,
    /// Sessions by stage ARN and session id.
    pub sessions: BTreeMap<(String, String), Session>,
    /// The faults, until they are removed.
    pub faults: Vec<Fault>,
    /// Start times in ListStageSessions that differ from those in GetStageSession.
    pub listed_starts: BTreeMap<(String, String), DateTime<Utc>>,
    /// Sessions whose start ListStageSessions leaves out.
    pub listed_without_start: BTreeSet<(String, String)>,
    /// Stages whose sessions the service refuses to list (`PendingVerification`).
    pub sick_stages: BTreeSet<String>,
    /// ListParticipants answers an empty list for a session that is not known, instead of 404. Which of the two it does is
    /// not documented.
    pub lists_nobody_of_the_unknown: bool,
    /// Every request so far.
    pub calls: Vec<Call>,
    /// Sends the number of calls.
    pub(crate) called: watch::Sender<usize>,
    ends_shown: BTreeMap<(String, String), Instant>,
    pub(crate) listings: Listings,
    places: HashMap<(String, String), Places>,
    pub(crate) used: HashMap<String, Used>,
    pub(crate) random: fastrand::Rng,
}

/// The name and the tags of a stage. A member that is `None` is not in the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Labels {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
}

impl Default for Labels {
    fn default() -> Self {
        Self {
            name: Some(String::new()),
            tags: Some(BTreeMap::new()),
        }
    }
}

impl Labels {
    /// A name, and tags as keys with their values.
    pub fn new(name: &str, tags: &[(&str, &str)]) -> Self {
        let owned = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
        Self {
            name: Some(name.to_owned()),
            tags: Some(tags.iter().map(owned).collect()),
        }
    }
}

/// A session of a stage; live while it has no end.
#[derive(Clone, Debug, Default)]
pub struct Session {
    pub start_time: Option<DateTime<Utc>>,
    pub end_time: Option<DateTime<Utc>>,
    pub participants: Vec<Participant>,
}

/// A participant with the members of `ParticipantSummary`. A member that is `None` is not in the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Participant {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participant_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_join_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recording_state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication_state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_stage_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_session_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redundant_ingest: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingest_configuration_arn: Option<String>,
    /// No list contains this participant before then.
    #[serde(skip)]
    pub listed_from: Option<Instant>,
    /// The answer of `ListParticipantEvents`.
    #[serde(skip)]
    pub events: Vec<Event>,
    /// What `GetParticipant` adds to the summary. Without it the operation does not know this participant.
    #[serde(skip)]
    pub details: Option<Details>,
    /// Members that the SDK does not know yet.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// An event of a participant. A member that is `None` is not in the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participant_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_participant_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_stage_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_session_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_token: Option<Token>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_token: Option<Token>,
    /// Members that the SDK does not know yet.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// One of the two tokens of a token exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration_time: Option<String>,
}

/// The members that `GetParticipant` has beyond those of the summary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub browser_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub browser_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sdk_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isp_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    #[serde(
        rename = "recordingS3BucketName",
        skip_serializing_if = "Option::is_none"
    )]
    pub recording_s3_bucket_name: Option<String>,
    #[serde(rename = "recordingS3Prefix", skip_serializing_if = "Option::is_none")]
    pub recording_s3_prefix: Option<String>,
}

impl Event {
    /// An event with only a name, its participant, and its time in whole seconds.
    pub fn new(name: &str, participant_id: &str, time: DateTime<Utc>) -> Self {
        Self {
            name: Some(name.to_owned()),
            participant_id: Some(participant_id.to_owned()),
            event_time: Some(time.to_rfc3339_opts(SecondsFormat::Secs, true)),
            ..Self::default()
        }
    }
}

/// A request as it came, and how it was answered.
#[derive(Clone, Debug)]
pub struct Call {
    pub at: Instant,
    pub operation: String,
    pub body: Value,
    /// The status that was sent; 0 if none was.
    pub status: u16,
    /// The faults that hit this call, whether or not they changed its answer.
    pub faults: Vec<Kind>,
}

impl World {
    pub(crate) fn new(region: &str) -> Self {
        Self {
            region: region.to_owned(),
            quota: Quota::Bucket,
            denied: BTreeSet::new(),
            stages: BTreeSet::new(),
            labels: BTreeMap::new(),
            sessions: BTreeMap::new(),
            faults: Vec::new(),
            listed_starts: BTreeMap::new(),
            listed_without_start: BTreeSet::new(),
            sick_stages: BTreeSet::new(),
            lists_nobody_of_the_unknown: false,
            calls: Vec::new(),
            called: watch::Sender::new(0),
            ends_shown: BTreeMap::new(),
            listings: Listings::default(),
            places: HashMap::new(),
            used: HashMap::new(),
            random: fastrand::Rng::with_seed(0),
        }
    }

    /// Puts a session, and its stage.
    pub fn put(&mut self, stage_arn: &str, session_id: &str, session: Session) {
        let name = (stage_arn.to_owned(), session_id.to_owned());
        self.stages.insert(stage_arn.to_owned());
        self.ends_shown.remove(&name);
        self.sessions.insert(name, session);
    }

    /// A session, to be changed. It must exist.
    pub fn session(&mut self, stage_arn: &str, session_id: &str) -> &mut Session {
        let name = (stage_arn.to_owned(), session_id.to_owned());
        self.sessions
            .get_mut(&name)
            .expect("the session was put before")
    }

    /// A participant of a session by id.
    pub(crate) fn participant(
        &mut self,
        name: &(String, String),
        id: &str,
    ) -> Option<&Participant> {
        let people = &self.sessions.get(name)?.participants;
        let places = self.places.entry(name.clone()).or_default();
        let id_at = |place: usize| people.get(place)?.participant_id.as_deref();
        let place = places.find(id, people.len(), id_at)?;
        people.get(place)
    }

    /// Deletes a stage: no list contains it, and a list of its sessions is refused. Its sessions are deleted too, or can
    /// still be read by their ids; the documentation does not say which.
    pub fn delete_stage(&mut self, stage_arn: &str, with_its_sessions: bool) {
        self.stages.remove(stage_arn);
        if with_its_sessions {
            self.sessions.retain(|(stage, _), _| stage != stage_arn);
        }
    }

    /// Hides the end of a session until `at`. Until then it looks live.
    pub fn show_end_at(&mut self, stage_arn: &str, session_id: &str, at: Instant) {
        let name = (stage_arn.to_owned(), session_id.to_owned());
        self.ends_shown.insert(name, at);
    }

    /// Sets a fault of an operation (`*`: of any).
    pub fn fault(&mut self, operation: &str, when: When, kind: Kind) {
        self.faults.push(Fault::new(operation, when, kind));
    }

    /// Seeds the chance in `When::Probability`.
    pub fn seed(&mut self, seed: u64) {
        self.random.seed(seed);
    }

    /// The end of a session, unless it is hidden.
    pub(crate) fn end_time(&self, name: &(String, String)) -> Option<DateTime<Utc>> {
        let shown = self.ends_shown.get(name);
        if shown.is_some_and(|&at| Instant::now() < at) {
            return None;
        }
        self.sessions.get(name)?.end_time
    }
}

/// The sessions of a stage, by their ids.
pub(crate) fn sessions_of<'a>(
    sessions: &'a BTreeMap<(String, String), Session>,
    stage_arn: &'a str,
) -> impl Iterator<Item = (&'a (String, String), &'a Session)> {
    sessions
        .range((stage_arn.to_owned(), String::new())..)
        .take_while(move |((stage, _), _)| stage == stage_arn)
}

/// A time as the service writes it.
pub fn timestamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
