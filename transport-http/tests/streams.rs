//! Waiting at the head, and streams of events.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

#[path = "support/served.rs"]
#[allow(unreachable_pub, dead_code, reason = "a module that tests share")]
mod served;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use served::{Blocks, REPLICA, Served, expect, memory, refused, within};
use sync_core::error::Result;
use sync_core::model::{Epoch, Scope, Seq};
use sync_server::{Access, Authorise, Hooks, Open, Principal, ServerOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use transport_http::format::{Changes, EventReader, Format, StreamEvent};

const CHANGES: &str = "/v1/scopes/room/changes";

/// Starts a server with a short heartbeat.
async fn quick(hooks: Hooks) -> Served {
    let heartbeat = Duration::from_millis(50);
    let mut options = ServerOptions::default();
    options.heartbeat = heartbeat;
    Served::with(memory(hooks, options), |_| {}).await
}

/// Waits until there is a follower, or none: a waiting request counts as a session.
async fn sessions(served: &Served, some: bool) {
    let is_over = || async {
        tokio::time::timeout(Duration::from_millis(1), served.server.drained()).await.is_ok()
    };
    within(async { while is_over().await == some {} }).await;
}

async fn at_head(served: &Served) -> (String, String) {
    let (headers, chunk) = expect(served.get(CHANGES), 200).await;
    let path = format!("{CHANGES}?cursor={}", chunk["cursor"].as_str().unwrap());
    (path, headers["etag"].to_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_waiting_request_is_answered_as_soon_as_a_change_follows() {
    let served = Served::new().await;
    served.push(1, &["a"]).await;
    let (path, tag) = at_head(&served).await;
    let waiting = served.get(&format!("{path}&wait=60")).header("if-none-match", &tag);
    let waiting = tokio::spawn(expect(waiting, 200));
    sessions(&served, true).await;
    served.push(2, &["b"]).await;
    let (_, chunk) = waiting.await.unwrap();
    assert_eq!(chunk["changes"][0]["id"], "b");
    // A reader that is not at the head does not wait.
    let (_, chunk) = expect(served.get(&format!("{path}&wait=60")), 200).await;
    assert_eq!(chunk["changes"][0]["id"], "b");
}

#[tokio::test]
async fn a_wait_without_changes_is_answered_like_one_without_waiting() {
    let served = Served::with(memory(Hooks::default(), ServerOptions::default()), |config| {
        config.wait = Duration::from_millis(20);
    })
    .await;
    served.push(1, &["a"]).await;
    let (path, tag) = at_head(&served).await;
    let path = format!("{path}&wait=9999");
    expect(served.get(&path).header("if-none-match", &tag), 304).await;
    let (_, empty) = expect(served.get(&path), 200).await;
    assert_eq!(empty["changes"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn waits_end_when_the_server_drains_or_the_client_disconnects() {
    let served = Served::new().await;
    served.push(1, &["a"]).await;
    let (path, tag) = at_head(&served).await;
    let path = format!("{path}&wait=60");
    let gone = tokio::spawn(served.get(&path).send());
    sessions(&served, true).await;
    gone.abort();
    sessions(&served, false).await;
    let waiting = served.get(&path).header("if-none-match", &tag);
    let waiting = tokio::spawn(expect(waiting, 304));
    sessions(&served, true).await;
    served.server.drain();
    waiting.await.unwrap();
    within(served.server.drained()).await;
    let (headers, json) = expect(served.get(CHANGES), 503).await;
    assert_eq!((&json["kind"], &headers["retry-after"]), (&"closed".into(), &"5".parse().unwrap()));
}

#[tokio::test]
async fn a_stream_begins_at_once_catches_up_follows_and_sends_heartbeats() {
    let served = quick(Hooks::default()).await;
    let mut events = Blocks::open(served.get(CHANGES)).await;
    assert_eq!(events.headers()["x-accel-buffering"], "no");
    assert_eq!(events.headers()["cache-control"], "no-store");
    assert!(!events.headers().contains_key("content-encoding"));
    let first = events.next().await.unwrap();
    assert!(first.starts_with(':') && first.len() >= 2_048, "{}", first.len());
    assert_eq!(events.next().await.unwrap(), ":", "a heartbeat");
    served.push(1, &["a", "b"]).await;
    let (name, id, data) = events.event().await.unwrap();
    let chunk: serde_json::Value = serde_json::from_str(&data).unwrap();
    assert_eq!((name.as_str(), chunk["changes"].as_array().unwrap().len()), ("chunk", 2));
    assert_eq!(chunk["cursor"], id.as_str());
    served.push(2, &["c"]).await;
    let (_, _, data) = events.event().await.unwrap();
    assert!(data.contains("\"id\":\"c\""), "{data}");
    // A new stream continues where the old one broke.
    drop(events);
    sessions(&served, false).await;
    let again = served.get(&format!("{CHANGES}?cursor=")).header("last-event-id", &id);
    let (_, _, data) = Blocks::open(again).await.event().await.unwrap();
    let chunk: serde_json::Value = serde_json::from_str(&data).unwrap();
    assert_eq!((&chunk["after"], &chunk["changes"][0]["id"]), (&2.into(), &"c".into()));
    let bad = served.get(CHANGES).header("accept", "text/event-stream");
    refused(bad.header("last-event-id", "!"), 400).await;
}

#[tokio::test]
async fn a_stream_of_frames_is_numbered() {
    let served = Served::new().await;
    served.push(1, &["a"]).await;
    let mut events = Blocks::open(served.get(&format!("{CHANGES}?data=frame"))).await;
    let mut reader = EventReader::new(Format::Frame, 1 << 20);
    for n in 1..=3 {
        let (name, _, data) = events.event().await.unwrap();
        let Some(StreamEvent::Changes(Changes::Chunk(read))) = reader.event(&name, &data).unwrap()
        else {
            panic!("no chunk: {data}")
        };
        assert_eq!(read.chunk.next, Seq(n));
        served.push(n + 1, &[&format!("n{n}")]).await;
    }
    let posted = served.post(&format!("{CHANGES}?data=frame"), "{}");
    assert_eq!(Blocks::open(posted).await.event().await.unwrap().0, "chunk");
}

#[tokio::test]
async fn line_breaks_in_bodies_do_not_split_an_event() {
    let served = Served::new().await;
    let body = "{\"a\":1,\n\"b\":\r\n2}";
    let push = format!(
        r#"{{"replica":"{REPLICA}","id":1,"changes":[{{"collection":"c","id":"d","body":{body}}}]}}"#
    );
    expect(served.post("/v1/scopes/room/pushes", &push), 200).await;
    let (_, _, data) = Blocks::open(served.get(CHANGES)).await.event().await.unwrap();
    let chunk: serde_json::Value = serde_json::from_str(&data).unwrap();
    assert_eq!(chunk["changes"][0]["body"], serde_json::json!({"a": 1, "b": 2}));
}

#[tokio::test]
async fn a_stream_ends_with_a_reset_when_a_new_epoch_begins() {
    let served = quick(Hooks::default()).await;
    served.push(1, &["a"]).await;
    let mut events = Blocks::open(served.get(CHANGES)).await;
    let (_, _, data) = events.event().await.unwrap();
    let chunk: serde_json::Value = serde_json::from_str(&data).unwrap();
    let from: Epoch = chunk["epoch"].as_str().unwrap().parse().unwrap();
    let storage = served.server.storage();
    let room = Scope::new("room").unwrap();
    storage.begin_epoch(room, from, Seq(0), Epoch([9; 16])).await.unwrap();
    let (name, _, data) = events.event().await.unwrap();
    assert_eq!(name, "reset");
    assert!(data.contains("\"reason\":\"epoch_changed\",\"cut\":0"), "{data}");
    assert_eq!(events.event().await, None);
}

/// Allows every client to read everything until access is revoked.
#[derive(Debug, Default)]
struct Revocable(AtomicBool);

#[async_trait]
impl Authorise for Revocable {
    async fn scope(&self, principal: &Principal, scope: &Scope) -> Result<Access> {
        match self.0.load(Ordering::SeqCst) {
            true => Ok(Access::NONE),
            false => Open.scope(principal, scope).await,
        }
    }
}

#[tokio::test]
async fn a_stream_of_a_revoked_scope_ends_with_gone() {
    let authorise = Arc::new(Revocable::default());
    let served = quick(Hooks { authorise: authorise.clone(), ..Hooks::default() }).await;
    served.push(1, &["a"]).await;
    let mut events = Blocks::open(served.get(CHANGES)).await;
    assert_eq!(events.event().await.unwrap().0, "chunk");
    authorise.0.store(true, Ordering::SeqCst);
    let (name, _, data) = events.event().await.unwrap();
    assert_eq!(name, "gone");
    assert!(data.contains("\"kind\":\"permission_denied\""), "{data}");
    assert_eq!(events.event().await, None);
    // A new request receives a status.
    refused(served.get(CHANGES).header("accept", "text/event-stream"), 403).await;
}

#[tokio::test]
async fn a_stream_ends_cleanly_when_the_server_drains_and_when_its_time_is_over() {
    let served = Served::new().await;
    let mut events = Blocks::open(served.get(CHANGES)).await;
    events.next().await.unwrap();
    sessions(&served, true).await;
    served.server.drain();
    assert_eq!(events.next().await, None);
    within(served.server.drained()).await;

    let served = Served::with(memory(Hooks::default(), ServerOptions::default()), |config| {
        config.stream_time = Duration::from_millis(50);
    })
    .await;
    let mut events = Blocks::open(served.get(CHANGES)).await;
    events.next().await.unwrap();
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_reader_that_does_not_read_costs_a_cursor_only() {
    let served = Served::new().await;
    let body = "x".repeat(500_000);
    let push = async |id: u64| {
        let change = serde_json::json!({"collection": "c", "id": format!("d{id}"), "body": body});
        let push = serde_json::json!({"replica": REPLICA, "id": id, "changes": [change]});
        expect(served.post("/v1/scopes/room/pushes", &push.to_string()), 200).await;
    };
    const MANY: u64 = 60;
    for id in 1..=MANY {
        push(id).await;
    }
    let mut slow = TcpStream::connect(served.address).await.unwrap();
    let ask = format!(
        "GET {CHANGES}?documents=1 HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n"
    );
    slow.write_all(ask.as_bytes()).await.unwrap();
    sessions(&served, true).await;
    // A change that was not read before the first document changes is sent in its newest state
    // only: it was not buffered.
    let change = serde_json::json!({"collection": "c", "id": format!("d{MANY}"), "body": "late"});
    let push = serde_json::json!({"replica": "08".repeat(16), "id": 1, "changes": [change]});
    let (_, verdicts) = expect(served.post("/v1/scopes/room/pushes", &push.to_string()), 200).await;
    assert_eq!(verdicts["verdicts"][0]["kind"], "conflict");
    let current = &verdicts["verdicts"][0]["current"];
    let base = serde_json::json!({
        "revision": current["revision"], "epoch": verdicts["epoch"], "seq": current["seq"],
    });
    let change = serde_json::json!({"collection": "c", "id": format!("d{MANY}"), "base": base, "body": "late"});
    let push = serde_json::json!({"replica": "08".repeat(16), "id": 2, "changes": [change]});
    expect(served.post("/v1/scopes/room/pushes", &push.to_string()), 200).await;
    let (mut text, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    let last = b"\"body\":\"late\"";
    within(async {
        while !text[text.len().saturating_sub(1_000)..].windows(last.len()).any(|w| w == last) {
            let n = slow.read(&mut buffer).await.unwrap();
            assert_ne!(n, 0, "the stream ended");
            text.extend_from_slice(&buffer[..n]);
        }
    })
    .await;
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.matches(&format!("\"id\":\"d{MANY}\"")).count(), 1);
    assert_eq!(text.matches("event: chunk").count() as u64, MANY);
}
