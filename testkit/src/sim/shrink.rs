//! Shrinks a failing plan.

use std::collections::BTreeSet;

use super::kind_of::kind_of;
use super::outcome::RunOutcome;
use super::plan::{Plan, What};
use super::run::Violation;
use crate::delta_debugging::remove_runs;

/// The largest number of events in all runs of a shrinking; more if the run itself was large.
const BUDGET: u64 = 2_000_000;
const RUNS: u64 = 12;

/// Returns the smallest plan that was found to fail in the same way, and its failure.
pub(super) fn shrink(
    attempt: impl Fn(&Plan) -> RunOutcome,
    plan: Plan,
    violation: Violation,
    events: u64,
) -> (Plan, Violation) {
    let budget = BUDGET.max(events.saturating_mul(RUNS));
    let mut shrinker = Shrinker { attempt, plan, violation, budget, spent: 0 };
    shrinker.cut_off();
    shrinker.keep_the_last();
    shrinker.drop_kinds();
    loop {
        let before = shrinker.plan.clone();
        shrinker.remove_actions();
        shrinker.reduce_setting();
        shrinker.simplify_actions();
        if shrinker.plan == before || shrinker.is_spent() {
            return (shrinker.plan, shrinker.violation);
        }
    }
}

struct Shrinker<A> {
    attempt: A,
    plan: Plan,
    violation: Violation,
    budget: u64,
    spent: u64,
}

impl<A: Fn(&Plan) -> RunOutcome> Shrinker<A> {
    fn is_spent(&self) -> bool {
        self.spent >= self.budget
    }

    /// Accepts another plan if it fails in the same way.
    fn try_plan(&mut self, plan: Plan) -> bool {
        if self.is_spent() || plan == self.plan {
            return false;
        }
        let outcome = (self.attempt)(&plan);
        self.spent += outcome.tally.events.max(200);
        match outcome.violation {
            Some(violation) if violation.oracle == self.violation.oracle => {
                (self.plan, self.violation) = (plan, violation);
                true
            }
            _ => false,
        }
    }

    /// Removes actions after the failure, which cannot have caused it, and starts the healing as
    /// soon as nothing more happens.
    fn cut_off(&mut self) {
        let mut plan = self.plan.clone();
        plan.actions.retain(|a| a.at <= self.violation.at);
        if plan.setting.millis > self.violation.at {
            plan.setting.millis = self.violation.at + 1;
        }
        self.try_plan(plan);
        let mut plan = self.plan.clone();
        plan.setting.millis = plan.actions.last().map_or(0, |a| a.at) + 1;
        self.try_plan(plan);
    }

    /// Keeps the last actions only: most failures need only what happened shortly before them.
    fn keep_the_last(&mut self) {
        for count in [4, 8, 16, 32, 64, 128, 256] {
            let actions = &self.plan.actions;
            if count * 4 > actions.len() * 3 {
                return;
            }
            let mut plan = self.plan.clone();
            plan.actions.drain(..actions.len() - count);
            if self.try_plan(plan) {
                return;
            }
        }
    }

    /// Drops documents, clients and kinds of faults: most failures need only a few.
    fn drop_kinds(&mut self) {
        let document = |what: &What| match what {
            What::Put { document, .. }
            | What::Set { document, .. }
            | What::Delete { document, .. }
            | What::Erase { document, .. } => Some(*document),
            _ => None,
        };
        let documents: BTreeSet<_> =
            self.plan.actions.iter().filter_map(|a| document(&a.what)).collect();
        self.try_without(|what| !what.is_work());
        for gone in documents {
            self.try_without(|what| document(what) == Some(gone));
        }
        for gone in 0..self.plan.setting.clients {
            self.try_without(|what| what.client() == Some(gone));
        }
        let kinds: BTreeSet<_> =
            self.plan.actions.iter().filter_map(|a| kind_of(&a.what)).collect();
        for gone in kinds {
            self.try_without(|what| kind_of(what) == Some(gone));
        }
        self.try_without(|what| matches!(what, What::Transaction { .. } | What::Decide { .. }));
    }

    fn try_without(&mut self, gone: impl Fn(&What) -> bool) {
        let mut plan = self.plan.clone();
        plan.actions.retain(|a| !gone(&a.what));
        self.try_plan(plan);
    }

    fn remove_actions(&mut self) {
        let Plan { setting, mut actions } = self.plan.clone();
        remove_runs(&mut actions, |rest| {
            let smaller = || Plan { setting: setting.clone(), actions: rest.to_vec() };
            !self.is_spent() && self.try_plan(smaller())
        });
    }

    fn reduce_setting(&mut self) {
        let last = self.plan.actions.last().map_or(0, |a| a.at);
        let changes: [fn(&mut Plan); 8] = [
            |p| p.setting.jitter = 0,
            |p| p.setting.requests_every = 0,
            |p| p.setting.refusals = false,
            |p| p.setting.on_server = false,
            |p| p.setting.push = 1_000,
            |p| p.setting.chunk = 1_000,
            |p| p.setting.scopes = 1,
            |p| p.setting.latency = 10,
        ];
        let mut plan = self.plan.clone();
        plan.setting.millis = last + 1;
        self.try_plan(plan);
        for change in changes {
            let mut plan = self.plan.clone();
            change(&mut plan);
            self.try_plan(plan);
        }
        while self.plan.setting.clients > 1 && !self.is_spent() {
            let mut plan = self.plan.clone();
            plan.setting.clients -= 1;
            if !self.try_plan(plan) && !self.drop_client() {
                break;
            }
        }
        while self.plan.setting.documents > 1 && !self.is_spent() {
            let mut plan = self.plan.clone();
            plan.setting.documents -= 1;
            if !self.try_plan(plan) {
                break;
            }
        }
    }

    /// Removes a client, and renumbers those after it.
    fn drop_client(&mut self) -> bool {
        for gone in 0..self.plan.setting.clients {
            let mut plan = self.plan.clone();
            plan.setting.clients -= 1;
            plan.actions.retain(|a| a.what.client() != Some(gone));
            plan.actions.iter_mut().for_each(|a| renumber(&mut a.what, gone));
            if self.try_plan(plan) {
                return true;
            }
        }
        false
    }

    /// Moves actions to rounder times, closer together, and makes their values small.
    fn simplify_actions(&mut self) {
        for n in 0..self.plan.actions.len() {
            if self.is_spent() {
                return;
            }
            let before = n.checked_sub(1).map_or(0, |p| self.plan.actions[p].at);
            let at = self.plan.actions[n].at;
            for round in [before, before + 100, before + 1_000, at / 1_000 * 1_000, at / 100 * 100]
            {
                if round < at && round >= before {
                    let mut plan = self.plan.clone();
                    let by = at - round;
                    plan.actions[n..].iter_mut().for_each(|a| a.at -= by);
                    plan.setting.millis = plan.setting.millis.saturating_sub(by).max(1);
                    if self.try_plan(plan) {
                        break;
                    }
                }
            }
            let simpler = simpler(&self.plan.actions[n].what);
            for what in simpler {
                let mut plan = self.plan.clone();
                plan.actions[n].what = what;
                if self.try_plan(plan) {
                    break;
                }
            }
        }
    }
}

/// Removes a client from an action, and renumbers those after it.
fn renumber(what: &mut What, gone: usize) {
    if let What::Partition { clients, .. } = what {
        clients.retain(|c| *c != gone);
    }
    what.renumber(|client| *client -= usize::from(*client > gone));
}

/// Returns the action with smaller values, the smallest first.
fn simpler(what: &What) -> Vec<What> {
    match what.clone() {
        What::Put { client, document, salt } => {
            let mut found = Vec::new();
            if document > 0 {
                found.push(What::Put { client, document: 0, salt });
            }
            if salt > 9 {
                found.extend((0..3).map(|salt| What::Put { client, document, salt }));
            }
            found
        }
        What::Delete { client, document } if document > 0 => {
            vec![What::Delete { client, document: 0 }]
        }
        What::Crash { client, millis, power: true, salt } => {
            vec![What::Crash { client, millis, power: false, salt }]
        }
        What::Partition { clients, millis } if clients.len() == 1 => {
            vec![What::Silence { client: clients[0], millis, to_server: true, to_client: true }]
        }
        _ => Vec::new(),
    }
}
