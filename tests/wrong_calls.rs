//! Calls that cannot succeed fail at once, with an error that states what to do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use std::sync::Arc;

use support::{builder, server, soon};
use twotide::backend::kv::{KvOptions, MemoryKv, open_server};
use twotide::backend::model::{Collection as Name, DocumentId, Limits};
use twotide::prelude::*;
use twotide::server::{Server, ServerOptions};
use twotide::{ReplicaBuilder, ReplicaConfig, ResolveOn, Strategy};

async fn lonely() -> Replica {
    Replica::builder().memory().open().await.unwrap()
}

#[track_caller]
fn says(error: &Error, kind: ErrorKind, words: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    let told = error.to_string();
    assert!(words.iter().all(|word| told.contains(word)), "{told}");
}

fn body(length: usize) -> Body {
    Body::from_value(&"x".repeat(length - 2)).unwrap()
}

#[tokio::test]
async fn an_invalid_name() {
    let replica = lonely().await;
    let notes = replica.raw("notes").unwrap();
    let (longest, too_long) =
        ("i".repeat(DocumentId::MAX_BYTES), "i".repeat(DocumentId::MAX_BYTES + 1));
    notes.put(&longest, &body(10)).await.unwrap();
    let most = format!("{} is the most", DocumentId::MAX_BYTES);
    for error in [
        notes.put(&too_long, &body(10)).await.unwrap_err(),
        notes.insert_with_id(&too_long, &body(10)).await.unwrap_err(),
        notes.update(&too_long, &body(10)).await.unwrap_err(),
        notes.delete(&too_long).await.unwrap_err(),
        notes.get(&too_long).await.unwrap_err(),
        notes.scan(Some(&too_long), 10).await.unwrap_err(),
        replica.transaction().put(&notes, &too_long, &body(10)).unwrap_err(),
    ] {
        says(&error, ErrorKind::InvalidInput, &["document id", &most]);
    }
    let bad = notes.put("line\nbreak", &body(10)).await.unwrap_err();
    says(&bad, ErrorKind::InvalidInput, &["document id", "U+000A"]);
    for (name, why) in
        [(String::new(), "it is empty"), ("c".repeat(Name::MAX_BYTES + 1), "is the most")]
    {
        let error = replica.raw(&name).unwrap_err();
        says(&error, ErrorKind::InvalidInput, &["collection", why]);
        let error = Replica::builder().memory().scope(&name).open().await.unwrap_err();
        says(&error, ErrorKind::InvalidInput, &["scope"]);
    }
}

#[tokio::test]
async fn a_body_over_the_limit() {
    let replica = lonely().await;
    let notes = replica.raw("notes").unwrap();
    notes.put("largest", &body(Limits::BODY_BYTES)).await.unwrap();
    let error = notes.put("n", &body(Limits::BODY_BYTES + 1)).await.unwrap_err();
    says(&error, ErrorKind::InvalidInput, &["1048577", "1048576"]);
    assert!(notes.get("n").await.unwrap().is_none());
}

#[tokio::test]
async fn a_body_and_a_transaction_over_the_limits_of_the_server() {
    let mut options = ServerOptions::default();
    options.body_bytes = 100;
    options.push_limits = Limits { documents: 2, bytes: 1 << 20 };
    let storage = open_server(Arc::new(MemoryKv::default()), KvOptions::default()).unwrap();
    let server = Server::builder(Arc::new(storage)).options(options).build();
    let replica = builder(&server, 1).open().await.unwrap();
    let notes = replica.raw("notes").unwrap();
    soon(replica.sync_now()).await.unwrap();
    notes.put("largest", &body(100)).await.unwrap();
    let error = notes.put("n", &body(101)).await.unwrap_err();
    says(&error, ErrorKind::InvalidInput, &["notes/n", "101", "100 is the most"]);
    let mut transaction = replica.transaction();
    for n in 0..3 {
        transaction.put(&notes, n.to_string(), &body(10)).unwrap();
    }
    says(&transaction.commit().await.unwrap_err(), ErrorKind::InvalidInput, &["3", "limit of 2"]);
    soon(replica.sync_now()).await.unwrap();
    assert_eq!(replica.sync_state("notes", "largest").await.unwrap().as_str(), "synced");
}

#[tokio::test]
async fn a_transaction_over_the_limit() {
    let replica = lonely().await;
    let notes = replica.raw("notes").unwrap();
    let mut transaction = replica.transaction();
    for n in 0..=Limits::PUSH.documents {
        transaction.put(&notes, n.to_string(), &body(10)).unwrap();
    }
    let error = transaction.commit().await.unwrap_err();
    says(&error, ErrorKind::InvalidInput, &["1001", "1000"]);
    assert!(notes.scan(None, 10).await.unwrap().documents.is_empty());
}

#[tokio::test]
async fn a_replica_that_was_closed() {
    let replica = builder(&server(), 1).open().await.unwrap();
    let notes = replica.raw("notes").unwrap();
    notes.put("n", &body(10)).await.unwrap();
    let mut changes = replica.changes().await.unwrap();
    replica.close().await.unwrap();
    let mut transaction = replica.transaction();
    transaction.put(&notes, "m", &body(10)).unwrap();
    for error in [
        notes.put("n", &body(10)).await.unwrap_err(),
        notes.get("n").await.unwrap_err(),
        notes.scan(None, 10).await.unwrap_err(),
        transaction.commit().await.unwrap_err(),
        replica.state().await.unwrap_err(),
        replica.reset().await.unwrap_err(),
        replica.changes().await.unwrap_err(),
        soon(replica.start()).await.unwrap_err(),
        soon(replica.sync_now()).await.unwrap_err(),
        soon(replica.push()).await.unwrap_err(),
    ] {
        says(&error, ErrorKind::Closed, &["closed"]);
    }
    assert!(soon(changes.next()).await.is_none(), "streams end, and without an error");
    assert!(soon(replica.status().wait_for(|_| false)).await.is_err());
    // Cleaning up twice is no error.
    replica.stop().await;
    replica.close().await.unwrap();
}

#[tokio::test]
async fn a_sync_without_a_server_or_without_a_start() {
    let replica = lonely().await;
    for error in [
        replica.start().await.unwrap_err(),
        replica.sync_now().await.unwrap_err(),
        replica.pull().await.unwrap_err(),
    ] {
        says(&error, ErrorKind::InvalidInput, &["without a server"]);
    }
    let error = replica.wait_until_in_sync().await.unwrap_err();
    says(&error, ErrorKind::InvalidInput, &["was not started"]);
    let error = Replica::builder().memory().auto_start(true).open().await.unwrap_err();
    says(&error, ErrorKind::InvalidInput, &["without a server"]);
}

#[tokio::test]
async fn an_invalid_address() {
    let error = Replica::builder().open().await.unwrap_err();
    says(&error, ErrorKind::InvalidInput, &["needs a storage"]);
    let error = Replica::builder().storage_url("redis:x").open().await.unwrap_err();
    says(&error, ErrorKind::InvalidInput, &["redis:x", "memory:"]);
    let error = Replica::builder().memory().server("ftp://host").open().await.unwrap_err();
    says(&error, ErrorKind::InvalidInput, &["ftp://host", "there is"]);
    // A later valid call replaces an invalid one.
    Replica::builder().storage_url("redis:x").memory().scope("").scope("s").open().await.unwrap();
}

#[tokio::test]
async fn a_document_that_is_not_there_or_there_already() {
    let replica = lonely().await;
    let notes = replica.raw("notes").unwrap();
    for error in
        [notes.update("n", &body(10)).await.unwrap_err(), notes.delete("n").await.unwrap_err()]
    {
        says(&error, ErrorKind::NotFound, &["n"]);
    }
    notes.put("n", &body(10)).await.unwrap();
    let error = notes.insert_with_id("n", &body(10)).await.unwrap_err();
    says(&error, ErrorKind::AlreadyExists, &["n"]);
    let numbers = replica.collection::<u64>("notes").unwrap();
    says(&numbers.get("n").await.unwrap_err(), ErrorKind::InvalidInput, &["document n"]);
}

/// The other process of the test below: the same program, with the folder to open.
#[cfg(feature = "sled")]
const OPEN: &str = "TWOTIDE_TEST_OPENS";

#[cfg(feature = "sled")]
#[tokio::test]
async fn a_second_process_on_a_folder_of_sled() {
    if let Some(folder) = std::env::var_os(OPEN) {
        let error = Replica::builder().sled(&folder).open().await.unwrap_err();
        says(&error, ErrorKind::Busy, &["sled allows one process", &folder.to_string_lossy()]);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("notes.sled");
    let replica = Replica::builder().sled(&folder).open().await.unwrap();
    replica.raw("notes").unwrap().put("n", &body(10)).await.unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "a_second_process_on_a_folder_of_sled"]).env(OPEN, &folder);
    let ended = tokio::task::spawn_blocking(move || child.output()).await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success() && told.contains("1 passed"), "{told}");
    replica.close().await.unwrap();
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn a_second_sync_of_one_file() {
    let server = server();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes.db");
    let open = |holder: &str| {
        let transport = Arc::new(server.in_process());
        Replica::builder().sqlite(&file).transport(transport).holder(holder).open()
    };
    let (first, second) = (open("the first").await.unwrap(), open("the second").await.unwrap());
    first.start().await.unwrap();
    for error in [
        soon(second.start()).await.unwrap_err(),
        soon(second.sync_now()).await.unwrap_err(),
        soon(second.reset()).await.unwrap_err(),
    ] {
        says(&error, ErrorKind::Busy, &["the first"]);
    }
    second.raw("notes").unwrap().put("n", &body(10)).await.unwrap();
    first.stop().await;
    soon(second.sync_now()).await.unwrap();
}

#[tokio::test]
async fn an_unknown_collection() {
    let builder = Replica::builder().memory().allowed_collections(["notes"]).collections(["tags"]);
    let replica = builder.local_only(["drafts"]).open().await.unwrap();
    for name in ["notes", "tags", "drafts"] {
        replica.raw(name).unwrap();
    }
    let error = replica.raw("note").unwrap_err();
    says(&error, ErrorKind::InvalidInput, &["`note`", "drafts, notes, tags", "known"]);
    // Without the list every name is a collection.
    lonely().await.raw("note").unwrap();
}

#[tokio::test]
async fn invalid_collections_of_resolvers_are_errors_when_the_replica_is_opened() {
    for builder in [
        Replica::builder().memory().resolver_for("two\nlines", ServerWins),
        Replica::builder().memory().resolve_on("two\nlines", ResolveOn::Server),
        // A valid name of another option does not hide it.
        Replica::builder().memory().collections(["two\nlines"]).local_only(["drafts"]),
    ] {
        let error = builder.open().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
    // A later call of the same option replaces it.
    let builder = Replica::builder().memory().collections(["two\nlines"]).collections(["notes"]);
    builder.open().await.unwrap().close().await.unwrap();
}

#[tokio::test]
async fn a_resolver_of_one_collection_may_come_before_or_after_everything_else() {
    type Order = fn(ReplicaBuilder) -> ReplicaBuilder;
    let orders: [Order; 4] = [
        |b| b.resolver_for("ours", ClientWins).resolver(ServerWins).collections(["ours", "theirs"]),
        |b| b.collections(["ours", "theirs"]).resolver(ServerWins).resolver_for("ours", ClientWins),
        |b| b.resolver_for("ours", ClientWins).strategy(Strategy::Server),
        |b| b.resolver_for("ours", ClientWins).config(config()),
    ];
    /// A config that names no storage and no transport.
    fn config() -> ReplicaConfig {
        let mut config = ReplicaConfig::default();
        config.resolver = Strategy::Server;
        config
    }
    for order in orders {
        let server = server();
        let ann = builder(&server, 1).open().await.unwrap();
        let ben = order(builder(&server, 2)).open().await.unwrap();
        for (replica, text) in [(&ann, "ann"), (&ben, "ben")] {
            for name in ["ours", "theirs"] {
                replica.collection(name).unwrap().put("n", &text.to_owned()).await.unwrap();
            }
            soon(replica.sync_now()).await.unwrap();
        }
        let ours = ben.collection::<String>("ours").unwrap().get("n").await.unwrap().unwrap();
        let theirs = ben.collection::<String>("theirs").unwrap().get("n").await.unwrap().unwrap();
        assert_eq!((ours.value().as_str(), theirs.value().as_str()), ("ben", "ann"));
    }
}

#[tokio::test]
async fn names_are_accepted_as_any_text_type() {
    let replica = lonely().await;
    let (name, id) = (String::from("notes"), DocumentId::new("n").unwrap());
    let notes = replica.collection::<u32>(&name).unwrap();
    notes.put(String::from("n"), &1).await.unwrap();
    notes.update(&id, &2).await.unwrap();
    assert_eq!(*notes.get(std::borrow::Cow::from("n")).await.unwrap().unwrap().value(), 2);
    assert_eq!(replica.sync_state(notes.name(), &id).await.unwrap().as_str(), "pending");
}
