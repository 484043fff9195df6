//! The changes of a disk one by one, and what a power failure leaves at each.

use super::contents::{Change, Contents, Loss};
use super::disk::SimDisk;

/// Every change of a disk since some moment.
///
/// A power failure at the n-th change leaves what it leaves whatever would have come after it. So
/// one run, written down, is enough to know all of them.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    start: Contents,
    sector: usize,
    pub(super) changes: Vec<Change>,
}

impl Recording {
    pub(super) fn new(start: Contents, sector: usize) -> Self {
        Self { start, sector, changes: Vec::new() }
    }

    /// How many changes there were.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether there were none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The moment of each change, at which it has begun and SQLite has not got its result yet. The
    /// last moment is after all changes.
    pub fn moments(&self) -> impl Iterator<Item = Moment> + '_ {
        let mut contents = self.start.clone();
        let mut changes = self.changes.iter();
        let mut done = 0;
        let mut before: Option<&Change> = None;
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
            Some(Moment::new(done, contents.clone(), self.sector))
        })
    }
}

/// A disk in the midst of a change.
#[derive(Clone, Debug)]
pub struct Moment {
    /// The changes that are done, of the recording or of the disk.
    pub done: usize,
    contents: Contents,
    sector: usize,
}

impl Moment {
    pub(super) fn new(done: usize, contents: Contents, sector: usize) -> Self {
        Self { done, contents, sector }
    }

    /// The disk after a power failure in this moment; the salt decides as in
    /// [`SimDisk::lose_power`].
    #[must_use]
    pub fn lose_power(&self, salt: u64) -> (SimDisk, Loss) {
        let mut contents = self.contents.clone();
        let loss = contents.lose_power(self.sector, salt);
        (SimDisk::holding(contents, self.sector), loss)
    }
}
