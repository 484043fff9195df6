//! The changes of a disk one by one, and the state that a power failure leaves at each.

use super::contents::{Contents, DiskChange, Loss};
use super::disk::SimDisk;

/// Every change of a disk since some moment.
///
/// The result of a power failure at the n-th change does not depend on later changes. So one
/// recorded run is enough to compute all of them.
#[derive(Clone, Debug, Default)]
pub struct DiskRecording {
    start: Contents,
    sector: usize,
    pub(super) changes: Vec<DiskChange>,
}

impl DiskRecording {
    pub(super) fn new(start: Contents, sector: usize) -> Self {
        Self { start, sector, changes: Vec::new() }
    }

    /// Returns the number of changes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Returns whether there are no changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Returns the moment of each change, after it has begun and before SQLite has its result. The
    /// last moment is after all changes.
    pub fn moments(&self) -> impl Iterator<Item = PowerCut> + '_ {
        let mut contents = self.start.clone();
        let mut changes = self.changes.iter();
        let mut done = 0;
        let mut before: Option<&DiskChange> = None;
        let mut ended = false;
        std::iter::from_fn(move || {
            if ended {
                return None;
            }
            if let Some(change) = before.take() {
                contents.finish(change);
                done += 1;
            }
            before = changes.next();
            match before {
                Some(change) => contents.begin(change),
                None => ended = true,
            }
            Some(PowerCut::new(done, contents.clone(), self.sector))
        })
    }
}

/// A disk in the middle of a change.
#[derive(Clone, Debug)]
pub struct PowerCut {
    /// The number of completed changes, of the recording or of the disk.
    pub done: usize,
    contents: Contents,
    sector: usize,
}

impl PowerCut {
    pub(super) fn new(done: usize, contents: Contents, sector: usize) -> Self {
        Self { done, contents, sector }
    }

    /// Returns the disk after a power failure at this moment. The salt decides as in
    /// [`SimDisk::lose_power`].
    #[must_use]
    pub fn lose_power(&self, salt: u64) -> (SimDisk, Loss) {
        let mut contents = self.contents.clone();
        let loss = contents.lose_power(self.sector, salt);
        (SimDisk::holding(contents, self.sector), loss)
    }
}
