//! Plans that are kept as files: each failed once, and must not fail again.

use std::path::{Path, PathBuf};

use super::{Plan, Simulation};

/// Defines a test that replays every plan of a folder of the current crate, on stores in memory.
///
/// When a simulation fails, keep the shrunk plan (`twotide simulate --save`, or [`Plan::to_json`])
/// as `NAME.plan.json` in that folder: from then on it is replayed in milliseconds.
///
/// ```no_run
/// testkit::simtest!(replay "tests/regressions");
/// ```
#[macro_export]
macro_rules! simtest {
    (replay $folder:literal) => {
        #[test]
        fn plans_that_failed_once_hold() {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/", $folder);
            $crate::sim::replay_folder(&$crate::sim::Simulation::builder().build(), folder);
        }
    };
}

/// Replays every `*.plan.json` of a folder with a simulation, whose resolver, edit and oracles are
/// used for all of them; returns their number.
///
/// # Panics
/// If the folder has no plan, a file is not a plan, or a plan fails: with its name and the diagram.
#[allow(clippy::panic, reason = "this is how a test ends")]
pub fn replay_folder(simulation: &Simulation, folder: impl AsRef<Path>) -> usize {
    let plans = plans(folder.as_ref());
    assert!(!plans.is_empty(), "there is no *.plan.json in {}", folder.as_ref().display());
    for (file, plan) in &plans {
        if let Err(failure) = simulation.replay(plan) {
            let trace = super::diagram::text(&failure.trace, 120);
            panic!("{}: {}\n{trace}", file.display(), failure.violation);
        }
    }
    plans.len()
}

/// Returns the plans of a folder, by their names.
///
/// # Panics
/// If the folder or a plan in it cannot be read.
#[must_use]
#[allow(clippy::panic, reason = "this is how a test ends")]
pub fn plans(folder: &Path) -> Vec<(PathBuf, Plan)> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| file.to_string_lossy().ends_with(".plan.json"))
        .collect();
    files.sort();
    let read = |file: PathBuf| {
        let text = std::fs::read_to_string(&file);
        let text = text.unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let plan = Plan::from_json(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        (file, plan)
    };
    files.into_iter().map(read).collect()
}
