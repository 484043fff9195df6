//! Hybrid logical clock: stamps that follow real time, never go back, and are after everything they have seen.
//!
//! The algorithm is that of Kulkarni, Demirbas, Madappa, Avva and Leone, "Logical Physical Clocks" (2014), with wall
//! time and logical counter packed into one [`Stamp`]. Time is passed in; the high-water mark is persisted by whoever
//! owns the clock, in the transaction that uses the stamps.

use std::time::Duration;

use crate::model::Stamp;

/// A point in time, as the driver tells it: Unix milliseconds by this machine's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Now(pub u64);

impl Now {
    /// The point in time that lies this much later.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long it is from `earlier` to here; zero if it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This time corrected by how far this machine's clock is off, in milliseconds.
    #[must_use]
    pub fn corrected(self, offset_millis: i64) -> Self {
        Self(self.0.saturating_add_signed(offset_millis))
    }
}

/// How far ahead of the server's time a stamp may be: five minutes.
pub const DRIFT_BOUND: Duration = Duration::from_secs(5 * 60);

/// A hybrid logical clock, which is nothing but its high-water mark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Clock {
    /// The newest stamp taken or seen.
    pub high_water: Stamp,
}

impl Clock {
    /// Takes a stamp for a write at that time which follows on `parent`: after every stamp taken or seen before, and
    /// after its parent.
    pub fn tick(&mut self, now: Now, parent: Stamp) -> Stamp {
        let seen = self.high_water.max(parent);
        if mutant!(ClockGoesBack) {
            self.high_water = Stamp::new(now.0, (seen.to_bits() & 0xff) as u16 + 1);
            return self.high_water;
        }
        self.high_water = Stamp::new(now.0, 0).max(seen.next());
        self.high_water
    }

    /// Takes note of a stamp from elsewhere.
    pub fn merge(&mut self, seen: Stamp) {
        self.high_water = self.high_water.max(seen);
    }

    /// Whether a stamp is further ahead of `now` than the drift bound allows.
    #[must_use]
    pub fn is_beyond(stamp: Stamp, now: Now, bound: Duration) -> bool {
        stamp.millis() > now.plus(bound).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stamps_follow_time_and_never_stand_still() {
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

    proptest! {
        #[test]
        fn every_stamp_is_after_all_that_came_before(
            steps in proptest::collection::vec((0u64..50, 0u64..60, any::<bool>()), 1..100)
        ) {
            let mut clock = Clock::default();
            let mut seen = Stamp::ZERO;
            for (now, other, merges) in steps {
                if merges {
                    clock.merge(Stamp::new(other, 0));
                    seen = seen.max(Stamp::new(other, 0));
                } else {
                    let stamp = clock.tick(Now(now), Stamp::ZERO);
                    prop_assert!(stamp > seen);
                    seen = stamp;
                }
            }
        }
    }
}
