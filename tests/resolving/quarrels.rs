//! Replicas with different resolvers, and resolvers whose every answer is new: they converge, and
//! every conflict is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use twotide::prelude::*;

use super::support::{builder, server, soon};
use super::{Counting, json, put, shown, sync};

/// Resolves with a body that no replica has had before.
#[derive(Debug, Default)]
struct Restless(AtomicUsize);

impl ConflictResolver for Restless {
    fn name(&self) -> &str {
        "restless"
    }

    fn resolve(&self, _: &Conflict<'_>) -> Result<Resolution> {
        let n = self.0.fetch_add(1, Ordering::SeqCst);
        Ok(Resolution::Merge(json(format!("\"restless {n}\""))))
    }
}

async fn quarrel(live: bool) {
    let (server, calls) = (server(), Arc::<AtomicUsize>::default());
    let replicas = [
        open(&server, 1, ClientWins, &calls).await,
        open(&server, 2, ServerWins, &calls).await,
        open(&server, 3, Restless::default(), &calls).await,
        open(&server, 4, Restless::default(), &calls).await,
    ];
    let most = replicas.len() * (replicas.len() - 1) / 2;
    for round in 0..5 {
        let before = calls.load(Ordering::SeqCst);
        for (n, replica) in replicas.iter().enumerate() {
            replica.stop().await;
            put(replica, "x", &format!("[{round},{n}]")).await;
        }
        for replica in replicas.iter().filter(|_| live) {
            replica.start().await.unwrap();
        }
        for replica in replicas.iter().filter(|_| live) {
            soon(replica.wait_until_in_sync()).await.unwrap();
        }
        for replica in replicas.iter().chain(&replicas) {
            sync(replica).await;
        }
        let told = shown(&replicas[0], "x").await;
        for replica in &replicas {
            assert_eq!(shown(replica, "x").await, told);
            assert_eq!(replica.sync_state("notes", "x").await.unwrap().as_str(), "synced");
        }
        let asked = calls.load(Ordering::SeqCst) - before;
        assert!((1..=most).contains(&asked), "{asked} calls in round {round}");
    }
    let counted: u64 = replicas.iter().map(|r| r.statistics().borrow().conflicts).sum();
    assert_eq!(counted, calls.load(Ordering::SeqCst) as u64, "each conflict is reported");
}

async fn open(
    server: &twotide::server::Server,
    id: u8,
    inner: impl ConflictResolver,
    calls: &Arc<AtomicUsize>,
) -> Replica {
    let counting = Counting { inner, calls: Arc::clone(calls) };
    builder(server, id).resolver(counting).open().await.unwrap()
}

#[tokio::test]
async fn replicas_with_different_resolvers_come_to_rest() {
    quarrel(false).await;
}

#[tokio::test]
async fn replicas_with_different_resolvers_come_to_rest_live() {
    quarrel(true).await;
}
