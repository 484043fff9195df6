//! Faults of a disk, and when they occur.

use std::ops::Range;

use rusqlite::ffi;

use super::Code;

/// An operation that a connection requests, and the error that it gets if that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Open,
    Access,
    Delete,
    Size,
    Read,
    Write,
    Truncate,
    Sync,
}

impl Asked {
    fn failure(self) -> Code {
        match self {
            Self::Open => ffi::SQLITE_CANTOPEN,
            Self::Access => ffi::SQLITE_IOERR_ACCESS,
            Self::Delete => ffi::SQLITE_IOERR_DELETE,
            Self::Size => ffi::SQLITE_IOERR_FSTAT,
            Self::Read => ffi::SQLITE_IOERR_READ,
            Self::Write => ffi::SQLITE_IOERR_WRITE,
            Self::Truncate => ffi::SQLITE_IOERR_TRUNCATE,
            Self::Sync => ffi::SQLITE_IOERR_FSYNC,
        }
    }
}

/// The faults of a disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    /// The number of operations so far.
    pub(super) operations: u64,
    /// The operations that fail, by their numbers.
    pub(super) failing: Range<u64>,
    /// How many of the next writes fail.
    pub(super) failing_writes: u32,
    /// The bound of all files together, in bytes.
    pub(super) capacity: Option<usize>,
    /// Whether syncs report success and do nothing.
    pub(super) ignore_syncs: bool,
    /// The number of operations that were made to fail.
    pub(super) failed: u64,
}

impl Faults {
    /// Counts an operation, and returns an error if it fails.
    pub(super) fn meet(&mut self, asked: Asked) -> Result<(), Code> {
        let number = self.operations;
        self.operations += 1;
        let mut fails = self.failing.contains(&number);
        if asked == Asked::Write && self.failing_writes > 0 {
            self.failing_writes -= 1;
            fails = true;
        }
        if !fails {
            return Ok(());
        }
        self.failed += 1;
        Err(asked.failure())
    }

    /// Checks whether there is room for files of that many bytes.
    pub(super) fn fit(&mut self, bytes: usize) -> Result<(), Code> {
        if self.capacity.is_none_or(|capacity| bytes <= capacity) {
            return Ok(());
        }
        self.failed += 1;
        Err(ffi::SQLITE_FULL)
    }
}
