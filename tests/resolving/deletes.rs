//! A deletion against an edit, both ways, by each policy, resolved on the replica and on the
//! server.

use std::sync::Arc;

use twotide::backend::environment::{Environment, System};
use twotide::backend::resolver::{ResolveOn, Resolvers};
use twotide::prelude::*;
use twotide::server::Hooks;

use super::support::{builder, server_with};
use super::{delete, put, shown, sync};

const BASE: &str = r#"{"n":0}"#;
const EDIT: &str = r#"{"n":1}"#;

/// Two replicas that share a document and have that policy.
async fn pair(policy: OnDelete, on: ResolveOn) -> (Replica, Replica) {
    let resolver = FieldMerge::new().on_delete(policy);
    let resolvers = Resolvers::shared(Arc::new(resolver.clone()), on);
    let server = server_with(Hooks { resolvers, ..Hooks::default() });
    let open =
        |id| builder(&server, id).resolver_for("notes", resolver.clone()).resolve_on("notes", on);
    let (ann, ben) = (open(1).open().await.unwrap(), open(2).open().await.unwrap());
    put(&ann, "x", BASE).await;
    sync(&ann).await;
    sync(&ben).await;
    (ann, ben)
}

/// Each replica has a separate clock: which edit is later is certain only in different
/// milliseconds.
async fn clocks_move_on() {
    let before = System.now();
    while System.now() <= before {
        tokio::task::yield_now().await;
    }
}

/// One replica deletes and the other one edits, in either order of writes and of syncs.
async fn disagree(one: &Replica, other: &Replica, deletes_first: bool, syncs_first: bool) {
    if deletes_first {
        delete(one, "x").await;
        clocks_move_on().await;
        put(other, "x", EDIT).await;
    } else {
        put(other, "x", EDIT).await;
        clocks_move_on().await;
        delete(one, "x").await;
    }
    let (first, second) = if syncs_first { (one, other) } else { (other, one) };
    for replica in [first, second, first] {
        sync(replica).await;
    }
}

async fn ends(policy: OnDelete, expected: impl Fn(bool) -> Option<&'static str>) {
    for on in [ResolveOn::Replica, ResolveOn::Server] {
        for (deletes_first, syncs_first) in
            [(true, true), (true, false), (false, true), (false, false)]
        {
            let (ann, ben) = pair(policy, on).await;
            disagree(&ann, &ben, deletes_first, syncs_first).await;
            let what = format!("{policy:?} {on:?} {deletes_first} {syncs_first}");
            let Some(expected) = expected(deletes_first) else {
                // The second replica to sync has the conflict, and shows its local side.
                let (second, own) = if syncs_first { (&ben, EDIT) } else { (&ann, "") };
                let waiting = second.conflicts().get("notes", "x").await.unwrap().expect(&what);
                let bodies = [&waiting.base, &waiting.local, &waiting.remote];
                let bodies = bodies.map(|b| b.as_ref().map_or("", Body::as_str));
                let theirs = if syncs_first { "" } else { EDIT };
                assert_eq!(bodies, [BASE, own, theirs], "{what}");
                second.conflicts().resolve("notes", "x", Resolution::Local).await.unwrap();
                for replica in [second, &ann, &ben] {
                    sync(replica).await;
                }
                assert_eq!([shown(&ann, "x").await, shown(&ben, "x").await], [own, own], "{what}");
                continue;
            };
            for replica in [&ann, &ben] {
                assert_eq!(shown(replica, "x").await, expected, "{what}");
                assert_eq!(replica.sync_state("notes", "x").await.unwrap().as_str(), "synced");
            }
            // Whether it was deleted or not, the id can be used again.
            put(&ann, "x", "9").await;
            for replica in [&ann, &ben] {
                sync(replica).await;
                assert_eq!(shown(replica, "x").await, "9", "{what}");
            }
        }
    }
}

#[tokio::test]
async fn the_later_one_stands_by_default() {
    ends(OnDelete::LastWrite, |deletes_first| Some(if deletes_first { EDIT } else { "" })).await;
}

#[tokio::test]
async fn an_edit_stands_where_edits_are_kept() {
    ends(OnDelete::KeepEdit, |_| Some(EDIT)).await;
}

#[tokio::test]
async fn a_deletion_stands_where_deletions_are_kept() {
    ends(OnDelete::KeepDeletion, |_| Some("")).await;
}

#[tokio::test]
async fn the_conflict_waits_for_the_app_where_the_policy_is_to_ask() {
    ends(OnDelete::Defer, |_| None).await;
}
