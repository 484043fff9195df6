//! Whether this process may write to a file, before SQLite opens it.
//!
//! SQLite opens a file that may only be read, and makes the files that it keeps beside it with the
//! permissions of that file. They stay behind: SQLite removes them only where it may write. When
//! the file may be written to again, they still may not, and nothing can use the file any more.

use std::path::Path;

use sync_core::error::{Error, ErrorKind, Result, Retry};

use crate::error;
use crate::header::beside;

/// The error for a file that this process may only read.
pub(crate) fn read_only() -> Error {
    Error::new(ErrorKind::Storage, "the file cannot be written")
        .retrying(Retry::Never)
        .during("open")
}

/// Refuses a file that is there and cannot be written to. What SQLite left beside it when it could
/// not gets the permissions that the file has now, if it is ours to change.
pub(crate) fn check(path: &Path) -> Result<()> {
    let Ok(found) = std::fs::metadata(path) else { return Ok(()) };
    // Opening it to find out would drop the locks of this process when it is closed again (see
    // `header::alone`).
    if !may_write(path) {
        return Err(error::on(read_only(), Some(path)));
    }
    for ending in ["-wal", "-shm"] {
        let left = beside(path, ending);
        if std::fs::exists(&left).unwrap_or(false) && !may_write(&left) {
            // If it fails, opening fails too, and says why.
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
