//! Links that are made, lost and made again.

use std::time::Duration;

use super::*;

const LOST: Failure = Failure { kind: ErrorKind::Network, retry: Retry::Reconnect };

/// A script whose delays are always the longest.
fn steady() -> Script {
    let mut s = Script::new();
    s.engine.options.retry.jitter = false;
    s
}

fn connecting(s: &mut Script) -> Ticket {
    s.commands()
        .into_iter()
        .find_map(|o| match o {
            Output::Connect { ticket, .. } => Some(ticket),
            _ => None,
        })
        .expect("it should connect")
}

/// How long it waits for another link, each time that a link is lost with what is on its way.
fn waits(goal: Goal) -> Vec<u128> {
    let mut s = steady();
    s.input(Input::Run(goal));
    let mut waits = Vec::new();
    for _ in 0..4 {
        let ticket = connecting(&mut s);
        s.greet(ticket, 900, 0);
        while s.engine.next_attempt(&scope()).is_some_and(|due| due > s.now) {
            s.now = s.engine.next_attempt(&scope()).unwrap();
            s.input(Input::Tick);
        }
        if goal.push {
            s.formed(Some(1));
        }
        s.commands();
        s.input(Input::LinkLost { ticket, failure: LOST });
        let due = s.engine.next_deadline().unwrap();
        waits.push(due.since(s.now).as_millis());
        s.now = due;
        s.input(Input::Tick);
    }
    waits
}

#[test]
fn a_link_that_was_lost_with_a_request_is_made_anew_at_once_and_the_request_waits() {
    for goal in [PULL, PUSH, Goal::ONCE] {
        assert_eq!(waits(goal), [250; 4], "{goal:?}");
    }
}

#[test]
fn a_link_that_was_lost_with_nothing_on_it_waits_longer_each_time() {
    let idle = Goal { push: false, pull: false, live: false };
    assert_eq!(waits(idle), [250, 500, 1_000, 2_000]);
}

#[test]
fn a_tick_before_its_time_changes_nothing() {
    let mut s = steady();
    s.input(Input::Run(PULL));
    let ticket = connecting(&mut s);
    let due = s.engine.next_deadline().unwrap();
    assert_eq!(due, s.now.plus(EngineOptions::default().connect_timeout));
    s.input(Input::Tick);
    assert_eq!(s.commands(), [], "it still connects");
    s.now = due;
    s.input(Input::Tick);
    assert_eq!(s.one(), Output::Disconnect { ticket });
    s.input(Input::Tick);
    assert_eq!(s.commands(), [], "the next link waits");
    s.now = s.now.plus(Duration::from_millis(250));
    s.input(Input::Tick);
    connecting(&mut s);
}

#[test]
fn a_scope_that_comes_back_still_waits_for_what_failed_before() {
    let mut s = steady();
    let link = s.connect(PULL, 300);
    let (ticket, _) = s.pull_in();
    let payload = s.deliver(ticket, 0, 100, 300);
    s.applied(payload, 100);
    let overloaded = Failure { kind: ErrorKind::Overloaded, retry: Retry::Later(None) };
    for _ in 0..3 {
        s.fail_pull_with(overloaded);
        s.now = s.engine.next_deadline().unwrap();
        s.input(Input::Tick);
    }
    s.input(Input::LinkLost { ticket: link, failure: LOST });
    s.commands();
    s.now = s.engine.next_deadline().unwrap();
    s.input(Input::Tick);
    let ticket = connecting(&mut s);
    s.input(Input::Connected { ticket, scopes: vec![], last_push: PushId(0) });
    s.input(Input::Forgotten { scope: scope(), result: Ok(()) });
    s.commands();
    s.input(Input::Run(PULL));
    let ticket = connecting(&mut s);
    s.greet(ticket, 300, 0);
    s.fail_pull_with(overloaded);
    let wait = s.engine.next_attempt(&scope()).unwrap().since(s.now);
    assert!(wait > Duration::from_secs(1), "{wait:?}");
}

#[test]
fn a_reset_that_the_storage_rejects_permanently_is_reported_and_not_retried() {
    let mut s = Script::new();
    s.connect(PULL, 300);
    let (ticket, _) = s.pull_in();
    let payload = s.engine.ticket();
    let reset = Reset { epoch: EPOCH, reason: ResetReason::Requested };
    let result = Ok(Delivery::Reset(reset));
    s.input(Input::Delivered { scope: scope(), ticket, payload, result });
    s.commands();
    let broken = Failure { kind: ErrorKind::Incompatible, retry: Retry::Never };
    s.input(Input::ResetDone { scope: scope(), result: Err(broken) });
    assert_eq!(s.engine.progress().refused, Some(ErrorKind::Incompatible));
    assert_eq!(s.engine.next_deadline(), None);
}

impl Script {
    /// Answers the pending pull with a failure.
    fn fail_pull_with(&mut self, failure: Failure) {
        let (ticket, _) = self.pull_in();
        let payload = self.engine.ticket();
        self.input(Input::Delivered { scope: scope(), ticket, payload, result: Err(failure) });
    }
}

#[test]
fn only_what_a_link_may_have_cut_makes_chunks_smaller() {
    let first = EngineOptions::default().first_pull_bytes;
    let next = |kind| {
        let mut s = Script::new();
        s.connect(PULL, 300);
        s.fail_pull_with(Failure { kind, retry: Retry::Later(None) });
        s.now = s.engine.next_deadline().unwrap();
        s.input(Input::Tick);
        match s.one() {
            Output::Pull { limits, .. } => limits.bytes,
            other => panic!("{other:?}"),
        }
    };
    for kind in [ErrorKind::Network, ErrorKind::Timeout, ErrorKind::TooLarge] {
        assert_eq!(next(kind), first / 4, "{kind:?}");
    }
    for kind in [ErrorKind::Overloaded, ErrorKind::Internal] {
        assert_eq!(next(kind), first, "{kind:?}");
    }
}
