//! Running cases.

use std::fmt;
use std::future::Future;
use std::io::Write;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long a case may take, in real time. A backend that hangs fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// The harness cannot do what the case needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skipped(
    /// What is missing, as a word for people: "a disk that can be full".
    pub &'static str,
);

/// What became of a case that did not panic.
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

/// Runs one case as a test: on a runtime of its own, within a bound of time. A case that is skipped is counted, and said
/// on standard error whether or not the test's output is shown.
///
/// # Panics
/// If the case fails, or takes longer than two minutes.
#[allow(clippy::panic, reason = "this is how a test fails")]
#[track_caller]
pub fn run(name: &str, case: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
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
    if let Err(Skipped(what)) = outcome {
        let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
        // Not `eprintln`: the test runner would hide it.
        let _ = writeln!(std::io::stderr(), "skipped ({count}): {name} needs {what}");
    }
    outcome
}
