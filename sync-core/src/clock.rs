//! A hybrid logical clock: stamps that follow real time, never repeat, and are after the stamps
//! that they are based on.
//!
//! The algorithm is that of Kulkarni, Demirbas, Madappa, Avva and Leone, "Logical Physical Clocks"
//! (2014), with wall time and logical counter packed into one [`Stamp`]. Time is passed in; the
//! marks are persisted by the owner of the clock, in the transaction that uses the stamps.
//!
//! One rule is added. A stamp further ahead of time than the [drift bound](DRIFT_BOUND) comes from
//! a clock that was wrong, here, on another device or on the server. Only the next state of that
//! document follows it: it takes the same millisecond and a greater counter. All other stamps
//! continue with the right time, so that one wrong clock neither moves other clocks ahead nor locks
//! them out.

use std::time::Duration;

use crate::model::Stamp;

/// The wall-clock time, which is passed in: Unix milliseconds by this machine's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Now(pub u64);

impl Now {
    /// Returns the time that is this much later.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Returns how long it is from `earlier` to this time; zero if it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Returns this time corrected by the offset of this machine's clock, in milliseconds.
    #[must_use]
    pub fn corrected(self, offset_millis: i64) -> Self {
        Self(self.0.saturating_add_signed(offset_millis))
    }
}

/// A point in time of a pure state machine: milliseconds since it started. It never moves back, and
/// setting a device's clock does not change it, so deadlines are kept in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// Returns the time that is this much later.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(Now(self.0).plus(by).0)
    }

    /// Returns how long it is from `earlier` to this time; zero if it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Now(self.0).since(Now(earlier.0))
    }
}

/// The time in a server's answer, and when the request was sent, by this machine's clock. The
/// server answered at some moment after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerTime {
    /// When the request was sent, by this machine's clock.
    pub sent: Now,
    /// The server's time in its answer.
    pub server: Now,
}

impl ServerTime {
    /// Returns the offset of this machine's clock, in milliseconds, that fits an answer received at
    /// `heard` and is closest to the offset assumed so far. However long the exchange took, a clock
    /// that may be right stays as it is.
    ///
    /// ```
    /// use sync_core::clock::{Now, ServerTime};
    /// // The connection took eight seconds to come up.
    /// let slow = ServerTime { sent: Now(10_000), server: Now(10_000) };
    /// assert_eq!(slow.offset(0, Now(18_000)), 0);
    /// // This machine's clock is a minute behind.
    /// let behind = ServerTime { sent: Now(10_000), server: Now(70_010) };
    /// assert_eq!(behind.offset(0, Now(10_020)), 59_990);
    /// ```
    #[must_use]
    pub fn offset(self, assumed: i64, heard: Now) -> i64 {
        let since = |by: Now| {
            let offset = i128::from(self.server.0) - i128::from(by.0);
            i64::try_from(offset).unwrap_or(if offset < 0 { i64::MIN } else { i64::MAX })
        };
        // A clock that was set back in between does not show how long the exchange took.
        let (least, most) = (since(heard), since(self.sent.min(heard)));
        assumed.clamp(least, most)
    }
}

/// How far ahead of the server's time a stamp may be: five minutes.
pub const DRIFT_BOUND: Duration = Duration::from_secs(5 * 60);

/// The least counter of stamps that follow a parent beyond the drift bound. Stamps that follow time
/// have smaller ones.
pub(crate) const FIRST_OF_FOLLOWERS: u16 = 0x8000;

/// A hybrid logical clock. Its state is two marks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Clock {
    /// The newest stamp that was taken or received and is not beyond the drift bound.
    pub high_water: Stamp,
    /// The newest millisecond beyond the drift bound in which a stamp was taken, with the greatest
    /// counter of all stamps taken there. It counts again once time has reached that millisecond,
    /// so that no stamp is taken twice.
    pub ahead: Stamp,
}

impl Clock {
    /// Takes a stamp for a write at that time which follows on `parent`: after its parent, and not
    /// one that was taken before, unless this machine's clock was set back by more than the drift
    /// bound to the very millisecond of an earlier write, or 32,768 states were made ahead of time
    /// before it came to where the clock once was. It is at most the drift bound ahead of `now`, or
    /// as far as the parent is.
    pub fn tick(&mut self, now: Now, parent: Stamp) -> Stamp {
        let limit = Stamp::new(now.plus(DRIFT_BOUND).0, u16::MAX);
        if self.ahead <= limit {
            self.high_water = self.high_water.max(self.ahead);
            self.ahead = Stamp::new(0, self.ahead.counter());
        }
        if self.high_water > limit {
            // A clock was set back since. What was taken before that is not known any more but by
            // its greatest counter.
            self.note_ahead(self.high_water);
            self.note_ahead(Stamp::new(0, FIRST_OF_FOLLOWERS - 1));
            self.high_water = Stamp::ZERO;
        }
        if parent <= limit {
            let stamp = Stamp::new(now.0, 0).max(self.high_water.max(parent).next());
            let may_be_taken = stamp.millis() > now.0 && self.ahead.millis() > 0;
            self.high_water = if may_be_taken { self.unused(stamp) } else { stamp };
            if self.high_water.counter() >= FIRST_OF_FOLLOWERS {
                self.note_ahead(Stamp::new(0, self.high_water.counter()));
            }
            return self.high_water;
        }
        let stamp = self.unused(parent.next());
        self.note_ahead(stamp);
        stamp
    }

    /// The first stamp from `least` on, in its millisecond, that was not taken. Parents come in any
    /// order, so that a greatest stamp does not show what was taken: a greatest counter does.
    fn unused(&self, least: Stamp) -> Stamp {
        let used = self.ahead.counter().max(FIRST_OF_FOLLOWERS - 1);
        let unused = used.checked_add(1);
        unused.map_or(least, |counter| least.max(Stamp::new(least.millis(), counter)))
    }

    fn note_ahead(&mut self, taken: Stamp) {
        let (millis, counter) = (self.ahead.millis(), self.ahead.counter());
        self.ahead = Stamp::new(millis.max(taken.millis()), counter.max(taken.counter()));
    }

    /// Takes note of a stamp from elsewhere. One beyond the drift bound is left alone: it is
    /// followed as a parent only.
    pub fn merge(&mut self, now: Now, seen: Stamp) {
        if !Self::is_beyond(seen, now, DRIFT_BOUND) {
            self.high_water = self.high_water.max(seen);
        }
    }

    /// Stores a stamp that this clock took, although its marks may lack it: they may be from an
    /// older copy.
    pub fn merge_own(&mut self, now: Now, taken: Stamp) {
        if Self::is_beyond(taken, now, DRIFT_BOUND) {
            self.note_ahead(taken);
        } else {
            self.high_water = self.high_water.max(taken);
        }
    }

    /// Returns whether a stamp is further ahead of `now` than the drift bound allows.
    #[must_use]
    pub fn is_beyond(stamp: Stamp, now: Now, bound: Duration) -> bool {
        stamp.millis() > now.plus(bound).0
    }

    /// Returns whether a stamp is beyond what may follow a parent: the bound ahead of `now`, or the
    /// parent's millisecond (the next one, if its counter is full), whichever is later.
    #[must_use]
    pub fn is_beyond_parent(stamp: Stamp, now: Now, bound: Duration, parent: Stamp) -> bool {
        Self::is_beyond(stamp, now, bound) && stamp.millis() > parent.next().millis()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stamps_follow_time_and_never_repeat() {
        let mut clock = Clock::default();
        assert_eq!(clock.tick(Now(5), Stamp::ZERO), Stamp::new(5, 0));
        assert_eq!(clock.tick(Now(5), Stamp::ZERO), Stamp::new(5, 1));
        assert_eq!(clock.tick(Now(3), Stamp::ZERO), Stamp::new(5, 2));
        assert_eq!(clock.tick(Now(9), Stamp::ZERO), Stamp::new(9, 0));
    }

    #[test]
    fn a_child_is_after_its_parent_although_the_clock_is_behind() {
        let mut clock = Clock::default();
        assert_eq!(clock.tick(Now(5), Stamp::new(70, 3)), Stamp::new(70, 4));
    }

    #[test]
    fn the_drift_bound_is_inclusive() {
        let now = Now(1_000);
        let bound = Duration::from_millis(10);
        assert!(!Clock::is_beyond(Stamp::new(1_010, 7), now, bound));
        assert!(Clock::is_beyond(Stamp::new(1_011, 0), now, bound));
    }

    #[test]
    fn a_stamp_far_ahead_is_followed_only_by_the_next_state_of_its_document() {
        let (mut clock, now) = (Clock::default(), Now(1_000));
        let far = Stamp::new(10_000_000, 3);
        clock.merge(now, far);
        assert_eq!(clock.tick(now, Stamp::ZERO), Stamp::new(1_000, 0));
        assert_eq!(clock.tick(now, far), Stamp::new(10_000_000, 0x8000));
        assert_eq!(clock.tick(now, far), Stamp::new(10_000_000, 0x8001), "no stamp is taken twice");
        assert_eq!(clock.tick(now, Stamp::ZERO), Stamp::new(1_000, 1));
        // A full counter carries, as everywhere.
        let full = Stamp::new(20_000_000, u16::MAX);
        let next = clock.tick(now, full);
        assert_eq!(next, Stamp::new(20_000_001, 0x8002));
        assert!(!Clock::is_beyond_parent(next, now, DRIFT_BOUND, full));
        assert!(Clock::is_beyond_parent(next.next(), now, DRIFT_BOUND, far));
    }

    #[test]
    fn a_clock_that_is_set_right_goes_on_with_the_right_time() {
        let mut clock = Clock::default();
        let wrong = clock.tick(Now(10_000_000), Stamp::ZERO);
        assert_eq!(clock.tick(Now(1_000), Stamp::ZERO), Stamp::new(1_000, 0));
        assert_eq!(clock.tick(Now(1_000), Stamp::ZERO), Stamp::new(1_000, 1));
        // Once time has reached it, what was taken then is not taken again.
        assert!(clock.tick(Now(10_000_000), Stamp::ZERO) > wrong);
    }

    #[test]
    fn what_an_older_copy_of_the_clock_took_is_not_taken_again() {
        let (mut clock, now) = (Clock::default(), Now(1_000));
        clock.merge_own(now, Stamp::new(1_000, 7));
        assert_eq!(clock.tick(now, Stamp::ZERO), Stamp::new(1_000, 8));
        let far = Stamp::new(10_000_000, 0x8003);
        clock.merge_own(now, far);
        assert_eq!(clock.tick(now, Stamp::new(10_000_000, 1)), far.next());
        assert_eq!(clock.tick(now, Stamp::new(9_000_000, 1)), Stamp::new(9_000_000, 0x8005));
    }

    /// Any time, with many that lie close together, within the drift bound or beyond it.
    fn a_time() -> impl Strategy<Value = u64> {
        prop_oneof![0u64..5_000_000, 4_999_990u64..5_000_000, 4_800_000u64..4_800_004]
    }

    proptest! {
        #[test]
        fn every_stamp_is_after_all_that_came_before_while_clocks_are_right(
            steps in proptest::collection::vec((0u64..50, 0u64..60, any::<bool>()), 1..100)
        ) {
            let mut clock = Clock::default();
            let mut seen = Stamp::ZERO;
            for (now, other, merges) in steps {
                if merges {
                    clock.merge(Now(now), Stamp::new(other, 0));
                    seen = seen.max(Stamp::new(other, 0));
                } else {
                    let stamp = clock.tick(Now(now), Stamp::ZERO);
                    prop_assert!(stamp > seen);
                    seen = stamp;
                }
            }
        }

        #[test]
        fn stamps_are_after_their_parents_and_bounded_whatever_clocks_do(
            steps in proptest::collection::vec((a_time(), a_time(), 0u16..9), 1..100)
        ) {
            let mut clock = Clock::default();
            let mut taken = std::collections::BTreeSet::new();
            for (now, parent, counter) in steps {
                let (now, parent) = (Now(now), Stamp::new(parent, counter));
                let stamp = clock.tick(now, parent);
                prop_assert!(stamp > parent);
                prop_assert!(!Clock::is_beyond_parent(stamp, now, DRIFT_BOUND, parent));
                let is_of_now = stamp.millis() == now.0;
                prop_assert!(taken.insert(stamp) || is_of_now, "{stamp} is taken twice");
                clock.merge(now, parent);
            }
        }
    }
}
