//! Detects that an open file is no longer the one at its path, or was overwritten.
//!
//! A file that is deleted, moved or replaced stays open, and SQLite continues with a file that has
//! no path: everything works, and is lost when the process ends. So each transaction checks the
//! path first. It also checks the write-ahead log: without it, or with another one in its place,
//! the file at the path lacks committed data.
//!
//! An older copy may also be written into the file (`cp`). Pages of two states are then read as
//! one, or the older state alone, and further commits damage the file. Otherwise only moving the
//! log into the file changes it, so a changed file is compared with its [log](crate::binding), and
//! with its state before.

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
    /// The state of the file when it was last compared.
    compared: Cell<Option<FileStamp>>,
    /// The newest number of a move of the log that the file had then.
    moved: Cell<i64>,
}

/// Changes with every write to a file, whatever its modification time.
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

/// On other systems an open file can be neither moved nor replaced.
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
    /// Returns the file at the path, which was opened just before.
    pub(crate) fn at(path: &Path) -> Result<Self> {
        let found = std::fs::metadata(path).map_err(|e| error::io("open", path, e))?;
        let log_path = beside(path, "-wal");
        let (compared, moved) = (Cell::default(), Cell::new(0));
        let (path, identity) = (path.to_owned(), identity(&found));
        Ok(Self { path, identity, log_path, log: None, compared, moved })
    }

    /// Returns the path of the log.
    pub(crate) fn log_path(&self) -> &Path {
        &self.log_path
    }

    /// Sets the log that SQLite writes to.
    pub(crate) fn with_log(&mut self, log: &File) {
        self.log = log.metadata().ok().map(|found| identity(&found));
    }

    /// Fails if another file is at the path, or none, or an empty one. Returns the state of the
    /// file, if it differs from the one that was last compared.
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

    /// Fails if an older copy was written into the file. Returns the newest number in it, if it can
    /// be read.
    pub(crate) fn check_number(&self) -> Result<Option<i64>> {
        match last_move(&self.path) {
            Some(Some(number)) if number < self.moved.get() => {
                Err(self.lost("an older copy was put over the file while it was open"))
            }
            Some(Some(number)) => Ok(Some(number)),
            Some(None) if self.moved.get() == 0 => Ok(Some(0)),
            // While tables are moved within it, the file alone may not contain the number.
            _ => Ok(None),
        }
    }

    /// Returns whether the file has changed since it was compared, while no number explains it by a
    /// move of the log. Another program may have moved it, or a copy of the same state with other
    /// pages was written into the file.
    pub(crate) fn is_unexplained(&self, number: i64) -> bool {
        self.compared.get().is_some() && number == self.moved.get()
    }

    /// Records that the file was compared in that state, and has that number.
    pub(crate) fn note_compared(&self, stamp: FileStamp, number: i64) {
        self.compared.set(Some(stamp));
        self.moved.set(number);
    }

    /// Records that this process has just moved the log into the file.
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
    /// Fails if the open file is not at its path any more, or other data was written into it.
    pub(crate) fn check_place(&self) -> Result<()> {
        self.check_file(|_| Ok(()))
    }

    /// The same, before the file is changed: checks every page after an unexplained change.
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
        /// How often, and at which interval, an unexpected file is checked again. While the log is
        /// moved into it, its content may be in any state.
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
                // The next transaction checks again.
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
    /// Leaves a lost file unchanged: SQLite would remove the log at its path, which may belong to
    /// the file that is there now.
    fn drop(&mut self) {
        self.end();
        if self.check_pages().is_err() {
            // If this fails, nothing else can be done.
            let _ = self.checkpoint_on_close(false);
        }
    }
}
