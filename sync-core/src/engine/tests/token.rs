//! A token that is not valid any more while a connection is open.

use super::*;

fn failure(retry: Retry) -> Failure {
    Failure { kind: ErrorKind::Unauthenticated, retry }
}

/// Connected, with a pull under way.
fn pulling() -> (Script, Ticket) {
    let mut s = Script::new();
    s.connect(Goal::default(), 40);
    let (ticket, _) = s.pull_in();
    (s, ticket)
}

fn fail(s: &mut Script, ticket: Ticket, retry: Retry) -> Vec<Output> {
    let (payload, result) = (s.engine.ticket(), Err(failure(retry)));
    s.input(Input::Delivered { scope: scope(), ticket, payload, result });
    std::iter::from_fn(|| s.engine.poll_output()).collect()
}

#[test]
fn a_request_that_is_refused_for_its_token_ends_the_connection() {
    let (mut s, ticket) = pulling();
    let outputs = fail(&mut s, ticket, Retry::Never);
    assert!(outputs.iter().any(|o| matches!(o, Output::Disconnect { .. })), "{outputs:?}");
    let told = Output::Emit(Event::Refused(ErrorKind::Unauthenticated));
    assert!(outputs.contains(&told), "{outputs:?}");
    assert_eq!(s.engine.progress().refused, Some(ErrorKind::Unauthenticated));
    assert_eq!(s.engine.next_deadline(), None);
    // Another token was given.
    s.input(Input::Run(Goal::default()));
    assert!(matches!(s.one(), Output::Connect { .. }));
}

#[test]
fn if_another_token_is_available_another_connection_follows_after_a_pause() {
    let (mut s, ticket) = pulling();
    let outputs = fail(&mut s, ticket, Retry::Reconnect);
    assert!(!outputs.iter().any(|o| matches!(o, Output::Connect { .. })), "{outputs:?}");
    assert_eq!(s.engine.progress().phase, Phase::Offline);
    s.now = s.engine.next_deadline().unwrap();
    s.input(Input::Tick);
    assert!(s.commands().iter().any(|o| matches!(o, Output::Connect { .. })));
}
