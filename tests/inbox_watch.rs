//! Watches of the conflict inbox and of the quarantine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt;
use support::{builder, positive_server, soon};
use twotide::prelude::*;
use twotide::server::Server;
use twotide::{InboxEvent, InboxWatch, QuarantinedEdit, WaitingConflict};

async fn asking(server: &Server, id: u8) -> Replica {
    let defers = resolve_with("ask", |_| Ok(Resolution::Defer));
    builder(server, id).resolver(defers).open().await.unwrap()
}

async fn put(replica: &Replica, ids: &[&str], n: i64) {
    let counts = replica.collection::<i64>("counts").unwrap();
    let mut transaction = replica.transaction();
    for id in ids {
        transaction.put(&counts, id, &n).unwrap();
    }
    transaction.commit().await.unwrap();
}

/// Both replicas edit these documents, and ben receives the conflicts.
async fn quarrel(ann: &Replica, ben: &Replica, ids: &[&str], n: i64) {
    put(ann, ids, n).await;
    put(ben, ids, n + 1_000).await;
    soon(ann.sync_now()).await.unwrap();
    soon(ben.sync_now()).await.unwrap();
}

/// The state of a watch's reader: the text of each entry by document.
#[derive(Debug, Default)]
struct Picture {
    entries: BTreeMap<String, Vec<String>>,
    told: Vec<&'static str>,
}

impl Picture {
    async fn catch_up<T: std::fmt::Debug + Send + Unpin + 'static>(
        &mut self,
        watch: &mut InboxWatch<T>,
        shown: impl Fn(&T) -> (String, String),
        many: bool,
    ) {
        self.told.clear();
        while let Some(event) = soon(watch.next_ready()).await.unwrap() {
            match event {
                InboxEvent::Current(entry) | InboxEvent::Changed(entry) => {
                    self.told.push("entry");
                    let (id, text) = shown(&entry);
                    let of_it = self.entries.entry(id).or_default();
                    if !many {
                        of_it.clear();
                    }
                    of_it.push(text);
                }
                InboxEvent::Complete => self.told.push("complete"),
                InboxEvent::Removed(key) => {
                    self.told.push("removed");
                    self.entries.remove(key.id.as_str());
                }
                InboxEvent::Resync => {
                    self.told.push("resync");
                    self.entries.clear();
                }
                other => panic!("nobody said what this means: {other:?}"),
            }
        }
    }

    async fn conflicts(&mut self, watch: &mut InboxWatch<WaitingConflict>) {
        self.catch_up(watch, conflict, false).await;
    }

    async fn refused(&mut self, watch: &mut InboxWatch<QuarantinedEdit>) {
        self.catch_up(watch, refused, true).await;
    }
}

fn conflict(conflict: &WaitingConflict) -> (String, String) {
    let text = |body: &Option<Body>| body.as_ref().map_or("-", |b| b.as_str()).to_owned();
    let sides = format!("{}|{}", text(&conflict.local), text(&conflict.remote));
    (conflict.key.id.as_str().to_owned(), sides)
}

fn refused(edit: &QuarantinedEdit) -> (String, String) {
    let body = edit.body.as_ref().map_or("-", |b| b.as_str());
    (edit.key.id.as_str().to_owned(), body.to_owned())
}

/// The inbox as its list returns it, in the form of a picture.
async fn listed(replica: &Replica) -> BTreeMap<String, Vec<String>> {
    let (mut found, mut next) = (BTreeMap::new(), None);
    loop {
        let page = replica.conflicts().list(next.as_ref(), 1_000).await.unwrap();
        let entries = page.entries.iter().map(conflict);
        found.extend(entries.map(|(id, text)| (id, vec![text])));
        next = page.next;
        if next.is_none() {
            return found;
        }
    }
}

#[tokio::test]
async fn waiting_conflicts_are_reported_first_and_then_their_changes() {
    let server = positive_server();
    let (ann, ben) = (asking(&server, 1).await, asking(&server, 2).await);
    quarrel(&ann, &ben, &["a", "b"], 1).await;
    let (mut watch, mut picture) = (ben.conflicts().watch(), Picture::default());
    picture.conflicts(&mut watch).await;
    assert_eq!(picture.told, ["entry", "entry", "complete"]);
    assert_eq!(picture.entries, listed(&ben).await);
    picture.conflicts(&mut watch).await;
    assert!(picture.told.is_empty(), "everything was told: {picture:?}");

    // A change outside the inbox is not reported, and causes no read of the inbox.
    put(&ben, &["other"], 5).await;
    picture.conflicts(&mut watch).await;
    assert!(picture.told.is_empty(), "{picture:?}");

    // Another conflict, a new state of the server, a new local edit, and a decision: each once.
    quarrel(&ann, &ben, &["aa"], 2).await;
    put(&ann, &["a"], 7).await;
    soon(ann.sync_now()).await.unwrap();
    soon(ben.sync_now()).await.unwrap();
    put(&ben, &["a"], 8).await;
    put(&ben, &["a"], 9).await;
    ben.conflicts().resolve("counts", "b", Resolution::Local).await.unwrap();
    picture.conflicts(&mut watch).await;
    assert_eq!(picture.told, ["entry", "entry", "removed"]);
    assert_eq!(picture.entries, listed(&ben).await);
    assert_eq!(picture.entries["a"], ["9|7"]);

    // A conflict that arrived and was decided between two reads is not reported.
    quarrel(&ann, &ben, &["c"], 3).await;
    ben.conflicts().resolve("counts", "c", Resolution::Remote).await.unwrap();
    picture.conflicts(&mut watch).await;
    assert!(picture.told.is_empty(), "{picture:?}");

    let waits = tokio::spawn(async move { watch.next().await });
    ben.conflicts().resolve("counts", "a", Resolution::Remote).await.unwrap();
    let event = soon(waits).await.unwrap().unwrap().unwrap();
    assert!(matches!(event, InboxEvent::Removed(key) if key.id.as_str() == "a"));
}

#[tokio::test]
async fn refused_edits_are_watched_likewise() {
    let server = positive_server();
    let ann = asking(&server, 1).await;
    let (mut watch, mut picture) = (ann.quarantine().watch(), Picture::default());
    picture.refused(&mut watch).await;
    assert_eq!(picture.told, ["complete"]);
    for n in [-1, -2] {
        put(&ann, &["a"], n).await;
        put(&ann, &["b"], n).await;
        soon(ann.sync_now()).await.unwrap();
    }
    picture.refused(&mut watch).await;
    assert_eq!(picture.entries["a"], ["-1", "-2"], "the oldest first");
    assert_eq!(picture.entries["b"], ["-1", "-2"]);
    ann.quarantine().discard("counts", "b").await.unwrap();
    ann.quarantine().retry("counts", "a").await.unwrap();
    soon(ann.sync_now()).await.unwrap();
    picture.refused(&mut watch).await;
    assert_eq!(picture.entries, BTreeMap::from([("a".to_owned(), vec!["-2".to_owned()])]));
    ann.close().await.unwrap();
    let end = soon(watch.collect::<Vec<_>>()).await;
    assert_eq!(end.len(), 0, "it ends without an error");
}

#[tokio::test]
async fn a_watch_ends_with_the_same_list_after_more_conflicts_than_it_keeps() {
    let server = positive_server();
    let (ann, ben) = (asking(&server, 1).await, asking(&server, 2).await);
    let ids: Vec<String> = (0..5_000).map(|n| format!("{n:04}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let (mut watch, mut picture) = (ben.conflicts().watch(), Picture::default());
    picture.conflicts(&mut watch).await;
    for part in ids.chunks(1_000) {
        put(&ann, part, 1).await;
        put(&ben, part, 2).await;
    }
    soon(ann.sync_now()).await.unwrap();
    soon(ben.sync_now()).await.unwrap();
    picture.conflicts(&mut watch).await;
    let wanted = listed(&ben).await;
    assert_eq!((wanted.len(), &picture.entries), (5_000, &wanted));
    for id in ["0000", "2500", "4999"] {
        ben.conflicts().resolve("counts", id, Resolution::Remote).await.unwrap();
    }
    picture.conflicts(&mut watch).await;
    assert_eq!((picture.told[0], picture.entries.len()), ("resync", 4_997));
    assert_eq!(picture.entries, listed(&ben).await);
    for id in &ids[1..1_500] {
        ben.conflicts().resolve("counts", id, Resolution::Remote).await.unwrap();
    }
    picture.conflicts(&mut watch).await;
    assert_eq!(picture.entries, listed(&ben).await);
    // Once the changes fit, they are reported one by one again.
    ben.conflicts().resolve("counts", "3000", Resolution::Local).await.unwrap();
    picture.conflicts(&mut watch).await;
    assert_eq!(picture.told, ["removed"]);
    assert_eq!(picture.entries, listed(&ben).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_with_concurrent_decisions_ends_with_the_same_list() {
    let server = positive_server();
    let (ann, ben) = (asking(&server, 1).await, asking(&server, 2).await);
    let ids: Vec<String> = (0..600).map(|n| format!("{n:04}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    quarrel(&ann, &ben, &ids, 1).await;
    let mut watch = ben.conflicts().watch();
    let reading = tokio::spawn(async move {
        let mut picture = Picture::default();
        while !picture.entries.contains_key("the end") {
            picture.conflicts(&mut watch).await;
            tokio::task::yield_now().await;
        }
        picture
    });
    for (n, id) in ids.iter().enumerate() {
        match n % 3 {
            0 => ben.conflicts().resolve("counts", id, Resolution::Remote).await.unwrap(),
            1 => put(&ben, &[id], 99).await,
            _ => {}
        }
    }
    quarrel(&ann, &ben, &["the end"], 2).await;
    assert_eq!(soon(reading).await.unwrap().entries, listed(&ben).await);
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn decisions_of_another_process_are_reported() {
    let server = positive_server();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shared.db");
    let ann = asking(&server, 1).await;
    let defers = resolve_with("ask", |_| Ok(Resolution::Defer));
    let transport = Arc::new(server.in_process());
    let syncs = Replica::builder().sqlite(&path).transport(transport).resolver(defers);
    let (syncs, looks) =
        (syncs.open().await.unwrap(), Replica::builder().sqlite(&path).open().await.unwrap());
    let mut watch = looks.conflicts().watch();
    assert!(matches!(soon(watch.next()).await.unwrap().unwrap(), InboxEvent::Complete));
    quarrel(&ann, &syncs, &["a"], 1).await;
    assert!(matches!(soon(watch.next()).await.unwrap().unwrap(), InboxEvent::Changed(_)));
    syncs.conflicts().resolve("counts", "a", Resolution::Local).await.unwrap();
    assert!(matches!(soon(watch.next()).await.unwrap().unwrap(), InboxEvent::Removed(_)));
    syncs.close().await.unwrap();
    looks.close().await.unwrap();
}
