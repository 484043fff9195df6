//! Conflicts through whole replicas: when a resolver is called and when it is not, what it
//! receives, and how a deletion against an edit ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

#[cfg(feature = "sqlite")]
mod base;
mod calls;
mod deletes;
mod quarrels;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use twotide::prelude::*;

/// Counts how often another resolver is called.
#[derive(Debug)]
struct Counting<R> {
    inner: R,
    calls: Arc<AtomicUsize>,
}

impl<R: ConflictResolver> ConflictResolver for Counting<R> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn needs_base(&self) -> bool {
        self.inner.needs_base()
    }

    fn resolve(&self, conflict: &Conflict<'_>) -> Result<Resolution> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.inner.resolve(conflict)
    }
}

fn json(text: impl Into<String>) -> Body {
    Body::parse(text.into()).unwrap()
}

async fn put(replica: &Replica, id: &str, text: &str) {
    replica.raw("notes").unwrap().put(id, &json(text)).await.unwrap();
}

async fn delete(replica: &Replica, id: &str) {
    replica.raw("notes").unwrap().delete(id).await.unwrap();
}

/// Returns what a replica shows; empty for no document.
async fn shown(replica: &Replica, id: &str) -> String {
    let found = replica.raw("notes").unwrap().get(id).await.unwrap();
    found.map(|d| d.value().as_str().to_owned()).unwrap_or_default()
}

async fn sync(replica: &Replica) {
    support::soon(replica.sync_now()).await.unwrap();
}
