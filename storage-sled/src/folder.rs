//! The folder that sled keeps: looked at before sled does, and synced where sled does not.

use std::fs::{File, TryLockError};
use std::io::ErrorKind as IoErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sync_core::error::{Error, ErrorKind, Result};

use crate::error;

/// How long closing waits for sled's threads to let go of the lock, and how often it looks.
const LETTING_GO: (u32, Duration) = (500, Duration::from_millis(2));

/// Refuses a folder in which sled would be a guest. A missing or empty one is fine.
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
    for entry in entries {
        let entry = entry.map_err(|e| error::io("open", path, e))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !matches!(&*name, "blobs" | "conf" | "db") && !name.starts_with("snap.") {
            return refused(format!("the folder is not sled's alone: {name:?} is in it"));
        }
    }
    Ok(())
}

/// The file that holds everything, opened a second time.
#[derive(Debug)]
pub(crate) struct LogFile {
    folder: PathBuf,
    file: File,
}

impl LogFile {
    /// Opens it once sled has made it. With `sync`, a power failure does not take the names of sled's files away.
    pub(crate) fn open(folder: &Path, sync: bool) -> Result<Self> {
        let failed = |e| error::io("open", folder, e);
        // Windows syncs only what is open for writing.
        let mut options = File::options();
        let file = options.read(true).write(true).open(folder.join("db")).map_err(failed)?;
        let log = Self { folder: folder.to_owned(), file };
        if sync {
            log.file.sync_all().map_err(failed)?;
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

    /// Waits until the disk has what was written. On Linux sled's flush asks for the pages to be written, and neither for
    /// the file's length nor for the disk's cache to be emptied (`sync_file_range`); elsewhere it does all of it.
    pub(crate) fn sync(&self) -> Result<()> {
        if cfg!(target_os = "linux") {
            self.file.sync_data().map_err(|e| error::io("sync", &self.folder, e))?;
        }
        Ok(())
    }

    /// Waits until nobody holds sled's lock. Threads of sled may do so for a moment after the last handle is gone.
    pub(crate) fn wait_until_free(&self) {
        let (times, pause) = LETTING_GO;
        for _ in 0..times {
            match self.file.try_lock() {
                Err(TryLockError::WouldBlock) => std::thread::sleep(pause),
                // Closing the file frees it again. Whoever cannot lock finds out when opening.
                Ok(()) | Err(TryLockError::Error(_)) => return,
            }
        }
    }
}
