//! Checks that an edit of a client without faults is settled in bounded time.

use sync_core::replica::record::Record;

use super::disk::Disks;
use super::kind_of::lasts;
use super::oracles::{INBOX, LOCKOUT};
use super::plan::What;
use super::queue::Event;
use super::run::Run;

/// How long an edit may take after the last fault: requests time out after a minute, delays grow to
/// half a minute, and a refused app waits before it retries.
const BOUND: u64 = 180_000;
/// How much longer it may take on a slow link.
const SLOWLY: u64 = 120_000;
/// The time between two checks.
const EVERY: u64 = 5_000;

/// The clients that an action affects.
enum Trouble {
    Nothing,
    /// The client that the action concerns, for this time.
    Client(u64),
    /// All clients, for this time.
    All(u64),
}

/// Returns which clients an action affects, and for how long. Wrong clocks and strangers keep no
/// edit from being settled.
fn trouble(what: &What) -> Trouble {
    match what {
        What::Flap { times, every, .. } => Trouble::Client(u64::from(*times) * every),
        // A commit that fails may be repeated late.
        What::DiskErrors { .. } => Trouble::Client(60_000),
        What::Cut { .. }
        | What::CrashAfterCommit { .. }
        | What::DoubleStart { .. }
        | What::RequestReset { .. }
        | What::Choose { .. }
        | What::PutBack { .. }
        | What::Wipe { .. } => Trouble::Client(0),
        What::Partition { millis, .. }
        | What::RestartServer { millis, .. }
        | What::OtherServer { millis } => Trouble::All(*millis),
        What::ServerDiskErrors { .. } => Trouble::All(60_000),
        // The device that was copied takes a new identity, as the copy does.
        What::Restore | What::RestoreSilently | What::Clone { .. } => Trouble::All(0),
        // A clock that stands still delays no edit, and slow links have a separate bound.
        What::Freeze { .. } | What::Rate { .. } => Trouble::Nothing,
        what => lasts(what).map_or(Trouble::Nothing, Trouble::Client),
    }
}

/// Returns whether the pending remote state and the local state are the same.
fn has_equal_sides(record: &Record) -> bool {
    let pending_remote =
        record.pending.as_ref().and_then(|pending| pending.pending_remote.as_ref());
    pending_remote.zip(record.current.as_ref()).is_some_and(|(pending_remote, local)| {
        match &pending_remote.state {
            Some(remote) => remote.shows_the_same(local),
            None => local.is_deleted(),
        }
    })
}

impl<D: Disks> Run<D> {
    pub(super) fn note_trouble(&mut self, client: Option<usize>, what: &What) {
        let now = self.now;
        match trouble(what) {
            Trouble::Nothing => {}
            Trouble::Client(millis) => {
                if let Some(client) = client {
                    let until = &mut self.clients[client].troubled_until;
                    *until = (*until).max(now + millis);
                }
            }
            Trouble::All(millis) => {
                for client in &mut self.clients {
                    client.troubled_until = client.troubled_until.max(now + millis);
                }
            }
        }
    }

    /// Checks the waiting edits and the deferred conflicts.
    pub(super) fn look_at_health(&mut self) {
        for client in 0..self.clients.len() {
            self.look_at_edits(client);
            self.look_at_conflicts(client);
        }
        self.queue.push(self.now + EVERY, Event::LookAtHealth);
    }

    /// Checks that a conflict is deferred only while its two sides differ.
    fn look_at_conflicts(&mut self, client: usize) {
        for n in self.followed(client) {
            let scope = self.scopes[n].clone();
            if self.scope_row(client, &scope).deferred == 0 {
                continue;
            }
            let records = self.records_of(client, &scope);
            let equal = |r: &Record| r.is_deferred() && has_equal_sides(r);
            if let Some((key, record)) = records.iter().find(|(_, r)| equal(r)) {
                let what = format!("client {client} has two equal sides of {key}: {record:?}");
                return self.violate(INBOX, what);
            }
        }
    }

    fn look_at_edits(&mut self, client: usize) {
        let state = &mut self.clients[client];
        // A fault is still active.
        if state.process.is_none() || state.doomed.is_some() {
            state.troubled_until = self.now;
        }
        if state.rate.is_slow(self.now) {
            state.slow_until = self.now;
        }
        let slowly = if state.slow_until + BOUND > self.now { SLOWLY } else { 0 };
        let healthy_from = state.troubled_until;
        let bound = BOUND + slowly;
        let pushes = state.direction.0.pushes();
        if !pushes || healthy_from + bound > self.now {
            return;
        }
        for n in self.followed(client) {
            let scope = self.scopes[n].clone();
            let row = self.scope_row(client, &scope);
            if row.pending + row.in_flight == 0 {
                continue;
            }
            let chosen = row.checkpoint.clone();
            for (key, record) in self.records_of(client, &scope) {
                let waits = record.edit().is_some() && !record.is_deferred();
                if !waits || !chosen.includes(&key.collection) {
                    continue;
                }
                let oldest = self.history.story(&key).oldest_unsettled(client);
                if let Some((n, at)) =
                    oldest.filter(|(_, at)| healthy_from.max(*at) + bound < self.now)
                {
                    let what = format!(
                        "write {n} of {key} by client {client}, made at {at}, does not end: {record:?}"
                    );
                    return self.violate(LOCKOUT, what);
                }
            }
        }
    }
}
