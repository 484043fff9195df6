//! Promises that must hold in every state.

/// A promise that must hold in every state: the properties of the model check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Promise {
    /// An acknowledged write is part of what replicas show and the server holds, or a resolver
    /// decided against it.
    Kept,
    /// A write is replaced only by a write that knows of it, unless a resolver was called; and no
    /// resolver is called about writes of which one knows of the other.
    Seen,
    /// Where the server resolves a collection's conflicts, no replica does.
    Placed,
    /// A deleted document does not come back by itself.
    Gone,
    /// A replica has applied everything up to its position.
    Covered,
    /// The server writes each edit once, and returns the same verdicts for a batch however often it
    /// arrives.
    Once,
    /// Rows, counters, digests and indexes match, and no call fails that cannot fail.
    Sound,
    /// Without further faults, all replicas converge: equal, and with empty outboxes.
    Agree,
}

impl Promise {
    /// All promises.
    pub const ALL: [Self; 8] = [
        Self::Kept,
        Self::Seen,
        Self::Placed,
        Self::Gone,
        Self::Covered,
        Self::Once,
        Self::Sound,
        Self::Agree,
    ];

    /// The promise in words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "no acknowledged write is lost",
            Self::Seen => "nothing unseen is overwritten without a resolver",
            Self::Placed => "conflicts are resolved where the collection says",
            Self::Gone => "what was deleted does not come back",
            Self::Covered => "the checkpoint is not ahead of the data",
            Self::Once => "the server does everything once",
            Self::Sound => "what is stored fits together",
            Self::Agree => "left alone, all converge with empty outboxes",
        }
    }

    /// Returns the promise that an oracle's kind of failure belongs to.
    pub(super) fn of(kind: &str) -> Self {
        match kind {
            "went back" | "lost" | "dropped" | "undone" | "from nowhere" | "torn" => Self::Kept,
            "overwrote" | "not concurrent" => Self::Seen,
            "elsewhere" => Self::Placed,
            "came back" => Self::Gone,
            "ahead" => Self::Covered,
            "twice" | "took a retry for a clone" => Self::Once,
            "not quiet" | "no progress" | "the digest differs" | "apart" => Self::Agree,
            _ => Self::Sound,
        }
    }
}
