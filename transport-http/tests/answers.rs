//! Answers of other programs, and answers that break the protocol: each is a clear error with
//! advice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

#[path = "support/script.rs"]
#[allow(dead_code, unreachable_pub, reason = "a module of several tests")]
mod script;

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use futures_util::stream;
use script::*;
use sync_core::error::ErrorKind::{
    self, Network, Overloaded, PermissionDenied, Protocol, Timeout, Unauthenticated,
};
use sync_core::error::Retry::{self, Later, Never, Reconnect};
use sync_core::protocol::Welcome;
use sync_core::transport::Transport;
use transport_http::HttpTransport;
use transport_http::format::Format;

/// An answer that is not the server's: its name, the error's kind, advice and a part of its text.
struct Wrong(&'static str, ErrorKind, Retry, &'static str, fn(Format) -> Response);

const fn later(seconds: u64) -> Retry {
    Later(Some(Duration::from_secs(seconds)))
}

const WRONG: &[Wrong] = &[
    Wrong("a page of the network", Network, Reconnect, "sign-in", |_| html(200, &[])),
    Wrong("no content at all", Network, Reconnect, "content-type", |_| answer(204, &[], "")),
    Wrong("JSON of something else", Protocol, Reconnect, "", |_| {
        answer(200, &[("content-type", "application/json")], "{\"status\":\"ok\"}")
    }),
    Wrong("a frame that was cut", Protocol, Reconnect, "60", |_| {
        framed(200, &[], bytes_of_chunk()[..60].to_vec())
    }),
    Wrong("a frame in which a bit was flipped", Protocol, Reconnect, "changed on the way", |_| {
        let mut bytes = bytes_of_chunk();
        bytes[70] ^= 4;
        framed(200, &[], bytes)
    }),
    Wrong("another message", Protocol, Reconnect, "", |f| content(f, welcome())),
    Wrong("a body that ends too early", Network, Reconnect, "broke", |_| {
        let parts = [Ok("half".to_owned()), Err(std::io::Error::other("cut"))];
        let body = Body::from_stream(stream::iter(parts));
        answer(200, &[("content-type", "application/vnd.twotide.v1")], body)
    }),
    Wrong("a body without an end", Protocol, Reconnect, "over the limit", |_| {
        let endless = stream::repeat_with(|| Ok::<_, std::io::Error>(vec![0u8; 4_096]));
        answer(200, &[("content-type", "application/json")], Body::from_stream(endless))
    }),
    Wrong("a body that unfolds without an end", Protocol, Reconnect, "over the limit", |_| {
        let body = zstd::bulk::compress(&vec![0; 8 << 20], 1).unwrap();
        framed(200, &[("content-encoding", "zstd")], body)
    }),
    Wrong("a refusal of ours", PermissionDenied, Never, "not this scope", refusal),
    Wrong("a gateway without a server", Network, Reconnect, "502", |_| html(502, &[])),
    Wrong("a gateway that lost patience", Timeout, later(3), "504", |_| {
        html(504, &[("retry-after", "3")])
    }),
    Wrong("a gateway that asks to wait", Overloaded, later(7), "503", |_| {
        html(503, &[("retry-after", "7")])
    }),
    Wrong("a gateway that asks to wait until a date", Overloaded, later(40), "429", |_| {
        let dates = [
            ("date", "Wed, 21 Oct 2026 12:00:00 GMT"),
            ("retry-after", "Wed, 21 Oct 2026 12:00:40 GMT"),
        ];
        html(429, &dates)
    }),
    Wrong("an unknown token at a gateway", Unauthenticated, Reconnect, "401", |_| html(401, &[])),
    Wrong("a page of a network that forbids", Network, Reconnect, "403", |_| html(403, &[])),
    Wrong("a page that asks for a day", Overloaded, later(300), "503", |_| {
        html(503, &[("retry-after", "86400")])
    }),
    Wrong("sent elsewhere", Network, Reconnect, "portal.example/login", |_| {
        answer(302, &[("location", "http://portal.example/login?x=y")], "")
    }),
    Wrong("sent in a circle", Network, Reconnect, "again and again", |_| {
        answer(307, &[("location", "/v1/scopes/default/changes")], "")
    }),
    Wrong("nothing new where that was not asked", Protocol, Reconnect, "not asked", |_| {
        answer(304, &[], "")
    }),
];

#[tokio::test]
async fn a_foreign_answer_is_an_error_that_describes_it() {
    for Wrong(name, kind, retry, says, answered) in WRONG {
        let server = Script::greeting(move |seen| async move { answered(seen.format()) }).await;
        let mut config = server.config();
        config.max_answer_bytes = 1 << 20;
        let connection = server.connect_with(config).await;
        let error = within(connection.pull(pull(0))).await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (*kind, *retry), "{name}: {error}");
        let text = error.report().to_string();
        assert!(text.contains(says) && error.operation().is_some(), "{name}: {text}");
        assert!(!text.contains("x=y") && text.len() < 800, "{name}: {text}");
    }
}

#[tokio::test]
async fn the_answer_to_a_greeting_is_checked_too() {
    for Wrong(name, kind, retry, says, answered) in WRONG {
        if says.contains("again") || *name == "another message" {
            continue;
        }
        let server = Script::start(move |seen| async move { answered(seen.format()) }).await;
        let transport = HttpTransport::new(server.config()).unwrap();
        let error = within(transport.connect(hello(None))).await.unwrap_err();
        if *kind != Protocol {
            assert_eq!((error.kind(), error.retry()), (*kind, *retry), "{name}");
        }
    }
    let bad = [
        Welcome { version: 9, ..welcome() },
        Welcome { heartbeat: 0, ..welcome() },
        Welcome { heartbeat: u64::MAX, ..welcome() },
    ];
    for welcome in bad {
        let server = Script::start(move |seen| {
            let welcome = welcome.clone();
            async move { content(seen.format(), welcome) }
        })
        .await;
        let error = HttpTransport::new(server.config()).unwrap().connect(hello(None)).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Protocol);
    }
}
