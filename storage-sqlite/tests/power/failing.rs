//! Disks that fail, and disks that are full.

use storage_kit::Durability;
use storage_sqlite::Synchronous;
use sync_core::error::{Error, ErrorKind, Retry};
use verification::vfs::SimDisk;

use super::film::{Rows, Side, Viewer, reopened};
use super::play::Play;
use super::script::{Step, script};

/// What was met.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Report {
    pub(crate) calls: u64,
    /// Calls that failed, and did it right.
    pub(crate) errors: u64,
    /// Calls that went through although an operation had failed.
    pub(crate) unharmed: u64,
    /// Power failures after a failed call.
    pub(crate) power_failures: u64,
}

/// Two storages on their disks, in the hands of a test that lets their disks fail.
struct Fixture {
    play: Play,
    disks: [SimDisk; 2],
    viewers: [Viewer; 2],
    /// The states of each side since the newest that a power failure cannot take back.
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

    /// Tries a step while something fails. If it goes through, it is done, and nothing is returned.
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
        // The same call works again, and nothing has to be opened anew.
        assert_eq!(error.retry(), Retry::Later(None), "step {number}, {step:?}: {error}");
        assert!(error.report().to_string().contains("app.db"), "{error}");
        assert!(self.rows(step) == *before, "step {number}, {step:?} failed and changed something");
        Some(error)
    }

    /// A step went through.
    fn note(&mut self, step: &Step) {
        let side = step.side() as usize;
        if step.durability() == Durability::Power {
            self.since[side].clear();
        }
        self.since[side].push(self.rows(step));
    }

    /// The power fails after a call that failed. Whether it took place is open then, but it did not
    /// in part: what is left is returned if it is not from before the call.
    fn lose_power(&mut self, side: Side, salt: u64) -> Option<Rows> {
        let (disk, _) = self.disks[side as usize].moment().lose_power(salt);
        self.report.power_failures += 1;
        let left = reopened(side, &disk, Synchronous::Full).unwrap();
        (!self.since[side as usize].contains(&left)).then_some(left)
    }
}

/// Every step fails at every operation that it needs, one after the other, until it succeeds; then
/// the next one. An operation whose failure does not harm the call ends the round for that step:
/// there are rounds until none is left.
pub(crate) fn fail_at_every_operation() -> Report {
    let steps = script();
    // Where to go on with each step; none once there is no operation left at which it was not
    // tried.
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

/// A step fails at each operation from that one on, until it goes through; the operation to go on
/// with in the next round.
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

/// Before every step there is room for a quarter of a page, for two, and so on, until the step goes
/// through.
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
