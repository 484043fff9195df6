//! Oracles: each knows one thing that must hold, and where that is promised.
//!
//! They judge by the recorded [history](super::History), not by what the engine believes. Each is
//! shown every [fact](Fact) before the history takes note of it, and is asked once more at rest,
//! when everything has healed.

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

/// What was seen, if it must not be.
pub type Verdict = Result<(), String>;

/// Knows one thing that must hold.
pub trait Oracle: fmt::Debug + Send {
    /// Its name, for reports.
    fn name(&self) -> &'static str;

    /// Looks at a fact; the history knows everything before it.
    ///
    /// # Errors
    /// What was seen that must not be.
    fn see(&mut self, fact: &Fact, history: &History, look: &mut dyn Look) -> Verdict {
        let _ = (fact, history, look);
        Ok(())
    }

    /// Looks at everything when all faults have ended, all clients have synced, and nothing waits
    /// for the app.
    ///
    /// # Errors
    /// What was seen that must not be.
    fn finish(&mut self, history: &History, look: &mut dyn Look) -> Verdict {
        let _ = (history, look);
        Ok(())
    }
}

/// What a client that breaks the protocol brings about.
pub(super) const STRANGER: &str = "stranger";

/// The names of what the simulation itself demands when it has healed.
pub(super) const PROGRESS: &str = "progress";
/// No edit waits for ever.
pub(super) const LOCKOUT: &str = "lockout";
/// No conflict waits for the app about which nothing is left to decide (guarantee 4).
pub(super) const INBOX: &str = "inbox";
pub(super) const SILENCE: &str = "silence";
pub(super) const CONSISTENCY: &str = "consistency";

/// A fresh set of all oracles of the framework.
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

/// The names of all oracles, those of the healing included.
#[must_use]
pub fn names() -> Vec<&'static str> {
    let own = all().iter().map(|o| o.name()).collect::<Vec<_>>();
    own.into_iter().chain([PROGRESS, LOCKOUT, INBOX, SILENCE, CONSISTENCY]).collect()
}
