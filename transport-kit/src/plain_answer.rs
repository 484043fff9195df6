//! Servers without TLS behind addresses with TLS.

use std::error::Error;
use std::io;

use rustls::InvalidMessage;

/// Returns whether a TLS handshake failed because the answer was not TLS: as a rule the port speaks
/// plain HTTP.
///
/// The error of TLS may be anywhere among the sources, also inside an [`io::Error`], which does not
/// return it as its source.
#[must_use]
pub fn is_plain_answer(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let within = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(within) = within {
            next = Some(within);
            continue;
        }
        if let Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) =
            error.downcast_ref()
        {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_tls_is_found_within_others() {
        let plain = || rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType);
        assert!(is_plain_answer(&plain()));
        assert!(is_plain_answer(&io::Error::other(plain())));
        assert!(is_plain_answer(&io::Error::other(io::Error::other(plain()))));
        assert!(!is_plain_answer(&io::Error::other("closed")));
        assert!(!is_plain_answer(&rustls::Error::DecryptError));
    }
}
