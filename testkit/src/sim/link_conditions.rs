//! The network faults of a client, with their durations.

use crate::random::SplitMix64;

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Way {
    Up,
    Down,
}

/// A condition that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Bad { loss: u8, duplicate: u8, reorder: u8 },
    Flips(u8),
    Delay(u64),
    Silence { up: bool, down: bool },
    SlowReader,
    LoseAnswers,
}

/// The network faults of one client now.
#[derive(Clone, Debug, Default)]
pub(super) struct LinkConditions(Vec<(u64, Condition)>);

/// The fate of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It arrives after this time; a second time after that, if it is doubled.
    Arrives { after: u64, again: Option<u64> },
    /// The receiver detects the damage, and the link breaks.
    Breaks { after: u64 },
    /// Nothing arrives, and no error is reported.
    Vanishes,
    /// It is delayed until then.
    Held { until: u64 },
}

/// How the links of a client work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkKind {
    /// A stream of numbered frames: loss, doubling, reordering and damage are detected, and break
    /// the link.
    Stream,
    /// Single requests, as over HTTP.
    Requests,
}

impl LinkConditions {
    pub(super) fn set(&mut self, until: u64, condition: Condition) {
        self.0.push((until, condition));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    fn active(&mut self, now: u64) -> impl Iterator<Item = (u64, Condition)> + '_ {
        self.0.retain(|(until, _)| *until > now);
        self.0.iter().copied()
    }

    /// Returns the fate of a message that takes `base` without faults.
    pub(super) fn fate(
        &mut self,
        now: u64,
        kind: LinkKind,
        way: Way,
        is_answer: bool,
        base: u64,
        rng: &mut SplitMix64,
    ) -> Fate {
        let (mut after, mut again, mut held) = (base, None, None);
        let (mut lost, mut damaged, mut overtaken) = (false, false, false);
        for (until, condition) in self.active(now) {
            match condition {
                Condition::Bad { loss, duplicate, reorder } => {
                    lost |= rng.percent(loss.into());
                    if rng.percent(duplicate.into()) {
                        again = Some(rng.next_u64() % 5_000);
                    }
                    if rng.percent(reorder.into()) {
                        overtaken = true;
                        after += rng.next_u64() % 3_000;
                    }
                }
                Condition::Flips(percent) => damaged |= rng.percent(percent.into()),
                Condition::Delay(by) => after += by,
                Condition::Silence { up, down } => {
                    if (way == Way::Up && up) || (way == Way::Down && down) {
                        held = Some(until.max(held.unwrap_or(0)));
                    }
                }
                Condition::SlowReader if way == Way::Down => after += 300 + rng.next_u64() % 2_000,
                Condition::LoseAnswers if is_answer => lost |= rng.percent(70),
                Condition::SlowReader | Condition::LoseAnswers => {}
            }
        }
        match (kind, held) {
            // TCP sends these again for as long as the silence lasts.
            (LinkKind::Stream, Some(until)) => Fate::Held { until: until + base },
            (LinkKind::Requests, Some(_)) => Fate::Vanishes,
            (LinkKind::Stream, None) if lost || damaged || again.is_some() || overtaken => {
                Fate::Breaks { after }
            }
            (LinkKind::Requests, None) if damaged => Fate::Breaks { after },
            (LinkKind::Requests, None) if lost => Fate::Vanishes,
            (_, None) => Fate::Arrives { after, again },
        }
    }
}
