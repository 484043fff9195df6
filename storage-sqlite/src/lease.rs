//! The lock that lets one of several processes run the engine.
//!
//! It is a lock of the operating system on a file beside the database. It is released when the
//! process that holds it ends, however that happens, so the next one can take over at once. The
//! holder's display name is in the database.

use std::fs::{File, TryLockError};
use std::path::Path;

use sync_core::error::{Error, ErrorKind, Result};

use crate::error;
use crate::header::beside;

/// The engine lock of one writer.
#[derive(Debug, Default)]
pub(crate) struct EngineLock {
    file: Option<File>,
    since: Since,
}

/// When the lock was taken: undoing the job or the transaction releases it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Since {
    /// Before this transaction.
    #[default]
    Before,
    /// In an earlier job of it.
    Transaction,
    /// In this job.
    Mark,
}

impl Drop for EngineLock {
    fn drop(&mut self) {
        self.release();
    }
}

impl EngineLock {
    /// Takes the lock; `false` if another process holds it. Without a file of the operating system
    /// there is no lock to take.
    pub(crate) fn take(&mut self, database: Option<&Path>) -> Result<bool> {
        let Some(database) = database.filter(|_| self.file.is_none()) else { return Ok(true) };
        let path = beside(database, "-lease");
        let failed = |e| error::io("lock the engine", &path, e);
        let mut options = File::options();
        let options = options.create(true).truncate(false).read(true).write(true);
        let file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        self.file = Some(file);
        self.since = Since::Mark;
        Ok(true)
    }

    /// Releases the lock. The file stays: removing it would let two processes lock two files of one
    /// name.
    pub(crate) fn release(&mut self) {
        // A child process that is being started has a copy of the file for a moment, and closing
        // alone leaves the lock with the copy.
        let _closing_ends_it_otherwise = self.file.take().map(|file| file.unlock());
        self.since = Since::Before;
    }

    pub(crate) fn note_mark(&mut self) {
        if self.since == Since::Mark {
            self.since = Since::Transaction;
        }
    }

    pub(crate) fn undo_mark(&mut self) {
        if self.since == Since::Mark {
            self.release();
        }
    }

    pub(crate) fn undo_transaction(&mut self) {
        if self.since != Since::Before {
            self.release();
        }
    }

    pub(crate) fn keep(&mut self) {
        self.since = Since::Before;
    }
}

/// Returns the error of a process that finds the lock taken.
pub(crate) fn busy(holder: &str, file: Option<&Path>) -> Error {
    let error = Error::new(ErrorKind::Busy, "another process runs the engine of this replica");
    error::on(error.during("lock the engine").with("holder", holder), file)
}
