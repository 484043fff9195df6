//! Building and running a simulation.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sync_core::resolver::ConflictResolver;

use super::disk::{Disks, MemoryDisks};
use super::faults::{Faults, Workload};
use super::oracles::{self, Oracle};
use super::outcome::RunOutcome;
use super::plan::{Decider, Plan};
use super::report::{Failure, Report};
use super::run::{MakeEdit, Options, Run, Violation};
use super::shrink::shrink;
use super::{Tally, Trace};
use crate::quietly::quietly;
use crate::random::SplitMix64;
use crate::resolvers::ResolverKind;

type MakeOracle = Arc<dyn Fn() -> Box<dyn Oracle> + Send + Sync>;
type OnProgress = Arc<dyn Fn(&Tally) + Send + Sync>;

/// A simulation that is ready to run.
#[derive(Clone)]
pub struct Simulation {
    pub(super) clients: usize,
    pub(super) scopes: usize,
    pub(super) documents: usize,
    pub(super) millis: u64,
    seeds: Range<u64>,
    jobs: usize,
    pub(super) kind: Option<ResolverKind>,
    pub(super) on_server: Option<bool>,
    pub(super) options: Options,
    pub(super) workload: Workload,
    pub(super) faults: Faults,
    more: Vec<MakeOracle>,
    failures: usize,
    only: Option<Vec<&'static str>>,
    progress: Option<OnProgress>,
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation")
            .field("clients", &self.clients)
            .field("millis", &self.millis)
            .field("seeds", &self.seeds)
            .finish_non_exhaustive()
    }
}

/// Builds a simulation.
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder(Simulation);

impl Simulation {
    /// Returns a builder with five clients in one scope of ten documents for 300 simulated seconds,
    /// ten seeds, a swarm of all faults, and a built-in resolver chosen by the seed.
    pub fn builder() -> Builder {
        Builder(Self {
            clients: 5,
            scopes: 1,
            documents: 10,
            millis: 300_000,
            seeds: 0..10,
            jobs: 1,
            kind: None,
            on_server: None,
            options: Options {
                resolver: None,
                edit: None,
                traced: false,
                gathers: false,
                heals: true,
            },
            workload: Workload::default(),
            faults: Faults::default(),
            more: Vec::new(),
            failures: 1,
            only: None,
            progress: None,
        })
    }
}

impl Builder {
    /// Sets the number of clients. At least one.
    pub fn clients(mut self, clients: usize) -> Self {
        self.0.clients = clients.max(1);
        self
    }

    /// Sets the number of scopes: client `n` follows scope `n` modulo this, and every third client
    /// the next one too.
    pub fn scopes(mut self, scopes: usize) -> Self {
        self.0.scopes = scopes.max(1);
        self
    }

    /// Sets the largest number of documents in a scope.
    pub fn documents(mut self, documents: usize) -> Self {
        self.0.documents = documents.max(1);
        self
    }

    /// Sets for how many simulated seconds apps write and faults occur. Healing follows.
    pub fn seconds(mut self, seconds: u64) -> Self {
        self.0.millis = seconds.max(1) * 1_000;
        self
    }

    /// Sets the runs: one for each seed, the end excluded.
    pub fn seeds(mut self, seeds: Range<u64>) -> Self {
        self.0.seeds = seeds;
        self
    }

    /// Sets the number of threads. The findings do not depend on it. Default 1.
    pub fn jobs(mut self, jobs: usize) -> Self {
        self.0.jobs = jobs.max(1);
        self
    }

    /// Sets the resolver of every run, instead of one chosen by the seed.
    pub fn resolver(mut self, resolver: Arc<dyn ConflictResolver>) -> Self {
        self.0.options.resolver = Some(resolver);
        self
    }

    /// Sets one of the built-in resolvers for every run, instead of one chosen by the seed.
    pub fn resolver_kind(mut self, kind: ResolverKind) -> Self {
        self.0.kind = Some(kind);
        self
    }

    /// Sets whether half of the documents are in a collection that the server resolves. By default
    /// the seed decides.
    pub fn resolve_on_server(mut self, on_server: bool) -> Self {
        self.0.on_server = Some(on_server);
        self
    }

    /// Sets what an app writes over the state that it reads (none for a new document), with a
    /// random generator of this write. By default a unique text.
    pub fn edit(
        mut self,
        edit: impl Fn(Option<&sync_core::model::Body>, &mut SplitMix64) -> sync_core::model::Body
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let edit: MakeEdit = Arc::new(edit);
        self.0.options.edit = Some(edit);
        self
    }

    /// Sets the workload of the apps.
    pub fn workload(mut self, workload: Workload) -> Self {
        self.0.workload = workload;
        self
    }

    /// Sets the faults.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.0.faults = faults;
        self
    }

    /// Adds an oracle, made anew for each run, to the built-in ones.
    pub fn oracle<O: Oracle + 'static>(
        mut self,
        make: impl Fn() -> O + Send + Sync + 'static,
    ) -> Self {
        self.0.more.push(Arc::new(move || Box::new(make())));
        self
    }

    /// Keeps only these of the built-in oracles, by their [names](oracles::names), and the added
    /// ones.
    pub fn only(mut self, names: impl IntoIterator<Item = &'static str>) -> Self {
        self.0.only = Some(names.into_iter().collect());
        self
    }

    /// Sets the number of failures after which the simulation stops. Default 1.
    pub fn failures(mut self, failures: usize) -> Self {
        self.0.failures = failures.max(1);
        self
    }

    /// Sets a callback that gets the tally after each run.
    pub fn on_progress(mut self, tell: impl Fn(&Tally) + Send + Sync + 'static) -> Self {
        self.0.progress = Some(Arc::new(tell));
        self
    }

    /// Builds the simulation.
    #[must_use]
    pub fn build(self) -> Simulation {
        self.0
    }

    /// Runs it on stores in memory.
    pub fn run(self) -> Report {
        self.0.run()
    }
}

impl Simulation {
    /// Runs it on stores in memory.
    #[must_use]
    pub fn run(&self) -> Report {
        self.run_on(|_| MemoryDisks)
    }

    /// Runs it on stores that are made for each seed.
    #[must_use]
    pub fn run_on<D: Disks>(&self, disks: impl Fn(u64) -> D + Sync) -> Report {
        let total = self.seeds.end.saturating_sub(self.seeds.start);
        let (next, found) = (AtomicU64::new(0), AtomicU64::new(0));
        let report = Mutex::new(Report::default());
        let work = || {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let enough = found.load(Ordering::Relaxed) >= self.failures as u64;
                if n >= total || enough {
                    return;
                }
                let (tally, failure) = self.run_seed(&disks, self.seeds.start + n);
                found.fetch_add(u64::from(failure.is_some()), Ordering::Relaxed);
                let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
                report.tally.add(&tally);
                report.failures.extend(failure);
                if let Some(tell) = &self.progress {
                    tell(&report.tally);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.jobs {
                scope.spawn(work);
            }
            work();
        });
        let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.failures.sort_by_key(|f| f.seed);
        report
    }

    fn run_seed<D: Disks>(&self, disks: &impl Fn(u64) -> D, seed: u64) -> (Tally, Option<Failure>) {
        let plan = self.plan(seed);
        let outcome = self.attempt(disks(seed), &plan, false);
        let mut tally = outcome.tally;
        let Some(violation) = outcome.violation else {
            // One run in a hundred is repeated, which finds behaviour that depends on anything but
            // the plan.
            if seed.is_multiple_of(100) {
                let again = self.attempt(disks(seed), &plan, false);
                tally.audited += 1;
                if again.fingerprint != outcome.fingerprint {
                    let what = "the same plan was not the same run".to_owned();
                    let violation = Violation { oracle: "determinism", at: 0, what };
                    let (shrunk, trace) = (violation.clone(), Trace::default());
                    return (tally, Some(Failure { seed, violation, plan, shrunk, trace }));
                }
            }
            return (tally, None);
        };
        let mut before_healing = self.clone();
        before_healing.options.heals = violation.at > plan.setting.millis;
        let attempt = |plan: &Plan| before_healing.attempt(disks(seed), plan, false);
        let (plan, shrunk) = shrink(attempt, plan, violation.clone(), tally.events);
        let trace = self.attempt(disks(seed), &plan, true).trace;
        (tally, Some(Failure { seed, violation, plan, shrunk, trace }))
    }

    /// Runs a plan on stores in memory.
    ///
    /// # Errors
    /// The violation.
    pub fn replay(&self, plan: &Plan) -> Result<Tally, Box<Failure>> {
        let outcome = self.attempt(MemoryDisks, plan, true);
        match outcome.violation {
            None => Ok(outcome.tally),
            Some(violation) => Err(Box::new(Failure {
                seed: plan.setting.seed,
                shrunk: violation.clone(),
                violation,
                plan: plan.clone(),
                trace: outcome.trace,
            })),
        }
    }

    /// Returns the trace of a plan, whether or not it fails.
    #[must_use]
    pub fn trace(&self, plan: &Plan) -> Trace {
        self.attempt(MemoryDisks, plan, true).trace
    }

    /// Returns all oracles that find a violation in a plan. The run continues after the first.
    #[must_use]
    pub fn noticed(&self, plan: &Plan) -> BTreeSet<&'static str> {
        let mut simulation = self.clone();
        simulation.options.gathers = true;
        simulation.attempt(MemoryDisks, plan, false).noticed
    }

    fn attempt<D: Disks>(&self, disks: D, plan: &Plan, traced: bool) -> RunOutcome {
        if let (Decider::Given { given }, None) = (&plan.setting.resolver, &self.options.resolver) {
            return RunOutcome::not_run(format!(
                "the plan ran with the resolver `{given}`, and this simulation was given none"
            ));
        }
        let options = Options { traced, ..self.options.clone() };
        let mut oracles = oracles::all();
        if let Some(only) = &self.only {
            oracles.retain(|oracle| only.contains(&oracle.name()));
        }
        oracles.extend(self.more.iter().map(|make| make()));
        let mut run = Run::new(disks, plan, options, oracles);
        if let Err(panic) = quietly(|| run.carry_out(plan)) {
            run.violate("panic", panic);
        }
        run.tally.runs = 1;
        run.tally.millis = run.now;
        run.tally.conflicts = run.history.calls;
        run.tally.collided = u64::from(run.history.collided);
        let mut trace = std::mem::take(&mut run.trace);
        if traced {
            trace.differences = quietly(|| run.differences()).unwrap_or_default();
        }
        // A violation after two clones made one revision is not a bug.
        let collided = run.history.collided;
        let violation = run.violation.filter(|_| !collided);
        let noticed = if collided { BTreeSet::new() } else { run.noticed };
        RunOutcome { tally: run.tally, violation, fingerprint: run.fingerprint, trace, noticed }
    }
}
