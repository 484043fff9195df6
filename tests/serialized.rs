//! The JSON that a front end receives.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use serde_json::{Value, json, to_value};
use support::{builder, server, soon};
use twotide::backend::model::{Body, Scope, Seq};
use twotide::backend::resolver::{Resolution, resolve_with};
use twotide::{EventKind, Replica, SyncEvent};

/// Whether a value is a plausible time in milliseconds.
fn is_time(value: &Value) -> bool {
    value.as_u64().is_some_and(|millis| (1_600_000_000_000..10_000_000_000_000).contains(&millis))
}

async fn replica(id: u8, server: &twotide::server::Server) -> Replica {
    let defers = resolve_with("ask", |_| Ok(Resolution::Defer));
    builder(server, id).resolver(defers).open().await.unwrap()
}

#[tokio::test]
async fn documents_changes_and_states_are_serialized() {
    let server = server();
    let ann = replica(1, &server).await;
    let notes = ann.raw("notes").unwrap();
    let mut changes = ann.changes().await.unwrap();
    notes.insert_with_id("a", &Body::parse(r#"{"n":1}"#).unwrap()).await.unwrap();
    let document = to_value(notes.get("a").await.unwrap().unwrap()).unwrap();
    assert_eq!((&document["id"], &document["value"]), (&json!("a"), &json!({"n": 1})));
    assert_eq!(document["is_synced"], false);
    assert!(is_time(&document["created"]) && is_time(&document["updated"]), "{document}");

    let change = to_value(soon(changes.next()).await.unwrap().unwrap()).unwrap();
    assert_eq!(change["key"], json!({"scope": "default", "collection": "notes", "id": "a"}));
    assert_eq!((&change["operation"], &change["origin"]), (&json!("insert"), &json!("local")));
    assert_eq!((&change["body"], &change["local_seq"]), (&json!({"n": 1}), &json!(1)));
    assert!(is_time(&change["updated"]) && change["revision"] == document["revision"], "{change}");

    let state = to_value(ann.sync_state("notes", "a").await.unwrap()).unwrap();
    assert_eq!((&state["state"], &state["detail"]["attempts"]), (&json!("pending"), &json!(0)));
    assert!(is_time(&state["detail"]["since"]), "{state}");
    soon(ann.sync_now()).await.unwrap();
    let state = to_value(ann.sync_state("notes", "a").await.unwrap()).unwrap();
    assert_eq!(state, json!({"state": "synced"}));
    let status = to_value(ann.status_now()).unwrap();
    assert_eq!(status["outbox"]["pending"], 0);
    assert_eq!((&status["error"], &status["direction"]), (&Value::Null, &json!("both")));
    let told = to_value(ann.statistics_now()).unwrap();
    assert!(told["pushed"] == 1 && is_time(&told["last_sync"]), "{told}");
}

#[tokio::test]
async fn a_conflict_that_waits_is_serialized() {
    let server = server();
    let (ann, ben) = (replica(1, &server).await, replica(2, &server).await);
    for (replica, n) in [(&ann, "1"), (&ben, "2")] {
        let body = Body::parse(n).unwrap();
        replica.raw("notes").unwrap().insert_with_id("a", &body).await.unwrap();
        soon(replica.sync_now()).await.unwrap();
    }
    let conflicts = ben.conflicts().list(None, 10).await.unwrap();
    let conflict = to_value(&conflicts.entries[0]).unwrap();
    assert_eq!((&conflict["local"], &conflict["remote"]), (&json!(2), &json!(1)));
    assert!(conflict["base"].is_null() && is_time(&conflict["since"]), "{conflict}");
    let state = to_value(ben.sync_state("notes", "a").await.unwrap()).unwrap();
    assert_eq!((&state["state"], &state["detail"]), (&json!("conflict"), &conflict));
}

#[test]
fn events_carry_the_name_of_their_kind() {
    let scope = Scope::default();
    for (event, detail) in [
        (SyncEvent::Connected, Value::Null),
        (SyncEvent::Failing(3), json!(3)),
        (SyncEvent::CatchUpDone(scope.clone()), json!("default")),
        (
            SyncEvent::CatchUpProgress { scope, position: Seq(3), head: Seq(9) },
            json!({"scope": "default", "position": 3, "head": 9}),
        ),
        (
            SyncEvent::Disconnected { why: twotide::ErrorKind::Network, retries: true },
            json!({"why": "network", "retries": true}),
        ),
    ] {
        let kind: EventKind = event.kind();
        let json = to_value(&event).unwrap();
        assert_eq!((&json["event"], &json["detail"]), (&json!(kind.as_str()), &detail), "{json}");
    }
}
