//! The folder that sled keeps: looked at before sled does, and synced where sled does not.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind as IoErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sync_core::error::{Error, ErrorKind, Result};

use crate::error;

/// How long closing waits for sled's threads to let go of the lock, and how often it looks.
const LETTING_GO: (u32, Duration) = (500, Duration::from_millis(2));

/// Refuses a folder that is not sled's: sled would make files in it, and take a file called `db`
/// for a damaged one of its own. A missing or empty one is fine, and one whose making was cut
/// short.
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

/// Whether there are the settings that sled writes before it makes a store.
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

/// The file that holds everything, opened a second time.
#[derive(Debug)]
pub(crate) struct LogFile {
    folder: PathBuf,
    file: File,
}

impl LogFile {
    /// Opens it once sled has made it. With `sync`, a power failure takes neither sled's settings
    /// nor the names of its files away.
    pub(crate) fn open(folder: &Path, sync: bool) -> Result<Self> {
        let failed = |e| error::io("open", folder, e);
        // Windows syncs only what is open for writing.
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

    /// Waits until the disk has what was written. On Linux sled's flush asks for the pages to be
    /// written, and neither for the file's length nor for the disk's cache to be emptied
    /// (`sync_file_range`); elsewhere it does all of it.
    pub(crate) fn sync(&self) -> Result<()> {
        if cfg!(target_os = "linux") {
            self.file.sync_data().map_err(|e| error::io("sync", &self.folder, e))?;
        }
        Ok(())
    }

    /// Puts another file in the place of the log.
    #[cfg(test)]
    #[cfg(target_os = "linux")]
    pub(crate) fn stand_in(&mut self, file: File) {
        self.file = file;
    }

    /// Waits until sled's lock is free. Threads of sled may hold it for a moment after the last
    /// handle is gone.
    pub(crate) fn wait_until_free(&self) {
        let (times, pause) = LETTING_GO;
        for _ in 0..times {
            match self.file.try_lock() {
                Err(TryLockError::WouldBlock) => std::thread::sleep(pause),
                // Closing the file frees it again. If the lock fails, opening reports the error.
                Ok(()) | Err(TryLockError::Error(_)) => return,
            }
        }
    }
}
