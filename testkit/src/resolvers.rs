//! Resolvers for tests.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sync_core::error::Result;
use sync_core::model::{Rejection, RejectionCode};
use sync_core::resolver::{
    ClientWins, Conflict, ConflictResolver, LastWriteWins, Resolution, ServerWins,
};

use crate::world::{Refuse, body, text_of};

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

/// How conflicts are decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResolverKind {
    /// The later edit wins.
    LastWriteWins,
    /// The replica's edit wins.
    ClientWins,
    /// The server's state wins.
    ServerWins,
    /// Both edits are joined.
    Joining,
    /// The app decides later.
    Deferring,
}

impl ResolverKind {
    /// Returns the resolver.
    #[must_use]
    pub fn resolver(self) -> Arc<dyn ConflictResolver> {
        match self {
            Self::LastWriteWins => Arc::new(LastWriteWins),
            Self::ClientWins => Arc::new(ClientWins),
            Self::ServerWins => Arc::new(ServerWins),
            Self::Joining => Arc::new(Joining),
            Self::Deferring => Arc::new(Deferring),
        }
    }
}

/// Rejects texts with an exclamation mark.
#[must_use]
pub fn refusing() -> Refuse {
    Arc::new(|change| {
        let refused = text_of(&change.state).is_some_and(|t| t.contains('!'));
        let code = RejectionCode::Invalid;
        refused.then(|| Rejection { code, reason: "refused".to_owned() })
    })
}
