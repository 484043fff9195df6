//! The one place that asks the operating system for the time and for randomness; everything else is
//! given both.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::clock::Now;
use crate::model::{DocumentId, Epoch, LogKey, NewLog, ReplicaId, ServerStart};

/// Time and chance, as the outside of the pure parts is given them. Tests bring their own.
pub trait Environment: Send + Sync + fmt::Debug + 'static {
    /// This machine's time.
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

    /// A fresh replica id.
    #[must_use]
    pub fn replica_id(&self) -> ReplicaId {
        ReplicaId(self.bytes())
    }

    /// A fresh epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        Epoch(self.bytes())
    }

    /// What a log begins with.
    #[must_use]
    pub fn new_log(&self) -> NewLog {
        NewLog { epoch: self.epoch(), key: LogKey(self.bytes()) }
    }

    /// The id of a server start.
    #[must_use]
    pub fn start(&self) -> ServerStart {
        ServerStart(self.seed())
    }

    /// A seed for deterministic chance.
    #[must_use]
    pub fn seed(&self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }

    /// A fresh time-ordered document id.
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
    /// If the operating system has no randomness to give: ids that repeat would lose data.
    #[allow(clippy::disallowed_methods, reason = "this is the place that asks")]
    #[allow(clippy::panic, reason = "there is nothing sensible to go on with")]
    fn random(&self, buffer: &mut [u8]) {
        if let Err(e) = getrandom::fill(buffer) {
            panic!("the operating system gives no randomness: {e}");
        }
    }
}
