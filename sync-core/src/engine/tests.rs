//! The engine against a script: facts in, commands out.

mod backfilling;
mod catching_up;
mod checking;
mod differing;
mod greeting;
mod linking;
mod old_news;
mod own_bodies;
mod progress;
mod pushing;
mod sizes;
mod token;
mod waiting;

use super::*;
use crate::error::{ErrorKind, Retry};
use crate::model::{Checkpoint, Cursor, Epoch, PushId, Reset, ResetReason, Seq};

const EPOCH: Epoch = Epoch([7; 16]);

struct Script {
    engine: Engine,
    now: Instant,
}

impl Script {
    fn new() -> Self {
        let mut script =
            Self { engine: Engine::new(EngineOptions::default(), 1), now: Instant(1_000) };
        script.input(Input::Opened { scope: scope(), checkpoint: Checkpoint::default() });
        script
    }

    fn input(&mut self, input: Input) {
        self.engine.handle_input(self.now, input);
    }

    /// The commands that are due, without events for the app.
    fn commands(&mut self) -> Vec<Output> {
        let outputs = std::iter::from_fn(|| self.engine.poll_output());
        outputs.filter(|o| !matches!(o, Output::Emit(_))).collect()
    }

    fn one(&mut self) -> Output {
        let mut commands = self.commands();
        assert_eq!(commands.len(), 1, "{commands:?}");
        commands.remove(0)
    }

    /// Runs towards a goal until connected; the server's head is at `head`.
    fn connect(&mut self, goal: Goal, head: u64) -> Ticket {
        self.input(Input::Run(goal));
        let Output::Connect { ticket, .. } = self.one() else { panic!("it should connect") };
        self.greet(ticket, head, 0);
        ticket
    }

    fn greet(&mut self, ticket: Ticket, head: u64, last_push: u64) {
        let greeting = ScopeGreeting {
            scope: scope(),
            asked: Cursor::default(),
            epoch: EPOCH,
            head: Seq(head),
            reset: None,
            last_push: PushId(last_push),
        };
        self.input(Input::Connected { ticket, scopes: vec![greeting], last_push: PushId(0) });
    }

    fn deliver(&mut self, ticket: Ticket, after: u64, next: u64, head: u64) -> Ticket {
        let payload = self.engine.ticket();
        let meta = ChunkMeta {
            epoch: EPOCH,
            after: Seq(after),
            next: Seq(next),
            head: Seq(head),
            entries: (next - after) as usize,
            weight: 100,
            bookmark: None,
            mark: None,
        };
        let result = Ok(Delivery::Chunk(meta));
        self.input(Input::Delivered { scope: scope(), ticket, payload, result });
        payload
    }

    fn applied(&mut self, payload: Ticket, position: u64) {
        let checkpoint =
            Checkpoint { epoch: Some(EPOCH), position: Seq(position), ..Checkpoint::default() };
        self.input(Input::Applied { scope: scope(), payload, result: Ok((true, checkpoint)) });
    }

    /// Delivers a chunk, which the storage applies.
    fn pulled(&mut self, ticket: Ticket, after: u64, next: u64, head: u64) {
        let payload = self.deliver(ticket, after, next, head);
        self.commands();
        self.applied(payload, next);
    }

    fn formed(&mut self, push: Option<u64>) {
        self.input(Input::NextBatch { scope: scope(), result: Ok(push.map(batch)) });
    }

    /// Answers the push that is among the commands.
    fn answer_push(&mut self, result: Result<Answer, Failure>) {
        let commands = self.commands();
        let found = commands.iter().find_map(|o| match o {
            Output::Push { ticket, .. } => Some(*ticket),
            _ => None,
        });
        let ticket = found.unwrap_or_else(|| panic!("no push in {commands:?}"));
        self.input(Input::Pushed { scope: scope(), ticket, result });
    }

    fn pull_in(&mut self) -> (Ticket, Seq) {
        let commands = self.commands();
        let found = commands.iter().find_map(|o| match o {
            Output::Pull { ticket, cursor, .. } => Some((*ticket, cursor.after)),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("no pull in {commands:?}"))
    }
}

fn scope() -> Scope {
    Scope::default()
}

/// A small batch.
fn batch(id: u64) -> BatchMeta {
    BatchMeta { id: PushId(id), documents: 1, bytes: 100, recall: false }
}

/// Verdicts on one edit, which moved so many.
fn settled(moved: usize) -> Input {
    Input::Settled {
        scope: scope(),
        result: Ok(Settlement { applied: 1, moved, ..Settlement::default() }),
    }
}

/// Requests a batch within the first limits.
fn form() -> Output {
    let bytes = EngineOptions::default().first_push_bytes;
    Output::NextBatch { scope: scope(), limits: unit::Unit::new(bytes).limits() }
}

const PULL: Goal = Goal { push: false, pull: true, live: false };
const PUSH: Goal = Goal { push: true, pull: false, live: false };
const FOLLOW: Goal = Goal { push: false, pull: true, live: true };

#[test]
fn a_catch_up_requests_ahead_within_bounds_while_a_chunk_is_applied() {
    let mut s = Script::new();
    s.connect(PULL, 900);
    let (first, after) = s.pull_in();
    assert_eq!(after, Seq(0));
    let one = s.deliver(first, 0, 100, 900);
    let commands = s.commands();
    assert!(commands.contains(&Output::Apply { scope: scope(), payload: one }));
    let Some(Output::Pull { ticket, cursor, .. }) = commands.last() else { panic!("{commands:?}") };
    // The next request names the epoch, and the head at which this pull from the beginning began.
    assert_eq!((cursor.after, cursor.epoch, cursor.floor), (Seq(100), Some(EPOCH), Some(Seq(900))));
    s.deliver(*ticket, 100, 200, 900);
    let (third, _) = s.pull_in();
    s.deliver(third, 200, 300, 900);
    // One is applied and two wait: that is the depth.
    assert_eq!(s.commands(), []);
    s.applied(one, 100);
    let commands = s.commands();
    assert!(matches!(commands[0], Output::Apply { .. }), "{commands:?}");
    assert!(matches!(&commands[1], Output::Pull { cursor, .. } if cursor.after == Seq(300)));
}

#[test]
fn a_chunk_with_an_older_head_is_not_the_end_of_a_pull() {
    let mut s = Script::new();
    s.connect(PULL, 3);
    let (first, _) = s.pull_in();
    let one = s.deliver(first, 0, 1, 3);
    s.applied(one, 1);
    let (second, _) = s.pull_in();
    // The server cached the next chunk when it was the newest one.
    let two = s.deliver(second, 1, 2, 2);
    s.applied(two, 2);
    assert!(!s.engine.is_in_sync());
    let (_, after) = s.pull_in();
    assert_eq!(after, Seq(2));
}

#[test]
fn bytes_bound_how_far_it_requests_ahead() {
    let mut s = Script::new();
    s.engine.options.window_bytes = 150;
    s.connect(PULL, 900);
    let (first, _) = s.pull_in();
    s.deliver(first, 0, 100, 900);
    let (second, _) = s.pull_in();
    s.deliver(second, 100, 200, 900);
    assert_eq!(s.commands(), []);
}

#[test]
fn a_chunk_out_of_place_is_discarded_and_requested_again() {
    let mut s = Script::new();
    s.connect(PULL, 3);
    let (first, _) = s.pull_in();
    let payload = s.deliver(first, 1, 2, 3);
    let commands = s.commands();
    assert_eq!(commands[0], Output::Discard { payload });
    assert!(matches!(&commands[1], Output::Pull { cursor, .. } if cursor.after == Seq(0)));
}

#[test]
fn a_chunk_that_the_storage_rejects_restarts_the_pull_from_the_checkpoint() {
    let mut s = Script::new();
    s.connect(PULL, 300);
    let (first, _) = s.pull_in();
    let one = s.deliver(first, 0, 100, 300);
    let (second, _) = s.pull_in();
    let two = s.deliver(second, 100, 200, 300);
    s.commands();
    let stands = Checkpoint { epoch: Some(EPOCH), position: Seq(50), ..Checkpoint::default() };
    s.input(Input::Applied { scope: scope(), payload: one, result: Ok((false, stands)) });
    let commands = s.commands();
    assert_eq!(commands[0], Output::Discard { payload: two });
    assert!(matches!(&commands[1], Output::Pull { cursor, .. } if cursor.after == Seq(50)));
}

#[test]
fn at_the_head_it_follows_live_from_the_exact_position() {
    let mut s = Script::new();
    s.connect(FOLLOW, 2);
    let (first, _) = s.pull_in();
    let payload = s.deliver(first, 0, 2, 2);
    let commands = s.commands();
    let Some(Output::Subscribe { ticket, cursor, .. }) =
        commands.iter().find(|o| matches!(o, Output::Subscribe { .. }))
    else {
        panic!("{commands:?}")
    };
    assert_eq!(cursor.after, Seq(2));
    s.applied(payload, 2);
    assert!(s.engine.is_in_sync());
    s.commands();
    let payload = s.deliver(*ticket, 2, 3, 3);
    let commands = s.commands();
    assert_eq!(commands[0], Output::Apply { scope: scope(), payload });
    assert_eq!(commands[1], Output::NextLive { scope: scope(), ticket: *ticket });
    assert!(!s.engine.is_in_sync());
}

#[test]
fn losing_the_link_fails_what_is_pending_and_late_answers_change_nothing() {
    let mut s = Script::new();
    let link = s.connect(Goal::ONCE, 10);
    let (pull, _) = s.pull_in();
    s.formed(Some(1));
    let Output::Push { ticket: push, .. } = s.one() else { panic!() };
    let failure = Failure { kind: ErrorKind::Network, retry: Retry::Reconnect };
    s.input(Input::LinkLost { ticket: link, failure });
    assert_eq!(s.one(), Output::Disconnect { ticket: link });
    let before = s.engine.clone();
    let payload = s.deliver(pull, 0, 10, 10);
    assert_eq!(s.one(), Output::Discard { payload });
    s.input(Input::Pushed { scope: scope(), ticket: push, result: Ok(Answer::Decided(Seq(1))) });
    assert_eq!(s.one(), Output::Discard { payload: push });
    s.input(Input::LinkLost { ticket: link, failure });
    assert_eq!(s.commands(), []);
    assert_eq!(s.engine.next_deadline(), before.next_deadline());
    // Then it reconnects by itself, and requests the batch from the storage, which is the same one.
    s.now = s.engine.next_deadline().unwrap();
    s.input(Input::Tick);
    let Output::Connect { ticket, .. } = s.one() else { panic!() };
    s.greet(ticket, 10, 0);
    // Both were cut, and each waits for its own next attempt.
    let mut commands = s.commands();
    while let Some(due) = s.engine.next_deadline().filter(|due| *due < Instant(10_000)) {
        s.now = due;
        s.input(Input::Tick);
        commands.extend(s.commands());
    }
    assert!(commands.iter().any(|c| matches!(c, Output::Pull { .. })), "{commands:?}");
    assert!(commands.iter().any(|c| matches!(c, Output::NextBatch { .. })), "{commands:?}");
}

#[test]
fn requests_that_are_not_answered_in_time_cost_the_link() {
    let mut s = Script::new();
    let link = s.connect(PULL, 10);
    s.pull_in();
    s.now = s.engine.next_deadline().unwrap();
    assert_eq!(s.now, Instant(61_000));
    s.input(Input::Tick);
    assert_eq!(s.one(), Output::Disconnect { ticket: link });
}

#[test]
fn what_is_written_while_a_batch_is_on_its_way_is_pushed_after_it() {
    let mut s = Script::new();
    s.connect(PUSH, 0);
    assert_eq!(s.one(), form());
    s.input(Input::OutboxGrew { scope: scope() });
    s.formed(None);
    // The outbox grew while the storage was reading: the signal must not be lost.
    assert_eq!(s.one(), form());
    s.formed(Some(1));
    let Output::Push { ticket, push, .. } = s.one() else { panic!() };
    s.input(Input::OutboxGrew { scope: scope() });
    assert_eq!(s.commands(), []);
    s.input(Input::Pushed { scope: scope(), ticket, result: Ok(Answer::Decided(Seq(4))) });
    assert_eq!(s.one(), Output::Settle { scope: scope(), ticket, push });
    s.input(settled(1));
    assert_eq!(s.one(), form());
    s.formed(None);
    assert!(s.engine.is_in_sync());
}

#[test]
fn a_verdict_never_moves_the_pull_position_but_requests_the_state_it_names() {
    let mut s = Script::new();
    s.connect(Goal::ONCE, 0);
    let (pull, _) = s.pull_in();
    s.pulled(pull, 0, 0, 0);
    s.formed(Some(1));
    s.answer_push(Ok(Answer::Decided(Seq(3))));
    s.input(settled(1));
    let (_, after) = s.pull_in();
    assert_eq!(after, Seq(0));
    s.formed(None);
    assert!(!s.engine.is_in_sync());
}

#[test]
fn a_permanent_refusal_does_not_loop() {
    let mut s = Script::new();
    s.input(Input::Run(Goal::ONCE));
    let Output::Connect { ticket, .. } = s.one() else { panic!() };
    let failure = Failure { kind: ErrorKind::Unauthenticated, retry: Retry::Never };
    s.input(Input::LinkLost { ticket, failure });
    s.commands();
    assert_eq!(s.engine.next_deadline(), None);
    assert_eq!(s.engine.progress().refused, Some(ErrorKind::Unauthenticated));
    // The cause was removed, and the app tries again.
    s.input(Input::Run(Goal::ONCE));
    assert!(matches!(s.one(), Output::Connect { .. }));
}

#[test]
fn a_wait_of_a_scope_that_is_over_sets_no_deadline_without_a_connection() {
    let mut s = Script::new();
    let ticket = s.connect(PULL, 100);
    let (pull, _) = s.pull_in();
    let payload = s.deliver(pull, 0, 50, 100);
    s.commands();
    let lost = Failure { kind: ErrorKind::Network, retry: Retry::Reconnect };
    s.input(Input::LinkLost { ticket, failure: lost });
    // The storage fails its call, and is to be called again soon.
    let full = Failure { kind: ErrorKind::Storage, retry: Retry::Later(None) };
    s.input(Input::Applied { scope: scope(), payload, result: Err(full) });
    s.commands();
    for _ in 0..20 {
        let Some(due) = s.engine.next_deadline() else { return };
        assert!(due > s.now, "it would be woken again and again, and do nothing");
        s.now = due;
        s.input(Input::Tick);
        if s.commands().iter().any(|o| matches!(o, Output::Connect { .. })) {
            return;
        }
    }
    panic!("it does not connect again");
}

#[test]
fn a_refused_scope_is_reported_and_not_requested() {
    let mut s = Script::new();
    s.input(Input::Run(Goal::ONCE));
    let Output::Connect { ticket, .. } = s.one() else { panic!() };
    s.input(Input::Connected { ticket, scopes: vec![], last_push: PushId(0) });
    let outputs: Vec<_> = std::iter::from_fn(|| s.engine.poll_output()).collect();
    let refused = Event::ScopeRefused(scope(), ErrorKind::PermissionDenied);
    assert!(outputs.contains(&Output::Emit(refused)), "{outputs:?}");
    assert!(!outputs.iter().any(|o| matches!(o, Output::Pull { .. } | Output::NextBatch { .. })));
    // Access was granted meanwhile, and the app tries again: only another greeting can find out.
    s.input(Input::Run(Goal::ONCE));
    let commands = s.commands();
    assert_eq!(commands[0], Output::Disconnect { ticket });
    let Output::Connect { ticket, .. } = commands[1] else { panic!("{commands:?}") };
    s.greet(ticket, 100, 0);
    assert_eq!(s.pull_in().1, Seq(0));
}

/// A replica that has pulled 100 documents, and has reconnected to a server that does not name its
/// scope.
fn revoked() -> (Script, Vec<Output>) {
    let mut s = Script::new();
    s.connect(Goal::default(), 100);
    let (first, _) = s.pull_in();
    let payload = s.deliver(first, 0, 100, 100);
    s.applied(payload, 100);
    let live = s.commands().into_iter().find_map(|o| match o {
        Output::Subscribe { ticket, .. } => Some(ticket),
        _ => None,
    });
    let payload = s.engine.ticket();
    let denied = Failure { kind: ErrorKind::PermissionDenied, retry: Retry::Never };
    let ticket = live.unwrap();
    s.input(Input::Delivered { scope: scope(), ticket, payload, result: Err(denied) });
    // A single refusal is not trusted: a gateway may have sent it.
    assert!(!s.commands().iter().any(|o| matches!(o, Output::Forget { .. })));
    s.now = s.engine.next_deadline().unwrap();
    s.input(Input::Tick);
    let Output::Connect { ticket, .. } = s.one() else { panic!("it should greet again") };
    s.input(Input::Connected { ticket, scopes: vec![], last_push: PushId(0) });
    let outputs = std::iter::from_fn(|| s.engine.poll_output()).collect();
    (s, outputs)
}

#[test]
fn a_revoked_scope_is_removed_from_the_device_and_reported() {
    let (mut s, outputs) = revoked();
    assert!(outputs.contains(&Output::Forget { scope: scope() }), "{outputs:?}");
    s.input(Input::Forgotten { scope: scope(), result: Ok(()) });
    let outputs: Vec<_> = std::iter::from_fn(|| s.engine.poll_output()).collect();
    assert_eq!(outputs, [Output::Emit(Event::ScopeGone(scope()))]);
    // The scope is pulled again when the app runs the sync, and from the beginning.
    s.input(Input::Run(Goal::ONCE));
    s.input(Input::Stop);
    s.commands();
    s.connect(Goal::ONCE, 100);
    assert_eq!(s.pull_in().1, Seq(0));
}

#[test]
fn a_scope_that_is_served_again_while_it_is_forgotten_is_pulled_anew() {
    let (mut s, _) = revoked();
    let ticket = s.engine.connection().unwrap();
    let failure = Failure { kind: ErrorKind::Network, retry: Retry::Reconnect };
    s.input(Input::LinkLost { ticket, failure });
    s.now = s.engine.next_deadline().unwrap();
    s.input(Input::Tick);
    let connect = |o: &Output| match o {
        Output::Connect { ticket, .. } => Some(*ticket),
        _ => None,
    };
    let ticket = s.commands().iter().find_map(connect).unwrap();
    s.greet(ticket, 100, 0);
    assert!(
        !s.commands().iter().any(|o| matches!(o, Output::Pull { .. })),
        "it is forgotten first"
    );
    s.input(Input::Forgotten { scope: scope(), result: Ok(()) });
    assert_eq!(s.pull_in().1, Seq(0));
}

#[test]
fn a_scope_whose_removal_fails_is_removed_later() {
    let (mut s, _) = revoked();
    let failure = Failure { kind: ErrorKind::Storage, retry: Retry::Later(None) };
    s.input(Input::Forgotten { scope: scope(), result: Err(failure) });
    s.commands();
    s.now = s.engine.next_deadline().unwrap();
    s.input(Input::Tick);
    let Output::Connect { ticket, .. } = s.one() else { panic!("it should greet again") };
    s.input(Input::Connected { ticket, scopes: vec![], last_push: PushId(0) });
    assert!(s.commands().contains(&Output::Forget { scope: scope() }));
}

#[test]
fn a_refusal_that_the_greeting_does_not_confirm_removes_nothing() {
    let mut s = Script::new();
    let denied = Failure { kind: ErrorKind::PermissionDenied, retry: Retry::Never };
    for last in [false, true] {
        if last {
            s.now = s.engine.next_deadline().unwrap();
            s.input(Input::Tick);
            let Output::Connect { ticket, .. } = s.one() else { panic!("it should greet again") };
            s.greet(ticket, 100, 0);
        } else {
            s.connect(PULL, 100);
        }
        let (ticket, _) = s.pull_in();
        let payload = s.engine.ticket();
        s.input(Input::Delivered { scope: scope(), ticket, payload, result: Err(denied) });
        let outputs: Vec<_> = std::iter::from_fn(|| s.engine.poll_output()).collect();
        let told = Output::Emit(Event::ScopeRefused(scope(), ErrorKind::PermissionDenied));
        assert_eq!(outputs.contains(&told), last, "{outputs:?}");
        assert!(!outputs.contains(&Output::Forget { scope: scope() }));
    }
}

#[test]
fn a_reset_waits_for_the_storage_and_continues_from_its_position() {
    let mut s = Script::new();
    s.connect(PULL, 300);
    let (first, _) = s.pull_in();
    let one = s.deliver(first, 0, 100, 300);
    let (second, _) = s.pull_in();
    let payload = s.engine.ticket();
    let reset = Reset { epoch: Epoch([8; 16]), reason: ResetReason::EpochChanged { cut: Seq(0) } };
    let result = Ok(Delivery::Reset(reset));
    s.input(Input::Delivered { scope: scope(), ticket: second, payload, result });
    let commands = s.commands();
    assert!(commands.contains(&Output::Reset { scope: scope(), reset }), "{commands:?}");
    // The chunk that the storage was applying is confirmed late, and is not awaited any more.
    s.applied(one, 100);
    assert_eq!(s.commands(), []);
    let stands = Checkpoint { epoch: Some(Epoch([8; 16])), ..Checkpoint::default() };
    s.input(Input::ResetDone { scope: scope(), result: Ok(stands) });
    let (_, after) = s.pull_in();
    assert_eq!(after, Seq(0));
}

#[test]
fn a_copied_replica_takes_a_new_identity_and_greets_again() {
    let mut s = Script::new();
    s.input(Input::Run(Goal::ONCE));
    let Output::Connect { ticket, .. } = s.one() else { panic!() };
    s.greet(ticket, 0, 5);
    assert!(s.commands().contains(&Output::Reidentify));
    s.input(Input::Reidentified { result: Ok(()) });
    let commands = s.commands();
    assert_eq!(commands[0], Output::Disconnect { ticket });
    assert!(matches!(commands[1], Output::Connect { .. }));
}

/// The request that acknowledges a position.
fn told(outputs: &[Output]) -> (Ticket, Seq) {
    let told = outputs.iter().find_map(|o| match o {
        Output::Acknowledge { ticket, settled, .. } => Some((*ticket, *settled)),
        _ => None,
    });
    told.unwrap_or_else(|| panic!("the position is not told: {outputs:?}"))
}

/// Brings a script to the head, where it acknowledges its position.
fn at_the_head(s: &mut Script) -> Ticket {
    let (pull, after) = s.pull_in();
    s.pulled(pull, after.0, 2, 2);
    let (ticket, settled) = told(&s.commands());
    assert_eq!(settled, Seq(0));
    ticket
}

#[test]
fn documents_that_differ_are_pulled_again_once_and_then_reported() {
    let mut s = Script::new();
    s.connect(PULL, 2);
    let ticket = at_the_head(&mut s);
    assert!(!s.engine.is_in_sync(), "the server has not compared yet");
    let reset = Reset { epoch: EPOCH, reason: ResetReason::DigestDiffers };
    let differs = |ticket| Input::Acknowledged { scope: scope(), ticket, result: Ok(Some(reset)) };
    s.input(differs(ticket));
    assert!(s.commands().contains(&Output::Reset { scope: scope(), reset }));
    let stands = Checkpoint { epoch: Some(EPOCH), ..Checkpoint::default() };
    s.input(Input::ResetDone { scope: scope(), result: Ok(stands) });
    let ticket = at_the_head(&mut s);
    s.input(differs(ticket));
    let outputs: Vec<_> = std::iter::from_fn(|| s.engine.poll_output()).collect();
    assert!(outputs.contains(&Output::Emit(Event::Diverged(scope()))), "{outputs:?}");
    assert!(!s.engine.is_in_sync());
    assert_eq!(s.engine.progress().refused, Some(ErrorKind::Internal));
}

#[test]
fn a_position_that_moves_while_it_is_acknowledged_is_acknowledged_again() {
    let mut s = Script::new();
    s.connect(Goal::ONCE, 2);
    s.formed(None);
    let telling = at_the_head(&mut s);
    s.input(Input::OutboxGrew { scope: scope() });
    s.formed(Some(1));
    s.answer_push(Ok(Answer::Decided(Seq(3))));
    s.input(settled(1));
    s.formed(None);
    let (pull, _) = s.pull_in();
    s.pulled(pull, 2, 3, 3);
    assert_eq!(s.commands(), []);
    let fine = |ticket| Input::Acknowledged { scope: scope(), ticket, result: Ok(None) };
    s.input(fine(telling));
    let (again, settled) = told(&s.commands());
    assert_eq!(settled, Seq(3));
    assert!(!s.engine.is_in_sync());
    s.input(fine(again));
    assert!(s.engine.is_in_sync());
}

#[test]
fn an_answer_from_a_lost_link_does_not_end_the_next_acknowledgement() {
    let mut s = Script::new();
    let link = s.connect(PULL, 2);
    let before = at_the_head(&mut s);
    let failure = Failure { kind: ErrorKind::Network, retry: Retry::Reconnect };
    s.input(Input::LinkLost { ticket: link, failure });
    assert_eq!(s.one(), Output::Disconnect { ticket: link });
    s.connect(PULL, 3);
    let (pull, _) = s.pull_in();
    s.pulled(pull, 2, 3, 3);
    let (now, _) = told(&s.commands());
    s.input(Input::Acknowledged { scope: scope(), ticket: before, result: Err(failure) });
    assert_eq!(s.commands(), []);
    s.input(Input::Acknowledged { scope: scope(), ticket: before, result: Ok(None) });
    assert!(!s.engine.is_in_sync(), "nobody compared what was told on this link");
    s.input(Input::Acknowledged { scope: scope(), ticket: now, result: Ok(None) });
    assert!(s.engine.is_in_sync());
}

#[test]
fn a_storage_call_that_fails_is_retried_later() {
    let mut s = Script::new();
    s.connect(PUSH, 0);
    s.commands();
    let failure = Failure { kind: ErrorKind::Storage, retry: Retry::Later(None) };
    s.input(Input::NextBatch { scope: scope(), result: Err(failure) });
    assert_eq!(s.commands(), []);
    s.now = s.engine.next_deadline().expect("it should try again");
    s.input(Input::Tick);
    assert_eq!(s.one(), form());
}
