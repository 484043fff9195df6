//! The rules of one document, state by state.

mod applying;
mod erasing;
mod records;
mod resolving;
mod settling;
mod stamping;

use super::record::{Edit, InFlight, Record, ReplicaMeta};
use super::rules::RuleContext;
use crate::clock::Now;
use crate::model::{
    Body, Collection, DocumentId, DocumentKey, DocumentState, Epoch, LocalSeq, PushId, ReplicaId,
    Revision, Scope, Seq, ServerState, Settled, Stamp, Verdict, VerdictKind,
};
use crate::resolver::{ClientWins, ConflictResolver, Resolvers, ServerWins};

const NOW: Now = Now(1_000_000_000);
const EPOCH: Epoch = Epoch([1; 16]);
/// The replica under test, and another one.
const HERE: ReplicaId = ReplicaId([1; 16]);
const THERE: ReplicaId = ReplicaId([2; 16]);

fn key() -> DocumentKey {
    DocumentKey {
        scope: Scope::new("s").unwrap(),
        collection: Collection::new("notes").unwrap(),
        id: DocumentId::new("d").unwrap(),
    }
}

fn body(text: &str) -> Option<Body> {
    Some(Body::parse(format!("\"{text}\"")).unwrap())
}

/// A revision that was made so many milliseconds before [`NOW`].
fn ago(millis: u64, replica: ReplicaId) -> Revision {
    Revision { stamp: Stamp::new(NOW.0 - millis, 0), replica }
}

/// A live state whose body is `text`, made so many milliseconds before [`NOW`].
fn state(text: &str, millis: u64, replica: ReplicaId) -> DocumentState {
    let revision = ago(millis, replica);
    let created = revision.stamp;
    DocumentState { revision, author: revision, created, body: body(text), erased: None }
}

/// The state by which a document is erased.
fn erasure(millis: u64, replica: ReplicaId) -> DocumentState {
    let state = state("", millis, replica).without_body();
    DocumentState { erased: Some(state.revision), ..state }
}

fn held(seq: u64, state: DocumentState) -> ServerState {
    ServerState { seq: Seq(seq), state: Some(state) }
}

fn settled(seq: u64, state: DocumentState) -> Settled {
    Settled { epoch: EPOCH, seq: Seq(seq), state }
}

/// A record whose edit shows `current`, made on `base`.
fn dirty(current: DocumentState, base: Option<Settled>) -> Record {
    let known = base.as_ref().map_or(Seq(0), |b| b.seq);
    let mut record = Record { current: Some(current), server_seq: known, ..Record::default() };
    record.pending_mut().edit = Some(Edit::new(LocalSeq(1), base));
    record
}

/// The same, whose edit is in flight.
fn in_flight(current: DocumentState, base: Option<Settled>) -> Record {
    let revision = current.revision;
    let mut record = dirty(current, base);
    let carried = super::record::Carried::Current;
    let base = record.base().map(crate::model::BaseRef::from);
    record.pending_mut().in_flight = Some(InFlight { push: PushId(1), revision, base, carried });
    record
}

fn verdict(seq: u64, kind: VerdictKind, current: Option<ServerState>) -> Verdict {
    Verdict { seq: Seq(seq), kind, current }
}

/// The input of the rules apart from a record; resolvers that decide for one side.
struct Bench {
    meta: ReplicaMeta,
    resolvers: Resolvers,
}

impl Bench {
    fn new(resolver: impl ConflictResolver) -> Self {
        Self { meta: ReplicaMeta::new(HERE), resolvers: Resolvers::new(resolver) }
    }

    /// The local edit wins in each conflict.
    fn local() -> Self {
        Self::new(ClientWins)
    }

    /// The server's state wins in each conflict.
    fn remote() -> Self {
        Self::new(ServerWins)
    }

    fn cx(&mut self) -> RuleContext<'_> {
        let Self { meta, resolvers } = self;
        RuleContext { now: NOW, epoch: EPOCH, meta, resolvers }
    }
}
