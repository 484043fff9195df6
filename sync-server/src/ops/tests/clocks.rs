//! The stamps that a log accepts: the server's time is 1,000, and 500 ahead of it are allowed.

use super::*;
use sync_core::model::VerdictKind;

fn code(verdict: &Verdict) -> Option<RejectionCode> {
    match &verdict.kind {
        VerdictKind::Accepted => None,
        VerdictKind::Rejected(rejection) => Some(rejection.code),
        other => panic!("{other:?}"),
    }
}

fn ahead() -> Option<RejectionCode> {
    Some(RejectionCode::Clock { server_time: Stamp::new(1_000, 0) })
}

const INVALID: Option<RejectionCode> = Some(RejectionCode::Invalid);

#[test]
fn a_stamp_may_be_ahead_by_the_bound_and_no_further() {
    for (stamp, refused) in [(900, None), (1_500, None), (1_501, ahead())] {
        let verdict = Log::new().decide(change("a", None, written(stamp, "x")));
        assert_eq!(code(&verdict), refused, "{stamp}");
    }
}

#[test]
fn a_stamp_may_not_be_ahead_though_its_author_is_not() {
    let state = DocumentState { author: revision(900), ..written(1_501, "x") };
    let state = DocumentState { created: Stamp::new(900, 0), ..state };
    assert_eq!(code(&Log::new().decide(change("a", None, state))), ahead());
}

#[test]
fn an_author_may_not_be_ahead_either() {
    let state = DocumentState { author: revision(1_501), ..written(900, "x") };
    assert_eq!(code(&Log::new().decide(change("a", None, state))), ahead());
}

#[test]
fn a_state_that_was_accepted_can_be_followed() {
    let mut log = Log::new();
    log.put("a", written(1_500, "ahead"));
    // The server's clock was wrong, and is correct again.
    log.cx.now = Now(100);
    let base = log.on(&log.row("a").unwrap());
    let next = Revision { stamp: Stamp::new(1_500, 1), replica: REPLICA };
    let state = DocumentState { revision: next, author: next, ..written(1_500, "edit") };
    assert_eq!(code(&log.decide(change("a", Some(base), state))), None);
}

#[test]
fn an_erasure_may_not_be_later_than_the_state_that_knows_of_it() {
    for (erased, refused) in [(20, None), (30, None), (31, INVALID)] {
        let state = DocumentState { erased: Some(revision(erased)), ..written(30, "x") };
        let verdict = Log::new().decide(change("a", None, state));
        assert_eq!(code(&verdict), refused, "{erased}");
    }
}

#[test]
fn a_document_may_not_begin_after_the_change() {
    for (created, refused) in [(20, None), (30, None), (31, INVALID)] {
        let state = DocumentState { created: Stamp::new(created, 0), ..written(30, "x") };
        let verdict = Log::new().decide(change("a", None, state));
        assert_eq!(code(&verdict), refused, "{created}");
    }
}
