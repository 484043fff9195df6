//! The rows of a replica: per document, per scope, and one for the replica.

mod codec;

use std::collections::BTreeSet;

use crate::clock::{Clock, DRIFT_BOUND, Now};
use crate::codec::{codec_enum, codec_struct};
use crate::model::{
    BaseRef, Checkpoint, Collection, Digest, DocumentId, DocumentKey, DocumentState, FencingToken,
    LocalSeq, PushId, Rejection, ReplicaId, Revision, Seq, ServerState, Settled, Stamp,
    WriteLimits, digest_of_state,
};
use crate::replica::Failures;

/// The data that a replica stores about one document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    /// The state that the app reads; none if the document is absent (the record then keeps this).
    pub current: Option<DocumentState>,
    /// The position of the newest applied server state; 0 for none.
    pub server_seq: Seq,
    /// When the state that the app reads changed last.
    pub changed: LocalSeq,
    /// Whether this replica's app made that change.
    pub changed_here: bool,
    /// The full pull that delivered the document last.
    pub delivered: u32,
    /// The unsettled state; none for a clean document that is not in flight.
    pub pending: Option<Box<Pending>>,
}

/// The unsettled state of a document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pending {
    /// The local edit, while the document is dirty. The edited state is [`Record::current`].
    pub edit: Option<Edit>,
    /// Whether the conflict waits for the app's decision.
    pub deferred: bool,
    /// The newest server state that was received and is not applied.
    pub pending_remote: Option<ServerState>,
    /// The state that the batch in flight carries.
    pub in_flight: Option<InFlight>,
    /// The value of [`Record::server_seq`] before a reset cleared it; 0 once a new one is known.
    pub seq_before_reset: Seq,
    /// States of the edit that this replica may have sent under an earlier identity, from here or
    /// from a copy of this storage, at most [`Pending::FORMER`]: one that is received is the base
    /// of the edit.
    pub former: Vec<DocumentState>,
}

impl Pending {
    /// How many former states are stored.
    pub const FORMER: usize = 4;
}

/// A local edit since the last settled state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Edit {
    /// The local transaction that wrote the newest state: documents that share it are pushed
    /// together.
    pub transaction: LocalSeq,
    /// The settled state that the first edit was made on; none if there was none.
    pub base: Option<Settled>,
    /// Whether any state of it was ever put into a batch.
    pub was_sent: bool,
    /// Whether the base is a pushed state from which the server made another one: it was in no log,
    /// and its position is that of the other one.
    pub base_not_in_log: bool,
}

impl Edit {
    /// Makes an edit that was never put into a batch.
    ///
    /// ```
    /// use sync_core::{model::LocalSeq, replica::record::Edit};
    /// assert!(!Edit::new(LocalSeq(1), None).was_sent);
    /// ```
    #[must_use]
    pub fn new(transaction: LocalSeq, base: Option<Settled>) -> Self {
        Self { transaction, base, was_sent: false, base_not_in_log: false }
    }
}

/// A document's part of the batch in flight.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InFlight {
    /// The batch.
    pub push: PushId,
    /// The revision of the pushed state.
    pub revision: Revision,
    /// The base that the pushed change names.
    pub base: Option<BaseRef>,
    /// The pushed state.
    pub carried: Carried,
}

impl InFlight {
    /// Returns whether the pushed state was erased since.
    #[must_use]
    pub fn is_withdrawn(&self) -> bool {
        self.withdrawn().is_some()
    }

    /// Returns the digest of the pushed state, if it was erased since.
    pub(crate) fn withdrawn(&self) -> Option<u128> {
        match self.carried {
            Carried::Withdrawn(digest) => Some(digest),
            Carried::Current | Carried::Kept(_) => None,
        }
    }
}

/// Where the pushed state of a document is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Carried {
    /// It is [`Record::current`].
    #[default]
    Current,
    /// It is this one; the current state is another one.
    Kept(DocumentState),
    /// It was erased: only its revision is left, and the digest with which the batch is recalled.
    Withdrawn(u128),
}

impl Record {
    /// Returns the local edit, if the document is dirty.
    #[must_use]
    pub fn edit(&self) -> Option<&Edit> {
        self.pending.as_ref()?.edit.as_ref()
    }

    /// Returns the settled state that the local edit was made on.
    #[must_use]
    pub fn base(&self) -> Option<&Settled> {
        self.edit()?.base.as_ref()
    }

    /// Returns its part of the batch in flight.
    #[must_use]
    pub fn in_flight(&self) -> Option<&InFlight> {
        self.pending.as_ref()?.in_flight.as_ref()
    }

    /// Returns whether its conflict waits for the app.
    #[must_use]
    pub fn is_deferred(&self) -> bool {
        self.pending.as_ref().is_some_and(|p| p.deferred)
    }

    /// Returns the live state that the app reads.
    #[must_use]
    pub fn live(&self) -> Option<&DocumentState> {
        self.current.as_ref().filter(|s| !s.is_deleted())
    }

    /// Returns the document's place in the outbox, if its edit may be put into a batch now.
    #[must_use]
    pub fn pushable(&self) -> Option<LocalSeq> {
        let pending = self.pending.as_ref()?;
        let free = !pending.deferred && pending.in_flight.is_none();
        pending.edit.as_ref().filter(|_| free).map(|e| e.transaction)
    }

    /// Returns whether the record holds nothing that is still needed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.current.is_none() && self.pending.is_none() && self.server_seq == Seq(0)
    }

    /// Returns the state that the batch in flight carries for this document.
    #[must_use]
    pub fn pushed_state(&self) -> Option<&DocumentState> {
        match &self.in_flight()?.carried {
            Carried::Current => self.current.as_ref(),
            Carried::Kept(state) => Some(state),
            Carried::Withdrawn(_) => None,
        }
    }

    /// Returns the state of that revision and digest, if the record holds it anywhere.
    pub(crate) fn state_with(&self, revision: Revision, digest: Digest) -> Option<&DocumentState> {
        let pending = self.pending.as_ref();
        let pending_remote = pending.and_then(|p| p.pending_remote.as_ref()?.state.as_ref());
        let former = pending.into_iter().flat_map(|p| &p.former);
        let base = self.base().map(|base| &base.state);
        let held = self.current.iter().chain(self.pushed_state()).chain(base).chain(pending_remote);
        held.chain(former)
            .filter(|state| state.revision == revision)
            .find(|state| digest_of_state(None, state) == digest.0)
    }

    /// As [`pushed_state`](Self::pushed_state), or the rest of it if it was erased.
    pub(crate) fn pushed(&self) -> Option<DocumentState> {
        let in_flight = self.in_flight()?;
        if !in_flight.is_withdrawn() {
            return self.pushed_state().cloned();
        }
        let (author, created) = (in_flight.revision, in_flight.revision.stamp);
        Some(DocumentState { revision: author, author, created, body: None, erased: None })
    }

    /// Returns the newest erasure that the state of the app includes.
    #[must_use]
    pub fn erased(&self) -> Option<Revision> {
        DocumentState::erasure_of(self.current.as_ref())
    }

    /// Removes everything that was written without knowledge of the newest erasure.
    fn drop_erased(&mut self) {
        // The base of an erasure is erased by it, also if it knows of an erasure with a later
        // stamp: the clocks may have been set back since.
        let is_own =
            self.edit().is_some() && self.current.as_ref().is_some_and(DocumentState::is_erasure);
        let Some(pending) = self.pending.as_mut() else { return };
        let erased = DocumentState::erasure_of(self.current.as_ref());
        let strip = |state: &mut DocumentState| {
            if state.erased < erased {
                state.body = None;
            }
        };
        pending.former.retain(|state| state.erased >= erased && !is_own);
        if let Some(base) = pending.edit.as_mut().and_then(|e| e.base.as_mut()) {
            if is_own {
                base.state.body = None;
            }
            strip(&mut base.state);
        }
        // A state that arrives while the erasure itself is in flight may be a new life of the
        // document, begun after it was purged: the verdict decides whether it stays.
        let is_asked = pending.in_flight.as_ref().is_some_and(|f| f.carried == Carried::Current);
        let pending_remote = pending.pending_remote.as_mut().filter(|_| !is_asked);
        pending_remote.and_then(|s| s.state.as_mut()).into_iter().for_each(strip);
        if let Some(in_flight) = pending.in_flight.as_mut()
            && let Carried::Kept(state) = &in_flight.carried
            && state.erased < erased
        {
            in_flight.carried = Carried::Withdrawn(digest_of_state(in_flight.base, state));
        }
    }

    /// Returns whether a body waits that the state in flight would erase.
    pub(crate) fn holds_erased(&self) -> bool {
        let pending_remote =
            self.pending.as_ref().and_then(|p| p.pending_remote.as_ref()?.state.as_ref());
        pending_remote.is_some_and(|pending_remote| {
            pending_remote.body.is_some() && pending_remote.erased < self.erased()
        })
    }

    /// Replaces the state that the app reads; it is kept separately if it was the pushed state.
    pub(crate) fn set_current(&mut self, state: Option<DocumentState>) {
        let old = std::mem::replace(&mut self.current, state);
        if let Some(in_flight) = self.pending.as_mut().and_then(|p| p.in_flight.as_mut())
            && in_flight.carried == Carried::Current
            && self.current.as_ref().is_none_or(|c| c.revision != in_flight.revision)
            && let Some(old) = old
        {
            in_flight.carried = Carried::Kept(old);
        }
    }

    /// Returns the unsettled part, and makes it if there is none.
    pub(crate) fn pending_mut(&mut self) -> &mut Pending {
        self.pending.get_or_insert_default()
    }

    /// Returns the position at which the newest applied state was settled, also if a reset cleared
    /// it.
    #[must_use]
    pub fn settled_at(&self) -> Seq {
        self.server_seq.max(self.pending.as_ref().map_or(Seq(0), |p| p.seq_before_reset))
    }

    /// Clears the known position; it is kept as the position before the reset.
    pub(crate) fn void(&mut self) {
        let at = self.settled_at();
        self.server_seq = Seq(0);
        if at > Seq(0) {
            self.pending_mut().seq_before_reset = at;
        }
    }

    /// Removes the unsettled part once it is empty, and everything that was erased.
    pub(crate) fn normalize(&mut self) {
        self.drop_erased();
        if let Some(pending) = self.pending.as_mut().filter(|_| self.server_seq > Seq(0)) {
            pending.seq_before_reset = Seq(0);
        }
        if let Some(pending) = self.pending.as_mut().filter(|p| p.edit.is_none()) {
            pending.former.clear();
        }
        if self.pending.as_ref().is_some_and(|p| **p == Pending::default()) {
            self.pending = None;
        }
    }

    /// Returns the settled state that a first edit is made on.
    pub(crate) fn settled(&self, epoch: Option<crate::model::Epoch>) -> Option<Settled> {
        let state = self.current.clone()?;
        epoch.map(|epoch| Settled { epoch, seq: self.settled_at(), state })
    }
}

/// The row of a scope on a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ScopeRow {
    /// Its checkpoint.
    pub checkpoint: Checkpoint,
    /// Live documents.
    pub documents: u64,
    /// Their digest.
    pub digest: Digest,
    /// Documents with a known position.
    pub settled: u64,
    /// Documents whose edit waits for a batch.
    pub pending: u64,
    /// Documents in the batch in flight.
    pub in_flight: u64,
    /// Documents in the conflict inbox.
    pub deferred: u64,
    /// Edits in the quarantine.
    pub quarantined: u64,
    /// The failures that keep it from syncing.
    pub failures: Failures,
    /// Whether entries of the log were left out because their collections are local-only here.
    pub left_out: bool,
    /// Documents whose edit waits because the replica does not sync their collection.
    pub not_chosen: u64,
    /// The progress of the removal of purged tombstones.
    pub purge: Purge,
}

/// The progress of a replica in removing the tombstones at or below the server's horizon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Purge {
    /// The newest horizon for which the removal was begun.
    pub up_to: Seq,
    /// Whether there are documents left to examine.
    pub runs: bool,
    /// The document that was examined last.
    pub after: Option<(Collection, DocumentId)>,
}

/// The batch in flight of a scope: its name and its documents. The states are in their records.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BatchRow {
    /// Its name.
    pub id: PushId,
    /// The identity it was formed under.
    pub replica: ReplicaId,
    /// Its documents, in the order of the batch.
    pub keys: Vec<DocumentKey>,
    /// How often it was returned to be pushed.
    pub attempts: u32,
}

/// An edit that the server refused permanently.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QuarantineRow {
    /// The document.
    pub key: DocumentKey,
    /// The refused state.
    pub state: DocumentState,
    /// The settled state that the edit was made on. Of an edit that left the device with its scope
    /// there is none; if it knew of an erasure, there is one without its body.
    pub base: Option<Settled>,
    /// The reason.
    pub rejection: Rejection,
    /// The time.
    pub at: Stamp,
}

/// The row of which a replica has one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReplicaMeta {
    /// The id of the replica.
    pub replica: ReplicaId,
    /// The marks of its clock.
    pub clock: Clock,
    /// The milliseconds to add to this machine's time to get the server's.
    pub clock_offset: i64,
    /// The latest time by this machine's clock at which a stamp was taken: if the clock shows much
    /// less later, it was set back, and the offset is not valid any more.
    pub wall: Now,
    /// The newest local position.
    pub last_local: LocalSeq,
    /// The name of the newest batch.
    pub last_push: PushId,
    /// The newest engine lease.
    pub lease: FencingToken,
    /// The name of the lease holder, for display.
    pub holder: String,
    /// The number of the newest full pull.
    pub full_pulls: u32,
    /// The number of the newest quarantine row.
    pub last_ticket: u64,
    /// Feed positions at or below this may lack removals: forgotten data leaves no trace.
    pub feed_floor: LocalSeq,
    /// Moves with every change of a conflict inbox or a quarantine.
    pub inbox: u64,
    /// The server's limits, once they are known.
    pub server_limits: Option<WriteLimits>,
    /// The collections that were declared local-only: their documents live in
    /// [`Scope::local`](crate::model::Scope::local).
    pub local_only: BTreeSet<Collection>,
}

impl ReplicaMeta {
    /// Makes the row of a new replica.
    #[must_use]
    pub fn new(replica: ReplicaId) -> Self {
        Self {
            replica,
            clock: Clock::default(),
            clock_offset: 0,
            wall: Now(0),
            last_local: LocalSeq(0),
            last_push: PushId(0),
            lease: FencingToken(0),
            holder: String::new(),
            full_pulls: 0,
            last_ticket: 0,
            feed_floor: LocalSeq(0),
            inbox: 0,
            server_limits: None,
            local_only: BTreeSet::new(),
        }
    }

    /// Returns this machine's time, corrected by the server's time.
    #[must_use]
    pub fn corrected(&self, now: Now) -> Now {
        now.corrected(self.clock_offset)
    }

    /// Returns the next local position.
    pub(crate) fn next_local(&mut self) -> LocalSeq {
        self.last_local = self.last_local.next();
        self.last_local
    }

    /// Makes a new revision that follows `parent`.
    pub(crate) fn revision(&mut self, now: Now, parent: Stamp) -> Revision {
        if self.wall > now.plus(DRIFT_BOUND) {
            // The clock was set back since the offset was measured, so the offset is not valid any
            // more.
            self.clock_offset = 0;
            self.wall = now;
        }
        self.wall = self.wall.max(now);
        let stamp = self.clock.tick(self.corrected(now), parent);
        Revision { stamp, replica: self.replica }
    }

    /// Merges the stamp of a state that the server sent.
    pub(crate) fn note_told(&mut self, now: Now, state: &DocumentState) {
        let (now, Revision { stamp, replica }) = (self.corrected(now), state.revision);
        if replica == self.replica {
            self.clock.merge_own(now, stamp);
        } else {
            self.clock.merge(now, stamp);
        }
    }
}

codec_struct! {
    Record { current, server_seq, changed, changed_here, delivered, pending }
    Edit { transaction, base, was_sent, base_not_in_log }
    InFlight { push, revision, base, carried }
    QuarantineRow { key, state, base, rejection, at }
}

codec_enum!(Carried {
    0 => Current,
    1 => Kept(state),
    2 => Withdrawn(digest),
});
