//! Looks at a file before SQLite does: SQLite would make files beside it, and perhaps change it.

use std::fs::File;
use std::io::{ErrorKind as IoErrorKind, Read};
use std::path::{Path, PathBuf};

use sync_core::error::{Error, ErrorKind, Result};

use crate::error;
use crate::schema::{self, Kind};

/// Refuses a file that is not ours, or of the other kind, or of a newer version. A missing or empty one is fine.
pub(crate) fn check<K: Kind>(path: &Path) -> Result<()> {
    let header = match read_header(path) {
        Ok(header) => header,
        Err(e) if e.kind() == IoErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(error::io("open", path, e)),
    };
    if header.is_empty() {
        return Ok(());
    }
    let refused = match parse(&header) {
        Some((application, version)) => schema::judge::<K>(application, version, false).err(),
        // The making of a file was cut short: SQLite's journal beside it says what to do.
        None if has_journal(path) => None,
        None => Some(Error::new(ErrorKind::Incompatible, "the file is no database")),
    };
    match refused {
        None => Ok(()),
        Some(e) => Err(error::on(e.during("open"), Some(path))),
    }
}

fn read_header(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut header = Vec::new();
    File::open(path)?.take(100).read_to_end(&mut header)?;
    Ok(header)
}

/// Application id and schema version, if it is the header of an SQLite database (its file format, section 1.3).
fn parse(header: &[u8]) -> Option<(i32, i32)> {
    if header.len() < 100 || !header.starts_with(b"SQLite format 3\0") {
        return None;
    }
    let number = |at: usize| Some(i32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?));
    Some((number(68)?, number(60)?))
}

fn has_journal(path: &Path) -> bool {
    std::fs::metadata(beside(path, "-journal")).is_ok_and(|m| m.len() > 0)
}

/// The file beside it with that ending.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
