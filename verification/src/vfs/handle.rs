//! An open file: the operations that SQLite requests, in safe Rust.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rusqlite::ffi;

use super::Code;
use super::contents::{DiskChange, Inode};
use super::disk::{DEAD, Shared, State};
use super::faults::Asked;
use super::locks::{HandleId, Locks, SharedMemory};

/// An open file.
#[derive(Debug)]
pub(super) enum Handle {
    /// A temporary file of SQLite, which is visible to no other connection and is removed when it
    /// is closed.
    Temporary(Vec<u8>),
    Named(Named),
}

/// An open file that has a name.
#[derive(Debug)]
pub(super) struct Named {
    disk: Arc<Shared>,
    inode: Inode,
    id: HandleId,
    life: u64,
    /// Whether its first sync also syncs the folder.
    sync_folder: bool,
    memory: Option<Arc<SharedMemory>>,
    /// The name to remove when it is closed.
    delete: Option<String>,
}

impl Handle {
    /// Opens a file, or creates it if the flags request it. Without a path it is a temporary file.
    pub(super) fn open(path: Option<&str>, flags: Code) -> Result<Self, Code> {
        let Some(path) = path else { return Ok(Self::Temporary(Vec::new())) };
        let (disk, name) = Shared::of(path).ok_or(ffi::SQLITE_CANTOPEN)?;
        let mut state = disk.state();
        state.faults.meet(Asked::Open)?;
        let create = flags & ffi::SQLITE_OPEN_CREATE != 0;
        if create && state.contents.find(name).is_none() {
            state.change(DiskChange::Create { name: name.to_owned() });
        }
        let inode = state.contents.find(name).ok_or(ffi::SQLITE_CANTOPEN)?;
        state.last_handle += 1;
        let journals =
            ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL | ffi::SQLITE_OPEN_WAL;
        let delete = flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0;
        let named = Named {
            inode,
            id: state.last_handle,
            life: state.life,
            // SQLite's VFS on Unix does the same.
            sync_folder: create && flags & journals != 0,
            memory: None,
            delete: delete.then(|| name.to_owned()),
            disk: Arc::clone(&disk),
        };
        Ok(Self::Named(named))
    }

    /// Fills the buffer from an offset. Bytes after the end are zero, which the result shows.
    pub(super) fn read(&mut self, at: usize, buffer: &mut [u8]) -> Result<(), Code> {
        let copy = |bytes: &[u8], buffer: &mut [u8]| {
            let there = bytes.get(at..).unwrap_or_default();
            let len = there.len().min(buffer.len());
            buffer[..len].copy_from_slice(&there[..len]);
            buffer[len..].fill(0);
            if len < buffer.len() { Err(ffi::SQLITE_IOERR_SHORT_READ) } else { Ok(()) }
        };
        match self {
            Self::Temporary(bytes) => copy(bytes, buffer),
            Self::Named(named) => named.alive(|named, state| {
                state.faults.meet(Asked::Read)?;
                copy(state.contents.bytes(named.inode), buffer)
            }),
        }
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) -> Result<(), Code> {
        match self {
            Self::Temporary(file) => {
                if file.len() < at + bytes.len() {
                    file.resize(at + bytes.len(), 0);
                }
                file[at..at + bytes.len()].copy_from_slice(bytes);
                Ok(())
            }
            Self::Named(named) => named.alive(|named, state| named.write(state, at, bytes)),
        }
    }

    pub(super) fn truncate(&mut self, len: usize) -> Result<(), Code> {
        match self {
            Self::Temporary(file) => {
                file.resize(len, 0);
                Ok(())
            }
            Self::Named(named) => named.alive(|named, state| {
                state.faults.meet(Asked::Truncate)?;
                state.change(DiskChange::Truncate { inode: named.inode, len });
                Ok(())
            }),
        }
    }

    pub(super) fn sync(&mut self) -> Result<(), Code> {
        let Self::Named(named) = self else { return Ok(()) };
        named.alive(|named, state| {
            state.faults.meet(Asked::Sync)?;
            if !state.faults.ignore_syncs {
                let folder = std::mem::take(&mut named.sync_folder);
                state.change(DiskChange::Sync { inode: named.inode, folder });
            }
            Ok(())
        })
    }

    pub(super) fn size(&mut self) -> Result<usize, Code> {
        match self {
            Self::Temporary(file) => Ok(file.len()),
            Self::Named(named) => named.alive(|named, state| {
                state.faults.meet(Asked::Size)?;
                Ok(state.contents.bytes(named.inode).len())
            }),
        }
    }

    /// Returns the size of the units in which the disk writes.
    pub(super) fn sector(&self) -> usize {
        match self {
            Self::Temporary(_) => 4_096,
            Self::Named(named) => named.disk.state().sector,
        }
    }

    // ---- other connections

    pub(super) fn lock(&mut self, level: Code) -> Result<(), Code> {
        self.locks(|id, locks| locks.raise(id, level))
    }

    pub(super) fn unlock(&mut self, level: Code) -> Result<(), Code> {
        self.locks(|id, locks| {
            locks.lower(id, level);
            Ok(())
        })
    }

    pub(super) fn is_reserved(&mut self) -> Result<bool, Code> {
        self.locks(|_, locks| Ok(locks.is_reserved()))
    }

    /// Returns where a region of the shared memory begins.
    pub(super) fn memory(
        &mut self,
        region: usize,
        size: usize,
        make: bool,
    ) -> Result<Option<*const AtomicU64>, Code> {
        let Self::Named(named) = self else { return Err(DEAD) };
        named.alive(|named, state| {
            let locks = state.locks.entry(named.inode).or_default();
            let memory = named.memory.get_or_insert_with(|| Arc::clone(&locks.memory));
            Ok(memory.region(region, size, make))
        })
    }

    pub(super) fn memory_slots(&mut self, first: u32, count: u32, flags: Code) -> Result<(), Code> {
        let mask = ((1 << count) - 1) << first;
        self.locks(|id, locks| locks.slots(id, mask, flags))
    }

    pub(super) fn leave_memory(&mut self) {
        let Self::Named(named) = self else { return };
        named.memory = None;
        // A dead connection holds no lock any more.
        let _ = self.locks(|id, locks| {
            locks.leave_memory(id);
            Ok(())
        });
    }

    fn locks<T>(
        &mut self,
        job: impl FnOnce(HandleId, &mut Locks) -> Result<T, Code>,
    ) -> Result<T, Code> {
        let Self::Named(named) = self else { return Err(DEAD) };
        named.alive(|named, state| job(named.id, state.locks.entry(named.inode).or_default()))
    }
}

impl Named {
    /// Runs an operation, unless the process or the machine has ended since the file was opened.
    fn alive<T>(
        &mut self,
        job: impl FnOnce(&mut Self, &mut State) -> Result<T, Code>,
    ) -> Result<T, Code> {
        let disk = Arc::clone(&self.disk);
        let mut state = disk.state();
        if state.life != self.life {
            return Err(DEAD);
        }
        job(self, &mut state)
    }

    fn write(&self, state: &mut State, at: usize, bytes: &[u8]) -> Result<(), Code> {
        let write = |bytes: &[u8]| DiskChange::Write { inode: self.inode, at, bytes: bytes.into() };
        if let Err(code) = state.faults.meet(Asked::Write) {
            state.change(write(&bytes[..bytes.len() / 2]));
            return Err(code);
        }
        let grown = (at + bytes.len()).saturating_sub(state.contents.bytes(self.inode).len());
        if grown > 0 {
            let len = state.contents.len() + grown;
            state.faults.fit(len)?;
        }
        state.change(write(bytes));
        Ok(())
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        self.memory = None;
        let delete = self.delete.take();
        // A dead connection holds no lock any more.
        let _ = self.alive(|named, state| {
            if let Some(locks) = state.locks.get_mut(&named.inode) {
                locks.leave(named.id);
            }
            if let Some(name) = delete {
                state.change(DiskChange::Delete { name, folder: false });
            }
            Ok(())
        });
    }
}

/// Removes a file's name.
pub(super) fn delete(path: &str, folder: bool) -> Result<(), Code> {
    let (disk, name) = Shared::of(path).ok_or(ffi::SQLITE_IOERR_DELETE)?;
    let mut state = disk.state();
    state.faults.meet(Asked::Delete)?;
    if state.contents.find(name).is_none() {
        return Err(ffi::SQLITE_IOERR_DELETE_NOENT);
    }
    let folder = folder && !state.faults.ignore_syncs;
    state.change(DiskChange::Delete { name: name.to_owned(), folder });
    Ok(())
}

/// Returns whether a file exists. Empty journals and logs do not count, as on Unix.
pub(super) fn is_there(path: &str, exists_only: bool) -> Result<bool, Code> {
    let (disk, name) = Shared::of(path).ok_or(ffi::SQLITE_IOERR_ACCESS)?;
    let mut state = disk.state();
    state.faults.meet(Asked::Access)?;
    let found = state.contents.find(name);
    Ok(found.is_some_and(|inode| !exists_only || !state.contents.bytes(inode).is_empty()))
}
