//! Where a file is.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use sync_core::error::Result;

use crate::access;
use crate::config::SqliteConfig;
use crate::error;
use crate::header;
use crate::schema::Kind;

/// Where a file is.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    /// The VFS by which the file is opened; none for SQLite's own.
    vfs: Option<String>,
}

impl Place {
    pub(crate) fn of(config: &SqliteConfig) -> Result<Self> {
        let vfs = config.vfs.clone();
        let path = match vfs {
            // Without this a file called `:memory:` would be a database in memory.
            None => {
                std::path::absolute(&config.path).map_err(|e| error::io("open", &config.path, e))?
            }
            Some(_) => config.path.clone(),
        };
        Ok(Self { path, vfs })
    }

    /// Returns the path, if the operating system can resolve it.
    pub(crate) fn real(&mut self) -> Option<&mut PathBuf> {
        self.vfs.is_none().then_some(&mut self.path)
    }

    /// Returns the file beside which locks of the operating system may be created.
    pub(crate) fn lockable(&self) -> Option<&Path> {
        self.vfs.is_none().then_some(&self.path)
    }

    /// Checks the file before SQLite opens it, where that is possible.
    pub(crate) fn check<K: Kind>(&self) -> Result<()> {
        let Some(path) = self.lockable() else { return Ok(()) };
        header::check::<K>(path)?;
        access::check(path)
    }

    pub(crate) fn connect(&self, more: OpenFlags) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
        let opened = match &self.vfs {
            None => Connection::open_with_flags(&self.path, flags),
            Some(vfs) => Connection::open_with_flags_and_vfs(&self.path, flags, vfs.as_str()),
        };
        opened.map_err(|e| error::convert("open", Some(&self.path), e))
    }
}
