//! The random faults of a soak, which hit single calls, and the count of those that made a difference.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;

use crate::faults::{Kind, S3Kind, When};
use crate::ivs::world::Call;
use crate::lambda::circle::Circle;
use crate::s3::S3Request;
use crate::sqs::wire::{Attempt, Fault as SqsFault};

/// Sets the faults that hit single calls of IVS and S3, each kind for the operations that it can affect.
pub(super) fn set(circle: &Circle) {
    let mut world = circle.ivs.world();
    for (operations, probability, kinds) in [
        (
            &["*"][..],
            0.006,
            &[
                Kind::Throttle429,
                Kind::Throttle400,
                Kind::Error500,
                Kind::Html503,
                Kind::ResetBefore,
                Kind::ResetWithin,
                Kind::BrokenJson,
                Kind::EmptyBody,
            ][..],
        ),
        (&["*"], 0.02, &[Kind::UnknownMembers]),
        (
            &["ListParticipants", "ListStages", "ListStageSessions"],
            0.02,
            &[
                Kind::EmptyPageFirst,
                Kind::EmptyPageMiddle,
                Kind::EmptyPageLast,
                Kind::RepeatsParticipants,
            ],
        ),
        (
            &["ListParticipants", "ListStages", "ListStageSessions"],
            0.006,
            &[
                Kind::NullParticipant,
                Kind::TokenRepeated,
                Kind::TokensEverNew,
                Kind::TokenExpired,
            ],
        ),
        (
            &["ListParticipants"],
            // These could be mistaken for the end of a list. They are frequent, because a second look hides the mistake.
            0.2,
            &[Kind::TokenRepeated, Kind::TokensCycle],
        ),
        (&["ListParticipants"], 0.07, &[Kind::EmptyBody]),
        // A collection makes two calls for each participant, so these are rarer.
        (
            &["ListParticipantEvents"],
            0.01,
            &[
                Kind::EmptyBody,
                Kind::EmptyPageFirst,
                Kind::EmptyPageMiddle,
                Kind::EmptyPageLast,
                Kind::RepeatsParticipants,
                Kind::TokenExpired,
            ],
        ),
        (
            &["ListParticipantEvents"],
            0.001,
            &[
                Kind::NullParticipant,
                Kind::TokenRepeated,
                Kind::TokensCycle,
                Kind::TokensEverNew,
            ],
        ),
        (
            &["GetParticipant"],
            0.01,
            &[Kind::EmptyBody, Kind::BrokenJson, Kind::Throttle429],
        ),
        (
            &["*"],
            0.002,
            &[
                Kind::AccessDenied,
                Kind::Validation,
                Kind::PendingVerification,
            ],
        ),
        (&["*"], 0.003, &[Kind::NoAnswer, Kind::Trickle]),
    ] {
        for operation in operations {
            for &kind in kinds {
                world.fault(operation, When::Probability(probability), kind);
            }
        }
    }
    drop(world);
    set_s3(circle);
}

/// Sets only those of S3.
pub(super) fn set_s3(circle: &Circle) {
    for (operation, probability, kind) in [
        ("*", 0.005, S3Kind::Error500),
        ("*", 0.005, S3Kind::SlowDown503),
        ("*", 0.003, S3Kind::Forbidden403),
        ("*", 0.005, S3Kind::ResetBefore),
        ("*", 0.05, S3Kind::Slow(Duration::from_millis(700))),
        ("*", 0.002, S3Kind::NoAnswer),
        ("PUT", 0.02, S3Kind::PreconditionFailed412),
        ("PUT", 0.02, S3Kind::Conflict409),
        ("PUT", 0.01, S3Kind::NoSuchKey404),
        ("PUT", 0.02, S3Kind::ResetAfterWrite),
        ("HEAD", 0.01, S3Kind::NoSuchKey404),
        ("GET", 0.01, S3Kind::NoSuchKey404),
        ("GET", 0.03, S3Kind::CutBody),
        ("LIST", 0.03, S3Kind::CutBody),
    ] {
        let when = When::Probability(probability);
        circle.s3.fault(operation, when, kind);
    }
}

/// The faults of SQS.
pub(super) struct SqsFaults {
    random: Rng,
    /// Hits every request, for some time.
    pub(super) lasting: Option<SqsFault>,
    pub(super) stopped: bool,
    /// How often each kind happened.
    pub(super) took_place: BTreeMap<String, usize>,
}

impl SqsFaults {
    pub(super) fn new(random: Rng) -> Self {
        Self {
            random,
            lasting: None,
            stopped: false,
            took_place: BTreeMap::new(),
        }
    }

    /// The fault that hits a request, if any.
    pub(super) fn strike(&mut self, attempt: &Attempt<'_>) -> Option<SqsFault> {
        if self.stopped {
            return None;
        }
        let fault = self.lasting.clone().or_else(|| self.chance(attempt))?;
        let name = format!("{fault:?}");
        let name = name.split('(').next().unwrap_or_default();
        *self.took_place.entry(format!("SQS {name}")).or_default() += 1;
        Some(fault)
    }

    fn chance(&mut self, attempt: &Attempt<'_>) -> Option<SqsFault> {
        let entries = attempt.body["Entries"].as_array().map_or(0, Vec::len);
        match self.random.f64() {
            p if p < 0.05 => Some(SqsFault::InternalFailure),
            p if p < 0.10 && attempt.operation != "GetQueueAttributes" => {
                Some(SqsFault::LostAnswer)
            }
            p if p < 0.15 => Some(SqsFault::Throttled),
            p if p < 0.18 => Some(SqsFault::AccessDenied),
            p if p < 0.35 && entries > 0 => {
                let bad = (0..entries).filter(|_| self.random.bool());
                Some(SqsFault::Entries(bad.collect())).filter(
                    |fault| !matches!(fault, SqsFault::Entries(entries) if entries.is_empty()),
                )
            }
            _ => None,
        }
    }
}

/// How often each kind of fault of IVS and S3 changed an answer.
pub(super) fn that_mattered(circle: &Circle) -> BTreeMap<String, usize> {
    let mut faults = BTreeMap::new();
    for call in &circle.ivs.world().calls {
        for &kind in call.faults.iter().filter(|&&kind| matters(call, kind)) {
            *faults.entry(format!("IVS {kind:?}")).or_default() += 1;
        }
    }
    for request in &circle.s3.requests() {
        let kinds = request.faults.iter();
        for &kind in kinds.filter(|&&kind| s3_matters(request, kind)) {
            let name = format!("{kind:?}");
            let name = name.split('(').next().unwrap_or_default();
            *faults.entry(format!("S3 {name}")).or_default() += 1;
        }
    }
    faults
}

/// Whether a fault that hit a call could change its answer.
fn matters(call: &Call, kind: Kind) -> bool {
    let list = call.operation.starts_with("List");
    let later = call.body.get("nextToken").is_some();
    match kind {
        Kind::TokenExpired | Kind::EmptyPageMiddle | Kind::RepeatsParticipants => list && later,
        Kind::EmptyPageFirst => list && !later,
        Kind::Validation => !later,
        Kind::NullParticipant
        | Kind::TokenRepeated
        | Kind::TokensCycle
        | Kind::TokensEverNew
        | Kind::EmptyPageLast => list,
        _ => true,
    }
}

fn s3_matters(request: &S3Request, kind: S3Kind) -> bool {
    let conditional = request.if_match.is_some() || request.if_none_match.is_some();
    let put = request.operation == "PUT" && conditional;
    match kind {
        S3Kind::PreconditionFailed412 | S3Kind::Conflict409 => put,
        S3Kind::NoSuchKey404 => put || ["GET", "HEAD"].contains(&request.operation.as_str()),
        S3Kind::CutBody => ["GET", "LIST"].contains(&request.operation.as_str()),
        _ => true,
    }
}
