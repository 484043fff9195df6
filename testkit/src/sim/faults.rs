//! The faults of runs, and the plans that are made of them.

use std::collections::BTreeSet;

use sync_core::engine::Direction;

use super::collections;
use super::copies;
use super::directions;
use super::kinds::FaultKind;
use super::plan::{Action, Plan, Refusal, Setting, What};
use super::rates;
use super::stranger;
use crate::random::SplitMix64;

/// The faults that the runs of a simulation may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    kinds: BTreeSet<FaultKind>,
    /// Whether each run has only some of them.
    swarm: bool,
}

impl Faults {
    /// Returns no faults.
    #[must_use]
    pub fn none() -> Self {
        Self { kinds: BTreeSet::new(), swarm: false }
    }

    /// Returns all faults, in every run.
    #[must_use]
    pub fn all() -> Self {
        Self { kinds: FaultKind::ALL.iter().copied().collect(), swarm: false }
    }

    /// Returns all faults, of which each run has some, chosen by its seed: runs without a fault
    /// find violations that the fault would have hidden (Groce and others, "Swarm Testing", 2012).
    #[must_use]
    pub fn swarm() -> Self {
        Self { swarm: true, ..Self::all() }
    }

    /// Returns exactly these faults, in every run.
    #[must_use]
    pub fn only(kinds: impl IntoIterator<Item = FaultKind>) -> Self {
        Self { kinds: kinds.into_iter().collect(), swarm: false }
    }

    /// Removes some faults.
    #[must_use]
    pub fn without(mut self, kinds: impl IntoIterator<Item = FaultKind>) -> Self {
        for kind in kinds {
            self.kinds.remove(&kind);
        }
        self
    }

    /// Returns the kinds that a run may have.
    #[must_use]
    pub fn kinds(&self) -> Vec<FaultKind> {
        self.kinds.iter().copied().collect()
    }

    fn of_run(&self, seed: u64) -> Vec<FaultKind> {
        let mut rng = SplitMix64::of(seed, 0xfa01);
        let part = if self.swarm { 15 + rng.below(50) } else { 100 };
        self.kinds.iter().copied().filter(|_| rng.percent(part)).collect()
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::swarm()
    }
}

/// The workload of the apps in a simulation.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Workload {
    /// The least number of writes of each client in a second. Default 0.5.
    pub writes_per_second: f64,
    /// Of 100 writes, how many are deletions. Default 15.
    pub deletes: usize,
    /// Of 100 writes, how many are erasures. Default 3.
    pub erasures: usize,
    /// Of 100 writes, how many are transactions over several documents. Default 8.
    pub transactions: usize,
    /// Of 100 writes, how many go to the first document. Default 30.
    pub hot: usize,
    /// Of 100 writes, how many follow the previous one within some milliseconds, while it is in
    /// flight. Default 15.
    pub hurried: usize,
    /// Whether each run varies these numbers by its seed. Default yes.
    pub swarm: bool,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            writes_per_second: 0.5,
            deletes: 15,
            erasures: 3,
            transactions: 8,
            hot: 30,
            hurried: 15,
            swarm: true,
        }
    }
}

/// Draws the milliseconds after which a hurried write follows: while the previous one is in flight,
/// or just when it has been settled and the storage forms the next batch.
fn hurry(rng: &mut SplitMix64, setting: &Setting) -> u64 {
    let settled = 2 * setting.latency + 4;
    if rng.percent(50) { rng.next_u64() % 80 } else { settled + rng.next_u64() % 12 }
}

impl Workload {
    fn of_run(&self, seed: u64) -> Self {
        let mut rng = SplitMix64::of(seed, 0x30ad);
        if !self.swarm {
            return self.clone();
        }
        let pick = |rng: &mut SplitMix64, usual: usize| [0, usual, usual, usual * 2][rng.below(4)];
        Self {
            writes_per_second: self.writes_per_second * [1.0, 1.0, 1.0, 2.0][rng.below(4)],
            deletes: pick(&mut rng, self.deletes).min(60),
            erasures: pick(&mut rng, self.erasures).min(20),
            transactions: pick(&mut rng, self.transactions).min(40),
            hot: pick(&mut rng, self.hot).min(90),
            hurried: pick(&mut rng, self.hurried).min(60),
            swarm: false,
        }
    }

    fn write(&self, rng: &mut SplitMix64, client: usize, documents: usize) -> What {
        let salt = rng.next_u64();
        let document = if rng.percent(self.hot) { 0 } else { rng.below(documents) };
        let kind = rng.below(100);
        if kind < self.deletes {
            What::Delete { client, document }
        } else if kind < self.deletes + self.transactions {
            What::Transaction { client, salt }
        } else if kind >= 98 - self.erasures && kind < 98 {
            What::Erase { client, document }
        } else if kind >= 98 {
            What::Decide { client, salt }
        } else {
            What::Put { client, document, salt }
        }
    }
}

impl Plan {
    /// Makes the plan of a setting: the writes of apps and the faults, by its seed.
    #[must_use]
    pub fn generate(setting: Setting, workload: &Workload, faults: &Faults) -> Self {
        let seed = setting.seed;
        let workload = workload.of_run(seed);
        let mut actions = Vec::new();
        // In some runs the apps stop writing while faults continue, so that no later write hides a
        // missing one.
        let quiet = SplitMix64::of(seed, 0x9317).percent(35);
        let writing = if quiet { setting.millis * 3 / 5 } else { setting.millis };
        for client in 0..setting.clients {
            let mut rng = SplitMix64::of(seed, 0x3117 + client as u64);
            let count = workload.writes_per_second * setting.millis as f64 / 1_000.0;
            let mut at = 0;
            for _ in 0..count.ceil() as usize {
                at = match rng.percent(workload.hurried) {
                    true => (at + hurry(&mut rng, &setting)).min(writing),
                    false => rng.next_u64() % writing.max(1),
                };
                let what = workload.write(&mut rng, client, setting.documents);
                actions.push(Action { at, what });
            }
        }
        for kind in faults.of_run(seed) {
            let whom = if kind.is_of_server() { 1 } else { setting.clients };
            for client in 0..whom {
                let entity = 0xfa_0000 + (kind as u64) * 0x1_0000 + client as u64;
                let mut rng = SplitMix64::of(seed, entity);
                // The mean over many seeds is the rate: the fraction is decided by chance.
                let share = kind.per_hour() * setting.millis;
                let count =
                    share / 3_600_000 + u64::from(rng.next_u64() % 3_600_000 < share % 3_600_000);
                for _ in 0..count {
                    let at = rng.next_u64() % setting.millis.max(1);
                    let what = kind.happen(&mut rng, client, &setting);
                    if matches!(kind, FaultKind::Restore | FaultKind::SilentRestore) {
                        actions.extend(before_restore(&mut rng, at, &setting));
                    }
                    if kind == FaultKind::PutBack {
                        actions.push(copies::before_put_back(&mut rng, at, client));
                    }
                    actions.push(Action { at, what });
                }
            }
        }
        actions.sort_by_key(|a| a.at);
        Self { setting, actions }
    }
}

/// Draws the actions before a restore: the backup, and sometimes a purge that the restore undoes,
/// and a replica that notices the purge.
fn before_restore(rng: &mut SplitMix64, at: u64, setting: &Setting) -> Vec<Action> {
    let span = (1_000 + rng.next_u64() % 60_000).min(at);
    let mut actions = vec![Action { at: at - span, what: What::Backup }];
    if rng.percent(30) {
        let scope = rng.below(setting.scopes);
        let purge = Action { at: at - span / 2, what: What::Purge { scope, percent: 100 } };
        let client = rng.below(setting.clients);
        let reset = Action { at: at - span / 3, what: What::RequestReset { client } };
        actions.extend([purge, reset]);
    }
    actions
}

impl FaultKind {
    /// Draws one occurrence.
    fn happen(self, rng: &mut SplitMix64, client: usize, setting: &Setting) -> What {
        let short = 500 + rng.next_u64() % 8_000;
        let long = 2_000 + rng.next_u64() % 60_000;
        let millis = if rng.percent(60) { short } else { long };
        let percent = (5 + rng.below(40)) as u8;
        let salt = rng.next_u64();
        let bad = |loss, duplicate, reorder| What::BadNetwork {
            client,
            millis: long,
            loss,
            duplicate,
            reorder,
        };
        let refuse = |how| What::Refuse { client, millis, how };
        match self {
            Self::Loss => bad(percent, 0, 0),
            Self::Duplicate => bad(0, percent, 0),
            Self::Reorder => bad(0, 0, percent),
            Self::Flip => What::Flips { client, millis: long, percent },
            Self::Delay => What::Delay { client, millis: long, by: 100 + rng.next_u64() % 4_000 },
            Self::Clog => What::Silence { client, millis, to_server: true, to_client: true },
            Self::OneWay => {
                let to_server = rng.percent(50);
                What::Silence { client, millis, to_server, to_client: !to_server }
            }
            Self::Isolate => {
                let cut = (0..setting.clients).filter(|_| rng.percent(50)).collect();
                What::Partition { clients: cut, millis: long }
            }
            Self::Flap => What::Flap {
                client,
                times: 2 + rng.below(6) as u8,
                every: 20 + rng.next_u64() % 900,
            },
            Self::Cut => What::Cut { client },
            Self::SlowReader => What::SlowReader { client, millis: long },
            Self::LostAnswers => What::LoseAnswers { client, millis: short },
            Self::Crash => What::Crash { client, millis, power: false, salt },
            Self::CrashAfterCommit => {
                What::CrashAfterCommit { client, millis, power: rng.percent(30), salt }
            }
            Self::PowerLoss => What::Crash { client, millis, power: true, salt },
            Self::Pause => What::Pause { client, millis },
            Self::DoubleStart => What::DoubleStart { client },
            Self::Offline => What::Offline { client, millis: long },
            Self::DiskError => What::DiskErrors { client, commits: 1 + rng.below(4) as u32 },
            Self::SlowDisk => {
                What::SlowDisk { client, millis: long, by: 50 + rng.next_u64() % 2_000 }
            }
            Self::Skew => What::Jump { client, to: (rng.next_u64() % 600_000) as i64 - 300_000 },
            Self::ClockJump => {
                let hours = [-26, -1, 1, 26][rng.below(4)];
                What::Jump { client, to: hours * 3_600_000 }
            }
            Self::FrozenClock => What::Freeze { client, millis: long },
            Self::ServerRestart => What::RestartServer { millis: short, power: false, salt },
            Self::ServerPowerLoss => What::RestartServer { millis: short, power: true, salt },
            Self::ServerDiskError => What::ServerDiskErrors { commits: 1 + rng.below(3) as u32 },
            Self::Restore => What::Restore,
            Self::SilentRestore => What::RestoreSilently,
            Self::ServerClock => {
                let minutes = [-70, -4, 0, 0, 4, 130][rng.below(6)];
                What::ServerJump { to: minutes * 60_000 }
            }
            Self::SecondServer => What::OtherServer { millis },
            Self::Purge => What::Purge {
                scope: rng.below(setting.scopes),
                percent: [100, 100, 50][rng.below(3)],
            },
            Self::Unauthenticated => refuse(Refusal::Unauthenticated),
            Self::Forbidden => refuse(Refusal::Forbidden),
            Self::TooMany => refuse(Refusal::TooMany),
            Self::Unavailable => refuse(Refusal::Unavailable),
            Self::CutPushes => refuse(Refusal::CutPushes),
            Self::CutPulls => refuse(Refusal::CutPulls),
            Self::ClockRefused => refuse(Refusal::Clock),
            Self::ClonedRefused => refuse(Refusal::Cloned),
            Self::Misplaced => refuse(Refusal::Misplaced),
            Self::Revoke => What::Revoke { client, scope: rng.below(2), millis },
            Self::RequestReset => What::RequestReset { client },
            Self::Clone => What::Clone { from: client, to: client + 1 },
            Self::Wipe => What::Wipe { client },
            Self::Rate => rates::happen(rng, client, long * 2),
            Self::Stranger => stranger::happen(rng),
            Self::PutBack => What::PutBack { client },
            Self::Choose => collections::choose(rng, client),
            Self::Hide => collections::hide(rng, client, millis),
            Self::PushOnly => directions::happen(rng, client, Direction::Push),
            Self::PullOnly => directions::happen(rng, client, Direction::Pull),
        }
    }
}
