//! Resolvers for tests.

use std::collections::BTreeSet;

use sync_core::error::Result;
use sync_core::resolver::{Conflict, ConflictResolver, Resolution};

use crate::world::{body, text_of};

/// Defers every conflict to the app.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deferring;

impl ConflictResolver for Deferring {
    fn name(&self) -> &str {
        "deferring"
    }

    fn resolve(&self, _: &Conflict<'_>) -> Result<Resolution> {
        Ok(Resolution::Defer)
    }
}

/// Deletes every document that is in conflict.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deleting;

impl ConflictResolver for Deleting {
    fn name(&self) -> &str {
        "deleting"
    }

    fn resolve(&self, _: &Conflict<'_>) -> Result<Resolution> {
        Ok(Resolution::Delete)
    }
}

/// Treats texts as sets of words joined by `+`, and merges them: every word of either side, less
/// the words of the base that one side removed. An edit wins over a deletion.
#[derive(Clone, Copy, Debug, Default)]
pub struct Joining;

impl ConflictResolver for Joining {
    fn name(&self) -> &str {
        "joining"
    }

    fn needs_base(&self) -> bool {
        true
    }

    fn resolve(&self, conflict: &Conflict<'_>) -> Result<Resolution> {
        let Some(local) = text_of(conflict.local) else { return Ok(Resolution::Remote) };
        let Some(remote) = conflict.remote.and_then(text_of) else { return Ok(Resolution::Local) };
        let base = conflict.base.and_then(text_of).unwrap_or_default();
        let words = |text: &str| text.split('+').map(str::to_owned).collect::<BTreeSet<_>>();
        let (base, local, remote) = (words(&base), words(&local), words(&remote));
        let kept = base.intersection(&local).filter(|w| remote.contains(*w)).cloned();
        let added = local.union(&remote).filter(|w| !base.contains(*w)).cloned();
        let merged: BTreeSet<String> = kept.chain(added).collect();
        let merged: Vec<String> = merged.into_iter().collect();
        Ok(Resolution::Merge(body(&merged.join("+"))))
    }
}
