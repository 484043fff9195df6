//! Collections that never leave the device.

use sync_core::model::{Limits, ResetReason, Seq};

use crate::cores::Cores;
use crate::world::{Reply, World};

/// Local-only documents are in no batch and in no digest, and documents that other replicas sync
/// under that name are not applied.
pub fn what_is_local_only_is_never_pushed<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.declare_local_only(0, &["drafts"]);
    world.put_local(0, "drafts/a", Some("mine"));
    assert!(world.form(0).is_none());
    world.put(0, "notes/a", "text");
    world.put(1, "drafts/a", "theirs");
    world.sync_all();
    assert_eq!(world.local_text(0, "drafts/a").as_deref(), Some("mine"));
    assert_eq!(world.text(0, "drafts/a"), None);
    assert_eq!(world.text(1, "notes/a").as_deref(), Some("text"));
    assert_eq!(world.text(1, "drafts/a").as_deref(), Some("theirs"));
    assert!(world.scope_row(0).left_out);
    world.put_local(0, "drafts/a", None);
    assert_eq!(world.local_records(0), 0, "nothing is left of what was deleted");
    world.assert_consistent();
}

/// No reset, forgetting or new identity affects local-only documents.
pub fn a_local_only_collection_is_untouched_by_resets<C: Cores>(cores: C) {
    let mut world = World::new(cores, 1);
    world.declare_local_only(0, &["drafts"]);
    world.put_local(0, "drafts/a", Some("mine"));
    world.put(0, "notes/a", "text");
    world.sync_all();
    let epoch = world.server_scope().epoch;
    for reason in [ResetReason::BelowHorizon, ResetReason::DigestDiffers, ResetReason::Requested] {
        world.reset(0, &sync_core::model::Reset { epoch, reason });
        world.sync_all();
    }
    world.reidentify(0);
    world.forget(0, None);
    assert_eq!(world.local_text(0, "drafts/a").as_deref(), Some("mine"));
    assert_eq!(world.local_records(0), 1);
    world.assert_consistent();
}

/// A collection that is synced from now on is pulled from the beginning, whatever the position was.
pub fn a_collection_that_was_local_only_is_pulled<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.declare_local_only(1, &["tasks"]);
    for name in ["tasks/a", "notes/a", "tasks/b"] {
        world.put(0, name, "text");
        world.push_all(0);
    }
    world.pull_all(1);
    assert_eq!((world.text(1, "tasks/a"), world.cursor(1).after), (None, Seq(3)));
    world.declare_local_only(1, &[]);
    assert_eq!(world.cursor(1).after, Seq(0));
    world.pull_all(1);
    assert_eq!(world.text(1, "tasks/b").as_deref(), Some("text"));
}

/// Deletions that are purged while a collection is pulled beside others are not missed.
pub fn a_purge_does_not_overtake_a_backfill<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    for name in ["tasks/a", "tasks/b", "notes/a"] {
        world.put(0, name, "text");
        world.push_all(0);
    }
    world.declare_local_only(1, &["tasks"]);
    world.pull_all(1);
    world.declare_local_only(1, &[]);
    let one = Limits { documents: 1, ..Limits::CHUNK };
    let cursor = world.cursor(1);
    let Reply::Chunk(first) = world.changes(&cursor, one) else { panic!("no chunk") };
    world.apply(1, &first);
    assert_eq!(world.text(1, "tasks/a").as_deref(), Some("text"));
    world.delete(0, "tasks/a");
    world.push_all(0);
    world.purge(Seq(4));
    world.sync_all();
    assert_eq!(world.text(1, "tasks/a"), None, "a deletion was missed");
    assert_eq!(world.text(1, "tasks/b").as_deref(), Some("text"));
}
