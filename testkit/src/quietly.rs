//! Jobs that may panic.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Suppresses the messages of panics on this thread, which are expected, or prints them again.
/// Panics of other threads are printed as before.
pub(crate) fn be_quiet(quiet: bool) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
    QUIET.set(quiet);
}

/// Runs a job that may panic, without output on standard error.
///
/// # Errors
/// The message of the panic.
pub fn quietly<T>(job: impl FnOnce() -> T) -> Result<T, String> {
    be_quiet(true);
    let result = catch_unwind(AssertUnwindSafe(job));
    be_quiet(false);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default()
    })
}
