//! Detects writes to a file by any process.

use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use storage_kit::CommitVersion;
use sync_core::error::Result;

use crate::error;
use crate::place::Place;

/// A separate connection that reads SQLite's `data_version`. This takes some microseconds: it reads
/// memory that the processes share and, after a commit, the first page of the file, which the
/// operating system has in memory. It waits for no lock. Only if another process is suspended in
/// the few instructions that publish its commit does SQLite read again after a moment.
#[derive(Debug)]
pub(crate) struct DataVersion(Connection);

impl DataVersion {
    pub(crate) fn open(place: &Place) -> Result<Self> {
        let connection = place.connect(OpenFlags::empty())?;
        let set_up = connection.busy_timeout(Duration::ZERO);
        set_up.map_err(|e| error::convert("open", place.lockable(), e))?;
        let version = Self(connection);
        // SQLite opens its files at the first read, which is now, where it may take time. A failure
        // is not reported: the next read returns it, too, unless its cause is gone.
        let _ = version.get();
        Ok(version)
    }

    /// Returns a number that each commit of another connection changes; none if it cannot be read
    /// now.
    pub(crate) fn get(&self) -> Option<i64> {
        let mut ask = self.0.prepare_cached("PRAGMA data_version").ok()?;
        ask.query_row([], |row| row.get(0)).ok()
    }
}

impl CommitVersion for DataVersion {
    fn version(&mut self) -> Option<u64> {
        self.get().map(i64::cast_unsigned)
    }
}

#[cfg(test)]
mod tests {
    use storage_kit::{Durability, Snapshot, Transactional};
    use sync_core::model::{Epoch, LogKey, NewLog, Scope};
    use sync_server::ops;

    use crate::{SqliteConfig, SqliteServerReader, SqliteServerWriter};

    fn commit(writer: &mut SqliteServerWriter, name: &str) {
        writer.begin(Durability::Process).unwrap();
        ops::open_scope(
            writer,
            &Scope::new(name).unwrap(),
            NewLog { epoch: Epoch([1; 16]), key: LogKey([7; 16]) },
        )
        .unwrap();
        assert!(writer.commit().unwrap());
    }

    #[test]
    fn a_version_changes_with_every_commit() {
        let directory = tempfile::tempdir().unwrap();
        let config = SqliteConfig::new(directory.path().join("server.db"));
        let mut writers = [(); 2].map(|()| SqliteServerWriter::open(&config).unwrap());
        let reader = SqliteServerReader::open(&config).unwrap();
        let mut probe = reader.probe().unwrap().unwrap();
        let mut seen = probe.version().unwrap();
        for n in 0..6 {
            assert_eq!(probe.version(), Some(seen), "nothing was committed");
            let writer = &mut writers[n % 2];
            writer.begin(Durability::Process).unwrap();
            writer.rollback();
            assert_eq!(probe.version(), Some(seen), "it was taken back");
            commit(writer, &format!("s{n}"));
            let now = probe.version().unwrap();
            assert_ne!(now, seen, "commit {n}");
            seen = now;
        }
    }
}
