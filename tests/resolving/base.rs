//! The base is kept from the first unsynced edit to the verdict: merges are three-way also after
//! many offline edits, restarts and crashes.

use std::path::Path;
use std::sync::Arc;

use twotide::backend::resolver::{ResolveOn, Resolvers};
use twotide::prelude::*;
use twotide::server::{Hooks, Server};

use super::support::{server_with, soon};
use super::{put, shown, sync};

const BASE: &str =
    r#"{"title":"list","done":false,"count":0,"tags":["a","b"],"owner":{"name":"ann"}}"#;

fn merge() -> FieldMerge {
    FieldMerge::new().field("/tags", FieldRule::Union).unwrap()
}

fn server(on: ResolveOn) -> Server {
    let resolvers = Resolvers::shared(Arc::new(merge()), on);
    server_with(Hooks { resolvers, ..Hooks::default() })
}

async fn open(server: &Server, path: &Path, on: ResolveOn) -> Replica {
    let transport = Arc::new(server.in_process());
    let builder = Replica::builder().sqlite(path).transport(transport);
    builder.resolver_for("notes", merge()).resolve_on("notes", on).open().await.unwrap()
}

/// Copies the files of a replica as a crash of the process leaves them: nothing was closed.
fn crash(from: &Path, to: &Path) {
    for part in ["", "-wal"] {
        let name = |path: &Path| format!("{}{part}", path.display());
        std::fs::copy(name(from), name(to)).unwrap();
    }
}

async fn merged_after_ten_edits_a_restart_and_a_crash(on: ResolveOn) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let server = server(on);
    let ann = open(&server, &path("ann.db"), on).await;
    let ben = open(&server, &path("ben.db"), on).await;
    put(&ann, "x", BASE).await;
    sync(&ann).await;
    sync(&ben).await;

    // Ann renames, removes a tag and removes the owner.
    put(&ann, "x", r#"{"title":"shopping","done":false,"count":0,"tags":["b"]}"#).await;
    sync(&ann).await;

    // Ben counts, offline. The app is restarted half way, and crashes at the end.
    let edit = |n: u8| {
        format!(
            r#"{{"title":"list","done":true,"count":{n},"tags":["a","b","t{n}"],"owner":{{"name":"ann"}}}}"#
        )
    };
    for n in 1..=5 {
        put(&ben, "x", &edit(n)).await;
    }
    ben.close().await.unwrap();
    let ben = open(&server, &path("ben.db"), on).await;
    for n in 6..=10 {
        put(&ben, "x", &edit(n)).await;
    }
    crash(&path("ben.db"), &path("crashed.db"));
    drop(ben);
    let ben = open(&server, &path("crashed.db"), on).await;
    assert_eq!(shown(&ben, "x").await, edit(10), "what was acknowledged is there");

    for replica in [&ben, &ann, &ben] {
        sync(replica).await;
    }
    // Each side's changes are there, and nothing that was removed is back.
    let expected = r#"{"title":"shopping","done":true,"count":10,"tags":["b","t10"]}"#;
    for replica in [&ann, &ben] {
        assert_eq!(shown(replica, "x").await, expected, "{on:?}");
        assert_eq!(replica.sync_state("notes", "x").await.unwrap().as_str(), "synced");
    }
}

#[tokio::test]
async fn a_merge_on_the_replica_is_three_way_after_ten_edits_a_restart_and_a_crash() {
    merged_after_ten_edits_a_restart_and_a_crash(ResolveOn::Replica).await;
}

#[tokio::test]
async fn a_merge_on_the_server_is_three_way_after_ten_edits_a_restart_and_a_crash() {
    merged_after_ten_edits_a_restart_and_a_crash(ResolveOn::Server).await;
}

#[tokio::test]
async fn the_inbox_shows_the_base_of_the_first_edit_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ben.db");
    let server = server(ResolveOn::Replica);
    let ann = open(&server, &folder.path().join("ann.db"), ResolveOn::Replica).await;
    let asking = || {
        let defers = resolve_with("ask", |_| Ok(Resolution::Defer));
        let transport = Arc::new(server.in_process());
        Replica::builder().sqlite(&path).transport(transport).resolver(defers).open()
    };
    put(&ann, "x", "0").await;
    sync(&ann).await;
    let ben = asking().await.unwrap();
    sync(&ben).await;
    put(&ann, "x", "1").await;
    sync(&ann).await;
    for n in 2..12 {
        put(&ben, "x", &n.to_string()).await;
    }
    ben.close().await.unwrap();
    let ben = asking().await.unwrap();
    soon(ben.sync_now()).await.unwrap();
    ben.close().await.unwrap();
    let ben = asking().await.unwrap();
    let waiting = ben.conflicts().get("notes", "x").await.unwrap().unwrap();
    let bodies = [&waiting.base, &waiting.local, &waiting.remote];
    assert_eq!(bodies.map(|b| b.as_ref().map_or("", Body::as_str)), ["0", "11", "1"]);
}
