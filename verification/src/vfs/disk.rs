//! The disk, as tests use it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::Code;
use super::contents::{Contents, DiskChange, Inode, Loss};
use super::faults::Faults;
use super::locks::{HandleId, Locks};
use super::recording::{DiskRecording, PowerCut};

/// The prefix of all paths on simulated disks.
const ROOT: &str = "/simulated/";

/// All existing disks, by number: SQLite opens files by name, in one list of file systems for the
/// whole process.
static DISKS: Mutex<Disks> = Mutex::new(Disks { last: 0, held: BTreeMap::new() });

struct Disks {
    last: u64,
    held: BTreeMap<u64, Weak<Shared>>,
}

fn disks() -> MutexGuard<'static, Disks> {
    DISKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A disk with the files of one database. Clones are the same disk. It is removed with the last
/// clone and the last connection.
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

/// The state of a disk.
#[derive(Debug)]
pub(super) struct State {
    pub(super) contents: Contents,
    pub(super) faults: Faults,
    pub(super) locks: BTreeMap<Inode, Locks>,
    pub(super) sector: usize,
    /// The number of restarts of the machine: handles of an earlier run are dead.
    pub(super) life: u64,
    pub(super) last_handle: HandleId,
    changes: u64,
    recording: Option<DiskRecording>,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the disk of a path, and the name of the file on it.
    pub(super) fn of(path: &str) -> Option<(Arc<Self>, &str)> {
        let (number, name) = path.strip_prefix(ROOT)?.split_once('/')?;
        let held = disks().held.get(&number.parse().ok()?)?.upgrade()?;
        Some((held, name))
    }
}

impl State {
    /// Applies a change.
    pub(super) fn change(&mut self, change: DiskChange) {
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
    /// Makes an empty disk with sectors of 4,096 bytes.
    #[must_use]
    pub fn new() -> Self {
        Self::with_sector(4_096)
    }

    /// Makes an empty disk with sectors of that many bytes, 512 to 65,536.
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

    /// Returns the path under which SQLite finds a file on this disk, through the VFS
    /// [`VFS`](super::VFS), and registers the VFS with SQLite.
    ///
    /// # Panics
    /// If SQLite refuses to take the VFS.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        super::ffi::register();
        PathBuf::from(format!("{ROOT}{}/{name}", self.0.number))
    }

    /// Copies the disk with the same files, all synced. A write in progress may be there in part.
    #[must_use]
    pub fn copy(&self) -> Self {
        let state = self.0.state();
        let (mut contents, sector) = (state.contents.clone(), state.sector);
        drop(state);
        contents.sync_all();
        Self::holding(contents, sector)
    }

    // ---- observations

    /// Returns the number of operations so far, reads included. They are numbered from 0.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.0.state().faults.operations
    }

    /// Returns the number of changes among the operations: files that were made and deleted,
    /// writes, truncations and syncs.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.0.state().changes
    }

    /// Returns the number of operations that were made to fail.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.0.state().faults.failed
    }

    /// Returns the bytes of all files.
    #[must_use]
    pub fn used(&self) -> usize {
        self.0.state().contents.len()
    }

    /// Returns whether any connection has a file open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Records every change from now on.
    pub fn record(&self) {
        let mut state = self.0.state();
        state.recording = Some(DiskRecording::new(state.contents.clone(), state.sector));
    }

    /// Returns the recorded changes; empty if none were to be recorded.
    #[must_use]
    pub fn take_recording(&self) -> DiskRecording {
        self.0.state().recording.take().unwrap_or_default()
    }

    /// Returns the disk at this moment, to compute a power failure that does not affect the disk
    /// itself.
    #[must_use]
    pub fn moment(&self) -> PowerCut {
        let state = self.0.state();
        PowerCut::new(state.changes as usize, state.contents.clone(), state.sector)
    }

    // ---- faults

    /// Makes these operations fail, by their [numbers](Self::operations). Of a failed write a part
    /// may be there.
    pub fn fail(&self, operations: Range<u64>) {
        self.0.state().faults.failing = operations;
    }

    /// Makes that many of the next writes fail.
    pub fn fail_writes(&self, count: u32) {
        self.0.state().faults.failing_writes = count;
    }

    /// Sets how many bytes all files together may have; none for no bound. A write that does not
    /// fit fails as on a full disk.
    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.0.state().faults.capacity = bytes;
    }

    /// Sets whether syncs do nothing and report success, as some hardware does.
    pub fn ignore_syncs(&self, ignore: bool) {
        self.0.state().faults.ignore_syncs = ignore;
    }

    /// Ends all failures, and removes the capacity bound.
    pub fn mend(&self) {
        let mut state = self.0.state();
        state.faults.failing = 0..0;
        state.faults.failing_writes = 0;
        state.faults.capacity = None;
    }

    /// Ends the process without warning. Everything that it wrote is kept; its connections fail
    /// from now on.
    pub fn kill(&self) {
        self.0.state().end_life();
    }

    /// Simulates a power failure. The salt decides how much is left of unsynced changes: nothing if
    /// its remainder by 8 is 0, everything if it is 1, otherwise some of it, sector by sector.
    /// Connections fail from now on.
    pub fn lose_power(&self, salt: u64) -> Loss {
        let mut state = self.0.state();
        state.end_life();
        let sector = state.sector;
        state.contents.lose_power(sector, salt)
    }
}

/// The error code for every call of a dead connection.
pub(super) const DEAD: Code = rusqlite::ffi::SQLITE_IOERR;
