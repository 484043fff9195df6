//! Shrinks a failing plan.

use super::action::SearchPlan;
use super::run::{SearchFailure, run};
use testkit::cores::Cores;
use testkit::delta_debugging::remove_runs;

/// Returns the smallest failing plan that greedy removal finds, and its failure.
pub fn shrink<C: Cores>(
    cores: impl Fn() -> C,
    mut plan: SearchPlan,
    mut failure: SearchFailure,
) -> (SearchPlan, SearchFailure) {
    let setting = plan.setting;
    remove_runs(&mut plan.steps, |rest| {
        match run(cores(), &SearchPlan { setting, steps: rest.to_vec() }) {
            Err(again) if again.kind == failure.kind => {
                failure = again;
                true
            }
            _ => false,
        }
    });
    (plan, failure)
}
