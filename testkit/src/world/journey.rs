//! Whole exchanges, as an engine executes them over a network without faults.

use sync_core::model::{Chunk, Cursor, Limits, PushBatch, Reset, Seq, Verdicts};

use super::{ConnectResult, Reply, World};
use crate::cores::Cores;

/// The largest number of rounds of an exchange that ends.
const ROUNDS: usize = 64;

impl<C: Cores> World<C> {
    /// Connects the replica and follows the server's answer.
    pub fn connect(&mut self, replica: usize) {
        for _ in 0..ROUNDS {
            match self.greet(replica) {
                ConnectResult::Welcome => return,
                ConnectResult::Reset(reset) => {
                    self.reset(replica, &reset);
                }
                ConnectResult::Cloned => {
                    self.reidentify(replica);
                }
            }
        }
        self.not_quiet("the server greets it with ever new resets");
    }

    /// Pushes one batch and settles it; returns the batch, if there was one.
    pub fn push_once(&mut self, replica: usize) -> Option<PushBatch> {
        let batch = self.form(replica)?;
        match self.deliver(&batch) {
            verdicts @ (Verdicts::Decided { .. } | Verdicts::Recalled) => {
                self.settle(replica, batch.id, &verdicts);
            }
            Verdicts::Stale | Verdicts::Cloned => {
                self.reidentify(replica);
            }
        }
        Some(batch)
    }

    /// Connects and pushes until the outbox is empty, or the rest has to wait for a pull.
    pub fn push_all(&mut self, replica: usize) {
        self.connect(replica);
        for _ in 0..ROUNDS {
            if self.push_once(replica).is_none() {
                return;
            }
        }
        self.not_quiet("its outbox does not get empty");
    }

    /// Returns the chunk that the replica needs next.
    ///
    /// # Errors
    /// The reset that the server returns instead.
    pub fn next_chunk(&mut self, replica: usize) -> Result<Chunk, Reset> {
        let cursor = self.cursor(replica);
        match self.changes_for(replica, &cursor, self.options.chunk) {
            Reply::Chunk(chunk) => Ok(chunk),
            Reply::Reset(reset) => Err(reset),
        }
    }

    /// Pulls and applies until the replica is at the head.
    pub fn pull_all(&mut self, replica: usize) {
        let limits = self.options.chunk;
        self.pull_all_by(replica, limits);
    }

    /// Pulls like [`pull_all`](Self::pull_all), with other bounds of a chunk.
    pub fn pull_all_by(&mut self, replica: usize, limits: Limits) {
        let mut lacks_own = false;
        for _ in 0..ROUNDS * 8 {
            let cursor = Cursor { has_own: !lacks_own, ..self.cursor(replica) };
            match self.changes_for(replica, &cursor, limits) {
                Reply::Reset(reset) => {
                    self.reset(replica, &reset);
                }
                Reply::Chunk(chunk) => {
                    let more = chunk.has_more();
                    let applied = self.apply(replica, &chunk);
                    lacks_own = !applied.moved && applied.checkpoint.lacks_own;
                    let more = more || lacks_own;
                    let waits = !self.scope_row(replica).checkpoint.backfills.is_empty();
                    if !more && !waits {
                        return;
                    }
                }
            }
        }
        self.not_quiet("it does not reach the head");
    }

    /// Pushes, pulls, and pushes again what the pull left unsettled.
    pub fn sync_all_of(&mut self, replica: usize) {
        for _ in 0..2 {
            self.push_all(replica);
            self.pull_all(replica);
        }
    }

    /// Pushes and pulls every replica until nothing changes any more.
    ///
    /// # Panics
    /// If that takes more rounds than any correct exchange does.
    pub fn sync_all(&mut self) {
        let mut before = None;
        for _ in 0..ROUNDS {
            for replica in 0..self.replicas() {
                self.push_all(replica);
                self.pull_all(replica);
            }
            let scope = self.server_scope();
            let positions: Vec<Seq> =
                (0..self.replicas()).map(|r| self.scope_row(r).checkpoint.after()).collect();
            let empty = (0..self.replicas()).all(|r| {
                let row = self.scope_row(r);
                row.pending + row.in_flight == 0
            });
            let now = Some((scope.epoch, scope.head, positions));
            if empty && now == before {
                return;
            }
            before = now;
        }
        self.not_quiet("the replicas do not come to rest");
    }

    #[allow(clippy::panic, reason = "this is how a test ends")]
    fn not_quiet(&mut self, why: &str) -> ! {
        let state: Vec<_> = (0..self.replicas()).map(|r| self.scope_row(r)).collect();
        panic!("not quiet after {ROUNDS} rounds: {why}\n{state:#?}")
    }
}
