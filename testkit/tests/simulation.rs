//! Simulations of the seeds in `TESTKIT_SIM=FROM..TO`, by default of a few.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use testkit::resolvers::ResolverKind;
use testkit::sim::{FaultKind, Faults, Plan, Simulation, Workload, diagram};

fn seeds(usual: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("TESTKIT_SIM") else { return usual };
    let (from, to) = text.split_once("..").expect("FROM..TO");
    from.parse().expect("a number")..to.parse().expect("a number")
}

/// Returns the number of threads. The findings do not depend on it.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[test]
fn replicas_converge_without_faults() {
    let builder = Simulation::builder().faults(Faults::none()).jobs(processors());
    let report = builder.seeds(seeds(0..8)).run();
    println!("{report}{:?}", report.tally);
    report.assert_sound();
}

#[test]
fn nothing_breaks_in_a_swarm_of_faults() {
    let builder = Simulation::builder().faults(Faults::swarm()).jobs(processors());
    let report = builder.seeds(seeds(0..8)).run();
    println!("{report}{:?}", report.tally);
    report.assert_sound();
}

/// Replays the plan in the file that `TESTKIT_PLAN` names, and prints all of its events.
#[test]
fn a_plan_in_a_named_file_holds() {
    let Ok(file) = std::env::var("TESTKIT_PLAN") else { return };
    let plan = Plan::from_json(&std::fs::read_to_string(file).unwrap()).unwrap();
    let simulation = Simulation::builder().build();
    println!("{}", diagram::text(&simulation.trace(&plan), usize::MAX));
    let failure = simulation.replay(&plan).err();
    assert!(failure.is_none(), "{}", failure.unwrap().violation);
}

/// Without deletions, lost devices and wrong clocks the newest edit of a document is known
/// beforehand.
#[test]
fn the_later_write_wins() {
    use FaultKind::{Crash, Cut, Delay, Duplicate, Flap, LostAnswers, Offline, PowerLoss, Rate};
    let mut workload = Workload::default();
    (workload.deletes, workload.erasures, workload.swarm) = (0, 0, false);
    let kinds = [Crash, Cut, Delay, Duplicate, Flap, LostAnswers, Offline, PowerLoss, Rate];
    let builder = Simulation::builder()
        .resolver_kind(ResolverKind::LastWriteWins)
        .workload(workload)
        .faults(Faults::only(kinds))
        .jobs(processors());
    let report = builder.seeds(seeds(0..8)).run();
    println!("{report}{:?}", report.tally);
    report.assert_sound();
}
