//! The common part of all fuzz targets: a check of `verification::fuzz`, and a bound on its memory.

use std::alloc::System;

use cap::Cap;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// The bytes that a check may allocate, whatever its input.
const BASE: usize = 8 << 20;
/// The bytes that it may allocate for each byte of input. The largest values take some 300 bytes in
/// memory, and none is encoded in less than one.
const PER_BYTE: usize = 512;

/// Runs a check within its memory bound: an allocation over the bound fails, and libFuzzer keeps
/// the input.
pub fn bounded(check: impl FnOnce(&[u8]), bytes: &[u8]) {
    let bound = ALLOCATOR.allocated() + BASE + PER_BYTE * bytes.len();
    // Fails only for a limit below what is allocated already.
    let _ = ALLOCATOR.set_limit(bound);
    check(bytes);
    let _ = ALLOCATOR.set_limit(usize::MAX);
}

/// Runs a check of links on a separate runtime, whose time is paused.
pub fn paused(check: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    // Waiting for time on one thread needs nothing that the operating system could refuse.
    if let Ok(runtime) = builder.enable_time().start_paused(true).build() {
        runtime.block_on(check);
    }
}

/// Defines a fuzz target that runs a check.
#[macro_export]
macro_rules! target {
    ($check:expr) => {
        libfuzzer_sys::fuzz_target!(|bytes: &[u8]| $crate::bounded($check, bytes));
    };
}
