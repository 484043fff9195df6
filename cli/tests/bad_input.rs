//! Bad input returns a clear error, loses nothing, and does not affect other clients.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use std::net::{SocketAddr, TcpListener};

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use support::{Db, Folder, PATIENCE, Process, Served, http_get, run, run_with_input, until};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::{Bytes, Message as WsMessage};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use twotide::backend::framed::{MAX_PAYLOAD, Wire};
use twotide::backend::model::{Cursor, ReplicaId, Scope};
use twotide::backend::protocol::{FrameWriter, Greeting, Hello, Message, Payload, VERSIONS};
use twotide::sqlite::{SqliteConfig, open_replica};
use twotide::{ErrorKind, Replica, ws};

/// A client that can send any message.
struct Stranger(WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>);

impl Stranger {
    async fn connect(address: SocketAddr) -> Self {
        let url = format!("ws://{address}{}", ws::PATH);
        let mut request = url.into_client_request().unwrap();
        let protocol = HeaderValue::from_static(ws::SUBPROTOCOL);
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol);
        Self(connect_async(request).await.unwrap().0)
    }

    async fn say(&mut self, message: WsMessage) {
        // The server may have closed the connection before everything was written.
        let _ = self.0.send(message).await;
    }

    async fn frame(&mut self, bytes: impl Into<Bytes>) {
        self.say(WsMessage::Binary(bytes.into())).await;
    }

    /// Returns the messages of the server until it closes the connection, which it must do soon.
    async fn hears(mut self) -> Vec<Message> {
        let mut wire = Wire::new(MAX_PAYLOAD);
        let mut heard = Vec::new();
        let all = async {
            while let Some(Ok(message)) = self.0.next().await {
                if let WsMessage::Binary(frame) = message {
                    heard.push(wire.decode(frame).unwrap().1);
                }
            }
        };
        tokio::time::timeout(PATIENCE, all).await.expect("the server does not hang up");
        heard
    }
}

fn hello(versions: &[u32]) -> Message {
    Message::Hello(Hello {
        versions: versions.to_vec(),
        agent: "a stranger".to_owned(),
        scopes: vec![Greeting { scope: Scope::default(), cursor: Cursor::default(), digest: None }],
        ..Hello::new(ReplicaId([5; 16]))
    })
}

/// Checks that the server still serves other clients, and has kept its data.
#[track_caller]
fn serves_on(folder: &Folder, server: &mut Served, name: &str) {
    assert!(server.process.is_running(), "{}", server.process.stderr());
    assert!(!server.process.stderr().contains("panicked"), "{}", server.process.stderr());
    let db = Db::new(folder, &format!("{name}.db"));
    db.put("notes", name, r#"{"text":"still served"}"#);
    db.sync(server);
    assert_eq!(db.body("notes", "first").unwrap()["text"], "was there before");
}

fn stage(folder: &Folder) -> Served {
    let server = Served::start(&folder.path("server.db"));
    let db = Db::new(folder, "first.db");
    db.put("notes", "first", r#"{"text":"was there before"}"#);
    db.sync(&server);
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_frames_end_their_connection_and_no_other() {
    let folder = Folder::new();
    let mut server = stage(&folder);
    let other = Db::new(&folder, "other.db");
    let mut live = other.live(&server, &[]);
    live.line_where("in sync", |l| l["in_sync"] == true);

    let good = Wire::new(MAX_PAYLOAD).encode(0, &hello(VERSIONS));
    let mut flipped = good.to_vec();
    flipped[40] ^= 1;
    let not_a_message = FrameWriter::default().frame(0, &Payload::of(vec![0xff; 50].into(), false));
    let compressed = FrameWriter::default().frame(0, &Payload::of(vec![1; 50].into(), true));
    let second_first = {
        let mut writer = Wire::new(MAX_PAYLOAD);
        let _ = writer.encode(0, &hello(VERSIONS));
        writer.encode(0, &Message::Ping(1))
    };
    let no_hello = Wire::new(MAX_PAYLOAD).encode(0, &Message::Ping(1));
    let frames: [(&str, Vec<u8>, &str); 8] = [
        ("nothing", Vec::new(), "shorter than its header"),
        ("noise", (0..200).collect(), "header was changed"),
        ("half a frame", good[..good.len() / 2].to_vec(), "came with"),
        ("a flipped bit", flipped, "payload was changed"),
        ("a payload that is no message", not_a_message.to_vec(), ""),
        ("compression that was not agreed on", compressed.to_vec(), "not agreed"),
        ("a frame out of its place", second_first.to_vec(), "frame 1 came where 0 was due"),
        ("no greeting", no_hello.to_vec(), "greeting"),
    ];
    for (what, frame, says) in frames {
        let mut stranger = Stranger::connect(server.address).await;
        stranger.frame(frame).await;
        let heard = stranger.hears().await;
        println!("{what}: {heard:?}");
        let [Message::Goodbye(goodbye)] = &*heard else { panic!("{what}: {heard:?}") };
        assert!(goodbye.reason.contains(says), "{what}: {}", goodbye.reason);
    }
    let mut stranger = Stranger::connect(server.address).await;
    stranger.say(WsMessage::text("hello?")).await;
    let heard = stranger.hears().await;
    assert!(matches!(&*heard, [Message::Goodbye(_)]), "{heard:?}");
    // A second greeting, and an unrequested answer, after a valid start.
    for message in [hello(VERSIONS), Message::Done] {
        let mut stranger = Stranger::connect(server.address).await;
        let mut wire = Wire::new(MAX_PAYLOAD);
        stranger.frame(wire.encode(0, &hello(VERSIONS))).await;
        stranger.frame(wire.encode(0, &message)).await;
        let heard = stranger.hears().await;
        println!("after a greeting: {heard:?}");
        assert!(matches!(heard.last(), Some(Message::Goodbye(_))), "{heard:?}");
    }
    serves_on(&folder, &mut server, "afterwards");
    assert!(live.is_running());
    other.reaches(&server);
    assert!(other.body("notes", "afterwards").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oversize_frame_is_refused_before_it_is_read() {
    let folder = Folder::new();
    let mut server = stage(&folder);
    let before = support::most_memory(server.process.pid());
    let mut stranger = Stranger::connect(server.address).await;
    stranger.frame(vec![0; 64 << 20]).await;
    // The client receives the reason, if it still reads after it has sent everything.
    let heard = stranger.hears().await;
    println!("an oversize frame: {heard:?}");
    assert!(heard.len() <= 1);
    if let Some(message) = heard.first() {
        let Message::Failed(error) = message else { panic!("{message:?}") };
        assert_eq!(error.kind, ErrorKind::TooLarge);
        assert!(error.message.contains("over the limit"), "{}", error.message);
    }
    if let (Some(before), Some(after)) = (before, support::most_memory(server.process.pid())) {
        println!("a frame of 64 MiB cost the server {} KiB", after - before);
        assert!(after - before < 32 << 10, "{before} KiB became {after} KiB");
    }
    serves_on(&folder, &mut server, "afterwards");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_version_of_the_protocol_is_refused_with_the_supported_ones() {
    let folder = Folder::new();
    let mut server = stage(&folder);
    let mut stranger = Stranger::connect(server.address).await;
    stranger.frame(Wire::new(MAX_PAYLOAD).encode(0, &hello(&[99]))).await;
    let heard = stranger.hears().await;
    let Some(Message::Failed(error)) = heard.first() else { panic!("{heard:?}") };
    assert_eq!(error.kind, ErrorKind::Incompatible);
    assert!(error.message.contains("99"), "{}", error.message);
    serves_on(&folder, &mut server, "afterwards");
}

#[test]
fn a_line_that_is_not_json_is_an_error_and_earlier_lines_are_written() {
    let folder = Folder::new();
    let db = Db::new(&folder, "a.db");
    let bad = "{\"id\":\"a\",\"n\":1}\n\n{\"id\":\"b\",\"n\":2}\n{\"id\":\"c\",\n{\"id\":\"d\"}\n";
    std::fs::write(folder.path("bad.jsonl"), bad).unwrap();
    let file = folder.arg("bad.jsonl");
    let ended = db.run("import", &["--collection", "c", &file]);
    assert_eq!(ended.fails(&["line 4", "not valid JSON", "2 documents"]).json()["imported"], 2);
    assert_eq!(db.body("c", "a"), Some(json!({ "id": "a", "n": 1 })));
    assert_eq!(db.body("c", "d"), None);

    // The same file, corrected: existing documents are updated, new ones are added.
    let good = bad.replace("{\"id\":\"c\",\n", "{\"id\":\"c\"}\n").replace("\"n\":1", "\"n\":7");
    std::fs::write(folder.path("good.jsonl"), good).unwrap();
    let ended = db.run("import", &["--collection", "c", &folder.arg("good.jsonl")]);
    assert_eq!(ended.ok().json()["imported"], 4);
    assert_eq!(db.body("c", "a"), Some(json!({ "id": "a", "n": 7 })));
    assert_eq!(db.export().lines().count(), 4);
}

#[test]
fn other_bad_lines_are_errors_too() {
    let folder = Folder::new();
    let db = Db::new(&folder, "a.db");
    let import = |args: &[&str], input: &[u8]| {
        let mut all = vec!["import", "--db", &*db.0];
        all.extend(args);
        all.push("-");
        run_with_input(&all, input)
    };
    let into_c = ["--collection", "c"];
    import(&into_c, b"{}\n[1]\n").fails(&["line 2"]);
    import(&into_c, b"{\"id\":true}\n").fails(&["line 1", "\"id\""]);
    import(&into_c, b"{\"id\":\"\xff\xfe\"}\n").fails(&["line 1"]);
    import(&into_c, b"{\"id\":\"\"}\n").fails(&["line 1"]);
    import(&["--collection", "c", "--id-field", "key"], b"{\"id\":1}\n").fails(&["line 1", "key"]);
    import(&[], b"{\"id\":\"x\"}\n").fails(&["line 1", "--collection"]);
    let large = format!("{{\"id\":\"large\",\"text\":\"{}\"}}\n", "x".repeat(2 << 20));
    import(&into_c, large.as_bytes()).fails(&["line 1"]);
    db.run("import", &["--collection", "c", &folder.arg("none.jsonl")]).fails(&["none.jsonl"]);
    db.run("import", &["--collection", "", "-"]).misused(&["collection"]);
    db.run("put", &["c", "x", "{not json"]).misused(&["JSON"]);
    db.run("put", &["c", "", "{}"]).misused(&["document id"]);
    db.run("put", &["c", "x", &format!("\"{}\"", "x".repeat(100_000))]).ok();
    assert!(db.body("c", "x").is_some());
}

#[test]
fn a_file_of_another_program_is_refused_and_unchanged() {
    let folder = Folder::new();
    let text = folder.path("text.db");
    std::fs::write(&text, "dear diary, ".repeat(100)).unwrap();
    let replica = Db::new(&folder, "replica.db");
    replica.put("c", "x", "1");
    let server_file = folder.path("server.db");
    drop(Served::start(&server_file));

    for name in ["text.db", "server.db"] {
        let before = std::fs::read(folder.path(name)).unwrap();
        let db = Db::new(&folder, name);
        for (command, rest) in [
            ("put", &["c", "x", "1"][..]),
            ("get", &["c", "x"]),
            ("status", &["--json"]),
            ("export", &[]),
            ("sync", &["--server", "ws://127.0.0.1:1"]),
            ("watch", &[]),
        ] {
            db.run(command, rest).fails(&[name]);
        }
        assert_eq!(std::fs::read(folder.path(name)).unwrap(), before, "{name} was changed");
    }
    let serve =
        |name: &str| run(&["serve", "--listen", "127.0.0.1:0", "--storage", &folder.arg(name)]);
    serve("text.db").fails(&["text.db"]);
    serve("replica.db").fails(&["replica.db"]);
    assert_eq!(replica.body("c", "x"), Some(json!(1)));
}

#[test]
fn a_file_of_a_newer_version_is_refused_and_unchanged() {
    let folder = Folder::new();
    let db = Db::new(&folder, "a.db");
    db.put("c", "x", "1");
    // The schema version is SQLite's user version: bytes 60 to 64 of the file, big-endian.
    let mut bytes = std::fs::read(&db.0).unwrap();
    bytes[60..64].copy_from_slice(&1_000_u32.to_be_bytes());
    std::fs::write(&db.0, &bytes).unwrap();
    for (command, rest) in [("get", &["c", "x"][..]), ("put", &["c", "y", "2"]), ("export", &[])] {
        db.run(command, rest).fails(&["a.db", "version 1000"]);
    }
    assert_eq!(std::fs::read(&db.0).unwrap(), bytes);
}

#[test]
fn a_port_in_use_is_an_error_that_names_it() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let storage = folder.arg("server.db");
    run(&["serve", "--listen", &address, "--storage", &storage]).fails(&[&address, "in use"]);
    // It left no file behind that would block the next start.
    drop(taken);
    let server = Served::start_at(&folder.path("server.db"), &address, &[]);
    assert_eq!(http_get(server.address, "/healthz", None).0, 200);
}

#[tokio::test]
async fn on_a_full_disk_what_was_written_stays_and_writing_works_again_with_room() {
    let folder = Folder::new();
    let path = folder.path("full.db");
    let mut config = SqliteConfig::new(&path);
    config.max_page_count = Some(100);
    let open = |config: &SqliteConfig| {
        let storage = open_replica(config, ReplicaId([3; 16])).unwrap();
        Replica::builder().storage(std::sync::Arc::new(storage)).open()
    };
    let replica = open(&config).await.unwrap();
    let notes = replica.collection::<String>("notes").unwrap();
    let (mut written, text) = (0, "x".repeat(10_000));
    let error = loop {
        match notes.insert_with_id(&format!("n{written:04}"), &text).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 1_000, "the disk does not get full");
    };
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert!(error.to_string().contains("full"), "{error}");
    assert!(written > 10);
    assert_eq!(replica.state().await.unwrap().scopes[0].documents, written);
    replica.close().await.unwrap();

    config.max_page_count = None;
    let replica = open(&config).await.unwrap();
    let notes = replica.collection::<String>("notes").unwrap();
    let state = replica.state().await.unwrap();
    assert_eq!((state.scopes[0].documents, state.scopes[0].outbox.pending), (written, written));
    notes.insert_with_id(&format!("n{written:04}"), &text).await.unwrap();
    replica.close().await.unwrap();
    // Everything that was acknowledged is synced.
    let server = Served::start(&folder.path("server.db"));
    let line = Db::new(&folder, "full.db").sync(&server);
    assert_eq!(line["pushed"], written + 1);
}

#[cfg(unix)]
#[test]
fn a_read_only_file_is_an_error_that_names_it() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65_534;
    let folder = Folder::new();
    let db = Db::new(&folder, "a.db");
    db.put("c", "x", "1");
    let allow = |path: &str, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    allow(&folder.arg("."), 0o755);
    allow(&db.0, 0o444);
    // Root may write to everything, so this runs as a user that may not.
    let is_root = std::fs::metadata(&db.0).unwrap().uid() == 0;
    let put = Process::start_with(&["put", "--db", &*db.0, "c", "y", "2"], |command| {
        if is_root { command.uid(NOBODY).gid(NOBODY) } else { command }
    });
    put.end().fails(&["a.db", "cannot be written"]);
    allow(&db.0, 0o644);
    db.put("c", "y", "2");
    assert_eq!(db.body("c", "x"), Some(json!(1)));
}

#[test]
fn a_missing_replica_is_not_created_by_reading_it() {
    let folder = Folder::new();
    let db = Db::new(&folder, "none.db");
    for (command, rest) in [
        ("get", &["c", "x"][..]),
        ("status", &["--json"]),
        ("ls", &[]),
        ("rm", &["c", "x"]),
        ("export", &[]),
        ("watch", &[]),
    ] {
        db.run(command, rest).fails(&["none.db"]);
    }
    assert!(!folder.path("none.db").exists());
    // A folder that does not exist is not created.
    let far = Db(folder.arg("no/folder/a.db"));
    far.run("put", &["c", "x", "1"]).fails(&["a.db"]);
}

#[test]
fn wrong_usage_ends_with_code_2() {
    let folder = Folder::new();
    let a = folder.arg("a.db");
    run(&[]).code(2);
    run(&["dance"]).misused(&["dance"]);
    run(&["put", "--db", &a, "c"]).misused(&["ID"]);
    run(&["get", "c", "x"]).misused(&["--db"]);
    run(&["sync", "--db", &a]).misused(&["--server"]);
    run(&["sync", "--db", &a, "--server", "ws://x", "--once", "--live"]).misused(&["--live"]);
    run(&["sync", "--db", &a, "--server", "ws://x", "--chunk", "0"]).misused(&["--chunk"]);
    run(&["put", "--db", "floppy:a.db", "c", "x", "1"]).misused(&["floppy", "sqlite"]);
    run(&["serve", "--listen", "somewhere"]).misused(&["--listen"]);
    run(&["serve", "--token", "nameless", "--storage", &a]).misused(&["NAME=SECRET"]);
    run(&["import", "--db", &a, "--id-field", "id", "-"]).misused(&["--collection"]);
    assert!(!folder.path("a.db").exists());
}

#[test]
fn an_address_without_a_server_is_a_clear_failure_that_loses_nothing() {
    let folder = Folder::new();
    let db = Db::new(&folder, "a.db");
    db.put("c", "x", "1");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ended = db.run("sync", &["--server", &format!("ws://{closed}")]);
    ended.fails(&[]);
    assert_eq!(ended.json()["in_sync"], false);
    db.run("sync", &["--server", "gopher://x"]).misused(&["gopher"]);
    db.run("sync", &["--server", "ws://"]).misused(&[]);
    assert_eq!(db.status()["outbox"]["pending"], 1);
}

#[test]
fn a_server_without_tokens_listens_on_loopback_only() {
    let folder = Folder::new();
    let storage = folder.arg("server.db");
    let serve = |listen: &str| run(&["serve", "--listen", listen, "--storage", &storage]);
    serve("0.0.0.0:0").misused(&["loopback", "--token"]);
    serve("[::]:0").misused(&["loopback"]);
    assert!(!folder.path("server.db").exists());
    let token = ["--token", "ann=secret"];
    let server = Served::start_at(&folder.path("server.db"), "0.0.0.0:0", &token);
    assert_eq!(server.address.ip().to_string(), "0.0.0.0");
}

#[test]
fn a_wrong_token_is_an_error_and_keeps_local_writes() {
    let folder = Folder::new();
    let tokens = folder.path("tokens");
    std::fs::write(&tokens, "ben=hush\n\ncleo=quiet\n").unwrap();
    let more = ["--token", "ann=secret", "--token-file", tokens.to_str().unwrap()];
    let server = Served::start_at(&folder.path("server.db"), "127.0.0.1:0", &more);
    let url = server.url();
    let db = Db::new(&folder, "a.db");
    db.put("c", "x", "1");
    for wrong in [&[][..], &["--token", "wrong"], &["--token", "ann=secret"]] {
        for how in ["--once", "--live"] {
            let mut args = vec!["--server", &*url, how];
            args.extend(wrong);
            let ended = db.run("sync", &args);
            ended.fails(&["token"]);
            assert!(!ended.stderr.contains("secret\""), "{}", ended.stderr);
        }
    }
    assert_eq!(db.status()["outbox"]["pending"], 1);

    db.run("sync", &["--server", &url, "--token", "secret"]).ok();
    std::fs::write(folder.path("token"), "hush\n").unwrap();
    db.run("sync", &["--server", &url, "--token-file", &folder.arg("token")]).ok();
    let args = ["sync", "--db", &*db.0, "--server", &*url];
    Process::start_with(&args, |c| c.env("TWOTIDE_TOKEN", "quiet")).end().ok();
    assert_eq!(db.status()["outbox"]["pending"], 0);

    let scope = |token| http_get(server.address, "/v1/scopes/default", token);
    assert_eq!(scope(None).0, 401);
    assert_eq!(scope(Some("wrong")).0, 401);
    let (code, shown) = scope(Some("secret"));
    assert_eq!((code, &shown["documents"]), (200, &json!(1)));
    assert_eq!(http_get(server.address, "/healthz", None).0, 200);
}

#[test]
fn what_the_server_shows_over_plain_http_has_its_shape() {
    let folder = Folder::new();
    let server = Served::start(&folder.path("server.db"));
    let get = |path: &str| http_get(server.address, path, None);
    assert_eq!(get("/healthz"), (200, json!({ "status": "ok" })));
    let (code, error) = get("/v1/scopes/default");
    assert_eq!((code, &error["kind"]), (404, &json!("not_found")));
    let (code, error) = get(&format!("/v1/scopes/{}", "x".repeat(2_000)));
    assert_eq!((code, &error["kind"]), (400, &json!("invalid_input")));
    assert_eq!(get("/elsewhere").0, 404);

    let db = Db::new(&folder, "a.db");
    db.put("c", "x", "1");
    db.sync(&server);
    let (_, _, digest) = db.position().unwrap();
    let scope = server.scope();
    let epoch = scope["epoch"].clone();
    assert_eq!(epoch.as_str().unwrap().len(), 32);
    let shape = json!({
        "scope": "default", "epoch": epoch, "head": 1, "horizon": 0, "documents": 1, "digest": digest,
    });
    assert_eq!(scope, shape);
}

#[cfg(unix)]
#[test]
fn a_signal_drains_the_server_and_it_ends_with_success() {
    let folder = Folder::new();
    let mut server = stage(&folder);
    let db = Db::new(&folder, "a.db");
    let mut live = db.live(&server, &[]);
    live.line_where("in sync", |l| l["in_sync"] == true);
    db.put("notes", "last", "1");
    until("it is pushed", || (server.scope()["documents"] == 2).then_some(()));
    server.process.terminate();
    let address = server.address.to_string();
    let Served { process, .. } = server;
    process.end().ok();
    // The replica reports it, keeps running, and continues when there is a server again.
    live.line_where("offline", |l| l["status"] == "offline");
    db.put("notes", "meanwhile", "2");
    server = Served::start_at(&folder.path("server.db"), &address, &[]);
    assert_eq!(db.reaches(&server)["documents"], 3);
    assert!(live.is_running());
    live.terminate();
    live.end().ok();
}
