//! The capabilities of a harness.

use super::run::{Outcome, Skipped};

/// Capabilities of a harness beside opening a storage. A case that needs more is skipped, counted
/// and printed.
///
/// ```
/// use testkit::conformance::Capabilities;
/// let of_files = Capabilities::none().durable().crash();
/// assert!(of_files.durable && !of_files.full_disk);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Whether data survives closing and opening.
    pub durable: bool,
    /// Whether the harness can crash a storage, and open what is left.
    pub crash: bool,
    /// Whether the harness can fill the disk, and free it again.
    pub full_disk: bool,
    /// Whether an open storage can be opened once more, as by a second process on one file.
    pub several_handles: bool,
    /// Whether the harness can return every byte of the place, and the storage removes all erased
    /// data from it.
    pub searchable: bool,
}

impl Capabilities {
    /// Nothing beyond opening: the data is lost with the storage.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Data survives closing.
    #[must_use]
    pub const fn durable(self) -> Self {
        Self { durable: true, ..self }
    }

    /// The harness implements `crash`.
    #[must_use]
    pub const fn crash(self) -> Self {
        Self { crash: true, ..self }
    }

    /// The harness implements `fill_disk` and `free_disk`.
    #[must_use]
    pub const fn full_disk(self) -> Self {
        Self { full_disk: true, ..self }
    }

    /// Several handles may be open at a time.
    #[must_use]
    pub const fn several_handles(self) -> Self {
        Self { several_handles: true, ..self }
    }

    /// The harness implements `bytes`, and erased data leaves the place.
    #[must_use]
    pub const fn searchable(self) -> Self {
        Self { searchable: true, ..self }
    }

    pub(super) fn need_searchable(self) -> Outcome {
        need(self.searchable, "files that can be searched, and that erased data leaves")
    }

    pub(super) fn need_durable(self) -> Outcome {
        need(self.durable, "data that outlives closing")
    }

    pub(super) fn need_crash(self) -> Outcome {
        need(self.crash, "a storage that can be crashed")
    }

    pub(super) fn need_full_disk(self) -> Outcome {
        need(self.full_disk, "a disk that can be full")
    }

    pub(super) fn need_several_handles(self) -> Outcome {
        need(self.several_handles, "a storage that can be opened twice")
    }
}

fn need(there: bool, what: &'static str) -> Outcome {
    if there { Ok(()) } else { Err(Skipped(what)) }
}
