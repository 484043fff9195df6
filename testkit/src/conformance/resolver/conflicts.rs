//! Conflicts that a resolver may receive.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use sync_core::error::Result;
use sync_core::model::{Body, DocumentKey, DocumentState, ReplicaId, Revision, Stamp};
use sync_core::resolver::{Conflict, ConflictResolver, Resolution};

use super::super::tools::{body, key};

/// A conflict that owns its states.
#[derive(Clone, Debug)]
pub(super) struct Met {
    pub(super) key: DocumentKey,
    pub(super) base: Option<DocumentState>,
    pub(super) local: DocumentState,
    pub(super) remote: Option<DocumentState>,
}

impl Met {
    /// Calls the resolver. Returns none if it panicked.
    pub(super) fn ask(&self, resolver: &Arc<dyn ConflictResolver>) -> Option<Result<Resolution>> {
        let remote = self.remote.as_ref();
        let conflict = Conflict::new(&self.key, self.base.as_ref(), &self.local, remote);
        catch_unwind(AssertUnwindSafe(|| resolver.resolve(&conflict))).ok()
    }

    /// Returns what the document shows after that result; none if the conflict is deferred.
    pub(super) fn shown(&self, answer: &Resolution) -> Option<Option<Body>> {
        match answer {
            Resolution::Local => Some(self.local.body.clone()),
            Resolution::Remote => Some(self.remote.as_ref().and_then(|r| r.body.clone())),
            Resolution::Merge(body) => Some(Some(body.clone())),
            Resolution::Delete => Some(None),
            Resolution::Defer => None,
        }
    }
}

/// Returns a state of that time and replica.
pub(super) fn state(millis: u64, replica: u8, body: Option<&Body>) -> DocumentState {
    let stamp = Stamp::new(1_800_000_000_000 + millis, 0);
    let revision = Revision { stamp, replica: ReplicaId([replica; 16]) };
    let created = Stamp::new(1_800_000_000_000, 0);
    DocumentState { revision, author: revision, created, body: body.cloned(), erased: None }
}

/// Returns every conflict over those bodies: live or deleted on either side, with or without a
/// base, with either side later or both at the same time. Equal sides are no conflict.
pub(super) fn over(bodies: &[Body]) -> Vec<Met> {
    let mut sides: Vec<Option<&Body>> = bodies.iter().map(Some).collect();
    sides.push(None);
    let mut bases: Vec<Option<DocumentState>> = vec![None, Some(state(0, 3, None))];
    bases.extend(bodies.iter().take(2).map(|b| Some(state(0, 3, Some(b)))));
    let mut all = Vec::new();
    for local in &sides {
        for remote in sides.iter().filter(|remote| *remote != local) {
            for base in &bases {
                for (l, r) in [(10, 20), (20, 10), (10, 10)] {
                    let (local, remote) = (state(l, 1, *local), Some(state(r, 2, *remote)));
                    let key = key("document");
                    all.push(Met { key, base: base.clone(), local, remote });
                }
            }
        }
        // The server has no record of the document.
        if local.is_some() {
            let (key, base) = (key("document"), Some(state(0, 3, *local)));
            all.push(Met { key, base, local: state(10, 1, *local), remote: None });
        }
    }
    all
}

/// Returns valid JSON bodies that no app expects.
pub(super) fn odd() -> Vec<Body> {
    let nested = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let long = format!("\"{}\"", "x".repeat(100_000));
    let bodies = [
        "null",
        "true",
        "0",
        "123456789012345678901234567890123456789012345678901234567890.5e999",
        "-1e-999",
        "\"\"",
        r#""\ud83d\ude00\u0000""#,
        "[]",
        "{}",
        r#"{"a":1,"a":2}"#,
        r#"{"":{"":[null,{"":0}]}}"#,
        &nested,
        &long,
    ];
    bodies.into_iter().map(body).collect()
}
