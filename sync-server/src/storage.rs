//! The contract of a server's storage.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::Visible;
use crate::ops::{Acknowledgement, AppendContext, Appended, ChangesReply, Judge};
use crate::record::{Acknowledged, Fork, ServerScope};
use sync_core::error::Result;
use sync_core::model::{Cursor, Epoch, Limits, NewLog, PushBatch, ReplicaId, Scope, Seq};

/// The storage of a server.
///
/// Every method is one transaction: it takes effect whole or not at all. Positions are assigned in
/// commit order, also with many writers; never by a clock, and never before the commit. A read
/// observes one state of the data, no older than the newest call that returned before it began.
///
/// Calls may run at the same time, from any task. Arguments are owned: a future that is dropped may
/// still commit, as a whole. The next call that writes then takes effect after it; a call that
/// reads may return before. No method blocks the task that polls it.
///
/// Errors that all methods share: `Storage` when reading or writing failed, `Incompatible` when the
/// stored data is damaged, `Closed` after [`close`](Self::close). Whatever the error, nothing was
/// changed; the error's [advice](sync_core::error::Error::retry) shows whether a retry may succeed.
/// The one exception is a disk that fails during a sync: the storage may contain the change that it
/// reported as failed, whole, when it is opened again.
#[async_trait]
pub trait ServerStorage: Send + Sync + fmt::Debug + 'static {
    /// Returns the scope; one that does not exist begins with `fresh`, an empty log, and survives a
    /// power failure when it returns. Of several callers at once one creates it, and all get the
    /// same result. Its head is that of the newest commit.
    async fn scope(&self, scope: Scope, fresh: NewLog) -> Result<ServerScope>;

    /// Returns the scope if it exists. Creates none.
    async fn find_scope(&self, scope: Scope) -> Result<Option<ServerScope>>;

    /// Returns names of scopes in order of their bytes, those after `after`, which need not exist,
    /// at most `limit`. Fewer than that many are the last ones.
    async fn scopes(&self, after: Option<Scope>, limit: usize) -> Result<Vec<Scope>>;

    /// Appends a push: idempotency record, base check, judge, verdicts, positions and index
    /// together. When it returns, the verdicts survive a power failure, and every later
    /// [`changes`](Self::changes) has what was accepted, at neighbouring positions. One verdict for
    /// each change, in the order of the changes; a refused change stores nothing. A scope that does
    /// not exist begins with the epoch in `cx`.
    ///
    /// A batch that was appended before gets its original verdicts; a batch older than the newest
    /// of its replica is [`Stale`](sync_core::model::Verdicts::Stale) and has no effect. So a
    /// client that does not know whether a push arrived, because the future was dropped or failed,
    /// pushes it again. Another batch under the id of the newest one is
    /// [`Cloned`](sync_core::model::Verdicts::Cloned), without effect.
    ///
    /// A batch that is [recalled](PushBatch) gets its verdicts if it was appended; if not, it is
    /// [`Recalled`](sync_core::model::Verdicts::Recalled) from then on, in whichever form it
    /// arrives, and a power failure does not change that.
    ///
    /// A batch of any size is one append, and one without changes has no verdicts and is recorded
    /// like any other; the caller bounds the size of a push. The id 0 means "none" where ids are
    /// compared, so the caller does not pass a batch with it.
    ///
    /// The judge is called inside the transaction, on the storage's thread, as [`Judge`] documents.
    /// A panic of it fails the push with `Internal`.
    async fn append(
        &self,
        cx: AppendContext,
        batch: PushBatch,
        judge: Arc<dyn Judge>,
    ) -> Result<Appended>;

    /// Returns the chunk after a cursor, or that its positions are not valid in this log. A reader
    /// that has applied the chunk has received the newest state of every visible document whose
    /// newest position is at or below its `next`, and no entry at or below `next` is added later.
    /// Each document once, by position. It holds whole appends, the first one whatever the limits.
    /// At the head it is empty, and begins and ends there.
    ///
    /// Fails with `NotFound` for an unknown scope.
    async fn changes(
        &self,
        scope: Scope,
        cursor: Cursor,
        limits: Limits,
        visible: Visible,
    ) -> Result<ChangesReply>;

    /// Records how far a replica is; within an epoch it never moves back. May be lost to a power
    /// failure: the replica sends it again. Returns a fork for a digest that differs at the same
    /// position, and for a mark that shows a restore. An acknowledgement of another epoch is
    /// ignored. A position above the head counts as the head, and its digest is not compared.
    ///
    /// Fails with `NotFound` for an unknown scope.
    async fn acknowledge(
        &self,
        scope: Scope,
        replica: ReplicaId,
        ack: Acknowledgement,
    ) -> Result<Option<Fork>>;

    /// Returns the acknowledged position of a replica, and its newest push, each if there is one; a
    /// scope that does not exist has neither.
    async fn replica(
        &self,
        scope: Scope,
        replica: ReplicaId,
    ) -> Result<(Option<Acknowledged>, Option<sync_core::model::PushId>)>;

    /// Ends the epoch of the log at `cut`, or at its head if that is lower, and begins another one,
    /// `fresh`, unless `from` is not the current one any more: so one of several callers succeeds.
    /// Returns the scope as it is then; the change survives a power failure.
    ///
    /// Fails with `NotFound` for an unknown scope.
    async fn begin_epoch(
        &self,
        scope: Scope,
        from: Epoch,
        cut: Seq,
        fresh: Epoch,
    ) -> Result<ServerScope>;

    /// Removes the tombstones at or below a position, at most the head, and moves the horizon
    /// there, never back. Returns how many they were. Survives a power failure when it returns.
    ///
    /// Fails with `NotFound` for an unknown scope.
    async fn purge(&self, scope: Scope, up_to: Seq) -> Result<u64>;

    /// Removes data whose erasure is committed from the storage's files: when it returns `true`, no
    /// byte sequence of an erased body is in them. If something was erased since the last time, it
    /// takes as long as writing the data once, and appends wait meanwhile; otherwise it takes no
    /// time. [`close`](Self::close) does the same. Returns `false` for a storage whose files keep
    /// old values until it overwrites them.
    ///
    /// Fails with `Busy` while another connection, of this process or another one, reads an older
    /// state; a later call may succeed.
    async fn purge_erased(&self) -> Result<bool>;

    /// Finishes the calls that were made and closes the file. When it returns, the file can be
    /// opened again, and every other call fails with `Closed`. Closing twice is fine, also at the
    /// same time: both calls return when it is closed.
    ///
    /// Twotide's own storages do not fail here. A storage that fails is closed all the same: what
    /// was acknowledged is kept, and `close` need not be called again.
    async fn close(&self) -> Result<()>;
}
