//! Simulates an app's own resolver: many clients, partitions and crashes, until the simulation
//! finds a lost edit.
//!
//! The documents are shopping lists, and every edit adds an item. `Longer` looks right: it keeps
//! the longer of two lists. But items that only the shorter one had are lost. The simulation finds
//! this, shrinks it to the few necessary actions, and shows it; `Both`, which keeps the items of
//! both sides, is correct.
//!
//! ```sh
//! cargo run --release --example simulate_my_resolver                  # in the terminal
//! PAGE=lost.html cargo run --release --example simulate_my_resolver   # and as a page
//! ```

#![allow(clippy::expect_used, reason = "an example")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use testkit::sim::diagram::html;
use testkit::sim::{
    Fact, FaultKind, Faults, History, Look, Oracle, OracleResult, Report, Simulation, Workload,
};
use twotide::prelude::*;
use twotide::{DocumentKey, DocumentState};

/// A shopping list: the names of things.
type List = BTreeSet<String>;

fn list(body: Option<&Body>) -> List {
    body.and_then(|b| b.to().ok()).unwrap_or_default()
}

fn list_of(state: &DocumentState) -> List {
    list(state.body.as_ref())
}

/// Keeps the longer of two lists. This is the bug.
#[derive(Debug)]
struct Longer;

impl ConflictResolver for Longer {
    fn name(&self) -> &str {
        "longer"
    }

    fn resolve(&self, conflict: &Conflict<'_>) -> Result<Resolution> {
        let remote = conflict.remote.map(list_of).unwrap_or_default();
        let is_longer = list_of(conflict.local).len() > remote.len();
        Ok(if is_longer { Resolution::Local } else { Resolution::Remote })
    }
}

/// Keeps the items of both sides.
#[derive(Debug)]
struct Both;

impl ConflictResolver for Both {
    fn name(&self) -> &str {
        "both"
    }

    fn resolve(&self, conflict: &Conflict<'_>) -> Result<Resolution> {
        let mut both = list_of(conflict.local);
        both.extend(conflict.remote.map(list_of).unwrap_or_default());
        Ok(Resolution::Merge(Body::from_value(&both)?))
    }
}

/// The app's promise to its users: every item that was added to a list is still on it.
#[derive(Debug, Default)]
struct NothingForgotten(BTreeMap<DocumentKey, List>);

impl Oracle for NothingForgotten {
    fn name(&self) -> &'static str {
        "nothing forgotten"
    }

    fn see(&mut self, fact: &Fact, _: &History, _: &mut dyn Look) -> OracleResult {
        if let Fact::Wrote { key, after: Some(after), .. } = fact {
            self.0.entry(key.clone()).or_default().extend(list_of(after));
        }
        Ok(())
    }

    fn finish(&mut self, _: &History, look: &mut dyn Look) -> OracleResult {
        for scope in look.scopes_of(0) {
            for (key, row) in look.server_rows(&scope) {
                let wanted = self.0.get(&key).cloned().unwrap_or_default();
                if let Some(forgotten) = wanted.difference(&list_of(&row.state)).next() {
                    return Err(format!("{forgotten} is not on the list {key} any more"));
                }
            }
        }
        Ok(())
    }
}

fn simulate(resolver: Arc<dyn ConflictResolver>) -> Report {
    let mut workload = Workload::default();
    (workload.deletes, workload.erasures, workload.transactions) = (0, 0, 0);
    workload.swarm = false;
    let faults = [FaultKind::Cut, FaultKind::Clog, FaultKind::Crash, FaultKind::Offline];
    Simulation::builder()
        .clients(3)
        .documents(2)
        .seconds(120)
        .seeds(0..10)
        .workload(workload)
        .faults(Faults::only(faults))
        .resolve_on_server(false)
        .resolver(resolver)
        .edit(|shown, chance| {
            let mut list = list(shown);
            list.insert(format!("thing {}", chance.below(1_000_000)));
            Body::from_value(&list).expect("a list is JSON")
        })
        .oracle(NothingForgotten::default)
        .run()
}

pub(crate) fn main() -> std::io::Result<()> {
    let report = simulate(Arc::new(Longer));
    println!("Longer: {report}");
    let failure = report.failures.first().expect("the bug is found");
    assert_eq!(failure.violation.oracle, "nothing forgotten");
    if let Some(file) = std::env::var_os("PAGE") {
        std::fs::write(&file, html(failure, 600))?;
        println!("as a page: {}", file.display());
    }
    let report = simulate(Arc::new(Both));
    println!("Both: {report}");
    report.assert_sound();
    Ok(())
}
