//! The access of a reader.

use std::collections::BTreeSet;
use std::sync::Arc;

use sync_core::model::Collection;

/// The collections that a reader may see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Visible {
    /// All of them.
    #[default]
    All,
    /// These.
    Only(Arc<BTreeSet<Collection>>),
}

impl Visible {
    /// Returns whether that collection may be seen.
    #[must_use]
    pub fn includes(&self, collection: &Collection) -> bool {
        match self {
            Self::All => true,
            Self::Only(these) => these.contains(collection),
        }
    }

    /// Returns the collections by name; none for all of them. The same form as in a chunk.
    #[must_use]
    pub fn names(&self) -> Option<BTreeSet<Collection>> {
        match self {
            Self::All => None,
            Self::Only(these) => Some(BTreeSet::clone(these)),
        }
    }
}
