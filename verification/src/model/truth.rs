//! Checks of the server against the recorded history that the [oracle](crate::search::SearchOracle)
//! of the search does not make.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::model::{
    DocumentKey, DocumentState, PushBatch, PushId, ReplicaId, Revision, Seq, VerdictKind, Verdicts,
};

use crate::search::{SearchOracle, Verdict};
use testkit::cores::Cores;
use testkit::world::World;

/// The states that the server holds, by document.
pub(super) type Rows = BTreeMap<DocumentKey, DocumentState>;

/// The history of the server in the current epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Truth {
    /// Every state that was in the log.
    logged: BTreeSet<(DocumentKey, Revision)>,
    /// Deletions that were in the log.
    buried: BTreeSet<(DocumentKey, Revision)>,
    /// The first verdicts on each batch.
    told: BTreeMap<(ReplicaId, PushId), Vec<VerdictKind>>,
}

impl Truth {
    /// Records that a batch reached the server.
    pub(super) fn note_append(
        &mut self,
        oracle: &SearchOracle,
        batch: &PushBatch,
        verdicts: &Verdicts,
        before: &Rows,
        after: &Rows,
    ) -> Verdict {
        if let Verdicts::Decided { verdicts, .. } = verdicts {
            let kinds: Vec<_> = verdicts.iter().map(|v| v.kind.clone()).collect();
            let first = self.told.entry((batch.replica, batch.id)).or_insert_with(|| kinds.clone());
            if *first != kinds {
                let what =
                    format!("of batch {} it was said {first:?}, and then {kinds:?}", batch.id);
                return Err(("twice", what));
            }
        }
        let is_new =
            |(key, state): &(&DocumentKey, &DocumentState)| before.get(*key) != Some(*state);
        for (key, state) in after.iter().filter(is_new) {
            if !self.logged.insert((key.clone(), state.revision)) {
                return Err(("twice", format!("{key} was written again: {state:?}")));
            }
            if state.is_deleted() {
                self.buried.insert((key.clone(), state.revision));
                continue;
            }
            let writes = oracle.ancestry(key, state.revision);
            let before = |(k, revision): &&(DocumentKey, Revision)| {
                k == key && writes.is_subset(&oracle.ancestry(k, *revision))
            };
            if let Some(deletion) = self.buried.iter().find(before) {
                return Err(("came back", format!("{key}: {state:?} after {deletion:?}")));
            }
        }
        Ok(())
    }

    /// Records that the server's log began again.
    pub(super) fn note_restore(&mut self) {
        *self = Self::default();
    }
}

/// Checks that none of a replica's resolver calls after the first `from` is about a collection that
/// the server resolves.
pub(super) fn check_place<C: Cores>(world: &World<C>, from: usize) -> Verdict {
    match world.calls().since(from).into_iter().find(|call| call.on_server) {
        None => Ok(()),
        Some(call) => Err(("elsewhere", format!("a replica asked {call:?}"))),
    }
}

/// Checks that a replica shows every state at or below its position, except for unsettled
/// documents.
pub(super) fn check_covered<C: Cores>(world: &mut World<C>, oracle: &SearchOracle) -> Verdict {
    let (scope, rows) = (world.server_scope(), world.server_rows());
    for replica in 0..world.replicas() {
        let checkpoint = world.scope_row(replica).checkpoint;
        if checkpoint.epoch != Some(scope.epoch) {
            continue;
        }
        let is_below = |seq: Seq| seq <= checkpoint.after();
        for (key, row) in rows.iter().filter(|(_, row)| is_below(row.seq)) {
            let record = world.record_at(replica, key).unwrap_or_default();
            let is_settled = record.pending.is_none();
            if is_settled && !oracle.is_known(key, &row.state, record.current.as_ref()) {
                let at = checkpoint.after();
                let what =
                    format!("replica {replica} stands at {at}, and of {key} it has {record:?}");
                return Err(("ahead", what));
            }
        }
    }
    Ok(())
}
