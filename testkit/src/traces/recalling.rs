//! Erasures while a batch is in flight. A batch of which a document was erased cannot be sent again
//! as it was: it is recalled.

use sync_core::model::{PushBatch, VerdictKind, Verdicts};

use super::{batch, decided, is_same, world_with};
use crate::cores::Cores;
use crate::resolvers::Joining;
use crate::world::World;

/// Replica 1 pushes two documents, and replica 0 erases one of them, before or after the push
/// arrives. Returns the push and the recall of replica 1, whose answers are not delivered yet.
fn recalled<C: Cores>(world: &mut World<C>, arrives: bool) -> (PushBatch, PushBatch) {
    world.put(0, "notes/a", "first secret");
    world.sync_all();
    world.put(1, "notes/b", "one");
    world.put(1, "notes/a", "second secret");
    let pushed = batch(world, 1);
    if arrives {
        world.deliver(&pushed);
    }
    world.pull_all(0);
    if arrives {
        world.put(0, "notes/b", "two");
    }
    world.erase(0, "notes/a");
    world.push_all(0);
    world.pull_all(1);
    let recall = batch(world, 1);
    assert_eq!((recall.id, recall.digest()), (pushed.id, pushed.digest()));
    assert!(recall.changes.iter().all(|c| c.state.body.is_none() && c.base_body.is_none()));
    assert_eq!(batch(world, 1), recall, "a retry sends the same");
    (pushed, recall)
}

/// The batch had arrived: its verdicts settle it, and states that other replicas made of it are no
/// conflict.
pub fn a_batch_is_recalled_that_had_arrived<C: Cores>(cores: C) {
    let mut world = world_with(cores, Joining);
    let (pushed, recall) = recalled(&mut world, true);
    let verdicts = world.deliver(&recall);
    assert_eq!(decided(&verdicts).len(), pushed.changes.len());
    world.settle(1, recall.id, &verdicts);
    assert_eq!((world.text(1, "notes/b").as_deref(), world.calls().count()), (Some("two"), 0));
    world.sync_all();
    world.assert_converged();
    world.assert_gone("secret");
    assert_eq!(world.calls().count(), 0);
}

/// The batch had not arrived: the server will never accept it, however late a copy arrives, and the
/// rest of it is pushed anew.
pub fn a_batch_is_recalled_before_it_arrives<C: Cores>(cores: C) {
    let mut world = world_with(cores, Joining);
    let (pushed, recall) = recalled(&mut world, false);
    for copy in [&recall, &pushed, &recall] {
        let head = world.server_scope().head;
        assert_eq!(world.deliver(copy), Verdicts::Recalled);
        assert_eq!(world.server_scope().head, head);
    }
    world.assert_gone("secret");
    assert_eq!(world.settle(1, recall.id, &Verdicts::Recalled).applied, pushed.changes.len());
    let next = batch(&mut world, 1);
    assert!(next.id > pushed.id && next.recall.is_none());
    world.deliver(&next);
    assert_eq!(world.deliver(&pushed), Verdicts::Stale);
    world.sync_all();
    world.assert_converged();
    world.assert_gone("secret");
    assert_eq!((world.server_text("notes/b").as_deref(), world.calls().count()), (Some("one"), 0));
}

/// Another batch under the same id is still distinguished from it.
pub fn a_clone_recalls_another_batch<C: Cores>(cores: C) {
    let mut world = world_with(cores, Joining);
    let (pushed, recall) = recalled(&mut world, false);
    let other = PushBatch { recall: Some(recall.digest() ^ 1), ..recall.clone() };
    assert_eq!(world.deliver(&other), Verdicts::Recalled);
    assert_eq!(world.deliver(&recall), Verdicts::Cloned);
    assert_eq!(world.deliver(&pushed), Verdicts::Cloned);
    world.reidentify(1);
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.server_text("notes/b").as_deref(), Some("one"));
}

/// A batch whose edit knows of an erasure had arrived. Since then the document was erased once
/// more, purged, and written anew by a replica that knows of neither erasure. The new document is
/// shown, with its body, once the replica has the verdict.
pub fn a_new_life_comes_before_the_verdict<C: Cores>(cores: C) {
    let mut world = world_with(cores, Joining);
    world.put(0, "notes/a", "first");
    world.sync_all();
    world.erase(0, "notes/a");
    world.sync_all();
    world.put(1, "notes/a", "knows");
    let pushed = batch(&mut world, 1);
    world.deliver(&pushed); // The answer is lost.
    world.pull_all(0);
    world.erase(0, "notes/a");
    world.push_all(0);
    let head = world.server_scope().head;
    world.purge(head);
    let other = world.join();
    world.put(other, "notes/a", "anew");
    world.push_all(other);
    world.connect(1);
    world.pull_all(1);
    assert_eq!(world.text(1, "notes/a").as_deref(), Some("knows"));
    assert!(is_same(&batch(&mut world, 1), &pushed));
    let verdicts = world.deliver(&pushed);
    assert_eq!(decided(&verdicts)[0].kind, VerdictKind::Accepted);
    world.settle(1, pushed.id, &verdicts);
    assert_eq!(world.text(1, "notes/a").as_deref(), Some("anew"));
    world.sync_all();
    world.assert_converged();
    assert_eq!(world.calls().count(), 0);
}
