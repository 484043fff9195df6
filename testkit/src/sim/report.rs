//! The findings of a simulation.

use std::fmt;

use super::{FaultKind, Plan, Tally, Trace, Violation, diagram};

/// The largest number of moments of a trace that a report shows.
const SHOWN: usize = 120;

/// A run that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The violation in the run of the seed.
    pub violation: Violation,
    /// The smallest plan that was found to fail in the same way.
    pub plan: Plan,
    /// The violation with that plan.
    pub shrunk: Violation,
    /// The trace of that plan.
    pub trace: Trace,
}

/// The findings of a simulation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The sum of what the runs did.
    pub tally: Tally,
    /// The failed runs, by seed.
    pub failures: Vec<Failure>,
}

impl Report {
    /// Returns whether no run failed.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.failures.is_empty()
    }

    /// Panics if one of these faults never met a client in one of the [phases](super::ClientPhase):
    /// such runs prove nothing about that pair.
    ///
    /// # Panics
    /// If a pair never occurred.
    #[track_caller]
    pub fn assert_covered(&self, kinds: &[FaultKind]) {
        let missing = self.tally.coverage.missing(kinds);
        assert!(missing.is_empty(), "never met: {missing:?}");
    }

    /// Panics if any run failed, with the failures.
    ///
    /// # Panics
    /// If a run failed.
    #[track_caller]
    pub fn assert_sound(&self) {
        assert!(self.is_sound(), "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { runs, writes, conflicts, faults, millis, .. } = &self.tally;
        let hours = *millis as f64 / 3_600_000.0;
        writeln!(
            f,
            "{runs} runs, {hours:.1} simulated hours, {writes} writes, {conflicts} conflicts, {faults} faults: {} failed",
            self.failures.len()
        )?;
        for failure in &self.failures {
            writeln!(f, "\nseed {} fails: {}", failure.seed, failure.violation)?;
            writeln!(f, "shrunk to {} actions: {}", failure.plan.actions.len(), failure.shrunk)?;
            write!(f, "{}{}", failure.plan.to_json(), diagram::text(&failure.trace, SHOWN))?;
        }
        Ok(())
    }
}
