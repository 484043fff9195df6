//! The goals by name.

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Chunked pulls.
    Pull,
    /// The first sync of a large scope.
    FirstSync,
    /// Pulls into sled.
    Sled,
    /// Local writes.
    LocalWrite,
    /// Pushes.
    Push,
    /// From one replica to another one.
    Latency,
    /// From one replica to many.
    FanOut,
    /// Memory.
    Memory,
    /// Costs that do not grow with the data.
    Scale,
    /// The costs without a database and a network.
    Engine,
}

impl Goal {
    /// All goals, in order.
    pub const ALL: [Self; 10] = [
        Self::Pull,
        Self::FirstSync,
        Self::Sled,
        Self::LocalWrite,
        Self::Push,
        Self::Latency,
        Self::FanOut,
        Self::Memory,
        Self::Scale,
        Self::Engine,
    ];

    /// Returns the goal's number, from 1.
    #[must_use]
    pub fn number(self) -> usize {
        self as usize + 1
    }

    /// Returns the goal's subject.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Pull => "Chunked pull, SQLite to SQLite",
            Self::FirstSync => "First sync of a million documents",
            Self::Sled => "Chunked pull into sled",
            Self::LocalWrite => "Local write with outbox",
            Self::Push => "Push of 10,000 documents",
            Self::Latency => "From one replica to another",
            Self::FanOut => "Fan-out to many replicas",
            Self::Memory => "Memory",
            Self::Scale => "What does not grow with the data",
            Self::Engine => "Engine and codec alone",
        }
    }
}
