//! The acknowledgements that are sent to the server.

use crate::model::{Scope, Seq};
use crate::protocol::Ack;
use crate::replica::ReplicaState;

/// Returns how far the replica is. It includes the digest only if nothing of the scope is unsettled
/// and nothing that was settled lies ahead, because then it must be the server's.
pub(super) fn ack(state: &ReplicaState, scope: &Scope, settled: Seq) -> Option<Ack> {
    let summary = state.scope(scope)?;
    let counts = summary.outbox;
    let is_settled = counts.pending == 0 && counts.in_flight == 0 && counts.deferred == 0;
    let checkpoint = &summary.checkpoint;
    let is_behind = !checkpoint.backfills.is_empty() || checkpoint.full_pull.is_some();
    let whole = !is_behind && !summary.is_partial;
    Some(Ack {
        scope: scope.clone(),
        epoch: checkpoint.epoch?,
        seq: checkpoint.after(),
        digest: (is_settled && whole && settled <= checkpoint.after()).then_some(summary.digest),
        mark: checkpoint.mark.clone(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{
        Checkpoint, Collection, Digest, Epoch, FullPull, LogKey, LogMark, LogRun, ReplicaId,
        ServerStart,
    };
    use crate::replica::{OutboxCounts, ScopeSummary};

    const EPOCH: Epoch = Epoch([7; 16]);

    fn mark(last: u64) -> LogMark {
        let run = LogRun { start: ServerStart(3), first: Seq(1), last: Seq(last) };
        LogMark::sign(EPOCH, vec![run], &LogKey([7; 16]))
    }

    /// A scope at position 5 with nothing unsettled.
    fn settled() -> ScopeSummary {
        let checkpoint = Checkpoint {
            epoch: Some(EPOCH),
            position: Seq(5),
            mark: Some(mark(5)),
            ..Default::default()
        };
        ScopeSummary { checkpoint, documents: 1, digest: Digest(3), ..ScopeSummary::default() }
    }

    /// The acknowledgement of a scope when the newest verdict named that position.
    fn told(summary: ScopeSummary, seen: u64) -> Option<Ack> {
        let state = ReplicaState { scopes: vec![summary], ..ReplicaState::new(ReplicaId([1; 16])) };
        ack(&state, &Scope::default(), Seq(seen))
    }

    #[test]
    fn a_settled_scope_acknowledges_its_position_with_its_digest() {
        for seen in [0, 5] {
            let ack = told(settled(), seen).unwrap();
            assert_eq!((ack.scope, ack.epoch, ack.seq), (Scope::default(), EPOCH, Seq(5)));
            assert_eq!((ack.digest, ack.mark), (Some(Digest(3)), Some(mark(5))));
        }
    }

    #[test]
    fn a_scope_that_was_never_pulled_is_not_acknowledged() {
        let other = ScopeSummary { scope: Scope::new("other").unwrap(), ..settled() };
        assert_eq!(told(other, 0), None);
        assert_eq!(told(ScopeSummary { checkpoint: Checkpoint::default(), ..settled() }, 0), None);
    }

    #[test]
    fn a_digest_that_may_differ_from_the_servers_is_not_sent() {
        let outbox = |counts| ScopeSummary { outbox: counts, ..settled() };
        let at = |checkpoint| ScopeSummary { checkpoint, ..settled() };
        let whole = settled().checkpoint;
        let backfills = BTreeMap::from([(Collection::new("notes").unwrap(), Seq(2))]);
        let full_pull = Some(FullPull { floor: Seq(9), generation: 1, marks: false });
        for (summary, seq) in [
            (outbox(OutboxCounts { pending: 1, ..Default::default() }), 5),
            (outbox(OutboxCounts { in_flight: 1, ..Default::default() }), 5),
            (outbox(OutboxCounts { deferred: 1, ..Default::default() }), 5),
            (at(Checkpoint { backfills, ..whole.clone() }), 2),
            (at(Checkpoint { full_pull, ..whole }), 5),
            (ScopeSummary { is_partial: true, ..settled() }, 5),
        ] {
            let ack = told(summary.clone(), 0).unwrap();
            assert_eq!((ack.seq, ack.digest), (Seq(seq), None), "{summary:?}");
        }
        assert_eq!(told(settled(), 6).unwrap().digest, None, "what was settled lies ahead");
    }

    #[test]
    fn edits_that_are_not_pushed_do_not_withhold_the_digest() {
        let counts = OutboxCounts { quarantined: 1, not_chosen: 1, ..Default::default() };
        let ack = told(ScopeSummary { outbox: counts, ..settled() }, 0).unwrap();
        assert_eq!(ack.digest, Some(Digest(3)));
    }
}
