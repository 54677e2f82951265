//! The script of a soak: its sessions, and everything that happens to them and to the function, each at its time. All of it
//! is drawn from the seed before the soak begins. The same seed gives the same script; only the timing of processes and
//! messages differs from run to run.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use fastrand::Rng;

use crate::faults::{Kind, S3Kind};
use crate::ivs::world::{Event, Participant, Token, timestamp};
use crate::scene::{audience, give_lives};
use crate::soak::settings::{CONFIRM_AFTER, Settings};
use crate::sqs::wire::Fault;
use crate::template::Template;

/// The id of a session that makes a debug build of the function panic.
const PANICS: &str = "st-PanicsInDebug";
/// The function's memory in MB. It leaves about 1.6 MB for the rows of a session.
pub(super) const MEMORY_MEGABYTES: &str = "26";

/// Everything personal in the world of a soak begins with it, so that it can be found where it must not be.
pub(super) const PERSONAL: &str = "Qx7Jd-";

/// A session's stage and id.
pub(super) type Name = (String, String);

pub(super) struct Script {
    pub(super) stages: Vec<String>,
    pub(super) plans: Vec<Plan>,
    /// What happens, and how long after the start.
    pub(super) actions: Vec<(Duration, Action)>,
}

/// A session as it will be in the end.
pub(super) struct Plan {
    pub(super) name: Name,
    pub(super) start: DateTime<Utc>,
    /// `None` if the session stays live.
    pub(super) end: Option<DateTime<Utc>>,
    /// The function fails on it until the faults stop.
    pub(super) deadly: Option<Deadly>,
    /// IVS does not tell its start until the faults stop, so exports of it fail until then.
    pub(super) startless: bool,
    pub(super) people: Vec<Participant>,
    /// Participants who appear late in the list: their positions, and how long after the start.
    pub(super) late: Vec<(usize, Duration)>,
    /// Some states are not final when it begins.
    pub(super) unsettled: bool,
}

/// What a session does to a function that exports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deadly {
    /// The function panics. IVS forgets the session in the end.
    Panics,
    /// Its user ids are so long that the participants do not fit into memory. In the end they become short.
    TooLarge,
}

#[derive(Clone, Debug)]
pub(super) enum Action {
    /// A session begins. All sessions are given by their positions among the plans.
    Begin(usize),
    /// Its end becomes visible.
    End(usize),
    /// Its participants' states become final.
    Settle(usize),
    /// IVS forgets a participant who is in the lake.
    Forget(usize),
    /// EventBridge delivers a hint.
    Hint(usize),
    /// A person asks for it.
    Request(usize),
    Tick,
    /// The stack is deployed with `RewriteBefore` set to now.
    Rewrite,
    /// The stack is deployed with `RecollectBefore` set to now, and IVS forgets events of some sessions that were collected.
    Recollect,
    Kill,
    /// A person redrives the dead-letter queue.
    Redrive,
    /// Every call of an operation fails, until `AllWell`.
    IvsFails(&'static str, Kind),
    S3Fails(&'static str, S3Kind),
    SqsFails(Fault),
    AllWell,
    /// IVS refuses to list a stage's sessions, and lists them again.
    Sick(String),
    Healthy(String),
    /// A stage is deleted, and its sessions with it.
    Delete(String),
}

/// Faults that hit every call of an operation for some time.
const IVS_EPISODES: [(&str, Kind); 16] = [
    ("ListParticipants", Kind::TokensEverNew),
    ("ListParticipants", Kind::TokenRepeated),
    ("ListParticipants", Kind::TokensCycle),
    ("ListParticipants", Kind::TokenExpired),
    ("ListParticipants", Kind::AccessDenied),
    ("ListParticipants", Kind::Validation),
    ("GetStageSession", Kind::PendingVerification),
    ("ListParticipantEvents", Kind::TokenExpired),
    ("ListParticipantEvents", Kind::Throttle429),
    ("GetParticipant", Kind::Throttle400),
    ("GetParticipant", Kind::AccessDenied),
    ("ListStageSessions", Kind::TokenRepeated),
    ("ListStages", Kind::AccessDenied),
    ("*", Kind::Throttle429),
    ("*", Kind::Throttle400),
    ("*", Kind::Html503),
];
const S3_EPISODES: [(&str, S3Kind); 6] = [
    ("PUT", S3Kind::Forbidden403),
    ("PUT", S3Kind::Conflict409),
    ("PUT", S3Kind::SlowDown503),
    ("GET", S3Kind::CutBody),
    ("HEAD", S3Kind::Forbidden403),
    ("LIST", S3Kind::Error500),
];

impl Script {
    /// Draws the script of a soak that begins at `now`.
    pub(super) fn draw(settings: &Settings, now: DateTime<Utc>, random: &mut Rng) -> Self {
        let mut draw = Draw {
            settings,
            now,
            random,
            actions: Vec::new(),
        };
        let stages: Vec<_> = (0..settings.stages())
            .map(|_| {
                let id: String = (0..12).map(|_| draw.random.alphanumeric()).collect();
                format!("arn:aws:ivs:us-west-2:123456789012:stage/{id}")
            })
            .collect();
        let plans = (0..settings.sessions)
            .map(|place| draw.plan(place, &stages))
            .collect();
        draw.chaos(&stages);
        let mut actions = draw.actions;
        actions.sort_by_key(|(at, _)| *at);
        Self {
            stages,
            plans,
            actions,
        }
    }
}

struct Draw<'a> {
    settings: &'a Settings,
    now: DateTime<Utc>,
    random: &'a mut Rng,
    actions: Vec<(Duration, Action)>,
}

impl Draw<'_> {
    fn plan(&mut self, place: usize, stages: &[String]) -> Plan {
        let chaos = self.settings.chaos.as_secs_f64();
        let confirm = CONFIRM_AFTER.as_secs_f64();
        // Then the second look is due at most a few seconds after the faults stop.
        let last_end = chaos + 8.0 - confirm;
        // In seconds after the start of the soak: when it begins, when its end becomes visible, and its end.
        let (mut begins, shows, end) = match self.random.f64() {
            p if p < 0.07 => (0.0, None, 0.0),
            // Long ago: it is listed only once, so no second look repairs it.
            p if p < 0.32 => {
                let shows = self.between(-chaos, 0.85 * chaos).max(0.0);
                (0.0, Some(shows), -self.between(3_660.0, 180_000.0))
            }
            p if p < 0.45 => (0.0, Some(0.0), self.between(-confirm, last_end.min(0.0))),
            _ => {
                let shows = self.between(0.0, 0.85 * chaos);
                let end = (shows - self.between(0.0, 3.0)).min(last_end);
                (0.0, Some(shows), end)
            }
        };
        if let Some(shows) = shows
            && shows > 0.0
            && self.chance(0.3)
        {
            begins = self.between(0.0, shows);
        }
        // At least one of each kind.
        let deadly = match place {
            0 => Some(Deadly::Panics),
            1 => Some(Deadly::TooLarge),
            _ if self.chance(0.01) => Some(Deadly::TooLarge),
            _ => None,
        };
        let (begins, shows, end) = match deadly {
            // It has ended before the first look, so every look runs into it.
            Some(_) => (0.0, Some(0.0), -self.between(3_660.0, 180_000.0)),
            None => (begins, shows, end),
        };
        let start = end - self.between(300.0, 5_400.0);
        let name = (
            stages[self.random.usize(0..stages.len())].clone(),
            match deadly {
                Some(Deadly::Panics) => PANICS.to_owned(),
                _ => format!("st-{place:06}{:07}", self.random.u32(0..10_000_000)),
            },
        );
        let (start, end_time) = (self.at(start), shows.map(|_| self.at(end)));
        let viewers_only = self.chance(0.3);
        let one_look = end < -confirm;
        let mut people = match deadly {
            Some(Deadly::TooLarge) => {
                let mut people = audience(150, start);
                people
                    .iter_mut()
                    .for_each(|who| who.user_id = Some("x".repeat(12_000)));
                people
            }
            _ => self.people(start, viewers_only, one_look),
        };
        give_lives(&mut people, end_time);
        for who in &mut people {
            self.strange_events(who);
        }
        mark(&mut people);

        self.act(begins, Action::Begin(place));
        // The final look may begin one time-out before the second look is due.
        let timeout = Template::scaled(self.settings.factor).timeout();
        let known_by = end + confirm - timeout.as_secs_f64() - 3.0;
        let changes = shows.is_some() && !people.is_empty() && known_by > 0.5 && deadly.is_none();
        let mut late = Vec::new();
        if changes && self.chance(0.25) {
            for _ in 0..self.random.usize(1..4) {
                let who = self.random.usize(0..people.len());
                late.push((who, seconds(self.between(0.0, known_by))));
            }
        }
        let unsettled = changes && self.chance(0.25);
        if !unsettled {
            for who in &mut people {
                // Someone who has no id: only the whole row identifies them.
                if who.first_join_time.is_some() && self.chance(0.01) {
                    who.participant_id = None;
                }
            }
        }
        if unsettled {
            let at = self.between(0.0, known_by);
            self.act(at.max(begins), Action::Settle(place));
        }
        if let Some(shows) = shows {
            self.act(shows, Action::End(place));
            if !unsettled && people.len() > 1 && self.chance(0.5) {
                for _ in 0..3 {
                    let at = self.between(shows, chaos);
                    self.act(at, Action::Forget(place));
                }
            }
        }
        if !viewers_only {
            self.hints(place, begins, shows);
        }
        Plan {
            name,
            start,
            end: end_time,
            deadly,
            startless: self.chance(0.02) && deadly.is_none(),
            people,
            late,
            unsettled,
        }
    }

    fn people(
        &mut self,
        start: DateTime<Utc>,
        viewers_only: bool,
        one_look: bool,
    ) -> Vec<Participant> {
        let count = match self.random.f64() {
            p if p < 0.08 => 0,
            p if p < 0.6 && one_look => self.random.usize(201..500),
            p if p < 0.15 => self.random.usize(101..450),
            _ => self.random.usize(1..13),
        };
        let mut people = audience(count, start);
        for who in &mut people {
            if viewers_only {
                who.published = None;
                who.recording_state = Some("DISABLED".to_owned());
            }
            if self.chance(0.1) {
                who.user_id = [None, Some(String::new()), Some("Zoë \"Z\" 🦀\n".to_owned())]
                    [self.random.usize(0..3)]
                .clone();
            }
            if self.chance(0.02) {
                who.first_join_time = None;
            }
            if self.chance(0.05) {
                // Of every publisher each viewer has two events, which must fit into the memory.
                who.published = Some(count < 100 && self.random.bool());
                who.redundant_ingest = Some(self.random.bool());
                who.recording_state = Some("ARCHIVED".to_owned());
                who.ingest_configuration_arn =
                    Some("arn:aws:ivs:us-west-2:123456789012:ingest-configuration/In1".to_owned());
            }
            if self.chance(0.05) {
                who.replication_type = Some("REPLICA".to_owned());
                who.replication_state = Some("STOPPED".to_owned());
                who.source_stage_arn =
                    Some("arn:aws:ivs:us-west-2:123456789012:stage/Source000001".to_owned());
                who.source_session_id = Some("st-S0urce0000001".to_owned());
            }
        }
        people
    }

    /// Adds events of the kinds that are rare: equal ones, those of a token exchange, those that lack a member, and so many that they
    /// take more than a page. None changes how long somebody was there.
    fn strange_events(&mut self, who: &mut Participant) {
        let (Some(id), Some(first)) = (who.participant_id.clone(), who.events.first().cloned())
        else {
            return;
        };
        let named = |name: &str| Event {
            name: Some(name.to_owned()),
            participant_id: Some(id.clone()),
            event_time: first.event_time.clone(),
            ..Event::default()
        };
        if self.chance(0.05) {
            let place = self.random.usize(0..who.events.len());
            who.events.push(who.events[place].clone());
        }
        if self.chance(0.03) {
            for _ in 0..2 {
                who.events.push(Event {
                    previous_token: Some(self.token()),
                    new_token: Some(self.token()),
                    ..named("TOKEN_EXCHANGED")
                });
            }
        }
        if self.chance(0.03) {
            who.events.push(Event {
                name: None,
                ..named("")
            });
            who.events.push(Event {
                event_time: None,
                ..named("NEWER_THAN_THE_SDK")
            });
        }
        let joined = first.name.as_deref() == Some("JOINED");
        let time = first.event_time.as_ref();
        let from = time.and_then(|time| time.parse::<DateTime<Utc>>().ok());
        if let (Some(from), true) = (from.filter(|_| joined), self.chance(0.01)) {
            for number in 0..self.random.i64(60..130) {
                // Within the first stay, which takes a quarter of a minute at least.
                let from = from + TimeDelta::seconds(number % 10);
                for (name, time) in [
                    ("SUBSCRIBE_STARTED", from),
                    ("SUBSCRIBE_STOPPED", from + TimeDelta::seconds(1)),
                ] {
                    who.events.push(Event {
                        remote_participant_id: Some(format!("remote{number}")),
                        ..Event::new(name, &id, time)
                    });
                }
            }
        }
    }

    /// A token, in which any member may be absent or empty.
    fn token(&mut self) -> Token {
        let capabilities = [&["PUBLISH", "SUBSCRIBE"][..], &["SUBSCRIBE"], &[]];
        let capabilities = capabilities[self.random.usize(0..3)];
        let capabilities = capabilities.iter().map(|&text| text.to_owned()).collect();
        let number = self.random.u8(..);
        let mut attributes = BTreeMap::new();
        if self.chance(0.5) {
            let value = format!("{PERSONAL}value-{number}");
            attributes.insert(format!("{PERSONAL}key"), value);
        }
        Token {
            capabilities: self.chance(0.8).then_some(capabilities),
            attributes: self.chance(0.7).then_some(attributes),
            user_id: self.chance(0.7).then(|| format!("{PERSONAL}{number}")),
            expiration_time: self
                .chance(0.9)
                .then(|| timestamp(self.now.trunc_subsecs(0))),
        }
    }

    /// Hints, before the end and at the end. All come late; some are lost, some come twice.
    fn hints(&mut self, place: usize, begins: f64, shows: Option<f64>) {
        let chaos = self.settings.chaos.as_secs_f64();
        let mut sent = Vec::new();
        let until = shows.unwrap_or(chaos);
        for _ in 0..self.random.usize(0..3) {
            sent.push(self.between(begins, until));
        }
        // Few hints of sessions that ended before the soak still arrive.
        if shows.is_some_and(|shows| shows > 0.0) || self.chance(0.2) {
            sent.extend([until; 2]);
        }
        for at in sent {
            if self.chance(0.3) {
                continue;
            }
            for _ in 0..if self.chance(0.2) { 2 } else { 1 } {
                let longest = if self.chance(0.1) { 25.0 } else { 4.0 };
                let at = at + self.between(0.0, longest);
                self.act(at.min(chaos), Action::Hint(place));
            }
        }
        if self.chance(0.05) {
            let at = self.between(begins, chaos);
            self.act(at, Action::Request(place));
        }
    }

    /// What does not concern a single session: ticks, kills, and faults that last.
    fn chaos(&mut self, stages: &[String]) {
        let chaos = self.settings.chaos.as_secs_f64();
        let stages_count = f64::from(u32::try_from(stages.len()).unwrap_or(u32::MAX));
        self.again(1.5 + stages_count / 25.0, |_| Action::Tick);
        self.again(2.5, |_| Action::Kill);
        self.act(0.6 * chaos, Action::Rewrite);
        self.act(0.75 * chaos, Action::Recollect);
        self.again(20.0, |_| Action::Redrive);
        let mut at = 0.0;
        loop {
            at += self.between(0.5, 6.0);
            let ends = at + self.between(0.3, 2.0);
            if ends >= chaos {
                break;
            }
            let action = match self.random.usize(0..10) {
                0..6 => {
                    let (operation, kind) = IVS_EPISODES[self.random.usize(0..IVS_EPISODES.len())];
                    Action::IvsFails(operation, kind)
                }
                6..9 => {
                    let (operation, kind) = S3_EPISODES[self.random.usize(0..S3_EPISODES.len())];
                    Action::S3Fails(operation, kind)
                }
                _ => Action::SqsFails(Fault::AccessDenied),
            };
            self.act(at, action);
            self.act(ends, Action::AllWell);
            at = ends;
        }
        for _ in 0..stages.len().div_ceil(25) {
            let stage = stages[self.random.usize(0..stages.len())].clone();
            let at = self.between(0.3 * chaos, chaos);
            self.act(at, Action::Delete(stage));
        }
        for _ in 0..stages.len() / 15 {
            let stage = stages[self.random.usize(0..stages.len())].clone();
            let at = self.between(0.0, chaos);
            let until = at + self.between(1.0, 15.0);
            self.act(at, Action::Sick(stage.clone()));
            self.act(until.min(chaos), Action::Healthy(stage));
        }
    }

    /// An action about every `gap` seconds.
    fn again(&mut self, gap: f64, action: impl Fn(&mut Rng) -> Action) {
        let mut at = self.between(0.0, gap);
        while at < self.settings.chaos.as_secs_f64() {
            let action = action(self.random);
            self.act(at, action);
            at += self.between(0.5 * gap, 1.5 * gap);
        }
    }

    fn act(&mut self, at: f64, action: Action) {
        self.actions.push((seconds(at), action));
    }

    fn between(&mut self, from: f64, to: f64) -> f64 {
        from + self.random.f64() * (to - from)
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.random.f64() < probability
    }

    /// The time so many seconds after the start, to the millisecond.
    #[expect(clippy::cast_possible_truncation, reason = "less than a week")]
    fn at(&self, seconds: f64) -> DateTime<Utc> {
        self.now + TimeDelta::milliseconds((seconds * 1000.0) as i64)
    }
}

/// Marks user ids, attributes, devices and providers as personal.
fn mark(people: &mut [Participant]) {
    let mark = |text: &mut String| {
        if !text.is_empty() {
            text.insert_str(0, PERSONAL);
        }
    };
    for who in people {
        who.user_id.iter_mut().for_each(mark);
        let Some(details) = &mut who.details else {
            continue;
        };
        let texts = [
            &mut details.browser_name,
            &mut details.browser_version,
            &mut details.os_name,
            &mut details.os_version,
            &mut details.sdk_version,
            &mut details.isp_name,
        ];
        texts.into_iter().flatten().for_each(mark);
        if let Some(attributes) = &mut details.attributes {
            *attributes = std::mem::take(attributes)
                .into_iter()
                .map(|(key, value)| (format!("{PERSONAL}{key}"), format!("{PERSONAL}{value}")))
                .collect();
        }
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.max(0.0))
}
