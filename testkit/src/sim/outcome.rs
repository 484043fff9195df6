//! The result of one run.

use std::collections::BTreeSet;

use super::Tally;
use super::run::Violation;
use super::trace::Trace;

/// The result of one run.
#[derive(Debug)]
pub(super) struct RunOutcome {
    pub(super) tally: Tally,
    pub(super) violation: Option<Violation>,
    pub(super) fingerprint: u64,
    pub(super) trace: Trace,
    pub(super) noticed: BTreeSet<&'static str>,
}

impl RunOutcome {
    /// Returns the result for a plan that this simulation cannot run.
    pub(super) fn not_run(what: String) -> Self {
        Self {
            tally: Tally::default(),
            violation: Some(Violation { oracle: "setting", at: 0, what }),
            fingerprint: 0,
            trace: Trace::default(),
            noticed: BTreeSet::new(),
        }
    }
}
