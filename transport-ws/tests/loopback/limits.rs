//! Bounds of messages, memory and connections.

use std::time::Duration;

use axum::Router;
use axum::extract::ws::{Message as WsMessage, WebSocketUpgrade};
use axum::routing::any;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use sync_core::error::{ErrorKind, Retry};
use sync_core::protocol::{Goodbye, Message};
use sync_core::transport::Transport;
use transport_ws::{PATH, SUBPROTOCOL, WsConfig, WsServerConfig, WsTransport};

use super::support::*;

#[tokio::test]
async fn a_message_over_the_clients_limit_is_a_clear_error_and_not_the_end() {
    let mut server = Server::start().await;
    let mut config = server.config();
    config.framed.max_payload = 10_000;
    for _ in 0..2 {
        let (connection, mut served) = server.connected(config.clone()).await;
        let script = async {
            let (stream, _) = served.hear().await;
            // The client may close before the whole message is written.
            let frame = served.wire.encode(stream, &Message::Chunk(chunk(0, &text(20_000))));
            let _ = served.link.outgoing.send(frame).await;
        };
        let (pulled, lost, ()) =
            within(async { tokio::join!(connection.pull(pull()), connection.lost(), script) })
                .await;
        for error in [pulled.unwrap_err(), lost] {
            assert_eq!((error.kind(), error.retry()), (ErrorKind::TooLarge, Retry::Reconnect));
            assert!(error.report().to_string().contains("over the limit"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_message_over_the_servers_limit_is_a_clear_error_to_the_server() {
    let mut limits = WsServerConfig::default();
    limits.max_payload = 10_000;
    let mut server = Server::start_with(limits).await;
    let (connection, mut served) = server.connected(server.config()).await;
    let script = async {
        let error = served.try_hear().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        let goodbye = Goodbye { reason: error.message().to_owned(), retry_after: None };
        served.say(0, &Message::Goodbye(goodbye)).await;
    };
    let (pushed, ()) =
        within(async { tokio::join!(connection.push(batch(&text(20_000))), script) }).await;
    let error = pushed.unwrap_err();
    assert_eq!(error.retry(), Retry::Reconnect);
    assert!(error.report().to_string().contains("over the limit"), "{error}");
    let (connection, mut served) = server.connected(server.config()).await;
    let script = async {
        let (stream, _) = served.hear().await;
        served.say(stream, &Message::Verdicts(accepted())).await;
    };
    within(async { tokio::join!(connection.push(batch("1")), script) }).await.0.unwrap();
}

#[tokio::test]
async fn garbage_and_text_lose_the_link() {
    for (message, what) in [
        (WsMessage::Binary(Bytes::from_static(b"garbage")), "shorter than its header"),
        (WsMessage::Binary(Bytes::from(vec![7; 100])), "changed on the way"),
        (WsMessage::Binary(Bytes::new()), "shorter than its header"),
        (WsMessage::Text("hello".into()), "text message"),
    ] {
        let app = Router::new().route(
            PATH,
            any(move |upgrade: WebSocketUpgrade| async move {
                upgrade.protocols([SUBPROTOCOL]).on_upgrade(|mut socket| async move {
                    let _ = socket.send(message).await;
                    while let Some(Ok(_)) = socket.recv().await {}
                })
            }),
        );
        let address = serve(app).await;
        let error = refused(WsConfig::new(format!("ws://{address}"))).await;
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Protocol, Retry::Reconnect));
        assert!(error.report().to_string().contains(what), "{error}");
    }
}

#[tokio::test]
async fn garbage_from_a_client_does_not_affect_the_server() {
    use tokio_tungstenite::tungstenite::Message as Raw;
    let mut server = Server::start().await;
    for raw in [Raw::binary(vec![1; 50]), Raw::text("hello")] {
        let url = format!("ws://{}{PATH}", server.address);
        let (mut socket, _) = within(tokio_tungstenite::connect_async(url)).await.unwrap();
        let mut served = within(server.link()).await;
        socket.send(raw).await.unwrap();
        assert_eq!(within(served.try_hear()).await.unwrap_err().kind(), ErrorKind::Protocol);
    }
}

#[tokio::test]
async fn a_full_server_advises_a_retry_and_has_room_again() {
    let mut limits = WsServerConfig::default();
    limits.connections = 1;
    let mut server = Server::start_with(limits).await;
    let (connection, served) = server.connected(server.config()).await;
    let error = refused(server.config()).await;
    let later = Retry::Later(Some(Duration::from_secs(10)));
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Overloaded, later));
    drop((connection, served));
    server.places.clear();
    // The place is free as soon as the server has detected the end.
    let transport = WsTransport::new(server.config()).unwrap();
    let serving = async {
        let mut served = server.link().await;
        served.greet().await;
        served
    };
    let connecting = async {
        loop {
            match transport.connect(hello()).await {
                Err(error) if error.kind() == ErrorKind::Overloaded => {
                    tokio::task::yield_now().await;
                }
                other => return other,
            }
        }
    };
    within(async { tokio::join!(connecting, serving) }).await.0.unwrap();
}

#[tokio::test]
async fn a_client_that_is_not_admitted_has_a_bound_of_bytes_and_takes_a_greeting_place() {
    use tokio_tungstenite::tungstenite::Message as Raw;
    let mut limits = WsServerConfig::default();
    (limits.greetings, limits.greeting_bytes) = (1, 10_000);
    let mut server = Server::start_with(limits).await;
    let url = format!("ws://{}{PATH}", server.address);
    let (mut socket, _) = within(tokio_tungstenite::connect_async(url)).await.unwrap();
    let mut served = within(server.link()).await;
    let error = refused(server.config()).await;
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    socket.send(Raw::binary(vec![1; 9_000])).await.unwrap();
    assert_eq!(within(served.link.incoming.next()).await.unwrap().unwrap().len(), 9_000);
    // The socket may be closed before everything is sent.
    let _ = socket.send(Raw::binary(vec![1; 9_000])).await;
    let error = within(served.link.incoming.next()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    drop(served);
    server.places.clear();
    // Once a client is admitted there is room for another, and its size is not limited any more.
    let (_one, mut one) = server.connected(server.config()).await;
    let (_two, _) = server.connected(server.config()).await;
    assert!(one.link.admission.is_none());
    let large = one.wire.encode(0, &Message::Ping(1));
    one.link.outgoing.send(large).await.unwrap();
}

#[tokio::test]
async fn large_arriving_messages_have_a_separate_memory_bound() {
    use tokio_tungstenite::tungstenite::Message as Raw;
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    let mut limits = WsServerConfig::default();
    limits.message_memory = 1 << 20;
    let mut server = Server::start_with(limits).await;
    let url = format!("ws://{}{PATH}", server.address);
    let mut clients = Vec::new();
    for _ in 0..3 {
        let (socket, _) = within(tokio_tungstenite::connect_async(&url)).await.unwrap();
        let mut link = within(server.link()).await.link;
        link.admission = None;
        clients.push((socket, link));
    }
    let [(mut one, mut at_one), (mut two, mut at_two), (mut three, mut at_three)] =
        clients.try_into().unwrap_or_else(|_| panic!("there are three"));
    // The first client takes three quarters with a message that does not end.
    let begin = Frame::message(vec![1; 700_000], OpCode::Data(Data::Binary), false);
    let activity = at_one.activity.clone().unwrap();
    let arrived = async {
        one.send(Raw::Frame(begin)).await.unwrap();
        one.send(Raw::Ping("between the parts".into())).await.unwrap();
        while activity.moved().down < 700_000 {
            tokio::time::sleep(SHORT).await;
        }
    };
    within(async {
        tokio::select! {
            () = arrived => {}
            found = at_one.incoming.next() => panic!("{:?}", found.map(|f| f.is_ok())),
        }
    })
    .await;
    // A small message is accepted, and a large one closes the connection.
    two.send(Raw::binary(vec![2; 60_000])).await.unwrap();
    assert_eq!(within(at_two.incoming.next()).await.unwrap().unwrap().len(), 60_000);
    let _ = two.send(Raw::binary(vec![2; 200_000])).await;
    let error = within(at_two.incoming.next()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    // A complete message releases its memory for others.
    let end = Frame::message(vec![1; 10], OpCode::Data(Data::Continue), true);
    one.send(Raw::Frame(end)).await.unwrap();
    assert_eq!(within(at_one.incoming.next()).await.unwrap().unwrap().len(), 700_010);
    let sending = three.send(Raw::binary(vec![3; 500_000]));
    let (sent, taken) = within(async { tokio::join!(sending, at_three.incoming.next()) }).await;
    sent.unwrap();
    assert_eq!(taken.unwrap().unwrap().len(), 500_000);
}
