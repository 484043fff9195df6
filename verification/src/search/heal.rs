//! The end of a plan: every fault ends, and the promises of the rules are checked.

use sync_core::model::{DocumentKey, Revision};
use sync_core::replica::Decision;
use sync_core::resolver::Resolution;

use super::action::Mix;
use super::oracle::{Cause, Verdict};
use super::run::Runner;
use testkit::cores::Cores;
use testkit::random::SplitMix64;
use testkit::world::body;

impl<C: Cores> Runner<C> {
    pub(super) fn decide(&mut self, replica: usize, rng: &mut SplitMix64) -> Verdict {
        let records = self.world.records(replica);
        let deferred = records.into_iter().find(|(_, r)| r.is_deferred());
        let choice = rng.below(3);
        if let Some((key, record)) = deferred {
            let pending_remote =
                record.pending.and_then(|p| p.pending_remote).and_then(|s| s.state);
            let of = [record.current, pending_remote]
                .into_iter()
                .flatten()
                .map(|s| s.revision)
                .collect();
            let text = self.fresh_body(&mut SplitMix64::new(0));
            let resolution = match choice {
                0 => Resolution::Local,
                1 => Resolution::Remote,
                _ => Resolution::Merge(body(&text)),
            };
            return self.carry_out(replica, &key, &Decision::Resolve(resolution), of);
        }
        let Some(row) = self.world.quarantine(replica).into_iter().next() else { return Ok(()) };
        let retry = choice == 0 && self.world.options().refuse.is_none();
        let decision = if retry { Decision::Retry } else { Decision::Discard };
        let shown = self.world.current(replica, &row.key).map(|s| s.revision);
        let of = shown.into_iter().chain([row.state.revision]).collect();
        self.carry_out(replica, &row.key, &decision, of)
    }

    fn carry_out(
        &mut self,
        replica: usize,
        key: &DocumentKey,
        decision: &Decision,
        of: Vec<Revision>,
    ) -> Verdict {
        let name = format!("{}/{}", key.collection, key.id);
        if let Err(error) = self.world.decide(replica, &name, decision) {
            return Err(("not decided", error.to_string()));
        }
        self.oracle.look(&mut self.world, replica, &Cause::Decided(key.clone(), of))
    }

    /// Ends every fault, syncs all replicas, and checks the promises.
    pub(super) fn heal(&mut self) -> Verdict {
        self.bag.clear();
        self.world.refuse(None);
        self.settle_down()?;
        self.oracle.finish(&mut self.world)?;
        for replica in 0..self.world.replicas() {
            let text = self.fresh_body(&mut SplitMix64::new(0));
            let name = self.document(replica % self.setting.documents);
            self.world.put(replica, &name, &text);
            self.oracle.note_writes(&self.world)?;
            self.settle_down()?;
            if self.setting.mix != Mix::All && self.world.server_text(&name) != Some(text) {
                return Err(("no progress", format!("a fresh write of {name} did not arrive")));
            }
        }
        self.oracle.finish(&mut self.world)
    }

    /// Syncs all replicas without faults until nothing changes.
    pub(crate) fn settle_down(&mut self) -> Verdict {
        for _ in 0..24 {
            for replica in 0..self.world.replicas() {
                self.sync(replica)?;
            }
            let mut rest = true;
            for replica in 0..self.world.replicas() {
                while self.has_decisions(replica) {
                    rest = false;
                    self.decide(replica, &mut SplitMix64::new(self.bodies as u64))?;
                }
                let row = self.world.scope_row(replica);
                let head = self.world.server_scope().head;
                rest &= row.pending + row.in_flight == 0 && row.checkpoint.after() == head;
            }
            if !rest {
                continue;
            }
            let mut differs = false;
            for replica in 0..self.world.replicas() {
                let before = self.world.cursor(replica);
                self.acknowledge(replica)?;
                differs |= self.world.cursor(replica) != before;
            }
            if !differs {
                self.world.assert_converged();
                return Ok(());
            }
        }
        let rows: Vec<_> = (0..self.world.replicas()).map(|r| self.world.records(r)).collect();
        Err(("not quiet", format!("{rows:#?}")))
    }

    fn has_decisions(&mut self, replica: usize) -> bool {
        self.world.scope_row(replica).deferred > 0 || !self.world.quarantine(replica).is_empty()
    }
}
