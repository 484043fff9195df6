//! Chunks of a live stream that move nothing.

use super::*;
use crate::model::{Bookmark, Collection, FullPull};

/// Follows live from a checkpoint at position 2; the stream's ticket.
fn following(checkpoint: Checkpoint) -> (Script, Ticket) {
    let mut s = Script::new();
    s.connect(FOLLOW, 2);
    let (first, _) = s.pull_in();
    let payload = s.deliver(first, 0, 2, 2);
    let result = Ok((true, checkpoint));
    s.input(Input::Applied { scope: scope(), payload, result });
    let commands = s.commands();
    let stream = commands.iter().find_map(|o| match o {
        Output::Subscribe { ticket, .. } => Some(*ticket),
        _ => None,
    });
    (s, stream.unwrap_or_else(|| panic!("it follows: {commands:?}")))
}

fn at_the_end() -> Checkpoint {
    Checkpoint { epoch: Some(EPOCH), position: Seq(2), ..Checkpoint::default() }
}

/// Returns whether an empty chunk of the stream is discarded.
fn is_thrown_away(checkpoint: Checkpoint, change: impl FnOnce(&mut ChunkMeta)) -> bool {
    let (mut s, ticket) = following(checkpoint);
    let payload = s.engine.ticket();
    let mut meta = ChunkMeta {
        epoch: EPOCH,
        after: Seq(2),
        next: Seq(2),
        head: Seq(2),
        entries: 0,
        weight: 0,
        bookmark: None,
        mark: None,
    };
    change(&mut meta);
    let result = Ok(Delivery::Chunk(meta));
    s.input(Input::Delivered { scope: scope(), ticket, payload, result });
    let commands = s.commands();
    let (discards, applies) =
        (Output::Discard { payload }, Output::Apply { scope: scope(), payload });
    assert_ne!(commands.contains(&discards), commands.contains(&applies), "{commands:?}");
    commands.contains(&discards)
}

#[test]
fn an_empty_chunk_without_effect_is_discarded() {
    assert!(is_thrown_away(at_the_end(), |_| {}));
}

#[test]
fn an_empty_chunk_with_an_effect_is_applied() {
    let bookmark = || Some(Bookmark::new("b").unwrap());
    assert!(!is_thrown_away(at_the_end(), |m| m.bookmark = bookmark()));
    assert!(!is_thrown_away(at_the_end(), |m| m.epoch = Epoch([8; 16])));
    assert!(!is_thrown_away(at_the_end(), |m| (m.next, m.head) = (Seq(3), Seq(3))));
    // It may end a pull of everything, or of a collection.
    let full_pull = Some(FullPull { floor: Seq(2), generation: 1, marks: true });
    assert!(!is_thrown_away(Checkpoint { full_pull, ..at_the_end() }, |_| {}));
    let backfills = [(Collection::new("late").unwrap(), Seq(2))].into();
    assert!(!is_thrown_away(Checkpoint { backfills, ..at_the_end() }, |_| {}));
}

#[test]
fn an_empty_chunk_behind_one_that_is_applied_waits_for_it() {
    let (mut s, stream) = following(at_the_end());
    let first = s.deliver(stream, 2, 3, 3);
    s.commands();
    let empty = s.deliver(stream, 3, 3, 3);
    assert!(!s.commands().contains(&Output::Discard { payload: empty }));
    s.applied(first, 3);
    assert!(s.commands().contains(&Output::Apply { scope: scope(), payload: empty }));
}
