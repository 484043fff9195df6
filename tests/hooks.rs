//! The hooks of an app's server: which principal a token identifies, what that principal may read
//! and write, and what a valid document is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is how a test ends"
)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use support::{Revocable, builder, server_with, soon};
use twotide::EventStream;
use twotide::backend::environment::System;
use twotide::backend::model::{
    Change, Collection as Name, DocumentKey, DocumentState, Limits, Rejection, RejectionCode, Scope,
};
use twotide::backend::replica::{Unsettled, UnsettledAfter, UnsettledEntry};
use twotide::prelude::*;
use twotide::server::Visible;
use twotide::server::{Access, Authorise, Hooks, Principal, Server, StaticTokens, Validate};

/// Ann may read and write all of `team`, Ben may read its `public` notes, Cleo may also write them.
/// Locked notes cannot be changed.
#[derive(Debug)]
struct Rules;

#[async_trait]
impl Authorise for Rules {
    async fn scope(&self, principal: &Principal, scope: &Scope) -> Result<Access> {
        Ok(match (principal.name.as_str(), scope.as_str()) {
            ("ann", "team") => Access::FULL,
            ("ben" | "cleo", "team") => {
                let public = BTreeSet::from([Name::new("public")?]);
                let write = principal.name == "cleo";
                Access { read: Some(Visible::Only(Arc::new(public))), write }
            }
            _ => Access::NONE,
        })
    }

    fn change(
        &self,
        _: &Principal,
        _: &Scope,
        change: &Change,
        _: Option<&DocumentState>,
    ) -> Result<(), Rejection> {
        if change.id.as_str() == "locked" {
            return Err(refused(RejectionCode::Forbidden, "this note is locked"));
        }
        Ok(())
    }
}

impl Validate for Rules {
    fn change(
        &self,
        _: &Scope,
        change: &Change,
        _: Option<&DocumentState>,
    ) -> Result<(), Rejection> {
        match &change.state.body {
            Some(body) if !body.as_str().contains("text") => {
                Err(refused(RejectionCode::Invalid, "a note needs a text"))
            }
            _ => Ok(()),
        }
    }
}

fn refused(code: RejectionCode, reason: &str) -> Rejection {
    Rejection { code, reason: reason.to_owned() }
}

fn server() -> Server {
    let tokens = [("ann", "secret-a"), ("ben", "secret-b"), ("cleo", "secret-c")];
    let hooks = Hooks {
        authenticate: Arc::new(StaticTokens::new(tokens.map(|(n, s)| (n.into(), s.into())))),
        authorise: Arc::new(Rules),
        validate: Arc::new(Rules),
        ..Hooks::default()
    };
    server_with(hooks)
}

async fn replica(server: &Server, id: u8, scope: &str, token: Option<&str>) -> Replica {
    let builder = builder(server, id).scope(scope);
    let builder = match token {
        Some(token) => builder.token(token),
        None => builder,
    };
    builder.open().await.unwrap()
}

fn text(text: &str) -> Body {
    Body::parse(format!(r#"{{"text":"{text}"}}"#)).unwrap()
}

async fn quarantine(replica: &Replica) -> Vec<UnsettledEntry> {
    let (scope, which) = (replica.scope().clone(), Unsettled::Quarantine);
    let all = Limits::CHUNK;
    replica.storage().unsettled(scope, which, UnsettledAfter::Start, all).await.unwrap().items
}

#[tokio::test]
async fn without_a_good_token_a_replica_is_refused() {
    let server = server();
    for token in [None, Some("wrong"), Some("")] {
        let replica = replica(&server, 1, "team", token).await;
        let error = soon(replica.sync_now()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    }
}

#[tokio::test]
async fn a_replica_connects_with_a_replaced_token() {
    let server = server();
    let replica = replica(&server, 1, "team", Some("expired")).await;
    let mut status = replica.status();
    replica.start().await.unwrap();
    soon(status.wait_for(|s| s.activity == Activity::Error)).await.unwrap();
    replica.set_token(Some("secret-a".to_owned())).await;
    replica.start().await.unwrap();
    soon(status.wait_for(|s| s.in_sync)).await.unwrap();
}

#[tokio::test]
async fn a_scope_without_access_is_refused_and_reported() {
    let server = server();
    let replica = replica(&server, 1, "elsewhere", Some("secret-a")).await;
    let mut events = replica.event_stream(EventFilter::all());
    replica.start().await.unwrap();
    let refused = async {
        loop {
            let event = events.next().await.unwrap().unwrap();
            if let SyncEvent::ScopeRefused { scope, why } = event {
                return (scope, why);
            }
        }
    };
    let scope = Scope::new("elsewhere").unwrap();
    assert_eq!(soon(refused).await, (scope, ErrorKind::PermissionDenied));
    replica.stop().await;
    let error = soon(replica.sync_now()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
}

async fn gone(events: &mut EventStream) -> Scope {
    loop {
        if let SyncEvent::ScopeGone(scope) = events.next().await.unwrap().unwrap() {
            return scope;
        }
    }
}

#[tokio::test]
async fn a_scope_that_is_revoked_leaves_the_device_and_comes_back_with_the_access() {
    let access = Arc::new(Revocable::default());
    let server = server_with(Hooks { authorise: access.clone(), ..Hooks::default() });
    let ann = replica(&server, 1, "team", None).await;
    let keeps = builder(&server, 2).scope("team").keep_revoked(true).open().await.unwrap();
    let (notes, kept) = (ann.raw("notes").unwrap(), keeps.raw("notes").unwrap());
    notes.insert_with_id("synced", &text("seen")).await.unwrap();
    soon(ann.sync_now()).await.unwrap();
    soon(keeps.sync_now()).await.unwrap();
    notes.insert_with_id("own", &text("not synced")).await.unwrap();

    access.0.store(true, Ordering::SeqCst);
    let mut events = ann.event_stream(EventFilter::all());
    for replica in [&ann, &keeps] {
        let error = soon(replica.sync_now()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    }
    assert_eq!(soon(gone(&mut events)).await, *ann.scope());
    assert!(notes.get("synced").await.unwrap().is_none());
    assert!(notes.get("own").await.unwrap().is_none());
    assert_eq!(quarantine(&ann).await[0].key.id.as_str(), "own");
    assert!(kept.get("synced").await.unwrap().is_some());

    access.0.store(false, Ordering::SeqCst);
    soon(ann.sync_now()).await.unwrap();
    assert!(notes.get("synced").await.unwrap().unwrap().is_synced());
    soon(keeps.sync_now()).await.unwrap();
}

#[tokio::test]
async fn refused_changes_are_quarantined_and_do_not_block_others() {
    let server = server();
    let ann = replica(&server, 1, "team", Some("secret-a")).await;
    let notes = ann.raw("public").unwrap();
    notes.insert_with_id("locked", &text("no")).await.unwrap();
    notes.insert_with_id("empty", &Body::parse("{}").unwrap()).await.unwrap();
    notes.insert_with_id("good", &text("yes")).await.unwrap();
    soon(ann.sync_now()).await.unwrap();
    let mut refused: Vec<_> = quarantine(&ann)
        .await
        .into_iter()
        .map(|e| (e.key.id, e.refused.unwrap().0.reason))
        .collect();
    refused.sort();
    let refused: Vec<_> = refused.iter().map(|(id, why)| (id.as_str(), why.as_str())).collect();
    assert_eq!(refused, [("empty", "a note needs a text"), ("locked", "this note is locked")]);
    assert!(notes.get("good").await.unwrap().unwrap().is_synced());
    assert!(
        notes.get("locked").await.unwrap().is_none(),
        "it shows the settled state: there is none"
    );
    // The edit can be retried.
    let key = DocumentKey::new(
        ann.scope().clone(),
        Name::new("public").unwrap(),
        "empty".parse().unwrap(),
    );
    let now = twotide::backend::environment::Environment::now(&System);
    ann.storage().decide(now, key, twotide::backend::replica::Decision::Retry).await.unwrap();
    notes.update("empty", &text("filled")).await.unwrap();
    soon(ann.sync_now()).await.unwrap();
    assert!(notes.get("empty").await.unwrap().unwrap().is_synced());
    assert_eq!(quarantine(&ann).await.len(), 1);
}

#[tokio::test]
async fn a_read_only_principal_receives_visible_documents_and_writes_nothing() {
    let server = server();
    let ann = replica(&server, 1, "team", Some("secret-a")).await;
    ann.raw("public").unwrap().insert_with_id("a", &text("seen")).await.unwrap();
    ann.raw("private").unwrap().insert_with_id("b", &text("hidden")).await.unwrap();
    soon(ann.sync_now()).await.unwrap();
    let ben = replica(&server, 2, "team", Some("secret-b")).await;
    ben.raw("public").unwrap().insert_with_id("c", &text("mine")).await.unwrap();
    soon(ben.sync_now()).await.unwrap();
    assert!(ben.raw("public").unwrap().get("a").await.unwrap().is_some());
    assert!(ben.raw("private").unwrap().get("b").await.unwrap().is_none());
    assert_eq!(quarantine(&ben).await.len(), 1);
    // Live changes of hidden documents move the position and deliver nothing.
    ben.start().await.unwrap();
    soon(ben.wait_until_in_sync()).await.unwrap();
    let mut changes = ben.changes().await.unwrap();
    ann.raw("private").unwrap().insert_with_id("d", &text("hidden")).await.unwrap();
    ann.raw("public").unwrap().insert_with_id("e", &text("seen")).await.unwrap();
    soon(ann.sync_now()).await.unwrap();
    assert_eq!(soon(changes.next()).await.unwrap().unwrap().key().id.as_str(), "e");
    assert_eq!(ben.state().await.unwrap().scopes[0].documents, 2);
}

#[tokio::test]
async fn writes_to_hidden_collections_are_refused_and_verdicts_reveal_nothing() {
    let server = server();
    let ann = replica(&server, 1, "team", Some("secret-a")).await;
    ann.raw("private").unwrap().insert_with_id("x", &text("hidden")).await.unwrap();
    soon(ann.sync_now()).await.unwrap();
    let cleo = replica(&server, 3, "team", Some("secret-c")).await;
    cleo.raw("private").unwrap().insert_with_id("x", &text("guess")).await.unwrap();
    cleo.raw("public").unwrap().insert_with_id("y", &text("mine")).await.unwrap();
    soon(cleo.sync_now()).await.unwrap();
    assert!(cleo.raw("private").unwrap().get("x").await.unwrap().is_none());
    assert!(cleo.raw("public").unwrap().get("y").await.unwrap().unwrap().is_synced());
    let refused = quarantine(&cleo).await;
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].refused.as_ref().unwrap().0.code, RejectionCode::Forbidden);
}

/// Panics over some changes, and refuses others with long reasons.
#[derive(Debug)]
struct Fragile;

impl Validate for Fragile {
    fn change(
        &self,
        _: &Scope,
        change: &Change,
        _: Option<&DocumentState>,
    ) -> Result<(), Rejection> {
        match change.id.as_str() {
            "boom" => panic!("a bug in the app's hook"),
            "long" => Err(refused(RejectionCode::Invalid, &"ü".repeat(1 << 20))),
            _ => Ok(()),
        }
    }
}

#[tokio::test]
async fn a_hook_that_panics_refuses_one_change_and_reasons_are_bounded() {
    let server = server_with(Hooks { validate: Arc::new(Fragile), ..Hooks::default() });
    let replica = builder(&server, 1).open().await.unwrap();
    let notes = replica.raw("notes").unwrap();
    for id in ["a", "boom", "b", "long", "c"] {
        notes.insert_with_id(id, &text(id)).await.unwrap();
    }
    soon(replica.sync_now()).await.unwrap();
    let refused = quarantine(&replica).await;
    let ids: Vec<_> = refused.iter().map(|entry| entry.key.id.as_str()).collect();
    assert_eq!(ids, ["boom", "long"]);
    let reasons: Vec<_> =
        refused.iter().map(|e| e.refused.as_ref().unwrap().0.reason.as_str()).collect();
    assert!(reasons[0].contains("validate") && reasons[0].contains("panicked"), "{}", reasons[0]);
    assert!((900..=Rejection::REASON_BYTES).contains(&reasons[1].len()), "{}", reasons[1].len());
    let scope = server.storage().find_scope(replica.scope().clone()).await.unwrap().unwrap();
    assert_eq!(scope.documents, 3, "the others travelled");
}

#[tokio::test]
async fn a_device_that_changes_its_account_goes_on_under_an_identity_of_its_own() {
    let server = server();
    let device = replica(&server, 1, "team", Some("secret-a")).await;
    let of_ann = device.state().await.unwrap().replica;
    let public = device.raw("public").unwrap();
    public.insert_with_id("a", &text("by ann")).await.unwrap();
    soon(device.sync_now()).await.unwrap();
    // The same file with another account.
    device.set_token(Some("secret-c".to_owned())).await;
    public.insert_with_id("b", &text("by cleo")).await.unwrap();
    soon(device.sync_now()).await.unwrap();
    assert_ne!(device.state().await.unwrap().replica, of_ann);
    let ann = replica(&server, 2, "team", Some("secret-a")).await;
    soon(ann.sync_now()).await.unwrap();
    for id in ["a", "b"] {
        assert!(ann.raw("public").unwrap().get(id).await.unwrap().is_some(), "{id}");
    }
    // The server still knows the last push of the first account.
    let scope = device.scope().clone();
    let (_, last) = server.storage().replica(scope, of_ann).await.unwrap();
    assert!(last.is_some());
}
