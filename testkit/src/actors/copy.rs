//! Copies of replicas with engines, and what tells two of them apart.

use std::hash::{Hash, Hasher};

use super::{Actors, Content, Parcel};
use crate::cores::MemoryCores;

impl Actors<MemoryCores> {
    /// The same in a world of its own.
    pub(crate) fn copy(&self) -> Self {
        Self {
            world: self.world.copy(),
            wire: self.wire.clone(),
            actors: self.actors.clone(),
            now: self.now,
        }
    }

    /// Hashes what decides what can happen from here on.
    pub(crate) fn hash_state(&self, hasher: &mut impl Hasher) {
        self.world.hash_rows(hasher);
        (&self.wire, &self.actors, self.now).hash(hasher);
    }

    /// Drops the answers that are on their way to a replica: its link is gone, and nothing comes
    /// over it any more.
    pub(crate) fn drop_answers(&mut self, replica: usize) {
        let is_answer = |c: &Content| matches!(c, Content::Pulled(_) | Content::Pushed(_));
        self.wire.retain(|p: &Parcel| p.replica != replica || !is_answer(&p.content));
    }
}
