//! The faults of a run, with their times and links: drawn from the seed before the run begins.

use crate::search::SplitMix64;

use super::Drive;

/// What is wrong with the links of one replica for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The link there is breaks, and until the end none is made.
    Cut,
    /// Links that carry anything meanwhile deliver nothing more in these directions, for as long as
    /// they last, and report no error.
    Deaf { to_server: bool, to_client: bool },
    /// Nothing arrives before the end, and then all of it.
    Stall,
    /// Frames take longer by up to that many milliseconds.
    Late(u64),
    /// A link takes that many milliseconds to come up.
    Slow(u64),
    /// Of a hundred frames that many arrive with one bit changed.
    Flip(usize),
    /// Of a hundred frames that many arrive twice.
    Twice(usize),
    /// Of a hundred frames that many arrive without their end, and then the link breaks.
    Torn(usize),
    /// The app stops the sync, and starts it at the end.
    Stopped,
}

/// A fault, from a moment up to another one, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spell {
    pub(super) from: u64,
    pub(super) until: u64,
    pub(super) fault: Fault,
}

/// The server's process ends, and another one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Restart {
    /// When, in milliseconds.
    pub(super) at: u64,
    /// With which data.
    pub(super) with: Data,
}

/// What a process of the server finds when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Data {
    /// What the process before it left.
    AsLeft,
    /// That, and it is kept as a backup.
    BackedUp,
    /// The newest backup, or an empty storage if there is none.
    Restored {
        /// A new epoch begins, as the admin command sees to.
        announced: bool,
    },
}

/// All spells of a run.
#[derive(Debug)]
pub(super) struct Weather {
    seed: u64,
    /// Of each replica.
    spells: Vec<Vec<Spell>>,
    restarts: Vec<Restart>,
    /// How many milliseconds pass until it is the same link's turn again.
    slots: u64,
}

impl Weather {
    pub(super) fn new(drive: &Drive) -> Self {
        let spells = (0..drive.clients.max(1)).map(|client| spells(drive, client)).collect();
        let mut random = SplitMix64::of(drive.seed, 2);
        let count = if drive.faults { random.below(5) } else { 0 };
        let mut restarts: Vec<Restart> = (0..count).map(|_| restart(&mut random, drive)).collect();
        restarts.sort_unstable_by_key(|restart| restart.at);
        let slots = 2 * drive.clients.max(1) as u64 + 1;
        Self { seed: drive.seed, spells, restarts, slots }
    }

    /// The first millisecond from `at` on that belongs to the `turn`. Each direction of each
    /// replica's links has its own, and the server's restarts have the last: the order in which two
    /// tasks run in one millisecond is not determined, because tokio chooses the order in which it
    /// wakes the watchers of one value.
    pub(super) fn slot(&self, at: u64, turn: usize) -> u64 {
        at + (turn as u64 + self.slots - at % self.slots) % self.slots
    }

    /// When the server starts anew, and with what.
    pub(super) fn restarts(&self) -> Vec<Restart> {
        let last = self.spells.len() * 2;
        let at = |restart: &Restart| self.slot(restart.at, last);
        self.restarts.iter().map(|restart| Restart { at: at(restart), ..*restart }).collect()
    }

    /// What is wrong with the links of a replica at a moment.
    pub(super) fn at(&self, client: usize, at: u64) -> impl Iterator<Item = Spell> {
        self.of(client).filter(move |spell| spell.from <= at && at < spell.until)
    }

    /// What goes wrong on the links of a replica.
    pub(super) fn of(&self, client: usize) -> impl Iterator<Item = Spell> {
        self.spells.get(client).into_iter().flatten().copied()
    }

    /// What is random about one frame: independent of every other.
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

/// Up to six spells, that may overlap. They are over when the writing is.
fn spells(drive: &Drive, client: usize) -> Vec<Spell> {
    let mut random = SplitMix64::of(drive.seed, 100 + client as u64);
    let count = if drive.faults { random.below(7) } else { 0 };
    let spell = |random: &mut SplitMix64| {
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
        Spell { from, until, fault }
    };
    (0..count).map(|_| spell(&mut random)).collect()
}
