//! The goals: one file for each, with the raw baseline beside the measurement of Twotide.

mod g01_pull;
mod g02_first_sync;
mod g03_sled;
mod g04_local_write;
mod g05_push;
mod g06_latency;
mod g07_fan_out;
mod g08_memory;
mod g09_scale;
mod g10_engine;
mod pulling;

pub(crate) use g08_memory::PUSHED;
pub(crate) use pulling::CHUNK;

use crate::Outcome;
use crate::measure::Bench;

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

    /// Measures the goal.
    ///
    /// # Errors
    /// The errors of the measurement.
    pub async fn measure(self, bench: &mut Bench) -> Outcome {
        match self {
            Self::Pull => g01_pull::measure(bench).await,
            Self::FirstSync => g02_first_sync::measure(bench).await,
            Self::Sled => g03_sled::measure(bench).await,
            Self::LocalWrite => g04_local_write::measure(bench).await,
            Self::Push => g05_push::measure(bench).await,
            Self::Latency => g06_latency::measure(bench).await,
            Self::FanOut => g07_fan_out::measure(bench).await,
            Self::Memory => g08_memory::measure(bench).await,
            Self::Scale => g09_scale::measure(bench).await,
            Self::Engine => g10_engine::measure(bench).await,
        }
    }
}
