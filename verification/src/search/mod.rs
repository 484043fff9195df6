//! A search for plans that break the rules.
//!
//! A [`SearchPlan`] is a seed's setting and a list of actions as data: writes, messages that are
//! lost, doubled and delivered late, purges, restores, clones. [`run`] executes it over a
//! [`World`](testkit::world::World), checks every step with the [oracle](SearchOracle), then ends
//! all faults and checks convergence, progress, and that no acknowledged write is lost. The choices
//! of an action are derived from its own salt, so that removing one action shifts no other.
//! [`shrink`] removes the actions that a failure does not need.
//!
//! ```
//! use testkit::cores::MemoryCores;
//! use verification::search::{explore, Mix};
//!
//! explore(|| MemoryCores, 0..20, Mix::All, 40);
//! ```

mod action;
mod heal;
mod oracle;
mod run;
mod shrink;

use std::ops::Range;

pub use action::{Mix, SearchAction, SearchPlan, SearchSetting, Step};
#[cfg(feature = "model")]
pub(crate) use oracle::{Cause, Verdict};
pub use oracle::{SearchOracle, SearchTally};
#[cfg(feature = "model")]
pub(crate) use run::{Message, Runner};
pub use run::{SearchFailure, run};
pub use shrink::shrink;

use testkit::cores::Cores;

/// Runs one plan for each seed and returns the sum of their tallies.
///
/// # Panics
/// If one fails: with its seed, the failure, and the shrunk plan.
#[allow(clippy::panic, reason = "this is how a test ends")]
pub fn explore<C: Cores>(
    cores: impl Fn() -> C,
    seeds: Range<u64>,
    mix: Mix,
    length: usize,
) -> SearchTally {
    let mut tally = SearchTally::default();
    for seed in seeds {
        let plan = SearchPlan::generate(seed, mix, length);
        match run(cores(), &plan) {
            Ok(one) => tally.add(&one),
            Err(failure) => {
                let (plan, failure) = shrink(&cores, plan, failure);
                panic!("seed {seed} ({mix:?}) fails: {failure}\nshrunk plan: {plan:?}");
            }
        }
    }
    tally
}
