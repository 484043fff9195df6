//! Proofs that the model check detects faults: each rule without which a short counter-example
//! exists is taken away.

use sync_core::mutants::Mutant;

use super::{Bounds, ModelAction, ModelCase, ModelOutcome, Through};

/// A rule, the fault that takes it away, and the case that detects it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hunt {
    /// The rule, in words.
    pub rule: &'static str,
    /// The fault that takes it away.
    pub mutant: Mutant,
    /// The case to explore.
    pub case: ModelCase,
}

impl Hunt {
    /// Explores in order of the number of steps, about that many states, and returns the first
    /// counter-example.
    #[must_use]
    pub fn run(&self, most: usize) -> ModelOutcome {
        self.case.shortest(Some(self.mutant), Some(most))
    }
}

/// Every rule whose absence has a short counter-example, with the smallest bounds that are known to
/// show it.
#[must_use]
pub fn hunts() -> Vec<Hunt> {
    let least = Bounds::LEAST;
    let hunt = |rule, mutant: Mutant, through, bounds| Hunt {
        rule,
        mutant,
        case: ModelCase { name: mutant.as_str(), through, bounds },
    };
    use Through::{AnyOrder, Engines};
    let again = Bounds { writes: [2, 0], ..least };
    let two = Bounds { documents: &[0, 2], chunk: 1, ahead: 1, ..again };
    let resolved = Bounds { documents: &[1], on_server: true, ..least };
    let restored = Bounds { restored: 1, ..least };
    let late = Bounds { writes: [2, 1], in_flight: 5, ..least };
    // The position can only be ahead of a cut that is not 0, and of a document that is not offered
    // again.
    let position = Bounds {
        before: &[
            ModelAction::Write { replica: 0, document: 2 },
            ModelAction::Form { replica: 0 },
            ModelAction::Deliver { message: 0 },
            ModelAction::Deliver { message: 0 },
            ModelAction::Backup,
        ],
        writes: [2, 1],
        documents: &[0, 2],
        restored: 1,
        ..least
    };
    vec![
        hunt("a chunk fits where the replica stands", Mutant::ChunkOutOfPlace, AnyOrder, two),
        hunt("a newer state waits for the verdict", Mutant::NoRemoteSlot, AnyOrder, least),
        hunt("one side resolves a collection", Mutant::BothResolve, AnyOrder, resolved),
        hunt(
            "an old push changes nothing",
            Mutant::OldPushCounts,
            AnyOrder,
            Bounds { doubled: 1, ..again },
        ),
        hunt(
            "a verdict that is not newer changes nothing",
            Mutant::LateVerdictCounts,
            Engines,
            late,
        ),
        hunt("a verdict says what is known", Mutant::VerdictLeavesKnown, AnyOrder, restored),
        hunt(
            "a restore moves the position to the cut",
            Mutant::PositionKeptAfterRestore,
            AnyOrder,
            position,
        ),
        hunt(
            "what was settled above the cut is offered again",
            Mutant::LostNotOffered,
            AnyOrder,
            restored,
        ),
    ]
}
