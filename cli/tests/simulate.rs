//! The command `simulate`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use serde_json::json;
use support::{Folder, run};

#[test]
fn a_sound_run_reports_success_and_its_counts() {
    let args = ["simulate", "--seeds", "0..2", "--clients", "3", "--hours", "0.01"];
    let ended = run(&args);
    let line = ended.ok().json();
    assert_eq!((&line["verdict"], &line["runs"]), (&json!("sound"), &json!(2)));
    for counted in ["simulated_hours", "hours_per_second", "writes", "faults", "events", "pairs"] {
        assert!(line[counted].as_f64().unwrap() > 0.0, "{counted} in {line}");
    }
    let again = run(&args).ok().json();
    assert_eq!(line["events"], again["events"], "the same seeds are the same runs");
}

#[test]
fn a_run_with_cover_fails_if_a_fault_did_not_occur_in_some_phase() {
    let short = ["simulate", "--seeds", "0..1", "--hours", "0.001", "--faults", "wipe,clone"];
    run(&short).ok();
    let ended = run(&[&short[..], &["--cover"]].concat());
    ended.fails(&["never met", "wipe in Push"]);
}

#[test]
fn a_plan_is_replayed_from_its_file_and_shown_as_a_page() {
    let folder = Folder::new();
    let plan = concat!(env!("CARGO_MANIFEST_DIR"), "/../testkit/tests/regressions/");
    let plan = format!("{plan}mutant-edit-overwritten.plan.json");
    let page = folder.arg("page.html");
    let line = run(&["simulate", "--replay", &plan, "--html", &page]).ok().json();
    assert_eq!((&line["verdict"], &line["runs"]), (&json!("sound"), &json!(1)));
    let page = std::fs::read_to_string(folder.path("page.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("Nothing was found"), "{page}");
}

#[test]
fn invalid_arguments_are_refused_with_a_reason() {
    run(&["simulate", "--seeds", "5..5"]).misused(&["there is no seed in 5..5"]);
    run(&["simulate", "--faults", "flood"]).misused(&["there is no fault \"flood\"", "loss"]);
    run(&["simulate", "--hours", "0"]).misused(&["at least a second"]);
    run(&["simulate", "--replay", "/does/not/exist.json"]).fails(&["/does/not/exist.json"]);
}
