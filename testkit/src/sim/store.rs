//! The storage of a client, and what it reports to the oracles.

use std::collections::BTreeSet;

use storage_kit::Durability;
use sync_core::clock::Now;
use sync_core::engine::{BatchMeta, Direction, Failure, Input, Output, Settlement};
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{
    DocumentKey, FencingToken, Limits, PushId, ReplicaId, ResetReason, Scope, Seq, Verdicts,
};
use sync_core::replica::ops;
use sync_core::replica::{Committed, Context, Forget};

use super::client::{Client, Kept};
use super::disk::Disks;
use super::fact::{Cause, Fact};
use super::history::key_of;
use super::link_conditions::LinkConditions;
use super::queue::Event;
use super::rates::Rate;
use super::run::{BEGINNING, Run};
use super::trace::Mark;
use crate::cores::{look, must, transact_as};

/// A limit above the number of rows of any simulated scope.
pub(super) const ALL: usize = 1_000_000;

impl<D: Disks> Run<D> {
    /// Adds an empty device.
    pub(super) fn join(&mut self, client: usize) {
        let core = must(self.disks.replica(), "the disks give a replica's store");
        let replica = identity(client, 1);
        self.clients.push(Client {
            core: Some(core),
            rows: Vec::new(),
            replica,
            process: None,
            processes: 0,
            identities: 1,
            shown: Default::default(),
            link_conditions: LinkConditions::default(),
            rate: Rate::default(),
            skew: 0,
            copy: None,
            direction: (Direction::Both, 0),
            chosen: Default::default(),
            asked: Now(0),
            frozen: None,
            paused_until: 0,
            troubled_until: 0,
            slow_until: 0,
            disk_busy: 0,
            slow_disk: (0, 0),
            doomed: None,
            ordinals: Default::default(),
        });
        self.initialise(client);
    }

    pub(super) fn initialise(&mut self, client: usize) {
        let replica = self.clients[client].replica;
        let made = self.on_client(client, Durability::Power, |rows| ops::initialise(rows, replica));
        must(made, "a replica begins");
    }

    /// Returns the time of a client's own clock.
    pub(super) fn clock_of(&self, client: usize) -> Now {
        let client = &self.clients[client];
        if let Some((shows, until)) = client.frozen
            && until > self.now
        {
            return Now(shows);
        }
        Now((BEGINNING + self.now).saturating_add_signed(client.skew))
    }

    pub(super) fn on_client<T>(
        &mut self,
        client: usize,
        durability: Durability,
        job: impl FnOnce(&mut D::Replica) -> Result<T>,
    ) -> Result<T> {
        let gone = || Error::new(ErrorKind::Closed, "the store is being opened");
        let client = &mut self.clients[client];
        client.rows.clear();
        let core = client.core.as_mut().ok_or_else(gone)?;
        transact_as(core, durability, job)
    }

    pub(super) fn at_client<T>(
        &mut self,
        client: usize,
        job: impl FnOnce(&D::Replica) -> Result<T>,
    ) -> Option<T> {
        Some(look(self.clients[client].core.as_mut()?, job))
    }

    pub(super) fn context(&self, client: usize) -> Context {
        let lease = self.clients[client].process.as_ref().map_or(FencingToken(0), |p| p.lease);
        Context { now: self.clock_of(client), resolvers: self.resolvers.clone(), lease }
    }

    pub(super) fn claim(&mut self, client: usize) -> Option<FencingToken> {
        self.on_client(client, Durability::Process, |rows| ops::claim(rows, "simulated")).ok()
    }

    // ---- the engine's commands

    /// Queues a command to the storage, which has one thread and executes one command after the
    /// other.
    pub(super) fn plan_store(&mut self, client: usize, output: Output) {
        let mut rng = self.chance(client, 4);
        let (until, by) = self.clients[client].slow_disk;
        let slow = if until > self.now { by } else { 0 };
        let at = self.clients[client].disk_busy.max(self.now) + 1 + rng.next_u64() % 3 + slow;
        self.clients[client].disk_busy = at;
        let process = self.clients[client].processes;
        self.queue.push(at, Event::Store { client, process, output });
    }

    pub(super) fn store(&mut self, client: usize, process: u64, output: Output) {
        let until = self.clients[client].paused_until;
        if until > self.now {
            return self.queue.push(until, Event::Store { client, process, output });
        }
        if self.clients[client].process.as_ref().is_none_or(|p| p.number != process) {
            return;
        }
        self.history.begin_step();
        let Some(input) = self.perform(client, output) else { return };
        if let Some((millis, power, salt)) = self.clients[client].doomed.take() {
            self.stop(client, power, salt);
            return self.queue.push(self.now + millis, Event::Start { client });
        }
        // The engine gets the storage's result a moment later, and anything may happen in between.
        let (until, by) = self.clients[client].slow_disk;
        let most = if until > self.now { by } else { 3 };
        let later = self.chance(client, 6).next_u64() % most.max(3);
        self.queue.push(self.now + later, Event::Tell { client, process, input });
        self.look_at_outbox(client);
    }

    fn perform(&mut self, client: usize, output: Output) -> Option<Input> {
        let cx = self.context(client);
        Some(match output {
            Output::Apply { scope, payload } => {
                let kept = self.clients[client].process.as_mut()?.kept.remove(&payload)?;
                let Kept::Chunk(chunk) = kept else { return None };
                let before = self.checkpoint_of(client, &scope);
                let applied = self
                    .on_client(client, Durability::Process, |rows| ops::apply(rows, &cx, &chunk));
                self.note_calls_of(Some(client), applied.is_ok());
                let result = match applied {
                    Ok(applied) => {
                        let entry = |e: &sync_core::model::LogEntry| {
                            DocumentKey::new(scope.clone(), e.collection.clone(), e.id.clone())
                        };
                        let keys = chunk.entries.iter().map(entry).collect();
                        let is_full = before.full_pull.is_some() || chunk.after == Seq(0);
                        let at = (applied.moved, applied.checkpoint.clone());
                        self.fact(&Fact::Applied {
                            client,
                            scope: scope.clone(),
                            span: (chunk.after, chunk.next),
                            moved: at.0,
                            before,
                            after: at.1.clone(),
                        });
                        self.note_committed(
                            client,
                            &applied.committed,
                            keys,
                            is_full,
                            &Cause::Pulled,
                        );
                        Ok(at)
                    }
                    Err(error) => Err(Failure::from(&error)),
                };
                Input::Applied { scope, payload, result }
            }
            Output::Settle { scope, ticket, push } => {
                let kept = self.clients[client].process.as_mut()?.kept.remove(&ticket)?;
                let Kept::Verdicts(verdicts) = kept else { return None };
                self.settle(client, scope, &cx, push, &verdicts)
            }
            Output::Refuse { scope, push, epoch, documents } => {
                let verdicts = Verdicts::too_large(epoch, documents, None);
                self.settle(client, scope, &cx, push, &verdicts)
            }
            Output::NextBatch { scope, limits } => self.form(client, scope, limits, &cx),
            Output::Reset { scope, reset } => {
                self.mark(client + 1, Mark::Stored, || format!("reset {:?}", reset.reason));
                let (reason, of) = (reset.reason, scope.clone());
                self.fact(&Fact::Reset { client, scope: of, reason });
                if reset.reason == ResetReason::DigestDiffers {
                    self.fact(&Fact::Differed { client, scope: scope.clone() });
                }
                let done = self.on_client(client, Durability::Process, |rows| {
                    ops::reset(rows, &cx, &scope, &reset)
                });
                let result = self.committed(client, done, BTreeSet::new(), true, &Cause::Reset);
                let checkpoint = self.checkpoint_of(client, &scope);
                Input::ResetDone { scope, result: result.map(|_| checkpoint) }
            }
            Output::Forget { scope } => {
                let what = Forget::Scope(scope.clone());
                let done = self.on_client(client, Durability::Power, |rows| {
                    ops::forget(rows, cx.now, Some(cx.lease), &what)
                });
                let result = self.committed(client, done, BTreeSet::new(), true, &Cause::Forgotten);
                if let Some(process) = self.clients[client].process.as_mut() {
                    process.batches.remove(&scope);
                }
                if result.is_ok() {
                    self.fact(&Fact::Forgot { client, scope: scope.clone() });
                }
                Input::Forgotten { scope, result: result.map(drop) }
            }
            Output::Reidentify => {
                let id = identity(client, self.clients[client].identities + 1);
                let done = self
                    .on_client(client, Durability::Process, |rows| ops::reidentify(rows, &cx, id));
                if done.is_ok() {
                    self.clients[client].identities += 1;
                    let replica = std::mem::replace(&mut self.clients[client].replica, id);
                    if self.clients.iter().filter(|c| c.replica == replica).count() == 1 {
                        self.fact(&Fact::Unshared { replica });
                    }
                }
                let result = self.committed(client, done, BTreeSet::new(), true, &Cause::Stamped);
                if let Some(process) = self.clients[client].process.as_mut() {
                    process.batches.clear();
                }
                Input::Reidentified { result: result.map(drop) }
            }
            _ => return None,
        })
    }

    fn settle(
        &mut self,
        client: usize,
        scope: Scope,
        cx: &Context,
        push: PushId,
        verdicts: &Verdicts,
    ) -> Input {
        let keys = self.batch_keys(client, &scope);
        let settled = self.on_client(client, Durability::Process, |rows| {
            ops::settle(rows, cx, &scope, push, verdicts)
        });
        let result = self.committed(client, settled, keys, false, &Cause::Settled);
        let result = result.map(|committed| Settlement::from(&committed));
        if let Ok(Settlement { moved, .. }) = result {
            self.fact(&Fact::Settled { client, scope: scope.clone(), moved });
        }
        Input::Settled { scope, result }
    }

    fn form(&mut self, client: usize, scope: Scope, limits: Limits, cx: &Context) -> Input {
        let limits = limits.min(Limits { documents: self.setting.push, ..Limits::PUSH });
        let formed = self
            .on_client(client, Durability::Power, |rows| ops::next_push(rows, cx, &scope, limits));
        let result = match formed {
            Ok(batch) => {
                let meta = batch.as_ref().map(BatchMeta::from);
                // Forming a batch may replace stamps.
                let changes = batch.iter().flat_map(|b| &b.changes);
                let keys: Vec<_> = changes.map(|c| key_of(&scope, c)).collect();
                for key in keys {
                    self.compare(client, &key, &Cause::Stamped);
                }
                if let Some(batch) = batch {
                    self.fact(&Fact::Formed { client, batch: batch.clone() });
                    if let Some(process) = self.clients[client].process.as_mut() {
                        process.batches.insert(scope.clone(), batch);
                    }
                }
                Ok(meta)
            }
            Err(error) => Err(Failure::from(&error)),
        };
        Input::NextBatch { scope, result }
    }

    pub(super) fn committed(
        &mut self,
        client: usize,
        result: Result<Committed>,
        keys: BTreeSet<DocumentKey>,
        all: bool,
        cause: &Cause,
    ) -> Result<Committed, Failure> {
        self.note_calls_of(Some(client), result.is_ok());
        match result {
            Ok(committed) => {
                self.note_committed(client, &committed, keys, all, cause);
                Ok(committed)
            }
            Err(error) => Err(Failure::from(&error)),
        }
    }

    /// Reports the states that changed for the app to the oracles. The feed must contain all of
    /// them.
    fn note_committed(
        &mut self,
        client: usize,
        committed: &Committed,
        mut keys: BTreeSet<DocumentKey>,
        all: bool,
        cause: &Cause,
    ) {
        let told: BTreeSet<DocumentKey> = committed.changes.iter().map(|c| c.key.clone()).collect();
        for (key, rejection) in &committed.refused {
            let (key, rejection) = (key.clone(), rejection.clone());
            self.fact(&Fact::Refused { client, key, rejection });
        }
        keys.extend(told.iter().cloned());
        if all {
            keys.extend(self.all_keys(client));
        }
        for key in keys {
            let is_refused = *cause != Cause::Forgotten
                && committed.refused.iter().any(|(refused, _)| *refused == key);
            let cause = if is_refused { &Cause::Refused } else { cause };
            let (before, after) = self.compare(client, &key, cause);
            let shows = |s: &Option<sync_core::model::DocumentState>| {
                s.as_ref().and_then(|s| s.body.clone())
            };
            if shows(&before) != shows(&after) && !told.contains(&key) {
                let what = format!(
                    "the feed of client {client} does not tell of {key}: {before:?}, {after:?}"
                );
                self.violate(super::oracles::CONSISTENCY, what);
            }
        }
    }

    fn all_keys(&mut self, client: usize) -> BTreeSet<DocumentKey> {
        let mut keys: BTreeSet<DocumentKey> = self.clients[client].shown.keys().cloned().collect();
        for scope in self.followed(client) {
            let scope = self.scopes[scope].clone();
            keys.extend(self.records_of(client, &scope).into_iter().map(|(key, _)| key));
        }
        keys
    }

    pub(super) fn compare_all(&mut self, client: usize, cause: &Cause) {
        for key in self.all_keys(client) {
            self.compare(client, &key, cause);
        }
    }

    /// Reports the states of a document before and after to the oracles, if they differ.
    pub(super) fn compare(
        &mut self,
        client: usize,
        key: &DocumentKey,
        cause: &Cause,
    ) -> (Option<sync_core::model::DocumentState>, Option<sync_core::model::DocumentState>) {
        let after = self.record_of(client, key).and_then(|r| r.current);
        let before = self.clients[client].shown.get(key).cloned();
        if before != after {
            match &after {
                Some(after) => self.clients[client].shown.insert(key.clone(), after.clone()),
                None => self.clients[client].shown.remove(key),
            };
            let (key, cause) = (key.clone(), cause.clone());
            let fact =
                Fact::Changed { client, key, before: before.clone(), after: after.clone(), cause };
            self.fact(&fact);
        }
        (before, after)
    }
}

/// Returns the identity of a client with that number of changes of identity.
pub(super) fn identity(client: usize, number: u64) -> ReplicaId {
    let mut id = [0xaa; 16];
    id[6..8].copy_from_slice(&(client as u16).to_be_bytes());
    id[8..].copy_from_slice(&number.to_be_bytes());
    ReplicaId(id)
}
