//! The script as data: some rounds of everything that a replica and a server store.

use storage_kit::Durability;

/// The storage that a call is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Replica,
    Server,
}

/// Documents by name, `collection/id`, with their new text; none is a deletion.
pub(crate) type Writes = Vec<(String, Option<String>)>;

/// One call of a storage, which is one transaction.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// The replica: a local transaction.
    Write(Writes),
    /// The replica: a batch is formed.
    Form,
    /// The server: the batch is appended.
    Deliver,
    /// The replica: its verdicts are settled.
    Settle,
    /// The server: another replica's batch is appended.
    Foreign(Writes),
    /// The replica: the next chunk is applied.
    Apply,
    /// The server: the replica's position is acknowledged.
    Acknowledge,
    /// The server: tombstones are purged.
    Purge,
    /// The server: the log begins a new epoch.
    BeginEpoch,
    /// The replica: it applies the reset.
    Reset,
    /// The replica: everything is pulled afresh.
    PullAfresh,
    /// The replica: the app decides the conflict.
    Decide(String),
    /// The replica: the app drops a refused edit.
    Discard(String),
    /// The replica: the scope leaves the device.
    Forget,
    /// The replica: a process runs the engine.
    Claim,
}

impl Step {
    pub(crate) fn side(&self) -> Side {
        match self {
            Self::Deliver
            | Self::Foreign(_)
            | Self::Acknowledge
            | Self::Purge
            | Self::BeginEpoch => Side::Server,
            _ => Side::Replica,
        }
    }

    /// Returns the durability that the storage guarantees for it.
    pub(crate) fn durability(&self) -> Durability {
        match self {
            Self::Settle
            | Self::Apply
            | Self::Acknowledge
            | Self::Reset
            | Self::PullAfresh
            | Self::Claim => Durability::Process,
            _ => Durability::Power,
        }
    }
}

fn put(name: &str, round: usize, text: &str) -> (String, Option<String>) {
    (name.replace('#', &round.to_string()), Some(format!("{text} {round}")))
}

fn delete(name: &str, round: usize) -> (String, Option<String>) {
    (name.replace('#', &round.to_string()), None)
}

/// Returns the whole script.
pub(crate) fn script() -> Vec<Step> {
    let mut steps = vec![Step::Claim];
    for round in 0..6 {
        steps.extend(of_round(round));
    }
    steps
}

fn push() -> [Step; 3] {
    [Step::Form, Step::Deliver, Step::Settle]
}

fn of_round(round: usize) -> Vec<Step> {
    // Several pages long.
    let long = "long ".repeat(2_500);
    let (put, delete) =
        (|n: &str, text: &str| put(n, round, text), |n: &str| delete(n, round.wrapping_sub(1)));
    let mut steps = vec![
        Step::Write(vec![put("notes/a#", "mine")]),
        Step::Write(vec![put("notes/long#", &long)]),
        Step::Write(vec![
            put("notes/t#x", "one"),
            put("notes/t#y", "two"),
            put("lists/t#", "three"),
        ]),
        Step::Foreign(vec![put("notes/shared", "theirs"), put("asks/q", "theirs")]),
        Step::Write(vec![put("notes/shared", "mine"), put("asks/q", "mine")]),
    ];
    steps.extend(push());
    steps.push(Step::Write(vec![put("notes/a#", "edited")]));
    steps.push(Step::Form);
    steps.push(Step::Write(vec![put("notes/a#", "edited in flight")]));
    steps.extend([Step::Deliver, Step::Settle, Step::Apply]);
    steps.push(Step::Foreign(vec![put("notes/f#", "new"), put("notes/t#x", "theirs")]));
    if round > 0 {
        steps.push(Step::Write(vec![delete("notes/long#"), delete("notes/t#y")]));
        steps.push(Step::Foreign(vec![delete("notes/f#")]));
    }
    steps.extend([Step::Apply, Step::Decide("asks/q".to_owned()), Step::Acknowledge]);
    steps.push(Step::Write(vec![put("notes/bad#", "refused")]));
    steps.extend(push());
    steps.push(Step::Discard(format!("notes/bad{round}")));
    match round {
        1 => steps.extend([Step::Apply, Step::Purge]),
        4 => steps.extend([Step::Purge, Step::Reset]),
        2 => steps.extend([Step::BeginEpoch, Step::Reset]),
        3 => steps.push(Step::Forget),
        _ => steps.push(Step::PullAfresh),
    }
    steps.extend([Step::Apply, Step::Acknowledge]);
    steps
}
