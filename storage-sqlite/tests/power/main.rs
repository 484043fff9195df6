//! Power failures, failing disks and full disks for replicas and servers: real SQLite on a
//! simulated disk.
//!
//! One script of more than a hundred calls runs on both storages, with their threads. At every
//! change of their disks the power fails; the reopened storage must be in a state of the script, at
//! or after the newest one that was acknowledged as durable.
//!
//! `TWOTIDE_TEST_POWER_TIMES=N` lets the power fail N times at each change, each time with other
//! losses. The default is 1.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "../common/simulated.rs"]
mod simulated;

mod failing;
mod film;
mod play;
mod script;
mod world;

use std::collections::BTreeSet;

use film::{Film, Side};
use storage_sqlite::Synchronous;
use testkit::random::SplitMix64;
use verification::vfs::{Loss, SimDisk};

const SIDES: [Side; 2] = [Side::Replica, Side::Server];

fn times() -> u64 {
    std::env::var("TWOTIDE_TEST_POWER_TIMES").map_or(1, |times| times.parse().unwrap())
}

/// Returns the number that determines the losses at a change; all ways of losing occur.
fn salt(side: Side, change: usize, time: u64) -> u64 {
    SplitMix64::of(side as u64, change as u64).next_u64().wrapping_add(time)
}

/// The result of power failures at changes of one side.
#[derive(Default)]
struct Outcome {
    failures: u64,
    loss: Loss,
    wrong: Vec<String>,
}

/// Lets the power fail at every change of one side, or at each n-th. The callback receives the
/// number of completed changes, the disk, and its state.
fn fail(
    film: &Film,
    side: Side,
    each: usize,
    mut see: impl FnMut(usize, &SimDisk, usize),
) -> Outcome {
    let mut outcome = Outcome::default();
    for (change, moment) in film.recording(side).moments().enumerate().step_by(each) {
        for time in 0..times() {
            let (disk, lost) = moment.lose_power(salt(side, change, time));
            outcome.failures += 1;
            outcome.loss += lost;
            match film.check(side, moment.done, &disk) {
                Ok(state) => see(moment.done, &disk, state),
                Err(what) => outcome.wrong.push(format!("at change {change}: {what}")),
            }
        }
    }
    outcome
}

fn assert_nothing_is_wrong(film: &Film, side: Side, see: impl FnMut(usize, &SimDisk, usize)) {
    let Outcome { failures, loss, wrong } = fail(film, side, 1, see);
    let (calls, changes) = (film.calls(side), film.recording(side).len());
    println!("{side:?}: {calls} calls, {changes} changes, {failures} power failures: {loss:?}");
    assert!(wrong.is_empty(), "{} failures of the {side:?} do harm, as {}", wrong.len(), wrong[0]);
    assert!(loss.kept > 100 && loss.lost > 100 && loss.torn > 100 && loss.names > 0);
}

#[test]
fn after_a_power_failure_at_any_change_acknowledged_data_is_kept_and_syncs() {
    let film = Film::shoot(Synchronous::Full, |_| (), 4_096);
    for side in SIDES {
        let mut met = BTreeSet::new();
        assert_nothing_is_wrong(&film, side, |done, disk, state| {
            // Each pair of states of the two sides is only tested once.
            if met.insert((state, film.step_at(side, done))) {
                world::assert_goes_on(&film, side, done, disk);
            }
        });
        println!("{side:?}: {} pairs of states go on syncing", met.len());
    }
    assert!(SIDES.iter().map(|side| film.calls(*side)).sum::<usize>() > 100);
}

#[test]
fn smaller_sectors_are_lost_and_torn_without_harm_too() {
    let film = Film::shoot(Synchronous::Full, |_| (), 512);
    for side in SIDES {
        assert_nothing_is_wrong(&film, side, |_, _, _| ());
    }
}

/// Verifies that the checks above would detect losses.
#[test]
fn the_loss_of_unsynced_commits_is_detected() {
    let normal = Film::shoot(Synchronous::Normal, |_| (), 4_096);
    let lying = Film::shoot(Synchronous::Full, |disk| disk.ignore_syncs(true), 4_096);
    for (film, why) in [(normal, "synchronous is normal"), (lying, "syncs do nothing")] {
        for side in SIDES {
            let Outcome { failures, wrong, .. } = fail(&film, side, 5, |_, _, _| ());
            println!("{side:?}: {} of {failures} do harm if {why}", wrong.len());
            assert!(wrong.len() > 10, "{side:?}: {wrong:?}");
        }
    }
}

#[test]
fn a_disk_that_fails_at_any_operation_fails_the_call_and_loses_nothing() {
    let report = failing::fail_at_every_operation();
    println!("{report:?}");
    assert!(report.errors > 1_000 && report.unharmed > 100);
}

#[test]
fn a_full_disk_fails_the_call_and_loses_nothing() {
    let report = failing::fill_the_disk();
    println!("{report:?}");
    assert!(report.errors > 200);
}
