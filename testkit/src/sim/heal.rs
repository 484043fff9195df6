//! The end of a run: every fault ends, and then the promises of the framework are checked.

use std::collections::BTreeMap;

use sync_core::engine::Phase;
use sync_core::model::{Checkpoint, DocumentKey, Scope, Seq};
use sync_core::replica::record::Record;
use sync_server::record::{ServerRow, ServerScope};
use sync_server::rows::ServerReads;

use super::disk::Disks;
use super::fact::{Fact, Look};
use super::oracles::{CONSISTENCY, PROGRESS, SILENCE};
use super::plan::Plan;
use super::run::Run;
use super::trace::{Difference, Mark};
use crate::random::SplitMix64;
use crate::world::text_of;

/// How long the clients may take to become idle after the last fault: retry delays grow to half a
/// minute, a request may take a minute to time out, and a refused app waits before it retries.
const PATIENCE: u64 = 15 * 60_000;
/// The time between two checks whether clients are idle.
const STEP: u64 = 2_000;
/// How long idle clients must send nothing.
const QUIET: u64 = 3 * 60_000;

impl<D: Disks> Run<D> {
    pub(super) fn heal(&mut self, plan: &Plan) {
        self.end_faults();
        // A replica of one direction has to finish that direction before it gets the other one.
        if self.is_any_directed()
            && !self.come_to_rest(plan, "of replicas that sync in one direction")
        {
            return;
        }
        self.end_directions();
        self.check_stranger();
        if self.is_any_partial() {
            if !self.come_to_rest(plan, "of replicas that sync some collections") {
                return;
            }
            self.compare_parts();
        }
        self.end_choices();
        if !self.come_to_rest(plan, "after the faults") {
            return;
        }
        self.finish();
        for may_meet_purged in [true, false] {
            let written = self.write_afresh(may_meet_purged);
            if self.is_over() || !self.come_to_rest(plan, "after fresh writes") {
                return;
            }
            if self.has_arrived(written, may_meet_purged) || self.is_over() {
                break;
            }
        }
        if self.is_over() {
            return;
        }
        self.finish();
        self.listen(plan);
    }

    /// Returns whether the server holds a write. A client that found a document absent cannot know
    /// a tombstone that was purged and that a restore brought back: its write may lose against it
    /// once.
    fn has_arrived(
        &mut self,
        written: Vec<(usize, DocumentKey, Option<String>)>,
        may_meet_purged: bool,
    ) -> bool {
        for (client, key, text) in written {
            let held = self.rows_of(&key.scope).into_iter().find(|(k, _)| *k == key);
            let held = held.map(|(_, row)| row.state);
            let was_purged =
                held.as_ref().is_some_and(|state| self.history.story(&key).was_purged(state));
            let held = held.as_ref().and_then(text_of);
            if held == text || self.is_over() {
                continue;
            }
            if may_meet_purged && was_purged {
                return false;
            }
            let what =
                format!("a fresh write of {key} by client {client} did not arrive: {held:?}");
            self.violate(PROGRESS, what);
        }
        true
    }

    fn end_faults(&mut self) {
        self.healing = true;
        self.mark(0, Mark::Up, || "all faults end".to_owned());
        self.server.refusals.clear();
        self.server.revoked.clear();
        self.server.skew = 0;
        self.start_server();
        if let Some(core) = self.server.core.as_mut() {
            self.disks.fail_server(core, 0);
        }
        for client in 0..self.clients.len() {
            let state = &mut self.clients[client];
            state.troubled_until = self.now;
            state.link_conditions.clear();
            state.rate.clear();
            state.frozen = None;
            state.doomed = None;
            state.paused_until = self.now;
            state.slow_disk = (0, 0);
            if let Some(core) = state.core.as_mut() {
                self.disks.fail_replica(core, 0);
            }
            self.start(client);
            let process = self.clients[client].processes;
            self.run_again(client, process);
        }
    }

    /// Runs until every client is in sync and no conflict is deferred. Returns `false`, after a
    /// violation, if that takes too long.
    fn come_to_rest(&mut self, plan: &Plan, when: &str) -> bool {
        let end = self.now + PATIENCE;
        while self.now < end {
            let next = self.now + STEP;
            self.run_until(plan, next);
            if self.is_over() {
                return false;
            }
            if self.decide_all() {
                continue;
            }
            if (0..self.clients.len()).all(|client| self.rests(client)) {
                return true;
            }
        }
        let why: Vec<String> = (0..self.clients.len()).filter_map(|c| self.why_not(c)).collect();
        self.violate(PROGRESS, format!("no rest {when}: {}", why.join("; ")));
        false
    }

    /// Lets the apps decide deferred conflicts and quarantined edits; returns whether there were
    /// any.
    fn decide_all(&mut self) -> bool {
        let mut any = false;
        for client in 0..self.clients.len() {
            for scope in self.followed(client) {
                let mut rng = self.chance(client, 5);
                any |= self.decide_one(client, scope, &mut rng);
            }
        }
        any
    }

    fn rests(&mut self, client: usize) -> bool {
        self.why_not(client).is_none()
    }

    fn why_not(&mut self, client: usize) -> Option<String> {
        let Some(process) = self.clients[client].process.as_ref() else {
            return Some(format!("client {client} does not run"));
        };
        let progress = process.engine.progress();
        if progress.phase != Phase::InSync {
            return Some(format!(
                "client {client} is {:?}, {:?}",
                progress.phase, progress.refused
            ));
        }
        for scope in self.followed(client) {
            let scope = self.scopes[scope].clone();
            let row = self.scope_row(client, &scope).clone();
            let held = self.server_row_of(&scope).map(|r| (r.head, r.epoch));
            let head = held.map_or(Seq(0), |(head, _)| head);
            let epochs = row.checkpoint.epoch.zip(held.map(|(_, epoch)| epoch));
            let direction = self.clients[client].direction.0;
            // A replica that only pushes detects a restore with its next connection, or its next
            // push.
            if direction.pulls() && epochs.is_some_and(|(stands_in, is)| stands_in != is) {
                return Some(format!(
                    "client {client} has not heard in {scope} that the server was restored"
                ));
            }
            let is_behind = direction.pulls() && row.checkpoint.after() != head;
            if is_behind || (direction.pushes() && row.pending + row.in_flight > 0) {
                return Some(format!(
                    "client {client} stands at {} of {head} in {scope}, {} to push, {} in flight",
                    row.checkpoint.after(),
                    row.pending,
                    row.in_flight
                ));
            }
        }
        None
    }

    /// Runs every oracle's final check, and compares counters and digests with the documents.
    fn finish(&mut self) {
        for client in 0..self.clients.len() {
            for scope in self.followed(client) {
                let scope = self.scopes[scope].clone();
                self.fact(&Fact::Rested { client, scope: scope.clone() });
                let digest = self.scope_row(client, &scope).digest;
                let held = self.server_row_of(&scope).map(|r| r.digest).unwrap_or_default();
                if digest != held && !self.is_over() {
                    let what =
                        format!("client {client} and the server have other digests of {scope}");
                    self.violate("convergence", what);
                }
            }
        }
        let mut oracles = std::mem::take(&mut self.oracles);
        let history = std::mem::take(&mut self.history);
        for oracle in &mut oracles {
            if self.is_over() {
                break;
            }
            if let Err(what) = oracle.finish(&history, self) {
                self.violate(oracle.name(), what);
            }
        }
        (self.oracles, self.history) = (oracles, history);
    }

    /// Lets every client write a document that it chooses; returns the documents and texts.
    fn write_afresh(&mut self, is_first: bool) -> Vec<(usize, DocumentKey, Option<String>)> {
        let round = if is_first { 0xf5e5 } else { 0x1f5e5 };
        let mut written = BTreeMap::new();
        for client in 0..self.clients.len() {
            let scope = self.followed(client)[0];
            let key = self.key(scope, client);
            if self.is_over() || written.values().any(|(_, k, _)| *k == key) {
                continue;
            }
            let mut rng = SplitMix64::of(self.setting.seed, round + client as u64);
            let salt = rng.next_u64();
            let before = self.clients[client].shown.clone();
            self.act(&super::plan::What::Put { client, document: client, salt });
            let mut shown = self.clients[client].shown.iter();
            let new = shown.find(|(key, state)| before.get(*key) != Some(*state));
            let key = new.map_or(key, |(key, _)| key.clone());
            let text = self.clients[client].shown.get(&key).and_then(text_of);
            written.insert(client, (client, key, text));
        }
        // Two clients with more than one scope may have chosen the same document.
        let mut counts: BTreeMap<DocumentKey, usize> = BTreeMap::new();
        for (_, key, _) in written.values() {
            *counts.entry(key.clone()).or_default() += 1;
        }
        written.into_values().filter(|(_, key, _)| counts[key] == 1).collect()
    }

    /// Checks that clients at rest send nothing but heartbeats and polls.
    fn listen(&mut self, plan: &Plan) {
        if self.is_over() {
            return;
        }
        // Acknowledgements under way, and messages that a fault held back, arrive first.
        let settled = self.queue.last_arrival().unwrap_or_default().max(self.now) + 10_000;
        self.run_until(plan, settled);
        let (before, end) = (self.talk, self.now + QUIET);
        let polls = self.polls(QUIET);
        self.run_until(plan, end);
        let said = self.talk - before;
        if said > polls && !self.is_over() {
            self.violate(SILENCE, format!("{said} messages by replicas that have nothing to do"));
        }
        for client in 0..self.clients.len() {
            self.check_feed(client);
        }
    }

    /// Returns how many messages requests that wait at the head may cause in that time.
    fn polls(&self, span: u64) -> u64 {
        let every = self.setting.requests_every;
        let asking = (0..self.clients.len()).filter(|c| every > 0 && c % every == every - 1);
        let streams: usize = asking.map(|c| self.followed(c).len()).sum();
        streams as u64 * 2 * (span / 25_000 + 3)
    }

    /// Checks that the states reported to the oracles are those that a client shows.
    fn check_feed(&mut self, client: usize) {
        for scope in self.followed(client) {
            let scope = self.scopes[scope].clone();
            for (key, record) in self.records_of(client, &scope) {
                let shown = self.history.shown(client, &key);
                if shown != record.current.as_ref() && !self.is_over() {
                    let what = format!("{key} on client {client} changed, and nothing told of it");
                    return self.violate(CONSISTENCY, what);
                }
            }
        }
    }

    // ---- reading

    pub(super) fn rows_of(&mut self, scope: &Scope) -> Vec<(DocumentKey, ServerRow)> {
        let rows = self.at_server(|rows| {
            let mut found = Vec::new();
            rows.log(scope, sync_core::model::Seq(0), &mut |(collection, id, row)| {
                found.push((DocumentKey::new(scope.clone(), collection, id), row));
                Ok(true)
            })?;
            Ok(found)
        });
        rows.unwrap_or_default()
    }

    pub(super) fn server_row_of(&mut self, scope: &Scope) -> Option<ServerScope> {
        self.at_server(|rows| ServerReads::scope(rows, scope)).flatten()
    }

    /// Returns the documents that clients and server show differently, as text for a report.
    pub(super) fn differences(&mut self) -> Vec<Difference> {
        let mut found: BTreeMap<DocumentKey, Vec<(String, String)>> = BTreeMap::new();
        let tell = |state: Option<&sync_core::model::DocumentState>| match state {
            None => "nothing".to_owned(),
            Some(state) => match &state.body {
                None => format!("deleted ({})", state.revision),
                Some(body) => format!("{} ({})", body.as_str(), state.revision),
            },
        };
        for scope in self.scopes.clone() {
            let rows: BTreeMap<_, _> = self.rows_of(&scope).into_iter().collect();
            let following: Vec<usize> = (0..self.clients.len())
                .filter(|c| self.followed(*c).iter().any(|s| self.scopes[*s] == scope))
                .collect();
            let mut keys: std::collections::BTreeSet<_> = rows.keys().cloned().collect();
            for client in &following {
                let shown = self.clients[*client].shown.keys();
                keys.extend(shown.filter(|k| k.scope == scope).cloned());
            }
            for key in keys {
                let held = rows.get(&key).map(|r| &r.state);
                let live = |s: Option<&sync_core::model::DocumentState>| {
                    s.filter(|s| !s.is_deleted()).cloned()
                };
                let differs =
                    following.iter().any(|c| live(self.clients[*c].shown.get(&key)) != live(held));
                if differs {
                    let mut shown = vec![("server".to_owned(), tell(held))];
                    for client in &following {
                        let state = self.clients[*client].shown.get(&key);
                        shown.push((format!("client {client}"), tell(state)));
                    }
                    found.insert(key, shown);
                }
            }
        }
        let difference =
            |(key, shown): (DocumentKey, _)| Difference { document: key.to_string(), shown };
        found.into_iter().map(difference).collect()
    }
}

impl<D: Disks> Look for Run<D> {
    fn clients(&self) -> usize {
        self.clients.len()
    }

    fn scopes_of(&self, client: usize) -> Vec<Scope> {
        self.followed(client).into_iter().map(|s| self.scopes[s].clone()).collect()
    }

    fn record(&mut self, client: usize, key: &DocumentKey) -> Option<Record> {
        self.record_of(client, key)
    }

    fn records(&mut self, client: usize, scope: &Scope) -> Vec<(DocumentKey, Record)> {
        self.records_of(client, scope)
    }

    fn checkpoint(&mut self, client: usize, scope: &Scope) -> Checkpoint {
        self.checkpoint_of(client, scope)
    }

    fn server_scope(&mut self, scope: &Scope) -> Option<ServerScope> {
        self.server_row_of(scope)
    }

    fn server_rows(&mut self, scope: &Scope) -> Vec<(DocumentKey, ServerRow)> {
        self.rows_of(scope)
    }
}
