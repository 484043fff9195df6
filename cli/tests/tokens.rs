//! Tokens: the files that hold them, and their replacement.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use std::path::Path;

use serde_json::json;
use support::{Db, Folder, Process, Served, http_get, run, until};

fn serve_with(tokens: &str) -> Process {
    let args = ["serve", "--listen", "127.0.0.1:0", "--storage", "memory:", "--token-file", tokens];
    Process::start(&args)
}

fn write(folder: &Folder, name: &str, bytes: impl AsRef<[u8]>) -> String {
    std::fs::write(folder.path(name), bytes).unwrap();
    folder.arg(name)
}

#[test]
fn a_token_file_without_tokens_is_refused_by_server_and_client() {
    let folder = Folder::new();
    let db = Db::new(&folder, "a.db");
    for nothing in ["", "\n\n", " \t \r\n", "# ann=secret\n", "\u{feff}", "\u{feff}\n# none yet\n"]
    {
        let file = write(&folder, "tokens", nothing);
        serve_with(&file).end().misused(&["tokens", "holds no token"]);
        let more = ["serve", "--storage", "memory:", "--token", "ann=secret"];
        run(&[&more[..], &["--listen", "127.0.0.1:0", "--token-file", &file]].concat())
            .misused(&["holds no token"]);
        let client = ["--server", "ws://127.0.0.1:1", "--token-file", &*file];
        db.run("sync", &client).misused(&["tokens", "holds no token"]);
    }
    assert!(!folder.path("a.db").exists());
    for args in [&["--token", ""][..], &["--token", "two words"]] {
        let all = [&["--server", "ws://127.0.0.1:1"], args].concat();
        db.run("sync", &all).misused(&["--token"]);
    }
}

#[test]
fn comments_blank_lines_and_a_byte_order_mark_are_ignored() {
    let folder = Folder::new();
    let text = "\u{feff}# tokens of the team\r\n\r\n  ann=secret\r\n\t# ben=hush\r\n";
    let tokens = write(&folder, "tokens", text);
    let server = Served::start_at(Path::new("memory:"), "127.0.0.1:0", &["--token-file", &tokens]);
    let db = Db::new(&folder, "a.db");
    db.put("c", "x", "1");
    let token = write(&folder, "token", "\u{feff}# of the laptop\r\n\r\nsecret\r\n");
    for scheme in ["ws", "http"] {
        let url = format!("{scheme}://{}", server.address);
        db.run("sync", &["--server", &url, "--token-file", &token]).ok();
        db.run("sync", &["--server", &url, "--token", "hush"]).fails(&["token"]);
    }
}

#[test]
fn an_invalid_token_line_is_named_and_not_printed() {
    let folder = Folder::new();
    for (line, says) in [
        ("hunter2", "NAME=SECRET"),
        ("ben=", "NAME=SECRET"),
        ("=hunter2", "NAME=SECRET"),
        ("ben = hunter2", "blanks"),
        ("ben=hunter2 hunter2", "blanks"),
        ("ben=hunter2é", "ASCII"),
        ("ben=hunter1", "another name"),
    ] {
        let file = write(&folder, "tokens", format!("# tokens\nann=hunter1\n{line}\n"));
        let ended = serve_with(&file).end();
        ended.misused(&["tokens:3: ", says]);
        assert!(!ended.stderr.contains("hunter"), "{}", ended.stderr);
    }
    let wide: Vec<u8> = "\u{feff}ann=x\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    serve_with(&write(&folder, "tokens", wide)).end().misused(&["tokens", "UTF-16"]);

    let db = Db::new(&folder, "a.db");
    for (token, says) in [
        ("\nhunter2 hunter2\n", "token:2: "),
        ("hunter2é", "token:1: "),
        ("hunter1\nhunter2\n", "one token"),
    ] {
        let file = write(&folder, "token", token);
        let ended = db.run("sync", &["--server", "ws://127.0.0.1:1", "--token-file", &file]);
        ended.misused(&[says]);
        assert!(!ended.stderr.contains("hunter"), "{}", ended.stderr);
    }
}

#[test]
fn two_secrets_of_one_name_are_both_accepted_over_every_transport() {
    let folder = Folder::new();
    let tokens = write(&folder, "tokens", "ann=old\nann=new!~\"'=\n");
    let server = Served::start_at(Path::new("memory:"), "127.0.0.1:0", &["--token-file", &tokens]);
    let db = Db::new(&folder, "a.db");
    for (n, token) in ["old", "new!~\"'="].into_iter().enumerate() {
        for scheme in ["ws", "http"] {
            db.put("c", &format!("{scheme}{n}"), "1");
            let url = format!("{scheme}://{}", server.address);
            db.run("sync", &["--server", &url, "--token", token]).ok();
        }
        assert_eq!(http_get(server.address, "/v1/scopes/default", Some(token)).0, 200);
    }
    assert_eq!(http_get(server.address, "/v1/scopes/default", Some("ol")).0, 401);
}

#[cfg(unix)]
#[test]
fn a_live_sync_reads_its_token_file_again() {
    let folder = Folder::new();
    let (tokens, token) = (write(&folder, "tokens", "ann=old\n"), write(&folder, "token", "old\n"));
    let storage = folder.path("server.db");
    let with = ["--token-file", &*tokens];
    let server = Served::start_at(&storage, "127.0.0.1:0", &with);
    let address = server.address.to_string();
    let db = Db::new(&folder, "a.db");
    db.put("c", "x", "1");
    let mut live = db.live(&server, &["--token-file", &token]);
    live.line_where("in sync", |l| l["in_sync"] == true);
    server.process.terminate();
    server.process.end().ok();
    live.line_where("offline", |l| l["status"] == "offline");

    // A file that is being written does not end the sync.
    write(&folder, "token", "");
    write(&folder, "tokens", "ann=new\n");
    let server = Served::start_at(&storage, &address, &with);
    let empty = live.line_where("the file", |l| {
        l["error"].as_str().is_some_and(|e| e.contains("holds no token"))
    });
    assert_ne!(empty["status"], "idle");
    write(&folder, "token", "new\n");
    db.put("c", "y", "1");
    until("it is pushed", || (db.status()["outbox"]["pending"] == 0).then_some(()));
    assert!(live.is_running());

    // A token that stays refused ends it with an error that names the file.
    write(&folder, "tokens", "ann=newer\n");
    server.process.terminate();
    server.process.end().ok();
    let _server = Served::start_at(&storage, &address, &with);
    live.end().fails(&["refused the token", "token"]);
    assert_eq!(db.body("c", "y"), Some(json!(1)));
}
