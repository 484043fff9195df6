//! What a sync reports to the app: filtered events, lags that are counted, and a status that is
//! available without waiting.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::TryStreamExt;
use support::{Revocable, builder, positive_server, server_with, soon};
use twotide::EventStream;
use twotide::backend::kv::{KvOptions, MemoryKv, open_server};
use twotide::backend::model::{Epoch, Limits, Seq};
use twotide::backend::replica::Decided;
use twotide::prelude::*;
use twotide::server::ServerStorage;
use twotide::server::{Authenticate, Hooks, Server, ServerOptions, StaticTokens};

async fn put(replica: &Replica, collection: &str, id: &str, n: i64) {
    replica.collection(collection).unwrap().put(id, &n).await.unwrap();
}

/// Returns the events that are ready.
fn told(events: &mut EventStream) -> Vec<SyncEvent> {
    std::iter::from_fn(|| events.next_ready()).collect()
}

fn kinds(events: &[SyncEvent]) -> Vec<&'static str> {
    events.iter().map(|e| e.kind().as_str()).collect()
}

fn is_document(event: &SyncEvent, collection: &str, id: &str) -> bool {
    let key = event.document().map(|k| (k.collection.as_str(), k.id.as_str()));
    key == Some((collection, id))
}

#[tokio::test]
async fn a_sync_reports_events_from_the_connection_to_the_end() {
    let server = positive_server();
    let ann = builder(&server, 1).open().await.unwrap();
    for n in 0..10 {
        put(&ann, "counts", &n.to_string(), n).await;
        // Documents that are pushed together are never split.
        soon(ann.sync_now()).await.unwrap();
    }
    // Chunks of four, so that catching up takes several of them.
    let limits = Limits { documents: 4, ..Limits::CHUNK };
    let ben = builder(&server, 2).chunk_limits(limits).open().await.unwrap();
    let mut events = ben.event_stream(EventFilter::all());
    soon(ben.sync_now()).await.unwrap();
    let events = told(&mut events);
    let shown = kinds(&events);
    let place = |kind: &str| shown.iter().position(|k| *k == kind).expect(kind);
    assert!(place("connected") < place("catch_up_started"), "{shown:?}");
    assert!(place("catch_up_started") < place("change_applied"), "{shown:?}");
    assert!(place("change_applied") < place("checkpoint_moved"), "{shown:?}");
    assert!(place("checkpoint_moved") < place("catch_up_progress"), "{shown:?}");
    assert!(place("catch_up_progress") < place("catch_up_done"), "{shown:?}");
    assert!(place("catch_up_done") < place("in_sync"), "{shown:?}");
    let count = |kind: &str| shown.iter().filter(|k| **k == kind).count();
    assert_eq!((count("change_applied"), count("catch_up_progress")), (10, 3), "{shown:?}");
    let positions = events.iter().filter_map(|e| match e {
        SyncEvent::CatchUpProgress { position, head, .. } => Some((position.0, head.0)),
        _ => None,
    });
    assert_eq!(positions.collect::<Vec<_>>(), [(4, 10), (8, 10), (10, 10)]);
    assert!(events.iter().any(|e| matches!(
        e,
        SyncEvent::ChangeApplied { key, operation: Operation::Insert, origin: Origin::Remote, revision: Some(_) }
            if key.id.as_str() == "7"
    )));
}

#[tokio::test]
async fn conflicts_and_refusals_are_reported_and_filtered_by_kind_and_collection() {
    let server = positive_server();
    let defers = resolve_with("ask", |_| Ok(Resolution::Defer));
    let ann = builder(&server, 1).open().await.unwrap();
    let ben = builder(&server, 2).open().await.unwrap();
    let cleo = builder(&server, 3).resolver(defers).open().await.unwrap();
    // Equal bodies would not conflict.
    for (replica, n) in [(&ann, 1), (&ben, 2), (&cleo, 3)] {
        put(replica, "counts", "x", n).await;
        put(replica, "others", "x", n).await;
        put(replica, "counts", "bad", -n).await;
    }
    soon(ann.sync_now()).await.unwrap();
    let documents = [EventKind::ConflictResolved, EventKind::ConflictDeferred, EventKind::Rejected];
    let filter = || EventFilter::all().kinds(documents);
    let mut every = ben.event_stream(filter());
    let mut counts = ben.event_stream(filter().collection("counts").unwrap());
    let mut others = ben.event_stream(EventFilter::all().collection("others").unwrap());
    let mut deferred = cleo.event_stream(EventFilter::all().kinds([EventKind::ConflictDeferred]));
    soon(ben.sync_now()).await.unwrap();
    soon(cleo.sync_now()).await.unwrap();

    let every = told(&mut every);
    let resolved = |e: &&SyncEvent| matches!(e, SyncEvent::ConflictResolved { decided, .. } if *decided != Decided::Deferred);
    assert_eq!(every.iter().filter(resolved).count(), 2, "{every:?}");
    assert!(every.iter().any(|e| matches!(
        e,
        SyncEvent::Rejected { rejection, .. } if rejection.reason == "it is below zero"
    )));
    let counts = told(&mut counts);
    assert_eq!(counts.len(), every.len() - 1);
    assert!(counts.iter().all(|e| e.document().unwrap().collection.as_str() == "counts"));
    // Events about the sync as a whole pass a filter of collections.
    let others = told(&mut others);
    assert!(others.contains(&SyncEvent::Connected) && others.contains(&SyncEvent::InSync));
    let about: Vec<_> = others.iter().filter(|e| e.document().is_some()).collect();
    assert!(!about.is_empty() && about.iter().all(|e| is_document(e, "others", "x")), "{about:?}");
    let deferred = told(&mut deferred);
    assert_eq!(deferred.len(), 2);
    assert!(deferred.iter().any(|e| is_document(e, "counts", "x")));
    assert_eq!(EventFilter::all().collection("").unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_refused_token_is_reported() {
    let tokens = StaticTokens::new([("ann".into(), "good".into())]);
    let authenticate: Arc<dyn Authenticate> = Arc::new(tokens);
    let server = server_with(Hooks { authenticate, ..Hooks::default() });
    let replica = builder(&server, 1).token("expired").open().await.unwrap();
    let kinds = [EventKind::TokenNeeded, EventKind::Refused, EventKind::Connected];
    let mut events = replica.event_stream(EventFilter::all().kinds(kinds));
    replica.start().await.unwrap();
    assert_eq!(soon(events.next()).await.unwrap().unwrap(), SyncEvent::TokenNeeded);
    replica.set_token(Some("good".to_owned())).await;
    assert_eq!(soon(events.next()).await.unwrap().unwrap(), SyncEvent::Connected);
}

#[tokio::test]
async fn a_revoked_scope_is_reported() {
    let access = Arc::new(Revocable::default());
    let server = server_with(Hooks { authorise: access.clone(), ..Hooks::default() });
    let replica = builder(&server, 1).open().await.unwrap();
    put(&replica, "counts", "x", 1).await;
    soon(replica.sync_now()).await.unwrap();
    let wanted = [EventKind::ScopeGone, EventKind::ScopeRefused];
    let mut events = replica.event_stream(EventFilter::all().kinds(wanted));
    access.0.store(true, Ordering::SeqCst);
    let error = soon(replica.sync_now()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    let events = told(&mut events);
    let scope = replica.scope().clone();
    assert!(events.contains(&SyncEvent::ScopeGone(scope.clone())), "{events:?}");
    let refused = SyncEvent::ScopeRefused { scope, why: ErrorKind::PermissionDenied };
    assert!(events.contains(&refused), "{events:?}");
}

#[tokio::test]
async fn a_reset_is_reported() {
    let storage = open_server(Arc::new(MemoryKv::default()), KvOptions::default()).unwrap();
    let storage: Arc<dyn ServerStorage> = Arc::new(storage);
    let options = ServerOptions::default();
    let server = Server::builder(storage.clone()).options(options).build();
    let replica = builder(&server, 1).open().await.unwrap();
    put(&replica, "counts", "x", 1).await;
    soon(replica.sync_now()).await.unwrap();
    // The server's log begins a new epoch, as after a restore from a backup that was empty.
    let scope = replica.scope().clone();
    let old = storage.find_scope(scope.clone()).await.unwrap().unwrap().epoch;
    let fresh = Epoch([9; 16]);
    storage.begin_epoch(scope.clone(), old, Seq(0), fresh).await.unwrap();
    let mut events = replica.event_stream(EventFilter::all().kinds([EventKind::Reset]));
    soon(replica.sync_now()).await.unwrap();
    let events = told(&mut events);
    let SyncEvent::Reset(reset_scope, reset) = &events[0] else { panic!("{events:?}") };
    assert_eq!((events.len(), reset_scope, reset.epoch), (1, &scope, fresh));
}

#[tokio::test]
async fn a_lag_is_reported_and_counts_only_filtered_events() {
    let server = positive_server();
    let ann = builder(&server, 1).open().await.unwrap();
    for (collection, documents) in [("counts", 5_000), ("others", 10)] {
        let counts = ann.collection::<i64>(collection).unwrap();
        for start in (0..documents).step_by(500) {
            let mut transaction = ann.transaction();
            for n in start..documents.min(start + 500) {
                transaction.put(&counts, n.to_string(), &n).unwrap();
            }
            transaction.commit().await.unwrap();
        }
    }
    soon(ann.sync_now()).await.unwrap();
    let ben = builder(&server, 2).open().await.unwrap();
    let applied = || EventFilter::all().kinds([EventKind::ChangeApplied]);
    let mut slow = ben.event_stream(applied());
    let mut few = ben.event_stream(applied().collection("others").unwrap());
    soon(ben.sync_now()).await.unwrap();
    let events = told(&mut slow);
    let SyncEvent::Lagged(missed) = events[0] else { panic!("{:?}", events[0]) };
    assert_eq!(missed + (events.len() as u64 - 1), 5_010, "what is missing is counted");
    assert_eq!(events.len() - 1, 4_096, "what waits is bounded");
    assert_eq!(told(&mut few).len(), 10, "what is not wanted does not fill the queue");
}

#[tokio::test]
async fn a_stream_ends_with_the_replica_and_a_dropped_one_is_forgotten() {
    let server = positive_server();
    let replica = builder(&server, 1).open().await.unwrap();
    let storage = Arc::downgrade(replica.storage());
    for _ in 0..100 {
        drop(replica.event_stream(EventFilter::all()));
    }
    let mut first = replica.event_stream(EventFilter::all());
    let second = replica.event_stream(EventFilter::all().kinds([EventKind::InSync]));
    soon(replica.sync_now()).await.unwrap();
    replica.close().await.unwrap();
    assert_eq!(soon(second.try_collect::<Vec<_>>()).await.unwrap(), [SyncEvent::InSync]);
    assert_eq!(
        soon(first.next()).await.unwrap().unwrap(),
        SyncEvent::Connected,
        "what was told is given"
    );
    while let Some(event) = soon(first.next()).await {
        assert!(!matches!(event.unwrap(), SyncEvent::Lagged(_)));
    }
    assert!(soon(replica.event_stream(EventFilter::all()).next()).await.is_none());

    // A stream does not keep open a replica that was dropped without a call of `close`.
    let other = builder(&server, 2).open().await.unwrap();
    let mut events = other.event_stream(EventFilter::all());
    drop((other, replica));
    assert!(soon(events.next()).await.is_none());
    soon(async {
        while storage.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_status_is_available_without_waiting() {
    let kv = Arc::new(MemoryKv::default());
    let open = || {
        let id = twotide::backend::model::ReplicaId([1; 16]);
        let opened = twotide::backend::kv::open_replica(kv.clone(), id, KvOptions::default());
        Replica::builder().storage(Arc::new(opened.unwrap()))
    };
    let replica = open().open().await.unwrap();
    assert_eq!((replica.status_now().outbox.pending, replica.status_now().in_sync), (0, false));
    put(&replica, "counts", "x", 1).await;
    replica.close().await.unwrap();
    // No task has run between the opening and the read of the status.
    let replica = open().transport(Arc::new(positive_server().in_process())).open().await.unwrap();
    assert_eq!(replica.status_now().outbox.pending, 1);
    assert_eq!(replica.status_now().activity, Activity::Idle);
    let mut status = replica.status();
    replica.start().await.unwrap();
    soon(status.wait_for(|s| s.in_sync)).await.unwrap();
    assert!(replica.status_now().in_sync);
    assert_eq!((replica.status_now().outbox.pending, replica.statistics_now().pushed), (0, 1));
    replica.close().await.unwrap();
}
