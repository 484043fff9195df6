//! The contract of a replica's storage.

use std::collections::BTreeSet;
use std::fmt;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::clock::{Now, ServerTime};
use crate::error::Result;
use crate::model::{
    Chunk, Collection, DocumentKey, FencingToken, Limits, LocalSeq, PushBatch, PushId, ReplicaId,
    Reset, Scope, Verdicts, WriteLimits,
};
use crate::replica::{
    Applied, Checked, Committed, Context, Decision, Failed, FeedPage, Forget, LocalTransaction,
    ReplicaState, Scan, StoragePage, Stored, Unsettled, UnsettledAfter, UnsettledEntry,
};

/// The storage of a replica.
///
/// Every method is one transaction: it takes effect whole or not at all. A read observes one moment
/// of the data, no older than the newest call that returned before it began.
///
/// Calls may run at the same time, from any task. Writes take effect one after another, each on the
/// result of the one before. Writes of a caller that waits for each take effect in the order of the
/// calls. Arguments are owned: a future that is dropped may still commit, as a whole. The next call
/// that writes then takes effect after it; a call that reads may return before. No method blocks
/// the task that polls it.
///
/// The caller passes the time; stamps are taken inside the transaction from the clock that the
/// storage keeps, because several processes may share one replica. Resolvers are called inside the
/// transaction; if one fails or panics, it means [`Defer`](crate::resolver::Resolution::Defer).
///
/// Each method states whether its effect survives a crash of the process or a power failure, once
/// it has returned. What survives only a crash of the process is repeated after a power failure,
/// without harm.
///
/// Errors that all methods share: `Storage` when reading or writing failed, `Incompatible` when
/// what is stored is damaged, `Closed` after [`close`](Self::close). Whatever the error, nothing
/// was changed; the error's [advice](crate::error::Error::retry) shows whether a retry may succeed.
/// The one exception is a disk that fails during a sync: what was written is then unknown, and the
/// storage may contain the change that it reported as failed, whole, when it is opened again.
#[async_trait]
pub trait Storage: Send + Sync + fmt::Debug + 'static {
    /// Returns a summary of the replica: identity, scopes with checkpoints, counts and digests,
    /// scopes in order of their names. Costs the number of scopes, not of documents.
    async fn state(&self) -> Result<ReplicaState>;

    /// Counts the live documents of every scope and computes their digest again, next to the sums
    /// of [`state`](Self::state). They differ only if the storage lost or mixed up data. Reads
    /// every document.
    async fn check(&self) -> Result<Vec<Checked>>;

    /// Returns live documents, one result for each key in the order of the keys; none for a
    /// document that never existed or is deleted. A key may occur twice. No keys, no results.
    async fn get(&self, keys: Vec<DocumentKey>) -> Result<Vec<Option<Stored>>>;

    /// Returns a page of live documents in order of (collection, id), by their bytes, those after
    /// `scan.after`, which need not exist any more. It holds at least one document if one
    /// follows, however small the limits, and says whether more do. A scope or collection that does
    /// not exist is empty.
    async fn scan(&self, scan: Scan) -> Result<StoragePage<Stored>>;

    /// Returns what changed after a place in the replica's feed, by place, which only grows. For
    /// operations that this process made and still remembers, each has the state before it. For
    /// older ones, and for those of other processes, each document occurs once, in its newest
    /// state. A page that is not empty may be followed by more; an empty page is the end of the
    /// feed so far. `gap` reports that something was forgotten in between.
    async fn feed(&self, after: LocalSeq, limits: Limits) -> Result<FeedPage>;

    /// Returns a page of the unsettled edits of a scope, after an entry of an earlier page: pending
    /// edits and those in flight in the order in which they are pushed, the conflict inbox by
    /// (collection, id), the quarantine by ticket. It holds at least one entry if one follows.
    async fn unsettled(
        &self,
        scope: Scope,
        which: Unsettled,
        after: UnsettledAfter,
        limits: Limits,
    ) -> Result<StoragePage<UnsettledEntry>>;

    /// Returns the unsettled edits of one document: the current one first (pending, in flight or
    /// deferred), then every edit of it that was rejected, the oldest first. Empty for a document
    /// that is settled or does not exist. Costs the number of quarantined edits.
    async fn unsettled_of(&self, key: DocumentKey) -> Result<Vec<(Unsettled, UnsettledEntry)>>;

    /// Writes documents together with their outbox entries; the base of a document is the settled
    /// state before its first unsettled edit. When it returns, the write survives a power failure,
    /// and the result holds what changed for the app, in order. A later write of the transaction
    /// observes the earlier ones. A transaction without writes changes no document.
    ///
    /// Fails with `InvalidInput` over the limits, this storage's and the server's, and if documents
    /// of local-only collections are written outside [`Scope::local`], or others inside it; with
    /// `AlreadyExists`, `NotFound` or `Superseded` as the operations define. Then none of the
    /// writes takes effect.
    async fn write(&self, now: Now, transaction: LocalTransaction) -> Result<Committed>;

    /// Applies the app's decision on a quarantined edit or a deferred conflict. Durable as a write.
    /// When it returns, the entry is removed; a result that differs from the server's state is a
    /// new local edit, which is pushed.
    ///
    /// Fails with `NotFound` if there is nothing to decide, with `InvalidInput` for
    /// [`Defer`](crate::resolver::Resolution::Defer).
    async fn decide(&self, now: Now, key: DocumentKey, decision: Decision) -> Result<Committed>;

    /// Removes a scope or a collection from the device. The replica's unsynced bodies move to the
    /// quarantine, without bases and remote states. Durable as a write. When it returns, nothing
    /// else of it is left, no batch in flight contains any of it, and a scope begins anew when it
    /// is pulled again. A scope or collection that does not exist is no error.
    ///
    /// The app calls it without a lease. The engine passes its lease; with an old one the call
    /// fails with `Superseded`, and nothing is removed.
    async fn forget(
        &self,
        now: Now,
        lease: Option<FencingToken>,
        what: Forget,
    ) -> Result<Committed>;

    /// Declares which collections are local-only; all others are synced. The declaration is kept
    /// until the next one, and [`state`](Self::state) shows it. Documents of a local-only
    /// collection live in [`Scope::local`], where they are written and read: they are in no outbox
    /// and in no digest, nothing of them is pushed or pulled, and one that is deleted leaves no
    /// tombstone. Entries that a chunk holds of such a collection are left out. Durable as a write.
    ///
    /// Fails with `InvalidInput`, naming the collection, as long as there are synced documents or
    /// edits in a collection that becomes local-only, or local documents in one that is synced from
    /// now on; the declaration is then as before.
    async fn declare_local_only(&self, collections: BTreeSet<Collection>) -> Result<()>;

    /// Takes the engine lease for this holder, a display name. When it returns, an earlier holder
    /// cannot change anything any more. Each lease is greater than all before it, also if the same
    /// holder claims it again. Survives a crash of the process; after a power failure, which ends
    /// every holder, a number may be issued again.
    ///
    /// Fails with `Busy`, naming the holder, if another living process holds it; the lease is kept.
    async fn claim(&self, holder: String) -> Result<FencingToken>;

    /// Releases the lease, so that another process may claim it; does nothing if it is not held any
    /// more.
    async fn release(&self, lease: FencingToken) -> Result<()>;

    /// Stores the server's time, by which later stamps are corrected, and the server's limits,
    /// which also bound later writes. Survives a crash of the process.
    ///
    /// Fails with `Superseded` for an old lease, and changes nothing; this applies to all methods
    /// below that take a [`Context`]. Those of them that take a scope, in an argument or in a
    /// chunk, accept one that does not exist; all but [`note_attempt`](Self::note_attempt) and
    /// [`next_push`](Self::next_push) fail with `InvalidInput` for [`Scope::local`], which is never
    /// synced.
    async fn note_server(&self, cx: Context, time: ServerTime, limits: WriteLimits) -> Result<()>;

    /// Records a failed attempt to sync a scope, so that every process can show why data is not
    /// synced. With none it records that the scope is in sync, which deletes the earlier failures,
    /// as settling a batch does. What is kept is bounded ([`Failures`](crate::replica::Failures)),
    /// and shows in [`state`](Self::state). Nothing is kept for a scope that does not exist.
    /// Survives a crash of the process.
    async fn note_attempt(&self, cx: Context, scope: Scope, failed: Option<Failed>) -> Result<()>;

    /// Chooses which collections of a scope are synced; with none, all are. The choice is kept
    /// until the next one, and the [checkpoint](crate::model::Checkpoint::collections) names it. A
    /// collection that is added is pulled from the beginning; one that is left out is removed from
    /// the device as if it were [forgotten](Self::forget). Edits of collections that are not synced
    /// wait, and are counted separately. The same choice again changes nothing. Durable as a write.
    ///
    /// Fails with `InvalidInput` for a collection that is local-only.
    async fn set_collections(
        &self,
        cx: Context,
        scope: Scope,
        collections: Option<BTreeSet<Collection>>,
    ) -> Result<Committed>;

    /// Returns the batch in flight, or else forms one of whole transactions from the front of the
    /// outbox, bounded by the limits; none if nothing waits. When it returns, the batch survives a
    /// power failure, and until it is settled every call returns the same one, regardless of later
    /// writes. It is returned as [recalled](PushBatch) once something of it was erased, and as
    /// long as it is over the limits and holds more than one transaction. It holds at least one
    /// transaction, whatever the limits; only with [`Limits::NONE`] none is formed, and one in
    /// flight is recalled. The number of calls that returned it shows in its entries
    /// ([`UnsettledEntry::attempts`]). A scope that does not exist has nothing to push.
    async fn next_push(
        &self,
        cx: Context,
        scope: Scope,
        limits: Limits,
    ) -> Result<Option<PushBatch>>;

    /// Applies the verdicts on a batch if it is the one in flight, and they are of the replica's
    /// epoch of the log; else nothing happens, and the result is empty, also in a scope that does
    /// not exist. When it returns, no batch is in flight, and edits that were made meanwhile are
    /// based on the state that was pushed. [Recalled](Verdicts::Recalled) edits wait for the next
    /// batch. The position does not move. May be lost to a power failure: the batch is then pushed
    /// again and gets the same verdicts.
    ///
    /// Fails with `Protocol` if the verdicts do not fit the batch: it stays in flight.
    async fn settle(
        &self,
        cx: Context,
        scope: Scope,
        id: PushId,
        verdicts: Verdicts,
    ) -> Result<Committed>;

    /// Applies a chunk, documents and checkpoint together, if it begins at the replica's position;
    /// else nothing happens, and the result reports it (`moved`) with the replica's position. An
    /// empty chunk moves the position. A scope that does not exist is at 0 in no epoch, and begins
    /// with the first chunk that fits. May be lost to a power failure: the chunk is then pulled
    /// again.
    ///
    /// Fails with `Protocol` if the chunk contradicts itself: nothing of it is applied.
    async fn apply(&self, cx: Context, chunk: Chunk) -> Result<Applied>;

    /// Discards the position of a scope and keeps every unsynced edit, and the batch in flight. A
    /// settled state that is lost on the server is offered again in a push. A change to the epoch
    /// that the replica is already in does nothing. A scope that does not exist is created at 0,
    /// without documents. May be lost to a power failure: the server then sends the
    /// reset again.
    async fn reset(&self, cx: Context, scope: Scope, reset: Reset) -> Result<Committed>;

    /// Changes the replica's identity: in every scope the batch in flight is dissolved, and
    /// unsettled edits are stamped again. May be lost to a power failure: the server then detects
    /// the clone again.
    async fn reidentify(&self, cx: Context, replica: ReplicaId) -> Result<Committed>;

    /// Removes data whose erasure is committed from the storage's files: when it returns `true`, no
    /// byte sequence of an erased body is in them, wherever it was before. If something was erased
    /// since the last time, it takes as long as rewriting the data, and writes wait meanwhile;
    /// otherwise it takes no time. [`close`](Self::close) does the same. Returns `false` for a
    /// storage whose files keep old values until it overwrites them.
    ///
    /// Fails with `Busy` while another connection, of this process or another one, reads an earlier
    /// state of the data; a later call may work.
    async fn purge_erased(&self) -> Result<bool>;

    /// Returns a counter that moves after a commit, by this process or another one: a read after it
    /// observes the commit. It may move without a commit, and once for several. It moves at
    /// [`close`](Self::close), too.
    fn commits(&self) -> watch::Receiver<u64>;

    /// Finishes the calls that were made and closes the file. When it returns, the file can be
    /// opened again, and every other call fails with `Closed`. Closing twice is fine, also at the
    /// same time: both calls return when it is closed.
    ///
    /// Twotide's own storages do not fail here. A storage that fails is closed all the same: what
    /// was acknowledged is kept, and `close` need not be called again.
    async fn close(&self) -> Result<()>;
}
