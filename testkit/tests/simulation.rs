//! Simulated worlds, whose seeds are given by `TESTKIT_SIM=FROM..TO` or are the usual few.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use testkit::sim::{Faults, Simulation};

fn seeds(usual: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("TESTKIT_SIM") else { return usual };
    let (from, to) = text.split_once("..").expect("FROM..TO");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[test]
fn replicas_converge_without_faults() {
    let report = Simulation::builder().faults(Faults::none()).seeds(seeds(0..8)).run();
    println!("{report}{:?}", report.tally);
    report.assert_sound();
}

#[test]
fn nothing_breaks_in_a_swarm_of_faults() {
    let report = Simulation::builder().faults(Faults::swarm()).seeds(seeds(0..8)).run();
    println!("{report}{:?}", report.tally);
    report.assert_sound();
}
