//! The write-ahead log: when its pages are moved into the file.
//!
//! SQLite does that within the commit that makes the log too long, so the caller of that commit
//! waits for thousands of pages and a sync. Here it is done after all callers have their results
//! and while no job waits. Only a log that is twice as long, because there is always a job, is
//! moved within a commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::{Connection, Row};

use crate::core::{Core, Writing};
use crate::schema::Kind;

/// The length of the log, and its limit.
#[derive(Debug, Default)]
pub(crate) struct LogLength {
    /// The number of pages after the last commit.
    pages: Arc<AtomicU32>,
    /// The number of pages from which on it is moved; 0 for never.
    most: u32,
}

impl LogLength {
    /// Registers a callback for every commit, in place of SQLite's own checkpoints.
    pub(crate) fn watch(&mut self, connection: &mut Connection, most: u32) -> rusqlite::Result<()> {
        self.most = most;
        let told = Arc::clone(&self.pages);
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: i32| {
            told.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))
    }

    /// Returns whether the log is `times` its limit or longer.
    fn is_long(&self, times: u32) -> bool {
        self.most > 0 && self.pages.load(Ordering::Relaxed) >= self.most.saturating_mul(times)
    }
}

impl<K: Kind> Core<K, Writing> {
    /// Moves the log into the file, if it is long, up to the pages that a reader still uses. After
    /// a failure it is tried again after the next commit.
    pub(crate) fn move_log_if_long(&mut self) {
        self.move_log_if(1);
    }

    /// The same if it is twice as long, because there was always a job.
    pub(crate) fn move_log_if_very_long(&mut self) {
        self.move_log_if(2);
    }

    /// Records a change of the file that this connection made itself, so that it is not checked.
    pub(crate) fn note_moved(&self) {
        if let Some(opened) = &self.opened {
            opened.note_moved();
        }
    }

    fn move_log_if(&mut self, times: u32) {
        if self.access.log.is_long(times) {
            self.number_move();
            self.access.log.pages.store(0, Ordering::Relaxed);
            let ignore = |_: &Row<'_>| Ok(());
            let _ = self.one("PRAGMA wal_checkpoint(PASSIVE)", [], ignore);
            self.note_moved();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use storage_kit::{Durability, Transactional};
    use sync_core::model::ReplicaId;
    use sync_core::model::Scope;
    use sync_core::replica::record::ScopeRow;
    use sync_core::replica::rows::ReplicaRows;

    use crate::{SqliteConfig, SqliteReplicaWriter};

    fn open(path: &Path) -> SqliteReplicaWriter {
        let mut config = SqliteConfig::new(path);
        config.checkpoint_pages = 16;
        SqliteReplicaWriter::open(&config, ReplicaId([7; 16])).unwrap()
    }

    fn commit(core: &mut SqliteReplicaWriter, n: u64) {
        core.begin(Durability::Process).unwrap();
        let row = ScopeRow { documents: n, ..ScopeRow::default() };
        core.put_scope(&Scope::default(), &row).unwrap();
        core.commit().unwrap();
    }

    /// Returns how many bytes the log has after many commits.
    fn length(rests: bool) -> u64 {
        let folder = tempfile::tempdir().unwrap();
        let mut core = open(&folder.path().join("app.db"));
        for n in 0..200 {
            commit(&mut core, n);
            if rests {
                core.rest();
            }
        }
        std::fs::metadata(folder.path().join("app.db-wal")).unwrap().len()
    }

    #[test]
    fn a_long_log_is_moved_when_no_job_waits_and_is_reused() {
        let length = length(true);
        assert!(length < 30 * 4_096, "{length}");
    }

    #[test]
    fn the_log_of_a_busy_writer_is_bounded_too() {
        let length = length(false);
        assert!(length > 30 * 4_096 && length < 50 * 4_096, "{length}");
    }
}
