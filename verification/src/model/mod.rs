//! The model check: every order of every event of two replicas and their server, within bounds.
//!
//! ```text
//!                           ┌── any order: messages in any order, over storages alone
//!   ModelCase ── Bounds ────┤                                                     ──► states ──► promises
//!                           └── engines: requests of real engines, over a wire         (stateright)
//! ```
//!
//! The explored system is the framework itself: the engine, and the rules of replica and server
//! over stores in memory. A state is a copy of all of them, of the messages in transit, and of the
//! history; two states are equal if all of that is equal. The clock stands still between steps, so
//! that states that differ only in their times are equal.
//!
//! The properties are in [`Promise`]. They are checked against the recorded history: which replica
//! wrote what, which states it knew, what resolvers decided, and what the server wrote; the
//! engine's own metadata is not used. From each state without messages in transit the check
//! continues without faults, and all replicas must converge.
//!
//! ```
//! use verification::model::{Bounds, ModelCase, Through};
//!
//! let (name, through) = ("one write each", Through::AnyOrder);
//! let case = ModelCase { name, through, bounds: Bounds::LEAST };
//! let outcome = case.explore(Some(100)); // None tries everything: 65,000 states here.
//! assert!(outcome.is_sound(), "{outcome}");
//! ```
//!
//! A counter-example is the list of steps, in words: see [`CounterExample`].

mod action;
mod any_order;
mod bounds;
mod cases;
mod engines;
mod explored;
mod outcome;
#[cfg(feature = "planted")]
pub mod planted;
mod promise;
mod truth;

use sync_core::model::{Chunk, VerdictKind, Verdicts};

pub use action::ModelAction;
pub use bounds::Bounds;
pub use cases::{ModelCase, Through, cases};
pub use outcome::{CounterExample, ModelOutcome};
pub use promise::Promise;

/// A planted fault for the duration of an exploration.
#[cfg(feature = "planted")]
type Fault = Option<sync_core::mutants::Mutant>;
/// No fault, because none is compiled in.
#[cfg(not(feature = "planted"))]
type Fault = Option<std::convert::Infallible>;

/// Runs a job with a fault, on any thread: the checker has threads of its own.
fn under<T>(fault: Fault, job: impl FnOnce() -> T) -> T {
    #[cfg(feature = "planted")]
    return sync_core::mutants::with(fault, job);
    #[cfg(not(feature = "planted"))]
    {
        let None = fault;
        job()
    }
}

fn of_message(action: ModelAction, message: &str) -> String {
    match action {
        ModelAction::Double { .. } => format!("{message} arrives, and will again"),
        ModelAction::Lose { .. } => format!("{message} is lost"),
        _ => format!("{message} arrives"),
    }
}

fn chunk_in_words(chunk: &Chunk) -> String {
    let documents: Vec<_> = chunk.entries.iter().map(|e| format!("{}@{}", e.id, e.seq)).collect();
    format!("({}..{}] with [{}]", chunk.after, chunk.next, documents.join(", "))
}

fn verdicts_in_words(verdicts: &Verdicts) -> String {
    let Verdicts::Decided { verdicts, .. } = verdicts else {
        return format!("the answer {verdicts:?}");
    };
    let word = |kind: &VerdictKind| match kind {
        VerdictKind::Accepted => "accepted",
        VerdictKind::Superseded => "superseded",
        VerdictKind::Merged => "merged",
        VerdictKind::Conflict => "conflict",
        VerdictKind::Rejected(_) => "rejected",
    };
    let told: Vec<_> = verdicts.iter().map(|v| format!("{} @{}", word(&v.kind), v.seq)).collect();
    format!("the verdicts [{}]", told.join(", "))
}
