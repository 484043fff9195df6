//! Every check of `verification::fuzz`, on good input, on damaged input, and on the input that
//! fuzzing found.
//!
//! `TESTKIT_FUZZ=1000000` tries that many inputs for each check.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test ends")]

use std::fs;
use std::future::Future;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use verification::fuzz::{self, CHECKS, Damage, Target};

/// Returns how many damaged inputs each check gets.
fn rounds() -> usize {
    std::env::var("TESTKIT_FUZZ").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Returns good input for a check.
fn samples(target: &Target) -> Vec<Vec<u8>> {
    let mut samples = (target.samples)();
    let vectors = fuzz::golden(&root().join("spec/vectors")).unwrap();
    let is_frame = |name: &str| name.starts_with("frame");
    match target.name {
        "message" => samples.extend(vectors.into_iter().filter(|(n, _)| !is_frame(n)).map(|v| v.1)),
        "frame" => samples.extend(vectors.into_iter().filter(|(n, _)| is_frame(n)).map(|v| v.1)),
        _ => {}
    }
    samples
}

/// Returns the inputs that fuzzing found, in `fuzz/regressions/CHECK`.
fn regressions(check: &str) -> Vec<(String, Vec<u8>)> {
    let folder = root().join("fuzz/regressions").join(check);
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect()
}

/// Runs a check, and prints the input if it fails: a panic alone would not.
fn run(target: &Target, from: &str, bytes: &[u8]) {
    let held = catch_unwind(|| (target.check)(bytes)).is_ok();
    let escaped = || bytes.iter().map(|b| format!("\\x{b:02x}")).collect::<String>();
    assert!(held, "the check {} failed with {from}: b\"{}\"", target.name, escaped());
}

#[test]
fn every_check_holds_for_good_input_and_for_damaged_input() {
    for target in CHECKS {
        let good = samples(target);
        for bytes in &good {
            run(target, "good input", bytes);
        }
        let good: Vec<&[u8]> = good.iter().map(Vec::as_slice).collect();
        for (round, bytes) in Damage::new(1, &good).take(rounds()).enumerate() {
            run(target, &format!("damage {round}"), &bytes);
        }
    }
}

#[test]
fn regressions_of_fuzzing_hold() {
    for target in CHECKS {
        for (path, bytes) in regressions(target.name) {
            run(target, &path, &bytes);
        }
    }
}

/// Runs a check on paused time, which the checks of links need.
fn paused(check: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap().block_on(check);
}

#[test]
fn both_ends_of_a_link_hold_for_any_frames() {
    let good = fuzz::frames_of_links();
    let good: Vec<&[u8]> = good.iter().map(Vec::as_slice).collect();
    let damaged = Damage::new(2, &good).take(rounds());
    for bytes in good.iter().map(|bytes| bytes.to_vec()).chain(damaged) {
        let shown: String = bytes.iter().map(|b| format!("\\x{b:02x}")).collect();
        let server = catch_unwind(|| paused(fuzz::server_link(&bytes)));
        assert!(server.is_ok(), "the server's end: b\"{shown}\"");
        let client = catch_unwind(|| paused(fuzz::client_link(&bytes)));
        assert!(client.is_ok(), "the replica's end: b\"{shown}\"");
    }
}
