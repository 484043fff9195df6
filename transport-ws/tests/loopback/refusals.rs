//! Servers that refuse, end or do not answer.

use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::any;
use futures_util::StreamExt;
use sync_core::error::{ErrorKind, Retry};
use tokio::net::TcpListener;
use transport_ws::{PATH, WsConfig, WsServerConfig};

use super::support::*;

#[tokio::test]
async fn a_server_that_ends_fails_pending_requests_at_once() {
    let mut server = Server::start().await;
    let (connection, mut served) = server.connected(server.config()).await;
    let mut live = connection.live(pull());
    let script = async {
        for _ in 0..4 {
            served.hear().await;
        }
        drop(served);
        server.places.clear();
    };
    let (pulled, pushed, event, lost, ()) = within(async {
        tokio::join!(
            connection.pull(pull()),
            connection.push(batch("1")),
            live.next(),
            connection.lost(),
            script
        )
    })
    .await;
    for error in [pulled.unwrap_err(), pushed.unwrap_err(), event.unwrap().unwrap_err(), lost] {
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Network, Retry::Reconnect));
    }
}

#[tokio::test]
async fn a_closed_port_is_a_retryable_error() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);
    let error = refused(WsConfig::new(format!("ws://{address}"))).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Network, Retry::Reconnect));
    assert!(error.report().to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn a_server_that_accepts_and_sends_nothing_times_out() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = WsConfig::new(format!("ws://{}", socket.local_addr().unwrap()));
    config.connect_timeout = Duration::from_millis(50);
    let error = refused(config).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Timeout, Retry::Reconnect));
}

#[tokio::test]
async fn refusals_of_http_keep_their_advice() {
    let later = |seconds: Option<u64>| Retry::Later(seconds.map(Duration::from_secs));
    for (status, header, kind, retry) in [
        (401, "", ErrorKind::Unauthenticated, later(None)),
        (403, "", ErrorKind::Network, later(None)),
        (404, "", ErrorKind::NotFound, later(None)),
        (429, "7", ErrorKind::Overloaded, later(Some(7))),
        (503, "120", ErrorKind::Overloaded, later(Some(120))),
        (503, "Fri, 31 Dec 1999 23:59:59 GMT", ErrorKind::Overloaded, later(Some(0))),
        (503, "Fri, 31 Dec 2100 23:59:59 GMT", ErrorKind::Overloaded, later(Some(5 * 60))),
        (503, "soon", ErrorKind::Overloaded, later(None)),
        (502, "", ErrorKind::Network, later(None)),
        (200, "", ErrorKind::Protocol, later(None)),
    ] {
        let answer =
            (StatusCode::from_u16(status).unwrap(), [("retry-after", header)], "because\u{7}");
        let app = Router::new().route(PATH, any(move || async move { answer }));
        let address = serve(app).await;
        let error = refused(WsConfig::new(format!("ws://{address}"))).await;
        assert_eq!((error.kind(), error.retry()), (kind, retry), "{status} {error}");
        assert!(error.report().to_string().contains(&status.to_string()), "{error}");
        assert!(!error.report().to_string().contains('\u{7}'));
    }
}

#[tokio::test]
async fn pages_of_other_sites_are_refused() {
    let mut server = Server::start().await;
    let address = server.address;
    let with_origin = |origin: &str| {
        let mut config = WsConfig::new(format!("ws://{address}"));
        config.headers.push(("origin".to_owned(), origin.to_owned()));
        config
    };
    for origin in ["https://evil.example", "null", "http://localhost:1"] {
        let error = refused(with_origin(origin)).await.to_string();
        assert!(error.contains("403") && error.contains("origin"), "{origin}: {error}");
    }
    let own = with_origin(&format!("http://{address}"));
    server.connected(own).await;
}

#[tokio::test]
async fn a_page_under_a_foreign_name_for_this_server_is_refused_and_a_program_is_not() {
    let mut limits = WsServerConfig::default();
    limits.browsers = limits.browsers.local_hosts();
    let server = Server::start_with(limits).await;
    for (host, origin, status) in [
        ("evil.example", "Origin: http://evil.example\r\n", "403"),
        ("evil.example", "", "403"),
        ("sync", "Origin: http://sync\r\n", "403"),
        ("sync", "", "101"),
    ] {
        let mut socket = tokio::net::TcpStream::connect(server.address).await.unwrap();
        let request = format!(
            "GET {PATH} HTTP/1.1\r\nHost: {host}\r\n{origin}Upgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        tokio::io::AsyncWriteExt::write_all(&mut socket, request.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        within(tokio::io::AsyncReadExt::read_exact(&mut socket, &mut answer)).await.unwrap();
        assert_eq!(std::str::from_utf8(&answer[9..]).unwrap(), status, "{host} {origin}");
    }
}
