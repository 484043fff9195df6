//! How much one exchange carries: it adapts to the link.

use std::time::Duration;

use crate::model::Limits;

/// A faster exchange shows that the link carries more.
const QUICK: Duration = Duration::from_secs(2);
/// A slower exchange risks too much at once.
const SLOW: Duration = Duration::from_secs(15);
/// No limit grows above this: twice what a batch or chunk may hold by default, so that a quarter of
/// it is less.
const MOST: usize = 8 << 20;
/// A cut link does not shrink a limit below this: a smaller exchange would be cut as well.
const LEAST_AFTER_CUT: usize = 1 << 10;
/// The number of quick exchanges at the largest size that is known to work, before a size that
/// failed is tried again.
const PROBE_AFTER: u8 = 8;
/// The fixed amount per document in [`Limits::bytes`].
const FLAT: usize = 64;

/// The limit of one scope's exchanges in one direction.
///
/// It doubles after a quick exchange that used it, halves after a slow one, and quarters when an
/// exchange was interrupted, timed out or was refused by its size. One local transaction, and one
/// append of the server, is always sent, however small the limit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Unit {
    bytes: usize,
    /// The smallest limit that failed lately: growth stops below it.
    failed: usize,
    /// Quick exchanges since growth stopped.
    quick: u8,
}

impl Unit {
    pub(super) fn new(bytes: usize) -> Self {
        Self { bytes: bytes.clamp(1, MOST), failed: usize::MAX, quick: 0 }
    }

    pub(super) fn limits(&self) -> Limits {
        Limits { documents: (self.bytes / FLAT).max(1), bytes: self.bytes }
    }

    /// Records an exchange that carried so many bytes.
    pub(super) fn carried(&mut self, bytes: usize, took: Duration) {
        if bytes < self.bytes / 2 {
            // It shows nothing about the limit.
            return;
        }
        if took > SLOW {
            self.bytes = (self.bytes / 2).max(LEAST_AFTER_CUT.min(self.bytes));
        } else if took < QUICK {
            let next = self.bytes.saturating_mul(2).min(MOST);
            if next >= self.failed {
                self.quick = self.quick.saturating_add(1);
                if self.quick < PROBE_AFTER {
                    return;
                }
                self.failed = usize::MAX;
            }
            self.quick = 0;
            self.bytes = next;
        }
    }

    /// An exchange of so many bytes, if that is known, was cut or timed out.
    pub(super) fn cut(&mut self, bytes: Option<usize>) {
        let tried = bytes.map_or(self.bytes, |b| b.max(4 * LEAST_AFTER_CUT).min(self.bytes));
        self.shrink(tried, (tried / 4).max(LEAST_AFTER_CUT.min(self.bytes)));
    }

    /// An exchange of so many bytes was refused by its size.
    pub(super) fn refused(&mut self, bytes: usize) {
        let tried = bytes.min(self.bytes);
        self.shrink(tried, (tried / 4).max(1));
    }

    fn shrink(&mut self, tried: usize, bytes: usize) {
        self.failed = self.failed.min(tried);
        self.quick = 0;
        self.bytes = bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_millis(100);

    #[test]
    fn it_grows_with_quick_exchanges_that_use_it_and_with_no_others() {
        let mut unit = Unit::new(1_000);
        unit.carried(400, FAST);
        unit.carried(1_000, Duration::from_secs(5));
        assert_eq!(unit.limits().bytes, 1_000);
        unit.carried(900, FAST);
        assert_eq!(unit.limits().bytes, 2_000);
        unit.carried(2_000, Duration::from_secs(20));
        assert_eq!(unit.limits().bytes, 1_024);
    }

    #[test]
    fn half_of_it_is_enough_and_its_bounds_of_time_belong_to_neither_side() {
        let after = |bytes, took| {
            let mut unit = Unit::new(100_000);
            unit.carried(bytes, took);
            unit.limits().bytes
        };
        assert_eq!((after(50_000, FAST), after(49_999, FAST)), (200_000, 100_000));
        let tick = Duration::from_millis(1);
        assert_eq!((after(100_000, QUICK - tick), after(100_000, QUICK)), (200_000, 100_000));
        assert_eq!((after(100_000, SLOW), after(100_000, SLOW + tick)), (100_000, 50_000));
    }

    #[test]
    fn a_slow_exchange_halves_it() {
        let mut unit = Unit::new(1 << 20);
        unit.carried(1 << 20, Duration::from_secs(20));
        assert_eq!(unit.limits().bytes, 1 << 19);
    }

    #[test]
    fn a_small_exchange_that_is_cut_is_no_reason_to_stay_below_its_size() {
        let mut unit = Unit::new(1 << 20);
        unit.cut(Some(2_000));
        assert_eq!(unit.limits().bytes, LEAST_AFTER_CUT);
        unit.carried(LEAST_AFTER_CUT, FAST);
        assert_eq!(unit.limits().bytes, 2 * LEAST_AFTER_CUT);
    }

    #[test]
    fn a_size_that_failed_is_tried_again_after_many_that_worked() {
        let mut unit = Unit::new(1 << 20);
        unit.cut(None);
        assert_eq!(unit.limits().bytes, 1 << 18);
        unit.carried(1 << 18, FAST);
        assert_eq!(unit.limits().bytes, 1 << 19);
        for _ in 1..PROBE_AFTER {
            unit.carried(1 << 19, FAST);
            assert_eq!(unit.limits().bytes, 1 << 19);
        }
        unit.carried(1 << 19, FAST);
        assert_eq!(unit.limits().bytes, 1 << 20);
    }

    #[test]
    fn a_refusal_by_size_goes_below_what_was_refused_and_down_to_one_document() {
        let mut unit = Unit::new(1 << 20);
        unit.refused(8_000);
        assert_eq!(unit.limits().bytes, 2_000);
        for _ in 0..10 {
            unit.refused(2_000);
        }
        assert_eq!(unit.limits(), Limits { documents: 1, bytes: 1 });
        // A cut makes nothing larger.
        unit.cut(Some(5_000));
        assert_eq!(unit.limits().bytes, 1);
    }

    #[test]
    fn a_cut_small_exchange_leaves_room_for_small_ones() {
        let mut unit = Unit::new(128 << 10);
        for _ in 0..5 {
            unit.cut(Some(100));
        }
        assert_eq!(unit.limits().bytes, LEAST_AFTER_CUT);
    }
}
