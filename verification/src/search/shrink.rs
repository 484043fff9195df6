//! Shrinks a failing plan.

use super::action::Plan;
use super::run::{Failure, run};
use testkit::cores::Cores;

/// Returns the smallest failing plan that greedy removal finds, and its failure.
pub fn shrink<C: Cores>(
    cores: impl Fn() -> C,
    mut plan: Plan,
    mut failure: Failure,
) -> (Plan, Failure) {
    let mut size = plan.steps.len().max(1);
    loop {
        let mut at = 0;
        let mut removed = false;
        while at < plan.steps.len() {
            let mut smaller = plan.clone();
            let end = (at + size).min(plan.steps.len());
            smaller.steps.drain(at..end);
            match run(cores(), &smaller) {
                Err(again) if again.kind == failure.kind => {
                    (plan, failure, removed) = (smaller, again, true);
                }
                _ => at += size,
            }
        }
        if size > 1 {
            size = size.div_ceil(2);
        } else if !removed {
            return (plan, failure);
        }
    }
}
