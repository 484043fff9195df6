//! Errors of closures, and how batches are sent.

use std::sync::Arc;
use std::time::Duration;

use sync_core::error::{Error, ErrorKind, Retry};
use sync_core::model::{VerdictKind, Verdicts};
use transport_kit::custom_backend::{FnTransport, PushOutcome, Version};

use crate::device::{Device, reads};
use crate::service::{Service, Writes};

#[tokio::test]
async fn a_refused_change_delays_no_other() {
    let service = Service::new(Writes::Put);
    let device = Device::new(&service).await;
    device.write("a", Some("good")).await;
    device.write("b", Some("bad")).await;
    device.write("c", Some("good")).await;
    let settled = device.push().await;
    assert_eq!(settled.refused.len(), 1);
    assert_eq!((service.text("a"), service.text("c")), (Some("good".into()), Some("good".into())));
    assert_eq!(device.reads("b").await, None);
}

#[tokio::test]
async fn a_failure_in_the_middle_sends_only_the_rest_again() {
    let service = Service::new(Writes::Keyed);
    let device = Device::new(&service).await;
    for id in ["a", "b", "c"] {
        device.write(id, Some(id)).await;
    }
    service.fail_after(1);
    device.send().await.unwrap_err();
    device.push().await;
    let keys = service.keys();
    assert_eq!(keys.len(), 4, "{keys:?}");
    assert_eq!((&keys[1], keys[0] == keys[1]), (&keys[2], false), "only the second was sent twice");
}

#[tokio::test]
async fn a_batch_has_as_many_outcomes_as_changes() {
    let version = || Version::new(1, "1");
    for outcomes in [vec![PushOutcome::Stored(version())], vec![PushOutcome::Deleted; 2]] {
        let service = Service::new(Writes::Put);
        let all = move |_| {
            let outcomes = outcomes.clone();
            async move { Ok(outcomes) }
        };
        let transport = service.builder("all").send(all).build().unwrap();
        let device = Device::open(Arc::default(), &transport).await;
        device.write("a", Some("one")).await;
        device.write("b", Some("two")).await;
        let error = device.send().await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Protocol, Retry::Never));
    }
}

#[tokio::test]
async fn a_batch_is_settled_as_a_whole() {
    let service = Service::new(Writes::Put);
    let sent = Arc::clone(&service);
    let all = move |changes: Vec<transport_kit::custom_backend::Outgoing>| {
        let outcomes = changes.iter().map(|c| sent.send(c)).collect();
        async move { outcomes }
    };
    let transport = service.builder("all").send(all).build().unwrap();
    let mut device = Device::open(Arc::default(), &transport).await;
    for id in ["a", "b", "c"] {
        device.write(id, Some(id)).await;
    }
    let (id, verdicts) = device.send().await.unwrap();
    let Verdicts::Decided { verdicts: each, .. } = &verdicts else { panic!("undecided") };
    assert!(each.iter().all(|v| v.kind == VerdictKind::Accepted), "{each:?}");
    device.settle((id, verdicts)).await;
    device.pull().await;
    assert_eq!(device.reads("c").await, reads("c", true));
}

#[tokio::test(start_paused = true)]
async fn closures_that_panic_or_hang_are_errors() {
    let service = Service::new(Writes::Put);
    let panics = service.builder("panics").fetch(
        async |_| -> Result<transport_kit::custom_backend::BackendPage, Error> {
            panic!("a fault of the app")
        },
    );
    let device = Device::open(Arc::default(), &panics.build().unwrap()).await;
    let error = device.delivery().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(
        error.report().to_string().contains("fetch: the closure `fetch` panicked (backend panics"),
        "{error}"
    );
    let hangs = service
        .builder("hangs")
        .timeout(Duration::from_secs(3))
        .send_each(|_| std::future::pending::<Result<PushOutcome, Error>>());
    let mut device = Device::open(Arc::default(), &hangs.build().unwrap()).await;
    device.write("a", Some("one")).await;
    assert_eq!(device.send().await.unwrap_err().kind(), ErrorKind::Timeout);
    // The line is free again.
    device.pull().await;
}

#[tokio::test]
async fn a_page_that_breaks_its_contract_is_refused_with_a_reason() {
    use transport_kit::custom_backend::{BackendDocument, BackendPage};
    let document =
        |id: &str| BackendDocument::live("notes", id, Version::new(1, "1"), &"x").unwrap();
    let many = BackendPage::last(vec![document("a"), document("b"), document("c")]);
    let endless = BackendPage::last(vec![document("a")]).more(true);
    let huge = "x".repeat(33 << 20);
    let huge = BackendDocument::live("notes", "huge", Version::new(1, "1"), &huge).unwrap();
    let huge = BackendPage::last(vec![document("a"), huge]);
    for (page, what) in
        [(many, "3 documents"), (endless, "no new bookmark"), (huge, "largest huge")]
    {
        let service = Service::new(Writes::Put);
        let fetch = move |_| {
            let page = page.clone();
            async move { Ok(page) }
        };
        let transport = service.builder("odd").fetch(fetch).build().unwrap();
        let device = Device::open(Arc::default(), &transport).await;
        let error = device.delivery().await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Protocol, Retry::Never));
        assert!(error.report().to_string().contains(what), "{error}");
    }
    let error = BackendDocument::deleted("notes", "a\nb", None).unwrap_err();
    assert!(error.report().to_string().contains("control character"), "{error}");
}

#[test]
fn a_transport_needs_its_closures() {
    let error = FnTransport::builder("lame").build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.report().to_string().contains("the closure `fetch`"), "{error}");
}

/// A fetch and a send never overlap: their order is the order of positions.
#[tokio::test]
async fn a_fetch_waits_for_a_send() {
    let service = Service::new(Writes::Put);
    let (sends, door) = (Arc::clone(&service), Arc::new(tokio::sync::Notify::new()));
    let opened = Arc::clone(&door);
    let slow = move |change: transport_kit::custom_backend::Outgoing| {
        let (sends, opened) = (Arc::clone(&sends), Arc::clone(&opened));
        async move {
            let outcome = sends.send(&change);
            opened.notified().await;
            outcome
        }
    };
    let transport = service.builder("slow").send_each(slow).build().unwrap();
    let mut device = Device::open(Arc::default(), &transport).await;
    device.write("a", Some("mine")).await;
    let fetch = async {
        sends_begun(&service, 1).await;
        let mut fetch = std::pin::pin!(device.delivery());
        for _ in 0..10 {
            assert!(futures_util::poll!(&mut fetch).is_pending());
            tokio::task::yield_now().await;
        }
        assert_eq!(service.fetches(), 0);
        door.notify_one();
        fetch.await.unwrap()
    };
    let (sent, delivery) = tokio::join!(device.send(), fetch);
    let sent = sent.unwrap();
    let sync_core::transport::Delivery::Chunk(chunk) = delivery else { panic!("a reset") };
    let Verdicts::Decided { verdicts, .. } = &sent.1 else { panic!("undecided") };
    assert!(chunk.entries[0].seq > verdicts[0].seq);
    device.settle(sent).await;
    device.apply(chunk).await;
    // A send that is dropped in the middle releases the line.
    device.write("b", Some("mine")).await;
    tokio::select! {
        _ = device.send() => panic!("the door is shut"),
        () = sends_begun(&service, 2) => {}
    }
    device.ahead = device.checkpoint().await;
    device.pull().await;
    assert_eq!(device.reads("b").await, reads("mine", false), "what arrived waits for its verdict");
    door.notify_one();
    device.push().await;
    assert_eq!(device.reads("b").await, reads("mine", true));
}

async fn sends_begun(service: &Service, sends: usize) {
    let begun = async {
        while service.keys().len() < sends {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), begun).await.expect("nothing is sent");
}
