//! Each route over a real socket, by a client that only uses HTTP and JSON.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

#[path = "support/served.rs"]
#[allow(unreachable_pub, dead_code, reason = "a module that tests share")]
mod served;

use std::sync::Arc;

use bytes::Bytes;
use served::{REPLICA, Served, expect, memory, refused, within};
use sync_core::model::{Cursor, Epoch, Limits, ReplicaId, Scope, Seq, Verdicts};
use sync_core::protocol::{Ack, Hello, Pull, Welcome, WireError};
use sync_server::{Hooks, ServerOptions, StaticTokens};
use transport_http::api::{FRAME, REPLICA as REPLICA_HEADER};
use transport_http::format::{Changes, Content, Format, write_cursor};

const CHANGES: &str = "/v1/scopes/room/changes";
const PUSHES: &str = "/v1/scopes/room/pushes";
const ACKNOWLEDGEMENTS: &str = "/v1/scopes/room/acknowledgements";

fn at(cursor: &serde_json::Value) -> String {
    format!("{CHANGES}?cursor={}", cursor.as_str().unwrap())
}

#[tokio::test]
async fn a_reader_pages_through_the_log_with_cursors_only() {
    let served = Served::new().await;
    let (headers, empty) = expect(served.get(CHANGES), 200).await;
    assert_eq!((&empty["changes"], &empty["more"]), (&serde_json::json!([]), &false.into()));
    assert_eq!(headers["etag"], format!("\"{}-0\"", empty["epoch"].as_str().unwrap()));
    for n in 1..=3 {
        served.push(n, &[&format!("a{n}"), &format!("b{n}")]).await;
    }
    let (mut path, mut seen) = (format!("{CHANGES}?documents=3"), Vec::new());
    loop {
        let (_, chunk) = expect(served.get(&path), 200).await;
        for change in chunk["changes"].as_array().unwrap() {
            assert_eq!(change["id"], change["body"]);
            seen.push(change["id"].as_str().unwrap().to_owned());
        }
        assert_eq!(seen.len() % 2, 0, "what was pushed together is not torn apart");
        if chunk["more"] == false {
            assert_eq!((&chunk["next"], &chunk["head"]), (&6.into(), &6.into()));
            break;
        }
        path = format!("{}&documents=3", at(&chunk["cursor"]));
    }
    assert_eq!(seen, ["a1", "b1", "a2", "b2", "a3", "b3"]);
}

#[tokio::test]
async fn bodies_come_back_byte_for_byte() {
    let served = Served::new().await;
    let body = r#"{"z":1,  "a":12345678901234567890.50e40,"a":"\u00e4\/","l":[1,
	2]}"#;
    let push = format!(
        r#"{{"replica":"{REPLICA}","id":1,"changes":[{{"collection":"c","id":"d","body":{body}}}]}}"#
    );
    expect(served.post(PUSHES, &push), 200).await;
    let text = within(served.get(CHANGES).send()).await.unwrap().text().await.unwrap();
    assert!(text.contains(&format!("\"body\":{body}")), "{text}");
}

#[tokio::test]
async fn an_insert_an_edit_and_a_deletion_and_each_of_them_twice() {
    let served = Served::new().await;
    let push = async |id: u64, change: serde_json::Value| {
        let push = serde_json::json!({"replica": REPLICA, "id": id, "changes": [change]});
        let (_, first) = expect(served.post(PUSHES, &push.to_string()), 200).await;
        let (_, again) = expect(served.post(PUSHES, &push.to_string()), 200).await;
        assert_eq!(first, again, "sent again it gets its original verdicts");
        assert_eq!(first["outcome"], "decided");
        first
    };
    let base = |told: &serde_json::Value| {
        let current = &told["verdicts"][0]["current"];
        serde_json::json!({
            "revision": current["revision"], "epoch": told["epoch"],
            "seq": current["seq"], "deleted": current["deleted"],
        })
    };
    let insert = push(1, serde_json::json!({"collection": "c", "id": "d", "body": 1})).await;
    assert_eq!(insert["verdicts"][0]["kind"], "accepted");
    let first = base(&insert);
    let edit = push(2, serde_json::json!({"collection": "c", "id": "d", "base": first, "body": 2}));
    let edit = edit.await;
    assert_eq!(edit["verdicts"][0]["current"]["body"], 2);
    let late = push(3, serde_json::json!({"collection": "c", "id": "d", "base": first, "body": 3}));
    let late = late.await;
    assert_eq!(late["verdicts"][0]["kind"], "conflict");
    let deletion =
        serde_json::json!({"collection": "c", "id": "d", "base": base(&late), "deleted": true});
    assert_eq!(push(4, deletion).await["verdicts"][0]["kind"], "accepted");
    let (_, chunk) = expect(served.get(CHANGES), 200).await;
    assert_eq!(chunk["changes"].as_array().unwrap().len(), 1);
    assert_eq!((&chunk["changes"][0]["deleted"], &chunk["next"]), (&true.into(), &3.into()));
    let other = format!(r#"{{"replica":"{REPLICA}","id":4,"changes":[]}}"#);
    assert_eq!(expect(served.post(PUSHES, &other), 200).await.1["outcome"], "cloned");
    let old = format!(r#"{{"replica":"{REPLICA}","id":1,"changes":[]}}"#);
    assert_eq!(expect(served.post(PUSHES, &old), 200).await.1["outcome"], "stale");
}

#[tokio::test]
async fn only_a_reader_at_the_head_receives_304() {
    let served = Served::new().await;
    served.push(1, &["a"]).await;
    let (headers, first) = expect(served.get(CHANGES), 200).await;
    let tag = headers["etag"].to_str().unwrap().to_owned();
    let path = at(&first["cursor"]);
    let ask = |path: &str, tag: &str| served.get(path).header("if-none-match", tag);
    let (headers, _) = expect(ask(&path, &tag), 304).await;
    assert_eq!(headers["etag"], tag.as_str());
    expect(ask(&path, &format!("\"x\", W/{tag}")), 304).await;
    // Another tag, no tag, and the same tag without the cursor that it belongs to.
    expect(ask(&path, "\"x\""), 200).await;
    let (_, empty) = expect(served.get(&path), 200).await;
    assert_eq!(empty["changes"].as_array().unwrap().len(), 0);
    let (_, all) = expect(ask(CHANGES, &tag), 200).await;
    assert_eq!(all["changes"].as_array().unwrap().len(), 1);
    // In a full pull, and with collections that are further behind, the end must be reported with a
    // chunk.
    let Changes::Chunk(read) = read_json(&empty) else { panic!("a reset") };
    let cursor = read.cursor.unwrap();
    let full = Cursor { floor: Some(Seq(1)), ..cursor.clone() };
    let behind = [(sync_core::model::Collection::new("late").unwrap(), Seq(0))];
    let late = Cursor { backfills: behind.into(), after: Seq(0), ..cursor.clone() };
    for cursor in [full, late] {
        let path = format!("{CHANGES}?cursor={}", write_cursor(&cursor));
        expect(ask(&path, &tag), 200).await;
    }
    // A cursor of another epoch, with the tag of this one.
    let other = Cursor { epoch: Some(Epoch([9; 16])), ..cursor };
    let path_other = format!("{CHANGES}?cursor={}", write_cursor(&other));
    let (_, reset) = expect(ask(&path_other, &tag), 200).await;
    assert_eq!(reset["reset"]["reason"], "epoch_changed");
    served.push(2, &["b"]).await;
    let (headers, next) = expect(ask(&path, &tag), 200).await;
    assert_ne!(headers["etag"], tag.as_str());
    assert_eq!(next["changes"][0]["id"], "b");
}

fn read_json(json: &serde_json::Value) -> Changes {
    Format::Json.decode(Bytes::from(json.to_string())).unwrap()
}

async fn frame<A: Content>(request: reqwest::RequestBuilder, status: u16) -> A {
    let answer = within(request.header("accept", FRAME).send()).await.unwrap();
    assert_eq!(answer.status(), status);
    assert_eq!(answer.headers()["content-type"], FRAME);
    Format::Frame.decode(answer.bytes().await.unwrap()).unwrap()
}

#[tokio::test]
async fn everything_is_sent_in_frames_too() {
    let served = Served::new().await;
    served.push(1, &["a"]).await;
    let post = |path: &str, bytes: Bytes| {
        served.client.post(served.url(path)).header("content-type", FRAME).body(bytes)
    };
    let scope = Scope::new("room").unwrap();
    let replica: ReplicaId = REPLICA.parse().unwrap();
    let hello = Hello {
        compressions: vec!["zstd".to_owned()],
        scopes: vec![sync_core::protocol::Greeting {
            scope: scope.clone(),
            cursor: Cursor::default(),
            digest: None,
        }],
        ..Hello::new(replica)
    };
    let hello = Format::Frame.encode(hello).unwrap();
    let welcome: Welcome = frame(post("/v1/hello", hello), 200).await;
    assert_eq!(welcome.compression, None, "HTTP compresses by itself");
    assert_eq!(welcome.scopes[0].last_push.0, 1);
    let pull = Pull { scope: scope.clone(), cursor: Cursor::default(), limits: Limits::CHUNK };
    let by_post: Changes =
        frame(post(CHANGES, Format::Frame.encode(pull.clone()).unwrap()), 200).await;
    let by_get: Changes = frame(served.get(CHANGES), 200).await;
    assert_eq!(by_post, by_get);
    let Changes::Chunk(read) = by_get else { panic!("a reset") };
    assert_eq!((read.chunk.entries.len(), read.cursor), (1, None));
    let batch = sync_core::model::PushBatch::new(
        scope.clone(),
        replica,
        sync_core::model::PushId(2),
        Vec::new(),
    );
    let verdicts: Verdicts = frame(post(PUSHES, Format::Frame.encode(batch).unwrap()), 200).await;
    assert!(matches!(verdicts, Verdicts::Decided { .. }));
    let ack = |digest| Ack {
        scope: scope.clone(),
        epoch: welcome.scopes[0].epoch,
        seq: Seq(1),
        digest,
        mark: None,
    };
    let ack = |digest| {
        let bytes = Format::Frame.encode(ack(digest)).unwrap();
        post(ACKNOWLEDGEMENTS, bytes).header(REPLICA_HEADER, REPLICA)
    };
    expect(ack(None), 204).await;
    let differs: sync_core::model::Reset = frame(ack(Some(Default::default())), 200).await;
    assert_eq!(differs.reason, sync_core::model::ResetReason::DigestDiffers);
    // A frame that was cut, and one about another scope, are refused with a frame.
    let bytes = Format::Frame.encode(pull.clone()).unwrap();
    let error: WireError = frame(post(CHANGES, bytes.slice(..bytes.len() - 1)), 400).await;
    assert!(error.message.contains("came with"), "{error:?}");
    let error: WireError = frame(post("/v1/scopes/other/changes", bytes), 400).await;
    assert!(error.message.contains("about the scope"), "{error:?}");
}

#[tokio::test]
async fn greetings_and_acknowledgements_are_as_easy_in_json() {
    let served = Served::new().await;
    served.push(1, &["a"]).await;
    let hello = format!(r#"{{"replica":"{REPLICA}","scopes":[{{"scope":"room"}}]}}"#);
    let (headers, welcome) = expect(served.post("/v1/hello", &hello), 200).await;
    assert_eq!((&welcome["version"], &welcome["scopes"][0]["head"]), (&1.into(), &1.into()));
    assert_eq!(headers["accept-encoding"], "zstd, gzip");
    let ack = |epoch: &str| format!(r#"{{"epoch":"{epoch}","seq":1}}"#);
    let epoch = welcome["scopes"][0]["epoch"].as_str().unwrap();
    let acknowledge = || served.post(ACKNOWLEDGEMENTS, &ack(epoch));
    expect(acknowledge().header(REPLICA_HEADER, REPLICA), 204).await;
    let (_, message) = refused(acknowledge(), 400).await;
    assert!(message.contains("Twotide-Replica"), "{message}");
    refused(acknowledge().header(REPLICA_HEADER, "7"), 400).await;
    let elsewhere = served.post("/v1/scopes/nowhere/acknowledgements", &ack(epoch));
    // There is nothing to record, and no scope is created.
    expect(elsewhere.header(REPLICA_HEADER, REPLICA), 204).await;
    refused(served.get("/v1/scopes/nowhere"), 404).await;
    let old = format!(r#"{{"replica":"{REPLICA}","versions":[99]}}"#);
    let answer = within(served.post("/v1/hello", &old).send()).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["upgrade"]),
        (426, &"twotide/1".parse().unwrap())
    );
}

#[tokio::test]
async fn a_summary_of_a_scope_is_returned() {
    let served = Served::new().await;
    assert_eq!(refused(served.get("/v1/scopes/room"), 404).await.0, "not_found");
    served.push(1, &["a", "b"]).await;
    let (_, glance) = expect(served.get("/v1/scopes/room"), 200).await;
    assert_eq!((&glance["scope"], &glance["head"]), (&"room".into(), &2.into()));
    assert_eq!((&glance["documents"], &glance["horizon"]), (&2.into(), &0.into()));
    assert_eq!(glance["digest"].as_str().unwrap().len(), 32);
    // Names are percent-encoded.
    let push =
        format!(r#"{{"replica":"{REPLICA}","id":1,"changes":[{{"collection":"c","id":"d"}}]}}"#);
    expect(served.post("/v1/scopes/a%2Fb%20%C3%A4/pushes", &push), 200).await;
    assert_eq!(expect(served.get("/v1/scopes/a%2Fb%20%C3%A4"), 200).await.1["scope"], "a/b ä");
    refused(served.get("/v1/scopes/%FF"), 400).await;
    refused(served.get("/v1/scopes/%0A"), 400).await;
}

#[tokio::test]
async fn contents_are_negotiated() {
    let served = Served::new().await;
    for (accept, content_type) in [
        ("*/*", "application/json"),
        ("application/json;q=0.5, application/vnd.twotide.v1", FRAME),
        ("text/html, */*;q=0.1", "application/json"),
    ] {
        let answer = within(served.get(CHANGES).header("accept", accept).send()).await.unwrap();
        assert_eq!(answer.headers()["content-type"], content_type, "{accept}");
        let vary: Vec<_> = answer.headers().get_all("vary").iter().collect();
        assert!(vary.iter().any(|v| v.to_str().unwrap().contains("accept")), "{vary:?}");
    }
    let lines = served.get(CHANGES).header("accept", "text/html").header("accept", FRAME);
    assert_eq!(within(lines.send()).await.unwrap().headers()["content-type"], FRAME);
    let (_, message) = refused(served.get(CHANGES).header("accept", "text/html"), 406).await;
    assert!(message.contains("text/event-stream"), "{message}");
    let form = served.client.post(served.url(PUSHES)).body("a=b");
    let (_, message) = refused(form.try_clone().unwrap(), 415).await;
    assert!(message.contains("application/json"), "{message}");
    refused(form.header("content-type", "application/x-www-form-urlencoded"), 415).await;
    let with_charset = served.client.post(served.url(PUSHES)).body("{");
    refused(with_charset.header("content-type", "Application/JSON; charset=utf-8"), 400).await;
}

#[tokio::test]
async fn errors_are_returned_in_the_servers_form() {
    let served = Served::new().await;
    for (path, what) in [
        ("/v1/scopes/room/changes?cursor=%21", "no cursor"),
        ("/v1/scopes/room/changes?limit=3", "unknown field `limit`"),
        ("/v1/scopes/room/changes?documents=-1", "invalid digit"),
        ("/v1/scopes/room/changes?cursor=&cursor=", "duplicate field"),
    ] {
        let (kind, message) = refused(served.get(path), 400).await;
        assert_eq!(kind, "invalid_input");
        assert!(message.contains(what), "{message}");
    }
    let (_, message) = refused(served.post(PUSHES, "{\"replica\":1}"), 400).await;
    assert!(message.contains("line 1 column 12"), "{message}");
    let zero = format!(r#"{{"replica":"{REPLICA}","id":0,"changes":[]}}"#);
    refused(served.post(PUSHES, &zero), 400).await;
    let mine = format!(r#"{{"replica":"{REPLICA}","id":1,"changes":[]}}"#);
    refused(served.post(PUSHES, &mine).header(REPLICA_HEADER, "08".repeat(16)), 400).await;
    assert_eq!(refused(served.get("/v1/scopes/room/nonsense"), 404).await.0, "not_found");
    refused(served.get("/v1/scopes/room/changes/more"), 404).await;
}

#[tokio::test]
async fn a_wrong_method_is_refused_with_the_allowed_ones() {
    let served = Served::new().await;
    let (headers, json) = expect(served.client.delete(served.url(PUSHES)), 405).await;
    assert!(headers["allow"].to_str().unwrap().contains("POST"), "{headers:?}");
    assert_eq!(json["kind"], "invalid_input");
    let options = served.client.request(reqwest::Method::OPTIONS, served.url(CHANGES));
    let (headers, _) = expect(options, 204).await;
    assert_eq!(headers["allow"], "GET, HEAD, POST, OPTIONS");
    let head = |accept: &str| served.client.head(served.url(CHANGES)).header("accept", accept);
    for accept in ["*/*", "text/event-stream"] {
        let answer = within(head(accept).send()).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.headers().contains_key("etag"));
        assert!(answer.bytes().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn tokens_are_required_and_permission_is_checked_first() {
    let hooks = Hooks {
        authenticate: Arc::new(StaticTokens::new([("ann".to_owned(), "secret".to_owned())])),
        ..Hooks::default()
    };
    let served = Served::with(memory(hooks, ServerOptions::default()), |_| {}).await;
    let push =
        format!(r#"{{"replica":"{REPLICA}","id":1,"changes":[{{"collection":"c","id":"d"}}]}}"#);
    let all = || {
        [
            served.get(CHANGES).header("if-none-match", "\"x\""),
            served.get(CHANGES).header("accept", "text/event-stream"),
            served.get("/v1/scopes/room"),
            served.post(PUSHES, &push),
            served.post(CHANGES, "{}"),
            served.post("/v1/hello", &format!(r#"{{"replica":"{REPLICA}"}}"#)),
        ]
    };
    for request in all() {
        let (headers, json) = expect(request, 401).await;
        assert_eq!(
            (&headers["www-authenticate"], &json["retry"]),
            (&"Bearer".parse().unwrap(), &"never".into())
        );
    }
    for request in all() {
        assert_eq!(
            refused(request.header("authorization", "Basic c2VjcmV0"), 401).await.0,
            "unauthenticated"
        );
    }
    for request in all() {
        let wrong = refused(request.bearer_auth("wrong"), 401).await.1;
        assert!(!wrong.contains("wrong"), "{wrong}");
    }
    expect(served.post(PUSHES, &push).header("authorization", "bearer secret"), 200).await;
    expect(served.get("/v1/scopes/room").bearer_auth("secret"), 200).await;
    // A greeting may contain it, too.
    let hello = format!(r#"{{"replica":"{REPLICA}","token":"secret"}}"#);
    expect(served.post("/v1/hello", &hello), 200).await;
}

#[tokio::test]
async fn the_routes_can_be_nested_in_another_app() {
    let server = memory(Hooks::default(), ServerOptions::default());
    let app = axum::Router::new()
        .route("/healthz", axum::routing::get(async || "ok"))
        .route("/v1/sync", axum::routing::any(async || "a WebSocket"))
        .merge(transport_http::router(server.clone()))
        .nest("/tenants/{tenant}/sync", transport_http::router(server.clone()));
    let served = Served::app(server, app).await;
    served.push(1, &["a"]).await;
    for path in ["/v1/scopes/room", "/tenants/t1/sync/v1/scopes/room"] {
        assert_eq!(expect(served.get(path), 200).await.1["scope"], "room");
    }
    for path in ["/healthz", "/v1/sync"] {
        assert_eq!(within(served.get(path).send()).await.unwrap().status(), 200);
    }
}
