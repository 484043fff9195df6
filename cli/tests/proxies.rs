//! The proxy of a sync over HTTP: processes, each with another environment.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use support::{Db, Folder, Process, Served};

/// A proxy that records the first line of each request, and forwards all requests to one server,
/// whichever they name.
struct Proxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let note = Arc::clone(&asked);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let note = Arc::clone(&note);
                std::thread::spawn(move || relay(client.unwrap(), server, &note));
            }
        });
        Self { address, asked }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the requests since the last call.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// Handles one request per connection, as simple proxies do.
fn relay(mut client: TcpStream, server: SocketAddr, note: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if client.read(&mut byte).is_ok_and(|n| n == 1) {
            head.push(byte[0]);
        } else {
            return;
        }
    }
    let head = String::from_utf8(head).unwrap();
    let (line, rest) = head.split_once("\r\n").unwrap();
    note.lock().unwrap().push(line.to_owned());
    let (method, target) = line.split_once(' ').unwrap();
    let path = &target[target.find("/v1").unwrap()..];
    let mut up = TcpStream::connect(server).unwrap();
    write!(up, "{method} {path}\r\nConnection: close\r\n{rest}").unwrap();
    let (mut from, mut to) = (client.try_clone().unwrap(), up.try_clone().unwrap());
    std::thread::spawn(move || std::io::copy(&mut from, &mut to));
    let _ = std::io::copy(&mut up, &mut client);
}

/// Runs a sync with these environment variables, which must succeed.
fn sync(db: &Db, server: &str, more: &[&str], environment: &[(&str, &str)]) {
    let mut args = vec!["sync", "--db", &db.0, "--server", server];
    args.extend(more);
    let line = Process::start_with(&args, |command| command.envs(environment.iter().copied()));
    let line = line.end().ok().json();
    assert_eq!(line["in_sync"], true, "{line}");
}

#[test]
fn the_proxy_of_the_environment_is_used_but_not_to_this_machine() {
    let folder = Folder::new();
    let named = ["--allow-host", "sync.invalid"];
    let server = Served::start_at(&folder.path("server.db"), "127.0.0.1:0", &named);
    let proxy = Proxy::start(server.address);
    let db = Db::new(&folder, "a.db");
    db.put("notes", "a", "1");
    let (here, port) = (format!("http://{}", server.address), server.address.port());
    let elsewhere = "http://sync.invalid";
    let by = proxy.url();
    sync(&db, elsewhere, &[], &[("HTTP_PROXY", &by)]);
    assert_eq!(proxy.asked()[0], "POST http://sync.invalid/v1/hello HTTP/1.1");
    sync(&db, elsewhere, &[], &[("http_proxy", &by), ("NO_PROXY", "other.invalid")]);
    assert!(!proxy.asked().is_empty());
    // No proxy to servers on this machine, whatever the environment contains.
    sync(&db, &here, &[], &[("HTTP_PROXY", &by), ("ALL_PROXY", &by)]);
    sync(&db, &format!("http://localhost:{port}"), &[], &[("HTTP_PROXY", &by)]);
    // A proxy to a server on this machine whose address does not show that.
    let (any, through) = (format!("http://0.0.0.0:{port}"), [("HTTP_PROXY", by.as_str())]);
    assert_eq!(proxy.asked(), Vec::<String>::new());
    sync(&db, &any, &[], &through);
    assert!(!proxy.asked().is_empty());
    sync(&db, &any, &[], &[through[0], ("NO_PROXY", "0.0.0.0")]);
    sync(&db, &any, &["--proxy", "none"], &through);
    assert_eq!(proxy.asked(), Vec::<String>::new());
    // An unusable proxy is an error, and not bypassed.
    for unusable in ["http://", "socks5://secret@127.0.0.1:1"] {
        let args = ["sync", "--db", &db.0, "--server", &any];
        let with = [("HTTP_PROXY", unusable)];
        let refused = Process::start_with(&args, |command| command.envs(with)).end();
        refused.misused(&["HTTP_PROXY", "proxy"]);
        assert!(!refused.stderr.contains("secret"), "{}", refused.stderr);
        sync(&db, &here, &[], &with);
    }
}

#[test]
fn a_proxy_given_as_an_option_is_used_for_everything() {
    let folder = Folder::new();
    let named = ["--allow-host", "sync.invalid"];
    let server = Served::start_at(&folder.path("server.db"), "127.0.0.1:0", &named);
    let proxy = Proxy::start(server.address);
    let db = Db::new(&folder, "a.db");
    let here = format!("http://{}", server.address);
    let named = proxy.url();
    for (server, environment) in [
        ("http://sync.invalid", &[][..]),
        (&*here, &[("NO_PROXY", "*")]),
        (&*here, &[("HTTP_PROXY", "http://proxy.invalid")]),
    ] {
        sync(&db, server, &["--proxy", &named], environment);
        assert_eq!(proxy.asked()[0], format!("POST {server}/v1/hello HTTP/1.1"));
    }
    for (proxy, server) in [
        ("secret@proxy", here.as_str()),
        ("socks5://secret@proxy", here.as_str()),
        ("none", "ws://127.0.0.1:9"),
    ] {
        let refused = db.run("sync", &["--server", server, "--proxy", proxy]);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    }
}
