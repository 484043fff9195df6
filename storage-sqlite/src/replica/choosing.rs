//! The cost of choosing collections, in steps of the statements: it blocks the transaction that
//! writes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use rusqlite::StatementStatus;
use storage_kit::{Durability, Transactional};
use sync_core::clock::Now;
use sync_core::model::{
    Body, Chunk, Collection, DocumentId, DocumentState, Epoch, FencingToken, Limits, LogEntry,
    ReplicaId, Revision, Scope, Seq, Stamp,
};
use sync_core::replica::{Context, LocalTransaction, LocalWrite, WriteOperation, ops};
use sync_core::resolver::Resolvers;

use super::{SqliteReplicaWriter, sql};
use crate::names;

const NOW: Now = Now(1_800_000_000_000);
const REPLICA: ReplicaId = ReplicaId([7; 16]);

fn collection(n: u64) -> Collection {
    Collection::new(format!("c{n:05}")).unwrap()
}

fn body() -> Body {
    Body::parse("1".to_owned()).unwrap()
}

/// Returns a document in each of that many collections, in a chunk of a server.
fn chunk(collections: u64) -> Chunk {
    let entry = |n| {
        let revision = Revision { stamp: Stamp::from_bits(n), replica: ReplicaId([8; 16]) };
        let state = DocumentState::new(revision, Some(body()));
        LogEntry::new(Seq(n), collection(n), DocumentId::new("d").unwrap(), state)
    };
    let head = Seq(collections);
    Chunk {
        next: head,
        head,
        entries: (1..=collections).map(entry).collect(),
        ..Chunk::empty(Scope::default(), Epoch([1; 16]), Seq(0))
    }
}

/// Returns the steps of the statements that read when all of that many collections but one are
/// removed, with a batch in flight.
fn steps_of_choosing(collections: u64) -> i32 {
    let mut core = SqliteReplicaWriter::in_memory(REPLICA).unwrap();
    let cx = Context { now: NOW, resolvers: Resolvers::default(), lease: FencingToken(0) };
    let scope = Scope::default();
    core.begin(Durability::Process).unwrap();
    ops::apply(&mut core, &cx, &chunk(collections)).unwrap();
    let edit = |n| {
        LocalWrite::new(collection(n), DocumentId::new("e").unwrap(), WriteOperation::Put(body()))
    };
    let writes = (1..=100).map(edit).collect();
    let transaction = LocalTransaction { scope: scope.clone(), writes };
    ops::write(&mut core, NOW, &Default::default(), &transaction).unwrap();
    ops::next_push(&mut core, &cx, &scope, Limits::PUSH).unwrap().unwrap();
    core.commit().unwrap();
    let read = [
        sql::COLLECTIONS,
        sql::RECORD,
        sql::RECORDS,
        sql::OUTBOX,
        sql::BATCH,
        names::COLLECTION,
        names::COLLECTION_BY_ID,
    ];
    let steps = |core: &SqliteReplicaWriter| {
        let steps =
            read.map(|sql| core.prepare_cached(sql).unwrap().reset_status(StatementStatus::VmStep));
        steps.iter().sum::<i32>()
    };
    steps(&core);
    core.begin(Durability::Process).unwrap();
    let chosen = [collection(1)].into();
    let committed = ops::set_collections(&mut core, &cx, &scope, Some(&chosen)).unwrap();
    let steps = steps(&core);
    core.commit().unwrap();
    assert_eq!(committed.refused.len(), 99);
    assert_eq!(ops::state(&core).unwrap().scopes[0].documents, 2);
    steps
}

#[test]
fn the_cost_of_a_choice_is_linear_in_the_removed_collections() {
    let (few, many) = (steps_of_choosing(300), steps_of_choosing(1_200));
    assert!(many < few * 5, "four times as many collections take {many} steps instead of {few}");
}
