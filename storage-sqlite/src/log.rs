//! The write-ahead log: when its pages are moved into the file.
//!
//! SQLite does that within the commit that makes the log too long, and whoever waits for that commit waits for thousands of
//! pages and a sync. Here it is done when everybody has been answered and nothing waits. Only a log that is twice as long,
//! because there is always something to write, is moved within a commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::{Connection, Row};

use crate::core::{Core, Writing};

/// How long the log is, and how long it may be.
#[derive(Debug, Default)]
pub(crate) struct LogLength {
    /// Pages, as of the last commit.
    pages: Arc<AtomicU32>,
    /// From how many on it is moved; 0 for never.
    most: u32,
}

impl LogLength {
    /// Has SQLite tell of every commit, in the place of what it would do by itself.
    pub(crate) fn watch(&mut self, connection: &mut Connection, most: u32) -> rusqlite::Result<()> {
        self.most = most;
        let told = Arc::clone(&self.pages);
        connection.wal_hook(Some(move |log: &mut rusqlite::hooks::Wal, pages: i32| {
            let pages = u32::try_from(pages).unwrap_or(0);
            told.store(pages, Ordering::Relaxed);
            if most > 0 && pages >= most.saturating_mul(2) {
                // The commit happened, whatever comes of this. It is tried again with the next one.
                let _ = log.checkpoint();
            }
            Ok(())
        }))
    }

    fn is_long(&self) -> bool {
        self.most > 0 && self.pages.load(Ordering::Relaxed) >= self.most
    }
}

impl<K> Core<K, Writing> {
    /// Moves the log into the file, if it is long, as far as nobody reads it. Whatever it fails at is tried again after the
    /// next commit.
    pub(crate) fn move_log_if_long(&mut self) {
        if self.access.log.is_long() {
            self.access.log.pages.store(0, Ordering::Relaxed);
            let ignore = |_: &Row<'_>| Ok(());
            let _ = self.one("PRAGMA wal_checkpoint(PASSIVE)", [], ignore);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sync_core::model::ReplicaId;
    use sync_core::model::Scope;
    use sync_core::replica::record::ScopeRow;
    use sync_core::replica::rows::ReplicaRows;
    use sync_core::storage::{Durability, Transactional};

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

    /// How many bytes the log has after many commits.
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
    fn a_long_log_is_moved_when_nothing_waits_and_used_again() {
        let length = length(true);
        assert!(length < 30 * 4_096, "{length}");
    }

    #[test]
    fn a_log_of_a_writer_that_never_rests_is_bounded_too() {
        let length = length(false);
        assert!(length > 30 * 4_096 && length < 50 * 4_096, "{length}");
    }
}
