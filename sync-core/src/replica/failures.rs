//! The failures that keep a scope from syncing.

use crate::clock::Now;
use crate::codec::codec_struct;
use crate::error::ErrorKind;

/// An attempt to sync that failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Failed {
    /// The kind of the error.
    pub kind: ErrorKind,
    /// The error as text, at most [`Failures::MESSAGE_BYTES`].
    pub message: String,
    /// The time, by this machine's clock.
    pub at: Now,
    /// When the next attempt was planned, by this machine's clock; none if no retry can succeed
    /// before the cause is removed.
    pub retry_at: Option<Now>,
}

/// The failed attempts to sync a scope since a batch was settled, or everything was in sync.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Failures {
    /// Their number.
    pub count: u64,
    /// The last ones, at most [`Self::KEPT`], the oldest first.
    pub last: Vec<Failed>,
}

impl Failures {
    /// How many are kept.
    pub const KEPT: usize = 4;
    /// The longest message that is kept.
    pub const MESSAGE_BYTES: usize = 512;

    /// Adds one; whatever exceeds the bounds is cut off.
    pub fn add(&mut self, mut failed: Failed) {
        let message = &mut failed.message;
        message.truncate(message.floor_char_boundary(Self::MESSAGE_BYTES));
        self.count = self.count.saturating_add(1);
        self.last.drain(..(self.last.len() + 1).saturating_sub(Self::KEPT));
        self.last.push(failed);
    }
}

codec_struct! {
    Failed { kind, message, at, retry_at }
    Failures { count, last }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn failed(message: String) -> Failed {
        Failed { kind: ErrorKind::Network, message, at: Now(1), retry_at: None }
    }

    #[test]
    fn the_newest_failures_are_kept_and_all_are_counted() {
        let mut failures = Failures::default();
        for n in 0..10 {
            failures.add(failed(n.to_string()));
            assert_eq!(failures.last.len(), Failures::KEPT.min(n + 1));
        }
        let kept: Vec<_> = failures.last.iter().map(|f| f.message.as_str()).collect();
        assert_eq!((failures.count, kept), (10, vec!["6", "7", "8", "9"]));
    }

    #[test]
    fn a_long_message_is_cut_between_two_characters() {
        let mut failures = Failures::default();
        failures.add(failed("ä".repeat(Failures::MESSAGE_BYTES)));
        assert_eq!(failures.last[0].message, "ä".repeat(Failures::MESSAGE_BYTES / 2));
        failures.add(failed(format!("a{}", "ä".repeat(Failures::MESSAGE_BYTES))));
        assert_eq!(failures.last[1].message.len(), Failures::MESSAGE_BYTES - 1);
    }
}
