//! Checks whether a change was made on the state that the server holds.

use std::cmp::Ordering;

use crate::record::{Offer, ServerRow, ServerScope};
use sync_core::model::{BaseRef, Change, Seq};

/// The relation of a change to the server's current state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BaseCheck {
    /// The server already holds exactly this state.
    AlreadyStored,
    /// It was made on the current state, and becomes it. A re-offer names where it was settled
    /// before.
    FastForward(Option<Offer>),
    /// The current state is a later one of the same history: it stays, and nothing is in conflict.
    Stale,
    /// It was made without knowledge of the document's erasure, so its body has to be removed.
    Erased,
    /// It was made on another state.
    Conflicts,
}

/// The base check.
///
/// An absent document matches no base, and a base that was a tombstone; a deletion of an absent
/// document also follows. A base that was settled in a lost epoch of the log, above its cut, makes
/// the change a re-offer: it follows states that survived the cut and re-offers of older positions,
/// is older than re-offers of later ones, and conflicts with later writes.
///
/// If one side knows an erasure that the other does not, it wins, whatever the base: then nothing
/// is in conflict. Which erasure an absent document knew cannot be determined: it may have been
/// deleted and purged since.
pub(super) fn check_base(
    scope: &ServerScope,
    change: &Change,
    row: Option<&ServerRow>,
) -> BaseCheck {
    let held = row.and_then(|r| r.state.erased);
    match (change.state.erased.cmp(&held), by_base(scope, change, row)) {
        (Ordering::Less, _) if row.is_some() => BaseCheck::Erased,
        (Ordering::Greater, BaseCheck::Conflicts | BaseCheck::Stale) if row.is_some() => {
            BaseCheck::FastForward(lineage(scope, change, row))
        }
        (_, check_base) => check_base,
    }
}

fn by_base(scope: &ServerScope, change: &Change, row: Option<&ServerRow>) -> BaseCheck {
    // Two clones may have made two states of one revision, so the revision alone is not enough.
    if row.is_some_and(|r| r.state == change.state) {
        return BaseCheck::AlreadyStored;
    }
    match (change.base, row) {
        (None, None) => BaseCheck::FastForward(None),
        (None, Some(_)) => BaseCheck::Conflicts,
        (Some(base), Some(row)) if row.state.revision == base.revision => {
            BaseCheck::FastForward(inherited(row))
        }
        (Some(base), row) if is_lost(scope, base) => reoffer(scope, change, base, row),
        (Some(base), None) if base.tombstone || change.state.is_deleted() => {
            BaseCheck::FastForward(None)
        }
        (Some(_), _) => BaseCheck::Conflicts,
    }
}

/// Returns whether that base was settled in an epoch of the log that ended below it.
pub(super) fn is_lost(scope: &ServerScope, base: BaseRef) -> bool {
    base.epoch != scope.epoch && base.seq > scope.shared_with(base.epoch)
}

fn age(scope: &ServerScope, offer: &Offer) -> (usize, Seq) {
    (scope.age_of(offer.epoch), offer.seq)
}

/// Returns the lost state from which everything that is written on a row descends: it is still
/// newer than the re-offers of older states.
fn inherited(row: &ServerRow) -> Option<Offer> {
    row.offered.map(|o| Offer { edited: true, ..o })
}

/// Returns the newest lost state that a state made of this change and this row descends from.
pub(super) fn lineage(
    scope: &ServerScope,
    change: &Change,
    row: Option<&ServerRow>,
) -> Option<Offer> {
    let own = change.base.filter(|b| is_lost(scope, *b) && b.seq != BaseRef::NOT_IN_LOG);
    let own = own.map(|b| Offer { epoch: b.epoch, seq: b.seq, edited: true });
    own.into_iter().chain(row.and_then(inherited)).max_by_key(|o| age(scope, o))
}

fn reoffer(
    scope: &ServerScope,
    change: &Change,
    base: BaseRef,
    row: Option<&ServerRow>,
) -> BaseCheck {
    let is_edit = base.revision != change.state.revision;
    let offer = Offer { epoch: base.epoch, seq: base.seq, edited: is_edit };
    let Some(row) = row else {
        // It cannot be determined whether it was lost with the old epoch, or deleted and purged in
        // the new one.
        let purged_since = scope.horizon > scope.shared_with(base.epoch);
        let matches = !purged_since || base.tombstone || change.state.is_deleted();
        let offer = Some(offer).filter(|o| o.seq != BaseRef::NOT_IN_LOG);
        return if matches { BaseCheck::FastForward(offer) } else { BaseCheck::Conflicts };
    };
    if base.seq == BaseRef::NOT_IN_LOG {
        return BaseCheck::Conflicts; // Nothing tells where what the server had made of it stood.
    }
    if row.seq <= scope.shared_with(base.epoch) {
        return BaseCheck::FastForward(Some(offer)); // It survived the cut, whatever it was offered as before.
    }
    let Some(earlier) = row.offered else { return BaseCheck::Conflicts };
    match (is_before(scope, &earlier, &offer), is_edit) {
        // Settled in epochs that are not ancestors of each other.
        (None, _) => BaseCheck::Conflicts,
        // A state that was settled later than what the row's edit was made on.
        (Some(true), _) if earlier.edited => BaseCheck::Conflicts,
        (Some(true), _) => BaseCheck::FastForward(Some(offer)),
        (Some(false), false) => BaseCheck::Stale,
        (Some(false), true) => BaseCheck::Conflicts,
    }
}

/// Returns whether `a` was settled before `b`; none if no epoch of the log holds both.
fn is_before(scope: &ServerScope, a: &Offer, b: &Offer) -> Option<bool> {
    let common = scope.shared_between(a.epoch, b.epoch);
    (a.seq.min(b.seq) <= common).then_some(a.seq < b.seq)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Ancestor;
    use sync_core::model::{
        Body, Collection, DocumentId, DocumentState, Epoch, ReplicaId, Revision, Stamp,
    };

    const OLD: Epoch = Epoch([1; 16]);
    const NEW: Epoch = Epoch([2; 16]);

    fn state(n: u64) -> DocumentState {
        let revision = Revision { stamp: Stamp::new(n, 0), replica: ReplicaId([9; 16]) };
        DocumentState::new(revision, Body::parse("1").ok())
    }

    fn base(n: u64, epoch: Epoch, seq: u64) -> Option<BaseRef> {
        Some(BaseRef { revision: state(n).revision, epoch, seq: Seq(seq), tombstone: false })
    }

    fn change(n: u64, base: Option<BaseRef>) -> Change {
        Change {
            collection: Collection::new("c").unwrap(),
            id: DocumentId::new("d").unwrap(),
            base,
            base_body: None,
            state: state(n),
        }
    }

    fn row(n: u64, seq: u64, offered: Option<Offer>) -> ServerRow {
        ServerRow { seq: Seq(seq), first: Seq(seq), state: state(n), offered }
    }

    fn restored(cut: u64) -> ServerScope {
        let mut scope = ServerScope::new(NEW);
        scope.ancestors.push(Ancestor { epoch: OLD, cut: Seq(cut) });
        scope
    }

    #[test]
    fn absent_matches_no_base_and_a_tombstone() {
        let scope = ServerScope::new(NEW);
        assert_eq!(check_base(&scope, &change(1, None), None), BaseCheck::FastForward(None));
        let mut on_tombstone = change(2, base(1, NEW, 1));
        assert_eq!(check_base(&scope, &on_tombstone, None), BaseCheck::Conflicts);
        on_tombstone.base.as_mut().unwrap().tombstone = true;
        assert_eq!(check_base(&scope, &on_tombstone, None), BaseCheck::FastForward(None));
        let mut deletion = change(2, base(1, NEW, 1));
        deletion.state.body = None;
        assert_eq!(check_base(&scope, &deletion, None), BaseCheck::FastForward(None));
    }

    #[test]
    fn the_revision_decides_not_the_position() {
        let scope = ServerScope::new(NEW);
        let row = row(1, 7, None);
        assert_eq!(check_base(&scope, &change(1, None), Some(&row)), BaseCheck::AlreadyStored);
        assert_eq!(
            check_base(&scope, &change(2, base(1, NEW, 3)), Some(&row)),
            BaseCheck::FastForward(None)
        );
        assert_eq!(
            check_base(&scope, &change(2, base(5, NEW, 7)), Some(&row)),
            BaseCheck::Conflicts
        );
        assert_eq!(check_base(&scope, &change(2, None), Some(&row)), BaseCheck::Conflicts);
    }

    #[test]
    fn the_side_with_the_newer_erasure_wins() {
        let scope = ServerScope::new(NEW);
        let erased = |n: u64, since: Option<u64>| {
            let mut state = state(n);
            state.erased = since.map(|n| self::state(n).revision);
            state
        };
        let change = |state, base| Change { state, ..change(9, base) };
        let row = |state| Some(ServerRow { state, ..row(9, 4, None) });
        // An erasure follows on every state; a state that does not know it is superseded.
        let wins =
            [(erased(5, Some(5)), erased(3, None)), (erased(7, Some(6)), erased(4, Some(2)))];
        for (newer, older) in wins {
            let (ours, theirs) = (change(newer.clone(), base(1, NEW, 1)), row(older.clone()));
            assert_eq!(check_base(&scope, &ours, theirs.as_ref()), BaseCheck::FastForward(None));
            let (ours, theirs) = (change(older, base(1, NEW, 1)), row(newer));
            assert_eq!(check_base(&scope, &ours, theirs.as_ref()), BaseCheck::Erased);
        }
        // Where both know the same erasure, the other rules apply.
        let (ours, theirs) = (erased(8, Some(5)), row(erased(6, Some(5))));
        let on = |n| check_base(&scope, &change(ours.clone(), base(n, NEW, 4)), theirs.as_ref());
        assert_eq!((on(6), on(5)), (BaseCheck::FastForward(None), BaseCheck::Conflicts));
        // A tombstone that was purged is as if it had never been.
        assert_eq!(
            check_base(&scope, &change(erased(8, None), None), None),
            BaseCheck::FastForward(None)
        );
    }

    #[test]
    fn a_reoffer_follows_a_state_that_survived_the_cut() {
        let scope = restored(3);
        let offer = |seq, edited| Some(Offer { epoch: OLD, seq: Seq(seq), edited });
        let again = change(5, base(5, OLD, 5));
        assert_eq!(check_base(&scope, &again, None), BaseCheck::FastForward(offer(5, false)));
        assert_eq!(
            check_base(&scope, &again, Some(&row(1, 3, None))),
            BaseCheck::FastForward(offer(5, false))
        );
        assert_eq!(check_base(&scope, &again, Some(&row(9, 4, None))), BaseCheck::Conflicts);
        assert_eq!(
            check_base(&scope, &again, Some(&row(4, 4, offer(4, false)))),
            BaseCheck::FastForward(offer(5, false))
        );
        assert_eq!(check_base(&scope, &again, Some(&row(6, 4, offer(6, false)))), BaseCheck::Stale);
        // An edit made on a lost state.
        let edit = change(8, base(5, OLD, 5));
        assert_eq!(
            check_base(&scope, &edit, Some(&row(4, 4, offer(4, false)))),
            BaseCheck::FastForward(offer(5, true))
        );
        assert_eq!(
            check_base(&scope, &edit, Some(&row(6, 4, offer(6, false)))),
            BaseCheck::Conflicts
        );
        assert_eq!(check_base(&scope, &again, Some(&row(8, 4, offer(5, true)))), BaseCheck::Stale);
        assert_eq!(
            check_base(&scope, &change(6, base(6, OLD, 6)), Some(&row(8, 4, offer(5, true)))),
            BaseCheck::Conflicts
        );
        // A base at or below the cut is an ordinary one.
        assert_eq!(
            check_base(&scope, &change(8, base(2, OLD, 2)), Some(&row(1, 3, None))),
            BaseCheck::Conflicts
        );
    }
}
