//! A type that changes over time: old documents are upgraded wherever they come from.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use support::{builder, server, soon};
use twotide::backend::kv::{KvOptions, MemoryKv, open_replica};
use twotide::backend::model::ReplicaId;
use twotide::prelude::*;
use twotide::{Collection, ReplicaBuilder};

#[derive(Debug, Serialize, Deserialize)]
struct First {
    text: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Third {
    title: String,
    lines: Vec<String>,
}

fn third(title: &str, line: &str) -> Third {
    Third { title: title.to_owned(), lines: vec![line.to_owned()] }
}

fn third_version(builder: ReplicaBuilder) -> ReplicaBuilder {
    builder.versioned("notes", 3, |version, body| {
        assert_eq!(version, 0);
        let First { text } = body.to()?;
        Body::from_value(&third("", &text))
    })
}

fn notes_of(replica: &Replica) -> Collection<Third> {
    replica.collection("notes").unwrap()
}

#[tokio::test]
async fn old_documents_of_all_replicas_are_upgraded_when_they_are_read() {
    let server = server();
    let old = builder(&server, 1).open().await.unwrap();
    let kv = Arc::new(MemoryKv::default());
    let open = || {
        let storage = open_replica(kv.clone(), ReplicaId([2; 16]), KvOptions::default()).unwrap();
        Replica::builder().storage(Arc::new(storage)).transport(Arc::new(server.in_process()))
    };
    let first = |text: &str| First { text: text.to_owned() };
    old.collection::<First>("notes").unwrap().put("theirs", &first("a")).await.unwrap();
    // The app was updated while an edit of it waited in the outbox.
    let new = open().open().await.unwrap();
    new.collection::<First>("notes").unwrap().put("own", &first("b")).await.unwrap();
    new.close().await.unwrap();
    let new = third_version(open()).open().await.unwrap();
    let notes = notes_of(&new);
    let mut changes = new.changes_after(0);
    let change = soon(changes.next()).await.unwrap().unwrap();
    assert_eq!(notes.document_of(&change).unwrap().unwrap().value(), &third("", "b"));
    assert_eq!(change.document::<Third>().unwrap().unwrap().value(), &third("", "b"));
    soon(old.sync_now()).await.unwrap();
    soon(new.sync_now()).await.unwrap();
    let page = notes.scan(None, 10).await.unwrap();
    let found: Vec<_> = page.documents.iter().map(|d| (d.id(), d.value().clone())).collect();
    assert_eq!(found, [("own", third("", "b")), ("theirs", third("", "a"))]);

    // What is written has the new version, and is read as it is.
    let written = notes.put("theirs", &third("t", "c")).await.unwrap();
    assert_eq!(written.value(), &third("t", "c"));
    let mut transaction = new.transaction();
    transaction.insert_with_id(&notes, "more", &third("u", "d")).unwrap();
    transaction.commit().await.unwrap();
    let raw = new.raw("notes").unwrap();
    for id in ["theirs", "more"] {
        let body = raw.get(id).await.unwrap().unwrap();
        assert!(body.value().as_str().starts_with(r#"{"_version":3,"#), "{body:?}");
        assert!(notes.get(id).await.unwrap().is_some());
    }
    // Reading wrote nothing.
    assert_eq!(raw.get("own").await.unwrap().unwrap().value().as_str(), r#"{"text":"b"}"#);
}

/// Every way to read a document uses the one declaration.
#[tokio::test]
async fn no_second_handle_skips_the_versions() {
    let server = server();
    let replica = third_version(builder(&server, 1)).open().await.unwrap();
    let raw = replica.raw("notes").unwrap();
    raw.put("n", &Body::parse(r#"{"text":"old"}"#).unwrap()).await.unwrap();
    let old = third("", "old");
    for notes in [notes_of(&replica), notes_of(&replica).clone(), notes_of(&replica.clone())] {
        assert_eq!(notes.get("n").await.unwrap().unwrap().value(), &old);
        assert_eq!(notes.get_many(["n"]).await.unwrap()[0].as_ref().unwrap().value(), &old);
        assert_eq!(soon(notes.documents().next()).await.unwrap().unwrap().value(), &old);
        assert_eq!(notes.decode(raw.get("n").await.unwrap().unwrap().value()).unwrap(), old);
        let mut watch = notes.watch("n").unwrap();
        assert_eq!(soon(watch.next()).await.unwrap().unwrap().unwrap().value(), &old);
        let stored = notes.encode(&old).unwrap();
        assert!(stored.as_str().starts_with(r#"{"_version":3,"#), "{stored:?}");
    }
    let ids = notes_of(&replica).insert_many([third("many", "x")]).await.unwrap();
    let changed = notes_of(&replica).modify("n", |note| note.title = "new".to_owned()).await;
    assert_eq!(changed.unwrap().value(), &third("new", "old"));
    for id in [&ids[0], "n"] {
        let body = raw.get(id).await.unwrap().unwrap();
        assert!(body.value().as_str().starts_with(r#"{"_version":3,"#), "{body:?}");
    }
    let bad = Replica::builder().memory().versioned("", 1, |_, body| Ok(body.clone()));
    assert_eq!(bad.open().await.unwrap_err().kind(), ErrorKind::InvalidInput);
}

/// A merge that an app makes of two versions has the current version.
#[tokio::test]
async fn a_merge_of_the_inbox_is_of_the_current_version() {
    let server = server();
    let old = builder(&server, 1).open().await.unwrap();
    let defers = resolve_with("ask", |_| Ok(Resolution::Defer));
    let new = third_version(builder(&server, 2)).resolver(defers).open().await.unwrap();
    let first = First { text: "theirs".to_owned() };
    old.collection::<First>("notes").unwrap().put("n", &first).await.unwrap();
    let notes = notes_of(&new);
    notes.put("n", &third("", "ours")).await.unwrap();
    soon(old.sync_now()).await.unwrap();
    soon(new.sync_now()).await.unwrap();
    let conflict = new.conflicts().get("notes", "n").await.unwrap().unwrap();
    let remote = notes.decode(&conflict.remote.unwrap()).unwrap();
    let mut merged = notes.decode(&conflict.local.unwrap()).unwrap();
    merged.lines.extend(remote.lines);
    let body = Body::from_value(&merged).unwrap();
    new.conflicts().resolve("notes", "n", Resolution::Merge(body)).await.unwrap();
    assert_eq!(notes.get("n").await.unwrap().unwrap().value().lines, ["ours", "theirs"]);
}

#[tokio::test]
async fn an_app_that_is_too_old_gets_an_error_that_names_the_document() {
    let server = server();
    let ann = third_version(builder(&server, 1)).open().await.unwrap();
    notes_of(&ann).put("n", &third("t", "x")).await.unwrap();
    soon(ann.sync_now()).await.unwrap();
    let second = builder(&server, 2).versioned("notes", 2, |_, body| Ok(body.clone()));
    let second = second.open().await.unwrap();
    soon(second.sync_now()).await.unwrap();
    let error = second.collection::<First>("notes").unwrap().get("n").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(error.to_string().contains("document n"), "{error}");
    let bad = Body::parse(r#"{"other":1}"#).unwrap();
    ann.raw("notes").unwrap().put("bad", &bad).await.unwrap();
    assert_eq!(notes_of(&ann).get("bad").await.unwrap_err().kind(), ErrorKind::InvalidInput);
    let other = ann.collection::<Third>("others").unwrap();
    let change = soon(ann.changes_after(0).next()).await.unwrap().unwrap();
    assert_eq!(other.document_of(&change).unwrap_err().kind(), ErrorKind::InvalidInput);
}
