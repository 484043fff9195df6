//! Copies of replicas with engines, and hashes that distinguish them.

use std::hash::{Hash, Hasher};

use super::{Actors, Parcel, ParcelContent};
use crate::cores::MemoryCores;

impl Actors<MemoryCores> {
    /// Copies the actors, with a separate world.
    #[doc(hidden)]
    pub fn copy(&self) -> Self {
        Self {
            world: self.world.copy(),
            wire: self.wire.clone(),
            actors: self.actors.clone(),
            now: self.now,
        }
    }

    /// Hashes everything that decides what can happen next.
    #[doc(hidden)]
    pub fn hash_state(&self, hasher: &mut impl Hasher) {
        self.world.hash_rows(hasher);
        (&self.wire, &self.actors, self.now).hash(hasher);
    }

    /// Drops the answers in transit to a replica whose link is lost.
    #[doc(hidden)]
    pub fn drop_answers(&mut self, replica: usize) {
        let is_answer =
            |c: &ParcelContent| matches!(c, ParcelContent::Pulled(_) | ParcelContent::Pushed(_));
        self.wire.retain(|p: &Parcel| p.replica != replica || !is_answer(&p.content));
    }
}
