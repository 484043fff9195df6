//! Simulates an app's own resolver: many clients, partitions and crashes, until it shows what it loses.
//!
//! The documents are counters, and every edit adds one. `Highest` looks right: of two counters the higher one stands. But
//! two devices that add one each while they are apart then have one where there should be two. The simulation finds that,
//! shrinks it to the few actions that it takes, and shows it; `Sum`, which looks at the base, is sound.
//!
//! ```sh
//! cargo run --release --example simulate_my_resolver                # in the terminal
//! cargo run --release --example simulate_my_resolver -- lost.html   # and as a page
//! ```

#![allow(clippy::expect_used, reason = "an example")]

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use testkit::sim::diagram::html;
use testkit::sim::{
    Fact, FaultKind, Faults, History, Look, Oracle, Report, Simulation, Verdict, Workload,
};
use twotide::core::model::{DocumentKey, DocumentState};
use twotide::prelude::*;

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Counter {
    count: i64,
}

fn count(state: &DocumentState) -> i64 {
    state.body.as_ref().and_then(|b| b.to::<Counter>().ok()).unwrap_or_default().count
}

/// Of two counters the higher one stands. This is the bug.
#[derive(Debug)]
struct Highest;

impl ConflictResolver for Highest {
    fn name(&self) -> &str {
        "highest"
    }

    fn resolve(&self, conflict: &Conflict<'_>) -> Result<Resolution> {
        let remote = conflict.remote.map(count).unwrap_or_default();
        Ok(if count(conflict.local) > remote { Resolution::Local } else { Resolution::Remote })
    }
}

/// What both sides added to the base.
#[derive(Debug)]
struct Sum;

impl ConflictResolver for Sum {
    fn name(&self) -> &str {
        "sum"
    }

    fn needs_base(&self) -> bool {
        true
    }

    fn resolve(&self, conflict: &Conflict<'_>) -> Result<Resolution> {
        let base = conflict.base.map(count).unwrap_or_default();
        let remote = conflict.remote.map(count).unwrap_or_default();
        let counter = Counter { count: count(conflict.local) + remote - base };
        Ok(Resolution::Merge(Body::from_value(&counter)?))
    }
}

/// What the app promises its users: every edit counts.
#[derive(Debug, Default)]
struct EveryEditCounts(BTreeMap<DocumentKey, i64>);

impl Oracle for EveryEditCounts {
    fn name(&self) -> &'static str {
        "every edit counts"
    }

    fn see(&mut self, fact: &Fact, _: &History, _: &mut dyn Look) -> Verdict {
        if let Fact::Wrote { key, .. } = fact {
            *self.0.entry(key.clone()).or_default() += 1;
        }
        Ok(())
    }

    fn finish(&mut self, _: &History, look: &mut dyn Look) -> Verdict {
        for scope in look.scopes_of(0) {
            for (key, row) in look.server_rows(&scope) {
                let (edits, counted) = (self.0.get(&key).copied().unwrap_or(0), count(&row.state));
                if edits != counted {
                    return Err(format!("{key} was edited {edits} times and shows {counted}"));
                }
            }
        }
        Ok(())
    }
}

fn simulate(resolver: Arc<dyn ConflictResolver>) -> Report {
    let mut workload = Workload::default();
    (workload.deletes, workload.swarm) = (0, false);
    let faults = [FaultKind::Cut, FaultKind::Clog, FaultKind::Crash, FaultKind::Offline];
    Simulation::builder()
        .clients(3)
        .documents(2)
        .seconds(120)
        .seeds(0..20)
        .workload(workload)
        .faults(Faults::only(faults))
        .resolve_on_server(false)
        .resolver(resolver)
        .edit(|shown, _| {
            let before = shown.and_then(|b| b.to::<Counter>().ok()).unwrap_or_default();
            Body::from_value(&Counter { count: before.count + 1 }).expect("a counter is JSON")
        })
        .oracle(EveryEditCounts::default)
        .run()
}

/// Finds the bug, shows it, on a page too if there is a file to write it to, and shows that the other resolver is sound.
pub fn run(page: Option<String>) -> std::io::Result<()> {
    let report = simulate(Arc::new(Highest));
    println!("Highest: {report}");
    let failure = report.failures.first().expect("the bug is found");
    assert_eq!(failure.violation.oracle, "every edit counts");
    if let Some(file) = page {
        std::fs::write(&file, html(failure, 600))?;
        println!("as a page: {file}");
    }
    let report = simulate(Arc::new(Sum));
    println!("Sum: {report}");
    report.assert_sound();
    Ok(())
}

/// The example, with the page that is named first, if one is.
pub fn main() -> std::io::Result<()> {
    run(std::env::args().nth(1))
}
