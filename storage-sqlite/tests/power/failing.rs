//! Disks that fail, and disks that are full.

use storage_kit::Durability;
use storage_sqlite::Synchronous;
use sync_core::error::{Error, ErrorKind, Retry};
use verification::vfs::SimDisk;

use super::film::{Rows, Side, Viewer, reopened};
use super::play::Play;
use super::script::{Step, script};

/// The counts of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Report {
    pub(crate) calls: u64,
    /// Calls that failed correctly.
    pub(crate) errors: u64,
    /// Calls that succeeded although an operation had failed.
    pub(crate) unharmed: u64,
    /// Power failures after a failed call.
    pub(crate) power_failures: u64,
}

/// Two storages on their disks, and the test that lets the disks fail.
struct Fixture {
    play: Play,
    disks: [SimDisk; 2],
    viewers: [Viewer; 2],
    /// The states of each side since the newest that a power failure cannot undo.
    since: [Vec<Rows>; 2],
    report: Report,
}

impl Fixture {
    fn new() -> Self {
        let disks = [SimDisk::new(), SimDisk::new()];
        let play = Play::open(&disks[0], &disks[1], Synchronous::Full);
        let viewers = [0, 1].map(|n| Viewer::open(&disks[n]).unwrap());
        let since = [0, 1].map(|n| vec![viewers[n].rows().unwrap()]);
        Self { play, disks, viewers, since, report: Report::default() }
    }

    fn rows(&self, step: &Step) -> Rows {
        self.viewers[step.side() as usize].rows().unwrap()
    }

    /// Tries a step while the disk fails. Returns the error, or none if the step succeeded.
    fn attempt(&mut self, number: usize, step: &Step, before: &Rows) -> Option<Error> {
        let failed = |disks: &[SimDisk; 2]| disks[0].failed() + disks[1].failed();
        let so_far = failed(&self.disks);
        let result = self.play.carry_out(number, step);
        for disk in &self.disks {
            disk.mend();
        }
        let is_met = failed(&self.disks) > so_far;
        let Err(error) = result else {
            self.report.unharmed += u64::from(is_met);
            self.note(step);
            return None;
        };
        assert!(is_met, "step {number}, {step:?}: {error}");
        self.report.errors += 1;
        assert_eq!(error.kind(), ErrorKind::Storage, "step {number}, {step:?}: {error}");
        // The same call can be retried without reopening.
        assert_eq!(error.retry(), Retry::Later(None), "step {number}, {step:?}: {error}");
        assert!(error.report().to_string().contains("app.db"), "{error}");
        assert!(self.rows(step) == *before, "step {number}, {step:?} failed and changed something");
        Some(error)
    }

    /// Records that a step succeeded.
    fn note(&mut self, step: &Step) {
        let side = step.side() as usize;
        if step.durability() == Durability::Power {
            self.since[side].clear();
        }
        self.since[side].push(self.rows(step));
    }

    /// Lets the power fail after a failed call. The call may have happened, but not in part.
    /// Returns the state if it is not one from before the call.
    fn lose_power(&mut self, side: Side, salt: u64) -> Option<Rows> {
        let (disk, _) = self.disks[side as usize].moment().lose_power(salt);
        self.report.power_failures += 1;
        let left = reopened(side, &disk, Synchronous::Full).unwrap();
        (!self.since[side as usize].contains(&left)).then_some(left)
    }
}

/// Lets every step fail at each of its operations in turn, until it succeeds, and then the next
/// step. An operation whose failure does not fail the call ends the round for that step: rounds are
/// repeated until no operation is left.
pub(crate) fn fail_at_every_operation() -> Report {
    let steps = script();
    // The operation to continue with for each step; none once each was tried.
    let mut from = vec![Some(0); steps.len()];
    let mut total = Report::default();
    loop {
        let mut fixture = Fixture::new();
        for (number, (step, from)) in steps.iter().zip(&mut from).enumerate() {
            *from = fail_step(&mut fixture, number, step, *from);
        }
        fixture.play.close();
        total.calls += fixture.report.calls;
        total.errors += fixture.report.errors;
        total.unharmed += fixture.report.unharmed;
        total.power_failures += fixture.report.power_failures;
        if from.iter().all(Option::is_none) {
            return total;
        }
    }
}

/// Lets a step fail at each operation from `from` on, until it succeeds. Returns the operation to
/// continue with in the next round.
fn fail_step(fixture: &mut Fixture, number: usize, step: &Step, from: Option<u64>) -> Option<u64> {
    let Some(mut next) = from else {
        fixture.play.carry_out(number, step).unwrap();
        fixture.note(step);
        return None;
    };
    let before = fixture.rows(step);
    let mut undecided = Vec::new();
    loop {
        fixture.report.calls += 1;
        for disk in &fixture.disks {
            let at = disk.operations() + next;
            disk.fail(at..at + 1);
        }
        next += 1;
        let unharmed = fixture.report.unharmed;
        if fixture.attempt(number, step, &before).is_none() {
            let after = fixture.rows(step);
            assert!(undecided.iter().all(|left| *left == after), "step {number} in part");
            return (fixture.report.unharmed > unharmed).then_some(next);
        }
        if next.is_multiple_of(5) {
            undecided.extend(fixture.lose_power(step.side(), next ^ number as u64));
        }
    }
}

/// Before every step there is space for a quarter of a page, for two, and so on, until the step
/// succeeds.
pub(crate) fn fill_the_disk() -> Report {
    let mut fixture = Fixture::new();
    for (number, step) in script().iter().enumerate() {
        let before = fixture.rows(step);
        for room in 0.. {
            fixture.report.calls += 1;
            for disk in &fixture.disks {
                disk.set_capacity(Some(disk.used() + room * 1_024));
            }
            if fixture.attempt(number, step, &before).is_none() {
                break;
            }
        }
    }
    fixture.play.close();
    fixture.report
}
