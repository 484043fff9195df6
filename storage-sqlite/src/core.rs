//! One connection, and its statements.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rusqlite::config::DbConfig;
use rusqlite::{CachedStatement, Connection, MAIN_DB, OpenFlags, Params, Row};
use sync_core::error::{Error, Result};

use crate::access;
use crate::binding::Found;
use crate::commit_watcher::Watch;
use crate::config::SqliteConfig;
use crate::error;
use crate::moved::Opened;
use crate::names::Names;
use crate::place::Place;
use crate::schema::{self, Kind};
pub use crate::transaction::{Reading, Writing};

/// One connection to a file (or to a database in memory) of that kind, for reading or for writing.
///
/// See [`SqliteReplicaWriter`](crate::SqliteReplicaWriter) and its siblings.
pub struct Core<K, A> {
    /// Detects the commits of other processes. Declared before the connection, so that its own
    /// connection closes first: the last one moves the log into the file and removes it, and none
    /// does if two close at once.
    pub(crate) watch: Option<Watch>,
    pub(crate) connection: Connection,
    pub(crate) names: RefCell<Names>,
    /// Where the file is; none for a database in memory.
    pub(crate) place: Option<Place>,
    /// The file that is open; none for a database in memory.
    pub(crate) opened: Option<Opened>,
    pub(crate) access: A,
    /// Whether the snapshot is of a replica that is being loaded.
    pub(crate) loading: Cell<bool>,
    /// Set by a reader that needs the index which is missing during a load; shared by the
    /// connections of one storage.
    pub(crate) wants_index: Arc<AtomicBool>,
    /// The error that made SQLite end the transaction by itself.
    pub(crate) lost: RefCell<Option<Error>>,
    kind: PhantomData<K>,
}

impl<K, A: fmt::Debug> fmt::Debug for Core<K, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("file", &self.file())
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

/// The number of prepared statements that a connection caches: more than exist, so that none is
/// prepared twice.
const STATEMENTS: usize = 64;

impl<K: Kind> Core<K, Writing> {
    /// Opens a file for writing, creates it if it is missing or empty, and migrates its tables.
    pub(crate) fn open_file(config: &SqliteConfig) -> Result<Self> {
        let place = Place::of(config)?;
        place.check::<K>()?;
        let connection = place.connect(OpenFlags::SQLITE_OPEN_CREATE)?;
        let writing = Writing::new(config.synchronous);
        let mut core = Self::around(connection, Some(place), writing);
        core.prepare(config).map_err(|e| core.on(e))?;
        core.note_opened()?;
        core.bind_log();
        Ok(core)
    }

    /// Opens a database in memory, which is lost when it is dropped.
    pub(crate) fn open_memory() -> Result<Self> {
        let opened = Connection::open_in_memory();
        let connection = opened.map_err(|e| error::convert("open", None, e))?;
        let core = Self::around(connection, None, Writing::new(Default::default()));
        core.keep_statements()?;
        schema::migrate::<K>(&core.connection, K::MIGRATIONS)?;
        Ok(core)
    }

    fn prepare(&mut self, config: &SqliteConfig) -> Result<()> {
        self.bound(config)?;
        self.access.patience = config.busy_timeout;
        self.access.load_from = config.load_from;
        // Removed data is overwritten, so that little is left of erased data.
        self.pragma("secure_delete", 1)?;
        // If the file turns out to belong to another program, closing it must not change it.
        self.checkpoint_on_close(false)?;
        schema::check::<K>(&self.connection)?;
        let log = self.check_log()?;
        if self.connection.is_readonly(MAIN_DB).map_err(|e| self.failed("open", e))? {
            return Err(access::read_only());
        }
        schema::migrate::<K>(&self.connection, K::MIGRATIONS)?;
        self.checkpoint_on_close(true)?;
        schema::use_write_ahead_log(&self.connection, config.busy_timeout)?;
        self.resolve_links();
        self.access
            .log
            .watch(&mut self.connection, config.checkpoint_pages)
            .map_err(|e| self.failed("set up", e))?;
        // The log shrinks again after a transaction that was larger than usual.
        self.pragma("journal_size_limit", i64::from(config.checkpoint_pages) * 2 * 4_096)?;
        self.set_max_page_count(config.max_page_count)?;
        if log == Found::Unknown {
            K::count_again(self)?;
        }
        Ok(())
    }

    /// Changes the most pages of 4 KiB that the file may grow to; `None` means no bound but the
    /// disk. The bound is never less than the current size of the file.
    ///
    /// # Errors
    /// `Storage`.
    pub fn set_max_page_count(&mut self, pages: Option<u32>) -> Result<()> {
        const NO_BOUND: u32 = u32::MAX - 1;
        self.pragma("max_page_count", i64::from(pages.unwrap_or(NO_BOUND)))
    }
}

impl<K: Kind> Core<K, Reading> {
    /// Opens an existing file for reading.
    pub(crate) fn open_file(config: &SqliteConfig) -> Result<Self> {
        let place = Place::of(config)?;
        place.check::<K>()?;
        let connection = place.connect(OpenFlags::empty())?;
        let mut core = Self::around(connection, Some(place), Reading);
        core.resolve_links();
        core.bound(config)?;
        core.pragma("query_only", 1)?;
        schema::check_current::<K>(&core.connection).map_err(|e| core.on(e))?;
        core.note_opened()?;
        Ok(core)
    }
}

impl<K, A> Core<K, A> {
    fn around(connection: Connection, place: Option<Place>, access: A) -> Self {
        let (names, loading, wants_index, lost) = Default::default();
        Self {
            watch: None,
            connection,
            names,
            place,
            opened: None,
            access,
            loading,
            wants_index,
            lost,
            kind: PhantomData,
        }
    }

    /// Returns the file, with all links resolved; none for a database in memory.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.place.as_ref().map(|place| &*place.path)
    }

    /// Resolves links, because two names of one file must lead to one lock.
    fn resolve_links(&mut self) {
        if let Some(path) = self.place.as_mut().and_then(Place::real)
            && let Ok(resolved) = std::fs::canonicalize(&*path)
        {
            *path = resolved;
        }
    }

    fn note_opened(&mut self) -> Result<()> {
        let path = self.place.as_ref().and_then(Place::lockable);
        self.opened = path.map(Opened::at).transpose()?;
        self.check_place()
    }

    pub(crate) fn checkpoint_on_close(&self, on: bool) -> Result<()> {
        self.configure(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, !on)
    }

    fn configure(&self, what: DbConfig, on: bool) -> Result<()> {
        let configured = self.connection.set_db_config(what, on);
        configured.map(drop).map_err(|e| self.failed("set up", e))
    }

    /// Prepares every statement once. By default SQLite plans a statement again whenever other
    /// values are bound to it, which made reading one document ten times slower.
    fn keep_statements(&self) -> Result<()> {
        self.connection.set_prepared_statement_cache_capacity(STATEMENTS);
        self.configure(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
    }

    /// Sets the bounds of a connection in time and memory.
    fn bound(&self, config: &SqliteConfig) -> Result<()> {
        self.keep_statements()?;
        self.connection.busy_timeout(config.busy_timeout).map_err(|e| self.failed("open", e))?;
        self.pragma("cache_size", -i64::from(config.cache_kib))
    }

    pub(crate) fn pragma(&self, name: &'static str, value: i64) -> Result<()> {
        // Some settings return their value and some do not.
        let ignore = |_: &Row<'_>| Ok(());
        self.connection.pragma_update_and_check(None, name, value, ignore).or_else(|e| match e {
            rusqlite::Error::QueryReturnedNoRows => Ok(()),
            e => Err(self.failed("set up", e)),
        })
    }

    pub(crate) fn failed(&self, operation: &'static str, error: rusqlite::Error) -> Error {
        let error = error::convert(operation, self.file(), error);
        if self.connection.is_autocommit() {
            self.lost.borrow_mut().get_or_insert_with(|| error.clone());
        }
        error
    }

    /// Adds the file to an error.
    pub(crate) fn on(&self, error: Error) -> Error {
        if error.context().any(|(name, _)| name == "file") {
            return error;
        }
        error::on(error, self.file())
    }

    /// Visits rows until the visitor returns `false`.
    pub(crate) fn each<T>(
        &self,
        sql: &'static str,
        params: impl Params,
        decode: impl Fn(&Row<'_>) -> Result<T>,
        mut visit: impl FnMut(T) -> Result<bool>,
    ) -> Result<()> {
        self.each_row(sql, params, |row| visit(decode(row).map_err(|e| self.on(e.during("read")))?))
    }

    /// As [`each`](Self::each), for visitors that do not decode every row.
    pub(crate) fn each_row(
        &self,
        sql: &'static str,
        params: impl Params,
        mut visit: impl FnMut(&Row<'_>) -> Result<bool>,
    ) -> Result<()> {
        let failed = |e| self.failed("read", e);
        let mut statement = self.connection.prepare_cached(sql).map_err(failed)?;
        let mut rows = statement.query(params).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            if !visit(row)? {
                break;
            }
        }
        Ok(())
    }

    /// Returns the first row, if there is one.
    pub(crate) fn one<T>(
        &self,
        sql: &'static str,
        params: impl Params,
        decode: impl Fn(&Row<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        let mut found = None;
        self.each(sql, params, decode, |item| {
            found = Some(item);
            Ok(false)
        })?;
        Ok(found)
    }

    /// Returns all rows. The statement bounds their number.
    pub(crate) fn many<T>(
        &self,
        sql: &'static str,
        params: impl Params,
        decode: impl Fn(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut all = Vec::new();
        self.each(sql, params, decode, |item| {
            all.push(item);
            Ok(true)
        })?;
        Ok(all)
    }

    /// Returns a prepared statement, which costs nothing to run again as long as it is held.
    pub(crate) fn prepare_cached(&self, sql: &'static str) -> Result<CachedStatement<'_>> {
        self.connection.prepare_cached(sql).map_err(|e| self.failed("write", e))
    }

    /// Runs a statement that writes, and returns the number of rows.
    pub(crate) fn run(&self, sql: &'static str, params: impl Params) -> Result<usize> {
        let statement = self.connection.prepare_cached(sql);
        statement.and_then(|mut s| s.execute(params)).map_err(|e| self.failed("write", e))
    }

    /// Inserts one row, and returns its number.
    pub(crate) fn insert(&self, sql: &'static str, params: impl Params) -> Result<i64> {
        let statement = self.connection.prepare_cached(sql);
        statement.and_then(|mut s| s.insert(params)).map_err(|e| self.failed("write", e))
    }
}
