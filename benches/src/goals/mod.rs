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

use crate::Outcome;
use crate::goal::Goal;
use crate::measure::Bench;

impl Goal {
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
