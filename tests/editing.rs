//! Writes that depend on an earlier read, and writes of many documents at a time.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use futures_util::TryStreamExt;
use support::{builder, server, server_with_options, soon};
use twotide::prelude::*;
use twotide::server::{Hooks, ServerOptions};
use twotide::{Collection, Limits};

async fn memory() -> Replica {
    Replica::builder().memory().open().await.unwrap()
}

fn text(text: &str) -> String {
    text.to_owned()
}

#[tokio::test]
async fn a_document_that_moved_is_not_replaced() {
    let server = server();
    let ann = builder(&server, 1).open().await.unwrap();
    let ben = builder(&server, 2).open().await.unwrap();
    let notes = ann.collection::<String>("notes").unwrap();
    let read = notes.insert_with_id("n", &text("first")).await.unwrap();
    // The same form is submitted twice.
    let newer = notes.replace_if(&read, &text("second")).await.unwrap();
    assert_eq!(newer.value(), "second");
    let error = notes.replace_if(&read, &text("second")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Superseded, "{error}");
    assert!(error.to_string().contains("notes/n"), "{error}");
    assert!(!error.is_retryable());
    // An edit that is settled keeps its revision.
    soon(ann.sync_now()).await.unwrap();
    let settled = notes.replace_if(&newer, &text("third")).await.unwrap();
    soon(ann.sync_now()).await.unwrap();
    // An edit of another replica has another revision.
    soon(ben.sync_now()).await.unwrap();
    ben.collection("notes").unwrap().put("n", &text("Ben's")).await.unwrap();
    soon(ben.sync_now()).await.unwrap();
    soon(ann.sync_now()).await.unwrap();
    let error = notes.replace_if(&settled, &text("fourth")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Superseded, "{error}");
    let read = notes.get("n").await.unwrap().unwrap();
    assert_eq!(read.value(), "Ben's");
    notes.delete("n").await.unwrap();
    let error = notes.replace_if(&read, &text("fifth")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test]
async fn a_transaction_with_a_document_that_moved_writes_nothing() {
    let replica = memory().await;
    let notes = replica.collection::<String>("notes").unwrap();
    let read = notes.insert_with_id("n", &text("first")).await.unwrap();
    let commit = async |id: &str| {
        let mut transaction = replica.transaction();
        transaction.put(&notes, id, &text("beside")).unwrap();
        transaction.replace_if(&notes, &read, &text(id)).unwrap();
        transaction.commit().await
    };
    commit("a").await.unwrap();
    assert_eq!(commit("b").await.unwrap_err().kind(), ErrorKind::Superseded);
    let found = notes.get_many(["a", "b", "n"]).await.unwrap();
    let found: Vec<_> = found.iter().map(|d| d.as_ref().map(|d| d.value().as_str())).collect();
    assert_eq!(found, [Some("beside"), None, Some("a")]);
}

async fn count_to(counts: Collection<u64>, times: usize) {
    for _ in 0..times {
        counts.modify("n", |n| *n += 1).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_from_several_handles_are_all_made() {
    let replica = memory().await;
    let counts = replica.collection::<u64>("counts").unwrap();
    assert_eq!(counts.modify("n", |n| *n += 1).await.unwrap_err().kind(), ErrorKind::NotFound);
    counts.put("n", &0).await.unwrap();
    let tasks: Vec<_> = (0..4).map(|_| tokio::spawn(count_to(counts.clone(), 50))).collect();
    for task in tasks {
        soon(task).await.unwrap();
    }
    assert_eq!(*counts.get("n").await.unwrap().unwrap().value(), 200);
}

#[cfg(feature = "sqlite")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_from_two_replicas_over_one_file_are_all_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("counts.db");
    let open = || Replica::builder().sqlite(&path).open();
    let (first, second) = (open().await.unwrap(), open().await.unwrap());
    let counts = |replica: &Replica| replica.collection::<u64>("counts").unwrap();
    counts(&first).put("n", &0).await.unwrap();
    let tasks = [&first, &second].map(|r| tokio::spawn(count_to(counts(r), 25)));
    for task in tasks {
        soon(task).await.unwrap();
    }
    for replica in [first, second] {
        assert_eq!(*counts(&replica).get("n").await.unwrap().unwrap().value(), 50);
        replica.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_closure_is_called_again_with_what_was_written_in_between() {
    let replica = memory().await;
    let counts = replica.collection::<u64>("counts").unwrap();
    counts.put("n", &1).await.unwrap();
    let mut seen = Vec::new();
    let done = counts.modify("n", |n| {
        seen.push(*n);
        if seen.len() == 1 {
            let (other, runtime) = (counts.clone(), tokio::runtime::Handle::current());
            tokio::task::block_in_place(|| runtime.block_on(other.put("n", &10))).unwrap();
        }
        *n += 1;
    });
    assert_eq!(*soon(done).await.unwrap().value(), 11);
    assert_eq!(seen, [1, 10]);
}

#[tokio::test]
async fn many_documents_are_inserted_across_chunks_and_counted_without_deleted_ones() {
    let replica = memory().await;
    let counts = replica.collection::<usize>("counts").unwrap();
    for size in [0, 1, 255, 256, 257, 600] {
        let before = counts.count().await.unwrap();
        let ids = counts.insert_many(0..size).await.unwrap();
        assert_eq!(ids.len(), size);
        assert_eq!(counts.count().await.unwrap(), before + size as u64);
        let found = counts.get_many(&ids).await.unwrap();
        let values: Vec<_> = found.into_iter().map(|d| d.unwrap().into_value()).collect();
        assert_eq!(values, (0..size).collect::<Vec<_>>(), "in the order of the values");
        for id in ids.iter().step_by(2) {
            counts.delete(id).await.unwrap();
        }
        assert_eq!(counts.count().await.unwrap(), before + size as u64 / 2);
    }
    // Other collections do not count. Values may be borrowed.
    replica
        .collection::<String>("others")
        .unwrap()
        .insert_many(&[text("a"), text("b")])
        .await
        .unwrap();
    assert_eq!(counts.count().await.unwrap(), 683);
    // Two of these are over 64 KiB: each is inserted in a separate transaction.
    let large = vec!["x".repeat(40_000); 5];
    assert_eq!(
        replica.collection::<String>("large").unwrap().insert_many(&large).await.unwrap().len(),
        5
    );
}

#[tokio::test]
async fn transactions_fit_the_limits_of_the_server() {
    let mut options = ServerOptions::default();
    options.body_bytes = 100;
    options.push_limits = Limits { documents: 10, bytes: 1 << 20 };
    let server = server_with_options(Hooks::default(), options);
    let replica = builder(&server, 1).open().await.unwrap();
    soon(replica.sync_now()).await.unwrap();
    let notes = replica.collection::<String>("notes").unwrap();
    let ids = notes.insert_many((0..300).map(|n| n.to_string())).await.unwrap();
    assert_eq!((ids.len(), notes.count().await.unwrap()), (300, 300));
    soon(replica.sync_now()).await.unwrap();
    // The error states how many documents were inserted. They stay.
    let values = ["small".to_owned(), "y".repeat(200), "small".to_owned()];
    let error = notes.insert_many(&values).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.context().any(|told| told == ("inserted", "1")), "{error}");
    assert_eq!(notes.count().await.unwrap(), 301);
}

#[tokio::test]
async fn all_documents_are_a_stream_over_pages() {
    let replica = memory().await;
    let counts = replica.collection::<u32>("counts").unwrap();
    let ids = counts.insert_many(0..700).await.unwrap();
    counts.delete(&ids[300]).await.unwrap();
    let all: Vec<_> = soon(counts.documents().try_collect()).await.unwrap();
    assert_eq!(all.len(), 699);
    assert!(all.iter().map(Document::id).is_sorted());
    // A document of another type does not hide those after it.
    let raw = replica.raw("counts").unwrap();
    raw.put(&ids[5], &Body::parse("\"no number\"").unwrap()).await.unwrap();
    let mut documents = counts.documents();
    let (mut read, mut unreadable) = (0, 0);
    while let Some(document) = soon(documents.next()).await {
        match document {
            Ok(_) => read += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::InvalidInput);
                assert!(error.to_string().contains(&ids[5]), "{error}");
                unreadable += 1;
            }
        }
    }
    assert_eq!((read, unreadable), (698, 1));
    let page = counts.scan(None, 1_000).await.unwrap();
    assert_eq!(page.documents.len(), 698);
    assert_eq!(page.unreadable.iter().map(|u| u.id.as_str()).collect::<Vec<_>>(), [&ids[5]]);
    assert_eq!(page.unreadable[0].error.kind(), ErrorKind::InvalidInput);
    assert!(documents.next().await.is_none(), "the end stays");
}

/// An incomplete list must not look complete.
#[tokio::test]
async fn a_list_of_a_closed_replica_returns_an_error_and_ends() {
    let replica = memory().await;
    let counts = replica.collection::<u32>("counts").unwrap();
    counts.insert_many(0..300).await.unwrap();
    let mut documents = counts.documents();
    assert!(documents.next().await.unwrap().is_ok());
    replica.close().await.unwrap();
    let rest = async {
        let mut ends = Vec::new();
        while let Some(document) = documents.next().await {
            ends.extend(document.err().map(|error| error.kind()));
        }
        ends
    };
    assert_eq!(soon(rest).await, [ErrorKind::Closed]);
}
