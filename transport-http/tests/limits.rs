//! Bounds, compression in both directions, and TLS.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

#[path = "support/served.rs"]
#[allow(unreachable_pub, dead_code, reason = "a module that tests share")]
mod served;

use std::io::{Read, Write};
use std::time::Duration;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use served::{Blocks, REPLICA, Served, client, expect, memory, refused, within};
use sync_server::{Hooks, ServerOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use transport_kit::tls::{Trust, server_config};

const CHANGES: &str = "/v1/scopes/room/changes";
const PUSHES: &str = "/v1/scopes/room/pushes";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn push(id: u64, text: &str) -> String {
    let change = serde_json::json!({"collection": "c", "id": format!("d{id}"), "body": text});
    serde_json::json!({"replica": REPLICA, "id": id, "changes": [change]}).to_string()
}

fn packed(served: &Served, encoding: &str, bytes: Vec<u8>) -> reqwest::RequestBuilder {
    let request = served.client.post(served.url(PUSHES)).body(bytes);
    request.header("content-type", "application/json").header("content-encoding", encoding)
}

#[tokio::test]
async fn bodies_are_compressed_in_both_directions() {
    let served = Served::new().await;
    let text = "abc".repeat(2_000);
    expect(packed(&served, "gzip", gzip(push(1, &text).as_bytes())), 200).await;
    let zstd = zstd::encode_all(push(2, &text).as_bytes(), 3).unwrap();
    expect(packed(&served, "zstd", zstd), 200).await;
    let plain = within(served.get(CHANGES).send()).await.unwrap().bytes().await.unwrap();
    for encoding in ["gzip", "zstd"] {
        let request = served.get(CHANGES).header("accept-encoding", encoding);
        let answer = within(request.send()).await.unwrap();
        assert_eq!(answer.headers()["content-encoding"], encoding);
        assert!(answer.headers().contains_key("etag"));
        let small = answer.bytes().await.unwrap();
        assert!(small.len() < 1_500, "{encoding}: {}", small.len());
        let mut unpacked = Vec::new();
        match encoding {
            "gzip" => GzDecoder::new(&small[..]).read_to_end(&mut unpacked).unwrap(),
            _ => zstd::Decoder::new(&small[..]).unwrap().read_to_end(&mut unpacked).unwrap(),
        };
        assert_eq!(unpacked, plain, "{encoding}");
    }
    // Streams and small answers are not compressed.
    let stream = served.get(CHANGES).header("accept-encoding", "gzip, zstd");
    assert!(!Blocks::open(stream).await.headers().contains_key("content-encoding"));
    let small = served.get("/v1/scopes/room").header("accept-encoding", "gzip, zstd");
    assert!(!expect(small, 200).await.0.contains_key("content-encoding"));
}

#[tokio::test]
async fn a_body_that_cannot_be_decompressed_is_refused() {
    let served = Served::new().await;
    let (headers, json) = expect(packed(&served, "br", b"x".to_vec()), 415).await;
    assert!(headers["accept-encoding"].to_str().unwrap().contains("gzip"), "{headers:?}");
    assert!(json["message"].as_str().unwrap().contains("encoding"));
    for encoding in ["gzip", "zstd"] {
        let (_, message) = refused(packed(&served, encoding, push(1, "x").into()), 400).await;
        assert!(message.contains("could not be read"), "{message}");
    }
    let mut cut = gzip(push(1, "x").as_bytes());
    cut.truncate(cut.len() - 9);
    refused(packed(&served, "gzip", cut), 400).await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_also_if_it_is_compressed() {
    let served = Served::with(memory(Hooks::default(), ServerOptions::default()), |config| {
        config.body_bytes = Some(10_000);
    })
    .await;
    let fits = push(1, &"x".repeat(9_000));
    expect(served.post(PUSHES, &fits), 200).await;
    let large = push(2, &"x".repeat(10_000));
    let (_, message) = refused(served.post(PUSHES, &large), 413).await;
    assert!(message.contains("limit of 10000 bytes"), "{message}");
    // Without a length that could be checked first.
    let parts = [large.clone()].map(Ok::<_, std::io::Error>);
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(parts));
    let chunked = served.client.post(served.url(PUSHES)).header("content-type", "application/json");
    refused(chunked.body(body), 413).await;
    // A few kilobytes that decompress to many megabytes.
    let bomb = vec![b' '; 64 << 20];
    refused(packed(&served, "gzip", gzip(&bomb)), 413).await;
    refused(packed(&served, "zstd", zstd::encode_all(&bomb[..], 1).unwrap()), 413).await;
    expect(packed(&served, "gzip", gzip(push(2, "x").as_bytes())), 200).await;
}

#[tokio::test]
async fn a_request_without_room_is_refused_with_a_delay() {
    let served = Served::with(memory(Hooks::default(), ServerOptions::default()), |config| {
        (config.requests, config.streams) = (1, 1);
        config.retry_after = Duration::from_millis(1_500);
    })
    .await;
    served.push(1, &["a"]).await;
    // A stream takes no place of a request, and there is room for one.
    let events = Blocks::open(served.get(CHANGES)).await;
    let (headers, json) =
        expect(served.get(CHANGES).header("accept", "text/event-stream"), 503).await;
    assert_eq!(headers["retry-after"], "2");
    assert_eq!(json["retry"], serde_json::json!({"after_ms": 1500}));
    let (_, chunk) = expect(served.get(CHANGES), 200).await;
    let head = format!("{CHANGES}?cursor={}", chunk["cursor"].as_str().unwrap());
    expect(served.get(&format!("{head}&wait=60")), 503).await;
    expect(served.get(&head), 200).await;
    drop(events);
    // A request that sends its body slowly holds the only place until it ends.
    let mut slow = TcpStream::connect(served.address).await.unwrap();
    let begin = format!(
        "POST {PUSHES} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    );
    slow.write_all(begin.as_bytes()).await.unwrap();
    let status =
        async || within(served.get("/v1/scopes/room").send()).await.unwrap().status().as_u16();
    within(async { while status().await != 503 {} }).await;
    assert_eq!(refused(served.get("/v1/scopes/room"), 503).await.0, "overloaded");
    drop(slow);
    within(async { while status().await != 200 {} }).await;
}

#[tokio::test]
async fn an_unread_answer_keeps_the_place_of_its_request() {
    let served = Served::with(memory(Hooks::default(), ServerOptions::default()), |config| {
        config.requests = 4;
    })
    .await;
    for id in 1..=4 {
        expect(served.post(PUSHES, &push(id, &"x".repeat(900_000))), 200).await;
    }
    let mut silent = Vec::new();
    for packing in ["identity", "gzip;q=0", "identity", "*;q=0"] {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        let mut stream = within(socket.connect(served.address)).await.unwrap();
        let head =
            format!("GET {CHANGES} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {packing}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        silent.push(stream);
    }
    let status =
        async || within(served.get("/v1/scopes/room").send()).await.unwrap().status().as_u16();
    within(async { while status().await != 503 {} }).await;
    // Not only while they are being handled.
    for stream in &mut silent {
        within(stream.read_exact(&mut [0; 12])).await.unwrap();
    }
    for _ in 0..100 {
        assert_eq!(status().await, 503);
    }
    drop(silent);
    within(async { while status().await != 200 {} }).await;
    within(served.server.drained()).await;
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_ended() {
    let served = Served::with(memory(Hooks::default(), ServerOptions::default()), |config| {
        config.request_time = Duration::from_millis(100);
    })
    .await;
    let mut slow = TcpStream::connect(served.address).await.unwrap();
    let begin = format!(
        "POST {PUSHES} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{{"
    );
    slow.write_all(begin.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(slow.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert!(answer.contains("\"kind\":\"timeout\""), "{answer}");
}

#[tokio::test]
async fn a_push_whose_client_disconnects_takes_effect_once() {
    let served = Served::new().await;
    let batch = push(1, "x");
    let mut gone = TcpStream::connect(served.address).await.unwrap();
    let head = format!(
        "POST {PUSHES} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        batch.len()
    );
    gone.write_all((head + &batch).as_bytes()).await.unwrap();
    drop(gone);
    let (_, verdicts) = expect(served.post(PUSHES, &batch), 200).await;
    assert_eq!(verdicts["verdicts"][0]["kind"], "accepted");
    within(served.server.drained()).await;
    let (_, again) = expect(served.post(PUSHES, &batch), 200).await;
    assert_eq!(again, verdicts);
    assert_eq!(expect(served.get(CHANGES), 200).await.1["head"], 1);
}

#[tokio::test]
async fn long_cursors_are_accepted_in_a_body_and_long_headers_refused() {
    let served = Served::new().await;
    let long = "A".repeat(600_000);
    for head in [format!("GET {CHANGES}?cursor={long}"), format!("GET {CHANGES}")] {
        let mut raw = TcpStream::connect(served.address).await.unwrap();
        let head = format!("{head} HTTP/1.1\r\nHost: x\r\nIf-None-Match: {long}\r\n\r\n");
        // It may be refused before it was sent completely.
        let _ = within(raw.write_all(head.as_bytes())).await;
        let mut answer = [0; 12];
        within(raw.read_exact(&mut answer)).await.unwrap();
        assert!([b"HTTP/1.1 414", b"HTTP/1.1 431"].contains(&&answer), "{answer:?}");
    }
    let json = format!(r#"{{"cursor":"{long}"}}"#);
    let (_, message) = refused(served.post(CHANGES, &json), 400).await;
    assert!(message.contains("no cursor"), "{message}");
}

#[tokio::test]
async fn the_routes_are_served_over_tls() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let tls = server_config(certificate.as_bytes(), key.as_bytes()).unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let server = memory(Hooks::default(), ServerOptions::default());
    let app = transport_http::router(server);
    let (_stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(transport_kit::listen_tls(socket, tls, app, async {
        let _ = stopped.await;
    }));
    let trust = Trust::Only(vec![certificate.into_bytes()]).client_config().unwrap();
    let client = client().tls_backend_preconfigured((*trust).clone()).build().unwrap();
    let url = format!("https://localhost:{port}{CHANGES}");
    assert_eq!(expect(client.get(&url), 200).await.1["more"], false);
    let mut events = Blocks::open(client.get(&url)).await;
    assert!(events.next().await.unwrap().len() >= 2_048);
}

#[tokio::test]
async fn large_arriving_bodies_have_a_separate_memory_bound() {
    let served = Served::with(memory(Hooks::default(), ServerOptions::default()), |config| {
        config.body_memory = 256 << 10;
    })
    .await;
    // Three quarters of it, held by a body that does not end.
    let mut slow = TcpStream::connect(served.address).await.unwrap();
    let begin = format!(
        "POST {PUSHES} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 250000\r\n\r\n"
    );
    slow.write_all(begin.as_bytes()).await.unwrap();
    slow.write_all(&[b' '; 200_000]).await.unwrap();
    let large = |id| {
        let text = push(id, &"x".repeat(100_000));
        served.client.post(served.url(PUSHES)).header("content-type", "application/json").body(text)
    };
    let status = async |id| within(large(id).send()).await.unwrap().status().as_u16();
    within(async { while status(1).await != 503 {} }).await;
    assert_eq!(refused(large(1), 503).await.0, "overloaded");
    let small = served.client.post(served.url(PUSHES)).header("content-type", "application/json");
    expect(small.body(push(2, "x")), 200).await;
    drop(slow);
    within(async { while status(3).await != 200 {} }).await;
}
