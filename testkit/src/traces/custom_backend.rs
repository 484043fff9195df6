//! The requirements of a custom backend on a storage: bookmarks, and accepted changes under another
//! revision.

use sync_core::model::{
    Bookmark, Bookmarks, Chunk, DocumentState, Reset, ResetReason, Revision, Seq, ServerState,
    Stamp, Verdict, VerdictKind, Verdicts,
};
use sync_core::resolver::ServerWins;

use super::{batch, chunk, decided, world_with};
use crate::cores::{Cores, must};
use crate::world::{World, body};

fn bookmark(text: &str) -> Option<Bookmark> {
    Some(must(Bookmark::new(text), "a bookmark"))
}

/// Returns the verdicts of a backend that stored the only change of a batch under a new revision.
fn stored_as<C: Cores>(world: &mut World<C>, replica: usize, text: &str) -> Verdicts {
    let pushed = batch(world, replica);
    let verdicts = world.deliver(&pushed);
    let seq = decided(&verdicts)[0].seq;
    let revision =
        Revision { stamp: Stamp::new(9, 0), replica: sync_core::model::ReplicaId([0xee; 16]) };
    let state = DocumentState::new(revision, Some(body(text)));
    let current = Some(ServerState { seq, state: Some(state) });
    let verdict = Verdict { seq, kind: VerdictKind::Accepted, current };
    let Verdicts::Decided { epoch, .. } = verdicts else { panic!("undecided") };
    Verdicts::Decided { epoch, mark: None, verdicts: vec![verdict] }
}

/// Returns a chunk with the state of a verdict, as a later pull returns it.
fn echo<C: Cores>(world: &mut World<C>, replica: usize, verdicts: &Verdicts) -> Chunk {
    let mut echo = chunk(world, replica);
    let told = decided(verdicts)[0].current.clone();
    echo.next = Seq(echo.next.0 + 1);
    echo.head = echo.next;
    echo.entries[0].seq = echo.next;
    echo.entries[0].state = must(told.and_then(|t| t.state).ok_or("none"), "a state was told");
    echo
}

/// A bookmark is stored with the chunk that it belongs to, a chunk that began at another bookmark
/// is rejected, and a reset of the position removes the bookmark, but not the highest position
/// seen.
pub fn a_bookmark_moves_with_its_chunk<C: Cores>(cores: C) {
    let mut world = World::new(cores, 2);
    world.put(1, "notes/a", "one");
    world.push_all(1);
    let mut first = chunk(&mut world, 0);
    first.bookmarks = Some(Bookmarks { after: None, next: bookmark("b1") });
    assert!(world.apply(0, &first).moved);
    assert_eq!(world.cursor(0).bookmark, bookmark("b1"));

    world.put(1, "notes/a", "two");
    world.push_all(1);
    let mut second = chunk(&mut world, 0);
    second.bookmarks = Some(Bookmarks { after: bookmark("b0"), next: bookmark("b2") });
    let before = world.records(0);
    assert!(!world.apply(0, &second).moved, "it began somewhere else");
    assert_eq!((world.records(0), world.cursor(0).bookmark), (before, bookmark("b1")));
    second.bookmarks = Some(Bookmarks { after: bookmark("b1"), next: bookmark("b2") });
    assert!(world.apply(0, &second).moved);
    assert_eq!(world.cursor(0).bookmark, bookmark("b2"));
    assert_eq!(world.text(0, "notes/a").as_deref(), Some("two"));

    let epoch = world.server_scope().epoch;
    world.reset(0, &Reset { epoch, reason: ResetReason::BelowHorizon });
    let cursor = world.cursor(0);
    assert_eq!((cursor.bookmark, cursor.position, cursor.seen), (None, Seq(0), second.next));
}

/// Accepted under another revision: the document is settled with that revision, which is no change
/// for the app, and its echo changes nothing.
pub fn accepted_under_another_revision<C: Cores>(cores: C) {
    let mut world = world_with(cores, ServerWins);
    world.put(0, "notes/a", "one");
    let verdicts = stored_as(&mut world, 0, "one");
    let id = must(world.batch_in_flight(0).ok_or("none"), "a batch is in flight");
    assert_eq!(world.settle(0, id, &verdicts).changes, Vec::new());
    let record = world.record(0, "notes/a");
    let told = decided(&verdicts)[0].clone();
    assert_eq!(record.current, told.current.and_then(|c| c.state));
    assert_eq!(
        (record.server_seq, record.pending, world.cursor(0).seen),
        (told.seq, None, told.seq)
    );
    let echo = echo(&mut world, 0, &verdicts);
    assert_eq!(world.apply(0, &echo).changes, Vec::new());
}

/// Accepted under another revision and edited since: that revision is the edit's base, and the echo
/// of it is no conflict.
pub fn accepted_under_another_revision_and_edited_since<C: Cores>(cores: C) {
    let mut world = world_with(cores, ServerWins);
    world.put(0, "notes/a", "one");
    let verdicts = stored_as(&mut world, 0, "one, as the backend writes it");
    let id = must(world.batch_in_flight(0).ok_or("none"), "a batch is in flight");
    world.put(0, "notes/a", "two");
    world.settle(0, id, &verdicts);
    let told = decided(&verdicts)[0].current.clone().and_then(|c| c.state);
    let base = |world: &mut World<C>| {
        let record = world.record(0, "notes/a");
        record.edit().and_then(|e| e.base.clone()).map(|b| b.state)
    };
    assert_eq!(base(&mut world), told);
    let echo = echo(&mut world, 0, &verdicts);
    world.apply(0, &echo);
    assert_eq!(base(&mut world), told);
    assert_eq!(world.text(0, "notes/a").as_deref(), Some("two"));
    assert_eq!(world.calls().count(), 0);
}
