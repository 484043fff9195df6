//! Bookmarks, listings of everything, and following live.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use sync_core::error::{ErrorKind, Retry};
use sync_core::model::{ResetReason, Scope, Seq};
use sync_core::protocol::Pull;
use sync_core::transport::Delivery;

use crate::device::{Device, LIMITS, reads};
use crate::service::{Service, Writes};

#[tokio::test]
async fn documents_are_pulled_in_pages_and_continue_after_a_restart() {
    let service = Service::new(Writes::Put);
    for id in ["a", "b", "c"] {
        service.store(id, Some(id));
    }
    let mut device = Device::new(&service).await;
    let first = device.fetch().await;
    assert_eq!((first.entries.len(), first.has_more()), (2, true));
    device.apply(first).await;
    let mut device = device.restart(&service).await;
    assert_eq!(device.ahead.bookmark.as_ref().map(|b| b.as_str()), Some("2"));
    device.pull().await;
    assert_eq!(device.reads("c").await, reads("c", true));
    service.store("a", None);
    device.pull().await;
    assert_eq!(device.reads("a").await, None);
}

#[tokio::test]
async fn without_a_bookmark_everything_is_listed_and_missing_documents_are_deleted() {
    let service = Service::new(Writes::Put);
    service.tell_no_bookmark();
    for id in ["a", "b", "c"] {
        service.store(id, Some("here"));
    }
    let mut device = Device::new(&service).await;
    device.pull().await;
    device.write("c", Some("edited")).await;
    device.write("d", Some("new")).await;
    service.forget("a");
    let Delivery::Reset(reset) = device.delivery().await.unwrap() else { panic!("a chunk") };
    assert_eq!(reset.reason, ResetReason::BelowHorizon);
    device.reset(reset).await;
    // After a restart in the middle, listed documents must not count as known already.
    let mut device = device.restart(&service).await;
    service.store("b", Some("changed"));
    device.pull().await;
    assert_eq!(device.reads("a").await, None, "it was not listed any more");
    assert_eq!(device.reads("b").await, reads("changed", true));
    assert_eq!(device.reads("c").await, reads("edited", false));
    assert_eq!(device.reads("d").await, reads("new", false));
    device.push().await;
    assert_eq!(service.text("d").as_deref(), Some("new"));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_in_the_middle_of_a_listing() {
    let service = Service::new(Writes::Put);
    for id in ["a", "b", "c"] {
        service.store(id, Some("here"));
    }
    let mut device = Device::new(&service).await;
    let first = device.fetch().await;
    device.apply(first).await;
    device.write("0", Some("new")).await;
    let error = device.send().await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Overloaded, Retry::Later(None)));
    // The same after a restart in the middle of it.
    let mut device = device.restart(&service).await;
    device.send().await.unwrap_err();
    device.pull().await;
    device.push().await;
    assert_eq!(device.reads("0").await, reads("new", true));
}

#[tokio::test]
async fn an_expired_bookmark_lists_everything_once() {
    let service = Service::new(Writes::Put);
    service.store("a", Some("here"));
    let mut device = Device::new(&service).await;
    device.pull().await;
    service.forget("a");
    service.expire_bookmarks();
    let Delivery::Reset(reset) = device.delivery().await.unwrap() else { panic!("a chunk") };
    device.reset(reset).await;
    device.pull().await;
    assert_eq!(device.reads("a").await, None);
    let error = device.delivery().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded, "it does not go round in circles: {error}");
}

#[tokio::test]
async fn another_name_is_another_backend() {
    let service = Service::new(Writes::Put);
    service.store("a", Some("here"));
    let mut device = Device::new(&service).await;
    device.pull().await;
    let other = Service::new(Writes::Put);
    let transport = other.builder("another").build().unwrap();
    let mut device = Device::open(Arc::clone(&device.kv), &transport).await;
    let reset = device.welcome.scopes[0].reset.unwrap();
    assert_eq!(reset.reason, ResetReason::EpochChanged { cut: Seq(0) });
    device.reset(reset).await;
    device.push().await;
    assert_eq!(other.text("a").as_deref(), Some("here"), "what it holds is offered");
}

#[tokio::test(start_paused = true)]
async fn a_live_stream_polls_and_is_notified_of_changes() {
    let service = Service::new(Writes::Put);
    let bell = Arc::new(tokio::sync::Notify::new());
    let ears = Arc::clone(&bell);
    let listen = move |_| {
        let ears = Arc::clone(&ears);
        async move {
            ears.notified().await;
            Ok(())
        }
    };
    let poll = Duration::from_secs(60);
    let transport = service.builder("live").poll_every(poll, Duration::ZERO).changed(listen);
    let mut device = Device::open(Arc::default(), &transport.build().unwrap()).await;
    device.pull().await;
    let (scope, cursor) = (Scope::default(), device.ahead.clone());
    let mut live = device.connection.live(Pull { scope, cursor, limits: LIMITS });
    let mut waits = async |service: &Service, ring: bool, entries: usize| {
        let began = tokio::time::Instant::now();
        let fetches = service.fetches();
        service.store("a", Some("news"));
        if ring {
            bell.notify_one();
        }
        let Some(Ok(Delivery::Chunk(chunk))) = live.next().await else { panic!("no chunk") };
        assert_eq!((chunk.entries.len(), service.fetches() - fetches), (entries, 1));
        began.elapsed()
    };
    assert_eq!(waits(&service, false, 1).await, poll);
    assert!(waits(&service, true, 1).await < Duration::from_secs(1));
    // The replica's own write is fetched at once: only then does it detect that it is in sync.
    device.write("b", Some("mine")).await;
    device.push().await;
    assert!(waits(&service, false, 2).await < Duration::from_secs(1));
    device
        .connection
        .close(sync_core::protocol::Goodbye { reason: String::new(), retry_after: None })
        .await;
    assert_eq!(live.next().await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
    assert!(live.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_live_stream_lists_everything_at_an_interval_if_configured() {
    let service = Service::new(Writes::Put);
    service.store("a", Some("here"));
    let builder = service.builder("refetch").poll_every(Duration::from_secs(60), Duration::ZERO);
    let transport = builder.refetch_every(Duration::from_secs(150)).build().unwrap();
    let mut device = Device::open(Arc::default(), &transport).await;
    device.pull().await;
    service.forget("a");
    let (scope, cursor) = (Scope::default(), device.ahead.clone());
    let mut live = device.connection.live(Pull { scope, cursor, limits: LIMITS });
    let began = tokio::time::Instant::now();
    let Some(Ok(Delivery::Reset(reset))) = live.next().await else { panic!("no reset") };
    assert_eq!(began.elapsed(), Duration::from_secs(180));
    device.reset(reset).await;
    device.pull().await;
    assert_eq!(device.reads("a").await, None);
}

#[tokio::test]
async fn an_empty_service_is_listed_once() {
    let service = Service::new(Writes::Put);
    let mut device = Device::new(&service).await;
    let empty = device.fetch().await;
    // At position 0 everything would be listed again, and missing documents would count as deleted.
    assert_eq!((empty.entries.len(), empty.next, empty.has_more()), (0, Seq(1), false));
    device.apply(empty).await;
    assert!(device.fetch().await.entries.is_empty());
}
