//! Transactions and snapshots.

use std::time::Duration;

use rusqlite::Connection;
use storage_kit::{CommitVersion, Durability, Snapshot, Transactional};
use sync_core::error::{Error, ErrorKind, Result};

use crate::binding::LogBinding;
use crate::config::Synchronous;
use crate::core::Core;
use crate::lease::EngineLock;
use crate::schema::Kind;
use crate::version::DataVersion;
use crate::wal::LogLength;

/// The access of a core that writes.
#[derive(Debug)]
pub struct Writing {
    acknowledged: Synchronous,
    /// The current `synchronous` of SQLite, if it is known.
    level: Option<i64>,
    mark: Mark,
    /// The count of changes at the beginning of the transaction, minus those undone since.
    baseline: u64,
    /// The count of changes at the last mark.
    marked: u64,
    /// The log that the file is bound to.
    pub(crate) binding: LogBinding,
    /// Whether anything was committed since the storage was last purged.
    has_committed: bool,
    /// The length of the log.
    pub(crate) log: LogLength,
    /// Whether the log may contain pages with data that was erased since.
    pub(crate) log_is_untidy: bool,
    /// The number of documents from which on a first pull is loaded.
    pub(crate) load_from: u64,
    /// How long a transaction waits for another process.
    pub(crate) patience: Duration,
    pub(crate) lock: EngineLock,
}

/// The access of a core that reads.
#[derive(Debug)]
pub struct Reading;

/// The state that `undo` restores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// The beginning of the transaction, which is begun again. Most transactions are one job, and a
    /// savepoint would keep a copy of every page that changes after it.
    Begin,
    /// A savepoint, because there were writes before.
    Savepoint,
}

impl Writing {
    pub(crate) fn new(acknowledged: Synchronous) -> Self {
        Self {
            acknowledged,
            level: None,
            mark: Mark::Begin,
            baseline: 0,
            marked: 0,
            binding: LogBinding::default(),
            has_committed: false,
            log: LogLength::default(),
            log_is_untidy: false,
            load_from: crate::config::LOAD_FROM,
            patience: Duration::ZERO,
            lock: EngineLock::default(),
        }
    }
}

impl<K: Kind> Transactional for Core<K, Writing> {
    fn begin(&mut self, durability: Durability) -> Result<()> {
        self.end();
        self.check_pages()?;
        self.set_synchronous(match durability {
            Durability::Process => Synchronous::Normal,
            Durability::Power => self.access.acknowledged,
        })?;
        self.begin_immediate()
    }

    fn mark(&mut self) -> Result<()> {
        let changes = self.connection.total_changes();
        if self.access.mark == Mark::Savepoint {
            self.control("RELEASE job")?;
        }
        if self.access.mark == Mark::Savepoint || changes != self.access.baseline {
            self.control("SAVEPOINT job")?;
            self.access.mark = Mark::Savepoint;
        }
        self.access.marked = changes;
        self.access.lock.note_mark();
        Ok(())
    }

    fn undo(&mut self) -> Result<()> {
        self.access.lock.undo_mark();
        if self.access.mark != Mark::Savepoint {
            return self.begin_immediate();
        }
        self.names.borrow_mut().clear();
        let undone = self.control("ROLLBACK TO job");
        if undone.is_err() {
            self.rollback();
        }
        self.access.baseline += self.connection.total_changes() - self.access.marked;
        undone
    }

    fn commit(&mut self) -> Result<bool> {
        let committed = self.control("COMMIT");
        if committed.is_err() {
            self.rollback();
        }
        self.access.lock.keep();
        committed?;
        let changed = self.connection.total_changes() != self.access.baseline;
        self.access.has_committed |= changed;
        self.bind_log();
        self.move_log_if_very_long();
        Ok(changed)
    }

    fn rollback(&mut self) {
        self.access.lock.undo_transaction();
        self.end();
    }

    fn purge_erased(&mut self) -> Result<bool> {
        self.end();
        self.check_pages()?;
        let purged = self.make_tidy();
        self.bind_log();
        // The last connection that closes the file moves the log into it.
        if std::mem::take(&mut self.access.has_committed) {
            self.number_move();
        }
        purged.map(|()| true)
    }

    fn rest(&mut self) {
        self.cut_log_if_free(self.access.patience);
        self.move_log_if_long();
    }
}

impl<K, A> Core<K, A> {
    /// Runs a statement within a transaction. After a failure SQLite may have ended the transaction
    /// by itself; then no statement may run as if it were still open.
    fn control(&self, sql: &'static str) -> Result<()> {
        if self.connection.is_autocommit() {
            let ended = || self.on(Error::new(ErrorKind::Storage, "no transaction is open"));
            return Err(self.lost.borrow().clone().unwrap_or_else(ended));
        }
        self.run(sql, []).map(drop)
    }

    /// Ends the open transaction. It cannot fail: SQLite rolls back when the file is opened, if it
    /// cannot now.
    pub(crate) fn end(&self) {
        self.names.borrow_mut().clear();
        self.lost.take();
        if !self.connection.is_autocommit() {
            let _ = self.run("ROLLBACK", []);
        }
    }
}

impl<K> Core<K, Writing> {
    fn begin_immediate(&mut self) -> Result<()> {
        self.end();
        self.run("BEGIN IMMEDIATE", [])?;
        self.access.mark = Mark::Begin;
        self.access.baseline = self.connection.total_changes();
        self.access.marked = self.access.baseline;
        Ok(())
    }

    /// Sets `synchronous`, which SQLite allows between transactions only.
    pub(crate) fn set_synchronous(&mut self, to: Synchronous) -> Result<()> {
        let level = to.level();
        if self.access.level != Some(level) {
            self.access.level = None;
            self.pragma("synchronous", level)?;
            self.access.level = Some(level);
        }
        Ok(())
    }

    /// Returns SQLite's value of `synchronous`: 1 for normal, 2 for full, 3 for extra.
    ///
    /// # Errors
    /// `Storage`.
    pub fn synchronous_level(&self) -> Result<i64> {
        let read = |c: &Connection| c.pragma_query_value(None, "synchronous", |row| row.get(0));
        read(&self.connection).map_err(|e| self.failed("read", e))
    }
}

impl<K: Kind> Snapshot for Core<K, Reading> {
    fn open(&mut self) -> Result<()> {
        self.end();
        self.check_place()?;
        self.run("BEGIN DEFERRED", [])?;
        // SQLite begins the snapshot with the first read.
        let first = self.one(K::FIRST_READ, [], |_| Ok(()));
        self.loading.set(matches!(first, Ok(Some(()))));
        first.map(drop).inspect_err(|_| self.end())
    }

    fn release(&mut self) {
        self.end();
    }

    fn probe(&self) -> Result<Option<Box<dyn CommitVersion>>> {
        let Some(place) = &self.place else { return Ok(None) };
        Ok(Some(Box::new(DataVersion::open(place)?)))
    }
}
