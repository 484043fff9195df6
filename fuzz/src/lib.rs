//! What all fuzz targets share: a check of `verification::fuzz`, and a bound on the memory that it
//! takes.

use std::alloc::System;

use cap::Cap;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// What a check may allocate beside what its input is worth.
const BASE: usize = 8 << 20;
/// And for each byte of its input. The largest values have some 300 bytes in memory, and none is
/// written in less than one.
const PER_BYTE: usize = 512;

/// Runs a check within its memory bound: an allocation over the bound fails, and libFuzzer keeps
/// the input.
pub fn bounded(check: impl FnOnce(&[u8]), bytes: &[u8]) {
    let bound = ALLOCATOR.allocated() + BASE + PER_BYTE * bytes.len();
    // Refused only below what is allocated already.
    let _ = ALLOCATOR.set_limit(bound);
    check(bytes);
    let _ = ALLOCATOR.set_limit(usize::MAX);
}

/// Runs a check of links on a runtime of its own, whose time is paused.
pub fn paused(check: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    // A runtime on one thread that only waits for time asks the operating system for nothing that
    // it could refuse.
    if let Ok(runtime) = builder.enable_time().start_paused(true).build() {
        runtime.block_on(check);
    }
}

/// A fuzz target of a check.
#[macro_export]
macro_rules! target {
    ($check:expr) => {
        libfuzzer_sys::fuzz_target!(|bytes: &[u8]| $crate::bounded($check, bytes));
    };
}
