//! The outcome of an exploration.

use std::fmt;

use stateright::{Checker, CheckerBuilder, HasDiscoveries, Model, Path};

use super::action::ModelAction;
use super::explored::{Exploration, Explored, RESTS, State};
use super::promise::Promise;

/// The steps that break a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterExample {
    /// The promise that does not hold.
    pub promise: Promise,
    /// The steps, one a line.
    pub steps: Vec<String>,
    /// What was observed after them.
    pub what: String,
}

impl fmt::Display for CounterExample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "it does not hold that {}:", self.promise.as_str())?;
        for (i, step) in self.steps.iter().enumerate() {
            writeln!(f, "{:>4}. {step}", i + 1)?;
        }
        write!(f, "{}", self.what)
    }
}

/// The outcome of an exploration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelOutcome {
    /// The name of the case.
    pub name: &'static str,
    /// The number of different states; if a promise broke, the number of states until then.
    pub states: usize,
    /// The most steps that led to one.
    pub depth: usize,
    /// Whether these are all that the bounds allow.
    pub complete: bool,
    /// Whether a state was reached in which every event had occurred and nothing was left to do.
    pub rests: bool,
    /// The counter-example, if a promise broke.
    pub found: Option<CounterExample>,
}

impl ModelOutcome {
    /// Returns whether no promise broke.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.found.is_none()
    }
}

impl fmt::Display for ModelOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, states, depth, .. } = self;
        let all = if self.complete { "all" } else { "the first" };
        write!(f, "{name}: {all} {states} states, at most {depth} steps")?;
        self.found.iter().try_for_each(|found| write!(f, "\n{found}"))
    }
}

/// Explores depth first, with little memory and all processors.
pub(super) fn explore<E: Explored>(name: &'static str, model: Exploration<E>) -> ModelOutcome {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = builder(model).threads(threads).spawn_dfs().join();
    outcome(name, &checker)
}

/// Explores in order of the number of steps, so that the counter-example is a shortest one.
pub(super) fn shortest<E: Explored>(name: &'static str, model: Exploration<E>) -> ModelOutcome {
    let checker = builder(model).spawn_bfs().join();
    outcome(name, &checker)
}

fn builder<E: Explored>(model: Exploration<E>) -> CheckerBuilder<Exploration<E>> {
    model.checker().finish_when(HasDiscoveries::AnyFailures)
}

fn outcome<E: Explored>(
    name: &'static str,
    checker: &impl Checker<Exploration<E>>,
) -> ModelOutcome {
    checker.model().end();
    let discoveries = checker.discoveries();
    let rests = discoveries.contains_key(RESTS);
    let broken = discoveries.into_iter().filter(|(name, _)| *name != RESTS);
    let first = broken.min_by_key(|(name, path)| (path.clone().into_actions().len(), *name));
    let found = first.map(|(_, path)| in_words(checker.model(), path));
    ModelOutcome {
        name,
        states: match &found {
            Some(_) => checker.model().looked_at(),
            None => checker.unique_state_count(),
        },
        depth: checker.max_depth().saturating_sub(1),
        complete: found.is_none() && checker.model().looked_at() < checker.model().most,
        rests,
        found,
    }
}

fn in_words<E: Explored>(
    model: &Exploration<E>,
    path: Path<State<E>, ModelAction>,
) -> CounterExample {
    let (mut steps, _) = super::under(model.fault, || model.begun());
    let mut broken = None;
    for (state, action) in path.into_vec() {
        steps.extend(action.map(|action| state.now.describe(action)));
        broken = super::under(model.fault, || state.broken().cloned());
    }
    let (promise, what) = broken.map_or((Promise::Sound, String::new()), |b| (b.promise, b.what));
    CounterExample { promise, steps, what }
}
