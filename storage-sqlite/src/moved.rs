//! Whether the file that is open is still the one at its path, and what is in it.
//!
//! A file that is deleted, moved or replaced stays open, and SQLite goes on with what no path leads
//! to any more: everything works, and is gone when the process ends. So each transaction looks
//! first. The write-ahead log is looked at, too: without it, or with another one at its place, the
//! file at the path lacks what was committed.
//!
//! An older copy may also be written into the file (`cp`). Pages of two states are then read as
//! one, or the older state alone, and what is committed further damages the file. Only moving the
//! log into it changes the file otherwise, so when it was changed it is compared with its
//! [log](crate::binding), and with what it was before.

use std::cell::Cell;
use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Row;
use sync_core::error::{Error, ErrorKind, Result, Retry};

use crate::binding::last_move;
use crate::columns;
use crate::core::Core;
use crate::error;
use crate::header::beside;

/// A file as it was when it was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    path: PathBuf,
    identity: Identity,
    log_path: PathBuf,
    log: Option<Identity>,
    /// As the file was when it was compared last.
    compared: Cell<Option<FileStamp>>,
    /// The newest number of a move of the log that the file had then.
    moved: Cell<i64>,
}

/// What changes with every write to a file, whatever time it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileStamp {
    size: u64,
    #[cfg(unix)]
    changed: (i64, i64),
    #[cfg(not(unix))]
    changed: Option<std::time::SystemTime>,
}

impl FileStamp {
    fn of(found: &Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        Self {
            size: found.len(),
            #[cfg(unix)]
            changed: (found.ctime(), found.ctime_nsec()),
            #[cfg(not(unix))]
            changed: found.modified().ok(),
        }
    }
}

#[cfg(unix)]
type Identity = (u64, u64);

/// Elsewhere a file that is open can be neither moved nor replaced.
#[cfg(not(unix))]
type Identity = ();

#[cfg(unix)]
fn identity(of: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    (of.dev(), of.ino())
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> Identity {}

impl Opened {
    /// The file at the path, which was opened a moment ago.
    pub(crate) fn at(path: &Path) -> Result<Self> {
        let found = std::fs::metadata(path).map_err(|e| error::io("open", path, e))?;
        let log_path = beside(path, "-wal");
        let (compared, moved) = (Cell::default(), Cell::new(0));
        let (path, identity) = (path.to_owned(), identity(&found));
        Ok(Self { path, identity, log_path, log: None, compared, moved })
    }

    /// Where the log is.
    pub(crate) fn log_path(&self) -> &Path {
        &self.log_path
    }

    /// The log that SQLite writes to.
    pub(crate) fn with_log(&mut self, log: &File) {
        self.log = log.metadata().ok().map(|found| identity(&found));
    }

    /// Fails if another file is at the path, or none, or nothing is left in it. Answers with what
    /// the file is like now, if that is not what it was when it was compared last.
    pub(crate) fn check(&self) -> Result<Option<FileStamp>> {
        let what = match std::fs::metadata(&self.path) {
            Err(e) => {
                let gone = "the file was deleted or moved while it was open";
                return Err(self.lost(gone).because(e));
            }
            Ok(found) if identity(&found) != self.identity => {
                "the file was replaced by another one while it was open"
            }
            Ok(found) if found.len() == 0 => "the file was emptied while it was open",
            Ok(found) => {
                self.check_log()?;
                let stamp = FileStamp::of(&found);
                return Ok(Some(stamp).filter(|_| self.compared.get() != Some(stamp)));
            }
        };
        Err(self.lost(what))
    }

    /// Fails if an older copy was written into the file. Answers with the newest number in it, if
    /// it can be read.
    pub(crate) fn check_number(&self) -> Result<Option<i64>> {
        match last_move(&self.path) {
            Some(Some(number)) if number < self.moved.get() => {
                Err(self.lost("an older copy was put over the file while it was open"))
            }
            Some(Some(number)) => Ok(Some(number)),
            Some(None) if self.moved.get() == 0 => Ok(Some(0)),
            // While tables are moved within it, the file alone may not show the number.
            _ => Ok(None),
        }
    }

    /// Whether the file has changed since it was compared, and no number says that a log was moved
    /// into it. Another program may have done that; or else a copy was written into the file, of
    /// the same state but with other pages.
    pub(crate) fn is_unexplained(&self, number: i64) -> bool {
        self.compared.get().is_some() && number == self.moved.get()
    }

    /// The file was compared when it was like that, and has that number.
    pub(crate) fn note_compared(&self, stamp: FileStamp, number: i64) {
        self.compared.set(Some(stamp));
        self.moved.set(number);
    }

    /// This process has just moved the log into the file.
    pub(crate) fn note_moved(&self) {
        if let Ok(Some(stamp)) = self.check()
            && let Ok(Some(number)) = self.check_number()
        {
            self.note_compared(stamp, number);
        }
    }

    fn check_log(&self) -> Result<()> {
        let Some(log) = self.log else { return Ok(()) };
        match std::fs::metadata(&self.log_path) {
            Ok(found) if identity(&found) == log => Ok(()),
            _ => Err(self.lost(
                "the write-ahead log beside the file was deleted, moved or replaced while it was open",
            )),
        }
    }

    pub(crate) fn lost(&self, what: &str) -> Error {
        let error = Error::new(ErrorKind::Storage, what).retrying(Retry::Never);
        error::on(error.during("look at the file"), Some(&self.path))
    }
}

impl<K, A> Core<K, A> {
    /// Fails if the file that is open is not at its path any more, or something else was written
    /// into it.
    pub(crate) fn check_place(&self) -> Result<()> {
        self.check_file(|_| Ok(()))
    }

    /// The same, for what changes the file next: a change that nothing explains has every page
    /// looked at.
    pub(crate) fn check_pages(&self) -> Result<()> {
        self.check_file(|opened| {
            let is_sound = |row: &Row<'_>| Ok(columns::text(row, 0)? == "ok");
            match self.one("PRAGMA quick_check(1)", [], is_sound)? {
                Some(true) => Ok(()),
                _ => Err(opened.lost("another copy was put over the file while it was open")),
            }
        })
    }

    fn check_file(&self, unexplained: impl Fn(&Opened) -> Result<()>) -> Result<()> {
        /// How often, and after how long, a file is looked at again that is not what it should be.
        /// While the log is moved into it, it may be read as anything.
        const AGAIN: (u32, Duration) = (4, Duration::from_millis(25));
        let Some(opened) = &self.opened else { return Ok(()) };
        let Some(stamp) = opened.check()? else { return Ok(()) };
        let mut tries = AGAIN.0;
        loop {
            match self.compare(opened, &unexplained) {
                Ok(Some(number)) => {
                    opened.note_compared(stamp, number);
                    return Ok(());
                }
                // The next transaction looks again.
                Ok(None) => return Ok(()),
                Err(error) if tries == 0 => return Err(self.on(error)),
                Err(_) => tries -= 1,
            }
            std::thread::sleep(AGAIN.1);
            if opened.check()? != Some(stamp) {
                return Ok(());
            }
        }
    }

    fn compare(
        &self,
        opened: &Opened,
        unexplained: impl Fn(&Opened) -> Result<()>,
    ) -> Result<Option<i64>> {
        self.compare_with_log()?;
        let number = opened.check_number()?;
        if number.is_some_and(|number| opened.is_unexplained(number)) {
            unexplained(opened)?;
        }
        Ok(number)
    }
}

impl<K, A> Drop for Core<K, A> {
    /// A file that is lost is left as it is: SQLite would remove the log that lies at its path,
    /// which may belong to the file that is there now.
    fn drop(&mut self) {
        self.end();
        if self.check_pages().is_err() {
            // Closing it is all that is left to do.
            let _ = self.checkpoint_on_close(false);
        }
    }
}
