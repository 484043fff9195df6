//! How much one exchange carries, and what happens to edits that are too large.

use std::time::Duration;

use super::*;
use crate::model::Limits;

const LOST: Failure = Failure { kind: ErrorKind::Network, retry: Retry::Reconnect };
const TOO_LARGE: Failure = Failure { kind: ErrorKind::TooLarge, retry: Retry::Later(None) };

fn first() -> usize {
    EngineOptions::default().first_push_bytes
}

impl Script {
    /// The limits within which a batch is requested next, pauses included.
    fn asks_for_batch(&mut self) -> Limits {
        for _ in 0..20 {
            let commands = self.commands();
            let is_idle = commands.is_empty();
            for output in commands {
                match output {
                    Output::NextBatch { limits, .. } => return limits,
                    Output::Connect { ticket, .. } => self.greet(ticket, 0, 0),
                    _ => {}
                }
            }
            if is_idle {
                self.now = self.engine.next_deadline().expect("it should try again");
                self.input(Input::Tick);
            }
        }
        panic!("no batch is asked for");
    }

    fn pushes(&mut self, batch: BatchMeta) -> Ticket {
        self.input(Input::NextBatch { scope: scope(), result: Ok(Some(batch)) });
        let Output::Push { ticket, .. } = self.one() else { panic!("it should push") };
        ticket
    }

    fn answered(&mut self, ticket: Ticket, result: Result<Answer, Failure>) {
        self.input(Input::Pushed { scope: scope(), ticket, result });
    }
}

fn of(bytes: usize, documents: usize) -> BatchMeta {
    BatchMeta { id: PushId(1), documents, bytes, recall: false }
}

#[test]
fn batches_grow_while_they_are_quick_and_get_smaller_when_they_are_cut() {
    let mut s = Script::new();
    s.connect(PUSH, 0);
    assert_eq!(s.asks_for_batch().bytes, first());
    let ticket = s.pushes(of(first(), 100));
    s.answered(ticket, Ok(Answer::Decided(Seq(1))));
    s.input(settled(1));
    assert_eq!(s.asks_for_batch().bytes, 2 * first());
    let ticket = s.pushes(of(2 * first(), 200));
    s.answered(ticket, Err(LOST));
    assert_eq!(s.asks_for_batch().bytes, first() / 2);
}

#[test]
fn chunks_grow_while_they_are_quick_and_get_smaller_when_they_are_cut() {
    for by_request in [false, true] {
        chunks_grow_and_get_smaller(by_request);
    }
}

fn chunks_grow_and_get_smaller(by_request: bool) {
    let mut s = Script::new();
    let link = s.connect(PULL, 900);
    let limits = |commands: &[Output]| {
        commands.iter().find_map(|o| match o {
            Output::Pull { ticket, limits, .. } => Some((*ticket, limits.bytes)),
            _ => None,
        })
    };
    let first = EngineOptions::default().first_pull_bytes;
    let (ticket, bytes) = limits(&s.commands()).unwrap();
    assert_eq!(bytes, first);
    let payload = s.engine.ticket();
    let meta = ChunkMeta {
        epoch: EPOCH,
        after: Seq(0),
        next: Seq(100),
        head: Seq(900),
        entries: 100,
        weight: first,
        bookmark: None,
        mark: None,
    };
    s.input(Input::Delivered {
        scope: scope(),
        ticket,
        payload,
        result: Ok(Delivery::Chunk(meta)),
    });
    let (asked, bytes) = limits(&s.commands()).unwrap();
    assert_eq!(bytes, 2 * first);
    // The request may fail before the link does.
    if by_request {
        let payload = s.engine.ticket();
        let result = Err(LOST);
        s.input(Input::Delivered { scope: scope(), ticket: asked, payload, result });
    } else {
        s.input(Input::LinkLost { ticket: link, failure: LOST });
    }
    for _ in 0..5 {
        s.now = s.engine.next_deadline().unwrap();
        s.input(Input::Tick);
        let commands = s.commands();
        if let Some(Output::Connect { ticket, .. }) = commands.first() {
            s.greet(*ticket, 900, 0);
        }
        if let Some((_, bytes)) = limits(&commands).or_else(|| limits(&s.commands())) {
            return assert_eq!(bytes, first / 2);
        }
    }
    panic!("it does not pull again");
}

#[test]
fn a_batch_that_is_refused_by_its_size_gets_smaller_and_blocks_nothing() {
    let mut s = Script::new();
    s.connect(PUSH, 0);
    s.asks_for_batch();
    let ticket = s.pushes(of(100_000, 50));
    s.answered(ticket, Err(TOO_LARGE));
    let limits = s.asks_for_batch();
    assert_eq!(limits.bytes, 25_000);
    // The storage recalls what it can divide.
    let ticket = s.pushes(BatchMeta { recall: true, ..of(5_000, 50) });
    s.answered(ticket, Ok(Answer::Recalled));
    assert!(matches!(s.one(), Output::Settle { .. }));
    s.input(settled(0));
    assert_eq!(s.asks_for_batch(), limits, "a recall is no failed attempt");
    assert_eq!(s.engine.next_attempt(&scope()), None);
}

#[test]
fn a_recalled_answer_to_a_batch_that_was_not_recalled_is_a_failed_attempt() {
    let mut s = Script::new();
    s.connect(PUSH, 0);
    s.asks_for_batch();
    let ticket = s.pushes(of(100, 1));
    s.answered(ticket, Ok(Answer::Recalled));
    assert!(matches!(s.one(), Output::Settle { .. }));
    s.input(settled(0));
    assert!(s.engine.next_attempt(&scope()).is_some());
}

#[test]
fn a_batch_that_cannot_get_smaller_is_recalled_and_then_rejected_here() {
    let mut s = Script::new();
    s.connect(PUSH, 0);
    s.asks_for_batch();
    let ticket = s.pushes(of(900_000, 1));
    s.answered(ticket, Err(TOO_LARGE));
    assert_eq!(s.asks_for_batch(), Limits::NONE);
    let recall = BatchMeta { recall: true, ..of(100, 1) };
    let ticket = s.pushes(recall);
    s.answered(ticket, Ok(Answer::Recalled));
    let refuse = Output::Refuse { scope: scope(), push: PushId(1), epoch: EPOCH, documents: 1 };
    assert_eq!(s.commands(), [Output::Discard { payload: ticket }, refuse]);
    s.input(settled(1));
    assert!(s.asks_for_batch() != Limits::NONE, "what comes after it goes on");
}

#[test]
fn a_batch_that_arrived_before_it_was_refused_by_its_size_is_settled() {
    let mut s = Script::new();
    s.connect(PUSH, 0);
    s.asks_for_batch();
    let ticket = s.pushes(of(900_000, 1));
    s.answered(ticket, Err(TOO_LARGE));
    s.asks_for_batch();
    let ticket = s.pushes(BatchMeta { recall: true, ..of(100, 1) });
    s.answered(ticket, Ok(Answer::Decided(Seq(4))));
    assert!(matches!(s.one(), Output::Settle { .. }));
}

#[test]
fn a_slow_or_cut_batch_is_never_rejected_here() {
    let mut s = Script::new();
    s.connect(PUSH, 0);
    s.asks_for_batch();
    for kind in [ErrorKind::Network, ErrorKind::Timeout].repeat(10) {
        let ticket = s.pushes(of(900_000, 1));
        s.answered(ticket, Err(Failure { kind, retry: Retry::Reconnect }));
        assert!(s.asks_for_batch() != Limits::NONE);
    }
}

#[test]
fn a_link_closed_for_a_size_counts_as_a_refusal_the_second_time() {
    let mut s = Script::new();
    s.connect(PUSH, 0);
    s.asks_for_batch();
    let closed = Failure { kind: ErrorKind::TooLarge, retry: Retry::Reconnect };
    let ticket = s.pushes(of(900_000, 1));
    s.answered(ticket, Err(closed));
    assert!(s.asks_for_batch() != Limits::NONE, "something else may have been too large");
    let ticket = s.pushes(of(900_000, 1));
    s.answered(ticket, Err(closed));
    assert_eq!(s.asks_for_batch(), Limits::NONE);
}

#[test]
fn a_request_is_not_overdue_while_its_bytes_move() {
    let mut s = Script::new();
    let link = s.connect(PULL, 10);
    s.pull_in();
    for _ in 0..20 {
        s.now = s.engine.next_deadline().unwrap();
        assert!(s.engine.is_overdue(s.now));
        s.input(Input::Transferred { up: 0, down: 5_000 });
        s.input(Input::Tick);
        assert_eq!(s.commands(), []);
    }
    // Heartbeats move bytes too, and sent bytes show nothing about an answer.
    s.now = s.engine.next_deadline().unwrap();
    s.input(Input::Transferred { up: 90_000, down: 300 });
    s.input(Input::Tick);
    assert_eq!(s.one(), Output::Disconnect { ticket: link });
}

#[test]
fn a_push_is_not_overdue_while_its_bytes_move() {
    let mut s = Script::new();
    let link = s.connect(PUSH, 0);
    s.asks_for_batch();
    s.pushes(of(1 << 20, 1));
    for _ in 0..20 {
        s.now = s.engine.next_deadline().unwrap();
        assert!(s.engine.is_overdue(s.now));
        s.input(Input::Transferred { up: 4 << 10, down: 0 });
        s.input(Input::Tick);
        assert_eq!(s.commands(), []);
    }
    // Heartbeats move bytes too, and received bytes show nothing about what is sent.
    s.now = s.engine.next_deadline().unwrap();
    s.input(Input::Transferred { up: 300, down: 90_000 });
    s.input(Input::Tick);
    assert!(s.commands().contains(&Output::Disconnect { ticket: link }));
}

#[test]
fn a_large_batch_gets_the_time_that_it_takes_on_a_slow_link() {
    let mut s = Script::new();
    s.connect(PUSH, 0);
    s.asks_for_batch();
    s.pushes(of(1 << 20, 1));
    let due = s.engine.next_deadline().unwrap();
    assert_eq!(due.since(s.now), Duration::from_secs(60 + 512));
}
