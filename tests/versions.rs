//! A type that changes over time: old documents are upgraded wherever they come from.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use serde::{Deserialize, Serialize};
use support::{builder, server, soon};
use twotide::Collection;
use twotide::prelude::*;

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

fn upgraded(replica: &Replica) -> Collection<Third> {
    replica.collection::<Third>("notes").unwrap().versioned(3, |version, body| {
        assert_eq!(version, 0);
        let First { text } = body.to()?;
        Body::from_value(&third("", &text))
    })
}

#[tokio::test]
async fn old_documents_of_ones_own_and_of_others_are_upgraded_when_they_are_read() {
    let server = server();
    let old = builder(&server, 1).open().await.unwrap();
    let new = builder(&server, 2).open().await.unwrap();
    let first = |text: &str| First { text: text.to_owned() };
    old.collection::<First>("notes").unwrap().put("theirs", &first("a")).await.unwrap();
    // The app was updated while an edit of it waited in the outbox.
    new.collection::<First>("notes").unwrap().put("own", &first("b")).await.unwrap();
    let notes = upgraded(&new);
    let mut changes = new.changes_after(0);
    let change = soon(changes.next()).await.unwrap().unwrap();
    assert_eq!(notes.document_of(&change).unwrap().unwrap().value(), &third("", "b"));
    soon(old.sync_now()).await.unwrap();
    soon(new.sync_now()).await.unwrap();
    let page = notes.scan(None, 10).await.unwrap();
    let found: Vec<_> = page.documents.iter().map(|d| (d.id(), d.value().clone())).collect();
    assert_eq!(found, [("own", third("", "b")), ("theirs", third("", "a"))]);

    // What is written is of the new version, and read as it is.
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
    // Nothing was written by reading.
    assert_eq!(raw.get("own").await.unwrap().unwrap().value().as_str(), r#"{"text":"b"}"#);
}

#[tokio::test]
async fn an_app_that_is_too_old_says_so_and_what_fails_names_the_document() {
    let server = server();
    let replica = builder(&server, 1).open().await.unwrap();
    upgraded(&replica).put("n", &third("t", "x")).await.unwrap();
    let second = replica.collection::<First>("notes").unwrap().versioned(2, |_, b| Ok(b.clone()));
    let error = second.get("n").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(error.to_string().contains("document n"), "{error}");
    replica
        .raw("notes")
        .unwrap()
        .put("bad", &Body::parse(r#"{"other":1}"#).unwrap())
        .await
        .unwrap();
    assert_eq!(upgraded(&replica).get("bad").await.unwrap_err().kind(), ErrorKind::InvalidInput);
    let other = replica.collection::<Third>("others").unwrap();
    let change = soon(replica.changes_after(0).next()).await.unwrap().unwrap();
    assert_eq!(other.document_of(&change).unwrap_err().kind(), ErrorKind::InvalidInput);
}
