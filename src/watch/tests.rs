//! What a watch keeps is bounded.

use sync_core::clock::Now;
use sync_core::replica::Forget;

use super::{InboxEvent, WatchEvent};
use crate::Replica;

#[tokio::test]
async fn what_a_watch_keeps_does_not_grow_with_the_changes() {
    let replica = Replica::builder().memory().open().await.unwrap();
    let counts = replica.collection::<usize>("counts").unwrap();
    let put = async |from: usize, to: usize| {
        let mut transaction = replica.transaction();
        for n in from..to {
            transaction.put(&counts, n.to_string(), &n).unwrap();
        }
        transaction.commit().await.unwrap();
    };
    for start in (0..2_000).step_by(500) {
        put(start, start + 500).await;
    }
    let mut watch = counts.watch_all();
    let mut told = 0;
    while let Some(event) = watch.next_ready().await.unwrap() {
        assert!(watch.kept().0 <= 256 && watch.kept().1 == 0, "{watch:?}");
        told += usize::from(matches!(event, WatchEvent::Current(_)));
    }
    assert_eq!(told, 2_000);
    for _ in 0..5 {
        for start in (0..2_000).step_by(500) {
            put(start, start + 500).await;
        }
    }
    // Ten thousand changes of two thousand documents; one read gathers each document once.
    told = 0;
    while let Some(event) = watch.next_ready().await.unwrap() {
        assert!(watch.kept().0 == 0 && watch.kept().1 < 512, "{watch:?}");
        told += usize::from(matches!(event, WatchEvent::Changed(_)));
    }
    assert_eq!(told, 2_000, "the newest state is told, and once");
}

#[tokio::test]
async fn what_a_watch_of_the_quarantine_keeps_does_not_grow_with_it() {
    let replica = Replica::builder().memory().open().await.unwrap();
    let counts = replica.collection::<usize>("counts").unwrap();
    let mut watch = replica.quarantine().watch();
    for start in (0..6_000).step_by(500) {
        let mut transaction = replica.transaction();
        for n in start..start + 500 {
            transaction.put(&counts, n.to_string(), &n).unwrap();
        }
        transaction.commit().await.unwrap();
    }
    // Edits that were not synced go to the quarantine when a scope leaves the device.
    let forget = Forget::Scope(replica.scope().clone());
    replica.storage().forget(Now(1), None, forget).await.unwrap();
    let mut told = 0;
    while let Some(event) = watch.next_ready().await.unwrap() {
        assert!(watch.kept().0 <= 256 && watch.kept().1 <= 4_096, "{watch:?} {:?}", watch.kept());
        told += usize::from(matches!(event, InboxEvent::Current(_)));
    }
    assert_eq!((told, watch.kept()), (6_000, (0, 0)));
}
