//! Verdicts that discard the position of a collection.

use super::*;
use crate::model::Collection;

#[test]
fn a_collection_whose_position_a_verdict_discarded_is_pulled_from_the_beginning() {
    let mut s = Script::new();
    s.connect(Goal::default(), 100);
    let (first, _) = s.pull_in();
    let payload = s.deliver(first, 0, 100, 100);
    s.applied(payload, 100);
    let subscribed = s.commands();
    let is_live = |o: &Output| matches!(o, Output::Subscribe { .. });
    assert!(subscribed.iter().any(is_live), "{subscribed:?}");
    s.formed(Some(1));
    s.answer_push(Ok(Answer::Decided(Seq(100))));
    s.commands();
    let notes = Collection::new("notes").unwrap();
    let backfilled = vec![notes.clone()];
    let result = Ok(Settlement { applied: 1, moved: 1, backfilled });
    s.input(Input::Settled { scope: scope(), result });
    let commands = s.commands();
    let ends_stream = |o: &Output| matches!(o, Output::Unsubscribe { .. });
    let asks = |o: &Output| matches!(o, Output::Pull { cursor, .. } if cursor.position_of(&notes) == Seq(0));
    assert!(commands.iter().any(ends_stream) && commands.iter().any(asks), "{commands:?}");
    assert!(!s.engine.is_in_sync());
}
