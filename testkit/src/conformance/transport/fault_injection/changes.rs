//! What the faults change in requests, answers and errors.

use std::sync::{Arc, Mutex};

use sync_core::error::{Error, ErrorKind, Retry};
use sync_core::model::{Body, Chunk, Limits};
use sync_core::protocol::Pull;

use super::super::reader::Live;
use super::TransportFault;

/// Keeps dropped streams.
#[derive(Clone, Default)]
pub(super) struct Attic(pub(super) Arc<Mutex<Vec<Live>>>);

impl std::fmt::Debug for Attic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Attic")
    }
}

/// Returns whether the fault hides that error from the caller.
pub(super) fn hides(fault: TransportFault, error: &Error) -> bool {
    match fault {
        TransportFault::OutlivesTheLink => error.retry() == Retry::Reconnect,
        TransportFault::TrustsSilence => error.kind() == ErrorKind::Timeout,
        _ => false,
    }
}

pub(super) fn change_error(fault: TransportFault, error: Error) -> Error {
    match (fault, error.kind()) {
        (TransportFault::LosesTheAdvice, kind) => Error::new(kind, error.message()),
        (TransportFault::TakesGoodbyeForGood, ErrorKind::Closed | ErrorKind::Overloaded) => {
            error.retrying(Retry::Never)
        }
        _ => error,
    }
}

pub(super) fn change_pull(fault: TransportFault, pull: &mut Pull) {
    if fault == TransportFault::IgnoresLimits {
        pull.limits = Limits::CHUNK;
    }
}

pub(super) fn change_chunk(fault: TransportFault, chunk: &mut Chunk) {
    match fault {
        TransportFault::SkipsToTheHead if chunk.has_more() => {
            chunk.entries.clear();
            chunk.next = chunk.head;
        }
        TransportFault::RewritesBodies => {
            for entry in &mut chunk.entries {
                let rewritten = entry.state.body.as_ref().map(|b| b.as_str().trim().to_owned());
                entry.state.body = rewritten.and_then(|text| Body::parse(text).ok());
            }
        }
        _ => {}
    }
}
