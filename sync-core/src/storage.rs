//! What a replica asks of its storage.

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
/// Every method is one transaction: it happens whole or not at all. A read sees one moment of the
/// data, no older than the newest call that returned before it began.
///
/// Calls may run at the same time, from any task. Writes take effect one after another, each on
/// what the one before left; those of one caller that waits for each, in the order of the calls.
/// Arguments are owned: a future that is dropped may still commit, whole, and the next call that
/// writes comes after it; one that reads may be answered before. No method blocks the task that
/// polls it.
///
/// The caller passes the time; stamps are taken inside the transaction from the clock that the
/// storage keeps, because several processes may share one replica. Resolvers are called inside the
/// transaction; an error or a panic of theirs means [`Defer`](crate::resolver::Resolution::Defer).
///
/// What a method promises to survive, a crash of the process or a power failure, it survives once
/// it has returned. What survives a crash of the process only is repeated after a power failure,
/// and does no harm then.
///
/// Errors that all methods share: `Storage` when reading or writing failed, `Incompatible` when
/// what is stored is damaged, `Closed` after [`close`](Self::close). Whatever the error, nothing
/// was changed; the error's [advice](crate::error::Error::retry) says whether a later try may work.
/// The one exception is a disk that fails while it is synced: what it wrote is then unknown, and
/// such a storage may hold what it reported as failed, whole, when it is opened again.
#[async_trait]
pub trait Storage: Send + Sync + fmt::Debug + 'static {
    /// Returns a summary of the replica: identity, scopes with checkpoints, counts and digests,
    /// scopes in order of their names. Costs the number of scopes, not of documents.
    async fn state(&self) -> Result<ReplicaState>;

    /// Counts the live documents of every scope and computes their digest again, beside the sums
    /// that [`state`](Self::state) shows. They differ only if the storage lost or mixed up
    /// something. Reads every document.
    async fn check(&self) -> Result<Vec<Checked>>;

    /// Returns live documents, one result for each key in the order of the keys; none for a
    /// document that never existed or is deleted. A key may occur twice. No keys, no results.
    async fn get(&self, keys: Vec<DocumentKey>) -> Result<Vec<Option<Stored>>>;

    /// Returns a page of live documents in order of (collection, id), by their bytes, those after
    /// `scan.after`, which need not be there any more. It holds at least one document if one
    /// follows, however small the limits, and says whether more do. A scope or collection that does
    /// not exist is empty.
    async fn scan(&self, scan: Scan) -> Result<StoragePage<Stored>>;

    /// Returns what changed after a place in the replica's feed, by place, which only grows. Every
    /// operation with the state before it, as long as this process made it and remembers it; of
    /// what other processes did, and of what is longer ago, each document once, in its newest
    /// state. A page that is not empty may be followed by more; one that is empty ends the feed so
    /// far. `gap` says that something was forgotten in between.
    async fn feed(&self, after: LocalSeq, limits: Limits) -> Result<FeedPage>;

    /// Returns a page of what is not settled in a scope, after an entry of an earlier page: what
    /// waits or is in flight in the order in which it is pushed, the conflict inbox by (collection,
    /// id), the quarantine by ticket. It holds at least one entry if one follows.
    async fn unsettled(
        &self,
        scope: Scope,
        which: Unsettled,
        after: UnsettledAfter,
        limits: Limits,
    ) -> Result<StoragePage<UnsettledEntry>>;

    /// Returns what is not settled of one document: its edit first (pending, in flight or
    /// deferred), then every edit of it that was refused, the oldest first. Empty for a document
    /// that is settled or does not exist. Costs the number of quarantined edits.
    async fn unsettled_of(&self, key: DocumentKey) -> Result<Vec<(Unsettled, UnsettledEntry)>>;

    /// Writes documents together with their outbox entries; the base of a document is the settled
    /// state before its first unsettled edit. When it returns, the write survives a power failure,
    /// and the result holds what the app sees differently, in order. A later write of the
    /// transaction sees the earlier ones. One without writes changes no document.
    ///
    /// Fails with `InvalidInput` over the limits, this storage's and the server's, and where
    /// documents of local-only collections are written anywhere but in [`Scope::local`] or others
    /// there; with `AlreadyExists`, `NotFound` or `Superseded` as the operations say: then none of
    /// the writes happened.
    async fn write(&self, now: Now, transaction: LocalTransaction) -> Result<Committed>;

    /// Carries out what the app decided about a quarantined edit or a deferred conflict. Durable as
    /// a write. When it returns, the entry is gone from where it waited; what stands against the
    /// server's state is a new local edit, which is pushed.
    ///
    /// Fails with `NotFound` if there is nothing to decide, with `InvalidInput` for
    /// [`Defer`](crate::resolver::Resolution::Defer).
    async fn decide(&self, now: Now, key: DocumentKey, decision: Decision) -> Result<Committed>;

    /// Removes a scope or a collection from the device; unsynced own bodies go to the quarantine,
    /// without bases and remote states. Durable as a write. When it returns, nothing else of it is
    /// left, no batch is in flight that held it, and a scope begins anew when it is pulled again.
    /// What is not there is forgotten without error.
    ///
    /// The app calls it without a lease. The engine names its own, and fails with `Superseded` for
    /// an old one: nothing is removed then.
    async fn forget(
        &self,
        now: Now,
        lease: Option<FencingToken>,
        what: Forget,
    ) -> Result<Committed>;

    /// Declares which collections are local-only, all others being synced; the declaration is kept
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
    /// holder claims it again. Survives a crash of the process; a power failure, which ends every
    /// holder, may let a number be given out again.
    ///
    /// Fails with `Busy`, naming the holder, if another living process holds it; that one keeps it.
    async fn claim(&self, holder: String) -> Result<FencingToken>;

    /// Gives the lease back, so that another process may take it; nothing happens if it is not held
    /// any more.
    async fn release(&self, lease: FencingToken) -> Result<()>;

    /// Takes note of the server's time, by which later stamps are corrected, and of what it takes
    /// at most, by which later writes are bounded as well. Survives a crash of the process.
    ///
    /// Fails with `Superseded` for an old lease, and changes nothing; so do all methods below that
    /// take a [`Context`]. Those of them that take a scope, in an argument or in a chunk, need not
    /// know it; all but [`note_attempt`](Self::note_attempt) and [`next_push`](Self::next_push)
    /// fail with `InvalidInput` for [`Scope::local`], with which no server has to do.
    async fn note_server(&self, cx: Context, time: ServerTime, limits: WriteLimits) -> Result<()>;

    /// Records a failed attempt to sync a scope, so that every process can show why data is not
    /// synced. With none it records that the scope is in sync, which deletes the earlier failures,
    /// as settling a batch does. What is kept is bounded ([`Failures`](crate::replica::Failures)),
    /// and shows in [`state`](Self::state). Nothing is kept for a scope that does not exist.
    /// Survives a crash of the process.
    async fn note_attempt(&self, cx: Context, scope: Scope, failed: Option<Failed>) -> Result<()>;

    /// Chooses the collections of a scope that are synced, all with none; the choice is kept until
    /// the next one, and the [checkpoint](crate::model::Checkpoint::collections) names it. A
    /// collection that is added is pulled from the beginning, one that is left out leaves the
    /// device as if it were [forgotten](Self::forget). Edits of collections that are not synced
    /// wait, and are counted apart. The same choice again changes nothing. Durable as a write.
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
    /// power failure, and until it is settled every call returns the same one, whatever is written
    /// meanwhile. It is returned as [recalled](PushBatch) once something of it was erased, and as
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
    /// epoch of the log; else nothing happens, and the result is empty: so in a scope that does not
    /// exist. When it returns, no batch is in flight, and edits that were made meanwhile are based
    /// on the state that was pushed. What was [`Recalled`](Verdicts::Recalled) waits for the next
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
    /// else nothing happens, and the result says so (`moved`) and where the replica is. An empty
    /// chunk moves the position. A scope that does not exist is at 0 in no epoch, and begins with
    /// the first chunk that fits. May be lost to a power failure: the chunk is then pulled again.
    ///
    /// Fails with `Protocol` if the chunk contradicts itself: nothing of it is applied.
    async fn apply(&self, cx: Context, chunk: Chunk) -> Result<Applied>;

    /// Gives up the position of a scope and keeps every unsynced edit, and the batch in flight;
    /// what was settled and is lost on the server becomes a push that offers it again. A change to
    /// the epoch that the replica is in already does nothing. A scope that does not exist begins
    /// then, at 0 and without documents. May be lost to a power failure: the server then sends the
    /// reset again.
    async fn reset(&self, cx: Context, scope: Scope, reset: Reset) -> Result<Committed>;

    /// Takes another identity: in every scope the batch in flight is dissolved, and unsettled edits
    /// are stamped anew. May be lost to a power failure: the server then finds the clone again.
    async fn reidentify(&self, cx: Context, replica: ReplicaId) -> Result<Committed>;

    /// Removes erased and committed data from the storage's files: when it returns `true`, no byte
    /// sequence of an erased body is in them, wherever it was before. It takes as long as writing
    /// the data anew, if something was erased since the last time, and nothing otherwise; writes
    /// wait meanwhile. [`close`](Self::close) does the same. Returns `false` for a storage whose
    /// files keep old values until it writes over them.
    ///
    /// Fails with `Busy` while another connection, of this process or another one, reads what was
    /// before; a later call may work.
    async fn purge_erased(&self) -> Result<bool>;

    /// Returns a counter that moves after a commit, by this process or another one: a read after it
    /// sees the commit. It may move without a commit, and once for several. It moves at
    /// [`close`](Self::close), too.
    fn commits(&self) -> watch::Receiver<u64>;

    /// Finishes the calls that were made and closes the file. When it returns, the file can be
    /// opened again, and every other call fails with `Closed`. Closing twice is fine, and at the
    /// same time: both return when it is done.
    ///
    /// Twotide's own storages do not fail here. A storage that does is closed all the same: what
    /// was acknowledged is kept, and `close` need not be called again.
    async fn close(&self) -> Result<()>;
}
