//! When two statuses differ.

use super::support::network;
use sync_core::clock::Now;
use sync_core::driver::{DriverStatus, ScopeStatus};
use sync_core::engine::{Phase, ScopeProgress};
use sync_core::error::ErrorKind;
use sync_core::model::Scope;

fn failed(message: &str) -> DriverStatus {
    DriverStatus { last_error: Some(network(message)), ..DriverStatus::default() }
}

#[test]
fn statuses_differ_if_any_field_differs() {
    let same = DriverStatus::default;
    assert_eq!(same(), same());
    let scope = ScopeStatus { scope: Scope::default(), progress: ScopeProgress::default() };
    let others = [
        DriverStatus { phase: Phase::Offline, ..same() },
        DriverStatus { scopes: vec![scope], ..same() },
        DriverStatus { refused: Some(ErrorKind::Incompatible), ..same() },
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
