//! The effects of a plan's actions.

use std::collections::{BTreeMap, BTreeSet};

use storage_kit::Durability;
use sync_core::engine::Input;
use sync_core::model::{Body, DocumentKey, Reset, ResetReason, Revision, Seq};
use sync_core::replica::record::QuarantineRow;
use sync_core::replica::rows::ReplicaReads;
use sync_core::replica::{Decision, LocalWrite, WriteOperation};
use sync_core::resolver::Resolution;
use sync_server::ops;

use super::disk::Disks;
use super::fact::{Cause, Fact};
use super::kind_of::{describe, kind_of};
use super::link_conditions::Condition;
use super::plan::What;
use super::queue::Event;
use super::run::Run;
use super::store::ALL;
use super::trace::Mark;
use crate::cores::must;
use crate::random::SplitMix64;
use crate::world::body;

impl<D: Disks> Run<D> {
    pub(super) fn act(&mut self, what: &What) {
        let count = self.clients.len();
        let client = what.client().map(|c| c % count);
        if let Some(kind) = kind_of(what) {
            self.cover(kind, client);
            self.note_trouble(client, what);
            self.tally.faults += 1;
            let lane = client.map_or(0, |c| c + 1);
            self.mark(lane, Mark::Fault, || describe(what));
        }
        match client {
            Some(client) if what.is_work() => self.work(client, what),
            Some(client) => self.happen_to(client, what),
            None => self.happen_to_server(what),
        }
    }

    // ---- the actions of apps

    fn work(&mut self, client: usize, what: &What) {
        let scopes = self.followed(client);
        match *what {
            What::Set { document, ref body, .. } => {
                let scope = scopes[0];
                let DocumentKey { collection, id, .. } = self.key(scope, document);
                let body = must(Body::parse(body.clone()), "a plan's bodies are JSON");
                let write = LocalWrite { collection, id, operation: WriteOperation::Put(body) };
                self.write(client, scope, vec![write]);
            }
            What::Put { document, salt, .. } => {
                let mut rng = SplitMix64::new(salt);
                let scope = scopes[rng.below(scopes.len())];
                let write = self.put(client, scope, document, &mut rng);
                self.write(client, scope, vec![write]);
            }
            What::Delete { document, .. } => {
                let scope = scopes[document % scopes.len()];
                let key = self.key(scope, document);
                if self.is_live(client, &key) {
                    let operation = WriteOperation::Delete;
                    let write = LocalWrite { collection: key.collection, id: key.id, operation };
                    self.write(client, scope, vec![write]);
                }
            }
            What::Erase { document, .. } => {
                let scope = scopes[document % scopes.len()];
                let DocumentKey { collection, id, .. } = self.key(scope, document);
                let write = LocalWrite { collection, id, operation: WriteOperation::Erase };
                self.write(client, scope, vec![write]);
            }
            What::Transaction { salt, .. } => {
                let mut rng = SplitMix64::new(salt);
                let scope = scopes[rng.below(scopes.len())];
                let mut writes = Vec::new();
                for document in 0..self.setting.documents.min(self.setting.push) {
                    let key = self.key(scope, document);
                    if !rng.percent(60) {
                        continue;
                    }
                    if rng.percent(25) && self.is_live(client, &key) {
                        let operation = WriteOperation::Delete;
                        writes.push(LocalWrite::new(key.collection, key.id, operation));
                    } else {
                        writes.push(self.put(client, scope, document, &mut rng));
                    }
                }
                if !writes.is_empty() {
                    self.write(client, scope, writes);
                }
            }
            What::Decide { salt, .. } => {
                let mut rng = SplitMix64::new(salt);
                for scope in scopes {
                    self.decide_one(client, scope, &mut rng);
                }
            }
            _ => {}
        }
    }

    fn put(
        &mut self,
        client: usize,
        scope: usize,
        document: usize,
        rng: &mut SplitMix64,
    ) -> LocalWrite {
        let key = self.key(scope, document);
        let shown = self.clients[client].shown.get(&key).and_then(|s| s.body.clone());
        let body = self.edit(client, shown.as_ref(), rng);
        LocalWrite { collection: key.collection, id: key.id, operation: WriteOperation::Put(body) }
    }

    fn edit(&self, client: usize, shown: Option<&Body>, rng: &mut SplitMix64) -> Body {
        if let Some(edit) = &self.options.edit {
            return edit(shown, rng);
        }
        let bad = self.setting.refusals && !self.healing && rng.percent(20);
        let word = format!("{client}.{:x}", rng.next_u64() & 0xff_ffff);
        body(&format!("{word}{}", if bad { "!" } else { "" }))
    }

    fn is_live(&self, client: usize, key: &DocumentKey) -> bool {
        self.clients[client].shown.get(key).is_some_and(|s| !s.is_deleted())
    }

    /// Decides one deferred conflict, or one quarantined edit; returns whether there was one.
    pub(super) fn decide_one(&mut self, client: usize, scope: usize, rng: &mut SplitMix64) -> bool {
        let scope = self.scopes[scope].clone();
        let choice = rng.below(3);
        let waits = self.records_of(client, &scope).into_iter().find(|(_, r)| r.is_deferred());
        if let Some((key, record)) = waits {
            let pending_remote = record
                .pending
                .as_ref()
                .and_then(|p| p.pending_remote.clone())
                .and_then(|s| s.state);
            let of =
                [record.current.clone(), pending_remote].into_iter().flatten().map(|s| s.revision);
            let resolution = match choice {
                0 => Resolution::Local,
                1 => Resolution::Remote,
                _ => {
                    let shown = record.current.and_then(|c| c.body);
                    Resolution::Merge(self.edit(client, shown.as_ref(), rng))
                }
            };
            self.decide(client, &key, &Decision::Resolve(resolution), of.collect());
            return true;
        }
        let Some(row) = self.quarantined(client, &scope).into_iter().next() else { return false };
        let is_retry = choice == 0 && (!self.setting.refusals || self.healing);
        let decision = if is_retry { Decision::Retry } else { Decision::Discard };
        let shown = self.clients[client].shown.get(&row.key).map(|s| s.revision);
        let of = shown.into_iter().chain([row.state.revision]).collect();
        self.decide(client, &row.key, &decision, of);
        true
    }

    pub(super) fn quarantined(
        &mut self,
        client: usize,
        scope: &sync_core::model::Scope,
    ) -> Vec<QuarantineRow> {
        let rows = self.at_client(client, |rows| rows.quarantine(scope, 0, ALL));
        rows.unwrap_or_default().into_iter().map(|(_, row)| row).collect()
    }

    // ---- faults

    fn happen_to(&mut self, client: usize, what: &What) {
        let now = self.now;
        let until = |millis: &u64| now + millis;
        match what {
            What::BadNetwork { millis, loss, duplicate, reorder, .. } => {
                let (loss, duplicate, reorder) = (*loss, *duplicate, *reorder);
                self.link_conditions(
                    client,
                    until(millis),
                    Condition::Bad { loss, duplicate, reorder },
                );
            }
            What::Flips { millis, percent, .. } => {
                self.link_conditions(client, until(millis), Condition::Flips(*percent));
            }
            What::Delay { millis, by, .. } => {
                self.link_conditions(client, until(millis), Condition::Delay(*by));
            }
            What::Silence { millis, to_server, to_client, .. } => {
                let silence = Condition::Silence { up: *to_server, down: *to_client };
                self.link_conditions(client, until(millis), silence);
            }
            What::Partition { clients, millis } => {
                for client in clients.iter().map(|c| c % self.clients.len()).collect::<Vec<_>>() {
                    self.link_conditions(
                        client,
                        until(millis),
                        Condition::Silence { up: true, down: true },
                    );
                }
            }
            What::Cut { .. } => self.cut(client),
            What::Flap { times, every, .. } => {
                for n in 0..u64::from(*times) {
                    self.queue.push(now + n * every, Event::Cut { client });
                }
            }
            What::SlowReader { millis, .. } => {
                self.link_conditions(client, until(millis), Condition::SlowReader);
            }
            What::LoseAnswers { millis, .. } => {
                self.link_conditions(client, until(millis), Condition::LoseAnswers);
            }
            What::Crash { millis, power, salt, .. } => {
                self.stop(client, *power, *salt);
                self.queue.push(until(millis), Event::Start { client });
            }
            What::CrashAfterCommit { millis, power, salt, .. } => {
                self.clients[client].doomed = Some((*millis, *power, *salt));
            }
            What::Pause { millis, .. } => self.clients[client].paused_until = until(millis),
            What::DoubleStart { .. } => self.take_over(client),
            What::Offline { millis, .. } => {
                self.input(client, Input::Stop);
                let process = self.clients[client].processes;
                self.queue.push(until(millis), Event::Again { client, process });
            }
            What::DiskErrors { commits, .. } => {
                if let Some(core) = self.clients[client].core.as_mut() {
                    self.disks.fail_replica(core, *commits);
                }
            }
            What::SlowDisk { millis, by, .. } => {
                self.clients[client].slow_disk = (until(millis), *by)
            }
            What::Jump { to, .. } => {
                self.clients[client].skew = *to;
                self.fact(&Fact::ClockSet { client });
            }
            What::Freeze { millis, .. } => {
                let shows = self.clock_of(client).0;
                self.clients[client].frozen = Some((shows, until(millis)));
                self.fact(&Fact::ClockSet { client });
            }
            What::Refuse { millis, how, .. } => {
                self.server.refusals.insert(client, (until(millis), *how));
            }
            What::Revoke { scope, millis, .. } => {
                let scopes = self.followed(client);
                let scope = scopes[scope % scopes.len()];
                self.server.revoked.insert((client, scope), until(millis));
            }
            What::RequestReset { .. } => self.request_reset(client),
            What::Clone { from, .. } => self.clone_device(from % self.clients.len(), client),
            What::Wipe { .. } => self.wipe(client),
            What::Rate { millis, rate, .. } => {
                self.clients[client].rate.set(until(millis), *rate);
            }
            What::KeepCopy { .. } => self.keep_copy(client),
            What::PutBack { .. } => self.put_back(client),
            What::Choose { scope, collections, .. } => {
                self.choose(client, *scope, collections.as_deref());
            }
            What::Hide { scope, collections, millis, .. } => {
                self.hide(client, *scope, collections, until(millis));
            }
            What::Direct { direction, millis, .. } => {
                self.direct(client, *direction, until(millis));
            }
            _ => {}
        }
    }

    fn happen_to_server(&mut self, what: &What) {
        match what {
            What::RestartServer { millis, power, salt } => {
                self.stop_server(*power, *salt);
                self.queue.push(self.now + millis, Event::StartServer);
            }
            What::ServerDiskErrors { commits } => {
                if let Some(core) = self.server.core.as_mut() {
                    self.disks.fail_server(core, *commits);
                }
            }
            What::Backup => {
                if let Some(core) = self.server.core.as_mut() {
                    let copy = must(self.disks.copy_server(core), "a server's store is copied");
                    self.server.backups.push(copy);
                }
            }
            What::Restore => self.restore(true),
            What::RestoreSilently => self.restore(false),
            What::ServerJump { to } => {
                self.server.skew = *to;
                self.fact(&Fact::ServerClockSet);
            }
            What::OtherServer { millis } => {
                self.server.other_until = self.now + millis;
                self.fact(&Fact::ServerClockSet);
            }
            What::Purge { scope, percent } => self.purge(*scope, *percent),
            What::Stranger { messages, requests, salt } => {
                self.let_in_stranger(*messages, *requests, *salt);
            }
            _ => {}
        }
    }

    fn link_conditions(&mut self, client: usize, until: u64, condition: Condition) {
        self.clients[client].link_conditions.set(until, condition);
    }

    /// Lets another process claim the engine: later calls of the old one must change nothing in the
    /// storage.
    fn take_over(&mut self, client: usize) {
        let running = self.clients[client].process.as_ref().map(|p| p.number);
        if let (Some(process), Some(_)) = (running, self.claim(client)) {
            self.queue.push(self.now + 3_000, Event::Replace { client, process });
        }
    }

    pub(super) fn replace(&mut self, client: usize, process: u64) {
        if self.clients[client].process.as_ref().is_some_and(|p| p.number == process) {
            self.stop(client, false, 0);
            self.start(client);
        }
    }

    fn request_reset(&mut self, client: usize) {
        for scope in self.followed(client) {
            let scope = self.scopes[scope].clone();
            let Some(epoch) = self.checkpoint_of(client, &scope).epoch else { continue };
            if self.clients[client].process.is_none() {
                continue;
            }
            // The app resets a replica that it has stopped, and starts it again.
            self.stop(client, false, 0);
            self.history.begin_step();
            let reset = Reset { epoch, reason: ResetReason::Requested };
            let Some(lease) = self.claim(client) else {
                return self.queue.push(self.now + 1, Event::Start { client });
            };
            let cx = sync_core::replica::Context {
                now: self.clock_of(client),
                resolvers: self.resolvers.clone(),
                lease,
            };
            let done = self.on_client(client, Durability::Process, |rows| {
                sync_core::replica::ops::reset(rows, &cx, &scope, &reset)
            });
            if done.is_ok() {
                self.compare_all(client, &Cause::Reset);
            }
            self.start(client);
        }
    }

    fn restore(&mut self, is_announced: bool) {
        let Some(backup) = self.server.backups.last_mut() else { return };
        let copy = must(self.disks.copy_server(backup), "a backup is copied");
        let before = self.positions();
        self.stop_server(false, 0);
        self.mark(0, Mark::Fault, || "restored from a backup".to_owned());
        self.server.core = Some(copy);
        self.server.other_until = 0;
        self.server.restores += 1;
        let after = self.positions();
        let lost = before.symmetric_difference(&after).map(|(key, ..)| key.clone()).collect();
        self.fact(&Fact::Restored { scopes: self.scopes.clone(), lost });
        let announced = if is_announced { self.server_scopes() } else { Default::default() };
        for scope in announced {
            let Ok(row) = self.open_scope(&scope) else { continue };
            let begun = self.begin_epoch(&scope, row.epoch, row.head);
            must(begun, "a restored log begins a new life");
        }
        self.queue.push(self.now + 500, Event::StartServer);
    }

    /// Returns the documents that the server holds, with their positions.
    fn positions(&mut self) -> BTreeSet<(DocumentKey, Seq, Revision)> {
        let scopes = self.server_scopes();
        let rows = scopes.iter().flat_map(|scope| self.rows_of(scope)).collect::<Vec<_>>();
        rows.into_iter().map(|(key, row)| (key, row.seq, row.state.revision)).collect()
    }

    fn purge(&mut self, scope: usize, percent: u8) {
        let scope = self.scopes[scope % self.scopes.len()].clone();
        let before = self.rows_of(&scope);
        let Some(row) = self.server_row_of(&scope) else { return };
        let up_to = Seq(row.head.0 * u64::from(percent) / 100);
        if self.on_server(Durability::Power, |rows| ops::purge(rows, &scope, up_to)).is_err() {
            return;
        }
        let after: BTreeMap<_, _> = self.rows_of(&scope).into_iter().collect();
        for (key, row) in before.into_iter().filter(|(key, _)| !after.contains_key(key)) {
            self.fact(&Fact::Purged { key, state: row.state });
        }
    }
}
