//! Plans: a setting, and actions as data.

use std::fmt;

use testkit::random::SplitMix64;
use testkit::resolvers::ResolverKind;

/// The kinds of faults that a plan may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mix {
    /// Only lost, doubled and late messages.
    Network,
    /// Also purges and resets.
    Purges,
    /// Also announced restores, without purges.
    Restores,
    /// Purges and announced restores.
    Both,
    /// Also unannounced restores.
    Silent,
    /// Every kind of fault, cloned devices included.
    All,
}

/// The setting of a whole plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SearchSetting {
    /// The kinds of faults.
    pub mix: Mix,
    /// The number of replicas at the beginning.
    pub replicas: usize,
    /// The number of documents.
    pub documents: usize,
    /// The resolver.
    pub resolver: ResolverKind,
    /// Whether every second document is in a collection that the server resolves.
    pub on_server: bool,
    /// The largest number of documents in a batch.
    pub push: usize,
    /// The largest number of documents in a chunk.
    pub chunk: usize,
    /// Whether the server rejects some writes.
    pub refusals: bool,
    /// The offset of the last replica's clock, in milliseconds.
    pub skew: i64,
}

/// One step of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// The action.
    pub action: SearchAction,
    /// The salt from which the action's own choices are derived.
    pub salt: u64,
}

/// An action. Replicas, documents and messages are named by numbers that wrap around.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the fields are the replica and the document")]
pub enum SearchAction {
    /// A document is written.
    Put { replica: usize, document: usize },
    /// A document is deleted, if it exists.
    Delete { replica: usize, document: usize },
    /// Several documents are written or deleted in one transaction.
    Transaction { replica: usize },
    /// The replica's batch is sent, possibly again.
    Form { replica: usize },
    /// A batch reaches the server, and stays in transit if `again`.
    Deliver { again: bool },
    /// Verdicts reach their replica, and stay in transit if `again`.
    Settle { again: bool },
    /// The next chunk is requested and sent.
    Read { replica: usize },
    /// The chunk after the newest one in transit is requested.
    ReadAhead { replica: usize },
    /// A chunk reaches its replica, and stays in transit if `again`.
    Apply { again: bool },
    /// A message is lost.
    Lose,
    /// The replica pushes and pulls without faults.
    Sync { replica: usize },
    /// The replica connects and follows the server's answer.
    Connect { replica: usize },
    /// The replica acknowledges, with a digest if it can.
    Acknowledge { replica: usize },
    /// Tombstones are purged.
    Purge,
    /// The app requests a reset.
    RequestReset { replica: usize },
    /// The server is backed up.
    Backup,
    /// The server is restored from a backup.
    Restore { silently: bool },
    /// The server restarts.
    Restart,
    /// A device is cloned.
    Clone { replica: usize },
    /// The app decides a deferred conflict or a quarantined edit.
    Decide { replica: usize },
    /// The replica's clock jumps.
    Jump { replica: usize },
    /// The replica receives the server's time.
    TellTime { replica: usize },
}

/// A setting and actions.
#[derive(Clone, PartialEq, Eq)]
pub struct SearchPlan {
    /// The setting.
    pub setting: SearchSetting,
    /// The actions, in order.
    pub steps: Vec<Step>,
}

/// Formats one line for each step, as source: a plan that failed becomes a test by copying it.
impl fmt::Debug for SearchPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}", self.setting)?;
        self.steps.iter().try_for_each(|s| writeln!(f, "    ({:?}, {}),", s.action, s.salt))
    }
}

impl SearchSetting {
    fn generate(rng: &mut SplitMix64, mix: Mix) -> Self {
        use ResolverKind::{ClientWins, Deferring, Joining, LastWriteWins, ServerWins};
        let resolvers =
            [LastWriteWins, LastWriteWins, ClientWins, ClientWins, Joining, ServerWins, Deferring];
        let sizes = [1, 2, 1_000];
        Self {
            mix,
            replicas: 2 + rng.below(2),
            documents: 1 + rng.below(3),
            resolver: resolvers[rng.below(resolvers.len())],
            on_server: rng.percent(30),
            push: sizes[rng.below(3)],
            chunk: sizes[rng.below(3)],
            refusals: rng.percent(20),
            skew: [0, 0, -40, 40, 900_000][rng.below(5)],
        }
    }
}

impl SearchPlan {
    /// Makes the plan of a seed.
    #[must_use]
    pub fn generate(seed: u64, mix: Mix, length: usize) -> Self {
        let setting = SearchSetting::generate(&mut SplitMix64::of(seed, u64::MAX), mix);
        let step = |i| {
            let mut rng = SplitMix64::of(seed, i as u64);
            Step { action: SearchAction::generate(&mut rng, &setting), salt: rng.next_u64() }
        };
        Self { setting, steps: (0..length).map(step).collect() }
    }
}

impl SearchAction {
    fn generate(rng: &mut SplitMix64, setting: &SearchSetting) -> Self {
        let replica = rng.below(setting.replicas + 1);
        let document = rng.below(setting.documents);
        let again = rng.percent(20);
        let purges = !matches!(setting.mix, Mix::Network | Mix::Restores);
        let restores = !matches!(setting.mix, Mix::Network | Mix::Purges);
        match rng.below(100) {
            0..=14 => Self::Put { replica, document },
            15..=21 => Self::Delete { replica, document },
            22..=24 => Self::Transaction { replica },
            25..=37 => Self::Form { replica },
            38..=49 => Self::Deliver { again },
            50..=59 => Self::Settle { again },
            60..=67 => Self::Read { replica },
            68..=69 => Self::ReadAhead { replica },
            70..=79 => Self::Apply { again },
            80..=82 => Self::Lose,
            83..=86 => Self::Sync { replica },
            87 => Self::Acknowledge { replica },
            88 => Self::Connect { replica },
            89 => Self::Decide { replica },
            90 => Self::Jump { replica },
            91 => Self::TellTime { replica },
            92 => Self::Restart,
            93..=94 if purges => Self::Purge,
            95 if purges => Self::RequestReset { replica },
            96..=97 if restores => Self::Backup,
            98 if restores => {
                let silently = matches!(setting.mix, Mix::Silent | Mix::All) && rng.percent(60);
                Self::Restore { silently }
            }
            99 if setting.mix == Mix::All => Self::Clone { replica },
            _ => Self::Put { replica, document },
        }
    }
}
