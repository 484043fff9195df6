//! The table of functions through which SQLite calls, and nothing else. All decisions are in
//! [`Handle`](super::handle::Handle), in safe Rust.
//!
//! The safety of this module rests on one assumption: SQLite calls a VFS as its documentation
//! states. Pointers to results are valid; buffers have the stated length; one file is used by one
//! thread at a time, between a successful `xOpen` and its `xClose`, which is the last call. No
//! function here panics, and none of them calls SQLite.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use rusqlite::ffi::{self, sqlite3_file, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs};

use super::Code;
use super::handle::{self, Handle};

/// The name by which SQLite knows the VFS of simulated disks.
pub const VFS: &str = "twotide-simulated";

const NAME: &CStr = c"twotide-simulated";

/// An open file in SQLite's form. SQLite allocates it and passes it to `open`.
#[repr(C)]
struct File {
    base: sqlite3_file,
    /// From `Box::into_raw` in `open` until `close`.
    handle: *mut Handle,
}

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// Registers the VFS with SQLite, once in a process and permanently.
pub(super) fn register() {
    static REGISTERED: OnceLock<Code> = OnceLock::new();
    let code = REGISTERED.get_or_init(|| {
        let vfs = sqlite3_vfs {
            iVersion: 1,
            szOsFile: size_of::<File>() as c_int,
            mxPathname: 512,
            pNext: std::ptr::null_mut(),
            zName: NAME.as_ptr(),
            pAppData: std::ptr::null_mut(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_pathname),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(randomness),
            xSleep: Some(sleep),
            xCurrentTime: Some(current_time),
            xGetLastError: None,
            xCurrentTimeInt64: None,
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        };
        // SAFETY: the table is leaked, so that it stays where it is for as long as SQLite may use
        // it, and its name is a constant. Registering is safe from any thread, and initialises
        // SQLite if that has not happened yet.
        unsafe { ffi::sqlite3_vfs_register(Box::leak(Box::new(vfs)), 0) }
    });
    assert_eq!(*code, ffi::SQLITE_OK, "SQLite does not take the VFS of simulated disks");
}

fn code(result: Result<(), Code>) -> Code {
    result.err().unwrap_or(ffi::SQLITE_OK)
}

/// Converts an offset or a length in a file, which SQLite never passes as negative.
fn place(n: sqlite3_int64) -> usize {
    usize::try_from(n).unwrap_or(0)
}

fn len(n: c_int) -> usize {
    usize::try_from(n).unwrap_or(0)
}

/// Returns the text behind a pointer; none for a null pointer or for what is not UTF-8.
///
/// # Safety
/// The pointer is null or leads to bytes that end with a zero and outlive the text.
unsafe fn text<'a>(pointer: *const c_char) -> Option<&'a str> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(pointer) }.to_str().ok()
}

/// Returns the handle of an open file.
///
/// # Safety
/// The file was opened by [`open`] and not closed, and no other reference to it exists while this
/// one does.
unsafe fn handle<'a>(file: *mut sqlite3_file) -> &'a mut Handle {
    // SAFETY: `open` filled it with a `File`, whose handle is a box that only `close` frees; as the
    // caller promises, this is the only reference.
    unsafe { &mut *(*file.cast::<File>()).handle }
}

/// Writes a result to where SQLite expects it.
///
/// # Safety
/// The pointer is valid for writing.
unsafe fn answer<T>(to: *mut T, result: Result<T, Code>) -> Code {
    match result {
        Ok(value) => {
            // SAFETY: as the caller promises.
            unsafe { to.write(value) };
            ffi::SQLITE_OK
        }
        Err(code) => code,
    }
}

// SAFETY of every block below: only SQLite calls the functions, through the two tables, and their
// arguments are as the documentation of this module states.

unsafe extern "C" fn open(
    _: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: the name is null or a string.
    let opened = Handle::open(unsafe { text(name) }, flags);
    let (methods, handle, code) = match opened {
        Ok(handle) => (&raw const METHODS, Box::into_raw(Box::new(handle)), ffi::SQLITE_OK),
        // Without methods SQLite does not call `close`.
        Err(code) => (std::ptr::null(), std::ptr::null_mut(), code),
    };
    let opened = File { base: sqlite3_file { pMethods: methods }, handle };
    // SAFETY: there is room for `szOsFile` bytes, aligned for pointers; the flags may be unwanted.
    unsafe {
        file.cast::<File>().write(opened);
        if !out_flags.is_null() {
            out_flags.write(flags);
        }
    }
    code
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: the box is the one that `open` leaked, and this is the last call for this file.
    drop(unsafe { Box::from_raw((*file.cast::<File>()).handle) });
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(
    file: *mut sqlite3_file,
    to: *mut c_void,
    amount: c_int,
    at: sqlite3_int64,
) -> c_int {
    let to = to.cast::<u8>();
    // SAFETY: the buffer has that many bytes and is SQLite's own; they are initialised first,
    // because a slice must be.
    let (handle, buffer) = unsafe {
        to.write_bytes(0, len(amount));
        (handle(file), std::slice::from_raw_parts_mut(to, len(amount)))
    };
    code(handle.read(place(at), buffer))
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    from: *const c_void,
    amount: c_int,
    at: sqlite3_int64,
) -> c_int {
    // SAFETY: the buffer has that many bytes, and is not written to meanwhile.
    let (handle, bytes) =
        unsafe { (handle(file), std::slice::from_raw_parts(from.cast::<u8>(), len(amount))) };
    code(handle.write(place(at), bytes))
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: sqlite3_int64) -> c_int {
    // SAFETY: the file is open.
    code(unsafe { handle(file) }.truncate(place(size)))
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, _: c_int) -> c_int {
    // SAFETY: the file is open.
    code(unsafe { handle(file) }.sync())
}

unsafe extern "C" fn file_size(file: *mut sqlite3_file, size: *mut sqlite3_int64) -> c_int {
    // SAFETY: the file is open, and the result has a place.
    unsafe { answer(size, handle(file).size().map(|n| n as sqlite3_int64)) }
}

unsafe extern "C" fn lock(file: *mut sqlite3_file, level: c_int) -> c_int {
    // SAFETY: the file is open.
    code(unsafe { handle(file) }.lock(level))
}

unsafe extern "C" fn unlock(file: *mut sqlite3_file, level: c_int) -> c_int {
    // SAFETY: the file is open.
    code(unsafe { handle(file) }.unlock(level))
}

unsafe extern "C" fn check_reserved(file: *mut sqlite3_file, held: *mut c_int) -> c_int {
    // SAFETY: the file is open, and the result has a place.
    unsafe { answer(held, handle(file).is_reserved().map(c_int::from)) }
}

unsafe extern "C" fn file_control(_: *mut sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(file: *mut sqlite3_file) -> c_int {
    // SAFETY: the file is open.
    unsafe { handle(file) }.sector() as c_int
}

unsafe extern "C" fn characteristics(_: *mut sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn shm_map(
    file: *mut sqlite3_file,
    region: c_int,
    size: c_int,
    make: c_int,
    to: *mut *mut c_void,
) -> c_int {
    // SAFETY: the file is open, and the result has a place. The region stays until the handle
    // leaves it, in `shm_unmap` or `close`; SQLite does not use it after that. It is made of
    // atomics, so it may change behind shared references.
    unsafe {
        let found = handle(file).memory(len(region), len(size), make != 0);
        answer(to, found.map(|p| p.map_or(std::ptr::null_mut(), |p| p.cast_mut().cast())))
    }
}

unsafe extern "C" fn shm_lock(
    file: *mut sqlite3_file,
    first: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    // SAFETY: the file is open.
    code(unsafe { handle(file) }.memory_slots(first.unsigned_abs(), count.unsigned_abs(), flags))
}

unsafe extern "C" fn shm_barrier(_: *mut sqlite3_file) {
    fence(Ordering::SeqCst);
}

unsafe extern "C" fn shm_unmap(file: *mut sqlite3_file, _: c_int) -> c_int {
    // SAFETY: the file is open.
    unsafe { handle(file) }.leave_memory();
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(_: *mut sqlite3_vfs, name: *const c_char, folder: c_int) -> c_int {
    // SAFETY: the name is a string.
    let name = unsafe { text(name) }.unwrap_or_default();
    code(handle::delete(name, folder != 0))
}

unsafe extern "C" fn access(
    _: *mut sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    there: *mut c_int,
) -> c_int {
    // SAFETY: the name is a string, and the result has a place.
    unsafe {
        let found =
            handle::is_there(text(name).unwrap_or_default(), flags == ffi::SQLITE_ACCESS_EXISTS);
        answer(there, found.map(c_int::from))
    }
}

unsafe extern "C" fn full_pathname(
    _: *mut sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    to: *mut c_char,
) -> c_int {
    // SAFETY: the name is a string, and there is room for that many bytes; not more are written,
    // the zero included.
    unsafe {
        let bytes = CStr::from_ptr(name).to_bytes_with_nul();
        if bytes.len() > len(room) {
            return ffi::SQLITE_CANTOPEN;
        }
        to.copy_from_nonoverlapping(bytes.as_ptr().cast(), bytes.len());
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn randomness(_: *mut sqlite3_vfs, amount: c_int, to: *mut c_char) -> c_int {
    // SAFETY: there is room for that many bytes. SQLite takes its seed from the default VFS;
    // nothing here is drawn.
    unsafe { to.write_bytes(0, len(amount)) };
    amount
}

unsafe extern "C" fn sleep(_: *mut sqlite3_vfs, micros: c_int) -> c_int {
    std::thread::sleep(Duration::from_micros(u64::from(micros.unsigned_abs())));
    micros
}

unsafe extern "C" fn current_time(_: *mut sqlite3_vfs, now: *mut f64) -> c_int {
    // SAFETY: the result has a place. The time is constant: the Julian day of 1 January 2026.
    unsafe { now.write(2_461_041.5) };
    ffi::SQLITE_OK
}
