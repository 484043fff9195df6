//! A server whose storage fails until it is repaired.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use support::{builder, soon};
use twotide::backend::error::{Error, ErrorKind, Result, Retry};
use twotide::backend::kv::{Batch, KvOptions, MemoryKv, OrderedKv, Visit, open_server};
use twotide::backend::storage::Durability;
use twotide::prelude::*;
use twotide::server::{Server, ServerOptions};

/// A store that, while it is broken, returns errors that must not be retried.
#[derive(Debug, Default)]
struct Frail {
    kv: MemoryKv,
    broken: AtomicBool,
}

impl Frail {
    fn check(&self) -> Result<()> {
        if self.broken.load(Ordering::SeqCst) {
            let error = Error::new(ErrorKind::Storage, "open the store again");
            return Err(error.retrying(Retry::Never));
        }
        Ok(())
    }
}

impl OrderedKv for Frail {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.check()?;
        self.kv.get(key)
    }

    fn range(&self, start: &[u8], end: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        self.check()?;
        self.kv.range(start, end, visit)
    }

    fn commit(&self, batch: Batch, durability: Durability) -> Result<()> {
        self.check()?;
        self.kv.commit(batch, durability)
    }
}

#[tokio::test]
async fn replicas_sync_again_after_the_servers_storage_was_repaired() {
    let kv = Arc::new(Frail::default());
    let storage = open_server(Arc::clone(&kv), KvOptions::default()).unwrap();
    let options = ServerOptions::default();
    let server = Server::builder(Arc::new(storage)).options(options).build();
    // One meets the broken storage in its greeting, the other one in a push.
    let (late, early) =
        (builder(&server, 1).open().await.unwrap(), builder(&server, 2).open().await.unwrap());
    early.start().await.unwrap();
    soon(early.wait_until_in_sync()).await.unwrap();
    kv.broken.store(true, Ordering::SeqCst);
    for (replica, id) in [(&late, "late"), (&early, "early")] {
        let notes = replica.raw("notes").unwrap();
        notes.put(id, &Body::parse("1").unwrap()).await.unwrap();
        replica.start().await.unwrap();
        let mut status = replica.status();
        let failing = status.wait_for(|s| s.error.is_some());
        drop(soon(failing).await.unwrap());
    }
    kv.broken.store(false, Ordering::SeqCst);
    for replica in [&late, &early] {
        soon(replica.wait_until_in_sync()).await.unwrap();
        replica.stop().await;
    }
}
