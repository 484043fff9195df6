//! States and steps in the form that the model checker needs: an [`Explored`] makes steps, and an
//! [`Exploration`] is the model of it.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use stateright::{Model, Property};

use super::action::ModelAction;
use super::bounds::Bounds;
use super::promise::Promise;
use super::{Fault, under};
use crate::search::Verdict;
use testkit::quietly::quietly;

/// The explored system: the replicas, the server, the messages in transit, and the history.
pub(super) trait Explored: Sized + Send + Sync + 'static {
    /// Returns the initial state.
    fn start(bounds: Bounds) -> Self;

    /// Copies the state.
    fn copy(&self) -> Self;

    /// Hashes everything that decides which actions are possible, and how states are judged.
    fn hash_state(&self, hasher: &mut DefaultHasher);

    /// Lists the possible actions, in the same order each time.
    fn actions(&self, actions: &mut Vec<ModelAction>);

    /// Runs an action; returns false if it does not fit the bounds.
    fn step(&mut self, action: ModelAction) -> Result<bool, (&'static str, String)>;

    /// Checks the promises of this state, and those of its future without further faults. May
    /// change the state that it is called on.
    fn judge(&mut self) -> Verdict;

    /// Returns whether nothing is left to do.
    fn is_at_rest(&self) -> bool;

    /// Describes an action in words.
    fn describe(&self, action: ModelAction) -> String;
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) promise: Promise,
    pub(super) what: String,
}

/// A state of an exploration. States with equal hashes are equal.
pub(super) struct State<E> {
    hash: u64,
    pub(super) now: Arc<E>,
    /// The promise that the step to this state broke.
    broke: Option<Arc<Broken>>,
    /// The promise that does not hold here, computed once.
    judged: Arc<OnceLock<Option<Broken>>>,
}

impl<E> Clone for State<E> {
    fn clone(&self) -> Self {
        let (now, broke) = (Arc::clone(&self.now), self.broke.clone());
        Self { hash: self.hash, now, broke, judged: Arc::clone(&self.judged) }
    }
}

impl<E> PartialEq for State<E> {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl<E> Hash for State<E> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.hash.hash(hasher);
    }
}

impl<E> fmt::Debug for State<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("hash", &self.hash).field("broke", &self.broke).finish()
    }
}

impl<E: Explored> State<E> {
    fn new(now: E, broke: Option<Broken>) -> Self {
        let mut hasher = DefaultHasher::new();
        now.hash_state(&mut hasher);
        broke.as_ref().map(|b| b.promise).hash(&mut hasher);
        let broke = broke.map(Arc::new);
        Self { hash: hasher.finish(), now: Arc::new(now), broke, judged: Arc::default() }
    }

    /// Returns the promise that does not hold here.
    pub(super) fn broken(&self) -> Option<&Broken> {
        if self.broke.is_some() {
            return self.broke.as_deref();
        }
        let judge = || broken(|| self.now.copy().judge()).err();
        self.judged.get_or_init(judge).as_ref()
    }
}

/// Runs a job that an oracle checks and that may panic.
fn broken<T>(job: impl FnOnce() -> Result<T, (&'static str, String)>) -> Result<T, Broken> {
    match quietly(job) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err((kind, what))) => {
            Err(Broken { promise: Promise::of(kind), what: format!("{kind}: {what}") })
        }
        Err(panic) => {
            let kinds = [
                ("went back from", Promise::Covered),
                ("differ", Promise::Agree),
                ("not quiet", Promise::Agree),
            ];
            let promise = kinds.iter().find(|(word, _)| panic.contains(word)).map(|(_, p)| *p);
            Err(Broken { promise: promise.unwrap_or(Promise::Sound), what: panic })
        }
    }
}

/// All steps within the bounds, possibly with a planted fault.
#[derive(Debug)]
pub(super) struct Exploration<E> {
    pub(super) bounds: Bounds,
    pub(super) fault: Fault,
    /// The number of states after which nothing more is explored.
    pub(super) most: usize,
    /// Whether the exploration is over. Paths are replayed then, for which every action is needed.
    is_over: AtomicBool,
    /// The number of states until a promise broke.
    looked_at: AtomicUsize,
    /// The first state in which a promise broke. The checker would report the last one that it
    /// visits.
    first: OnceLock<u64>,
    what: PhantomData<fn() -> E>,
}

impl<E: Explored> Exploration<E> {
    pub(super) fn new(bounds: Bounds, fault: Fault, most: Option<usize>) -> Self {
        let (looked_at, first) = (AtomicUsize::new(0), OnceLock::new());
        let most = most.unwrap_or(usize::MAX);
        let is_over = AtomicBool::new(false);
        Self { bounds, fault, most, is_over, looked_at, first, what: PhantomData }
    }

    /// Returns the actions before the exploration, in words, and its first state.
    pub(super) fn begun(&self) -> (Vec<String>, State<E>) {
        let mut now = E::start(self.bounds);
        let mut steps = Vec::new();
        for action in self.bounds.before {
            steps.push(now.describe(*action));
            if let Err(broken) = broken(|| now.step(*action)) {
                return (steps, State::new(now, Some(broken)));
            }
        }
        (steps, State::new(now, None))
    }

    /// Ends the exploration. Paths are replayed from now on.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Returns the number of states until a promise broke, or of all.
    pub(super) fn looked_at(&self) -> usize {
        self.looked_at.load(Ordering::Relaxed)
    }
}

/// The name of the property that some state fulfils.
pub(super) const RESTS: &str = "everything happened, and all is at rest";

impl<E: Explored> Model for Exploration<E> {
    type State = State<E>;
    type Action = ModelAction;

    fn init_states(&self) -> Vec<Self::State> {
        under(self.fault, || vec![self.begun().1])
    }

    fn actions(&self, state: &Self::State, actions: &mut Vec<ModelAction>) {
        let may_go_on = self.looked_at() < self.most || self.is_over.load(Ordering::Relaxed);
        if state.broke.is_none() && may_go_on {
            state.now.actions(actions);
        }
    }

    fn next_state(&self, state: &Self::State, action: ModelAction) -> Option<Self::State> {
        under(self.fault, || {
            let mut next = state.now.copy();
            match broken(|| next.step(action)) {
                Ok(true) => Some(State::new(next, None)),
                Ok(false) => None,
                Err(broken) => Some(State::new(next, Some(broken))),
            }
        })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn holds<E: Explored>(model: &Exploration<E>, state: &State<E>, promise: Promise) -> bool {
            // The first promise of the list counts the state.
            if promise == Promise::ALL[0] && model.first.get().is_none() {
                model.looked_at.fetch_add(1, Ordering::Relaxed);
            }
            let broken = under(model.fault, || state.broken());
            let is_first = || *model.first.get_or_init(|| state.hash) == state.hash;
            broken.is_none_or(|b| b.promise != promise || !is_first())
        }
        use Promise::{Agree, Covered, Gone, Kept, Once, Placed, Seen, Sound};
        vec![
            Property::always(Kept.as_str(), |m, s| holds(m, s, Kept)),
            Property::always(Seen.as_str(), |m, s| holds(m, s, Seen)),
            Property::always(Placed.as_str(), |m, s| holds(m, s, Placed)),
            Property::always(Gone.as_str(), |m, s| holds(m, s, Gone)),
            Property::always(Covered.as_str(), |m, s| holds(m, s, Covered)),
            Property::always(Once.as_str(), |m, s| holds(m, s, Once)),
            Property::always(Sound.as_str(), |m, s| holds(m, s, Sound)),
            Property::always(Agree.as_str(), |m, s| holds(m, s, Agree)),
            Property::sometimes(RESTS, |_, s: &State<E>| s.broke.is_none() && s.now.is_at_rest()),
        ]
    }
}
