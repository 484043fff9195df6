//! The only module that gets time and randomness from the operating system; all others receive
//! both.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::clock::Now;
use crate::model::{DocumentId, Epoch, LogKey, NewLog, ReplicaId, ServerStart};

/// Provides time and randomness to the pure parts. Tests implement it differently.
pub trait Environment: Send + Sync + fmt::Debug + 'static {
    /// Returns this machine's time.
    fn now(&self) -> Now;

    /// Fills the buffer with random bytes that cannot be predicted.
    fn random(&self, buffer: &mut [u8]);
}

impl dyn Environment {
    fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.random(&mut bytes);
        bytes
    }

    /// Generates a replica id.
    #[must_use]
    pub fn replica_id(&self) -> ReplicaId {
        ReplicaId(self.bytes())
    }

    /// Generates an epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        Epoch(self.bytes())
    }

    /// Generates the random values of a new log.
    #[must_use]
    pub fn new_log(&self) -> NewLog {
        NewLog { epoch: self.epoch(), key: LogKey(self.bytes()) }
    }

    /// Generates the id of a server start.
    #[must_use]
    pub fn start(&self) -> ServerStart {
        ServerStart(self.seed())
    }

    /// Generates a seed for deterministic randomness.
    #[must_use]
    pub fn seed(&self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }

    /// Generates a time-ordered document id.
    #[must_use]
    pub fn document_id(&self) -> DocumentId {
        DocumentId::time_ordered(self.now().0, &self.bytes())
    }
}

/// The operating system's clock and randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Environment for System {
    #[allow(clippy::disallowed_methods, reason = "this is the place that asks")]
    fn now(&self) -> Now {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// # Panics
    /// If the operating system provides no randomness: ids that repeat would lose data.
    #[allow(clippy::disallowed_methods, reason = "this is the place that asks")]
    #[allow(clippy::panic, reason = "there is nothing sensible to go on with")]
    fn random(&self, buffer: &mut [u8]) {
        if let Err(e) = getrandom::fill(buffer) {
            panic!("the operating system gives no randomness: {e}");
        }
    }
}
