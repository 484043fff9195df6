//! Text from editors and other programs: with byte-order marks, and in other encodings than UTF-8.

/// The byte-order mark of UTF-8, which has no meaning.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Returns a text without its byte-order mark.
///
/// # Errors
/// The reason, for a text that begins with the byte-order mark of another encoding.
pub(crate) fn without_mark(bytes: &[u8]) -> Result<&[u8], &'static str> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err("it is UTF-16 by its byte-order mark, and has to be UTF-8: save it as UTF-8");
    }
    Ok(bytes.strip_prefix(MARK).unwrap_or(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_utf_8_mark_is_removed_and_a_utf_16_mark_is_an_error() {
        assert_eq!(without_mark(b"\xef\xbb\xbfa"), Ok(&b"a"[..]));
        assert_eq!(without_mark(b"a"), Ok(&b"a"[..]));
        assert_eq!(without_mark(b""), Ok(&b""[..]));
        for mark in [b"\xff\xfea\0", b"\xfe\xff\0a"] {
            assert!(without_mark(mark).unwrap_err().contains("UTF-16"));
        }
    }
}
