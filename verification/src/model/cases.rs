//! The cases that are explored.

use super::any_order::AnyOrder;
use super::bounds::Bounds;
use super::engines::Engines;
use super::explored::Exploration;
use super::{Fault, ModelOutcome, outcome};
use testkit::resolvers::ResolverKind;

/// How the steps of an exploration are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Through {
    /// Messages in any order, over storages alone.
    AnyOrder,
    /// The requests of real engines.
    Engines,
}

/// One case to explore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ModelCase {
    /// Its name.
    pub name: &'static str,
    /// How its steps are made.
    pub through: Through,
    /// What may happen.
    pub bounds: Bounds,
}

impl ModelCase {
    /// Explores every state, or about that many, until a promise breaks. Then searches as many
    /// states for a shorter counter-example.
    #[must_use]
    pub fn explore(&self, most: Option<usize>) -> ModelOutcome {
        let (name, bounds, fault) = (self.name, self.bounds, Fault::default());
        let outcome = match self.through {
            Through::AnyOrder => {
                outcome::explore::<AnyOrder>(name, Exploration::new(bounds, fault, most))
            }
            Through::Engines => {
                outcome::explore::<Engines>(name, Exploration::new(bounds, fault, most))
            }
        };
        if outcome.is_sound() {
            return outcome;
        }
        let shortest = self.shortest(fault, most);
        if shortest.is_sound() { outcome } else { shortest }
    }

    /// Explores in order of the number of steps.
    pub(super) fn shortest(&self, fault: Fault, most: Option<usize>) -> ModelOutcome {
        let (name, bounds) = (self.name, self.bounds);
        match self.through {
            Through::AnyOrder => {
                outcome::shortest::<AnyOrder>(name, Exploration::new(bounds, fault, most))
            }
            Through::Engines => {
                outcome::shortest::<Engines>(name, Exploration::new(bounds, fault, most))
            }
        }
    }
}

/// The cases of the model check, small ones first.
#[must_use]
pub fn cases() -> Vec<ModelCase> {
    let rules = |name, bounds| ModelCase { name, through: Through::AnyOrder, bounds };
    let engines = |name, bounds| ModelCase { name, through: Through::Engines, bounds };
    let least = Bounds::LEAST;
    // Each engine requests one chunk and pushes one batch at a time.
    let talk = Bounds { in_flight: 5, ..least };
    vec![
        rules("a write each", least),
        engines("engines: a write each", talk),
        rules("a write each, doubled", Bounds { doubled: 1, ..least }),
        rules("two writes and one", Bounds { writes: [2, 1], ..least }),
        rules("two writes and one, deletes", Bounds { writes: [2, 1], deletes: true, ..least }),
        rules(
            "two documents, ahead",
            Bounds { writes: [2, 0], documents: &[0, 2], chunk: 1, ahead: 1, ..least },
        ),
        rules(
            "two writes and one, doubled",
            Bounds { writes: [2, 1], deletes: true, doubled: 1, ..least },
        ),
        rules("lost", Bounds { lost: 1, deletes: true, ..least }),
        rules("purged", Bounds { writes: [2, 1], deletes: true, purged: 1, in_flight: 2, ..least }),
        rules(
            "server resolves",
            Bounds { writes: [2, 1], documents: &[1], on_server: true, ..least },
        ),
        rules("restored", Bounds { restored: 1, ..least }),
        engines("engines: cut", Bounds { cut: 1, ..talk }),
        engines("engines: crashed", Bounds { crashed: 1, ..talk }),
        engines("engines: doubled", Bounds { doubled: 1, ..talk }),
        engines("engines: lost", Bounds { lost: 1, ..talk }),
        engines(
            "engines: two writes",
            Bounds { writes: [2, 1], resolver: ResolverKind::Joining, ..talk },
        ),
        engines("engines: server restarted", Bounds { restarted: 1, ..talk }),
        engines("engines: restored", Bounds { restored: 1, ..talk }),
    ]
}
