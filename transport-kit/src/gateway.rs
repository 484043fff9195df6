//! HTTP answers that do not come from the server: of a gateway, a proxy, or the sign-in page of a
//! network.

use sync_core::error::ErrorKind;

/// The most characters of such an answer that an error repeats.
const SHOWN: usize = 200;

/// Returns the kind of an error for the status of such an answer, if the request had no body. No
/// such error is permanent.
#[must_use]
pub fn gateway_error(status: u16) -> ErrorKind {
    match status {
        401 => ErrorKind::Unauthenticated,
        408 | 504 => ErrorKind::Timeout,
        429 | 503 => ErrorKind::Overloaded,
        404 | 410 => ErrorKind::NotFound,
        403 | 407 | 500.. => ErrorKind::Network,
        _ => ErrorKind::Protocol,
    }
}

/// Returns the beginning of a foreign text, without control characters.
///
/// ```
/// assert_eq!(transport_kit::shown_text("a\u{7}b"), "ab");
/// assert_eq!(transport_kit::shown_text(&"x".repeat(1_000)).len(), 200);
/// ```
#[must_use]
pub fn shown_text(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}
