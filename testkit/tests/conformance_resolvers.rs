//! The suite for resolvers, on the built-in ones.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use sync_core::model::Body;
use sync_core::resolver::{
    ClientWins, ConflictResolver, FieldMerge, FieldRule, LastWriteWins, OnDelete, ServerWins,
    TypedResolution, resolve_typed,
};
use testkit::resolvers::{Deferring, Deleting, Joining};

/// Documents of a task list.
fn tasks() -> Vec<Body> {
    let bodies = [
        r#"{"title":"milk","done":false}"#,
        r#"{"title":"milk","done":true}"#,
        r#"{"title":"oat milk","done":false,"amount":2}"#,
        r#"{"title":"","done":false,"tags":["a","b"]}"#,
    ];
    bodies.into_iter().map(|json| Body::parse(json).unwrap()).collect()
}

/// Words joined by `+`.
fn words() -> Vec<Body> {
    let texts = ["a", "a+b", "b+c+d", "e"];
    texts.into_iter().map(testkit::world::body).collect()
}

/// Merges tags as a set.
fn with_sets() -> FieldMerge {
    FieldMerge::new().field("/tags", FieldRule::Union).unwrap()
}

/// Returns the longer text, or of equally long ones the lesser.
fn longest(local: Option<String>, remote: Option<String>) -> TypedResolution<String> {
    match (local, remote) {
        (Some(ours), Some(theirs)) if (ours.len(), &theirs) > (theirs.len(), &ours) => {
            TypedResolution::Local
        }
        (Some(_), None) => TypedResolution::Local,
        _ => TypedResolution::Remote,
    }
}

macro_rules! suites {
    ($($name:ident: $resolver:expr, $documents:expr;)*) => {$(
        mod $name {
            use super::*;
            testkit::resolver_conformance!($resolver, $documents);
        }
    )*};
}

suites! {
    last_write_wins: LastWriteWins, tasks();
    server_wins: ServerWins, tasks();
    client_wins: ClientWins, tasks();
    edits_before_deletions: LastWriteWins.on_delete(OnDelete::KeepEdit), tasks();
    field_merge: FieldMerge::new(), tasks();
    field_merge_with_sets: with_sets(), tasks();
    typed: resolve_typed("longest", |conflict| Ok(longest(conflict.local, conflict.remote))), words();
    joining: Joining, words();
    deferring: Deferring, tasks();
    deleting: Deleting, tasks();
}

mod fault_injection {
    testkit::resolver_fault_injection!(super::LastWriteWins, super::tasks());
}

mod fault_injection_into_a_field_merge {
    testkit::resolver_fault_injection!(super::FieldMerge::new(), super::tasks());
}

mod fault_injection_into_a_merge {
    testkit::resolver_fault_injection!(super::Joining, super::words());
}
