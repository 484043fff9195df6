//! What a driver says of itself.

use crate::clock::Now;
use crate::engine::{Phase, ScopeProgress};
use crate::error::{Error, ErrorKind};
use crate::model::Scope;

/// A look at a running driver.
#[derive(Clone, Debug)]
pub struct DriverStatus {
    /// The state as a whole.
    pub phase: Phase,
    /// How far each scope is.
    pub scopes: Vec<ScopeStatus>,
    /// What failed last, unless everything is in sync since.
    pub last_error: Option<Error>,
    /// Why the replica was refused, if trying again cannot help.
    pub refused: Option<ErrorKind>,
    /// Changes that the server gave a verdict on since the driver began.
    pub pushed: u64,
    /// Conflicts that were met since the driver began.
    pub conflicts: u64,
    /// Attempts that failed since the driver began: to connect, or to push or pull on a connection
    /// that works.
    pub failures: u64,
    /// How often [`Driver::run`](super::Driver::run) was called.
    pub runs: u64,
    /// When everything was in sync last, by this machine's clock.
    pub last_sync: Option<Now>,
}

impl Default for DriverStatus {
    fn default() -> Self {
        Self {
            phase: Phase::Stopped,
            scopes: Vec::new(),
            last_error: None,
            refused: None,
            pushed: 0,
            conflicts: 0,
            failures: 0,
            runs: 0,
            last_sync: None,
        }
    }
}

/// Whether anything that is shown differs; of errors that is their text.
impl PartialEq for DriverStatus {
    fn eq(&self, other: &Self) -> bool {
        let text = |e: &Option<Error>| e.as_ref().map(|e| e.report().to_string());
        self.phase == other.phase
            && self.scopes == other.scopes
            && self.refused == other.refused
            && self.pushed == other.pushed
            && self.conflicts == other.conflicts
            && self.failures == other.failures
            && self.runs == other.runs
            && self.last_sync == other.last_sync
            && text(&self.last_error) == text(&other.last_error)
    }
}

/// How far one scope is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeStatus {
    /// The scope.
    pub scope: Scope,
    /// How far it is.
    pub progress: ScopeProgress,
}
