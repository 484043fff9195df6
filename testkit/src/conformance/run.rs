//! Running cases.

use std::fmt;
use std::future::Future;
use std::io::Write;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::quietly::{be_quiet, quietly};

/// The longest duration of a case, in real time. A backend that hangs fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// The harness cannot do what the case needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skipped(
    /// The missing capability in words, such as "a disk that can be full".
    pub &'static str,
);

/// The result of a case that did not panic.
pub type Outcome = Result<(), Skipped>;

/// A case of a suite for harnesses of one kind.
pub struct Case<H> {
    /// The name of its test.
    pub name: &'static str,
    /// Runs it with a fresh harness.
    pub run: fn(H) -> Pin<Box<dyn Future<Output = Outcome>>>,
}

impl<H> fmt::Debug for Case<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("name", &self.name).finish_non_exhaustive()
    }
}

static SKIPPED: AtomicUsize = AtomicUsize::new(0);

/// Runs one case as a test: on a separate runtime, within a bound of time. A skipped case is
/// counted, and printed to standard error whether or not the test's output is shown.
///
/// # Panics
/// If the case fails, or takes longer than two minutes.
#[track_caller]
pub fn run(name: &str, case: impl Future<Output = Outcome>) -> Outcome {
    let outcome = drive(name, case, || {});
    if let Err(Skipped(what)) = outcome {
        let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
        // Not `eprintln`: the test runner would hide it.
        let _ = writeln!(std::io::stderr(), "skipped ({count}): {name} needs {what}");
    }
    outcome
}

/// Runs one case as [`run`] does, and returns its result or its failure. Prints and counts nothing.
///
/// # Errors
/// The message of the failure.
pub fn attempt(name: &str, case: impl Future<Output = Outcome>) -> Result<Outcome, String> {
    quietly(|| drive(name, case, || be_quiet(true)))
}

/// Asserts that a case detects a fault: the case passes on the correct backend, and fails on the
/// broken one. The failure is printed to standard output, so that a reader can check that it has
/// the right reason. If the harness cannot do what the case needs, the case is skipped, counted and
/// printed as by [`run`].
///
/// # Panics
/// If the case fails on the correct backend, or passes on the broken one.
#[allow(clippy::panic, reason = "this is how a test fails")]
#[track_caller]
pub fn demand_failure(
    fault: &str,
    name: &str,
    sound: impl Future<Output = Outcome>,
    broken: impl Future<Output = Outcome>,
) -> Outcome {
    run(name, sound)?;
    match attempt(name, broken) {
        Err(said) => {
            println!("{fault} is noticed by {name}: {said}");
            Ok(())
        }
        Ok(Ok(())) => panic!("{name} does not notice the fault {fault}"),
        Ok(Err(Skipped(what))) => panic!("{name} needs {what} only with the fault {fault}"),
    }
}

#[allow(clippy::panic, reason = "this is how a test fails")]
#[track_caller]
fn drive(
    name: &str,
    case: impl Future<Output = Outcome>,
    on_thread_start: impl Fn() + Send + Sync + 'static,
) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .on_thread_start(on_thread_start)
        .enable_all()
        .build()
        .unwrap_or_else(|e| panic!("no runtime for {name}: {e}"));
    let outcome = runtime.block_on(async {
        match tokio::time::timeout(PATIENCE, case).await {
            Ok(outcome) => outcome,
            Err(_) => panic!("{name} took longer than {PATIENCE:?}"),
        }
    });
    runtime.shutdown_background();
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_returned_as_its_message() {
        let failed = attempt("fails", async { panic!("because {}", 1) });
        assert_eq!(failed, Err("because 1".to_owned()));
        assert_eq!(attempt("passes", async { Ok(()) }), Ok(Ok(())));
        let skipped = attempt("is skipped", async { Err(Skipped("a disk")) });
        assert_eq!(skipped, Ok(Err(Skipped("a disk"))));
    }

    #[test]
    #[should_panic(expected = "does not notice the fault nothing")]
    fn a_fault_that_nobody_notices_fails() {
        let _ = demand_failure("nothing", "a case", async { Ok(()) }, async { Ok(()) });
    }
}
