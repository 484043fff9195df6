use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::*;

const SOON: Duration = Duration::from_secs(10);

/// A proxy, and both ends of one connection through it.
struct Line {
    proxy: TcpProxy,
    listener: TcpListener,
    client: TcpStream,
    server: TcpStream,
}

impl Line {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = TcpProxy::start(listener.local_addr().unwrap()).await.unwrap();
        let client = TcpStream::connect(proxy.address()).await.unwrap();
        let (server, _) = within(listener.accept()).await.unwrap();
        Self { proxy, listener, client, server }
    }

    async fn up(&mut self, bytes: &[u8]) {
        self.client.write_all(bytes).await.unwrap();
        assert_eq!(read(&mut self.server, bytes.len()).await, bytes);
    }

    async fn down(&mut self, bytes: &[u8]) {
        self.server.write_all(bytes).await.unwrap();
        assert_eq!(read(&mut self.client, bytes.len()).await, bytes);
    }
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("it takes too long")
}

async fn read(socket: &mut TcpStream, n: usize) -> Vec<u8> {
    let mut bytes = vec![0; n];
    within(socket.read_exact(&mut bytes)).await.unwrap();
    bytes
}

/// Asserts that no byte arrives for a while. A proxy that delivers does so at once, so a short
/// while is enough.
async fn assert_silent(socket: &mut TcpStream) {
    let wait = Duration::from_millis(100);
    let read = tokio::time::timeout(wait, socket.read_u8()).await;
    assert!(read.is_err(), "something came: {read:?}");
}

#[tokio::test]
async fn bytes_pass_and_are_counted() {
    let mut line = Line::new().await;
    line.up(b"question").await;
    line.down(b"answer!").await;
    let counters = line.proxy.wait_for(SOON, |c| c.to_client == 7).await.unwrap();
    assert_eq!((counters.connections, counters.open, counters.to_server), (1, 1, 8));
    drop(line.client);
    assert_eq!(within(line.server.read(&mut [0; 1])).await.unwrap(), 0);
    drop(line.server);
    line.proxy.wait_for(SOON, |c| c.open == 0).await.unwrap();
}

#[tokio::test]
async fn one_side_may_close_while_the_other_continues() {
    let mut line = Line::new().await;
    line.client.write_all(b"all").await.unwrap();
    line.client.shutdown().await.unwrap();
    assert_eq!(read(&mut line.server, 3).await, b"all");
    assert_eq!(within(line.server.read(&mut [0; 1])).await.unwrap(), 0);
    line.down(b"late").await;
}

#[tokio::test]
async fn a_large_answer_is_whole_although_the_server_has_closed() {
    let Line { proxy, mut client, mut server, .. } = Line::new().await;
    let body: Vec<u8> = (0..8 << 20).map(|n: u32| (n % 251) as u8).collect();
    let sent = body.clone();
    let send = async move {
        server.write_all(&sent).await.unwrap();
        drop(server);
    };
    let receive = async {
        let mut got = Vec::new();
        client.shutdown().await.unwrap();
        client.read_to_end(&mut got).await.unwrap();
        got
    };
    let (got, ()) = within(async { tokio::join!(receive, send) }).await;
    assert!(got == body, "{} of {} bytes came", got.len(), body.len());
    assert_eq!(proxy.counters().to_client, 8 << 20);
}

#[tokio::test]
async fn new_connections_are_refused_and_old_ones_stay() {
    let mut line = Line::new().await;
    line.proxy.refuse();
    let mut late = TcpStream::connect(line.proxy.address()).await.unwrap();
    assert!(within(late.read(&mut [0; 1])).await.is_err());
    assert_eq!(line.proxy.counters().refused, 1);
    line.up(b"still here").await;
    line.proxy.pass();
    let mut again = TcpStream::connect(line.proxy.address()).await.unwrap();
    again.write_all(b"x").await.unwrap();
    let (mut served, _) = within(line.listener.accept()).await.unwrap();
    assert_eq!(read(&mut served, 1).await, b"x");
}

#[tokio::test]
async fn a_cut_with_rst_fails_both_sides() {
    let mut line = Line::new().await;
    line.up(b"x").await;
    line.proxy.cut(Ending::Reset);
    let error = within(line.client.read(&mut [0; 1])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let error = within(line.server.read(&mut [0; 1])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    line.proxy.wait_for(SOON, |c| c.open == 0).await.unwrap();
}

#[tokio::test]
async fn a_cut_with_fin_ends_both_sides_although_something_is_unread() {
    let mut line = Line::new().await;
    line.proxy.stall();
    line.client.write_all(&[7; 200 << 10]).await.unwrap();
    line.proxy.cut(Ending::Finish);
    assert_eq!(within(line.client.read(&mut [0; 1])).await.unwrap(), 0);
    assert_eq!(within(line.server.read(&mut [0; 1])).await.unwrap(), 0);
}

#[tokio::test]
async fn a_cut_spares_later_connections() {
    let line = Line::new().await;
    line.proxy.cut(Ending::Reset);
    line.proxy.wait_for(SOON, |c| c.open == 0).await.unwrap();
    let client = TcpStream::connect(line.proxy.address()).await.unwrap();
    let (server, _) = within(line.listener.accept()).await.unwrap();
    Line { client, server, ..line }.up(b"fresh").await;
}

#[tokio::test]
async fn a_connection_is_cut_after_so_many_bytes_exactly() {
    let mut line = Line::new().await;
    line.proxy.change(|b| {
        b.to_client.cut_after = Some(10);
        b.ending = Ending::Finish;
    });
    line.server.write_all(b"0123456789abc").await.unwrap();
    let mut got = Vec::new();
    within(line.client.read_to_end(&mut got)).await.unwrap();
    assert_eq!(got, b"0123456789");
}

#[tokio::test]
async fn a_connection_is_cut_after_a_time() {
    let mut line = Line::new().await;
    line.proxy.change(|b| b.cut_after = Some(Duration::from_millis(50)));
    assert!(within(line.client.read(&mut [0; 1])).await.is_err());
}

#[tokio::test]
async fn a_stalled_direction_takes_a_bounded_number_of_bytes_and_delivers_them_later() {
    let mut line = Line::new().await;
    line.proxy.change(|b| b.to_server.stalled = true);
    line.down(b"the other way works").await;
    line.client.write_all(b"waits").await.unwrap();
    assert_silent(&mut line.server).await;
    // More than all buffers hold, so that the writer has to wait.
    let more = vec![1; 64 << 20];
    let written = tokio::time::timeout(Duration::from_millis(500), line.client.write_all(&more));
    assert!(written.await.is_err(), "all was taken");
    assert_eq!(line.proxy.counters().to_server, 0);
    line.proxy.pass();
    assert_eq!(read(&mut line.server, 6).await, b"waits\x01");
}

#[tokio::test]
async fn a_throttled_direction_keeps_to_its_rate() {
    let mut line = Line::new().await;
    line.proxy.change(|b| b.to_server.bytes_per_second = Some(10_000));
    let began = Instant::now();
    line.up(&[3; 5_000]).await;
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
}

#[tokio::test]
async fn bytes_are_held_until_it_is_quiet() {
    let mut line = Line::new().await;
    let quiet = Duration::from_millis(300);
    line.proxy.change(|b| b.to_client.hold = Hold::Quiet(quiet));
    let began = Instant::now();
    line.down(b"event").await;
    assert!(began.elapsed() >= quiet, "{:?}", began.elapsed());
}

#[tokio::test]
async fn bytes_are_held_until_there_are_enough_or_it_ends() {
    let mut line = Line::new().await;
    line.proxy.change(|b| b.to_client.hold = Hold::Bytes(10));
    line.server.write_all(b"12345").await.unwrap();
    assert_silent(&mut line.client).await;
    line.server.write_all(b"67890").await.unwrap();
    assert_eq!(read(&mut line.client, 10).await, b"1234567890");
    line.server.write_all(b"rest").await.unwrap();
    line.server.shutdown().await.unwrap();
    assert_eq!(read(&mut line.client, 4).await, b"rest");
}

#[tokio::test]
async fn responses_are_held_until_they_are_complete() {
    let mut line = Line::new().await;
    line.proxy.change(|b| b.to_client.hold = Hold::Response);
    line.down(b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n").await;
    line.down(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nevent1\r\n";
    line.server.write_all(head).await.unwrap();
    assert_silent(&mut line.client).await;
    line.server.write_all(b"0\r\n\r\n").await.unwrap();
    let whole = [head.as_slice(), b"0\r\n\r\n"].concat();
    assert_eq!(read(&mut line.client, whole.len()).await, whole);
    line.down(b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x82\x01x").await;
    line.down(b"\x82\x01y").await;
}

#[tokio::test]
async fn what_is_held_back_is_bounded() {
    let mut line = Line::new().await;
    line.proxy.change(|b| b.to_client.hold = Hold::Bytes(usize::MAX));
    let sent = vec![5; HELD];
    let (Line { server, client, .. }, sent) = (&mut line, &sent);
    let receive = async {
        let mut got = vec![0; HELD];
        client.read_exact(&mut got).await.unwrap();
    };
    within(async { tokio::join!(receive, async { server.write_all(sent).await.unwrap() }) }).await;
}

#[tokio::test]
async fn one_bit_is_flipped() {
    let mut line = Line::new().await;
    line.proxy.change(|b| b.to_server.flip_at = Some(4));
    line.client.write_all(b"abc").await.unwrap();
    assert_eq!(read(&mut line.server, 3).await, b"abc");
    line.client.write_all(b"def").await.unwrap();
    assert_eq!(read(&mut line.server, 3).await, b"ddf");
}

#[tokio::test]
async fn a_stream_is_truncated_once_at_that_byte() {
    let mut line = Line::new().await;
    line.down(b"before").await;
    line.proxy.once(Way::ToClient, 4, Once::Cut(Ending::Finish));
    line.server.write_all(b"0123456789").await.unwrap();
    let mut got = Vec::new();
    within(line.client.read_to_end(&mut got)).await.unwrap();
    assert_eq!(got, b"0123");
    assert_eq!(within(line.server.read(&mut [0; 1])).await.unwrap(), 0);
    assert_eq!(line.proxy.counters().once, 1);
    let client = TcpStream::connect(line.proxy.address()).await.unwrap();
    let (server, _) = within(line.listener.accept()).await.unwrap();
    Line { client, server, ..line }.down(b"0123456789").await;
}

#[tokio::test]
async fn a_stream_is_reset_once_in_the_middle_of_it() {
    let mut line = Line::new().await;
    line.proxy.once(Way::ToServer, 4, Once::Cut(Ending::Reset));
    line.up(b"0123").await;
    line.client.write_all(b"4").await.unwrap();
    let error = within(line.server.read(&mut [0; 1])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(within(line.client.read(&mut [0; 1])).await.is_err());
}

#[tokio::test]
async fn a_piece_of_the_stream_is_sent_twice() {
    let mut line = Line::new().await;
    line.proxy.once(Way::ToServer, 2, Once::Repeat(3));
    // However the bytes are split, the piece has the stated length.
    line.up(b"abc").await;
    line.client.write_all(b"defg").await.unwrap();
    assert_eq!(read(&mut line.server, 7).await, b"decdefg");
    line.up(b"once").await;
}

#[tokio::test]
async fn one_bit_is_flipped_once() {
    let mut line = Line::new().await;
    line.up(b"abc").await;
    line.proxy.once(Way::ToServer, 1, Once::Flip);
    line.client.write_all(b"abc").await.unwrap();
    assert_eq!(read(&mut line.server, 3).await, b"acc");
    line.up(b"abc").await;
}

#[tokio::test]
async fn a_half_open_connection_delivers_nothing_without_an_error_while_others_pass() {
    let mut line = Line::new().await;
    line.proxy.once(Way::ToClient, 2, Once::Silence);
    line.server.write_all(b"last words").await.unwrap();
    assert_eq!(read(&mut line.client, 2).await, b"la");
    line.client.write_all(b"anybody?").await.unwrap();
    assert_silent(&mut line.client).await;
    assert_silent(&mut line.server).await;
    let client = TcpStream::connect(line.proxy.address()).await.unwrap();
    let (server, _) = within(line.listener.accept()).await.unwrap();
    let mut other = Line { client, server, ..line };
    other.up(b"passes").await;
    // The connection ends only after both sides have closed.
    drop(line.client);
    assert_silent(&mut line.server).await;
    drop(line.server);
    other.proxy.wait_for(SOON, |c| c.open == 1).await.unwrap();
}

#[tokio::test]
async fn everything_stalls_at_one_byte_and_is_delivered_later() {
    let mut line = Line::new().await;
    line.proxy.once(Way::ToServer, 1, Once::Stall);
    line.client.write_all(b"ab").await.unwrap();
    line.proxy.wait_for(SOON, |c| c.once == 1).await.unwrap();
    line.server.write_all(b"cd").await.unwrap();
    assert_silent(&mut line.client).await;
    assert_silent(&mut line.server).await;
    line.proxy.pass();
    assert_eq!(read(&mut line.server, 2).await, b"ab");
    assert_eq!(read(&mut line.client, 2).await, b"cd");
}

#[tokio::test]
async fn a_server_is_unreachable_from_one_byte_until_the_proxy_passes() {
    let mut line = Line::new().await;
    line.proxy.once(Way::ToServer, 1, Once::Refuse);
    line.client.write_all(b"ab").await.unwrap();
    assert!(within(line.client.read(&mut [0; 1])).await.is_err());
    let mut late = TcpStream::connect(line.proxy.address()).await.unwrap();
    assert!(within(late.read(&mut [0; 1])).await.is_err());
    assert_eq!(line.proxy.counters().refused, 1);
    line.proxy.pass();
    let client = TcpStream::connect(line.proxy.address()).await.unwrap();
    let (server, _) = within(line.listener.accept()).await.unwrap();
    Line { client, server, ..line }.up(b"back").await;
}

#[tokio::test]
async fn a_fault_that_was_to_occur_once_is_cancelled_if_the_proxy_passes() {
    let mut line = Line::new().await;
    line.proxy.once(Way::ToServer, 1, Once::Flip);
    line.proxy.pass();
    line.up(b"whole").await;
    assert_eq!(line.proxy.counters().once, 0);
}

#[tokio::test]
async fn a_proxy_without_a_server_resets_its_clients() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    drop(listener);
    let proxy = TcpProxy::start(target).await.unwrap();
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(within(client.read(&mut [0; 1])).await.is_err());
}

#[tokio::test]
async fn nothing_is_left_when_a_proxy_is_dropped() {
    let Line { proxy, mut client, mut server, listener: _listener } = Line::new().await;
    let address = proxy.address();
    drop(proxy);
    assert!(within(client.read(&mut [0; 1])).await.is_err());
    assert!(within(server.read(&mut [0; 1])).await.is_err());
    let tasks = tokio::runtime::Handle::current();
    within(async {
        while tasks.metrics().num_alive_tasks() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(TcpStream::connect(address).await.is_err());
}
