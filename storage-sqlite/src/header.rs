//! Checks a file before SQLite opens it: SQLite would create files beside it, and may change it.

use std::io::ErrorKind as IoErrorKind;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use sync_core::error::{Error, ErrorKind, Result};

use crate::error;
use crate::schema::{self, Kind};

/// How long the header of an SQLite database is, in bytes (its file format, section 1.3).
const HEADER: u64 = 100;

/// Refuses a file of another program, of the other kind, or of a newer version. A missing or empty
/// one is accepted.
pub(crate) fn check<K: Kind>(path: &Path) -> Result<()> {
    let size = match std::fs::metadata(path) {
        Ok(found) => found.len(),
        Err(e) if e.kind() == IoErrorKind::NotFound => 0,
        Err(e) => return Err(error::io("open", path, e)),
    };
    if size == 0 {
        return Ok(());
    }
    let no_database = || Error::new(ErrorKind::Incompatible, "the file is no database");
    let refused = match numbers(path) {
        // SQLite treats a file shorter than its header as a new one.
        Ok(_) if size < HEADER => (!has_journal(path)).then(no_database),
        Ok((application, version)) => schema::judge::<K>(application, version, false).err(),
        // The creation of a file was interrupted: SQLite's journal beside it determines the
        // recovery.
        Err(e) if is_no_database(&e) && !has_journal(path) => Some(no_database()),
        // Opening it for use fails likewise, and returns the reason.
        Err(_) => None,
    };
    match refused {
        None => Ok(()),
        Some(e) => Err(error::on(e.during("open"), Some(path))),
    }
}

/// Returns the application id and the schema version.
fn numbers(path: &Path) -> rusqlite::Result<(i32, i32)> {
    let file = alone(path)?;
    let number = |name| file.pragma_query_value(None, name, |row| row.get(0));
    Ok((number("application_id")?, number("user_version")?))
}

fn is_no_database(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase)
}

/// Opens the file without the files beside it. SQLite creates, changes and locks nothing.
///
/// The file is only opened through SQLite: on Unix, closing a file that was opened otherwise drops
/// the locks of every connection of the process to it (SQLite, "How To Corrupt An SQLite Database
/// File", section 2.2). Another process then acts as the last one and removes the write-ahead log.
pub(crate) fn alone(path: &Path) -> rusqlite::Result<Connection> {
    // Characters that are valid in a file name and not in a URI are percent-encoded.
    let mut uri = String::from("file:");
    for byte in path.to_string_lossy().bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => {
                uri.push(byte.into())
            }
            _ => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(uri, flags)
}

fn has_journal(path: &Path) -> bool {
    std::fs::metadata(beside(path, "-journal")).is_ok_and(|m| m.len() > 0)
}

/// Returns the path of the file beside it with that ending.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
