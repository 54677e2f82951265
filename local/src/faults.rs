//! Faults: which calls they hit, and what goes wrong then. They are repeatable: calls are counted, and chance comes from a
//! seed.

use std::time::Duration;

/// A fault of one operation. It lasts until it is removed.
#[derive(Clone, Debug)]
pub struct Fault<K = Kind> {
    /// The operation by its name in the API; `*` is any.
    pub operation: String,
    pub when: When,
    pub kind: K,
    calls: u64,
}

/// The calls of the operation that are hit, counted from 1 since the fault was set, including retries and throttled calls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    Always,
    /// This one alone.
    Nth(u64),
    /// This one and those before it.
    UpTo(u64),
    /// This one and those after it.
    From(u64),
    /// Each n-th.
    Every(u64),
    /// Each with this probability, from 0 to 1.
    Probability(f64),
}

/// What IVS does wrong. A kind that does not apply to a call is ignored: tokens, pages and lists belong to the four list
/// operations, where a "participant" may also be an event, a stage or a session. Several kinds can hit one call. An error replaces
/// the answer; changes of pages and bodies add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `ThrottlingException` as 429.
    Throttle429,
    /// `ThrottlingException` as 400.
    Throttle400,
    /// `InternalServerException`.
    Error500,
    /// 503 with an HTML page, as a load balancer sends it.
    Html503,
    /// The connection is reset before the answer's first byte.
    ResetBefore,
    /// The connection is reset in the middle of the answer's body.
    ResetWithin,
    /// The connection stays open, and nothing comes.
    NoAnswer,
    /// The body comes at one byte a second.
    Trickle,
    /// The first half of the body, as if it were the whole.
    BrokenJson,
    /// 200 and no body.
    EmptyBody,
    /// A `null` in the middle of a list.
    NullParticipant,
    /// Members of every type that no model knows, at every depth; of an error's body, too.
    UnknownMembers,
    /// `nextToken` is the token of the request. The first page always has a token.
    TokenRepeated,
    /// From the third page on `nextToken` is the listing's first, so that tokens come as A, B, A, B.
    TokensCycle,
    /// There is always another `nextToken`: after its end the list starts again. An empty list has endless empty pages.
    TokensEverNew,
    /// `ValidationException` for a page with a token.
    TokenExpired,
    /// The first page is empty, with a token.
    EmptyPageFirst,
    /// A later page is empty but has a `nextToken`; never two in a row.
    EmptyPageMiddle,
    /// The last page has a `nextToken`, for an empty page without one.
    EmptyPageLast,
    /// Half of a later page repeats the page before.
    RepeatsParticipants,
    /// `AccessDeniedException`; from the second call on, in the middle of a listing.
    AccessDenied,
    /// `ValidationException` for a first page, and for what has no pages.
    Validation,
    /// `PendingVerification`, as for an account that AWS has not verified yet.
    PendingVerification,
}

/// What S3 does wrong with a HEAD, GET, PUT, DELETE or LIST. A kind that does not apply to a request is ignored. Of several
/// kinds the first error is sent, after all pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum S3Kind {
    /// `AccessDenied`.
    Forbidden403,
    /// `InternalError`.
    Error500,
    /// `SlowDown`.
    SlowDown503,
    /// `KMS.ThrottlingException`, of a GET or a PUT: S3 passes on what KMS answers.
    KmsThrottled400,
    /// The connection stays open, and nothing comes.
    NoAnswer,
    /// `PreconditionFailed`, of a PUT with a condition.
    PreconditionFailed412,
    /// `ConditionalRequestConflict`, of a PUT with a condition.
    Conflict409,
    /// `NoSuchKey`, of a PUT with a condition, a GET or a HEAD.
    NoSuchKey404,
    /// The request is handled only after so long.
    Slow(Duration),
    /// The request is not handled, and the connection is reset.
    ResetBefore,
    /// The request is handled, and the connection is reset before a byte of the answer.
    ResetAfterWrite,
    /// The connection is reset in the middle of the body of a GET or a LIST.
    CutBody,
}

impl<K: Copy> Fault<K> {
    pub fn new(operation: &str, when: When, kind: K) -> Self {
        Self {
            operation: operation.to_owned(),
            when,
            kind,
            calls: 0,
        }
    }

    fn hits(&mut self, random: &mut fastrand::Rng) -> bool {
        self.calls += 1;
        match self.when {
            When::Always => true,
            When::Nth(n) => self.calls == n,
            When::UpTo(n) => self.calls <= n,
            When::From(n) => self.calls >= n,
            When::Every(n) => self.calls.is_multiple_of(n),
            When::Probability(p) => random.f64() < p,
        }
    }
}

/// Counts a call of `operation`, and returns the faults that hit it.
pub(crate) fn due<K: Copy>(
    faults: &mut [Fault<K>],
    operation: &str,
    random: &mut fastrand::Rng,
) -> Vec<K> {
    faults
        .iter_mut()
        .filter(|fault| fault.operation == operation || fault.operation == "*")
        .filter_map(|fault| fault.hits(random).then_some(fault.kind))
        .collect()
}
