//! Batches that are refused, arrive late or have no effect.

use super::*;
use crate::model::Limits;

fn failed(kind: ErrorKind, retry: Retry) -> Result<Answer, Failure> {
    Err(Failure { kind, retry })
}

impl Script {
    /// The limits within which a batch is requested now.
    fn is_asked(&mut self) -> Option<Limits> {
        self.commands().into_iter().find_map(|o| match o {
            Output::NextBatch { limits, .. } => Some(limits),
            _ => None,
        })
    }

    /// Forms a batch and answers its push.
    fn push_of(&mut self, batch: BatchMeta, result: Result<Answer, Failure>) {
        self.input(Input::NextBatch { scope: scope(), result: Ok(Some(batch)) });
        self.answer_push(result);
    }
}

/// A script that is connected for pushing, and for which a batch was requested.
fn pushing() -> Script {
    let mut s = Script::new();
    s.connect(PUSH, 0);
    assert_eq!(s.one(), form());
    s
}

#[test]
fn a_push_that_is_refused_permanently_is_reported_and_not_retried_until_the_next_run() {
    let mut s = pushing();
    s.push_of(batch(1), failed(ErrorKind::PermissionDenied, Retry::Never));
    let outputs: Vec<_> = std::iter::from_fn(|| s.engine.poll_output()).collect();
    let refused = Event::ScopeRefused(scope(), ErrorKind::PermissionDenied);
    assert_eq!(outputs, [Output::Emit(refused)]);
    assert_eq!(s.engine.progress().refused, Some(ErrorKind::PermissionDenied));
    assert!(!s.engine.is_in_sync() && s.engine.next_deadline().is_none());
    s.input(Input::OutboxGrew { scope: scope() });
    assert_eq!(s.commands(), []);
    // The greeting shows whether the scope is served now.
    s.input(Input::Run(PUSH));
    let commands = s.commands();
    assert!(matches!(commands[..], [Output::Disconnect { .. }, Output::Connect { .. }]));
}

#[test]
fn a_batch_that_is_too_large_is_no_refusal_of_the_scope() {
    let mut s = pushing();
    s.push_of(batch(1), failed(ErrorKind::TooLarge, Retry::Never));
    assert_eq!(s.engine.progress().refused, None);
    s.now = s.engine.next_deadline().unwrap();
    s.input(Input::Tick);
    assert!(s.is_asked().is_some());
}

#[test]
fn a_push_whose_log_began_anew_needs_another_greeting() {
    let mut s = pushing();
    s.push_of(batch(1), failed(ErrorKind::Superseded, Retry::Later(None)));
    assert!(matches!(s.commands()[..], [Output::Disconnect { .. }]));
}

#[test]
fn a_batch_that_is_formed_after_the_link_is_gone_waits_for_the_next_one() {
    let mut s = Script::new();
    let link = s.connect(PUSH, 0);
    assert_eq!(s.one(), form());
    let failure = Failure { kind: ErrorKind::Network, retry: Retry::Reconnect };
    s.input(Input::LinkLost { ticket: link, failure });
    s.commands();
    s.formed(Some(1));
    assert_eq!(s.commands(), []);
    s.now = s.engine.next_deadline().unwrap();
    s.input(Input::Tick);
    let Output::Connect { ticket, .. } = s.one() else { panic!("it should connect") };
    s.greet(ticket, 0, 0);
    assert_eq!(s.one(), form());
}

#[test]
fn a_push_is_no_answer_to_a_pull() {
    let mut s = Script::new();
    s.connect(Goal::ONCE, 10);
    let (pull, _) = s.pull_in();
    s.formed(Some(1));
    let Output::Push { ticket, .. } = s.one() else { panic!("it should push") };
    assert_ne!(ticket, pull);
}

#[test]
fn a_push_that_takes_too_long_makes_batches_smaller() {
    let mut s = pushing();
    let bytes = EngineOptions::default().first_push_bytes;
    let large = BatchMeta { bytes, ..batch(1) };
    s.push_of(large, failed(ErrorKind::Timeout, Retry::Later(None)));
    s.now = s.engine.next_deadline().unwrap();
    s.input(Input::Tick);
    assert_eq!(s.is_asked().unwrap().bytes, bytes / 4);
}

#[test]
fn a_batch_that_was_too_large_and_is_gone_makes_room_for_the_others() {
    let mut s = pushing();
    let bytes = EngineOptions::default().first_push_bytes;
    let large = BatchMeta { bytes: 2 * bytes, ..batch(1) };
    s.push_of(large, failed(ErrorKind::TooLarge, Retry::Later(None)));
    s.now = s.engine.next_deadline().unwrap();
    s.input(Input::Tick);
    assert_eq!(s.is_asked(), Some(Limits::NONE), "it is recalled");
    // The app has decided about it meanwhile.
    s.formed(None);
    assert!(s.is_asked().is_some_and(|limits| limits != Limits::NONE));
}

#[test]
fn verdicts_that_leave_an_edit_as_it_was_are_a_failed_attempt_and_a_recall_is_free_once() {
    let recall = BatchMeta { recall: true, ..batch(1) };
    for (batch, is_free) in [(batch(1), false), (recall, true)] {
        let mut s = pushing();
        s.push_of(batch, Ok(Answer::Decided(Seq(0))));
        s.commands();
        s.input(settled(0));
        assert_eq!(s.is_asked().is_some(), is_free, "{batch:?}");
        assert_eq!(s.engine.next_attempt(&scope()).is_none(), is_free);
        if is_free {
            s.push_of(batch, Ok(Answer::Decided(Seq(0))));
            s.commands();
            s.input(settled(0));
            assert_eq!(s.is_asked(), None, "but once only");
        }
    }
}

#[test]
fn another_identity_does_not_use_the_verdicts_of_the_one_before() {
    let mut s = Script::new();
    s.connect(Goal::ONCE, 2);
    s.commands();
    s.push_of(batch(1), Ok(Answer::Decided(Seq(9))));
    s.commands();
    s.input(settled(1));
    s.push_of(batch(2), Ok(Answer::Cloned));
    assert!(s.commands().contains(&Output::Reidentify));
    s.input(Input::Reidentified { result: Ok(()) });
    let ticket = s.commands().into_iter().find_map(|o| match o {
        Output::Connect { ticket, .. } => Some(ticket),
        _ => None,
    });
    s.greet(ticket.unwrap(), 2, 0);
    let (pull, _) = s.pull_in();
    s.formed(None);
    s.pulled(pull, 0, 2, 2);
    let (ticket, told_of) = told(&s.commands());
    assert_eq!(told_of, Seq(0));
    s.input(Input::Acknowledged { scope: scope(), ticket, result: Ok(None) });
    assert!(s.engine.is_in_sync());
}

#[test]
fn without_retries_the_first_failure_of_a_push_is_a_refusal() {
    let mut s = pushing();
    s.engine.options.retry.enabled = false;
    s.push_of(batch(1), failed(ErrorKind::Overloaded, Retry::Later(None)));
    assert_eq!(s.commands(), []);
    assert_eq!(s.engine.progress().refused, Some(ErrorKind::Overloaded));
    assert_eq!(s.engine.next_deadline(), None);
}

#[test]
fn a_batch_on_its_way_is_pushed_again_in_another_life_of_the_log() {
    let mut s = Script::new();
    s.connect(Goal::default(), 2);
    let (pull, _) = s.pull_in();
    s.formed(Some(1));
    assert!(matches!(s.one(), Output::Push { .. }));
    let payload = s.engine.ticket();
    let reset = Reset { epoch: Epoch([8; 16]), reason: ResetReason::EpochChanged { cut: Seq(0) } };
    let result = Ok(Delivery::Reset(reset));
    s.input(Input::Delivered { scope: scope(), ticket: pull, payload, result });
    assert_eq!(s.is_asked(), None);
    let stands = Checkpoint { epoch: Some(reset.epoch), ..Checkpoint::default() };
    s.input(Input::ResetDone { scope: scope(), result: Ok(stands) });
    assert!(s.is_asked().is_some());
}
