//! The examples run to their end. Each of them checks its results.

#![allow(clippy::expect_used, reason = "a test")]

use std::fmt::Debug;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

#[path = "../examples/conflict_inbox.rs"]
mod conflict_inbox;
#[path = "../examples/custom_resolver.rs"]
mod custom_resolver;
#[path = "../examples/quickstart.rs"]
mod quickstart;
#[path = "../examples/simulate_my_resolver.rs"]
mod simulate_my_resolver;

/// Runs an example. It fails instead of hanging; the machine may be slow and busy.
fn ends_well<E: Debug + 'static>(main: fn() -> Result<(), E>) {
    let (running, ended) = channel::<()>();
    let example = std::thread::spawn(move || {
        // Dropped when the example ends, also by a panic.
        let _running = running;
        main().expect("an example ends well");
    });
    let waited = ended.recv_timeout(Duration::from_secs(60));
    assert_eq!(waited, Err(RecvTimeoutError::Disconnected), "the example hangs");
    example.join().expect("the example failed: see above");
}

#[test]
fn quickstart_runs() {
    ends_well(quickstart::main);
}

#[test]
fn custom_resolver_runs() {
    ends_well(custom_resolver::main);
}

#[test]
fn conflict_inbox_runs() {
    ends_well(conflict_inbox::main);
}

#[test]
fn simulate_my_resolver_runs() {
    ends_well(simulate_my_resolver::main);
}
