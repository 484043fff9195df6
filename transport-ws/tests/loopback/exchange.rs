//! Messages that both sides exchange.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use sync_core::model::{Epoch, Reset, ResetReason, Scope, Seq};
use sync_core::protocol::{Ack, Goodbye, Message};
use sync_core::transport::{Delivery, Transport};
use transport_kit::framed::{MAX_PAYLOAD, Wire};
use transport_ws::{PATH, WsTransport, Zstd};

use super::support::*;

#[tokio::test]
async fn requests_and_a_live_stream_go_both_ways() {
    let mut server = Server::start().await;
    let (connection, mut served) = server.connected(server.config()).await;
    let script = async {
        let (stream, message) = served.hear().await;
        assert_eq!(message, Message::Pull(pull()));
        served.say(stream, &Message::Chunk(chunk(0, "1"))).await;
        let (stream, Message::Push(push)) = served.hear().await else { panic!("no push") };
        assert_eq!(push.batch, batch("2"));
        served.say(stream, &Message::Verdicts(accepted())).await;
        let (stream, _) = served.hear().await;
        let reset = Reset { epoch: Epoch([2; 16]), reason: ResetReason::DigestDiffers };
        served.say(stream, &Message::Reset(reset)).await;
        let (stream, message) = served.hear().await;
        assert_eq!(message, Message::Live(pull()));
        let mut credit = 0;
        for after in 1..20 {
            while credit == 0 {
                let (s, Message::Credit(n)) = served.hear().await else { panic!("no credit") };
                assert_eq!(s, stream);
                credit += n;
            }
            credit -= 1;
            served.say(stream, &Message::Chunk(chunk(after, "3"))).await;
        }
        while served.hear().await != (stream, Message::EndLive) {}
        served
    };
    let asking = async {
        assert_eq!(connection.pull(pull()).await.unwrap(), Delivery::Chunk(chunk(0, "1")));
        assert_eq!(connection.push(batch("2")).await.unwrap(), accepted());
        let ack = Ack::new(Scope::default(), Epoch([2; 16]), Seq(1));
        assert!(connection.acknowledge(ack).await.unwrap().is_some());
        let mut live = connection.live(pull());
        for after in 1..20 {
            let event = live.next().await.unwrap().unwrap();
            assert_eq!(event, Delivery::Chunk(chunk(after, "3")));
        }
    };
    let (mut served, ()) = within(async { tokio::join!(script, asking) }).await;
    let why = Goodbye { reason: "done".to_owned(), retry_after: None };
    within(connection.close(why.clone())).await;
    assert_eq!(within(served.hear()).await, (0, Message::Goodbye(why)));
    assert!(within(served.link.incoming.next()).await.is_none());
}

#[tokio::test]
async fn the_server_receives_address_and_headers_of_the_client() {
    let mut server = Server::start().await;
    let mut config = server.config();
    config.headers.push(("x-gateway".to_owned(), "7".to_owned()));
    let transport = WsTransport::new(config).unwrap();
    let connecting = tokio::spawn(async move { transport.connect(hello()).await });
    let (_served, peer, _place) = within(server.links.recv()).await.unwrap();
    assert_eq!(peer.address.unwrap().ip(), server.address.ip());
    assert_eq!(peer.headers["x-gateway"], "7");
    assert_eq!(peer.headers["sec-websocket-protocol"], "twotide.v1");
    assert!(!format!("{peer:?}").contains("gateway"));
    connecting.abort();
}

#[tokio::test]
async fn compressed_messages_are_smaller_on_the_wire() {
    let mut server = Server::start().await;
    let mut lengths = Vec::new();
    for compressions in [vec![], vec![Arc::new(Zstd) as _]] {
        let mut config = server.config();
        config.framed.compressions = compressions;
        let (connection, mut served) = server.connected(config).await;
        let script = async {
            let (stream, Message::Push(push)) = served.hear().await else { panic!("no push") };
            let length = served.length;
            assert_eq!(push.batch, batch(&text(100_000)));
            served.say(stream, &Message::Verdicts(accepted())).await;
            let (stream, _) = served.hear().await;
            served.say(stream, &Message::Chunk(chunk(0, &text(100_000)))).await;
            length
        };
        let asking = async {
            connection.push(batch(&text(100_000))).await.unwrap();
            connection.pull(pull()).await.unwrap()
        };
        let (length, pulled) = within(async { tokio::join!(script, asking) }).await;
        assert_eq!(pulled, Delivery::Chunk(chunk(0, &text(100_000))));
        lengths.push(length);
    }
    assert!(lengths[0] > 100_000 && lengths[1] < 2_000, "{lengths:?}");
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_server() {
    let mut server = Server::start().await;
    let url = format!("ws://{}{PATH}", server.address);
    let (socket, _) = within(tokio_tungstenite::connect_async(url)).await.unwrap();
    let mut served = within(server.link()).await;
    let sent = Arc::new(AtomicUsize::new(0));
    let sending = async {
        let frame = Bytes::from(vec![0; 1 << 20]);
        while served.link.outgoing.send(frame.clone()).await.is_ok() {
            sent.fetch_add(1, Ordering::Relaxed);
        }
    };
    // The operating system's buffers fill up, and then nothing more is sent.
    assert!(tokio::time::timeout(Duration::from_secs(1), sending).await.is_err());
    assert!(sent.load(Ordering::Relaxed) < 100);
    drop(socket);
}

#[test]
fn the_golden_frame_is_read() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../spec/vectors/frame-2-compressed.hex");
    let file = std::fs::read_to_string(path).unwrap();
    let hex: String = file.lines().filter(|l| !l.starts_with('#')).collect();
    let byte = |i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap();
    let frame: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
    let mut wire = Wire::new(MAX_PAYLOAD);
    wire.set_compression(Some(Arc::new(Zstd)));
    // The sender has sent two frames before it.
    let mut sender = Wire::new(MAX_PAYLOAD);
    for n in 0..2 {
        wire.decode(sender.encode(0, &Message::Ping(n))).unwrap();
    }
    assert_eq!(wire.decode(frame.into()).unwrap(), (u32::MAX, Message::Pong(300)));
}
