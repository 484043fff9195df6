//! Clients that are not admitted, clients that use more than their share, and pages of other sites.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

#[path = "support/served.rs"]
#[allow(unreachable_pub, dead_code, reason = "a module that tests share")]
mod served;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use served::{REPLICA, Served, expect, memory, refused, within};
use sync_core::error::Result;
use sync_core::protocol::Hello;
use sync_server::{Authenticate, Hooks, Principal, ServerOptions, StaticTokens};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use transport_http::HttpServerConfig;
use transport_kit::BrowserPolicy;

const HELLO: &str = "/v1/hello";
const CHANGES: &str = "/v1/scopes/room/changes";
const PUSHES: &str = "/v1/scopes/room/pushes";

/// Starts a server with two tokens.
async fn guarded(set: impl FnOnce(&mut HttpServerConfig)) -> Served {
    let tokens = [("ann", "sesame"), ("bob", "barley")];
    let tokens = StaticTokens::new(tokens.map(|(name, token)| (name.to_owned(), token.to_owned())));
    let hooks = Hooks { authenticate: Arc::new(tokens), ..Hooks::default() };
    Served::with(memory(hooks, ServerOptions::default()), set).await
}

fn greeting(versions: &[u32], token: Option<&str>) -> String {
    let mut hello = serde_json::json!({"replica": REPLICA, "versions": versions});
    if let Some(token) = token {
        hello["token"] = token.into();
    }
    hello.to_string()
}

/// Sends a request whose body begins and does not end.
async fn unfinished(served: &Served, path: &str, more: &str) -> TcpStream {
    let mut socket = TcpStream::connect(served.address).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\n{more}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket
}

async fn status(request: reqwest::RequestBuilder) -> u16 {
    within(request.send()).await.unwrap().status().as_u16()
}

/// Authenticates every token slowly.
#[derive(Debug, Default)]
struct Slow {
    asked: AtomicUsize,
    answer: tokio::sync::Notify,
}

#[async_trait::async_trait]
impl Authenticate for Slow {
    async fn authenticate(&self, _: Option<&str>) -> Result<Principal> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.answer.notified().await;
        Ok(Principal { name: "ann".to_owned() })
    }
}

#[tokio::test]
async fn a_slow_hook_is_called_by_a_bounded_number_of_requests() {
    let slow = Arc::new(Slow::default());
    let hooks = Hooks { authenticate: slow.clone(), ..Hooks::default() };
    let server = memory(hooks, ServerOptions::default());
    let served = Served::with(server, |config| config.requests = 2).await;
    let ask = || {
        let request = served.get("/v1/scopes/room/changes").send();
        tokio::spawn(async move { within(request).await.unwrap().status().as_u16() })
    };
    let waiting = [ask(), ask()];
    within(async {
        while slow.asked.load(Ordering::Relaxed) < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    refused(served.get(CHANGES), 503).await;
    assert_eq!(slow.asked.load(Ordering::Relaxed), 2);
    slow.answer.notify_waiters();
    for one in waiting {
        assert_eq!(one.await.unwrap(), 200);
    }
}

#[tokio::test]
async fn unfinished_greetings_take_separate_places() {
    let served = guarded(|config| {
        (config.requests, config.greetings) = (2, 2);
        config.greeting_time = Duration::from_millis(300);
    })
    .await;
    let mut sockets = Vec::new();
    for _ in 0..2 {
        sockets.push(unfinished(&served, HELLO, "").await);
    }
    let greet = || served.post(HELLO, &greeting(&[1], Some("sesame")));
    within(async { while status(greet()).await != 503 {} }).await;
    // A token in the header is enough.
    for token in ["sesame", "barley"] {
        assert_eq!(status(served.get(CHANGES).bearer_auth(token)).await, 200);
        assert_eq!(status(greet().bearer_auth(token)).await, 200);
    }
    let mut answer = Vec::new();
    within(sockets[0].read_to_end(&mut answer)).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 504"), "{}", String::from_utf8_lossy(&answer));
    within(async { while status(greet()).await != 200 {} }).await;
}

#[tokio::test]
async fn a_body_is_not_read_before_its_client_is_admitted() {
    let served = guarded(|config| config.requests = 1).await;
    let mut without = unfinished(&served, PUSHES, "").await;
    let mut answer = vec![0; 12];
    within(without.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 401");
    assert_eq!(status(served.get(CHANGES).bearer_auth("sesame")).await, 200, "no place is taken");
}

#[tokio::test]
async fn a_greeting_without_a_token_in_its_header_is_small() {
    let served = guarded(|config| config.greeting_bytes = 1_000).await;
    let long = greeting(&vec![2; 1_000], Some("sesame"));
    refused(served.post(HELLO, &long), 413).await;
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&vec![b' '; 16 << 20]).unwrap();
    let packed = served.client.post(served.url(HELLO)).body(packed.finish().unwrap());
    let packed = packed.header("content-type", "application/json");
    refused(packed.header("content-encoding", "gzip"), 413).await;
    expect(served.post(HELLO, &greeting(&[1], Some("sesame"))), 200).await;
}

#[tokio::test]
async fn names_in_a_greeting_are_bounded_and_not_sent_back() {
    let served = guarded(|_| {}).await;
    let many = greeting(&[2; Hello::VERSIONS + 1], None);
    let answer = served.post(HELLO, &many).bearer_auth("sesame");
    let (kind, message) = refused(answer, 400).await;
    assert_eq!(kind, "invalid_input");
    assert!(message.contains("at most 16"), "{message}");
    let few = served.post(HELLO, &greeting(&[2; Hello::VERSIONS], None)).bearer_auth("sesame");
    refused(few, 426).await;
}

#[tokio::test]
async fn a_principal_takes_a_part_of_the_places() {
    let served = guarded(|config| config.requests_per_principal = 1).await;
    let slow = unfinished(&served, PUSHES, "Authorization: Bearer sesame\r\n").await;
    let of = |token: &str| status(served.get(CHANGES).bearer_auth(token));
    within(async { while of("sesame").await != 503 {} }).await;
    assert_eq!(of("barley").await, 200);
    drop(slow);
    within(async { while of("sesame").await != 200 {} }).await;
}

#[tokio::test]
async fn an_address_takes_a_part_of_the_places() {
    let served = guarded(|config| config.requests_per_address = 1).await;
    let slow = unfinished(&served, PUSHES, "Authorization: Bearer sesame\r\n").await;
    let of = |token: &str| status(served.get(CHANGES).bearer_auth(token));
    within(async { while of("barley").await != 503 {} }).await;
    drop(slow);
    within(async { while of("barley").await != 200 {} }).await;
}

#[tokio::test]
async fn pages_of_other_sites_are_refused() {
    let served = Served::new().await;
    let own = format!("http://{}", served.address);
    for (origin, code) in [(own.as_str(), 200), ("https://evil.example", 403), ("null", 403)] {
        assert_eq!(status(served.get(CHANGES).header("origin", origin)).await, code, "{origin}");
    }
    let (_, message) =
        refused(served.get(CHANGES).header("origin", "https://evil.example"), 403).await;
    assert!(message.contains("https://evil.example"), "{message}");
    // Requests that a page may send without a preflight are never accepted as a push.
    for sent_by_forms in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
    {
        let push = served.client.post(served.url(PUSHES)).body("{}");
        assert_eq!(status(push.header("content-type", sent_by_forms)).await, 415);
    }
}

#[tokio::test]
async fn an_allowed_page_may_send_requests_and_read() {
    let policy = BrowserPolicy::default().allow_origin("https://app.example").unwrap();
    let options = ServerOptions::default();
    let served = Served::with(memory(Hooks::default(), options), |config| {
        config.browsers = policy.local_hosts();
    })
    .await;
    let preflight = |origin| {
        let request = served.client.request(reqwest::Method::OPTIONS, served.url(PUSHES));
        let request = request.header("access-control-request-method", "POST");
        let asked = "authorization, content-type, twotide-replica";
        request.header("access-control-request-headers", asked).header("origin", origin)
    };
    let answer = within(preflight("https://app.example").send()).await.unwrap();
    assert!(answer.status().is_success());
    let header = |name| answer.headers()[name].to_str().unwrap().to_ascii_lowercase();
    assert_eq!(header("access-control-allow-origin"), "https://app.example");
    assert!(header("access-control-allow-headers").contains("twotide-replica"));
    assert!(header("access-control-allow-methods").contains("post"));
    assert_eq!(status(preflight("https://evil.example")).await, 403);
    let read = served.get(CHANGES).header("origin", "https://app.example");
    let answer = within(read.send()).await.unwrap();
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://app.example");
    assert!(answer.headers().contains_key("access-control-expose-headers"));
    // A foreign name that points at this machine.
    let rebound = served.get(CHANGES).header("host", "evil.example");
    assert_eq!(status(rebound).await, 403);
}

#[tokio::test]
async fn a_batch_that_is_far_over_the_limits_is_refused_whole_and_leaves_nothing() {
    let served = Served::new().await;
    for changes in [5_000, 100_001] {
        let change = serde_json::json!({"collection": "c", "id": "d"});
        let push =
            serde_json::json!({"replica": REPLICA, "id": 1, "changes": vec![change; changes]});
        let answer = within(served.post(PUSHES, &push.to_string()).send()).await.unwrap();
        let status = answer.status().as_u16();
        assert_eq!(status, if changes > 100_000 { 400 } else { 413 });
        assert!(within(answer.bytes()).await.unwrap().len() < 1_000);
    }
    assert_eq!(status(served.get("/v1/scopes/room")).await, 404, "the scope has not begun");
}

#[tokio::test]
async fn reading_a_scope_does_not_create_it() {
    let served = Served::new().await;
    let (_, first) = expect(served.get(CHANGES), 200).await;
    let head = within(served.client.head(served.url(CHANGES)).send()).await.unwrap();
    assert_eq!(head.status(), 200);
    let greeting = serde_json::json!({"replica": REPLICA, "scopes": [{"scope": "room"}]});
    let (_, welcome) = expect(served.post(HELLO, &greeting.to_string()), 200).await;
    assert_eq!(welcome["scopes"][0]["epoch"], first["epoch"], "each read tells of the same log");
    let cursor = first["cursor"].as_str().unwrap();
    expect(served.get(&format!("{CHANGES}?cursor={cursor}")), 200).await;
    assert_eq!(status(served.get("/v1/scopes/room")).await, 404);
    // A refused write does not create the scope either; an accepted one continues the log that was
    // read.
    let refused = serde_json::json!({"collection": "c", "id": "d", "body": "x".repeat(2 << 20)});
    let push = serde_json::json!({"replica": REPLICA, "id": 1, "changes": [refused]});
    let (_, verdicts) = expect(served.post(PUSHES, &push.to_string()), 200).await;
    assert_eq!(verdicts["verdicts"][0]["kind"], "rejected", "{verdicts}");
    assert_eq!(status(served.get("/v1/scopes/room")).await, 404);
    served.push(2, &["a"]).await;
    let (_, chunk) = expect(served.get(&format!("{CHANGES}?cursor={cursor}")), 200).await;
    assert_eq!((&chunk["epoch"], &chunk["next"]), (&first["epoch"], &1.into()));
}

#[tokio::test]
async fn bodies_that_json_readers_refuse_are_not_accepted() {
    let served = Served::new().await;
    let push = |id: u64, body: &str| {
        let push = format!(
            r#"{{"replica":"{REPLICA}","id":{id},"changes":[{{"collection":"c","id":"d","body":{body}}}]}}"#
        );
        served.post(PUSHES, &push)
    };
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let (_, deep) = expect(push(1, &nested(129)), 200).await;
    let refused_as = |verdicts: &serde_json::Value| {
        let verdict = &verdicts["verdicts"][0];
        (verdict["kind"].as_str().unwrap().to_owned(), verdict["reason"].to_string())
    };
    let (kind, reason) = refused_as(&deep);
    assert!(kind == "rejected" && reason.contains("deeper than 128"), "{deep}");
    for half in [r#""\ud800""#, r#"{"\udc00":1}"#] {
        let (_, message) = refused(push(2, half), 400).await;
        assert!(message.contains("surrogate"), "{message}");
    }
    // The answer contains the body, which with the rest of it is deeper than serde_json reads.
    let deepest = push(3, &format!(r#"["\ud83d\ude00",{}]"#, nested(127)));
    let answer = within(deepest.send()).await.unwrap();
    assert_eq!(answer.status(), 200);
    let taken = within(answer.text()).await.unwrap();
    assert!(taken.contains(r#""kind":"accepted""#), "{taken}");
}
