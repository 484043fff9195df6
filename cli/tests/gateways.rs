//! Answers of other programs than the server: sign-in pages of networks, and ports with another
//! protocol.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::json;
use support::{Db, Folder, Served, until};

/// A gateway before a server. It answers every request with its own page until it is opened.
struct Gateway {
    address: SocketAddr,
    page: Arc<Mutex<Option<&'static str>>>,
}

impl Gateway {
    fn start(server: SocketAddr, page: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let page = Arc::new(Mutex::new(Some(page)));
        let shown = Arc::clone(&page);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, page) = (client.unwrap(), *shown.lock().unwrap());
                std::thread::spawn(move || match page {
                    Some(page) => answer(client, page),
                    None => relay(&client, server),
                });
            }
        });
        Self { address, page }
    }

    fn open(&self) {
        *self.page.lock().unwrap() = None;
    }
}

/// Reads one request with its body, and answers it.
fn answer(mut client: TcpStream, page: &str) {
    let mut reader = BufReader::new(client.try_clone().unwrap());
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    let _ = reader.take(length).read_to_end(&mut Vec::new());
    let body = "<!DOCTYPE html><html><body>Please sign in</body></html>";
    let _ = write!(
        client,
        "HTTP/1.1 {page}\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
}

fn relay(client: &TcpStream, server: SocketAddr) {
    let up = TcpStream::connect(server).unwrap();
    let (mut from, mut to) = (client.try_clone().unwrap(), up.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Write);
    });
    let _ = std::io::copy(&mut &up, &mut &*client);
    let _ = client.shutdown(std::net::Shutdown::Write);
}

#[test]
fn a_sign_in_page_does_not_end_a_live_sync_and_loses_nothing() {
    let folder = Folder::new();
    let server = Served::start(&folder.path("server.db"));
    for (n, page) in [
        "200 OK",
        "302 Found\r\nLocation: http://portal.invalid/login",
        "401 Unauthorized",
        "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"hotel\"",
        "403 Forbidden",
        "404 Not Found",
        "511 Network Authentication Required",
    ]
    .into_iter()
    .enumerate()
    {
        for scheme in ["http", "ws"] {
            let gateway = Gateway::start(server.address, page);
            let db = Db::new(&folder, &format!("{scheme}{n}.db"));
            db.put("notes", &format!("{scheme}{n}"), "1");
            let url = format!("{scheme}://{}", gateway.address);
            let mut live = db.start("sync", &["--server", &url, "--live", "--token", "good"]);
            let told = live.line_where("what answers", |l| l["error"].is_string());
            let error = told["error"].as_str().unwrap();
            let code = page.split(' ').next().unwrap();
            assert!(error.contains(code), "{scheme} {page}: {error}");
            assert!(live.is_running(), "{scheme} {page}");
            gateway.open();
            live.line_where("in sync", |l| l["in_sync"] == true);
            assert_eq!(db.status()["outbox"]["pending"], json!(0), "{scheme} {page}");
        }
    }
}

#[test]
fn a_one_shot_sync_behind_a_sign_in_page_ends_with_an_error_about_it() {
    let folder = Folder::new();
    let db = Db::new(&folder, "a.db");
    db.put("notes", "a", "1");
    for page in ["401 Unauthorized", "403 Forbidden"] {
        let gateway = Gateway::start("127.0.0.1:1".parse().unwrap(), page);
        for scheme in ["http", "ws"] {
            let url = format!("{scheme}://{}", gateway.address);
            db.run("sync", &["--server", &url]).fails(&[&page[..3], "Please sign in"]);
        }
    }
    assert_eq!(db.status()["outbox"]["pending"], json!(1));
}

#[test]
fn an_address_without_tls_of_a_port_with_tls_is_an_error_about_it() {
    let folder = Folder::new();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.arg("certificate.pem"), folder.arg("key.pem"));
    std::fs::write(&certificate, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let tls = ["--tls-certificate", &*certificate, "--tls-key", &*key];
    let server = Served::start_at(&folder.path("server.db"), "127.0.0.1:0", &tls);
    let plain = Served::start(&folder.path("plain.db"));
    let db = Db::new(&folder, "a.db");
    for (address, says) in [
        (format!("ws://{}", server.address), "wss://"),
        (format!("http://{}", server.address), "https://"),
        (format!("wss://{}", plain.address), "ws://"),
        (format!("https://{}", plain.address), "http://"),
    ] {
        let ended = db.run("sync", &["--server", &address, "--trust", &certificate]);
        ended.fails(&["TLS", says]);
    }
    until("both still serve", || {
        db.run("sync", &["--server", &plain.url()]).status.success().then_some(())
    });
}
