//! Collections: those that a client syncs, and those that it may read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use storage_kit::Durability;
use sync_core::model::{Chunk, Collection, PushBatch, Rejection, RejectionCode, Scope, Verdicts};
use sync_core::replica::ops;
use sync_server::Visible;

use super::disk::Disks;
use super::fact::{Cause, Fact};
use super::history::key_of;
use super::plan::What;
use super::queue::Event;
use super::run::{Run, collection};
use crate::random::SplitMix64;
use crate::world::Refuse;

/// The collections that no server resolves.
pub(super) const NAMES: [&str; 3] = ["notes", "tasks", "tags"];

fn some(rng: &mut SplitMix64) -> Vec<usize> {
    (0..4).filter(|_| rng.percent(50)).collect()
}

/// Draws one choice of collections.
pub(super) fn choose(rng: &mut SplitMix64, client: usize) -> What {
    let collections = (!rng.percent(30)).then(|| some(rng));
    What::Choose { client, scope: rng.below(2), collections }
}

/// Draws one loss of access to collections.
pub(super) fn hide(rng: &mut SplitMix64, client: usize, millis: u64) -> What {
    What::Hide { client, scope: rng.below(2), collections: some(rng), millis }
}

impl<D: Disks> Run<D> {
    /// Returns all collections of the run.
    fn collections(&self) -> Vec<Collection> {
        let count = self.setting.collections.clamp(1, NAMES.len());
        let merged = self.setting.on_server.then_some("merged");
        NAMES[..count].iter().copied().chain(merged).map(collection).collect()
    }

    pub(super) fn collection_of(&self, document: usize) -> Collection {
        let (on_server, count) = (self.setting.on_server, self.setting.collections);
        let n = match on_server {
            true if document % 2 == 1 => return collection("merged"),
            true => document / 2,
            false => document,
        };
        collection(NAMES[n % count.clamp(1, NAMES.len())])
    }

    fn named(&self, numbers: &[usize]) -> BTreeSet<Collection> {
        let all = self.collections();
        numbers.iter().map(|n| all[n % all.len()].clone()).collect()
    }

    // ---- the collections that a client chooses

    /// Chooses collections. This happens when a replica is opened: the app stops, and opens it
    /// again.
    pub(super) fn choose(&mut self, client: usize, scope: usize, numbers: Option<&[usize]>) {
        let scopes = self.followed(client);
        let scope = scopes[scope % scopes.len()];
        match numbers.map(|numbers| self.named(numbers)) {
            Some(chosen) => self.clients[client].chosen.insert(scope, chosen),
            None => self.clients[client].chosen.remove(&scope),
        };
        self.open_anew(client);
    }

    /// Applies the choices of an app when it opens its replica; returns whether that succeeded.
    pub(super) fn choose_all(&mut self, client: usize) -> bool {
        for n in self.followed(client) {
            let chosen = self.clients[client].chosen.get(&n).cloned();
            let scope = self.scopes[n].clone();
            if self.checkpoint_of(client, &scope).collections == chosen {
                continue;
            }
            let cx = self.context(client);
            let in_flight = self.batch_keys(client, &scope);
            self.history.begin_step();
            let done = self.on_client(client, Durability::Power, |rows| {
                ops::set_collections(rows, &cx, &scope, chosen.as_ref())
            });
            let done = self.committed(client, done, BTreeSet::new(), true, &Cause::Forgotten);
            if done.is_err() {
                return false;
            }
            if self.batch_of(client, &scope).is_none() {
                self.fact(&Fact::Dissolved { keys: in_flight });
            }
            self.fact(&Fact::Chose { client, scope, collections: chosen });
        }
        true
    }

    pub(super) fn is_any_partial(&self) -> bool {
        let is_hidden = |(until, _): &(u64, _)| *until > self.now;
        self.clients.iter().any(|client| !client.chosen.is_empty())
            || self.server.hidden.values().any(is_hidden)
    }

    /// Checks that each idle client holds what the server holds of the collections that it syncs
    /// and may read.
    pub(super) fn compare_parts(&mut self) {
        for client in 0..self.clients.len() {
            for n in self.followed(client) {
                let scope = self.scopes[n].clone();
                let visible = self.visible(client, &scope);
                let chosen = self.clients[client].chosen.get(&n).cloned();
                let is_due = |c: &Collection| {
                    visible.includes(c) && chosen.as_ref().is_none_or(|chosen| chosen.contains(c))
                };
                let mut held: BTreeMap<_, _> = self.rows_of(&scope).into_iter().collect();
                held.retain(|key, row| is_due(&key.collection) && !row.state.is_deleted());
                let records = self.records_of(client, &scope);
                let shown = records.into_iter().filter_map(|(k, r)| Some((k, r.live()?.clone())));
                let shown: BTreeMap<_, _> = shown.filter(|(k, _)| is_due(&k.collection)).collect();
                for key in held.keys().chain(shown.keys()) {
                    let (server, own) = (held.get(key).map(|r| &r.state), shown.get(key));
                    if server != own && !self.is_over() {
                        let what = format!(
                            "{key} differs: client {client}, which syncs {chosen:?} and sees {visible:?}, shows {own:?}, the server holds {server:?}"
                        );
                        self.violate("convergence", what);
                    }
                }
            }
        }
    }

    /// Lets all clients sync and read all collections from now on.
    pub(super) fn end_choices(&mut self) {
        for (client, _) in std::mem::take(&mut self.server.hidden).into_keys() {
            // A client whose access changes has to reconnect.
            self.cut(client);
        }
        for client in 0..self.clients.len() {
            if !std::mem::take(&mut self.clients[client].chosen).is_empty() {
                self.open_anew(client);
            }
        }
    }

    // ---- the collections that a client may read

    pub(super) fn hide(&mut self, client: usize, scope: usize, numbers: &[usize], until: u64) {
        let scopes = self.followed(client);
        let scope = scopes[scope % scopes.len()];
        self.server.hidden.insert((client, scope), (until, self.named(numbers)));
        self.queue.push(until, Event::EndHidden { client });
    }

    /// Ends a client's loss of access. A client whose access changes has to reconnect.
    pub(super) fn end_hidden(&mut self, client: usize) {
        let (now, before) = (self.now, self.server.hidden.len());
        self.server.hidden.retain(|(of, _), (until, _)| *of != client || *until > now);
        if self.server.hidden.len() < before {
            self.cut(client);
        }
    }

    /// Returns the collections that a client may read.
    pub(super) fn visible(&self, client: usize, scope: &Scope) -> Visible {
        let n = self.scopes.iter().position(|s| s == scope).unwrap_or_default();
        let hidden = self.server.hidden.get(&(client, n)).filter(|(until, _)| *until > self.now);
        let Some((_, hidden)) = hidden.filter(|(_, hidden)| !hidden.is_empty()) else {
            return Visible::All;
        };
        let all = self.collections().into_iter();
        Visible::Only(Arc::new(all.filter(|c| !hidden.contains(c)).collect()))
    }

    pub(super) fn note_served(
        &mut self,
        client: usize,
        visible: &Visible,
        told: BTreeSet<Collection>,
        chunk: Option<Arc<Chunk>>,
    ) {
        self.fact(&Fact::Served { client, visible: visible.names(), told, chunk });
    }

    /// Removes states of collections that the client may not read from verdicts.
    pub(super) fn withhold(
        &mut self,
        client: usize,
        batch: &PushBatch,
        visible: &Visible,
        verdicts: &mut Verdicts,
    ) {
        let Verdicts::Decided { verdicts, .. } = verdicts else { return };
        for (verdict, change) in verdicts.iter_mut().zip(&batch.changes) {
            if !visible.includes(&change.collection) && verdict.current.take().is_some() {
                let key = key_of(&batch.scope, change);
                self.fact(&Fact::Withheld { client, key });
            }
        }
        let told = verdicts.iter().zip(&batch.changes).filter(|(v, _)| v.current.is_some());
        let told = told.map(|(_, change)| change.collection.clone()).collect();
        self.note_served(client, visible, told, None);
    }
}

/// Rejects every edit of a collection that the client may not read.
pub(super) fn not_visible(visible: Visible, refuse: Option<Refuse>) -> Option<Refuse> {
    if visible == Visible::All {
        return refuse;
    }
    Some(Arc::new(move |change| {
        if !visible.includes(&change.collection) {
            let reason = "this collection may not be seen".to_owned();
            return Some(Rejection { code: RejectionCode::Forbidden, reason });
        }
        refuse.as_ref().and_then(|refuse| refuse(change))
    }))
}
