//! Runs every mutant until an oracle detects it, to show that the testkit detects faults.
//!
//! The simulation comes first; its network keeps the order that real networks keep. The [`search`]
//! follows, which delivers any message at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use sync_core::mutants::{Mutant, with};

use crate::search::{self, Mix};
use testkit::cores::MemoryCores;
use testkit::sim::{Builder, Plan};

/// The number of runs, from the first that failed, whose detecting oracles are collected.
const TOLD: u64 = 5;

/// The result for a mutant.
#[derive(Clone, Debug)]
pub struct Fallen {
    /// The mutant.
    pub mutant: Mutant,
    /// What detected it first: an oracle of the simulation, or `search`; none if it was not
    /// detected.
    pub oracle: Option<&'static str>,
    /// All oracles that detect it in the run of that seed or in one of the next few.
    pub oracles: BTreeSet<&'static str>,
    /// How many seeds were needed, or how many there were.
    pub seeds: u64,
    /// The number of actions of the shrunk plan.
    pub actions: Option<usize>,
    /// The shrunk plan of the simulation; none if the search detected it.
    pub plan: Option<Plan>,
}

/// Runs a simulation with each mutant, over the seeds one after the other, until an oracle detects
/// it; then as many plans of the search.
pub fn run_all(
    builder: &Builder,
    mutants: &[Mutant],
    seeds: &Range<u64>,
    mut tell: impl FnMut(&Fallen),
) -> Vec<Fallen> {
    let mut all = Vec::new();
    for mutant in mutants {
        let fallen = simulate(builder, *mutant, seeds).unwrap_or_else(|| look_for(*mutant, seeds));
        tell(&fallen);
        all.push(fallen);
    }
    all
}

fn simulate(builder: &Builder, mutant: Mutant, seeds: &Range<u64>) -> Option<Fallen> {
    let report = builder.clone().mutant(Some(mutant)).seeds(seeds.clone()).run();
    let failure = report.failures.into_iter().next()?;
    let simulation = builder.clone().mutant(Some(mutant)).build();
    let some = failure.seed..(failure.seed + TOLD).min(seeds.end);
    let mut oracles: BTreeSet<_> =
        some.flat_map(|seed| simulation.noticed(&simulation.plan(seed))).collect();
    oracles.insert(failure.violation.oracle);
    Some(Fallen {
        mutant,
        oracle: Some(failure.violation.oracle),
        oracles,
        seeds: failure.seed - seeds.start + 1,
        actions: Some(failure.plan.actions.len()),
        plan: Some(failure.plan),
    })
}

/// Runs the search, which delivers messages in any order, until it detects the mutant.
fn look_for(mutant: Mutant, seeds: &Range<u64>) -> Fallen {
    const LENGTH: usize = 80;
    let total = seeds.end.saturating_sub(seeds.start);
    for seed in seeds.clone() {
        let mix = [Mix::Network, Mix::Purges, Mix::Both][(seed % 3) as usize];
        let plan = search::SearchPlan::generate(seed, mix, LENGTH);
        let failed = with(Some(mutant), || search::run(MemoryCores, &plan));
        if let Err(failure) = failed {
            let (plan, _) = with(Some(mutant), || search::shrink(|| MemoryCores, plan, failure));
            let seeds = total + (seed - seeds.start) + 1;
            let actions = Some(plan.steps.len());
            let oracles = BTreeSet::from(["search"]);
            return Fallen { mutant, oracle: Some("search"), oracles, seeds, actions, plan: None };
        }
    }
    let oracles = BTreeSet::new();
    Fallen { mutant, oracle: None, oracles, seeds: total * 2, actions: None, plan: None }
}

/// Returns which mutants each oracle detected, and whether it alone did.
#[must_use]
pub fn by_oracle(fallen: &[Fallen]) -> BTreeMap<&'static str, Vec<(Mutant, bool)>> {
    let mut found: BTreeMap<&'static str, Vec<(Mutant, bool)>> = BTreeMap::new();
    for one in fallen {
        for oracle in &one.oracles {
            found.entry(oracle).or_default().push((one.mutant, one.oracles.len() == 1));
        }
    }
    found
}
