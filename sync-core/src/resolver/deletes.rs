//! A deletion against an edit: a separate policy, whatever decides between two edits.

use super::{Conflict, ConflictResolver, Resolution};
use crate::error::Result;

/// The policy for a deletion against an edit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnDelete {
    /// The one that was written later. If the server has no trace of the document any more, the
    /// time of its deletion is unknown: the edit wins.
    #[default]
    LastWrite,
    /// The edit: the document exists again.
    KeepEdit,
    /// The deletion.
    KeepDeletion,
    /// The app decides.
    Defer,
}

impl OnDelete {
    /// Decides a conflict in which one side deleted and the other one edited; none if both edited.
    #[must_use]
    pub fn decide(self, conflict: &Conflict<'_>) -> Option<Resolution> {
        let local_deletes = conflict.local.is_deleted();
        let remote_deletes = conflict.remote.is_none_or(|r| r.is_deleted());
        if local_deletes == remote_deletes {
            return None;
        }
        let local_stands = match self {
            Self::LastWrite => conflict.local_is_later(),
            Self::KeepEdit => remote_deletes,
            Self::KeepDeletion => local_deletes,
            Self::Defer => return Some(Resolution::Defer),
        };
        Some(if local_stands { Resolution::Local } else { Resolution::Remote })
    }
}

/// A resolver with a policy for deletions against edits: made by [`ConflictResolver::on_delete`].
#[derive(Clone, Debug)]
pub struct WithOnDelete<R> {
    pub(super) resolver: R,
    pub(super) policy: OnDelete,
}

impl<R: ConflictResolver> ConflictResolver for WithOnDelete<R> {
    fn name(&self) -> &str {
        self.resolver.name()
    }

    fn needs_base(&self) -> bool {
        self.resolver.needs_base()
    }

    fn resolve(&self, conflict: &Conflict<'_>) -> Result<Resolution> {
        match self.policy.decide(conflict) {
            Some(resolution) => Ok(resolution),
            None => self.resolver.resolve(conflict),
        }
    }
}
