//! Whether this process may write to a file, before SQLite opens it.
//!
//! SQLite opens a read-only file, and creates the files beside it with the permissions of that
//! file. They stay behind: SQLite removes them only where it may write. When the file becomes
//! writable again, they do not, and the file cannot be used any more.

use std::path::Path;

use sync_core::error::{Error, ErrorKind, Result, Retry};

use crate::error;
use crate::header::beside;

/// Returns the error for a file that this process may only read.
pub(crate) fn read_only() -> Error {
    Error::new(ErrorKind::Storage, "the file cannot be written")
        .retrying(Retry::Never)
        .during("open")
}

/// Refuses an existing file that cannot be written to. Files that SQLite left beside it while it
/// was read-only get the permissions that the file has now, if this process may change them.
pub(crate) fn check(path: &Path) -> Result<()> {
    let Ok(found) = std::fs::metadata(path) else { return Ok(()) };
    // Opening the file to test it would drop the locks of this process when it is closed again (see
    // `header::alone`).
    if !may_write(path) {
        return Err(error::on(read_only(), Some(path)));
    }
    for ending in ["-wal", "-shm"] {
        let left = beside(path, ending);
        if std::fs::exists(&left).unwrap_or(false) && !may_write(&left) {
            // If it fails, opening fails too, and returns the reason.
            let _ = std::fs::set_permissions(&left, found.permissions());
        }
    }
    Ok(())
}

#[cfg(unix)]
fn may_write(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}

#[cfg(not(unix))]
fn may_write(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| !found.permissions().readonly())
}
