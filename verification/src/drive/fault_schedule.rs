//! The fault schedule of a run: faults with their times and links, drawn from the seed before the
//! run begins.

use testkit::random::SplitMix64;

use super::Drive;

/// A fault of one replica's links, for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The current link breaks, and none is made until the end.
    Cut,
    /// Links in use deliver nothing more in these directions, for as long as they last, and report
    /// no error.
    Deaf { to_server: bool, to_client: bool },
    /// Nothing arrives before the end; then everything arrives.
    Stall,
    /// Frames take up to that many milliseconds longer.
    Late(u64),
    /// A link takes that many milliseconds to connect.
    Slow(u64),
    /// That many of a hundred frames arrive with one bit changed.
    Flip(usize),
    /// That many of a hundred frames arrive twice.
    Twice(usize),
    /// That many of a hundred frames arrive without their end, and then the link breaks.
    Torn(usize),
    /// The app stops the sync, and starts it again at the end.
    Stopped,
}

/// A fault with its start and end, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ScheduledFault {
    pub(super) from: u64,
    pub(super) until: u64,
    pub(super) fault: Fault,
}

/// A restart of the server's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Restart {
    /// The time in milliseconds.
    pub(super) at: u64,
    /// The data that the new process starts with.
    pub(super) with: Data,
}

/// The data that a process of the server starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Data {
    /// The data that the previous process left.
    AsLeft,
    /// The data that the previous process left, which is also kept as a backup.
    BackedUp,
    /// The newest backup, or an empty storage if there is none.
    Restored {
        /// Whether a new epoch begins, as after the admin command.
        announced: bool,
    },
}

/// The fault schedule of a run.
#[derive(Debug)]
pub(super) struct FaultSchedule {
    seed: u64,
    /// The faults of each replica.
    scheduled_faults: Vec<Vec<ScheduledFault>>,
    restarts: Vec<Restart>,
    /// How many milliseconds pass until the same link has its turn again.
    slots: u64,
}

impl FaultSchedule {
    pub(super) fn new(drive: &Drive) -> Self {
        let scheduled_faults =
            (0..drive.clients.max(1)).map(|client| scheduled_faults(drive, client)).collect();
        let mut random = SplitMix64::of(drive.seed, 2);
        let count = if drive.faults { random.below(5) } else { 0 };
        let mut restarts: Vec<Restart> = (0..count).map(|_| restart(&mut random, drive)).collect();
        restarts.sort_unstable_by_key(|restart| restart.at);
        let slots = 2 * drive.clients.max(1) as u64 + 1;
        Self { seed: drive.seed, scheduled_faults, restarts, slots }
    }

    /// Returns the first millisecond from `at` on that belongs to the `turn`. Each direction of
    /// each replica's links has its own turn, and the server's restarts have the last one: the
    /// order in which two tasks run in one millisecond is not determined, because tokio chooses the
    /// order in which it wakes the watchers of one value.
    pub(super) fn slot(&self, at: u64, turn: usize) -> u64 {
        at + (turn as u64 + self.slots - at % self.slots) % self.slots
    }

    /// Returns the restarts of the server.
    pub(super) fn restarts(&self) -> Vec<Restart> {
        let last = self.scheduled_faults.len() * 2;
        let at = |restart: &Restart| self.slot(restart.at, last);
        self.restarts.iter().map(|restart| Restart { at: at(restart), ..*restart }).collect()
    }

    /// Returns the faults of a replica's links at a time.
    pub(super) fn at(&self, client: usize, at: u64) -> impl Iterator<Item = ScheduledFault> {
        self.of(client).filter(move |scheduled| scheduled.from <= at && at < scheduled.until)
    }

    /// Returns all faults of a replica's links.
    pub(super) fn of(&self, client: usize) -> impl Iterator<Item = ScheduledFault> {
        self.scheduled_faults.get(client).into_iter().flatten().copied()
    }

    /// Returns the random generator of one frame, independent of every other.
    pub(super) fn chance(
        &self,
        client: usize,
        link: usize,
        direction: u64,
        frame: u64,
    ) -> SplitMix64 {
        let of_link = (client as u64) << 40 | (link as u64) << 8 | direction;
        SplitMix64::of(SplitMix64::of(self.seed, of_link).next_u64(), frame)
    }
}

fn restart(random: &mut SplitMix64, drive: &Drive) -> Restart {
    let at = moment(random, drive);
    let with = match random.below(6) {
        0 | 1 => Data::AsLeft,
        2 | 3 => Data::BackedUp,
        4 => Data::Restored { announced: true },
        _ => Data::Restored { announced: false },
    };
    Restart { at, with }
}

fn moment(random: &mut SplitMix64, drive: &Drive) -> u64 {
    random.next_u64() % drive.millis.max(1)
}

/// Draws up to six faults, which may overlap and end with the writing.
fn scheduled_faults(drive: &Drive, client: usize) -> Vec<ScheduledFault> {
    let mut random = SplitMix64::of(drive.seed, 100 + client as u64);
    let count = if drive.faults { random.below(7) } else { 0 };
    let scheduled = |random: &mut SplitMix64| {
        let from = moment(random, drive);
        let until = (from + 200 + random.next_u64() % 15_000).min(drive.millis);
        let percent = 1 + random.below(20);
        let fault = match random.below(10) {
            0 => Fault::Cut,
            1 => Fault::Deaf { to_server: true, to_client: random.percent(50) },
            2 => Fault::Deaf { to_server: random.percent(50), to_client: true },
            3 => Fault::Stall,
            4 => Fault::Late(1 + random.next_u64() % 3_000),
            5 => Fault::Flip(percent),
            6 => Fault::Twice(percent),
            7 => Fault::Torn(percent),
            8 => Fault::Slow(1 + random.next_u64() % 12_000),
            _ => Fault::Stopped,
        };
        ScheduledFault { from, until, fault }
    };
    (0..count).map(|_| scheduled(&mut random)).collect()
}
