//! Stamps and revisions: when, by which clock and by which replica a state was written.

use std::fmt;
use std::str::FromStr;

use super::ReplicaId;
use crate::error::{Error, ErrorKind, Result};

/// One reading of a hybrid logical clock: 48 bits of Unix milliseconds and a 16-bit counter.
///
/// Ordered in time; as text (`0192f3c4a5b6-0001`) it sorts the same way. How stamps are taken is in
/// [`clock`](crate::clock).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(u64);

impl Stamp {
    /// Before every other stamp.
    pub const ZERO: Self = Self(0);
    /// The last millisecond that a stamp can name (in the year 10889).
    pub const MAX_MILLIS: u64 = (1 << 48) - 1;

    /// Makes a stamp of its parts; milliseconds beyond [`Self::MAX_MILLIS`] are cut to it.
    #[must_use]
    pub fn new(millis: u64, counter: u16) -> Self {
        Self(millis.min(Self::MAX_MILLIS) << 16 | u64::from(counter))
    }

    /// Returns the Unix milliseconds.
    #[must_use]
    pub fn millis(self) -> u64 {
        self.0 >> 16
    }

    /// Returns the counter, which distinguishes stamps of one millisecond.
    #[must_use]
    pub fn counter(self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    /// Returns the smallest stamp after this one; a full counter carries into the milliseconds.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Returns the stamp as a number with the same order.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// Makes a stamp of a number from [`Self::to_bits`].
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}-{:04x}", self.millis(), self.counter())
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Stamp {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        let parse = || {
            let (millis, counter) = s.split_once('-')?;
            let hex = |t: &str, len| t.len() == len && t.bytes().all(|b| b.is_ascii_hexdigit());
            if !hex(millis, 12) || !hex(counter, 4) {
                return None;
            }
            let millis = u64::from_str_radix(millis, 16).ok()?;
            Some(Self::new(millis, u16::from_str_radix(counter, 16).ok()?))
        };
        parse().ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, "not a valid stamp").with("text", format!("{s:?}"))
        })
    }
}

/// The stamp of one write: (hybrid logical clock, replica). Unique, ordered, sortable as text.
///
/// ```
/// use sync_core::model::{ReplicaId, Revision, Stamp};
/// let revision = Revision { stamp: Stamp::new(0x0192_f3c4_a5b6, 1), replica: ReplicaId([0xab; 16]) };
/// let text = revision.to_string();
/// assert_eq!(text, "0192f3c4a5b6-0001-abababababababababababababababab");
/// assert_eq!(text.parse::<Revision>().unwrap(), revision);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// The time, by the writer's hybrid logical clock.
    pub stamp: Stamp,
    /// The replica that wrote it.
    pub replica: ReplicaId,
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.stamp, self.replica)
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Revision {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s.rsplit_once('-') {
            Some((stamp, replica)) => Ok(Self { stamp: stamp.parse()?, replica: replica.parse()? }),
            None => Err(Error::new(ErrorKind::InvalidInput, "not a valid revision")
                .with("text", format!("{s:?}"))),
        }
    }
}

serde_as_text!(Stamp, Revision);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_order_as_their_text_does() {
        let stamps = [
            Stamp::ZERO,
            Stamp::new(1, 0),
            Stamp::new(1, 9),
            Stamp::new(1, u16::MAX),
            Stamp::new(2, 0),
        ];
        for pair in stamps.windows(2) {
            assert!(pair[0] < pair[1]);
            assert!(pair[0].to_string() < pair[1].to_string());
        }
    }

    #[test]
    fn a_full_counter_carries_into_the_milliseconds() {
        assert_eq!(Stamp::new(7, u16::MAX).next(), Stamp::new(8, 0));
    }

    #[test]
    fn text_that_is_not_a_stamp_is_refused() {
        for bad in
            ["", "-", "0192f3c4a5b6", "0192f3c4a5b6-001", "+192f3c4a5b6-0001", "zzzzzzzzzzzz-0000"]
        {
            assert!(bad.parse::<Stamp>().is_err(), "{bad}");
        }
    }
}
