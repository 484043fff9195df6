//! Oracles: each checks one property that must hold, and names the guarantee that promises it.
//!
//! They judge by the recorded [history](super::History), not by the engine's own state. Each
//! receives every [fact](Fact) before the history records it, and is called once more at the end,
//! when all faults have ended and all clients are idle.

mod bounded;
mod checkpoint;
mod collections;
mod concurrent;
mod convergence;
mod directions;
mod durable;
mod erased;
mod exactly_once;
mod invented;
mod later;
mod lost;
mod overwritten;
mod resurrection;
mod scopes;
mod sessions;
mod stamps;
mod stranger;
mod whole;

use std::fmt;

use super::fact::{Fact, Look};
use super::history::History;

/// The result of a check: an error describes the violation.
pub type OracleResult = Result<(), String>;

/// Checks one property.
pub trait Oracle: fmt::Debug + Send {
    /// Returns its name, for reports.
    fn name(&self) -> &'static str;

    /// Checks a fact; the history contains everything before it.
    ///
    /// # Errors
    /// The violation.
    fn see(&mut self, fact: &Fact, history: &History, look: &mut dyn Look) -> OracleResult {
        let _ = (fact, history, look);
        Ok(())
    }

    /// Checks everything after all faults have ended and all clients have synced, with no conflict
    /// deferred.
    ///
    /// # Errors
    /// The violation.
    fn finish(&mut self, history: &History, look: &mut dyn Look) -> OracleResult {
        let _ = (history, look);
        Ok(())
    }
}

/// The name of the check for a client that breaks the protocol.
pub(super) const STRANGER: &str = "stranger";

/// The names of the checks that the simulation itself makes at the end.
pub(super) const PROGRESS: &str = "progress";
/// No edit waits for ever.
pub(super) const LOCKOUT: &str = "lockout";
/// No conflict is deferred about which nothing is left to decide (guarantee 4).
pub(super) const INBOX: &str = "inbox";
pub(super) const SILENCE: &str = "silence";
pub(super) const CONSISTENCY: &str = "consistency";

/// Returns new instances of all built-in oracles.
#[must_use]
pub fn all() -> Vec<Box<dyn Oracle>> {
    vec![
        Box::new(concurrent::Concurrent),
        Box::new(invented::Invented),
        Box::new(resurrection::Resurrection),
        Box::new(sessions::Sessions),
        Box::new(overwritten::Overwritten),
        Box::new(exactly_once::ExactlyOnce::default()),
        Box::new(whole::Whole::default()),
        Box::new(checkpoint::Checkpoints),
        Box::new(stamps::Stamps),
        Box::new(scopes::Scopes),
        Box::new(stranger::Stranger),
        Box::new(collections::Collections),
        Box::new(directions::Directions::default()),
        Box::new(bounded::Bounded::default()),
        Box::new(durable::Durable),
        Box::new(erased::Erased),
        Box::new(convergence::Convergence),
        Box::new(lost::Lost),
        Box::new(later::Later::default()),
    ]
}

/// Returns the names of all oracles, those of the final checks included.
#[must_use]
pub fn names() -> Vec<&'static str> {
    let own = all().iter().map(|o| o.name()).collect::<Vec<_>>();
    own.into_iter().chain([PROGRESS, LOCKOUT, INBOX, SILENCE, CONSISTENCY]).collect()
}
