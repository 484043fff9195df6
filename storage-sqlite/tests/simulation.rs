//! The simulation on real SQLite, on disks that lose power and fail. `TESTKIT_SIM=FROM..TO` runs
//! other seeds.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "common/simulated.rs"]
mod simulated;

use simulated::Files;
use testkit::sim::{Faults, Simulation};
use verification::vfs::VfsDisks;

fn seeds(usual: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("TESTKIT_SIM") else { return usual };
    let (from, to) = text.split_once("..").expect("FROM..TO");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[test]
fn nothing_breaks_in_a_swarm_of_faults_on_real_sqlite() {
    let simulation = Simulation::builder().clients(3).seconds(60).faults(Faults::swarm());
    let report = simulation.seeds(seeds(0..6)).build().run_on(|_| VfsDisks::new(Files));
    println!("{report}{:?}", report.tally);
    report.assert_sound();
}
