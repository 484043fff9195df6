//! Scopes, collections and transactions.

use sync_core::error::ErrorKind;
use sync_core::model::{Limits, Seq};
use sync_core::replica::{LocalTransaction, LocalWrite, WriteOperation};

use super::batch;
use crate::cores::Cores;
use crate::world::{Options, Reply, World, body};

/// A collection that is added later is back-filled by itself, and then shares the position.
pub fn a_collection_added_later_backfills<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    for name in ["notes/a", "tasks/a", "notes/b", "tasks/b"] {
        world.put(0, name, "text");
        world.push_all(0);
    }
    world.pull_all(1);
    world.forget(1, Some("tasks"));
    assert_eq!((world.text(1, "tasks/a"), world.cursor(1).after), (None, Seq(4)));
    world.add_collection(1, "tasks");
    assert_eq!(world.cursor(1).after, Seq(0));
    let one = Limits { documents: 1, ..Limits::CHUNK };
    let cursor = world.cursor(1);
    let Reply::Chunk(first) = world.changes(&cursor, one) else { panic!("no chunk") };
    assert!(first.entries.is_empty(), "what the others have is skipped");
    world.put(0, "notes/c", "text");
    world.push_all(0);
    world.pull_all_by(1, one);
    assert!(world.cursor(1).backfills.is_empty());
    world.sync_all();
    world.assert_converged();
}

/// A chunk boundary never falls inside one append, and a reader at the head sees whole
/// transactions.
pub fn a_chunk_never_cuts_an_append<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    let text = Some("text");
    world.put(0, "notes/first", "text");
    world.push_all(0);
    world.transaction(0, &[("notes/a", text), ("notes/b", text), ("notes/c", text)]);
    world.push_all(0);
    world.put(0, "notes/last", "text");
    world.push_all(0);
    for documents in 1..6 {
        let fresh = world.join();
        let limits = Limits { documents, ..Limits::CHUNK };
        loop {
            let cursor = world.cursor(fresh);
            let Reply::Chunk(chunk) = world.changes(&cursor, limits) else { panic!("no chunk") };
            world.apply(fresh, &chunk);
            let seen = ["a", "b", "c"].map(|n| world.text(fresh, &format!("notes/{n}")).is_some());
            assert!(seen == [true; 3] || seen == [false; 3], "{seen:?} with {documents}");
            if !chunk.has_more() {
                break;
            }
        }
    }
    world.sync_all();
    world.assert_converged();
}

/// A transaction over the push limits is refused when it is written.
pub fn a_transaction_that_could_not_be_pushed_is_refused<C: Cores>(cores: C) {
    let mut options = Options::default();
    options.write.transaction.documents = 2;
    options.write.body_bytes = 100;
    let mut world = World::with(cores, options);
    let scope = world.scope().clone();
    let write = |world: &World<C>, name: &str, text: &str| {
        let key = world.key(name);
        let operation = WriteOperation::Put(body(text));
        LocalWrite { collection: key.collection, id: key.id, operation }
    };
    let writes = ["notes/a", "notes/b", "notes/c"].map(|n| write(&world, n, "text")).to_vec();
    let refused = world.write(0, LocalTransaction { scope: scope.clone(), writes });
    assert_eq!(refused.map_err(|e| e.kind()).err(), Some(ErrorKind::InvalidInput));
    let writes = vec![write(&world, "notes/a", &"long ".repeat(30))];
    let refused = world.write(0, LocalTransaction { scope, writes });
    assert_eq!(refused.map_err(|e| e.kind()).err(), Some(ErrorKind::InvalidInput));
    assert_eq!(world.text(0, "notes/a"), None);
    assert!(world.form(0).is_none());
}

/// A transaction of which one operation fails writes nothing.
pub fn a_transaction_happens_whole<C: Cores>(cores: C) {
    let mut world = World::new(cores, 1);
    let scope = world.scope().clone();
    let (a, b) = (world.key("notes/a"), world.key("notes/b"));
    let put = LocalWrite::new(a.collection, a.id, WriteOperation::Put(body("text")));
    let delete =
        LocalWrite { collection: b.collection, id: b.id, operation: WriteOperation::Delete };
    let refused = world.write(0, LocalTransaction { scope, writes: vec![put, delete] });
    assert_eq!(refused.map_err(|e| e.kind()).err(), Some(ErrorKind::NotFound));
    assert_eq!(world.text(0, "notes/a"), None);
    world.assert_consistent();
}

/// A scope leaves the device: unsynced own bodies go to the quarantine, alone; everything else is
/// removed.
pub fn a_scope_that_is_gone<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(0, "notes/a", "base");
    world.put(0, "notes/b", "base");
    world.sync_all();
    world.put(1, "notes/a", "mine");
    world.forget(1, None);
    assert_eq!((world.text(1, "notes/a"), world.text(1, "notes/b")), (None, None));
    assert!(world.records(1).is_empty());
    let quarantine = world.quarantine(1);
    assert_eq!(quarantine.len(), 1);
    assert_eq!(quarantine[0].base, None);
    assert_eq!(quarantine[0].state.body, Some(body("mine")));
    world.assert_consistent();
    world.sync_all();
    world.assert_converged();
}

/// A scope that is forgotten and joined again continues to count its batches.
pub fn batches_are_counted_on_after_a_scope_was_forgotten<C: Cores>(cores: C) {
    let mut world = World::new(cores, 1);
    world.put(0, "notes/a", "one");
    let first = batch(&mut world, 0);
    world.deliver(&first);
    world.forget(0, None);
    world.put(0, "notes/b", "two");
    let second = batch(&mut world, 0);
    assert!(second.id > first.id);
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_scope().documents, 2);
}

/// A collection leaves the device while a document of another one is in flight: that document is
/// still pushed, and an edit on it by another replica is no conflict.
pub fn a_collection_leaves_while_another_is_in_flight<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(0, "tasks/a", "text");
    world.sync_all();
    world.put(0, "notes/a", "one");
    let pushed = batch(&mut world, 0);
    let verdicts = world.deliver(&pushed);
    world.forget(0, Some("tasks"));
    world.pull_all(1);
    world.put(1, "notes/a", "two");
    world.push_all(1);
    world.pull_all(0);
    world.settle(0, pushed.id, &verdicts);
    world.push_all(0);
    world.pull_all(0);
    assert_eq!((world.text(0, "notes/a").as_deref(), world.calls().count()), (Some("two"), 0));
    assert_eq!(world.text(0, "tasks/a"), None);
}
