//! The app of a client.

use std::collections::BTreeSet;

use storage_kit::Durability;
use sync_core::clock::{Now, ServerTime};
use sync_core::engine::Input;
use sync_core::model::{DocumentKey, WriteLimits};
use sync_core::replica::ops;
use sync_core::replica::rows::ReplicaReads;
use sync_core::replica::{Decision, LocalTransaction, LocalWrite};

use super::disk::Disks;
use super::fact::{Cause, Fact};
use super::queue::Event;
use super::run::Run;
use super::trace::Mark;
use crate::cores::must;

impl<D: Disks> Run<D> {
    /// Writes as the app does. The write is acknowledged when it is durable.
    pub(super) fn write(&mut self, client: usize, scope: usize, writes: Vec<LocalWrite>) {
        if self.clients[client].process.is_none() || self.clients[client].paused_until > self.now {
            return;
        }
        let scope = self.scopes[scope % self.scopes.len()].clone();
        let now = self.clock_of(client);
        let key =
            |w: &LocalWrite| DocumentKey::new(scope.clone(), w.collection.clone(), w.id.clone());
        let keys: BTreeSet<DocumentKey> = writes.iter().map(key).collect();
        self.mark(client + 1, Mark::Write, || {
            let ids: Vec<_> = keys.iter().map(|k| k.id.to_string()).collect();
            format!("write {}", ids.join(" "))
        });
        let transaction = LocalTransaction { scope: scope.clone(), writes };
        let unit = self.last_local(client).next();
        let waits = |run: &mut Self, key: &DocumentKey| {
            run.record_of(client, key).is_some_and(|record| record.is_deferred())
        };
        let waiting: BTreeSet<_> = keys.iter().filter(|key| waits(self, key)).cloned().collect();
        self.history.begin_step();
        let written = self.on_client(client, durability_of_writes(), |rows| {
            ops::write(rows, now, &WriteLimits::default(), &transaction)
        });
        if written.is_err() {
            return;
        }
        for key in keys {
            let record = self.record_of(client, &key);
            self.tally.writes += 1;
            if waiting.contains(&key) && record.as_ref().is_some_and(|r| r.edit().is_none()) {
                // The write equals the server's state: a deferred conflict has ended with that
                // state.
                let of = self.clients[client].shown.get(&key).map(|state| state.revision);
                self.compare(client, &key, &Cause::Decided(of.into_iter().collect()));
                continue;
            }
            let after = record.and_then(|r| r.current);
            let before = match &after {
                Some(after) => self.clients[client].shown.insert(key.clone(), after.clone()),
                None => self.clients[client].shown.remove(&key),
            };
            let at = self.now;
            self.fact(&Fact::Wrote { client, key, before, after, unit, at });
        }
        if let Some((millis, power, salt)) = self.clients[client].doomed.take() {
            self.stop(client, power, salt);
            return self.queue.push(self.now + millis, Event::Start { client });
        }
        self.look_at_outbox(client);
    }

    /// Decides deferred conflicts and quarantined edits as the app does.
    pub(super) fn decide(
        &mut self,
        client: usize,
        key: &DocumentKey,
        decision: &Decision,
        of: Vec<sync_core::model::Revision>,
    ) {
        let now = self.clock_of(client);
        self.history.begin_step();
        let decided =
            self.on_client(client, Durability::Power, |rows| ops::decide(rows, now, key, decision));
        if decided.is_ok() {
            self.compare(client, key, &Cause::Decided(of));
            self.look_at_outbox(client);
        }
    }

    pub(super) fn look_at_outbox(&mut self, client: usize) {
        for scope in self.followed(client) {
            let scope = self.scopes[scope].clone();
            if self.scope_row(client, &scope).pending > 0 {
                self.soon(client, Input::OutboxGrew { scope });
            }
        }
    }

    pub(super) fn reopen(&mut self, client: usize, power: bool, salt: u64) {
        if let Some(core) = self.clients[client].core.take() {
            let opened = self.disks.reopen_replica(core, power, salt);
            self.set_core(client, must(opened, "a replica's store opens again"));
        }
        self.fact(&Fact::Reopened { client, power });
        let meta = self.at_client(client, |rows| rows.meta()).flatten();
        if let Some(meta) = meta {
            self.clients[client].replica = meta.replica;
        }
        self.history.begin_step();
        self.compare_all(client, &Cause::RolledBack);
        self.clients[client].disk_busy = self.now;
    }

    pub(super) fn note_time(&mut self, client: usize, time: u64) {
        let (cx, asked) = (self.context(client), self.clients[client].asked);
        self.history.begin_step();
        let told = self.on_client(client, Durability::Process, |rows| {
            let time = ServerTime { sent: asked, server: Now(time) };
            ops::note_server(rows, cx.now, cx.lease, time, WriteLimits::default())
        });
        let scopes: Vec<_> =
            self.followed(client).into_iter().map(|n| self.scopes[n].clone()).collect();
        // The lease was taken over, or the disk failed: the next greeting causes this again.
        let waits = |scope: &_| {
            let row = self.scope_row(client, scope);
            row.pending + row.not_chosen > 0
        };
        if told.is_ok() && scopes.iter().any(waits) {
            // Edits in the outbox may get new stamps.
            self.compare_all(client, &Cause::Stamped);
        }
    }
}

/// Returns the durability of local writes, which are durable before they are acknowledged.
fn durability_of_writes() -> Durability {
    Durability::Power
}
