//! Addresses of servers, as users type them.

use sync_core::error::{Error, ErrorKind, Result};

/// Returns an address in normal form, for further parsing: without blanks around it, and with its
/// scheme in lower case.
///
/// A path is the prefix of the server's routes, over every transport. A query, a fragment and a
/// password are refused: they do not belong to the address of a server, and would be written to
/// logs.
///
/// # Errors
/// `InvalidInput`. The message contains the address without parts that may be secret.
///
/// ```
/// use transport_kit::normalized_address;
/// assert_eq!(normalized_address(" HTTPS://sync.example/team ")?, "https://sync.example/team");
/// let error = normalized_address("https://sync.example/?token=secret").unwrap_err().to_string();
/// assert!(error.contains("sync.example") && !error.contains("secret"), "{error}");
/// # Ok::<(), sync_core::error::Error>(())
/// ```
pub fn normalized_address(text: &str) -> Result<String> {
    let text = text.trim();
    let refuse = |what: &str| {
        let error =
            Error::new(ErrorKind::InvalidInput, format!("a server's address has no {what}"));
        Err(error.with("url", shown_address(text)))
    };
    if text.contains('?') {
        return refuse("query: give a token with the option for it");
    }
    if text.contains('#') {
        return refuse("fragment");
    }
    let Some((scheme, rest)) = text.split_once("://") else { return Ok(text.to_owned()) };
    if rest.split('/').next().is_some_and(|authority| authority.contains('@')) {
        return refuse("password");
    }
    Ok(format!("{}://{rest}", scheme.to_ascii_lowercase()))
}

/// Returns an address for messages: without a password, a query and a fragment, which may be
/// secrets.
#[must_use]
pub fn shown_address(text: &str) -> String {
    let end = text.find(['?', '#']).unwrap_or(text.len());
    let text = &text[..end];
    match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            format!("{}{}", &text[..scheme + 3], &text[at + 1..])
        }
        (None, Some(at)) => text[at + 1..].to_owned(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_an_address_are_refused_and_not_shown() {
        for (text, shown) in [
            ("http://ann:secret@h:1/x", "http://h:1/x"),
            ("ws://h/?token=secret", "ws://h/"),
            ("ws://h/#secret", "ws://h/"),
            ("h?secret", "h"),
        ] {
            assert_eq!(shown_address(text), shown);
            let error = normalized_address(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            let told = error.to_string();
            assert!(told.contains(shown) && !told.contains("secret"), "{told}");
        }
        assert_eq!(normalized_address("WSS://Host:443/A/b").unwrap(), "wss://Host:443/A/b");
        assert_eq!(normalized_address("http://h/a@b").unwrap(), "http://h/a@b");
    }
}
