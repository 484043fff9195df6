//! Whether the file that is open is still the one at its path.
//!
//! A file that is deleted, moved or replaced stays open, and SQLite goes on with what no path leads to any more: everything
//! works, and is gone when the process ends. So each transaction looks first. The write-ahead log is looked at, too: without
//! it, or with another one at its place, the file at the path lacks what was committed.

use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};

use sync_core::error::{Error, ErrorKind, Result, Retry};

use crate::error;
use crate::recognise::beside;

/// A file as it was when it was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    path: PathBuf,
    identity: Identity,
    log_path: PathBuf,
    log: Option<Identity>,
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
        Ok(Self { path: path.to_owned(), identity: identity(&found), log_path, log: None })
    }

    /// Where the log is.
    pub(crate) fn log_path(&self) -> &Path {
        &self.log_path
    }

    /// The log that SQLite writes to.
    pub(crate) fn with_log(&mut self, log: &File) {
        self.log = log.metadata().ok().map(|found| identity(&found));
    }

    /// Fails if another file is at the path, or none, or nothing is left in it.
    pub(crate) fn check(&self) -> Result<()> {
        let what = match std::fs::metadata(&self.path) {
            Err(e) => {
                let gone = "the file was deleted or moved while it was open";
                return Err(self.lost(gone).because(e));
            }
            Ok(found) if identity(&found) != self.identity => {
                "the file was replaced by another one while it was open"
            }
            Ok(found) if found.len() == 0 => "the file was emptied while it was open",
            Ok(_) => return self.check_log(),
        };
        Err(self.lost(what))
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

    fn lost(&self, what: &str) -> Error {
        let error = Error::new(ErrorKind::Storage, what).retrying(Retry::Never);
        error::on(error.during("look at the file"), Some(&self.path))
    }
}
