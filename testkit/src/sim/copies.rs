//! Devices that are copied, restored from a copy, and lost.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::model::{DocumentKey, DocumentState};

use super::disk::Disks;
use super::fact::Fact;
use super::history::History;
use super::plan::{Action, What};
use super::run::Run;
use super::store::identity;
use super::units::Units;
use crate::cores::must;
use crate::random::SplitMix64;

/// Draws the copy that a device is restored from: some seconds or minutes old.
pub(super) fn before_put_back(rng: &mut SplitMix64, at: u64, client: usize) -> Action {
    let most = [2_000, 30_000, 200_000][rng.below(3)];
    let span = (1 + rng.next_u64() % most).min(at);
    Action { at: at - span, what: What::KeepCopy { client } }
}

impl<D: Disks> Run<D> {
    /// Copies the files of a device, as a backup tool does.
    pub(super) fn keep_copy(&mut self, client: usize) {
        let Some(core) = self.clients[client].core.as_mut() else { return };
        let copy = must(self.disks.copy_replica(core), "a replica's store is copied");
        let shown = self.clients[client].shown.clone();
        self.clients[client].copy = Some((copy, shown));
        let unsettled = self.unsettled_of(client);
        self.fact(&Fact::Copied { client, unsettled });
    }

    /// Returns the documents of which a device holds an unsettled edit.
    fn unsettled_of(&mut self, client: usize) -> BTreeSet<DocumentKey> {
        let mut unsettled = BTreeSet::new();
        for n in self.followed(client) {
            let scope = self.scopes[n].clone();
            let refused = self.quarantined(client, &scope).into_iter().map(|row| row.key);
            let edited = self.records_of(client, &scope).into_iter();
            let edited = edited.filter(|(_, r)| r.edit().is_some() || r.in_flight().is_some());
            unsettled.extend(edited.map(|(key, _)| key).chain(refused));
        }
        unsettled
    }

    /// Restores a device from its copy. The copy stays and may be used again.
    pub(super) fn put_back(&mut self, client: usize) {
        if self.clients[client].copy.is_none() {
            return;
        }
        self.stop(client, false, 0);
        let Some((copy, shown)) = self.clients[client].copy.as_mut() else { return };
        let shown = shown.clone();
        let core = must(self.disks.copy_replica(copy), "a copy of a replica's store is copied");
        self.set_core(client, core);
        self.clients[client].shown = shown;
        self.fact(&Fact::PutBack { client });
        self.start(client);
    }

    pub(super) fn clone_device(&mut self, from: usize, to: usize) {
        if from == to || self.followed(from) != self.followed(to) {
            return;
        }
        self.stop(to, false, 0);
        let Some(core) = self.clients[from].core.as_mut() else { return };
        let copy = must(self.disks.copy_replica(core), "a replica's store is copied");
        self.set_core(to, copy);
        self.clients[to].shown = self.clients[from].shown.clone();
        self.clients[to].replica = self.clients[from].replica;
        self.fact(&Fact::Wiped { client: to });
        let (replica, unsettled) = (self.clients[from].replica, self.unsettled_of(from));
        self.fact(&Fact::Cloned { from, to, replica, unsettled });
        self.start(to);
    }

    pub(super) fn wipe(&mut self, client: usize) {
        self.stop(client, false, 0);
        let core = must(self.disks.replica(), "the disks give a replica's store");
        self.set_core(client, core);
        self.clients[client].shown = BTreeMap::new();
        self.clients[client].identities += 1;
        self.clients[client].replica = identity(client, self.clients[client].identities);
        self.fact(&Fact::Wiped { client });
        self.initialise(client);
        self.start(client);
    }
}

/// The contents of a device's copy.
#[derive(Clone, Debug, Default)]
pub(super) struct Copied {
    shown: BTreeMap<DocumentKey, DocumentState>,
    units: Option<Units>,
    /// The number of writes of each document at that time.
    writes: BTreeMap<DocumentKey, usize>,
    unsettled: BTreeSet<DocumentKey>,
}

impl History {
    pub(super) fn note_copy(&mut self, client: usize, unsettled: BTreeSet<DocumentKey>) {
        let shown = self.all_shown(client).map(|(k, s)| (k.clone(), s.clone())).collect();
        let writes = self.stories().map(|(key, story)| (key.clone(), story.writes.len()));
        let (writes, units) = (writes.collect(), self.units(client).cloned());
        let copied = Copied { shown, units, writes, unsettled };
        self.copies.insert(client, copied);
    }

    /// Records that a device was restored from its copy. Its later writes are lost there; those
    /// that reached the server come back from it.
    pub(super) fn note_put_back(&mut self, client: usize) {
        let Copied { shown, units, writes, unsettled } =
            self.copies.get(&client).cloned().unwrap_or_default();
        self.put_back.insert(client);
        for (key, story) in self.stories_mut() {
            let first = writes.get(key).copied().unwrap_or_default();
            story.roll_back(client, first);
            // The copy does not know which edits the device pushed since.
            story.replace_device(client, None);
            if unsettled.contains(key) {
                story.fork();
            }
        }
        self.show_all(client, shown);
        self.set_units(client, units);
    }
}
