//! Errors as statuses, and back.

use std::time::Duration;

use bytes::Bytes;
use sync_core::error::{Error, ErrorKind, Retry};
use sync_core::protocol::WireError;
use transport_kit::{gateway_error, gateway_wait, shown_text};

use super::Format;

/// Returns the status of an answer with an error of that kind.
#[must_use]
pub fn status_of(kind: ErrorKind) -> u16 {
    match kind {
        ErrorKind::InvalidInput | ErrorKind::Protocol => 400,
        ErrorKind::Unauthenticated => 401,
        ErrorKind::PermissionDenied => 403,
        ErrorKind::NotFound => 404,
        ErrorKind::AlreadyExists | ErrorKind::Busy | ErrorKind::Superseded => 409,
        ErrorKind::TooLarge => 413,
        ErrorKind::Incompatible => 426,
        ErrorKind::Network => 502,
        ErrorKind::Overloaded | ErrorKind::Closed => 503,
        ErrorKind::Timeout => 504,
        _ => 500,
    }
}

/// Returns the value of `Retry-After` for that advice: whole seconds, rounded up.
#[must_use]
pub fn retry_after(retry: Retry) -> Option<u64> {
    match retry {
        Retry::Later(Some(after)) => {
            Some(after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0)))
        }
        _ => None,
    }
}

/// Returns the error for an answer with an error status.
///
/// If the body is in the server's own format, its error is returned, with `retry_after` (the
/// header, in seconds) as the wait if the body has none. Otherwise the answer comes from a gateway
/// or another program, and only the status is used. Such an error is never permanent, and its wait
/// is at most [`gateway_wait`]: the cause may be temporary, such as a server that starts, a gateway
/// that is being set up, or the sign-in page of a network.
#[must_use]
pub fn error_of(
    status: u16,
    format: Option<Format>,
    body: &Bytes,
    retry_after: Option<&str>,
) -> Error {
    // The caller has converted a date to seconds.
    let after = retry_after.and_then(|v| v.trim().parse().ok()).map(Duration::from_secs);
    if let Some(Ok(wire)) = format.map(|f| f.decode::<WireError>(body.clone())) {
        let retry = match wire.retry {
            Retry::Later(None) => Retry::Later(after),
            retry => retry,
        };
        return Error::from(wire).retrying(retry).with("status", status);
    }
    let kind = match status {
        413 => ErrorKind::TooLarge,
        status => gateway_error(status),
    };
    let message = "the request was refused, and not in the form of a Twotide server";
    let error = Error::new(kind, message).with("status", status);
    let said = shown_text(&String::from_utf8_lossy(&body[..body.len().min(800)]));
    let error = if said.is_empty() { error } else { error.with("answer", format!("{said:?}")) };
    error.retrying(Retry::Later(after.map(gateway_wait)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_server_is_read_back() {
        let later = Retry::Later(Some(Duration::from_millis(1_500)));
        let error = Error::new(ErrorKind::Overloaded, "come back").retrying(later);
        for format in [Format::Frame, Format::Json] {
            let body = format.encode(WireError::from(&error)).unwrap();
            let back = error_of(status_of(error.kind()), Some(format), &body, Some("2"));
            assert_eq!((back.kind(), back.retry()), (error.kind(), later));
            assert_eq!(back.message(), "come back");
        }
        assert_eq!(retry_after(later), Some(2));
        assert_eq!(retry_after(Retry::Later(Some(Duration::from_secs(3)))), Some(3));
        assert_eq!(retry_after(Retry::Later(None)), None);
    }

    #[test]
    fn the_header_supplies_a_wait_that_the_body_lacks() {
        let error = Error::new(ErrorKind::Storage, "the disk is full");
        let body = Format::Json.encode(WireError::from(&error)).unwrap();
        let back = error_of(500, Some(Format::Json), &body, Some("7"));
        assert_eq!(back.retry(), Retry::Later(Some(Duration::from_secs(7))));
    }

    #[test]
    fn a_gateways_answer_is_read_by_its_status_and_never_permanent() {
        let body = Bytes::from_static(b"{\"message\":\"no\xff\"}\n");
        for (status, kind) in [
            (401, ErrorKind::Unauthenticated),
            (403, ErrorKind::Network),
            (404, ErrorKind::NotFound),
            (413, ErrorKind::TooLarge),
            (418, ErrorKind::Protocol),
            (502, ErrorKind::Network),
            (503, ErrorKind::Overloaded),
            (504, ErrorKind::Timeout),
            (511, ErrorKind::Network),
        ] {
            for format in [None, Some(Format::Json), Some(Format::Frame)] {
                for (asked, seconds) in
                    [("Wed, 21 Oct 2026 07:28:00 GMT", None), ("7", Some(7)), ("86400", Some(300))]
                {
                    let back = error_of(status, format, &body, Some(asked));
                    let retry = Retry::Later(seconds.map(Duration::from_secs));
                    assert_eq!((back.kind(), back.retry()), (kind, retry), "{status}");
                    assert!(back.to_string().contains("message"), "{back}");
                }
            }
        }
    }
}
