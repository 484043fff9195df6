//! Versions of a foreign service as revisions.

use std::fmt::Display;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_128;

use sync_core::clock::Now;
use sync_core::model::{Body, DocumentState, ReplicaId, Revision, Stamp};

/// Times further ahead than this are ignored: a merge would put the clock ahead permanently.
const BELIEVED: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest tag that is stored unchanged.
const KEPT: usize = 15;
/// The first byte of a revision's replica, plus the length for a tag; or else of a tag's hash.
const TAG: u8 = 0xf0;
const HASH: u8 = 0xef;

/// A service's version of one state of a document: when it was written, and a tag that
/// distinguishes it from others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    /// When it was written, in Unix milliseconds, by the service's clock. Last-write-wins compares
    /// it with the time of local edits. 0 if the service has no time: edits then win.
    pub modified_ms: u64,
    /// Distinguishes it from other states of the document: an entity tag, a revision number, a
    /// counter.
    pub tag: String,
}

impl Version {
    /// Creates a version from its parts. A tag of up to 15 bytes is returned with the edits that
    /// are made on it ([`Base::tag`](super::Base::tag)); a longer one can only be compared
    /// ([`Base::is`](super::Base::is)).
    #[must_use]
    pub fn new(modified_ms: u64, tag: impl Display) -> Self {
        Self { modified_ms, tag: tag.to_string() }
    }

    /// Returns the revision of this version, which is always the same, unless its time is more than
    /// a day ahead of the local clock.
    pub(super) fn revision(&self, now: Now) -> Revision {
        let is_sane = self.modified_ms <= now.plus(BELIEVED).0;
        let millis = if is_sane { self.modified_ms } else { 0 };
        Revision { stamp: Stamp::new(millis, 0), replica: mark(&self.tag) }
    }
}

/// Returns a tag as the second half of a revision.
pub(super) fn mark(tag: &str) -> ReplicaId {
    let mut bytes = [0; 16];
    if tag.len() <= KEPT {
        bytes[0] = TAG | tag.len() as u8;
        bytes[1..=tag.len()].copy_from_slice(tag.as_bytes());
    } else {
        bytes = xxh3_128(tag.as_bytes()).to_be_bytes();
        bytes[0] = HASH;
    }
    ReplicaId(bytes)
}

/// Returns the tag that was [marked](mark), if it was short enough to be stored.
pub(super) fn tag_of(revision: Revision) -> Option<String> {
    let [first, rest @ ..] = revision.replica.0;
    let kept = first & TAG == TAG;
    let tag = rest.get(..usize::from(first & !TAG)).filter(|_| kept)?;
    String::from_utf8(tag.to_vec()).ok()
}

/// Returns a state of a service's document. A deletion without a version is always the same state.
pub(super) fn state(version: Option<&Version>, body: Option<Body>, now: Now) -> DocumentState {
    let none = || Revision { stamp: Stamp::ZERO, replica: mark("") };
    let revision = version.map_or_else(none, |v| v.revision(now));
    // Any other content would have to be the same in a page and in a result.
    DocumentState::new(revision, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now(1_770_000_000_000);

    #[test]
    fn a_version_has_one_revision_and_a_short_tag_is_read_back() {
        for tag in ["", "7", "\"61e9a8c5-264\"", "fünfzehn bytes"] {
            let version = Version::new(NOW.0, tag);
            let revision = version.revision(NOW);
            assert_eq!(revision, version.revision(NOW.plus(Duration::from_secs(99))));
            assert_eq!(tag_of(revision).as_deref(), Some(tag));
        }
        let (one, two) = (Version::new(NOW.0, "x".repeat(40)), Version::new(NOW.0, "y".repeat(40)));
        assert_ne!(one.revision(NOW), two.revision(NOW));
        assert_eq!(tag_of(one.revision(NOW)), None);
    }

    #[test]
    fn a_time_far_ahead_is_ignored() {
        let hour = Version::new(NOW.0 + 3_600_000, "1").revision(NOW);
        assert_eq!(hour.stamp.millis(), NOW.0 + 3_600_000);
        assert_eq!(Version::new(u64::MAX, "1").revision(NOW).stamp, Stamp::ZERO);
    }
}
