//! Every mutant is detected, and every oracle detects one.
//!
//! The plans in `regressions/mutant-NAME.plan.json` show one mutant each, in milliseconds. The
//! search for such plans takes long: `TESTKIT_MUTANT_SEEDS` sets how many seeds each mutant may
//! take, and without it only one mutant is searched for. `TESTKIT_MUTANT` selects one mutant; with
//! `UPDATE_PLANS` the plans are written.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use sync_core::mutants::{Mutant, with};
use testkit::cores::MemoryCores;
use testkit::sim::{Plan, Simulation, oracles};
use testkit::traces::verdicts_on_another_batch_change_nothing;
use verification::planted::{Fallen, by_oracle, run_all};

fn plan_of(mutant: Mutant) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/tests/regressions");
    folder.join(format!("mutant-{mutant}.plan.json"))
}

#[test]
fn the_plan_of_each_mutant_fails_with_it() {
    let (mut count, mut unnoticed) = (0, Vec::new());
    for mutant in Mutant::ALL {
        let Ok(text) = std::fs::read_to_string(plan_of(*mutant)) else {
            assert!(SHOWN_ELSEWHERE.iter().any(|(m, _)| m == mutant), "{mutant} has no plan");
            continue;
        };
        let plan = Plan::from_json(&text).unwrap();
        let simulation = Simulation::builder().mutant(Some(*mutant)).build();
        match simulation.replay(&plan) {
            Ok(_) => unnoticed.push(mutant.as_str()),
            Err(_) => count += 1,
        }
    }
    assert!(unnoticed.is_empty(), "not noticed any more: {unnoticed:?}");
    println!("{count} of {} mutants have a plan; {SHOWN_ELSEWHERE:?}", Mutant::ALL.len());
}

/// The mutants that no plan can show, because another layer compensates, and what detects each.
const SHOWN_ELSEWHERE: [(Mutant, &str); 4] = [
    (Mutant::AnyVerdictSettles, "the trace below"),
    (Mutant::PositionKeptAfterRestore, "the model check"),
    (Mutant::ResetsAtOnce, "the engine's tests of progress"),
    (Mutant::DeadlinesIgnoreBytes, "the engine's tests of progress"),
];

#[test]
fn a_trace_shows_that_any_verdict_settles() {
    let trace = || verdicts_on_another_batch_change_nothing(MemoryCores);
    assert!(catch_unwind(|| with(Some(Mutant::AnyVerdictSettles), trace)).is_err());
}

#[test]
fn every_mutant_is_detected_and_every_oracle_detects_one() {
    let Ok(most) = std::env::var("TESTKIT_MUTANT_SEEDS") else {
        let fallen = run_all(&Simulation::builder(), &[Mutant::EditOverwritten], &(0..20), tell);
        return assert!(fallen[0].oracle.is_some());
    };
    let only = std::env::var("TESTKIT_MUTANT").ok();
    let only: Option<Mutant> = only.map(|name| name.parse().unwrap());
    let mutants: Vec<Mutant> =
        Mutant::ALL.iter().copied().filter(|m| only.is_none_or(|o| o == *m)).collect();
    let seeds = 0..most.parse().unwrap();
    let fallen = run_all(&Simulation::builder(), &mutants, &seeds, tell);
    if std::env::var_os("UPDATE_PLANS").is_some() {
        for one in &fallen {
            if let Some(plan) = &one.plan {
                std::fs::write(plan_of(one.mutant), plan.to_json()).unwrap();
            }
        }
    }
    // A mutant that no seed detects may have a plan written by hand, which the test above replays.
    let is_alive = |f: &&Fallen| f.oracle.is_none() && !plan_of(f.mutant).exists();
    let alive: Vec<_> = fallen.iter().filter(is_alive).map(|f| f.mutant).collect();
    assert!(alive.is_empty(), "{alive:?}");
    if only.is_none() {
        look_at_bars(&fallen);
        look_at_oracles(&fallen);
    }
}

/// Requires nine in ten within 300 seeds, and half of the shrunk plans with at most six actions.
fn look_at_bars(fallen: &[Fallen]) {
    let quick = fallen.iter().filter(|f| f.seeds <= 300).count();
    let mut lengths: Vec<usize> = fallen.iter().filter_map(|f| f.actions).collect();
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    println!("{quick} of {} within 300 seeds, median {median} actions", fallen.len());
    assert!(quick * 10 >= fallen.len() * 9 && median <= 6, "{lengths:?}");
}

fn look_at_oracles(fallen: &[Fallen]) {
    let noticed = by_oracle(fallen);
    for name in oracles::names() {
        let all = noticed.get(name).map(Vec::as_slice).unwrap_or_default();
        let alone: Vec<&str> = all.iter().filter(|(_, a)| *a).map(|(m, _)| m.as_str()).collect();
        println!("{name:<20} notices {:>2} mutants, alone {alone:?}", all.len());
        assert!(!all.is_empty(), "{name} notices nothing");
    }
}

fn tell(fallen: &Fallen) {
    let Fallen { mutant, seeds, actions, oracles, .. } = fallen;
    println!("{:<32} {seeds:>5} seeds, {actions:?} actions, by {oracles:?}", mutant.as_str());
}

#[test]
fn the_plan_of_each_mutant_holds_without_it() {
    for mutant in Mutant::ALL {
        let Ok(text) = std::fs::read_to_string(plan_of(*mutant)) else { continue };
        let plan = Plan::from_json(&text).unwrap();
        let outcome = Simulation::builder().build().replay(&plan);
        assert!(outcome.is_ok(), "the plan of {mutant} fails by itself: {:?}", outcome.err());
    }
}
