//! The ancestor of a change, after epochs of the log that were lost.

use super::*;
use crate::ops::base::{BaseCheck, check_base, lineage};
use crate::record::{Ancestor, Offer};
use sync_core::model::Seq;

const OLD: Epoch = Epoch([2; 16]);
const OLDER: Epoch = Epoch([3; 16]);

/// A log whose two earlier lives were cut at 3 and at 5.
fn restored() -> ServerScope {
    let ancestors =
        vec![Ancestor { epoch: OLDER, cut: Seq(3) }, Ancestor { epoch: OLD, cut: Seq(5) }];
    ServerScope { ancestors, ..ServerScope::new(FIRST) }
}

fn base(n: u64, epoch: Epoch, seq: u64) -> BaseRef {
    BaseRef { revision: revision(n), epoch, seq: Seq(seq), tombstone: false }
}

fn offer(epoch: Epoch, seq: u64, edited: bool) -> Option<Offer> {
    Some(Offer { epoch, seq: Seq(seq), edited })
}

fn row(n: u64, seq: u64, offered: Option<Offer>) -> ServerRow {
    ServerRow { seq: Seq(seq), first: Seq(seq), state: written(n, "held"), offered }
}

fn edit(base: BaseRef) -> Change {
    change("a", Some(base), written(20, "edit"))
}

#[test]
fn a_base_at_the_cut_was_not_lost() {
    let scope = restored();
    let at_the_cut = edit(base(9, OLD, 5));
    assert_eq!(check_base(&scope, &at_the_cut, Some(&row(1, 2, None))), BaseCheck::Conflicts);
    let above = edit(base(9, OLD, 6));
    let follows = BaseCheck::FastForward(offer(OLD, 6, true));
    assert_eq!(check_base(&scope, &above, Some(&row(1, 2, None))), follows);
}

#[test]
fn an_edit_of_a_reoffered_state_descends_from_it() {
    let held = row(1, 7, offer(OLD, 6, false));
    let on_it = edit(base(1, FIRST, 7));
    assert_eq!(
        check_base(&restored(), &on_it, Some(&held)),
        BaseCheck::FastForward(offer(OLD, 6, true))
    );
}

#[test]
fn a_state_made_of_both_sides_descends_from_the_newest_that_was_lost() {
    let scope = restored();
    for (ours, theirs, newest) in [
        // In one epoch the position decides.
        (base(9, OLD, 8), offer(OLD, 7, false), offer(OLD, 8, true)),
        (base(9, OLD, 7), offer(OLD, 8, false), offer(OLD, 8, true)),
        // Of two epochs the later one decides.
        (base(9, OLD, 6), offer(OLDER, 8, false), offer(OLD, 6, true)),
        (base(9, OLDER, 8), offer(OLD, 6, false), offer(OLD, 6, true)),
        // A base that was not lost, or that was in no log, proves nothing.
        (base(9, OLD, 4), offer(OLD, 6, true), offer(OLD, 6, true)),
        (base(9, FIRST, 4), None, None),
        (base(9, OLD, BaseRef::NOT_IN_LOG.0), None, None),
        (base(9, OLD, 6), None, offer(OLD, 6, true)),
    ] {
        assert_eq!(lineage(&scope, &edit(ours), Some(&row(1, 7, theirs))), newest, "{ours:?}");
    }
}

#[test]
fn only_deletions_follow_an_absent_document_that_may_have_been_purged() {
    let lost = base(9, OLD, 6);
    let on_tombstone = BaseRef { tombstone: true, ..lost };
    let deletion = change("a", Some(lost), deleted(20));
    // Purges up to the cut were before the restore.
    let purged = |horizon| ServerScope { horizon: Seq(horizon), ..restored() };
    let follows = BaseCheck::FastForward(offer(OLD, 6, true));
    assert_eq!(check_base(&purged(5), &edit(lost), None), follows);
    assert_eq!(check_base(&purged(6), &edit(lost), None), BaseCheck::Conflicts);
    assert_eq!(check_base(&purged(7), &edit(lost), None), BaseCheck::Conflicts);
    assert_eq!(check_base(&purged(7), &edit(on_tombstone), None), follows);
    assert_eq!(check_base(&purged(7), &deletion, None), follows);
}

#[test]
fn a_state_that_was_in_no_log_is_offered_without_a_position() {
    let unlogged = edit(base(9, OLD, BaseRef::NOT_IN_LOG.0));
    assert_eq!(check_base(&restored(), &unlogged, None), BaseCheck::FastForward(None));
    assert_eq!(check_base(&restored(), &unlogged, Some(&row(1, 2, None))), BaseCheck::Conflicts);
}

#[test]
fn a_state_that_knows_of_an_erasure_does_not_revive_an_absent_document() {
    let knows = DocumentState { erased: Some(revision(5)), ..written(20, "edit") };
    let knowing = change("a", Some(base(9, FIRST, 4)), knows);
    assert_eq!(check_base(&restored(), &knowing, None), BaseCheck::Conflicts);
}

#[test]
fn an_erasure_that_wins_descends_from_what_both_sides_do() {
    let knows = DocumentState { erased: Some(revision(20)), ..written(20, "edit") };
    let knowing = change("a", Some(base(9, FIRST, 4)), knows);
    let held = row(1, 7, offer(OLD, 6, false));
    let follows = BaseCheck::FastForward(offer(OLD, 6, true));
    assert_eq!(check_base(&restored(), &knowing, Some(&held)), follows);
}

#[test]
fn states_settled_in_unrelated_epochs_conflict() {
    let scope = restored();
    // The older life was cut at 3, so that neither of the positions is in both.
    let again = change("a", Some(base(20, OLD, 8)), written(20, "lost"));
    let theirs = row(1, 7, offer(OLDER, 6, false));
    assert_eq!(check_base(&scope, &again, Some(&theirs)), BaseCheck::Conflicts);
    // Position 3 is the last one that both lives hold, and 4 is in one of them only.
    let held = row(1, 7, offer(OLDER, 3, false));
    let follows = BaseCheck::FastForward(offer(OLD, 8, false));
    assert_eq!(check_base(&scope, &again, Some(&held)), follows);
    let held = row(1, 7, offer(OLDER, 4, false));
    assert_eq!(check_base(&scope, &again, Some(&held)), BaseCheck::Conflicts);
}

#[test]
fn a_state_offered_twice_from_one_position_stays() {
    let again = change("a", Some(base(20, OLD, 8)), written(20, "lost"));
    let held = row(1, 7, offer(OLD, 8, false));
    assert_eq!(check_base(&restored(), &again, Some(&held)), BaseCheck::Stale);
}
