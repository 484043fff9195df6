//! Panics that are expected, and make no noise.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

static HOOK: Once = Once::new();

/// Whether that panics. What the panic of this thread says is not printed; those of other threads are.
pub(super) fn fails(what: impl FnOnce()) -> bool {
    HOOK.call_once(|| {
        let previous = take_hook();
        set_hook(Box::new(move |info| {
            if !EXPECTED.get() {
                previous(info);
            }
        }));
    });
    EXPECTED.set(true);
    let failed = catch_unwind(AssertUnwindSafe(what)).is_err();
    EXPECTED.set(false);
    failed
}
