//! Documents that differ from the server's, again after a while.

use std::time::Duration;

use super::*;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Returns whether a difference found so long after the first is reported, not pulled again.
fn is_shown(after: Duration) -> bool {
    let mut s = Script::new();
    s.connect(PULL, 2);
    let reset = Reset { epoch: EPOCH, reason: ResetReason::DigestDiffers };
    let ticket = at_the_head(&mut s);
    s.input(Input::Acknowledged { scope: scope(), ticket, result: Ok(Some(reset)) });
    assert!(s.commands().contains(&Output::Reset { scope: scope(), reset }));
    let stands = Checkpoint { epoch: Some(EPOCH), ..Checkpoint::default() };
    s.input(Input::ResetDone { scope: scope(), result: Ok(stands) });
    let ticket = at_the_head(&mut s);
    s.now = s.now.plus(after);
    s.input(Input::Acknowledged { scope: scope(), ticket, result: Ok(Some(reset)) });
    let outputs: Vec<_> = std::iter::from_fn(|| s.engine.poll_output()).collect();
    let is_shown = outputs.contains(&Output::Emit(Event::Diverged(scope())));
    assert_ne!(is_shown, outputs.contains(&Output::Reset { scope: scope(), reset }));
    is_shown
}

#[test]
fn a_full_pull_because_of_a_difference_is_made_once_an_hour() {
    assert!(is_shown(Duration::ZERO));
    assert!(is_shown(HOUR - Duration::from_millis(1)));
    assert!(!is_shown(HOUR));
    assert!(!is_shown(2 * HOUR));
}
