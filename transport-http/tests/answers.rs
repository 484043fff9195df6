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
use sync_core::error::{ErrorKind, Retry};
use sync_core::protocol::Welcome;
use sync_core::transport::Transport;
use transport_http::HttpTransport;
use transport_http::format::Format;

struct Wrong {
    name: &'static str,
    answer: fn(Format) -> Response,
    kind: ErrorKind,
    retry: Retry,
    /// A part of the error's text.
    says: &'static str,
}

const WRONG: &[Wrong] = &[
    Wrong {
        name: "a page of the network",
        answer: |_| html(200, &[]),
        kind: ErrorKind::Network,
        retry: Retry::Reconnect,
        says: "sign-in",
    },
    Wrong {
        name: "no content at all",
        answer: |_| answer(204, &[], ""),
        kind: ErrorKind::Network,
        retry: Retry::Reconnect,
        says: "content-type",
    },
    Wrong {
        name: "JSON of something else",
        answer: |_| answer(200, &[("content-type", "application/json")], "{\"status\":\"ok\"}"),
        kind: ErrorKind::Protocol,
        retry: Retry::Reconnect,
        says: "",
    },
    Wrong {
        name: "a frame that was cut",
        answer: |_| framed(200, &[], bytes_of_chunk()[..60].to_vec()),
        kind: ErrorKind::Protocol,
        retry: Retry::Reconnect,
        says: "60",
    },
    Wrong {
        name: "a frame in which a bit was flipped",
        answer: |_| {
            let mut bytes = bytes_of_chunk();
            bytes[70] ^= 4;
            framed(200, &[], bytes)
        },
        kind: ErrorKind::Protocol,
        retry: Retry::Reconnect,
        says: "changed on the way",
    },
    Wrong {
        name: "another message",
        answer: |f| content(f, welcome()),
        kind: ErrorKind::Protocol,
        retry: Retry::Reconnect,
        says: "",
    },
    Wrong {
        name: "a body that ends too early",
        answer: |_| {
            let parts = [Ok("half".to_owned()), Err(std::io::Error::other("cut"))];
            let body = Body::from_stream(stream::iter(parts));
            answer(200, &[("content-type", "application/vnd.twotide.v1")], body)
        },
        kind: ErrorKind::Network,
        retry: Retry::Reconnect,
        says: "broke",
    },
    Wrong {
        name: "a body without an end",
        answer: |_| {
            let endless = stream::repeat_with(|| Ok::<_, std::io::Error>(vec![0u8; 4_096]));
            answer(200, &[("content-type", "application/json")], Body::from_stream(endless))
        },
        kind: ErrorKind::Protocol,
        retry: Retry::Reconnect,
        says: "over the limit",
    },
    Wrong {
        name: "a body that unfolds without an end",
        answer: |_| {
            let body = zstd::bulk::compress(&vec![0; 8 << 20], 1).unwrap();
            framed(200, &[("content-encoding", "zstd")], body)
        },
        kind: ErrorKind::Protocol,
        retry: Retry::Reconnect,
        says: "over the limit",
    },
    Wrong {
        name: "a refusal of ours",
        answer: refusal,
        kind: ErrorKind::PermissionDenied,
        retry: Retry::Never,
        says: "not this scope",
    },
    Wrong {
        name: "a gateway without a server",
        answer: |_| html(502, &[]),
        kind: ErrorKind::Network,
        retry: Retry::Reconnect,
        says: "502",
    },
    Wrong {
        name: "a gateway that lost patience",
        answer: |_| html(504, &[("retry-after", "3")]),
        kind: ErrorKind::Timeout,
        retry: Retry::Later(Some(Duration::from_secs(3))),
        says: "504",
    },
    Wrong {
        name: "a gateway that asks to wait",
        answer: |_| html(503, &[("retry-after", "7")]),
        kind: ErrorKind::Overloaded,
        retry: Retry::Later(Some(Duration::from_secs(7))),
        says: "503",
    },
    Wrong {
        name: "a gateway that asks to wait until a date",
        answer: |_| {
            let dates = [
                ("date", "Wed, 21 Oct 2026 12:00:00 GMT"),
                ("retry-after", "Wed, 21 Oct 2026 12:00:40 GMT"),
            ];
            html(429, &dates)
        },
        kind: ErrorKind::Overloaded,
        retry: Retry::Later(Some(Duration::from_secs(40))),
        says: "429",
    },
    Wrong {
        name: "an unknown token at a gateway",
        answer: |_| html(401, &[]),
        kind: ErrorKind::Unauthenticated,
        retry: Retry::Reconnect,
        says: "401",
    },
    Wrong {
        name: "a page of a network that forbids",
        answer: |_| html(403, &[]),
        kind: ErrorKind::Network,
        retry: Retry::Reconnect,
        says: "403",
    },
    Wrong {
        name: "a page that asks for a day",
        answer: |_| html(503, &[("retry-after", "86400")]),
        kind: ErrorKind::Overloaded,
        retry: Retry::Later(Some(Duration::from_secs(300))),
        says: "503",
    },
    Wrong {
        name: "sent elsewhere",
        answer: |_| answer(302, &[("location", "http://portal.example/login?x=y")], ""),
        kind: ErrorKind::Network,
        retry: Retry::Reconnect,
        says: "portal.example/login",
    },
    Wrong {
        name: "sent in a circle",
        answer: |_| answer(307, &[("location", "/v1/scopes/default/changes")], ""),
        kind: ErrorKind::Network,
        retry: Retry::Reconnect,
        says: "again and again",
    },
    Wrong {
        name: "nothing new where that was not asked",
        answer: |_| answer(304, &[], ""),
        kind: ErrorKind::Protocol,
        retry: Retry::Reconnect,
        says: "not asked",
    },
];

#[tokio::test]
async fn a_foreign_answer_is_an_error_that_describes_it() {
    for wrong in WRONG {
        let server =
            Script::greeting(move |seen| async move { (wrong.answer)(seen.format()) }).await;
        let mut config = server.config();
        config.max_answer_bytes = 1 << 20;
        let connection = server.connect_with(config).await;
        let error = within(connection.pull(pull(0))).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.retry()),
            (wrong.kind, wrong.retry),
            "{}: {error}",
            wrong.name
        );
        let text = error.report().to_string();
        assert!(text.contains(wrong.says) && error.operation().is_some(), "{}: {text}", wrong.name);
        assert!(!text.contains("x=y") && text.len() < 800, "{}: {text}", wrong.name);
    }
}

#[tokio::test]
async fn the_answer_to_a_greeting_is_checked_too() {
    for wrong in WRONG.iter().filter(|w| !w.says.contains("again") && w.name != "another message") {
        let server = Script::start(move |seen| async move { (wrong.answer)(seen.format()) }).await;
        let transport = HttpTransport::new(server.config()).unwrap();
        let error = within(transport.connect(hello(None))).await.unwrap_err();
        if wrong.kind != ErrorKind::Protocol {
            assert_eq!((error.kind(), error.retry()), (wrong.kind, wrong.retry), "{}", wrong.name);
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
