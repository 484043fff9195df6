//! A session against a script.

use std::time::Duration;

use super::*;
use sync_core::model::{Chunk, Cursor, Epoch, Limits, ReplicaId, Scope, Seq};
use sync_core::protocol::{Ack, Hello, Message, Role, Sender, Welcome};

const OPTIONS: SessionOptions = SessionOptions {
    heartbeat: Duration::from_secs(10),
    greeting: Duration::from_secs(5),
    requests: 2,
    reads: 1,
    streams: 2,
    credit: 8,
};

fn open() -> Session {
    let mut session = Session::new(OPTIONS, Instant(0));
    session.handle_input(Instant(0), received(0, Request::Hello));
    assert_eq!(session.poll_output(), Some(SessionOutput::Greet));
    session.handle_input(Instant(0), SessionInput::Greeted(true));
    session
}

fn received(stream: u32, request: Request) -> SessionInput {
    SessionInput::Received { stream, request }
}

const EPOCH: Epoch = Epoch([7; 16]);

fn pull(after: u64) -> Pull {
    let after = Seq(after);
    let cursor = Cursor { epoch: Some(EPOCH), after, position: after, ..Cursor::default() };
    Pull { scope: Scope::default(), cursor, limits: Limits::CHUNK }
}

#[test]
fn catching_up_and_following_live_are_one_path_paid_with_credit() {
    let mut s = open();
    s.handle_input(Instant(1), received(1, Request::Live(Box::new(pull(1)))));
    assert_eq!(s.poll_output(), None);
    s.handle_input(Instant(1), received(1, Request::Credit(2)));
    assert_eq!(s.poll_output(), Some(SessionOutput::Read { stream: 1, pull: Arc::new(pull(1)) }));
    let found = |n| SessionInput::Read {
        stream: 1,
        found: Found::Chunk { epoch: EPOCH, next: Seq(n), head: Seq(n), mark: None },
    };
    s.handle_input(Instant(1), found(5));
    assert_eq!(s.poll_output(), Some(SessionOutput::Send { stream: 1 }));
    assert_eq!(s.poll_output(), Some(SessionOutput::Read { stream: 1, pull: Arc::new(pull(5)) }));
    s.handle_input(Instant(1), found(5));
    assert_eq!(s.poll_output(), Some(SessionOutput::Sleep { stream: 1 }));
    s.handle_input(Instant(1), SessionInput::HeadMoved { stream: 1 });
    assert_eq!(s.poll_output(), Some(SessionOutput::Read { stream: 1, pull: Arc::new(pull(5)) }));
    s.handle_input(Instant(1), found(6));
    assert_eq!(s.poll_output(), Some(SessionOutput::Send { stream: 1 }));
    // The credit is used up: nothing is read before there is more.
    assert_eq!(s.poll_output(), None);
    s.handle_input(Instant(1), SessionInput::HeadMoved { stream: 1 });
    assert_eq!(s.poll_output(), None);
    s.handle_input(Instant(1), received(1, Request::Credit(1)));
    assert_eq!(s.poll_output(), Some(SessionOutput::Read { stream: 1, pull: Arc::new(pull(6)) }));
}

#[test]
fn a_sleeping_stream_reads_again_at_every_heartbeat() {
    let mut s = open();
    s.handle_input(Instant(0), received(1, Request::Live(Box::new(pull(3)))));
    s.handle_input(Instant(0), received(1, Request::Credit(1)));
    s.handle_input(
        Instant(0),
        SessionInput::Read {
            stream: 1,
            found: Found::Chunk { epoch: EPOCH, next: Seq(3), head: Seq(3), mark: None },
        },
    );
    while s.poll_output().is_some() {}
    assert_eq!(s.next_deadline(), Instant(10_000));
    s.handle_input(Instant(10_000), SessionInput::Tick);
    assert_eq!(s.poll_output(), Some(SessionOutput::Ping(1)));
    assert_eq!(s.poll_output(), Some(SessionOutput::Read { stream: 1, pull: Arc::new(pull(3)) }));
}

#[test]
fn messages_are_requests_as_the_table_of_the_protocol_says() {
    let pull = pull(0);
    let chunk = Chunk::empty(Scope::default(), Epoch([1; 16]), Seq(0));
    let ack = Ack::new(Scope::default(), Epoch([1; 16]), Seq(0));
    let all = [
        Message::Hello(Hello::new(ReplicaId([1; 16]))),
        Message::Welcome(Welcome::new(0)),
        Message::Pull(pull.clone()),
        Message::Live(pull),
        Message::Credit(1),
        Message::EndLive,
        Message::Ack(ack),
        Message::Auth(String::new()),
        Message::Chunk(chunk),
        Message::Done,
        Message::ScopeGone(String::new()),
        Message::Ping(1),
        Message::Pong(1),
    ];
    for message in all {
        let (table, request) = (message.message_type(), Request::from(&message));
        let is_servers = table.sender() == Sender::Server;
        assert_eq!(request == Request::Misplaced, is_servers, "{table:?}");
        let is_served = matches!(request, Request::Once | Request::Hello);
        assert_eq!(is_served, !is_servers && table.role() == Role::Request, "{table:?}");
    }
}

#[test]
fn silence_and_nonsense_end_it() {
    let mut s = open();
    s.handle_input(Instant(30_000), SessionInput::Tick);
    assert!(s.is_closed());
    let mut s = open();
    s.handle_input(Instant(1), received(0, Request::Misplaced));
    assert!(matches!(s.poll_output(), Some(SessionOutput::Close(_))));
    let mut s = open();
    s.handle_input(Instant(1), received(0, Request::Hello));
    assert!(s.is_closed());
}

#[test]
fn a_busy_server_does_not_disconnect_a_silent_replica() {
    let mut s = open();
    s.handle_input(Instant(0), received(1, Request::Once));
    s.handle_input(Instant(0), received(2, Request::Once));
    s.handle_input(Instant(40_000), SessionInput::Tick);
    assert!(!s.is_closed());
    s.handle_input(Instant(40_000), SessionInput::Served { stream: 1 });
    s.handle_input(Instant(69_999), SessionInput::Tick);
    assert!(!s.is_closed());
    s.handle_input(Instant(70_000), SessionInput::Tick);
    assert!(s.is_closed());
}

#[test]
fn too_many_live_streams_cost_the_stream_and_not_the_link() {
    let mut s = open();
    for stream in 1..=3 {
        s.handle_input(Instant(0), received(stream, Request::Live(Box::new(pull(1)))));
    }
    assert!(matches!(s.poll_output(), Some(SessionOutput::Refuse { stream: 3, .. })));
    assert!(!s.is_closed());
}

#[test]
fn draining_waits_for_requests_that_are_served() {
    let mut s = open();
    s.handle_input(Instant(1), received(4, Request::Once));
    assert_eq!(s.poll_output(), Some(SessionOutput::Serve { stream: 4 }));
    s.handle_input(Instant(1), received(5, Request::Once));
    assert!(!s.wants_input());
    s.handle_input(Instant(1), SessionInput::Drain);
    assert!(!s.is_closed());
    s.handle_input(Instant(1), SessionInput::Served { stream: 4 });
    s.handle_input(Instant(1), SessionInput::Served { stream: 5 });
    assert!(s.is_closed());
}

#[test]
fn streams_read_in_turn_and_only_so_many_at_a_time() {
    let options = SessionOptions { reads: 2, streams: 5, ..OPTIONS };
    let mut s = Session::new(options, Instant(0));
    s.handle_input(Instant(0), received(0, Request::Hello));
    s.handle_input(Instant(0), SessionInput::Greeted(true));
    while s.poll_output().is_some() {}
    for stream in 1..=5 {
        s.handle_input(Instant(1), received(stream, Request::Live(Box::new(pull(1)))));
        s.handle_input(Instant(1), received(stream, Request::Credit(1)));
    }
    let reads = |s: &mut Session| {
        let outputs = std::iter::from_fn(|| s.poll_output());
        let read = |output| match output {
            SessionOutput::Read { stream, .. } => Some(stream),
            _ => None,
        };
        outputs.filter_map(read).collect::<Vec<_>>()
    };
    assert_eq!(reads(&mut s), [1, 2], "the others wait for their turn");
    let found = |n| Found::Chunk { epoch: EPOCH, next: Seq(n), head: Seq(n), mark: None };
    s.handle_input(Instant(1), SessionInput::Read { stream: 2, found: found(5) });
    assert_eq!(reads(&mut s), [3]);
    // A stream that ends makes room, whether it reads or waits.
    s.handle_input(Instant(1), received(4, Request::EndLive));
    s.handle_input(Instant(1), received(1, Request::EndLive));
    assert_eq!(reads(&mut s), [5]);
    // The chunk of the ended stream is dropped, and makes no more room.
    s.handle_input(Instant(1), SessionInput::Read { stream: 1, found: found(5) });
    s.handle_input(Instant(1), SessionInput::Read { stream: 3, found: found(1) });
    s.handle_input(Instant(1), SessionInput::Read { stream: 5, found: found(5) });
    assert_eq!(reads(&mut s), [0; 0]);
    s.handle_input(Instant(2), SessionInput::HeadMoved { stream: 3 });
    assert_eq!(reads(&mut s), [3]);
}

#[test]
fn a_client_that_does_not_greet_is_disconnected_before_a_silent_one() {
    let mut silent = Session::new(OPTIONS, Instant(0));
    assert_eq!(silent.next_deadline(), Instant(5_000));
    silent.handle_input(Instant(4_999), SessionInput::Tick);
    assert!(!silent.is_closed());
    silent.handle_input(Instant(5_000), SessionInput::Tick);
    assert_eq!(silent.poll_output(), Some(SessionOutput::Close("no greeting came in time")));
    // Bytes of a greeting on a slow link extend its time, within a bound.
    let mut slow = Session::new(OPTIONS, Instant(0));
    for second in (4..30).step_by(4) {
        slow.handle_input(Instant(second * 1_000), SessionInput::Heard);
        slow.handle_input(Instant(second * 1_000), SessionInput::Tick);
        assert!(!slow.is_closed(), "{second}");
    }
    slow.handle_input(Instant(30_000), SessionInput::Tick);
    assert!(slow.is_closed());
    let mut open = open();
    open.handle_input(Instant(29_999), SessionInput::Tick);
    assert!(!open.is_closed());
}

#[test]
fn the_cursors_of_all_streams_name_a_bounded_number_of_collections() {
    let options = SessionOptions { streams: 100, ..OPTIONS };
    let mut s = Session::new(options, Instant(0));
    s.handle_input(Instant(0), received(0, Request::Hello));
    s.handle_input(Instant(0), SessionInput::Greeted(true));
    while s.poll_output().is_some() {}
    let name = |n: usize| sync_core::model::Collection::new(format!("c{n}")).unwrap();
    let mut large = pull(1);
    large.cursor.backfills = (0..40_000).map(|n| (name(n), Seq(0))).collect();
    for stream in 1..=2 {
        s.handle_input(Instant(1), received(stream, Request::Live(Box::new(large.clone()))));
        assert_eq!(s.poll_output(), None);
    }
    s.handle_input(Instant(1), received(3, Request::Live(Box::new(large))));
    assert!(matches!(s.poll_output(), Some(SessionOutput::Refuse { stream: 3, .. })));
    s.handle_input(Instant(1), received(4, Request::Live(Box::new(pull(1)))));
    assert!(s.poll_output().is_none() && !s.is_closed());
}
