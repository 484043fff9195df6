//! Stores with damaged values: a bad disk, or another program. A row that cannot be read is an
//! error, never a panic; a row that can be read and is wrong must not cause a panic either.

use bytes::Bytes;
use storage_kit::Durability;
use storage_kit::kv::{KvWriter, MemoryKv, OrderedKv, ReplicaKv, ServerKv};
use sync_core::clock::{Now, ServerTime};
use sync_core::error::{ErrorKind, Result};
use sync_core::model::{
    Body, Collection, Cursor, DocumentId, DocumentKey, Epoch, Limits, LocalSeq, LogKey, NewLog,
    ReplicaId, Reset, ResetReason, Scope, Seq, ServerStart, WriteLimits,
};
use sync_core::replica::{
    Context, Decision, Forget, LocalTransaction, LocalWrite, Scan, Unsettled, UnsettledAfter,
    WriteOperation, ops,
};
use sync_core::resolver::{Resolution, Resolvers};
use sync_server::Visible;
use sync_server::ops::{self as served, Acknowledgement, AppendContext};
use sync_server::rows::ServerReads;

use super::hostile::lease_of;
use super::samples::{Life, entries, life, pieces, replica_over, server_over};
use testkit::cores::transact;
use testkit::world::WorldJudge;

const NOW: Now = Now(1_900_000_000_000);
const ALL: Limits = Limits { documents: usize::MAX, bytes: usize::MAX };

/// Damages values of a store: each piece of the bytes names an entry, a place in it, how many bytes
/// are removed there, and their replacement.
fn damage(kv: &MemoryKv, bytes: &[u8]) {
    for piece in pieces(bytes).take(8) {
        let entries = entries(kv);
        let [entry, place, gone, instead @ ..] = piece else { continue };
        let Some((key, value)) = entries.get(usize::from(*entry) % entries.len().max(1)) else {
            continue;
        };
        let mut value = value.clone();
        let at = usize::from(*place).min(value.len());
        let end = (at + usize::from(*gone)).min(value.len());
        value.splice(at..end, instead.iter().copied());
        let batch = vec![(key.as_slice().into(), Some(Bytes::from(value)))];
        // A map in memory accepts every write.
        let _ = kv.commit(batch, Durability::Process);
    }
}

/// Checks the result of a call over damaged values: it may fail, but not with `Internal`, which
/// would be a bug.
fn survived<T>(result: Result<T>) {
    if let Err(error) = result {
        assert_ne!(error.kind(), ErrorKind::Internal, "{error}");
    }
}

/// Opens a replica's store after a short run, with values damaged by the bytes, and calls every
/// operation of a replica.
///
/// # Panics
/// If anything panics, or an error is `Internal`.
pub fn replica_store(bytes: &[u8]) {
    let life = life();
    let kv = life.replica.copy();
    damage(&kv, bytes);
    use_replica(kv, &life);
}

/// Calls every operation of a replica.
fn use_replica(kv: MemoryKv, life: &Life) {
    let mut core = replica_over(kv);
    read_replica(&mut core, &life.scope);
    survived(transact(&mut core, |rows| ops::initialise(rows, ReplicaId([3; 16]))));
    survived(transact(&mut core, |rows| ops::claim(rows, "check")));
    if let Some(lease) = lease_of(&mut core) {
        let cx = Context { now: NOW, resolvers: Resolvers::default(), lease };
        survived(sync_replica(&mut core, &cx, life));
    }
    survived(write_replica(&mut core, &life.scope));
    read_replica(&mut core, &life.scope);
}

fn read_replica(core: &mut ReplicaKv<KvWriter<MemoryKv>>, scope: &Scope) {
    survived(transact(core, |rows| ops::state(rows)));
    let scan = Scan { scope: scope.clone(), collection: None, after: None, limits: ALL };
    survived(transact(core, |rows| ops::scan(rows, &scan)));
    survived(transact(core, |rows| ops::feed(rows, LocalSeq(0), ALL)));
    for which in
        [Unsettled::Pending, Unsettled::InFlight, Unsettled::Quarantine, Unsettled::Deferred]
    {
        survived(transact(core, |rows| {
            ops::unsettled(rows, scope, which, &UnsettledAfter::default(), ALL)
        }));
    }
}

fn key(scope: &Scope, collection: &str, id: &str) -> Result<DocumentKey> {
    let (collection, id) = (Collection::new(collection)?, DocumentId::new(id)?);
    Ok(DocumentKey::new(scope.clone(), collection, id))
}

fn sync_replica(core: &mut ReplicaKv<KvWriter<MemoryKv>>, cx: &Context, life: &Life) -> Result<()> {
    let scope = &life.scope;
    survived(transact(core, |rows| ops::set_collections(rows, cx, scope, None)));
    let limits = WriteLimits::default();
    survived(transact(core, |rows| {
        let time = ServerTime { sent: NOW, server: Now(0) };
        ops::note_server(rows, NOW, cx.lease, time, limits)
    }));
    if let Some(chunk) = &life.chunk {
        survived(transact(core, |rows| ops::apply(rows, cx, chunk)));
    }
    if let Some(batch) = &life.batch {
        survived(transact(core, |rows| ops::next_push(rows, cx, scope, Limits::PUSH)));
        survived(transact(core, |rows| ops::settle(rows, cx, scope, batch.id, &life.verdicts)));
        survived(transact(core, |rows| ops::next_push(rows, cx, scope, Limits::PUSH)));
    }
    for reason in [
        ResetReason::EpochChanged { cut: Seq(2) },
        ResetReason::BelowHorizon,
        ResetReason::Requested,
    ] {
        let reset = Reset { epoch: Epoch([8; 16]), reason };
        survived(transact(core, |rows| ops::reset(rows, cx, scope, &reset)));
    }
    survived(transact(core, |rows| ops::reidentify(rows, cx, ReplicaId([4; 16]))));
    Ok(())
}

fn write_replica(core: &mut ReplicaKv<KvWriter<MemoryKv>>, scope: &Scope) -> Result<()> {
    for (id, operation) in [
        ("a", WriteOperation::Put(Body::parse("1")?)),
        ("b", WriteOperation::Put(Body::parse("2")?)),
        ("e", WriteOperation::Delete),
        ("f", WriteOperation::Erase),
    ] {
        let DocumentKey { collection, id, .. } = key(scope, "notes", id)?;
        let writes = vec![LocalWrite { collection, id, operation }];
        let transaction = LocalTransaction { scope: scope.clone(), writes };
        survived(transact(core, |rows| {
            ops::write(rows, NOW, &WriteLimits::default(), &transaction)
        }));
    }
    for (id, decision) in [
        ("a", Decision::Resolve(Resolution::Local)),
        ("no", Decision::Retry),
        ("no", Decision::Discard),
    ] {
        let key = key(scope, "notes", id)?;
        survived(transact(core, |rows| ops::decide(rows, NOW, &key, &decision)));
    }
    let forget = Forget::Scope(scope.clone());
    survived(transact(core, |rows| ops::forget(rows, NOW, None, &forget)));
    Ok(())
}

/// Opens a server's store after a short run, with values damaged by the bytes, and calls every
/// operation of a server.
///
/// # Panics
/// If anything panics, or an error is `Internal`.
pub fn server_store(bytes: &[u8]) {
    let life = life();
    let kv = life.server.copy();
    damage(&kv, bytes);
    let mut core = server_over(kv);
    serve(&mut core, &life);
}

fn serve(core: &mut ServerKv<KvWriter<MemoryKv>>, life: &Life) {
    let (scope, fresh) = (&life.scope, Epoch([5; 16]));
    let new = NewLog { epoch: fresh, key: LogKey([7; 16]) };
    survived(transact(core, |rows| rows.scopes(None, 10)));
    survived(transact(core, |rows| served::open_scope(rows, scope, new)));
    for cursor in [&Cursor::default(), &life.cursor] {
        survived(transact(core, |rows| {
            served::changes(rows, scope, cursor, Limits { documents: 2, bytes: 100 }, &Visible::All)
        }));
    }
    if let Some(batch) = &life.batch {
        let cx = AppendContext::new(NOW, ServerStart(5), new);
        let judge = WorldJudge { refuse: None, resolvers: Resolvers::default() };
        for _ in 0..2 {
            survived(transact(core, |rows| served::append(rows, &cx, batch, &judge)));
        }
        let epoch = life.cursor.epoch.unwrap_or(fresh);
        let at = Acknowledgement::new(epoch, life.cursor.after);
        survived(transact(core, |rows| served::acknowledge(rows, scope, batch.replica, &at)));
        survived(transact(core, |rows| rows.push_record(scope, batch.replica)));
        survived(transact(core, |rows| served::begin_epoch(rows, scope, epoch, Seq(3), fresh)));
    }
    survived(transact(core, |rows| served::purge(rows, scope, Seq(u64::MAX))));
}

#[cfg(test)]
mod tests {
    use sync_core::codec::Codec;
    use sync_core::model::{FencingToken, PushId};
    use sync_core::replica::record::ReplicaMeta;

    use super::*;

    #[test]
    fn a_counter_at_its_end_does_not_overflow() {
        let life = life();
        let kv = life.replica.copy();
        let meta = ReplicaMeta {
            clock_offset: i64::MIN,
            last_local: LocalSeq(u64::MAX),
            last_push: PushId(u64::MAX),
            lease: FencingToken(u64::MAX),
            full_pulls: u32::MAX,
            last_ticket: u64::MAX,
            inbox: u64::MAX,
            ..ReplicaMeta::new(ReplicaId([1; 16]))
        };
        kv.commit(vec![(b"m"[..].into(), Some(meta.to_bytes()))], Durability::Process).unwrap();
        use_replica(kv, &life);
    }
}
