//! The suite for resolvers, on those that exist.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use sync_core::model::Body;
use sync_core::resolver::{ClientWins, LastWriteWins, ServerWins};
use testkit::resolvers::{Deferring, Deleting, Joining};

/// Documents as a list of tasks has them.
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
    joining: Joining, words();
    deferring: Deferring, tasks();
    deleting: Deleting, tasks();
}

mod teeth {
    testkit::resolver_teeth!(super::LastWriteWins, super::tasks());
}

mod teeth_of_a_merge {
    testkit::resolver_teeth!(super::Joining, super::words());
}
