//! What must hold in every state.

/// What must hold in every state: what the properties of the model check are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Promise {
    /// A write that an app was told is kept is part of what is shown and held, or was resolved
    /// away.
    Kept,
    /// A write is not replaced by one whose writer had not seen it, unless a resolver was called;
    /// and no resolver is called about writes of which one knew the other.
    Seen,
    /// Where the server resolves a collection's conflicts, no replica does.
    Placed,
    /// What was deleted does not come back by itself.
    Gone,
    /// Up to its position a replica has taken in everything.
    Covered,
    /// The server writes each edit once, and says the same of a batch however often it comes.
    Once,
    /// Rows, counters, digests and indexes fit together, and nothing fails that cannot.
    Sound,
    /// From here, if nothing goes wrong any more, all come to rest: equal, and with empty outboxes.
    Agree,
}

impl Promise {
    /// All of them.
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

    /// In words.
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

    /// Which of them an oracle speaks of.
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
