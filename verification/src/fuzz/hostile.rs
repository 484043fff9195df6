//! Sequences of messages that decode but need not make sense: a replica's reaction to a server's
//! messages, and a server's to a replica's. No network and no threads: the transactions run inline,
//! on the stores that a short run left.

use bytes::Bytes;
use storage_kit::kv::{KvWriter, MemoryKv, ReplicaKv, ServerKv};
use sync_core::clock::{Now, ServerTime};
use sync_core::codec::Codec;
use sync_core::error::{Error, ErrorKind};
use sync_core::model::{
    Body, Collection, Cursor, Digest, DocumentId, Epoch, FencingToken, Limits, LocalSeq, LogKey,
    NewLog, PushBatch, ReplicaId, Scope, ServerStart, WriteLimits,
};
use sync_core::protocol::{Message, Welcome};
use sync_core::replica::rows::ReplicaReads;
use sync_core::replica::{
    Context, LocalTransaction, LocalWrite, Scan, Unsettled, UnsettledAfter, WriteOperation, ops,
};
use sync_core::resolver::Resolvers;
use sync_server::Visible;
use sync_server::ops::{self as served, Acknowledgement, AppendContext, ChangesReply};
use sync_server::record::Fork;
use sync_server::rows::ServerReads;

use super::samples::{life, pieces, replica_over, server_over};
use testkit::cores::{look, transact};
use testkit::world::WorldJudge;

type ReplicaCore = ReplicaKv<KvWriter<MemoryKv>>;
type ServerCore = ServerKv<KvWriter<MemoryKv>>;

/// An hour after the runs that the stores come from.
const NOW: Now = Now(1_900_000_000_000);

/// The largest number of messages that are read from one input.
const MESSAGES: usize = 64;

fn messages(bytes: &[u8]) -> impl Iterator<Item = Message> {
    pieces(bytes)
        .filter_map(|piece| Message::from_bytes(Bytes::copy_from_slice(piece)).ok())
        .take(MESSAGES)
}

/// Checks that the error is a rejection of the message: `Internal` or `Storage` would be a bug.
fn is_a_refusal(error: &Error) {
    assert_ne!(error.kind(), ErrorKind::Internal, "{error}");
    assert_ne!(error.kind(), ErrorKind::Storage, "{error}");
}

fn refused<T>(result: sync_core::error::Result<T>) {
    if let Err(error) = result {
        is_a_refusal(&error);
    }
}

/// Passes messages of a server to a replica, in the order of the bytes
/// ([`conversation`](super::conversation)): chunks, verdicts, resets, welcomes, valid or not.
/// Messages that only a replica sends make it write and push in between.
///
/// # Panics
/// If a message has another effect than an error: if a transaction panics, if the replica's state
/// differs from its rows, or if a position moved back.
pub fn replica(bytes: &[u8]) {
    let life = life();
    let mut core = replica_over(life.replica.copy());
    let lease = look(&mut core, |rows| ops::state(rows)).lease.0;
    let cx = Context { now: NOW, resolvers: Resolvers::default(), lease };
    for message in messages(bytes) {
        let before = position(&mut core, &life.scope);
        let is_reset = matches!(message, Message::Reset(_) | Message::Welcome(_));
        hear(&mut core, &cx, &life.scope, message);
        let after = position(&mut core, &life.scope);
        assert!(is_reset || before.epoch != after.epoch || before.position <= after.position);
    }
    replica_is_whole(&mut core, &life.scope);
}

fn position(core: &mut ReplicaCore, scope: &Scope) -> sync_core::model::Checkpoint {
    look(core, |rows| ops::state(rows)).checkpoint(scope)
}

fn hear(core: &mut ReplicaCore, cx: &Context, scope: &Scope, message: Message) {
    match message {
        Message::Chunk(chunk) => refused(transact(core, |rows| ops::apply(rows, cx, &chunk))),
        Message::Verdicts(verdicts) => {
            let batch = transact(core, |rows| ops::next_push(rows, cx, scope, Limits::PUSH));
            if let Ok(Some(batch)) = batch {
                refused(transact(core, |rows| ops::settle(rows, cx, scope, batch.id, &verdicts)));
            }
        }
        Message::Reset(reset) => {
            refused(transact(core, |rows| ops::reset(rows, cx, scope, &reset)));
        }
        Message::Welcome(welcome) => welcomed(core, cx, welcome),
        Message::Done => {
            let id = ReplicaId([9; 16]);
            refused(transact(core, |rows| ops::reidentify(rows, cx, id)));
        }
        Message::ScopeGone(name) => refused(write(core, scope, &name)),
        _ => refused(transact(core, |rows| ops::next_push(rows, cx, scope, Limits::PUSH))),
    }
}

fn welcomed(core: &mut ReplicaCore, cx: &Context, welcome: Welcome) {
    let limits = WriteLimits { body_bytes: welcome.body_bytes, transaction: welcome.push_limits };
    let time = Now(welcome.server_time);
    refused(transact(core, |rows| {
        let time = ServerTime { sent: cx.now, server: time };
        ops::note_server(rows, cx.now, cx.lease, time, limits)
    }));
    for told in welcome.scopes {
        if let Some(reset) = told.reset {
            refused(transact(core, |rows| ops::reset(rows, cx, &told.scope, &reset)));
        }
    }
}

fn write(core: &mut ReplicaCore, scope: &Scope, id: &str) -> sync_core::error::Result<()> {
    let write = LocalWrite::new(
        Collection::new("notes")?,
        DocumentId::new(id)?,
        WriteOperation::Put(Body::parse("7")?),
    );
    let transaction = LocalTransaction { scope: scope.clone(), writes: vec![write] };
    transact(core, |rows| ops::write(rows, NOW, &WriteLimits::default(), &transaction)).map(drop)
}

/// Checks that everything can be read and that counts match.
fn replica_is_whole(core: &mut ReplicaCore, scope: &Scope) {
    let limits = Limits { documents: usize::MAX, bytes: usize::MAX };
    look(core, |rows| {
        let state = ops::state(rows)?;
        let scan = Scan { scope: scope.clone(), collection: None, after: None, limits };
        let found = ops::scan(rows, &scan)?;
        ops::feed(rows, LocalSeq(0), limits)?;
        for which in
            [Unsettled::Pending, Unsettled::InFlight, Unsettled::Quarantine, Unsettled::Deferred]
        {
            ops::unsettled(rows, scope, which, &UnsettledAfter::default(), limits)?;
        }
        if let Some(summary) = state.scope(scope) {
            assert_eq!(summary.documents, found.items.len() as u64, "live documents");
            let mut digest = Digest::default();
            for document in &found.items {
                let (key, revision) = (&document.key, &document.state.revision);
                digest.add(&key.collection, &key.id, revision);
            }
            assert_eq!(summary.digest, digest, "the digest of {} documents", found.items.len());
            let deferred = rows.deferred(scope, None, usize::MAX)?.len() as u64;
            assert_eq!(summary.outbox.deferred, deferred, "the conflict inbox");
        }
        Ok(())
    });
}

/// Passes messages of a replica to a server, in the order of the bytes, valid or not: pulls,
/// pushes, acknowledgements.
///
/// # Panics
/// If a request has another effect than an error: if a transaction panics, or if the log is no
/// longer in order and counted.
pub fn server(bytes: &[u8]) {
    let life = life();
    let mut core = server_over(life.server.copy());
    for message in messages(bytes) {
        match message {
            Message::Pull(pull) | Message::Live(pull) => {
                ask(&mut core, &pull.scope, &pull.cursor, pull.limits);
            }
            Message::Push(push) => append(&mut core, &push.batch),
            Message::Ack(ack) => {
                let at = Acknowledgement {
                    epoch: ack.epoch,
                    seq: ack.seq,
                    digest: ack.digest,
                    mark: ack.mark,
                    noted: Default::default(),
                };
                let by = ReplicaId([1; 16]);
                refused(transact(&mut core, |rows| served::acknowledge(rows, &ack.scope, by, &at)));
            }
            Message::Hello(hello) => {
                for greeting in hello.scopes {
                    ask(&mut core, &greeting.scope, &greeting.cursor, Limits::CHUNK);
                }
            }
            Message::Reset(reset) => {
                let up_to = sync_core::model::Seq(u64::from_le_bytes([reset.epoch.0[0]; 8]));
                refused(transact(&mut core, |rows| served::purge(rows, &life.scope, up_to)));
            }
            _ => {}
        }
    }
    server_is_whole(&mut core, &life.scope);
}

fn ask(core: &mut ServerCore, scope: &Scope, cursor: &Cursor, limits: Limits) {
    let reply = transact(core, |rows| served::changes(rows, scope, cursor, limits, &Visible::All));
    match reply {
        Ok(ChangesReply::Chunk(chunk)) => {
            assert!(chunk.next <= chunk.head && chunk.after == cursor.after, "{chunk:?}");
        }
        Ok(ChangesReply::Reset(Fork::Reset(_))) => {}
        Ok(ChangesReply::Reset(Fork::Unannounced { epoch, cut })) => {
            let fresh = Epoch([epoch.0[0].wrapping_add(1); 16]);
            refused(transact(core, |rows| served::begin_epoch(rows, scope, epoch, cut, fresh)));
        }
        Err(error) => is_a_refusal(&error),
    }
}

fn append(core: &mut ServerCore, batch: &PushBatch) {
    let cx = AppendContext::new(
        NOW,
        ServerStart(5),
        NewLog { epoch: Epoch([5; 16]), key: LogKey([7; 16]) },
    );
    let judge = WorldJudge { refuse: None, resolvers: Resolvers::default() };
    refused(transact(core, |rows| served::append(rows, &cx, batch, &judge)));
    // A retry is the same batch, and gets the same verdicts.
    refused(transact(core, |rows| served::append(rows, &cx, batch, &judge)));
}

/// Checks that the log is in order and that counts match.
fn server_is_whole(core: &mut ServerCore, scope: &Scope) {
    look(core, |rows| {
        let Some(row) = rows.scope(scope)? else { return Ok(()) };
        let (mut last, mut live, mut digest) = (sync_core::model::Seq(0), 0, Digest::default());
        rows.log(scope, last, &mut |(collection, id, log)| {
            assert!(last < log.seq && log.seq <= row.head, "{} after {last}", log.seq);
            last = log.seq;
            if !log.state.is_deleted() {
                live += 1;
                digest.add(&collection, &id, &log.state.revision);
            }
            Ok(true)
        })?;
        assert_eq!((row.documents, row.digest), (live, digest), "documents and their digest");
        Ok(())
    });
}

/// Returns the lease in a store.
pub(super) fn lease_of(core: &mut ReplicaCore) -> Option<FencingToken> {
    transact(core, |rows| ops::state(rows)).ok().map(|state| state.lease.0)
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::fuzz::conversation;

    fn welcome(server_time: u64) -> Message {
        Message::Welcome(Welcome { heartbeat: 20_000, ..Welcome::new(server_time) })
    }

    #[test]
    fn two_server_times_far_apart_do_not_make_the_clock_overflow() {
        let furthest = NOW.0 + i64::MAX.unsigned_abs();
        replica(&conversation(&[welcome(furthest), welcome(0), welcome(u64::MAX), welcome(1)]));
    }
}
