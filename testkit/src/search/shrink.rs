//! Taking out of a failing plan what the failure does not need.

use super::action::Plan;
use super::run::{Failure, run};
use crate::cores::Cores;

/// The smallest plan that greedy removal finds and that still fails, and how it fails.
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
