//! Showing that the testkit would find a fault: every mutant is run until something notices it.
//!
//! First the simulation, whose network keeps the order that real ones keep; then, for what such a network never does, the
//! [search](crate::search), which delivers any message at any time.

use std::collections::BTreeMap;
use std::ops::Range;

use sync_core::mutants::{Mutant, with};

use super::Builder;
use crate::cores::MemoryCores;
use crate::search::{self, Mix};

/// What became of a mutant.
#[derive(Clone, Debug)]
pub struct Fallen {
    /// Which one.
    pub mutant: Mutant,
    /// Who noticed it: an oracle of the simulation, or `search`; none if nobody did.
    pub oracle: Option<&'static str>,
    /// How many seeds it took, or how many there were.
    pub seeds: u64,
    /// Actions of the shrunk plan.
    pub actions: Option<usize>,
}

/// Runs a simulation with each mutant, over the seeds one after the other, until something is noticed; then as many plans
/// of the search.
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
    Some(Fallen {
        mutant,
        oracle: Some(failure.violation.oracle),
        seeds: failure.seed - seeds.start + 1,
        actions: Some(failure.plan.actions.len()),
    })
}

/// Messages that are in nobody's order.
fn look_for(mutant: Mutant, seeds: &Range<u64>) -> Fallen {
    const LENGTH: usize = 80;
    let total = seeds.end.saturating_sub(seeds.start);
    for seed in seeds.clone() {
        let mix = [Mix::Network, Mix::Purges, Mix::Both][(seed % 3) as usize];
        let plan = search::Plan::generate(seed, mix, LENGTH);
        let failed = with(Some(mutant), || search::run(MemoryCores, &plan));
        if let Err(failure) = failed {
            let (plan, _) = with(Some(mutant), || search::shrink(|| MemoryCores, plan, failure));
            let seeds = total + (seed - seeds.start) + 1;
            let actions = Some(plan.steps.len());
            return Fallen { mutant, oracle: Some("search"), seeds, actions };
        }
    }
    Fallen { mutant, oracle: None, seeds: total * 2, actions: None }
}

/// Which mutants each oracle noticed first.
#[must_use]
pub fn by_oracle(fallen: &[Fallen]) -> BTreeMap<&'static str, Vec<Mutant>> {
    let mut found: BTreeMap<&'static str, Vec<Mutant>> = BTreeMap::new();
    for one in fallen {
        if let Some(oracle) = one.oracle {
            found.entry(oracle).or_default().push(one.mutant);
        }
    }
    found
}
