//! The folder of a store: checked before sled opens it, and synced where sled does not.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind as IoErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sync_core::error::{Error, ErrorKind, Result};

use crate::error;

/// How often and at which interval closing checks whether sled's threads have released the lock.
const LETTING_GO: (u32, Duration) = (500, Duration::from_millis(2));

/// Refuses a folder that is not sled's: sled would create files in it, and read a file called `db`
/// as a damaged one of its own. A missing or empty folder is accepted, and one whose creation was
/// interrupted.
pub(crate) fn check(path: &Path) -> Result<()> {
    let refused = |what: String| {
        let error = Error::new(ErrorKind::Incompatible, what);
        Err(error.during("open").with("folder", path.display()))
    };
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == IoErrorKind::NotFound => return Ok(()),
        Err(e) if e.kind() == IoErrorKind::NotADirectory => {
            return refused("the path is a file, and sled keeps a folder".to_owned());
        }
        Err(e) => return Err(error::io("open", path, e)),
    };
    // A folder with sled's settings is a store, whatever files the operating system has added.
    if has_settings(path).map_err(|e| error::io("open", path, e))? {
        return Ok(());
    }
    for entry in entries {
        let entry = entry.map_err(|e| error::io("open", path, e))?;
        let name = entry.file_name();
        let is_empty = || entry.metadata().is_ok_and(|m| m.is_file() && m.len() == 0);
        let is_left_over = match &*name.to_string_lossy() {
            "blobs" | "conf" => true,
            "db" => is_empty(),
            _ => false,
        };
        if !is_left_over {
            return refused(format!(
                "the folder is not sled's, or its settings are lost: {name:?} is in it"
            ));
        }
    }
    Ok(())
}

/// Returns whether the settings exist that sled writes before it creates a store.
fn has_settings(path: &Path) -> std::io::Result<bool> {
    const BEGINNING: &[u8] = b"segment_size: ";
    let mut found = Vec::new();
    match File::open(path.join("conf")) {
        Ok(conf) => conf.take(BEGINNING.len() as u64).read_to_end(&mut found)?,
        Err(e) if e.kind() == IoErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    Ok(found == BEGINNING)
}

/// The file with all data, opened a second time.
#[derive(Debug)]
pub(crate) struct LogFile {
    folder: PathBuf,
    file: File,
}

impl LogFile {
    /// Opens the file after sled has created it. With `sync`, sled's settings and the names of its
    /// files survive a power failure.
    pub(crate) fn open(folder: &Path, sync: bool) -> Result<Self> {
        let failed = |e| error::io("open", folder, e);
        // Windows only syncs files that are open for writing.
        let mut options = File::options();
        let file = options.read(true).write(true).open(folder.join("db")).map_err(failed)?;
        let log = Self { folder: folder.to_owned(), file };
        if sync {
            log.file.sync_all().map_err(failed)?;
            options.open(folder.join("conf")).and_then(|conf| conf.sync_all()).map_err(failed)?;
            log.sync_names().map_err(failed)?;
        }
        Ok(log)
    }

    #[cfg(unix)]
    fn sync_names(&self) -> std::io::Result<()> {
        File::open(&self.folder)?.sync_all()?;
        let above = std::path::absolute(&self.folder)?;
        above.parent().map_or(Ok(()), |above| File::open(above)?.sync_all())
    }

    #[cfg(not(unix))]
    fn sync_names(&self) -> std::io::Result<()> {
        Ok(())
    }

    /// Waits until the disk has synced what was written. On Linux sled's flush requests the pages
    /// to be written, but syncs neither the file's length nor the disk's cache (`sync_file_range`);
    /// on other systems it syncs everything.
    pub(crate) fn sync(&self) -> Result<()> {
        if cfg!(target_os = "linux") {
            self.file.sync_data().map_err(|e| error::io("sync", &self.folder, e))?;
        }
        Ok(())
    }

    /// Replaces the log by another file.
    #[cfg(test)]
    #[cfg(target_os = "linux")]
    pub(crate) fn stand_in(&mut self, file: File) {
        self.file = file;
    }

    /// Waits until sled's lock is free. Threads of sled may hold it for a moment after the last
    /// handle was dropped.
    pub(crate) fn wait_until_free(&self) {
        let (times, pause) = LETTING_GO;
        for _ in 0..times {
            match self.file.try_lock() {
                Err(TryLockError::WouldBlock) => std::thread::sleep(pause),
                // Closing the file releases it again. If the lock fails, opening reports the error.
                Ok(()) | Err(TryLockError::Error(_)) => return,
            }
        }
    }
}
