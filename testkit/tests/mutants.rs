//! Every mutant is noticed.

#![cfg(feature = "mutants")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use sync_core::mutants::Mutant;
use testkit::sim::mutants::{by_oracle, run_all};
use testkit::sim::{Simulation, oracles};

#[test]
fn every_mutant_is_noticed_and_every_oracle_notices_one() {
    let most: u64 = std::env::var("TESTKIT_MUTANT_SEEDS").map_or(300, |s| s.parse().unwrap());
    let only = std::env::var("TESTKIT_MUTANT").ok();
    let only: Option<Mutant> = only.map(|name| name.parse().unwrap());
    let mutants: Vec<Mutant> =
        Mutant::ALL.iter().copied().filter(|m| only.is_none_or(|o| o == *m)).collect();
    let fallen = run_all(&Simulation::builder().clients(4), &mutants, &(0..most), |one| {
        let how = (one.oracle, one.actions);
        println!("{:<32} {:>4} seeds  {how:?}", one.mutant.as_str(), one.seeds);
    });
    let alive: Vec<_> = fallen.iter().filter(|f| f.oracle.is_none()).map(|f| f.mutant).collect();
    let oracles_of = by_oracle(&fallen);
    println!("{oracles_of:#?}");
    let idle: Vec<_> =
        oracles::names().into_iter().filter(|name| !oracles_of.contains_key(name)).collect();
    println!("alive: {alive:?}\noracles that noticed nothing first: {idle:?}");
    assert!(alive.is_empty(), "{alive:?}");
}
