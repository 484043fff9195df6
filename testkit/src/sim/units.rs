//! The local transactions of apps.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::model::{DocumentKey, LocalSeq, Revision};

/// The states of a local transaction.
pub(super) type Unit = Vec<(DocumentKey, Revision)>;

/// The local transactions of one device, and the transaction of each state.
#[derive(Clone, Debug, Default)]
pub(super) struct Units {
    units: BTreeMap<LocalSeq, Unit>,
    written: BTreeSet<(DocumentKey, Revision, LocalSeq)>,
}

impl Units {
    pub(super) fn add(&mut self, at: LocalSeq, key: &DocumentKey, revision: Revision) {
        self.units.entry(at).or_default().push((key.clone(), revision));
        self.written.insert((key.clone(), revision, at));
    }

    /// Returns the transactions that wrote one of these states.
    pub(super) fn of<'a>(
        &self,
        states: impl IntoIterator<Item = (DocumentKey, &'a Revision)>,
    ) -> impl Iterator<Item = &Unit> {
        let mut found = BTreeSet::new();
        for (key, revision) in states {
            let first = (key.clone(), *revision, LocalSeq(0));
            let last = (key, *revision, LocalSeq(u64::MAX));
            found.extend(self.written.range(first..=last).map(|(_, _, at)| *at));
        }
        found.into_iter().filter_map(|at| self.units.get(&at))
    }
}
