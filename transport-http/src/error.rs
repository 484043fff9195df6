//! Errors of requests, in addition to the HTTP client's.

use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, LOCATION, RETRY_AFTER};
use sync_core::environment::{Environment, System};
use sync_core::error::{Error, ErrorKind, Retry};
use transport_kit::shown_text;

/// Why a request has no valid answer.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) error: Error,
    pub(crate) what: What,
}

/// The class of a failure, from which the caller decides how to continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// No server accepted the connection, or the request was never made.
    Unreachable,
    /// The connection broke, or the time ran out, before the answer was complete.
    Cut,
    /// Another program answered, or redirected the request.
    Foreign,
    /// The server refused, with that status.
    Refused(u16),
    /// A gateway refused, with that status.
    Denied(u16),
    /// The answer breaks the protocol.
    Broken,
}

impl Trouble {
    pub(crate) fn new(what: What, error: Error) -> Self {
        Self { error, what }
    }
}

/// The error and its sources in one line: the client's own message omits them.
#[derive(Debug)]
struct Cause(String);

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Cause {}

fn cause(error: reqwest::Error) -> Cause {
    // The address contains the cursor, which is of no use in an error.
    let error = error.without_url();
    let mut said = error.to_string();
    let mut next: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(&error);
    while let Some(source) = next {
        let text = source.to_string();
        if !said.ends_with(&text) {
            said = format!("{said}: {text}");
        }
        next = source.source();
    }
    Cause(said)
}

/// Returns whether the peer does not speak HTTP.
fn is_not_http(error: &reqwest::Error) -> bool {
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        if source.downcast_ref().is_some_and(hyper::Error::is_parse) {
            return true;
        }
        next = source.source();
    }
    false
}

#[cfg(feature = "tls")]
fn is_not_tls(error: &reqwest::Error) -> bool {
    transport_kit::is_plain_answer(error)
}

#[cfg(not(feature = "tls"))]
fn is_not_tls(_: &reqwest::Error) -> bool {
    false
}

/// Converts an error of the HTTP client.
pub(crate) fn of_client(error: reqwest::Error) -> Trouble {
    let (what, kind, message) = if is_not_http(&error) {
        let message = "what answered does not speak HTTP: a port for TLS has an address with \
            https://";
        (What::Unreachable, ErrorKind::Network, message)
    } else if is_not_tls(&error) {
        let message = "what answered does not speak TLS: a port without it has an address with \
            http://";
        (What::Unreachable, ErrorKind::Network, message)
    } else if error.is_builder() {
        (What::Unreachable, ErrorKind::InvalidInput, "no request can be made")
    } else if error.is_connect() {
        let kind = if error.is_timeout() { ErrorKind::Timeout } else { ErrorKind::Network };
        (What::Unreachable, kind, "the server cannot be reached")
    } else if error.is_timeout() {
        (What::Cut, ErrorKind::Timeout, "the server did not answer in time")
    } else {
        (What::Cut, ErrorKind::Network, "the link broke before the answer was whole")
    };
    Trouble::new(what, Error::new(kind, message).because(cause(error)))
}

/// Returns the error for a request whose time ran out.
pub(crate) fn too_late() -> Trouble {
    let error = Error::new(ErrorKind::Timeout, "the server did not answer in time");
    Trouble::new(What::Cut, error)
}

/// Returns the error for an answer of another program.
pub(crate) fn foreign(status: StatusCode, headers: &HeaderMap) -> Trouble {
    let kind = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("none");
    let message = "something else answered than a Twotide server: \
        a page that wants a sign-in to the network, or another address is meant";
    let error = Error::new(ErrorKind::Network, message)
        .with("status", status.as_u16())
        .with("content-type", format!("{:?}", shown_text(kind)));
    Trouble::new(What::Foreign, error)
}

/// Returns the error for a redirect to another server: following it would send the token there.
pub(crate) fn elsewhere(status: StatusCode, headers: &HeaderMap) -> Trouble {
    let location = headers.get(LOCATION).and_then(|v| v.to_str().ok()).unwrap_or("nowhere");
    // The query and the fragment may contain a secret.
    let location = location.split(['?', '#']).next().unwrap_or_default();
    let error =
        Error::new(ErrorKind::Network, "the request was redirected, and is not repeated there")
            .with("status", status.as_u16())
            .with("location", format!("{:?}", shown_text(location)));
    Trouble::new(What::Foreign, error)
}

/// Returns the error for a violation of the protocol by the server.
pub(crate) fn broken(message: &'static str) -> Error {
    Error::new(ErrorKind::Protocol, message)
}

/// Parses the seconds of `Retry-After`.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<u64> {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok());
    let wait = transport_kit::retry_after(text(RETRY_AFTER)?, text(DATE), System.now())?;
    Some(wait.as_secs())
}

/// Converts a gateway's refusal into the error of the request: a request that does not reach the
/// server means a lost link.
pub(crate) fn denied(status: u16, error: Error) -> Trouble {
    let is_unreachable = matches!(
        error.kind(),
        ErrorKind::Network | ErrorKind::Timeout | ErrorKind::Unauthenticated
    );
    let error = match error.retry() {
        Retry::Later(None) if is_unreachable => error.retrying(Retry::Reconnect),
        _ => error,
    };
    Trouble::new(What::Denied(status), error)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_gateway_without_a_server_is_a_lost_link_unless_it_requests_a_wait() {
        let timeout = Error::new(ErrorKind::Timeout, "x");
        let later = |after| timeout.clone().retrying(Retry::Later(after));
        assert_eq!(denied(504, later(None)).error.retry(), Retry::Reconnect);
        let asked = Retry::Later(Some(Duration::from_secs(3)));
        assert_eq!(denied(504, timeout.clone().retrying(asked)).error.retry(), asked);
        let full = Error::new(ErrorKind::Overloaded, "x");
        assert_eq!(denied(503, full).error.retry(), Retry::Later(None));
    }
}
