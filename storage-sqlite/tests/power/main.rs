//! What power failures, failing disks and full disks leave of replicas and servers: real SQLite on a simulated disk.
//!
//! One script of more than a hundred calls runs on both storages, with their threads. At every change of their disks the
//! power fails; what is opened then must be a state that the script went through, at or after the newest one that was
//! acknowledged as durable.
//!
//! `TWOTIDE_TEST_POWER_TIMES=N` has the power fail N times at each change, each time with other losses. The usual number is 1.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "../common/simulated.rs"]
mod simulated;

mod failing;
mod film;
mod play;
mod script;
mod world;

use film::{Film, Side};
use storage_sqlite::Synchronous;
use testkit::search::SplitMix64;
use testkit::vfs::Loss;

fn times() -> u64 {
    std::env::var("TWOTIDE_TEST_POWER_TIMES").map_or(1, |times| times.parse().unwrap())
}

/// What decides the losses at a change; all ways of losing come in turn.
fn salt(side: Side, change: usize, time: u64) -> u64 {
    SplitMix64::of(side as u64, change as u64).next_u64().wrapping_add(time)
}

/// The power fails at every change of one side; what was lost, and what is wrong with what is left.
fn fail_everywhere(film: &Film, side: Side) -> (Loss, Vec<String>) {
    let (mut loss, mut wrong) = (Loss::default(), Vec::new());
    for (change, moment) in film.recording(side).moments().enumerate() {
        for time in 0..times() {
            let (disk, lost) = moment.lose_power(salt(side, change, time));
            loss += lost;
            if let Err(what) = film.check(side, moment.done, &disk) {
                wrong.push(format!("at change {change} of the {side:?}: {what}"));
            }
        }
    }
    (loss, wrong)
}

#[test]
fn a_power_failure_at_any_change_leaves_what_was_acknowledged_and_nothing_torn() {
    for sector in [512, 4_096] {
        let film = Film::shoot(Synchronous::Full, |_| (), sector);
        for side in [Side::Replica, Side::Server] {
            let (loss, wrong) = fail_everywhere(&film, side);
            let changes = film.recording(side).len();
            println!(
                "{side:?}, sectors of {sector}: {} calls, {changes} changes, {} power failures: {loss:?}",
                film.calls(side),
                (changes as u64 + 1) * times(),
            );
            assert!(wrong.is_empty(), "{} are wrong, as\n{}", wrong.len(), wrong[0]);
            assert!(film.calls(side) > 30 && loss.torn > 100 && loss.names > 0);
        }
    }
}

/// The checks above would notice.
#[test]
fn commits_that_are_not_synced_are_found_to_be_lost() {
    let normal = Film::shoot(Synchronous::Normal, |_| (), 4_096);
    let lying = Film::shoot(Synchronous::Full, |disk| disk.ignore_syncs(true), 4_096);
    for (film, why) in [(normal, "synchronous is normal"), (lying, "syncs do nothing")] {
        for side in [Side::Replica, Side::Server] {
            let (_, wrong) = fail_everywhere(&film, side);
            println!("{side:?}: {} failures are noticed if {why}", wrong.len());
            assert!(wrong.len() > 10, "{side:?}: {wrong:?}");
        }
    }
}

#[test]
fn what_a_power_failure_leaves_goes_on_syncing() {
    let film = Film::shoot(Synchronous::Full, |_| (), 4_096);
    let mut met = std::collections::BTreeSet::new();
    for side in [Side::Replica, Side::Server] {
        for (change, moment) in film.recording(side).moments().enumerate() {
            for time in 0..times() {
                let (disk, _) = moment.lose_power(salt(side, change, time));
                let state = film.check(side, moment.done, &disk).unwrap();
                // The same state beside the same state of the other side was seen already.
                if met.insert((side, state, film.step_at(side, moment.done))) {
                    world::assert_goes_on(&film, side, moment.done, &disk);
                }
            }
        }
    }
    println!("{} pairs of states go on syncing", met.len());
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
