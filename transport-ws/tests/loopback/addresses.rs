//! Addresses, TLS and roots of trust.

use axum::Router;
use sync_core::error::{ErrorKind, Retry};
use sync_core::transport::Transport;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use transport_kit::listen_tls;
use transport_ws::tls::{Trust, server_config};
use transport_ws::{PATH, WsConfig, WsTransport, router};

use super::support::*;

#[tokio::test]
async fn tls_works_with_the_right_root_and_not_without() {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (pem, der) = (certified.cert.pem(), certified.cert.der().to_vec());
    let key = certified.signing_key.serialize_pem();
    let (tell, mut links) = mpsc::unbounded_channel();
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let tls = server_config(pem.as_bytes(), key.as_bytes()).unwrap();
    tokio::spawn(listen_tls(socket, tls, router(Doorman(tell)), std::future::pending()));

    // A client that never finishes its handshake delays no other.
    let _silent = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut config = WsConfig::new(format!("wss://localhost:{port}/"));
    for trust in [
        Trust::Only(vec![pem.clone().into_bytes()]),
        Trust::Only(vec![der.clone()]),
        Trust::Web { extra: vec![der] },
    ] {
        config.trust = trust;
        let transport = WsTransport::new(config.clone()).unwrap();
        let serving = async {
            let (mut served, ..) = links.recv().await.unwrap();
            served.greet().await;
            served
        };
        let (connected, _served) =
            within(async { tokio::join!(transport.connect(hello()), serving) }).await;
        connected.unwrap();
    }

    config.trust = Trust::default();
    let error = refused(config.clone()).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Network, Retry::Reconnect));
    assert!(error.report().to_string().contains("UnknownIssuer"), "{error}");
    // The right root for a wrong name.
    config.trust = Trust::Only(vec![pem.into_bytes()]);
    config.url = format!("wss://127.0.0.1:{port}");
    let error = refused(config.clone()).await;
    assert!(error.report().to_string().contains("certificate"), "{error}");
    // No TLS where TLS is expected.
    config.url = format!("ws://127.0.0.1:{port}");
    assert_eq!(refused(config).await.retry(), Retry::Reconnect);
}

#[tokio::test]
async fn invalid_roots_are_refused_at_once() {
    let mut config = WsConfig::new("wss://localhost");
    for bad in ["", "nonsense", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
        config.trust = Trust::Only(vec![bad.as_bytes().to_vec()]);
        let error = WsTransport::new(config.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad}");
    }
    assert_eq!(server_config(b"", b"").unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn addresses_are_checked_before_connecting() {
    for bad in [
        "",
        "localhost",
        "localhost:80",
        "http://localhost",
        "ws://",
        "ws://:80",
        "ws://localhost:99999",
        "ws://localhost:0",
        "ws://local host",
        "ws://user:secret@localhost",
        "ws://localhost:",
    ] {
        let error = WsTransport::new(WsConfig::new(bad)).expect_err(bad);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad}");
        assert!(!error.report().to_string().contains("secret"), "{error}");
    }
    for good in ["ws://localhost", "wss://example.org:7000/a/b", "ws://[::1]:9", "wss://10.0.0.1"] {
        WsTransport::new(WsConfig::new(good)).unwrap();
    }
    let mut config = WsConfig::new("ws://localhost");
    config.headers.push(("not a name".to_owned(), "x".to_owned()));
    assert_eq!(WsTransport::new(config).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn addresses_are_read_as_typed_and_a_path_is_a_prefix() {
    let (tell, mut links) = mpsc::unbounded_channel();
    let app =
        Router::new().merge(router(Doorman(tell.clone()))).nest("/team", router(Doorman(tell)));
    let address = serve(app).await;
    for (url, works) in [
        (format!("WS://{address}"), true),
        (format!(" ws://{address}/ "), true),
        (format!("ws://{address}/team"), true),
        (format!("ws://{address}/team/"), true),
        (format!("ws://{address}{PATH}"), true),
        (format!("ws://{address}/other"), false),
    ] {
        let transport = WsTransport::new(WsConfig::new(url.clone())).unwrap();
        let connecting = transport.connect(hello());
        if works {
            let serving = async {
                let (mut served, _, place) = links.recv().await.unwrap();
                served.greet().await;
                (served, place)
            };
            within(async { tokio::join!(connecting, serving) }).await.0.expect(&url);
        } else {
            assert_eq!(within(connecting).await.unwrap_err().kind(), ErrorKind::NotFound, "{url}");
        }
    }
    for refused in ["ws://h/?token=secret", "ws://h/#secret", "ws://ann:secret@h"] {
        let error = WsTransport::new(WsConfig::new(refused)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    }
}

/// A certificate of `openssl req -x509`: a server's that is marked as an authority's.
#[tokio::test]
async fn a_self_signed_authority_is_trusted_as_a_server_if_it_is_configured_itself() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let make = |params: &rcgen::CertificateParams| params.self_signed(&key).unwrap().pem();
    let (current, other) = (make(&params), make(&params));
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let expired = make(&params);
    for (served_with, trusted, url_host, works) in [
        (&current, &current, "localhost", true),
        (&current, &current, "127.0.0.1", false),
        (&current, &other, "localhost", current == other),
        (&expired, &expired, "localhost", false),
    ] {
        let (tell, mut links) = mpsc::unbounded_channel();
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let tls = server_config(served_with.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        tokio::spawn(listen_tls(socket, tls, router(Doorman(tell)), std::future::pending()));
        let mut config = WsConfig::new(format!("wss://{url_host}:{port}"));
        config.trust = Trust::Only(vec![trusted.clone().into_bytes()]);
        let transport = WsTransport::new(config).unwrap();
        if !works {
            let error = within(transport.connect(hello())).await.map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Network, "{url_host}: {error}");
            continue;
        }
        let serving = async {
            let (mut served, ..) = links.recv().await.unwrap();
            served.greet().await;
            served
        };
        within(async { tokio::join!(transport.connect(hello()), serving) }).await.0.unwrap();
    }
}
