//! What the connections of a custom backend share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::request_context::Line;
use super::types::{FetchRequest, Fetched, Outgoing, PushOutcome};
use sync_core::environment::Environment;
use sync_core::error::Result;
use sync_core::model::{Cursor, Epoch, ReplicaId, Reset, ResetReason, Scope, Seq};

/// An async closure.
pub(super) type AsyncFn<A, B> = Arc<dyn Fn(A) -> BoxFuture<'static, Result<B>> + Send + Sync>;

/// How changes are sent.
#[derive(Clone)]
pub(super) enum PushFn {
    Each(AsyncFn<Outgoing, PushOutcome>),
    All(AsyncFn<Vec<Outgoing>, Vec<PushOutcome>>),
}

/// The options of a custom backend.
#[derive(Clone)]
pub(super) struct BackendOptions {
    pub(super) changed: Option<AsyncFn<Scope, ()>>,
    pub(super) interval: Duration,
    pub(super) jitter: Duration,
    pub(super) refetch: Option<Duration>,
    pub(super) timeout: Duration,
    pub(super) batch: usize,
}

/// A custom backend: its closures and options, and the positions of its replicas.
pub(super) struct Backend {
    pub(super) name: String,
    pub(super) epoch: Epoch,
    pub(super) fetch: AsyncFn<FetchRequest, Fetched>,
    pub(super) send: PushFn,
    pub(super) options: BackendOptions,
    pub(super) environment: Arc<dyn Environment>,
    pub(super) lines: Mutex<BTreeMap<(ReplicaId, Scope), Arc<Line>>>,
}

impl Backend {
    /// Returns the positions of a scope of a replica. They outlive connections: chunks that were
    /// delivered on one may be applied during the next.
    pub(super) fn line(&self, replica: ReplicaId, scope: &Scope) -> Arc<Line> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(lines.entry((replica, scope.clone())).or_default())
    }

    /// Returns a reset if a cursor belongs to another backend.
    pub(super) fn stranger(&self, cursor: &Cursor) -> Option<Reset> {
        let is_other = cursor.epoch.is_some_and(|e| e != self.epoch);
        let reason = ResetReason::EpochChanged { cut: Seq(0) };
        is_other.then_some(Reset { epoch: self.epoch, reason })
    }
}
