//! The disk as a test holds it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::Code;
use super::contents::{Change, Contents, Inode, Loss};
use super::faults::Faults;
use super::locks::{HandleId, Locks};
use super::recording::{Moment, Recording};

/// What all paths on simulated disks begin with.
const ROOT: &str = "/simulated/";

/// All disks that are held, by number: SQLite opens files by name, in one list of file systems for
/// the whole process.
static DISKS: Mutex<Disks> = Mutex::new(Disks { last: 0, held: BTreeMap::new() });

struct Disks {
    last: u64,
    held: BTreeMap<u64, Weak<Shared>>,
}

fn disks() -> MutexGuard<'static, Disks> {
    DISKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A disk with the files of one database. Clones are the same disk; it is gone with the last of
/// them and the last connection.
#[derive(Clone, Debug)]
pub struct SimDisk(pub(super) Arc<Shared>);

/// A disk, and its number.
#[derive(Debug)]
pub(super) struct Shared {
    number: u64,
    state: Mutex<State>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        disks().held.remove(&self.number);
    }
}

/// Everything about a disk.
#[derive(Debug)]
pub(super) struct State {
    pub(super) contents: Contents,
    pub(super) faults: Faults,
    pub(super) locks: BTreeMap<Inode, Locks>,
    pub(super) sector: usize,
    /// Which life of the machine it is: handles of an earlier one are dead.
    pub(super) life: u64,
    pub(super) last_handle: HandleId,
    changes: u64,
    recording: Option<Recording>,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk of a path, and the name of the file on it.
    pub(super) fn of(path: &str) -> Option<(Arc<Self>, &str)> {
        let (number, name) = path.strip_prefix(ROOT)?.split_once('/')?;
        let held = disks().held.get(&number.parse().ok()?)?.upgrade()?;
        Some((held, name))
    }
}

impl State {
    /// Carries a change out.
    pub(super) fn change(&mut self, change: Change) {
        self.changes += 1;
        self.contents.begin(&change);
        self.contents.finish(&change);
        if let Some(recording) = &mut self.recording {
            recording.changes.push(change);
        }
    }

    fn end_life(&mut self) {
        self.life += 1;
        self.locks.clear();
    }
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl SimDisk {
    /// An empty disk with sectors of 4,096 bytes.
    #[must_use]
    pub fn new() -> Self {
        Self::with_sector(4_096)
    }

    /// An empty disk with sectors of that many bytes, 512 to 65,536.
    #[must_use]
    pub fn with_sector(bytes: usize) -> Self {
        Self::holding(Contents::default(), bytes.clamp(512, 65_536))
    }

    pub(super) fn holding(contents: Contents, sector: usize) -> Self {
        let (faults, locks) = Default::default();
        let state = State {
            contents,
            faults,
            locks,
            sector,
            life: 0,
            last_handle: 0,
            changes: 0,
            recording: None,
        };
        let mut disks = disks();
        disks.last += 1;
        let number = disks.last;
        let shared = Arc::new(Shared { number, state: Mutex::new(state) });
        disks.held.insert(number, Arc::downgrade(&shared));
        Self(shared)
    }

    /// The path under which SQLite finds a file on this disk, through the VFS [`VFS`](super::VFS).
    /// It is made known to SQLite here.
    ///
    /// # Panics
    /// If SQLite refuses to take the VFS.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        super::ffi::register();
        PathBuf::from(format!("{ROOT}{}/{name}", self.0.number))
    }

    /// A disk of its own with the same files, all synced. What is written meanwhile may be there in
    /// part.
    #[must_use]
    pub fn copy(&self) -> Self {
        let state = self.0.state();
        let (mut contents, sector) = (state.contents.clone(), state.sector);
        drop(state);
        contents.sync_all();
        Self::holding(contents, sector)
    }

    // ---- what happened

    /// Operations so far, reads included. They are numbered from 0.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.0.state().faults.operations
    }

    /// Of those, what changed the disk: files that were made and deleted, writes, truncations and
    /// syncs.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.0.state().changes
    }

    /// Operations that were made to fail.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.0.state().faults.failed
    }

    /// Bytes of all files.
    #[must_use]
    pub fn used(&self) -> usize {
        self.0.state().contents.len()
    }

    /// Whether any connection has a file open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Writes down every change from now on.
    pub fn record(&self) {
        let mut state = self.0.state();
        state.recording = Some(Recording::new(state.contents.clone(), state.sector));
    }

    /// What was written down; empty if nothing was to be.
    #[must_use]
    pub fn take_recording(&self) -> Recording {
        self.0.state().recording.take().unwrap_or_default()
    }

    /// The disk as it is now, for a power failure that it does not notice itself.
    #[must_use]
    pub fn moment(&self) -> Moment {
        let state = self.0.state();
        Moment::new(state.changes as usize, state.contents.clone(), state.sector)
    }

    // ---- what goes wrong

    /// These operations fail, by their [numbers](Self::operations). Of a write that fails a part
    /// may be there.
    pub fn fail(&self, operations: Range<u64>) {
        self.0.state().faults.failing = operations;
    }

    /// So many of the next writes fail.
    pub fn fail_writes(&self, count: u32) {
        self.0.state().faults.failing_writes = count;
    }

    /// How many bytes all files together may have; none for any. What does not fit fails as on a
    /// full disk.
    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.0.state().faults.capacity = bytes;
    }

    /// Whether syncs do nothing and say that they did, as some hardware does.
    pub fn ignore_syncs(&self, ignore: bool) {
        self.0.state().faults.ignore_syncs = ignore;
    }

    /// Nothing fails any more, and there is room.
    pub fn mend(&self) {
        let mut state = self.0.state();
        state.faults.failing = 0..0;
        state.faults.failing_writes = 0;
        state.faults.capacity = None;
    }

    /// The process ends without warning. Everything it wrote is there; its connections can do
    /// nothing any more.
    pub fn kill(&self) {
        self.0.state().end_life();
    }

    /// The power fails. Of what was not synced the salt decides how much is there: nothing if its
    /// remainder by 8 is 0, all if it is 1, otherwise some of it, sector by sector. Connections can
    /// do nothing any more.
    pub fn lose_power(&self, salt: u64) -> Loss {
        let mut state = self.0.state();
        state.end_life();
        let sector = state.sector;
        state.contents.lose_power(sector, salt)
    }
}

/// The code for what a dead connection asks.
pub(super) const DEAD: Code = rusqlite::ffi::SQLITE_IOERR;
