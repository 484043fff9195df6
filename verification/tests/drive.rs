//! The real driver, codec and server on paused time, with faulty links.
//!
//! `TESTKIT_DRIVE=0..1000` runs these seeds.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::ops::Range;

use verification::drive::{Drive, DriveOutcome};

fn seeds() -> Range<u64> {
    let Ok(range) = std::env::var("TESTKIT_DRIVE") else { return 0..12 };
    let (from, to) = range.split_once("..").unwrap();
    from.parse().unwrap()..to.parse().unwrap()
}

fn run(drive: Drive) -> DriveOutcome {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap().block_on(drive.run())
}

#[test]
fn replicas_converge_and_lose_no_acknowledged_write_over_faulty_links() {
    let (mut faults, mut millis, mut writes) = (BTreeMap::new(), 0, 0);
    for seed in seeds() {
        let outcome = run(Drive::new(seed));
        assert!(outcome.broken.is_empty(), "seed {seed}: {:#?}", outcome.broken);
        assert!(outcome.writes > 0, "seed {seed} wrote nothing");
        for (fault, count) in outcome.faults {
            *faults.entry(fault).or_insert(0) += count;
        }
        millis += outcome.millis;
        writes += outcome.writes;
    }
    println!("{} virtual seconds, {writes} writes, {faults:#?}", millis / 1_000);
    for fault in [
        "cut",
        "deaf",
        "flipped",
        "late",
        "refused",
        "restored",
        "restored in silence",
        "slow to come up",
        "stopped",
        "the server starts anew",
        "torn",
        "twice",
    ] {
        assert!(faults.contains_key(fault), "{fault} never took place: {faults:?}");
    }
}

#[test]
fn a_run_without_faults_has_none() {
    let outcome = run(Drive { faults: false, ..Drive::new(1) });
    assert_eq!(outcome.broken, Vec::<String>::new());
    assert!(outcome.faults.is_empty(), "{:?}", outcome.faults);
}

#[test]
fn runs_of_the_same_seed_are_equal_frame_by_frame() {
    let (one, two) = (run(Drive::new(3)), run(Drive::new(3)));
    let differs = one.trace.iter().zip(&two.trace).find(|(a, b)| a != b);
    assert_eq!(differs, None);
    assert_eq!(one, two);
}
