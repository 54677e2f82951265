//! What a sweep found, and which of it is enqueued.

use std::hash::{DefaultHasher, Hash, Hasher};

use chrono::{DateTime, Utc};

use crate::session::SessionRef;

/// An ended session that wants work.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Finding {
    pub(super) end_time: DateTime<Utc>,
    pub(super) start_time: Option<DateTime<Utc>>,
    pub(super) name: SessionRef,
    pub(super) rewrite: bool,
    /// Of a collection: some of its parts are there, and it has not failed since.
    pub(super) begun: bool,
}

/// What a sweep found, by its claim to the queue; each newest end first.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) missing: Vec<Finding>,
    pub(super) due: Vec<Finding>,
    pub(super) rewrites: Vec<Finding>,
}

impl Findings {
    pub(super) fn count(&self) -> usize {
        self.missing.len() + self.due.len() + self.rewrites.len()
    }

    /// What there is room for: three quarters for the missing, one quarter for those due, and what one side does not need the
    /// other gets. Rewrites get what is left. So neither a backfill nor steady overload starves anybody.
    pub(super) fn portion(&self, room: usize) -> impl Iterator<Item = &Finding> {
        let Self {
            missing,
            due,
            rewrites,
        } = self;
        let for_due = (room / 4)
            .max(room.saturating_sub(missing.len()))
            .min(due.len());
        let for_missing = (room - for_due).min(missing.len());
        let for_rewrites = room - for_due - for_missing;
        ends(missing, for_missing)
            .chain(ends(due, for_due))
            .chain(ends(rewrites, for_rewrites))
    }
}

/// Half from the newest end, half from the oldest, so that neither a new session waits behind the history nor the history
/// for ever behind new ones.
fn ends<T>(found: &[T], room: usize) -> impl Iterator<Item = &T> {
    let room = room.min(found.len());
    let (newest, oldest) = (room - room / 2, found.len() - room / 2);
    found[..newest].iter().chain(&found[oldest..])
}

/// A place below `places`, another one each second.
pub(super) fn draw(now: DateTime<Utc>, places: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    now.timestamp().hash(&mut hasher);
    let places = u64::try_from(places).unwrap_or(u64::MAX);
    usize::try_from(hasher.finish() % places).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use super::*;

    fn finding(minute: i64) -> Finding {
        let stage_arn = "arn:aws:ivs:us-west-2:123456789012:stage/AbCdef1G2hij";
        Finding {
            end_time: DateTime::from_timestamp(minute * 60, 0).unwrap(),
            start_time: None,
            name: SessionRef {
                stage_arn: stage_arn.parse().unwrap(),
                session_id: format!("st-{minute:013}").parse().unwrap(),
            },
            rewrite: false,
            begun: false,
        }
    }

    /// Findings that ended at these minutes, the newest first.
    fn findings(minutes: impl DoubleEndedIterator<Item = i64>) -> Vec<Finding> {
        minutes.rev().map(finding).collect()
    }

    fn minutes(portion: impl Iterator<Item = impl std::borrow::Borrow<Finding>>) -> Vec<i64> {
        portion
            .map(|it| it.borrow().end_time.timestamp() / 60)
            .collect()
    }

    #[test]
    fn a_portion_is_three_quarters_missing_one_quarter_due_each_from_both_ends() {
        let found = Findings {
            missing: findings(0..100),
            due: findings(100..200),
            rewrites: findings(200..300),
        };
        let portion = minutes(found.portion(8));
        assert_eq!(portion, [99, 98, 97, 2, 1, 0, 199, 100]);
    }

    #[test]
    fn what_one_side_does_not_need_the_other_gets_and_rewrites_what_is_left() {
        let count = |missing, due: i64, rewrites: i64, room| {
            let found = Findings {
                missing: findings(0..missing),
                due: findings(100..100 + due),
                rewrites: findings(200..200 + rewrites),
            };
            let portion = minutes(found.portion(room));
            [0, 1, 2].map(|hundred| {
                portion
                    .iter()
                    .filter(|&&minute| minute / 100 == hundred)
                    .count()
            })
        };
        assert_eq!(count(2, 90, 90, 20), [2, 18, 0]);
        assert_eq!(count(90, 2, 90, 20), [18, 2, 0]);
        assert_eq!(count(2, 3, 90, 20), [2, 3, 15]);
        assert_eq!(count(2, 3, 4, 20), [2, 3, 4]);
        assert_eq!(count(90, 90, 90, 20), [15, 5, 0]);
        assert_eq!(count(0, 0, 0, 20), [0, 0, 0]);
    }

    /// 155 sessions end between two ticks, no hint tells of any, and each wants a second look four ticks later: more work than
    /// portions of 300 hold.
    #[test]
    fn under_steady_overload_no_missing_session_waits_longer_than_three_ticks() {
        let (ticks, a_tick) = (48 * 4, 155);
        let mut found = Findings::default();
        let mut exported: BTreeMap<i64, Vec<Finding>> = BTreeMap::new();
        for tick in 1..=ticks {
            let ended = (0..a_tick).map(|number| finding(tick * 1000 + number));
            found.missing.extend(ended);
            found
                .due
                .extend(exported.remove(&(tick - 4)).unwrap_or_default());
            for list in [&mut found.missing, &mut found.due] {
                list.sort_by(|a, b| b.cmp(a));
            }
            let oldest = minutes(found.missing.iter()).into_iter().min().unwrap() / 1000;
            assert!(
                tick - oldest < 3,
                "at tick {tick} one of tick {oldest} is missing"
            );
            let done: HashSet<_> = found.portion(300).cloned().map(|it| it.name).collect();
            let (now_exported, missing) = std::mem::take(&mut found.missing)
                .into_iter()
                .partition(|it| done.contains(&it.name));
            exported.insert(tick, now_exported);
            found.missing = missing;
            found.due.retain(|it| !done.contains(&it.name));
        }
        assert!(!found.due.is_empty(), "it was an overload");
    }
}
