//! Guarantees that do and do not hold if a service accepts every write: the columns `POST` and
//! `PUT` of the table in `guarantees.md`.

use sync_core::error::ErrorKind;

use crate::device::{Device, reads};
use crate::service::{Service, Writes};

#[tokio::test]
async fn by_post_a_lost_answer_creates_a_document_twice_under_other_ids() {
    let service = Service::new(Writes::Post);
    let mut device = Device::new(&service).await;
    device.pull().await;
    device.write("a", Some("mine")).await;
    service.lose_answers(1);
    assert_eq!(device.send().await.unwrap_err().kind(), ErrorKind::Network);
    // The write is not lost, even if the process ends now.
    device = device.restart(&service).await;
    device.push().await;
    let told = |id: &str| (id.to_owned(), "mine".to_owned());
    assert_eq!(service.texts(), [told("s1"), told("s2")], "exactly once would be one");
    device.pull().await;
    // The two sides differ: the replica has its own id besides those of the service.
    for id in ["a", "s1", "s2"] {
        assert_eq!(device.reads(id).await, reads("mine", true), "{id}");
    }
    assert_eq!(service.text("a"), None);
}

#[tokio::test]
async fn by_post_two_edits_of_one_document_are_no_conflict() {
    let service = Service::new(Writes::Post);
    service.store("a", Some("base"));
    let mut device = Device::new(&service).await;
    device.pull().await;
    device.write("a", Some("mine")).await;
    service.store("a", Some("theirs"));
    assert_eq!(device.push().await.conflicts, Vec::new());
    let texts: Vec<String> = service.texts().into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["theirs", "mine"]);
}

#[tokio::test]
async fn by_post_deletions_stay_and_a_refusal_delays_nothing() {
    let service = Service::new(Writes::Post);
    service.store("a", Some("base"));
    let mut device = Device::new(&service).await;
    device.pull().await;
    device.write("a", None).await;
    device.write("b", Some("bad")).await;
    device.write("c", Some("good")).await;
    device.push().await;
    assert_eq!(service.texts(), [("s3".to_owned(), "good".to_owned())]);
    device.pull().await;
    assert_eq!(device.reads("a").await, None);
    device = device.restart(&service).await;
    device.pull().await;
    assert_eq!(device.reads("a").await, None);
}

#[tokio::test]
async fn by_put_a_repeated_write_overwrites_a_newer_one() {
    let service = Service::new(Writes::Put);
    let mut device = Device::new(&service).await;
    device.write("a", Some("mine")).await;
    service.lose_answers(1);
    device.send().await.unwrap_err();
    service.store("a", Some("newer"));
    assert_eq!(device.push().await.conflicts, Vec::new());
    // Both sides have the same data, but not the newer write.
    device.pull().await;
    assert_eq!(service.text("a").as_deref(), Some("mine"));
    assert_eq!(device.reads("a").await, reads("mine", true));
}

#[tokio::test]
async fn by_put_a_document_that_another_client_deleted_comes_back() {
    let service = Service::new(Writes::Put);
    service.store("a", Some("base"));
    let mut device = Device::new(&service).await;
    device.pull().await;
    device.write("a", Some("mine")).await;
    service.store("a", None);
    assert_eq!(device.push().await.conflicts, Vec::new());
    assert_eq!(service.text("a").as_deref(), Some("mine"));
    device.pull().await;
    assert_eq!(device.reads("a").await, reads("mine", true));
}
