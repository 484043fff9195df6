//! Hashes of histories, and which writes a state knows: for checks that explore states one by one.

use std::hash::{Hash, Hasher};

use sync_core::model::{DocumentKey, DocumentState};

use super::{Node, SearchOracle};
use testkit::world::Write;

impl SearchOracle {
    /// Hashes the history, independently of the order in which two replicas wrote: `writes` are
    /// those of the world.
    pub(crate) fn hash_history(&self, writes: &[Write], hasher: &mut impl Hasher) {
        // A write is named by its replica and the number of earlier writes there.
        let named = |n: &usize| {
            let replica = writes[*n].replica;
            (replica, writes[..*n].iter().filter(|w| w.replica == replica).count())
        };
        let all = |set: &super::Writes, hasher: &mut _| {
            let mut names: Vec<_> = set.iter().map(named).collect();
            names.sort_unstable();
            names.hash(hasher);
        };
        for (name, Node { body, writes, parents }) in &self.states {
            (name, body, parents).hash(hasher);
            all(writes, hasher);
        }
        all(&self.ended, hasher);
        all(&self.travelled, hasher);
        (&self.shown, &self.refused, &self.units, self.restored).hash(hasher);
    }

    /// Returns whether the shown state knows of every held one, except for writes that ended.
    pub(crate) fn is_known(
        &self,
        key: &DocumentKey,
        held: &DocumentState,
        shown: Option<&DocumentState>,
    ) -> bool {
        self.missing(&self.of(key, Some(held)), &self.of(key, shown)).is_none()
    }
}
