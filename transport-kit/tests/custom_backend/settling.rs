//! Fetches, sends, and the storage's operations, in every order that matters.

use sync_core::error::{ErrorKind, Retry};
use sync_core::resolver::ClientWins;

use crate::device::{Device, reads};
use crate::service::{Service, Writes};

#[tokio::test]
async fn an_own_write_is_settled_without_a_change_or_a_conflict() {
    let service = Service::new(Writes::Conditional);
    let mut device = Device::new(&service).await;
    device.write("a", Some("one")).await;
    let settled = device.push().await;
    assert_eq!((settled.changes.len(), settled.conflicts.len(), settled.applied), (0, 0, 1));
    assert_eq!(device.reads("a").await, reads("one", true));
    // An edit before the echo arrives: the echo is its base.
    device.write("a", Some("two")).await;
    device.pull().await;
    assert_eq!(device.reads("a").await, reads("two", false));
    let settled = device.push().await;
    assert_eq!(settled.conflicts, Vec::new());
    assert_eq!(service.text("a").as_deref(), Some("two"));
    device.pull().await;
    assert_eq!(device.reads("a").await, reads("two", true));
}

#[tokio::test]
async fn a_document_whose_state_was_delivered_last_can_be_settled() {
    // The answer must be newer than the document itself, which has the position of the last chunk.
    let service = Service::new(Writes::Conditional);
    service.store("a", Some("theirs"));
    let mut device = Device::new(&service).await;
    device.pull().await;
    for text in ["one", "two"] {
        device.write("a", Some(text)).await;
        device.push().await;
        assert_eq!(device.reads("a").await, reads(text, true));
    }
}

#[tokio::test]
async fn a_chunk_from_before_a_send_is_applied_after_it() {
    let service = Service::new(Writes::Put);
    service.store("a", Some("old"));
    let mut device = Device::new(&service).await;
    device.pull().await;
    service.store("a", Some("older than mine"));
    device.write("a", Some("mine")).await;
    let early = device.fetch().await;
    device.push().await;
    let late = device.apply(early).await;
    assert_eq!((late.changes.len(), late.conflicts.len()), (0, 0), "it does not go back in time");
    assert_eq!(device.reads("a").await, reads("mine", true));
    device.pull().await;
    assert_eq!(device.reads("a").await, reads("mine", true));
}

#[tokio::test]
async fn a_write_on_top_before_the_verdict_is_settled() {
    let service = Service::new(Writes::Conditional);
    let mut device = Device::new(&service).await;
    device.pull().await;
    device.write("a", Some("mine")).await;
    let sent = device.send().await.unwrap();
    service.store("a", Some("on top of mine"));
    // The chunk arrives while the document is in flight: it waits for the verdict, and descends
    // from the sent state.
    let chunk = device.fetch().await;
    device.apply(chunk).await;
    assert_eq!(device.reads("a").await, reads("mine", false));
    let settled = device.settle(sent).await;
    assert_eq!(settled.conflicts, Vec::new());
    assert_eq!(device.reads("a").await, reads("on top of mine", true));
}

#[tokio::test]
async fn a_newer_state_after_a_restart_does_not_count_as_known() {
    let service = Service::new(Writes::Conditional);
    let mut device = Device::new(&service).await;
    service.store("z", Some("z"));
    device.pull().await;
    // Positions are assigned before they are applied: by lost chunks, and by verdicts.
    for _ in 0..5 {
        service.store("y", Some("y"));
        device.fetch().await;
    }
    device.write("a", Some("mine")).await;
    device.push().await;
    service.store("a", Some("theirs"));
    let mut device = device.restart(&service).await;
    device.pull().await;
    assert_eq!(device.reads("a").await, reads("theirs", true));
}

#[tokio::test]
async fn another_clients_write_is_a_conflict_if_the_service_checks_versions() {
    for (writes, survivor) in [(Writes::Conditional, "theirs"), (Writes::Put, "mine")] {
        let service = Service::new(writes);
        service.store("a", Some("base"));
        let mut device = Device::new(&service).await;
        device.pull().await;
        device.write("a", Some("mine")).await;
        service.store("a", Some("theirs"));
        let settled = device.push().await;
        let noticed = writes == Writes::Conditional;
        assert_eq!(settled.conflicts.len(), usize::from(noticed), "{writes:?}");
        assert_eq!(device.reads("a").await, reads(survivor, true));
        device.pull().await;
        assert_eq!(service.text("a").as_deref(), Some(survivor));
        assert_eq!(device.reads("a").await, reads(survivor, true));
    }
}

#[tokio::test]
async fn an_edit_that_wins_a_conflict_is_sent_with_the_other_state_as_base() {
    let service = Service::new(Writes::Conditional);
    service.store("a", Some("base"));
    let mut device = Device::new(&service).await;
    device.cx.resolvers = sync_core::resolver::Resolvers::new(ClientWins);
    device.pull().await;
    device.write("a", Some("mine")).await;
    service.store("a", Some("theirs"));
    assert_eq!(device.push().await.conflicts.len(), 1);
    assert_eq!(device.push().await.conflicts.len(), 0);
    assert_eq!(service.text("a").as_deref(), Some("mine"));
    device.pull().await;
    assert_eq!(device.reads("a").await, reads("mine", true));
}

#[tokio::test]
async fn a_lost_answer_costs_a_second_attempt_with_the_same_key() {
    for writes in [Writes::Put, Writes::Conditional, Writes::Keyed] {
        let service = Service::new(writes);
        let mut device = Device::new(&service).await;
        device.write("a", Some("mine")).await;
        service.lose_answers(1);
        let error = device.send().await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Network, Retry::Reconnect));
        // The process ends, and only the storage has the batch.
        let before = service.keys();
        device = device.restart(&service).await;
        // The stored change is fetched before it is known to be this replica's write.
        device.pull().await;
        device.write("a", Some("mine, and more")).await;
        let settled = device.push().await;
        assert_eq!(settled.conflicts, Vec::new(), "{writes:?}");
        assert_eq!(service.keys()[..2], [before[0].clone(), before[0].clone()]);
        assert_eq!(device.push().await.conflicts, Vec::new());
        device.pull().await;
        assert_eq!(device.reads("a").await, reads("mine, and more", true));
        assert_eq!(service.text("a").as_deref(), Some("mine, and more"));
    }
}

#[tokio::test]
async fn a_lost_answer_with_a_later_write_is_superseded_if_keys_are_stored() {
    for (writes, conflicts) in [(Writes::Keyed, 0), (Writes::Conditional, 1)] {
        let service = Service::new(writes);
        let mut device = Device::new(&service).await;
        device.pull().await;
        device.write("a", Some("mine")).await;
        service.lose_answers(1);
        device.send().await.unwrap_err();
        service.store("a", Some("on top"));
        device.pull().await;
        let settled = device.push().await;
        assert_eq!(settled.conflicts.len(), conflicts, "{writes:?}");
        assert_eq!(device.reads("a").await, reads("on top", true));
    }
}

#[tokio::test]
async fn deletions_sync_both_ways_and_a_document_can_be_created_again() {
    let service = Service::new(Writes::Conditional);
    let mut device = Device::new(&service).await;
    device.write("a", Some("one")).await;
    device.push().await;
    device.write("a", None).await;
    device.push().await;
    assert_eq!(service.text("a"), None);
    device.write("a", Some("again")).await;
    // The echo of the deletion.
    let echo = device.fetch().await;
    assert_eq!(device.apply(echo).await.conflicts, Vec::new());
    assert_eq!(device.push().await.conflicts, Vec::new());
    assert_eq!(service.text("a").as_deref(), Some("again"));
    // Both sides delete it.
    device.write("a", None).await;
    service.store("a", None);
    assert_eq!(device.push().await.conflicts, Vec::new());
    device.pull().await;
    assert_eq!(device.reads("a").await, None);
}
