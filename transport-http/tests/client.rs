//! The client's requests over real sockets, and its handling of every answer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

#[path = "support/script.rs"]
#[allow(dead_code, unreachable_pub, reason = "a module of several tests")]
mod script;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::response::Response;
use futures_util::{StreamExt, stream};
use script::*;
use sync_core::error::{Error, ErrorKind, Retry};
use sync_core::model::{
    Body as Json, Change, Chunk, Collection, Cursor, DocumentId, Limits, PushBatch, PushId,
    ReplicaId, Reset, ResetReason, Scope, Seq, Verdict, VerdictKind, Verdicts,
};
use sync_core::protocol::{Ack, Goodbye, Hello, Pull, WireError};
use sync_core::transport::{Delivery, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use transport_http::format::{Format, write_cursor};
use transport_http::{HttpConfig, HttpTransport, ProxyBy};

const FORMATS: [Format; 2] = [Format::Frame, Format::Json];

fn ack() -> Ack {
    Ack::new(Scope::default(), EPOCH, Seq(5))
}

fn batch(changes: usize, bytes: usize) -> PushBatch {
    let change = |n: usize| {
        let state = chunk(0, n as u64 + 1).entries.pop().unwrap().state;
        let body = Json::parse(format!("{{\"x\":\"{}\"}}", "x".repeat(bytes))).unwrap();
        Change::new(
            Collection::new("notes").unwrap(),
            DocumentId::new(format!("d{n}")).unwrap(),
            sync_core::model::DocumentState { body: Some(body), ..state },
        )
    };
    PushBatch::new(
        Scope::default(),
        ReplicaId([1; 16]),
        PushId(4),
        (0..changes).map(change).collect(),
    )
}

fn accepted(n: usize) -> Verdicts {
    let verdict =
        |n| Verdict { seq: Seq(n as u64 + 1), kind: VerdictKind::Accepted, current: None };
    Verdicts::Decided { epoch: EPOCH, mark: None, verdicts: (0..n).map(verdict).collect() }
}

const RESET: Reset = Reset { epoch: EPOCH, reason: ResetReason::DigestDiffers };

fn goodbye() -> Goodbye {
    Goodbye { reason: "enough".to_owned(), retry_after: None }
}

/// Answers like a server whose scope is at 5.
async fn usual(seen: Seen) -> Response {
    let format = seen.format();
    match seen.path.rsplit('/').next().unwrap() {
        "changes" if seen.header("if-none-match").is_some() => answer(304, &[], ""),
        "changes" => changes(format, chunk(0, 5)),
        "pushes" => content(format, accepted(2)),
        "acknowledgements" => answer(204, &[], ""),
        _ => answer(404, &[], ""),
    }
}

#[tokio::test]
async fn every_operation_is_one_request_that_names_its_replica() {
    for format in FORMATS {
        let server = Script::greeting(usual).await;
        let mut config = server.config();
        config.format = format;
        config.headers = vec![("x-gateway".to_owned(), "let me in".to_owned())];
        let connection = server.connect_with(config).await;
        let first = Pull { cursor: Cursor::default(), ..pull(0) };
        assert_eq!(connection.pull(first).await.unwrap(), Delivery::Chunk(chunk(0, 5)));
        assert_eq!(connection.push(batch(2, 10)).await.unwrap(), accepted(2));
        assert_eq!(connection.acknowledge(ack()).await.unwrap(), None);
        let seen = server.seen();
        let asked: Vec<_> = seen.iter().map(|s| format!("{} {}", s.method, s.path)).collect();
        assert_eq!(
            asked,
            [
                "POST /v1/hello",
                "GET /v1/scopes/default/changes",
                "POST /v1/scopes/default/pushes",
                "POST /v1/scopes/default/acknowledgements"
            ]
        );
        for seen in &seen {
            assert_eq!(seen.header("authorization"), Some("Bearer secret"));
            assert_eq!(seen.header("twotide-replica"), Some("01".repeat(16).as_str()));
            assert_eq!(seen.header("x-gateway"), Some("let me in"));
            assert_eq!(seen.accepts(), format.content_type());
        }
        // The token is in one place only, and the greeting does not negotiate compression here.
        let greeting: Hello = format.decode(seen[0].body.clone()).unwrap();
        assert_eq!((greeting.token, greeting.compressions.len()), (None, 0));
        assert!(!seen[1].query.contains_key("cursor"));
        assert_eq!(seen[1].query["documents"], Limits::CHUNK.documents.to_string());
        assert_eq!(format.decode::<PushBatch>(seen[2].body.clone()).unwrap(), batch(2, 10));
        assert_eq!(format.decode::<Ack>(seen[3].body.clone()).unwrap(), ack());
    }
}

#[tokio::test]
async fn resets_and_other_verdicts_arrive() {
    for format in FORMATS {
        let server = Script::greeting(async |seen| match seen.path.contains("pushes") {
            true => content(seen.format(), Verdicts::Cloned),
            false => content(seen.format(), RESET),
        })
        .await;
        let mut config = server.config();
        config.format = format;
        let connection = server.connect_with(config).await;
        assert_eq!(connection.pull(pull(3)).await.unwrap(), Delivery::Reset(RESET));
        assert_eq!(connection.acknowledge(ack()).await.unwrap(), Some(RESET));
        assert_eq!(connection.push(batch(2, 10)).await.unwrap(), Verdicts::Cloned);
    }
}

#[tokio::test]
async fn a_scope_is_one_part_of_the_address_whatever_its_name() {
    let server = Script::greeting(usual).await;
    let mut config = server.config();
    config.url = format!("{}/under/here/", server.url());
    let transport = HttpTransport::new(config).unwrap();
    assert!(transport.connect(hello(None)).await.is_err(), "this path is not served");
    assert_eq!(server.asked()[0].path, "/under/here/v1/hello");
    for (name, path) in [
        ("a/b", "a%2Fb"),
        ("50%", "50%25"),
        ("a b?c#d", "a%20b%3Fc%23d"),
        ("ü", "%C3%BC"),
        ("...", "..."),
    ] {
        let pull = Pull { scope: Scope::new(name).unwrap(), ..pull(0) };
        // The answer is about another scope.
        assert!(server.connect().await.pull(pull).await.is_err());
        let asked = server.asked().pop().unwrap();
        assert_eq!(asked.path, format!("/v1/scopes/{path}/changes"));
    }
    let connection = server.connect().await;
    for name in [".", ".."] {
        let pull = Pull { scope: Scope::new(name).unwrap(), ..pull(0) };
        let error = connection.pull(pull).await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::InvalidInput, Retry::Never));
    }
    assert!(connection.acknowledge(ack()).await.is_ok(), "the link is not lost");
}

#[tokio::test]
async fn a_cursor_that_is_too_long_for_an_address_is_sent_in_a_body() {
    let server = Script::greeting(usual).await;
    let connection = server.connect().await;
    let late = |n: u64| (Collection::new(format!("{n:0>100}")).unwrap(), Seq(1));
    let mut pull = pull(5);
    pull.cursor.backfills = (0..40).map(late).collect();
    pull.cursor.after = Seq(1);
    let _ = connection.pull(pull.clone()).await;
    let asked = server.asked().remove(0);
    assert_eq!(asked.method, "POST");
    assert_eq!(Format::Frame.decode::<Pull>(asked.body).unwrap(), pull);
    pull.cursor.backfills = (0..2).map(late).collect();
    let _ = connection.pull(pull.clone()).await;
    let asked = server.asked().remove(1);
    assert_eq!(
        (asked.method.as_str(), &asked.query["cursor"]),
        ("GET", &write_cursor(&pull.cursor))
    );
    assert_eq!(asked.header("if-none-match"), None, "a back-fill must not be asked for so");
}

#[tokio::test]
async fn at_the_head_a_pull_is_a_condition_and_its_answer_an_empty_chunk() {
    let server = Script::greeting(usual).await;
    let connection = server.connect().await;
    let Delivery::Chunk(nothing) = connection.pull(pull(5)).await.unwrap() else { panic!() };
    // The same chunk that a server without further changes sends.
    assert_eq!(nothing, Chunk { entries: Vec::new(), after: Seq(5), ..chunk(0, 5) });
    let tag = format!("\"{}-5\"", "07".repeat(16));
    assert_eq!(server.asked()[0].header("if-none-match"), Some(tag.as_str()));
    let unconditional = [
        Pull { cursor: Cursor { floor: Some(Seq(9)), ..at(5) }, ..pull(5) },
        Pull { cursor: Cursor { after: Seq(2), ..at(5) }, ..pull(5) },
        Pull { cursor: Cursor { mark: None, ..at(5) }, ..pull(5) },
        Pull { cursor: Cursor { epoch: None, ..at(5) }, ..pull(5) },
        pull(0),
    ];
    for pull in unconditional {
        let connection = server.connect().await;
        let _ = connection.pull(pull).await;
        assert_eq!(server.asked().last().unwrap().header("if-none-match"), None);
    }
    // After a chunk on this connection, its server starts are known.
    connection.pull(pull(0)).await.unwrap();
    let known = Pull { cursor: Cursor { mark: None, ..at(5) }, ..pull(5) };
    assert!(matches!(connection.pull(known).await.unwrap(), Delivery::Chunk(c) if c == nothing));
}

#[tokio::test]
async fn answers_that_do_not_fit_the_request_are_refused() {
    let server = Script::greeting(async |seen| match seen.path.contains("pushes") {
        true => content(seen.format(), accepted(3)),
        false => {
            let scope = Scope::new("other").unwrap();
            script::changes(seen.format(), Chunk { scope, ..chunk(0, 5) })
        }
    })
    .await;
    let connection = server.connect().await;
    let error = connection.push(batch(2, 10)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert_eq!(connection.pull(pull(0)).await.unwrap_err().kind(), ErrorKind::Protocol);
}

#[tokio::test]
async fn a_request_follows_a_redirect_to_the_same_server_only() {
    let other = Script::start(usual).await;
    let elsewhere = format!("{}/v1/scopes/default/changes", other.url());
    let server = Script::greeting(move |seen| {
        let elsewhere = elsewhere.clone();
        async move {
            match (seen.query.contains_key("moved"), seen.path.contains("pushes")) {
                (true, _) => usual(seen).await,
                (_, true) => answer(307, &[("location", "/v1/scopes/default/pushes?moved=1")], ""),
                _ if seen.query.contains_key("cursor") => {
                    answer(302, &[("location", &elsewhere)], "")
                }
                _ => answer(308, &[("location", "/v1/scopes/default/changes?moved=1")], ""),
            }
        }
    })
    .await;
    let connection = server.connect().await;
    let first = Pull { cursor: Cursor::default(), ..pull(0) };
    assert_eq!(connection.pull(first).await.unwrap(), Delivery::Chunk(chunk(0, 5)));
    // A request that changes something is not repeated, and the token is not sent elsewhere.
    let connection = server.connect().await;
    assert_eq!(connection.push(batch(1, 1)).await.unwrap_err().kind(), ErrorKind::Network);
    let connection = server.connect().await;
    assert_eq!(connection.pull(pull(5)).await.unwrap_err().kind(), ErrorKind::Network);
    assert_eq!(other.seen().len(), 0);
}

#[tokio::test]
async fn a_new_token_is_tried_before_it_is_used() {
    let server = Script::start(async |seen| match seen.header("authorization") {
        Some("Bearer wrong") => {
            let error = Error::new(ErrorKind::Unauthenticated, "who is that?");
            let body = Format::Frame.encode(WireError::from(&error)).unwrap();
            framed(401, &[], body.to_vec())
        }
        _ if seen.path == "/v1/hello" => content(seen.format(), welcome()),
        _ => usual(seen).await,
    })
    .await;
    let connection = server.connect().await;
    let refused = connection.renew("wrong".to_owned()).await.unwrap_err();
    assert_eq!((refused.kind(), refused.retry()), (ErrorKind::Unauthenticated, Retry::Never));
    let unsendable = connection.renew("a\nb".to_owned()).await.unwrap_err();
    assert_eq!(unsendable.kind(), ErrorKind::InvalidInput);
    connection.acknowledge(ack()).await.unwrap();
    connection.renew("fresh".to_owned()).await.unwrap();
    connection.acknowledge(ack()).await.unwrap();
    let tokens: Vec<_> =
        server.seen().iter().map(|s| s.header("authorization").unwrap().to_owned()).collect();
    let all = ["secret", "wrong", "secret", "fresh", "fresh"].map(|t| format!("Bearer {t}"));
    assert_eq!(tokens, all);
}

/// Returns an address on which no server listens.
async fn nobody() -> String {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", socket.local_addr().unwrap())
}

#[tokio::test]
async fn an_unreachable_server_is_a_network_error_with_its_cause() {
    let transport = HttpTransport::new(config(nobody().await)).unwrap();
    let error = transport.connect(hello(None)).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Network, Retry::Reconnect));
    assert!(error.report().to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_request_that_does_not_reach_the_server_fails_all_pending_ones() {
    let gauge = Gauge::default();
    let counted = gauge.clone();
    let server = Script::greeting(move |seen| {
        let one = counted.one();
        async move {
            let _one = one;
            if seen.path.contains("pushes") {
                return html(502, &[]);
            }
            std::future::pending().await
        }
    })
    .await;
    let connection = server.connect().await;
    let mut live = connection.live(pull(5));
    let pending = tokio::spawn({
        let connection = Arc::clone(&connection);
        async move { (connection.pull(pull(0)).await.unwrap_err(), connection.lost().await) }
    });
    let following = tokio::spawn(async move { live.next().await.unwrap().unwrap_err() });
    gauge.reaches(2).await;
    let cause = connection.push(batch(2, 10)).await.unwrap_err();
    assert_eq!(cause.kind(), ErrorKind::Network);
    let (pulled, lost) = within(pending).await.unwrap();
    let followed = within(following).await.unwrap();
    for error in [pulled, lost, followed] {
        assert_eq!(
            (error.kind(), error.retry()),
            (ErrorKind::Network, Retry::Reconnect),
            "{error}"
        );
    }
    // No further request is sent.
    gauge.reaches(0).await;
    let asked = server.asked().len();
    assert_eq!(connection.acknowledge(ack()).await.unwrap_err().retry(), Retry::Reconnect);
    assert_eq!(server.asked().len(), asked);
}

#[tokio::test]
async fn a_refusal_of_one_request_affects_no_other() {
    let server = Script::greeting(async |seen| match seen.path.contains("pushes") {
        true => refusal(seen.format()),
        false => usual(seen).await,
    })
    .await;
    let connection = server.connect().await;
    assert!(connection.push(batch(2, 10)).await.is_err());
    assert!(connection.acknowledge(ack()).await.is_ok());
    let lost = tokio::time::timeout(Duration::from_millis(50), connection.lost()).await;
    assert!(lost.is_err(), "the link is not lost");
}

#[tokio::test]
async fn closing_or_dropping_a_connection_ends_pending_requests() {
    for is_closed in [true, false] {
        let gauge = Gauge::default();
        let counted = gauge.clone();
        let server = Script::greeting(move |_| {
            let one = counted.one();
            async move {
                let _one = one;
                std::future::pending().await
            }
        })
        .await;
        let connection = server.connect().await;
        let mut live = connection.live(pull(5));
        let following = tokio::spawn(async move { (live.next().await, live.next().await) });
        gauge.reaches(1).await;
        if is_closed {
            connection.close(goodbye()).await;
            let lost = within(connection.lost()).await;
            assert_eq!((lost.kind(), lost.retry()), (ErrorKind::Closed, Retry::Reconnect));
        }
        drop(connection);
        let (last, none) = within(following).await.unwrap();
        assert_eq!(last.unwrap().unwrap_err().kind(), ErrorKind::Closed);
        assert!(none.is_none());
        gauge.reaches(0).await;
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_a_timeout() {
    let server = Script::greeting(|_| std::future::pending()).await;
    let mut config = server.config();
    config.request_timeout = Duration::from_millis(100);
    let connection = server.connect_with(config).await;
    let error = within(connection.push(batch(1, 1))).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Timeout, Retry::Reconnect));
    assert_eq!(within(connection.lost()).await.kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn concurrent_requests_are_bounded_and_live_ones_do_not_count() {
    let (gauge, lives) = (Gauge::default(), Gauge::default());
    let (counted, live) = (gauge.clone(), lives.clone());
    let server = Script::greeting(move |seen| {
        let one = if seen.accepts().contains("event") { live.one() } else { counted.one() };
        async move {
            let _one = one;
            if seen.accepts().contains("event") {
                let open = stream::iter([COMMENT.to_owned()]).chain(stream::pending());
                return script::stream(open);
            }
            tokio::task::yield_now().await;
            usual(seen).await
        }
    })
    .await;
    let mut config = server.config();
    config.requests = 3;
    let connection = server.connect_with(config).await;
    let lives: Vec<_> = (0..6)
        .map(|_| {
            let mut live = connection.live(pull(5));
            tokio::spawn(async move { live.next().await })
        })
        .collect();
    let acks = (0..40).map(|_| connection.acknowledge(ack()));
    let all = within(futures_util::future::join_all(acks)).await;
    assert!(all.into_iter().all(|a| a.is_ok()));
    assert!((1..=3).contains(&gauge.most()), "{}", gauge.most());
    drop(lives);
}

#[tokio::test]
async fn requests_are_compressed_once_the_server_has_named_the_encoding() {
    for (said, named) in [("gzip", "gzip"), ("identity, gzip , zstd", "zstd"), ("br", "")] {
        let server = Script::greeting(move |_| async move {
            let mut answer = content(Format::Frame, accepted(2));
            answer.headers_mut().insert("accept-encoding", said.parse().unwrap());
            answer
        })
        .await;
        let connection = server.connect().await;
        for _ in 0..2 {
            connection.push(batch(2, 5_000)).await.unwrap();
        }
        connection.push(batch(2, 10)).await.unwrap();
        let asked = server.asked();
        let plain = Format::Frame.encode(batch(2, 5_000)).unwrap();
        assert_eq!(asked[0].body, plain);
        assert_eq!(asked[0].header("content-encoding"), None);
        assert_eq!(asked[2].header("content-encoding"), None, "it is too small");
        let mut unfolded = Vec::new();
        match named {
            "gzip" => {
                flate2::read::GzDecoder::new(&asked[1].body[..])
                    .read_to_end(&mut unfolded)
                    .unwrap();
            }
            "zstd" => unfolded = zstd::bulk::decompress(&asked[1].body, 1 << 20).unwrap(),
            _ => unfolded = asked[1].body.to_vec(),
        }
        assert_eq!(asked[1].header("content-encoding").unwrap_or_default(), named);
        assert_eq!(unfolded, plain);
    }
}

#[tokio::test]
async fn a_request_whose_compression_is_refused_is_repeated_without() {
    let refused = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refused);
    let server = Script::greeting(move |seen| {
        let is_compressed = seen.header("content-encoding").is_some();
        count.fetch_add(usize::from(is_compressed), Ordering::SeqCst);
        async move {
            let mut answer = match is_compressed {
                true => return answer(415, &[], ""),
                false => content(Format::Frame, accepted(2)),
            };
            answer.headers_mut().insert("accept-encoding", "zstd".parse().unwrap());
            answer
        }
    })
    .await;
    let connection = server.connect().await;
    for _ in 0..2 {
        connection.push(batch(2, 5_000)).await.unwrap();
    }
    assert_eq!(refused.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn answers_may_be_compressed_unless_configured_otherwise() {
    let server = Script::greeting(async |seen| {
        let Some(accepted) = seen.header("accept-encoding") else {
            return script::changes(seen.format(), chunk(0, 5));
        };
        assert!(accepted.contains("zstd") && accepted.contains("gzip"));
        let body = zstd::bulk::compress(&bytes_of_chunk(), 1).unwrap();
        framed(200, &[("content-encoding", "zstd")], body)
    })
    .await;
    for compress in [true, false] {
        let mut config = server.config();
        config.compress = compress;
        let connection = server.connect_with(config).await;
        assert_eq!(connection.pull(pull(0)).await.unwrap(), Delivery::Chunk(chunk(0, 5)));
    }
}

/// Starts a proxy that accepts whole addresses and `CONNECT`, and records the first line of
/// requests.
async fn proxy(note: Arc<std::sync::Mutex<Vec<String>>>) -> String {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = socket.accept().await {
            tokio::spawn(relay(client, Arc::clone(&note)));
        }
    });
    format!("http://user:pass@{address}")
}

async fn relay(mut client: TcpStream, note: Arc<std::sync::Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let (line, rest) = head.split_once("\r\n").unwrap();
    assert!(rest.to_lowercase().contains("proxy-authorization: basic"), "{rest}");
    note.lock().unwrap().push(line.to_owned());
    let target = line.split(' ').nth(1).unwrap();
    let (target, path) = match target.strip_prefix("http://") {
        Some(target) => target.split_at(target.find('/').unwrap()),
        None => (target, ""),
    };
    let mut server = TcpStream::connect(target).await.unwrap();
    if path.is_empty() {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    } else {
        let method = line.split(' ').next().unwrap();
        // One request per connection, as simple proxies do.
        let head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n{rest}");
        server.write_all(head.as_bytes()).await.unwrap();
    }
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}

#[tokio::test]
async fn an_explicit_proxy_is_used_and_its_password_not_shown() {
    let note = Arc::default();
    let server = Script::greeting(usual).await;
    let mut config = server.config();
    config.proxy = ProxyBy::Url(proxy(Arc::clone(&note)).await);
    assert!(!format!("{config:?}").contains("pass"));
    let transport = HttpTransport::new(config).unwrap();
    assert!(!format!("{transport:?}").contains("pass@"));
    let (connection, _) = within(transport.connect(hello(None))).await.unwrap();
    connection.acknowledge(ack()).await.unwrap();
    let lines = note.lock().unwrap().clone();
    assert_eq!(lines[0], format!("POST {}/v1/hello HTTP/1.1", server.url()));
    let mut bad = server.config();
    bad.proxy = ProxyBy::Url("://user:pass@".to_owned());
    assert!(!HttpTransport::new(bad).unwrap_err().report().to_string().contains("pass"));
}

/// Starts a server with TLS, and returns its address and its certificate.
async fn secure() -> (String, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let pem = made.cert.pem().into_bytes();
    let key = made.signing_key.serialize_pem();
    let tls = transport_http::tls::server_config(&pem, key.as_bytes()).unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let app = axum::Router::new().fallback(async || content(Format::Frame, welcome()));
    tokio::spawn(transport_kit::listen_tls(socket, tls, app, std::future::pending()));
    (format!("https://localhost:{port}"), pem)
}

#[tokio::test]
async fn tls_uses_the_configured_trust_also_through_a_proxy() {
    let (url, pem) = secure().await;
    let mut trusting = config(url.clone());
    trusting.trust = transport_http::tls::Trust::Only(vec![pem]);
    let transport = HttpTransport::new(trusting.clone()).unwrap();
    within(transport.connect(hello(Some("secret")))).await.unwrap();
    let error = within(HttpTransport::new(config(url.clone())).unwrap().connect(hello(None))).await;
    let error = error.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Network, Retry::Reconnect));
    assert!(error.report().to_string().to_lowercase().contains("certificate"), "{error}");
    let note = Arc::default();
    trusting.proxy = ProxyBy::Url(proxy(Arc::clone(&note)).await);
    within(HttpTransport::new(trusting).unwrap().connect(hello(None))).await.unwrap();
    assert!(note.lock().unwrap()[0].starts_with("CONNECT localhost:"));
}

#[test]
fn unusable_settings_are_refused_before_connecting() {
    for bad in [
        "nonsense",
        "ws://localhost",
        "http://",
        "http://localhost:99999",
        "http://localhost:0",
        "http://user:secret@localhost",
        "http://localhost/?x=secret",
    ] {
        let error = HttpTransport::new(HttpConfig::new(bad)).unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::InvalidInput, Retry::Never), "{bad}");
        assert!(!error.report().to_string().contains("user:secret"), "{error}");
    }
    let mut config = HttpConfig::new("https://localhost/prefix");
    config.headers = vec![("x-key".to_owned(), "hush".to_owned())];
    let shown = format!("{:?}", HttpTransport::new(config.clone()).unwrap());
    assert!(!shown.contains("hush"), "{shown}");
    config.headers.push(("no header".to_owned(), String::new()));
    assert!(HttpTransport::new(config).is_err());
    let mut config = HttpConfig::new("https://localhost");
    config.trust = transport_http::tls::Trust::Only(vec![b"no certificate".to_vec()]);
    assert!(HttpTransport::new(config).is_err());
}

#[tokio::test]
async fn no_debug_form_shows_a_token() {
    let server = Script::greeting(usual).await;
    let connection = server.connect().await;
    assert!(!format!("{connection:?}").contains("secret"), "{connection:?}");
}
