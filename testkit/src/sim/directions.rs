//! Replicas that sync in one direction only.

use sync_core::engine::{Direction, Goal};

use super::disk::Disks;
use super::plan::What;
use super::queue::Event;
use super::run::Run;
use crate::random::SplitMix64;

/// Draws one direction: for some seconds, or for longer than a run lasts.
pub(super) fn happen(rng: &mut SplitMix64, client: usize, direction: Direction) -> What {
    let span = [20_000, 120_000, 3_600_000][rng.below(3)];
    let millis = 3_000 + rng.next_u64() % span;
    What::Direct { client, direction, millis }
}

impl<D: Disks> Run<D> {
    /// Returns the goal of a client's engine.
    pub(super) fn goal(&self, client: usize) -> Goal {
        self.clients[client].direction.0.goal(true)
    }

    /// Sets a direction. This happens when a replica is opened: the app stops, and opens it again.
    pub(super) fn direct(&mut self, client: usize, direction: Direction, until: u64) {
        self.clients[client].direction = (direction, until);
        self.queue.push(until, Event::EndDirection { client });
        self.open_anew(client);
    }

    pub(super) fn end_direction(&mut self, client: usize) {
        let (direction, until) = self.clients[client].direction;
        if direction != Direction::Both && until <= self.now {
            self.clients[client].direction = (Direction::Both, 0);
            self.open_anew(client);
        }
    }

    pub(super) fn is_any_directed(&self) -> bool {
        self.clients.iter().any(|client| client.direction.0 != Direction::Both)
    }

    /// Lets all apps sync in both directions from now on.
    pub(super) fn end_directions(&mut self) {
        for client in 0..self.clients.len() {
            self.clients[client].direction.1 = self.now;
            self.end_direction(client);
        }
    }

    /// Ends the process if one runs, and starts another one.
    pub(super) fn open_anew(&mut self, client: usize) {
        if self.clients[client].process.is_some() {
            self.stop(client, false, 0);
            self.start(client);
        }
    }
}
