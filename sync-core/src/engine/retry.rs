//! When to retry: exponential delays with full jitter, reset by progress, never earlier than the
//! other side requested.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Instant;
use crate::error::Retry;

/// How failures are retried. In JSON the delays are [text](crate::duration_text), such as
/// `"250ms"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Whether to retry at all. Without retries the first failure of any kind counts as a refusal:
    /// nothing more is tried before the replica is run again. Default yes.
    pub enabled: bool,
    /// The longest first delay. Default 250 ms.
    #[serde(with = "crate::duration_text")]
    pub first: Duration,
    /// By how much the longest delay grows with each attempt. Default 2.
    pub factor: u32,
    /// The longest delay of all. Default 30 s.
    #[serde(with = "crate::duration_text")]
    pub ceiling: Duration,
    /// Whether a delay is a random time up to the longest, so that replicas that lost their server
    /// together do not reconnect together. Without it every delay is the longest. Default yes.
    pub jitter: bool,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            first: Duration::from_millis(250),
            factor: 2,
            ceiling: Duration::from_secs(30),
            jitter: true,
        }
    }
}

/// Small deterministic randomness: SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// How often something failed in a row. An attempt that works for longer than the longest delay
/// ends the series too: it cannot be part of a retry storm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Backoff {
    attempts: u32,
    /// When the last delay ends.
    until: Instant,
}

impl Backoff {
    pub(super) fn success(&mut self) {
        *self = Self::default();
    }

    /// Returns whether the next failure is the first one of a row.
    pub(super) fn is_fresh(&self, now: Instant, policy: &RetryPolicy) -> bool {
        self.attempts == 0 || now.since(self.until) >= policy.ceiling
    }

    /// Returns when to try again: after a random time up to the attempt's longest delay ("full
    /// jitter", Brooker 2015), or after that delay.
    pub(super) fn failure(
        &mut self,
        now: Instant,
        retry: Retry,
        policy: &RetryPolicy,
        chance: &mut Chance,
    ) -> Instant {
        if self.is_fresh(now, policy) {
            self.attempts = 0;
        }
        let growth = policy.factor.saturating_pow(self.attempts.min(20));
        self.attempts = self.attempts.saturating_add(1);
        let longest = policy.first.saturating_mul(growth).min(policy.ceiling);
        let longest = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX - 1);
        let delay = if policy.jitter { chance.next() % (longest + 1) } else { longest };
        let asked = match retry {
            Retry::Later(Some(after)) => after,
            _ => Duration::ZERO,
        };
        // The requested wait counts from now, and the delay is added: not all replicas return at
        // once.
        self.until = now.plus(asked.saturating_add(Duration::from_millis(delay)));
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_ceiling_and_start_over_after_success() {
        let policy = RetryPolicy::default();
        let (mut backoff, mut chance) = (Backoff::default(), Chance::new(1));
        let mut longest = Duration::ZERO;
        for attempt in 0..40u32 {
            let at = backoff.failure(Instant(1_000), Retry::Reconnect, &policy, &mut chance);
            let delay = at.since(Instant(1_000));
            let bound = policy
                .first
                .saturating_mul(2u32.saturating_pow(attempt.min(20)))
                .min(policy.ceiling);
            assert!(delay <= bound, "attempt {attempt}: {delay:?} > {bound:?}");
            longest = longest.max(delay);
        }
        assert!(longest > policy.ceiling / 2);
        backoff.success();
        let at = backoff.failure(Instant(0), Retry::Reconnect, &policy, &mut chance);
        assert!(at.since(Instant(0)) <= policy.first);
    }

    #[test]
    fn an_attempt_that_lasts_longer_than_the_longest_delay_ends_the_row() {
        let policy = RetryPolicy { jitter: false, ..RetryPolicy::default() };
        let (mut backoff, mut chance) = (Backoff::default(), Chance::new(1));
        let mut at = Instant(0);
        for _ in 0..20 {
            at = backoff.failure(at, Retry::Reconnect, &policy, &mut chance);
        }
        let soon = at.plus(Duration::from_secs(29));
        assert!(!backoff.is_fresh(soon, &policy));
        let late = at.plus(Duration::from_secs(30));
        assert!(backoff.is_fresh(late, &policy));
        let at = backoff.failure(late, Retry::Reconnect, &policy, &mut chance);
        assert_eq!(at, late.plus(Duration::from_millis(250)));
    }

    #[test]
    fn without_jitter_every_delay_is_the_longest() {
        let policy = RetryPolicy { jitter: false, ..RetryPolicy::default() };
        let (mut backoff, mut chance) = (Backoff::default(), Chance::new(1));
        for expected in [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            let at = backoff.failure(Instant(0), Retry::Reconnect, &policy, &mut chance);
            assert_eq!(at, Instant(expected));
        }
    }

    #[test]
    fn with_jitter_every_delay_up_to_the_longest_occurs() {
        let first = Duration::from_millis(2);
        let policy = RetryPolicy { first, ceiling: first, ..RetryPolicy::default() };
        let mut chance = Chance::new(1);
        let mut delays = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let at =
                Backoff::default().failure(Instant(10), Retry::Reconnect, &policy, &mut chance);
            delays.insert(at.0);
        }
        assert_eq!(delays, [10, 11, 12].into());
    }

    #[test]
    fn no_delay_is_too_short_or_too_long() {
        let of = |first, jitter| {
            let policy = RetryPolicy { first, ceiling: first, jitter, ..RetryPolicy::default() };
            Backoff::default().failure(Instant(10), Retry::Reconnect, &policy, &mut Chance::new(1))
        };
        assert_eq!(
            [of(Duration::ZERO, true), of(Duration::ZERO, false)],
            [Instant(10), Instant(10)]
        );
        assert!(of(Duration::MAX, true) > Instant(10) && of(Duration::MAX, false) > Instant(10));
    }

    #[test]
    fn chance_is_the_published_generator() {
        let mut chance = Chance::new(0);
        let published = [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f];
        assert_eq!([chance.next(), chance.next(), chance.next()], published);
    }

    #[test]
    fn a_delay_is_at_least_what_the_server_requests() {
        let (mut backoff, mut chance) = (Backoff::default(), Chance::new(1));
        let asked = Retry::Later(Some(Duration::from_secs(90)));
        let at = backoff.failure(Instant(0), asked, &RetryPolicy::default(), &mut chance);
        assert!(at >= Instant(90_000) && at <= Instant(90_250));
    }
}
