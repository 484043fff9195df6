//! Attempts that wait for their time, and what ends a wait or a link early.

use super::*;

const LATER: Failure =
    Failure { kind: ErrorKind::Overloaded, retry: Retry::Later(Some(Duration::from_secs(600))) };

#[test]
fn a_pull_that_waits_is_tried_at_once_when_it_is_run_again() {
    let mut s = Script::new();
    s.connect(PULL, 10);
    let (ticket, _) = s.pull_in();
    let payload = s.engine.ticket();
    s.input(Input::Delivered { scope: scope(), ticket, payload, result: Err(LATER) });
    assert!(!s.commands().iter().any(|o| matches!(o, Output::Pull { .. })));
    let due = s.engine.next_deadline().unwrap();
    assert!(due >= s.now.plus(Duration::from_secs(600)));
    assert_eq!(s.engine.next_attempt(&scope()), Some(due));
    s.input(Input::Run(PULL));
    assert_eq!(s.engine.next_attempt(&scope()), None, "an attempt is under way");
    s.pull_in();
}

#[test]
fn a_push_that_waits_is_tried_at_once_when_it_is_run_again() {
    let mut s = Script::new();
    s.connect(PUSH, 0);
    s.formed(Some(1));
    s.answer_push(Err(LATER));
    assert!(!s.commands().iter().any(|o| matches!(o, Output::NextBatch { .. })));
    assert_eq!(s.engine.next_attempt(&scope()), s.engine.next_deadline());
    assert!(s.engine.next_attempt(&scope()).is_some());
    s.input(Input::Run(PUSH));
    assert_eq!(s.engine.next_attempt(&scope()), None, "an attempt is under way");
    assert!(s.commands().iter().any(|o| matches!(o, Output::NextBatch { .. })));
}

#[test]
fn an_acknowledgement_that_fails_with_its_link_ends_it() {
    let lost = Failure { kind: ErrorKind::Network, retry: Retry::Reconnect };
    for (failure, ends) in [(lost, true), (LATER, false)] {
        let mut s = Script::new();
        s.connect(PULL, 2);
        let ticket = at_the_head(&mut s);
        s.input(Input::Acknowledged { scope: scope(), ticket, result: Err(failure) });
        let commands = s.commands();
        let has_ended = commands.iter().any(|o| matches!(o, Output::Disconnect { .. }));
        assert_eq!(has_ended, ends, "{commands:?}");
    }
}
