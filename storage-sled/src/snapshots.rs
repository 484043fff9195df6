//! Snapshots that sled did not finish writing.
//!
//! Each opening writes the table of all pages as `snap.LSN.generating` and renames it to `snap.LSN`
//! (sled 0.34.7, `pagecache/snapshot.rs`). The next opening reads the last name in order, and
//! treats an unfinished file as a damaged store: a process that was killed while it wrote, or a
//! full disk, would make the folder unreadable permanently. A snapshot contains nothing that the
//! log does not. Without the unfinished one, sled reads the snapshot before it, and the log from
//! there on.

use std::fs::{File, TryLockError};
use std::io::ErrorKind as IoErrorKind;
use std::path::Path;

use sync_core::error::Result;

use crate::error;

const UNFINISHED: (&str, &str) = ("snap.", ".generating");

/// The prefix of a file that is put aside: sled reads no file of such a name.
const ASIDE: &str = "unfinished-";

/// The end of a snapshot: its length before compression (8 bytes), and the checksum of everything
/// before both.
const TRAILER: usize = 12;
const CHECKSUM: usize = 4;

/// Renames snapshots that are not whole, so that sled does not read them. If a process has the
/// folder open, it may be writing one: then nothing is touched, and sled itself finds the folder
/// locked.
///
/// # Errors
/// `Storage` if a file can be neither read nor renamed.
pub(crate) fn put_unfinished_aside(folder: &Path) -> Result<()> {
    if names(folder)?.is_empty() {
        return Ok(());
    }
    let failed = |e| error::io("look for unfinished snapshots", folder, e);
    let log = match File::open(folder.join("db")) {
        Ok(log) => log,
        Err(e) if e.kind() == IoErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(e)),
    };
    // sled locks this file before it looks for snapshots. Closing it releases the lock.
    match log.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(()),
        Err(TryLockError::Error(e)) => return Err(failed(e)),
    }
    for name in names(folder)? {
        put_aside_unless_whole(folder, &name)?;
    }
    Ok(())
}

/// Returns the snapshots that were not renamed.
fn names(folder: &Path) -> Result<Vec<String>> {
    let failed = |e| error::io("look for unfinished snapshots", folder, e);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == IoErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let (beginning, ending) = UNFINISHED;
    let mut found = Vec::new();
    for entry in entries {
        // sled creates only Unicode names.
        let Ok(name) = entry.map_err(failed)?.file_name().into_string() else { continue };
        if name.starts_with(beginning) && name.ends_with(ending) {
            found.push(name);
        }
    }
    Ok(found)
}

fn put_aside_unless_whole(folder: &Path, name: &str) -> Result<()> {
    let failed = |e| error::io("put an unfinished snapshot aside", folder, e).with("file", name);
    if is_whole(&std::fs::read(folder.join(name)).map_err(failed)?) {
        return Ok(());
    }
    // A file that was put aside under this name before was an attempt at the same snapshot.
    let aside = format!("{ASIDE}{name}");
    std::fs::rename(folder.join(name), folder.join(&aside)).map_err(failed)?;
    tracing::warn!(
        folder = %folder.display(),
        file = name,
        renamed_to = aside,
        "sled was interrupted while it wrote a snapshot; it reads the log instead, and nothing is lost",
    );
    Ok(())
}

/// Returns whether sled would read the snapshot: it verifies the checksum.
fn is_whole(snapshot: &[u8]) -> bool {
    let Some(data) = snapshot.len().checked_sub(TRAILER).filter(|data| *data > 0) else {
        return false;
    };
    let checksum = &snapshot[snapshot.len() - CHECKSUM..];
    crc32fast::hash(&snapshot[..data]).to_le_bytes() == checksum
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_of_sled_is_whole_and_a_part_of_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        for n in 0..2 {
            let db = sled::Config::new().path(folder.path()).open().unwrap();
            db.insert([n], "x").unwrap();
            db.flush().unwrap();
            drop(db);
            let mut entries = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path());
            let is_snapshot = |path: &std::path::PathBuf| {
                path.file_name().unwrap().to_str().unwrap().starts_with("snap.")
            };
            if let Some(snapshot) = entries.find(is_snapshot) {
                let bytes = std::fs::read(snapshot).unwrap();
                assert!(is_whole(&bytes));
                assert!((0..bytes.len()).all(|length| !is_whole(&bytes[..length])));
                return;
            }
        }
        panic!("sled wrote no snapshot");
    }
}
