//! The binding of a write-ahead log to its file.
//!
//! SQLite applies any log that lies beside a file. It checks the frames of the log, but not which
//! file they were written for: with an older copy of the file beside a newer log, pages of two
//! states are read as one. Documents are missing then, or the file is malformed, while the counts
//! and digests in it are those of the newer state.
//!
//! A row names the log, so that a mismatch is detected. Each log has random numbers in its header
//! (the salts) that change whenever SQLite restarts it, which it does only when all of the old one
//! is in the file. The first commit in a new log is followed by one that writes the row: the
//! current log, and the one that the row named before.
//!
//! ```text
//!   the log's row:  (this log, the log before)       the file's row:  (the log before, …)   nothing was moved yet
//!                                                                or   (this log, …)         the row was moved
//! ```
//!
//! So the file, read alone, names either of the two, however much of the log was moved into it and
//! wherever that was interrupted. A file that names another log does not belong to this one.
//!
//! A copy of the file that was made while the same log existed, or the one before, names the right
//! log and may be older than what was moved into the file since. So each move of the log gets a
//! number, which is written to the row first and never decreases in a file. A copy with the newest
//! number is safe: the log holds every page that changed since. An older copy put over a file that
//! is [open](crate::moved) is detected by its number, and one beside a log by the number that the
//! file had when that log began.
//!
//! A process may be killed between the first commit and the one that writes the row, and while
//! `VACUUM` moves the tables the file alone may not be readable. Then the two cannot be compared,
//! and the rows are counted instead.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row};
use storage_kit::Transactional;
use sync_core::error::{Error, ErrorKind, Result};

use crate::config::Synchronous;
use crate::core::{Core, Writing};
use crate::header::{alone, beside};
use crate::place::Place;
use crate::schema::Kind;

/// The salts of a log.
type Salts = [u8; 8];

/// Their offset in the log's header (SQLite's file format, section 4.1).
const SALTS_AT: u64 = 16;

const ROW: &str = "SELECT * FROM log_binding WHERE id = 1";
const PUT: &str = "INSERT INTO log_binding (id, log, before) VALUES (1, ?1, ?2) \
     ON CONFLICT (id) DO UPDATE SET log = excluded.log, before = excluded.before, done = moved";
const NUMBER: &str = "UPDATE log_binding SET moved = moved + 1 WHERE id = 1";

/// The row.
#[derive(Debug)]
struct Binding {
    log: Salts,
    /// Empty if there is none.
    before: Vec<u8>,
    moved: i64,
    done: i64,
}

/// The writer's state about the current log.
#[derive(Debug, Default)]
pub(crate) struct LogBinding {
    log: Option<File>,
    /// The log that the row is known to name.
    bound: Option<Salts>,
}

impl LogBinding {
    /// Returns the log in use now, if it has begun.
    fn current(&mut self) -> Option<Salts> {
        read_salts(self.log.as_mut()?)
    }
}

/// The result of comparing a file with its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// There is no log, or it belongs to the file.
    Fits,
    /// They cannot be compared.
    Unknown,
}

impl<K, A> Core<K, A> {
    /// Compares the file with the log beside it, before anything is written to either.
    ///
    /// # Errors
    /// `Incompatible` if the log belongs to another file.
    pub(crate) fn check_log(&self) -> Result<Found> {
        // Another process that has the file open may be about to write the row.
        const TRIES: u32 = 4;
        for tried in 1..=TRIES {
            match self.compare_with_log()? {
                Found::Unknown if tried < TRIES => std::thread::sleep(Duration::from_millis(2)),
                found => return Ok(found),
            }
        }
        Ok(Found::Unknown)
    }

    pub(crate) fn compare_with_log(&self) -> Result<Found> {
        let Some(place) = self.place.as_ref().filter(|p| p.lockable().is_some()) else {
            return Ok(Found::Fits);
        };
        // As long as this snapshot is held, no other process can restart the log and move that one
        // into the file, too.
        let failed = |e| self.failed("open", e);
        let snapshot = self.connection.unchecked_transaction().map_err(failed)?;
        let seen = row_of(&snapshot).map_err(failed)?;
        let Some(log) = salts_beside(place) else { return Ok(Found::Fits) };
        let Some(seen) = seen.filter(|seen| seen.log == log) else { return Ok(Found::Unknown) };
        let Ok(alone) = file_alone(place) else { return Ok(Found::Unknown) };
        let Some(alone) = alone else {
            // The log may be the first one, or hold moved tables, of which the file has a part.
            return Ok(if seen.before.is_empty() { Found::Fits } else { Found::Unknown });
        };
        if alone.log != log && alone.log[..] != seen.before {
            return Err(another_file());
        }
        match seen.done - alone.moved {
            ..=0 => Ok(Found::Fits),
            // The log may have restarted with the very commit that wrote the number.
            1 => Ok(Found::Unknown),
            _ => Err(another_file()),
        }
    }
}

impl<K: Kind> Core<K, Writing> {
    /// Makes the row name the log of the last commit. A failure leaves the log unbound until the
    /// next commit: the commit before is stored all the same.
    pub(crate) fn bind_log(&mut self) {
        self.open_log();
        // SQLite may restart the log for this very commit, if another process moved the old one
        // meanwhile.
        for _ in 0..3 {
            let current = self.access.binding.current();
            let Some(log) = current.filter(|_| current != self.access.binding.bound) else {
                return;
            };
            if self.bind_to(log).is_err() {
                self.rollback();
                return;
            }
            self.access.binding.bound = Some(log);
        }
    }

    /// Opens the log, to check after each commit whether it was restarted.
    fn open_log(&mut self) {
        let Some(opened) = self.opened.as_mut().filter(|_| self.access.binding.log.is_none())
        else {
            return;
        };
        let log = File::open(opened.log_path()).ok();
        if let Some(log) = &log {
            opened.with_log(log);
        }
        self.access.binding.log = log;
    }

    fn bind_to(&mut self, log: Salts) -> Result<()> {
        self.set_synchronous(Synchronous::Normal)?;
        self.run("BEGIN IMMEDIATE", [])?;
        let seen = row_of(&self.connection).map_err(|e| self.failed("read", e))?;
        match seen {
            Some(seen) if seen.log == log => {}
            seen => {
                let before = seen.map(|seen| seen.log.to_vec()).unwrap_or_default();
                self.run(PUT, (&log[..], before))?;
            }
        }
        self.run("COMMIT", []).map(drop)
    }

    /// Gives the next move of the log into the file a number. If that fails, the log is moved
    /// without one, and an older copy that is put over the file may not be detected.
    pub(crate) fn number_move(&mut self) {
        // Nothing was committed: there is nothing to move.
        if self.access.binding.bound.is_none() {
            return;
        }
        let number = |core: &mut Self| {
            core.set_synchronous(Synchronous::Normal)?;
            core.run("BEGIN IMMEDIATE", [])?;
            core.run(NUMBER, [])?;
            core.run("COMMIT", [])
        };
        if number(self).is_err() {
            self.rollback();
        }
        self.bind_log();
    }
}

/// Returns the number of the last move of a log that is in the file. The inner `None` means that it
/// has none yet; the outer one that the file alone cannot be read now.
pub(crate) fn last_move(path: &Path) -> Option<Option<i64>> {
    let row = row_of(&alone(path).ok()?).ok()?;
    Some(row.map(|row| row.moved))
}

/// Returns the error for a log that belongs to another file.
pub(crate) fn another_file() -> Error {
    let what = "the file and the write-ahead log beside it (`<file>-wal`) are of two different states: the file was \
                replaced, or put back from a copy, and the log was left; put the file back that the log belongs to, or, to \
                go on with this file without what only the log has, move the log away";
    Error::new(ErrorKind::Incompatible, what).during("open")
}

/// Returns the row, if there is one.
fn row_of(connection: &Connection) -> rusqlite::Result<Option<Binding>> {
    let has_table = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'log_binding'";
    if connection.query_row(has_table, [], |_| Ok(())).optional()?.is_none() {
        return Ok(None);
    }
    // A file of an older version has no numbers.
    let number = |row: &Row<'_>, name| match row.get(name) {
        Err(rusqlite::Error::InvalidColumnName(_)) => Ok(0),
        number => number,
    };
    let read = |row: &Row<'_>| {
        let (moved, done) = (number(row, "moved")?, number(row, "done")?);
        Ok(Binding { log: row.get("log")?, before: row.get("before")?, moved, done })
    };
    connection.query_row(ROW, [], read).optional()
}

/// Returns the row in the file without the log.
fn file_alone(place: &Place) -> rusqlite::Result<Option<Binding>> {
    let Some(path) = place.lockable() else { return Ok(None) };
    // While the snapshot is held, only the log may change.
    row_of(&alone(path)?)
}

fn salts_beside(place: &Place) -> Option<Salts> {
    let path: &Path = place.lockable()?;
    read_salts(&mut File::open(beside(path, "-wal")).ok()?)
}

fn read_salts(log: &mut File) -> Option<Salts> {
    let mut salts = [0; 8];
    log.seek(SeekFrom::Start(SALTS_AT)).ok()?;
    log.read_exact(&mut salts).ok()?;
    Some(salts)
}
