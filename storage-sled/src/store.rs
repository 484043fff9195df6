//! sled as an ordered key-value store.

use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sled::{Db, IVec};
use storage_kit::Durability;
use storage_kit::kv::{Batch, OrderedKv, Visit};
use sync_core::error::{Error, ErrorKind, Result};

use crate::chunking::{self, SEGMENT_BYTES, Stored, cut, entry_key, key_of, piece_key};
use crate::config::SledConfig;
use crate::error::{self, contained, damaged};
use crate::folder::{self, LogFile};
use crate::snapshots;
use crate::watch::Watch;

/// How often opening checks whether the folder is free.
const LOOK: Duration = Duration::from_millis(10);

/// A folder of sled. Everything is in one tree.
///
/// It blocks, and it fail-stops: after a failed commit the state of sled is unknown, and every call
/// fails until the folder is opened again. Then the batch is stored whole or not at all.
pub struct SledKv {
    /// None only while it is being dropped.
    db: Option<Db>,
    watch: Option<Watch>,
    log: LogFile,
    folder: PathBuf,
    sync: bool,
    /// Whether values in pieces may exist. Without them nothing has to be read before a write.
    in_pieces: AtomicBool,
    failed: OnceLock<Error>,
}

impl fmt::Debug for SledKv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledKv")
            .field("folder", &self.folder)
            .field("failed", &self.failed.get())
            .finish_non_exhaustive()
    }
}

impl SledKv {
    /// Opens a folder; one that is missing or empty is created. Blocks while sled reads its data.
    ///
    /// # Errors
    /// `Busy` if another process, or another handle of this one, has it open and does not close it
    /// within [`lock_timeout`](SledConfig::lock_timeout). `Incompatible` if the folder belongs to
    /// another program (it is then left as it is), or the store is another program's, another
    /// version's, or damaged. `Storage` if it cannot be read or written, or a thread cannot be
    /// started.
    pub fn open(config: &SledConfig) -> Result<Self> {
        let folder = &config.path;
        folder::check(folder)?;
        let db = contained(|| open(config)).map_err(|e| during_open(e, folder))?;
        let watch = Watch::start(&db)?;
        let log = LogFile::open(folder, config.sync)?;
        let kv = Self {
            db: Some(db),
            watch: Some(watch),
            log,
            folder: folder.clone(),
            sync: config.sync,
            in_pieces: AtomicBool::new(false),
            failed: OnceLock::new(),
        };
        let db = kv.db()?;
        if db.tree_names().len() > 1 {
            let error = Error::new(ErrorKind::Incompatible, "another program keeps trees here");
            return Err(during_open(error, folder));
        }
        let piece = kv.ask("open", || db.scan_prefix(chunking::ALL_PIECES).next().transpose())?;
        kv.in_pieces.store(piece.is_some(), Ordering::Relaxed);
        Ok(kv)
    }

    /// Returns the store, unless it has failed.
    fn db(&self) -> Result<&Db> {
        match (self.failed.get(), &self.db) {
            (None, Some(db)) => Ok(db),
            (Some(error), _) => Err(error.clone()),
            (None, None) => Err(Error::new(ErrorKind::Closed, "this store is closed")),
        }
    }

    /// Calls sled, and converts its errors. A panic of sled stops the store.
    fn ask<T>(&self, operation: &'static str, ask: impl FnOnce() -> sled::Result<T>) -> Result<T> {
        let mut returned = false;
        let result = contained(|| {
            let answer = ask();
            returned = true;
            answer.map_err(|e| error::convert(operation, &self.folder, e))
        });
        match result {
            Err(panic) if !returned => Err(self.fail(panic.during(operation))),
            result => result,
        }
    }

    /// Records that the state is unknown, so that every later call fails.
    fn fail(&self, error: Error) -> Error {
        self.failed.get_or_init(|| error::stopped(error)).clone()
    }

    fn place(&self, db: &Db, key: &[u8]) -> Result<Option<IVec>> {
        self.ask("read", || db.get(key))
    }

    /// Returns the value of an entry from its stored form.
    fn value(&self, db: &Db, key: &[u8], stored: &[u8]) -> Result<Bytes> {
        let count = match self.parse(stored)? {
            Stored::Whole(value) => return Ok(Bytes::copy_from_slice(value)),
            Stored::Pieces(count) => count,
        };
        let mut value = Vec::new();
        for number in 0..count {
            match self.place(db, &piece_key(key, number))? {
                Some(piece) => value.extend_from_slice(&piece),
                None => return Err(self.on(damaged("a piece is missing"))),
            }
        }
        Ok(value.into())
    }

    fn parse<'a>(&self, stored: &'a [u8]) -> Result<Stored<'a>> {
        chunking::parse(stored).map_err(|e| self.on(e))
    }

    /// Names the folder in an error.
    fn on(&self, error: Error) -> Error {
        error.during("read").with("folder", self.folder.display())
    }

    /// Returns the number of pieces of an entry.
    fn pieces(&self, db: &Db, key: &[u8]) -> Result<u32> {
        match self.place(db, &entry_key(key))? {
            Some(stored) => match self.parse(&stored)? {
                Stored::Whole(_) => Ok(0),
                Stored::Pieces(count) => Ok(count),
            },
            None => Ok(0),
        }
    }

    /// Converts a batch into one of sled.
    fn prepare(&self, db: &Db, batch: Batch) -> Result<sled::Batch> {
        let (mut writes, mut head) = (sled::Batch::default(), Vec::new());
        // A batch has each key once, so its writes do not replace each other.
        let in_pieces = self.in_pieces.load(Ordering::Relaxed);
        for (key, value) in batch {
            let mut kept = 0;
            let before = if in_pieces { self.pieces(db, &key)? } else { 0 };
            match value {
                None => writes.remove(&*entry_key(&key)),
                Some(value) => {
                    let parts = cut(&value, &mut head);
                    writes.insert(&*entry_key(&key), &*head);
                    if !parts.is_empty() {
                        self.in_pieces.store(true, Ordering::Relaxed);
                    }
                    for part in parts {
                        writes.insert(piece_key(&key, kept), part);
                        kept += 1;
                    }
                }
            }
            for number in kept..before {
                writes.remove(piece_key(&key, number));
            }
        }
        Ok(writes)
    }

    fn write(&self, db: &Db, writes: sled::Batch, durability: Durability) -> Result<()> {
        self.ask("write", || db.apply_batch(writes))?;
        // Writes that sled has not flushed to its file are lost with the process.
        let flush = || self.ask("flush", || db.flush()).map(drop);
        match &self.watch {
            Some(watch) => watch.over(flush)?,
            None => flush()?,
        }
        match durability {
            Durability::Power if self.sync => self.log.sync(),
            _ => Ok(()),
        }
    }
}

impl Drop for SledKv {
    /// Releases the folder: when this returns, it can be opened again.
    fn drop(&mut self) {
        self.watch = None;
        let db = self.db.take();
        // sled writes what is left, and panics if that fails. Everything acknowledged is on the
        // disk already.
        let _ = contained(|| {
            drop(db);
            Ok(())
        });
        self.log.wait_until_free();
    }
}

impl OrderedKv for SledKv {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let db = self.db()?;
        let stored = self.place(db, &entry_key(key))?;
        stored.map(|stored| self.value(db, key, &stored)).transpose()
    }

    fn range(&self, start: &[u8], end: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        if start >= end {
            return Ok(());
        }
        let db = self.db()?;
        let mut entries = db.range(entry_key(start)..entry_key(end));
        while let Some((place, stored)) = self.ask("read", || entries.next().transpose())? {
            let key = key_of(&place).map_err(|e| self.on(e))?;
            let flow = match self.parse(&stored)? {
                Stored::Whole(value) => visit(key, value)?,
                Stored::Pieces(_) => visit(key, &self.value(db, key, &stored)?)?,
            };
            if flow == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn commit(&self, batch: Batch, durability: Durability) -> Result<()> {
        let db = self.db()?;
        let writes = self.prepare(db, batch)?;
        self.write(db, writes, durability).map_err(|e| self.fail(e))
    }
}

fn during_open(error: Error, folder: &Path) -> Error {
    match error.operation() {
        Some(_) => error,
        None => error.during("open").with("folder", folder.display()),
    }
}

fn open(config: &SledConfig) -> Result<Db> {
    let mut waited = Duration::ZERO;
    loop {
        snapshots::put_unfinished_aside(&config.path)?;
        // A configuration keeps the first error, so each attempt needs a new one.
        let attempt = sled::Config::new()
            .path(&config.path)
            .cache_capacity(config.cache_bytes)
            .segment_size(SEGMENT_BYTES)
            .flush_every_ms(config.tidy_every.map(milliseconds))
            .open();
        match attempt {
            Ok(db) => return Ok(db),
            Err(e) if error::is_locked(&e) && waited < config.lock_timeout => {
                std::thread::sleep(LOOK);
                waited += LOOK;
            }
            Err(e) => return Err(error::convert("open", &config.path, e)),
        }
    }
}

/// Returns the time in milliseconds, at least one and at most a day.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).clamp(1, 86_400_000)
}

/// Only where this crate syncs the file itself: elsewhere sled's own flush does.
#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use std::fs::File;
    use std::os::fd::OwnedFd;

    use super::*;

    /// Opens a store whose log is a pipe, which cannot be synced.
    fn unsyncable(folder: &Path, sync: bool) -> SledKv {
        let mut config = SledConfig::new(folder);
        config.sync = sync;
        let mut kv = SledKv::open(&config).unwrap();
        let (pipe, _) = std::io::pipe().unwrap();
        kv.log.stand_in(File::from(OwnedFd::from(pipe)));
        kv
    }

    fn put(kv: &SledKv, key: &'static str, durability: Durability) -> Result<()> {
        let key = key.as_bytes();
        kv.commit(vec![(key.into(), Some(Bytes::from_static(b"1")))], durability)
    }

    #[test]
    fn a_durable_commit_is_not_acknowledged_if_the_sync_fails() {
        let folder = tempfile::tempdir().unwrap();
        let kv = unsyncable(folder.path(), true);
        put(&kv, "a", Durability::Process).unwrap();
        let error = put(&kv, "b", Durability::Power).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Storage);
        assert!(error.report().to_string().contains("sync"), "{error}");
        // The state of the disk is unknown now.
        put(&kv, "c", Durability::Process).unwrap_err();
        kv.get(b"a").unwrap_err();
    }

    #[test]
    fn without_sync_a_commit_does_not_sync() {
        let folder = tempfile::tempdir().unwrap();
        let kv = unsyncable(folder.path(), false);
        put(&kv, "a", Durability::Power).unwrap();
    }
}
