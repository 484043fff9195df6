//! When two statuses differ.

use super::support::network;
use sync_core::clock::Now;
use sync_core::driver::DriverStatus;
use sync_core::engine::{Phase, Progress};
use sync_core::error::ErrorKind;
use sync_core::model::Scope;

fn failed(message: &str) -> DriverStatus {
    DriverStatus { last_error: Some(network(message)), ..DriverStatus::default() }
}

#[test]
fn statuses_differ_if_any_field_differs() {
    let same = DriverStatus::default;
    assert_eq!(same(), same());
    let of = |progress| DriverStatus { progress, ..same() };
    let refused = Some(ErrorKind::Incompatible);
    let scopes = vec![(Scope::default(), Default::default())];
    let others = [
        of(Progress { phase: Phase::Offline, ..Progress::default() }),
        of(Progress { scopes, ..Progress::default() }),
        of(Progress { refused, ..Progress::default() }),
        DriverStatus { pushed: 1, ..same() },
        DriverStatus { conflicts: 1, ..same() },
        DriverStatus { failures: 1, ..same() },
        DriverStatus { runs: 1, ..same() },
        DriverStatus { last_sync: Some(Now(1)), ..same() },
        failed("the link is down"),
    ];
    for other in others {
        assert_ne!(same(), other);
    }
}

#[test]
fn errors_are_compared_by_their_text() {
    assert_eq!(failed("the link is down"), failed("the link is down"));
    assert_ne!(failed("the link is down"), failed("the server is gone"));
}
