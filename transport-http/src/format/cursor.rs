//! Cursors as text, and their entity tags.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sync_core::codec::Codec;
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{Cursor, Epoch, LogMark, Seq};

/// Returns a cursor as opaque text, for addresses and JSON.
#[must_use]
pub fn write_cursor(cursor: &Cursor) -> String {
    URL_SAFE_NO_PAD.encode(cursor.to_bytes())
}

/// Reads a cursor from its text. Empty text is the beginning, like a missing cursor.
///
/// # Errors
/// `InvalidInput` for an invalid cursor.
pub fn read_cursor(text: &str) -> Result<Cursor> {
    if text.is_empty() {
        return Ok(Cursor::default());
    }
    let no_cursor = |why: String| Error::new(ErrorKind::InvalidInput, format!("no cursor: {why}"));
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|e| no_cursor(e.to_string()))?;
    Cursor::from_bytes(bytes.into()).map_err(|e| no_cursor(e.message().to_owned()))
}

/// Returns a mark of a log as opaque text, for JSON.
#[must_use]
pub(super) fn write_mark(mark: &LogMark) -> String {
    URL_SAFE_NO_PAD.encode(mark.to_bytes())
}

/// Reads a mark of a log from its text.
///
/// # Errors
/// `InvalidInput` for an invalid mark.
pub(super) fn read_mark(text: &str) -> Result<LogMark> {
    let no_mark = |why: String| Error::new(ErrorKind::InvalidInput, format!("no mark: {why}"));
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|e| no_mark(e.to_string()))?;
    LogMark::from_bytes(bytes.into()).map_err(|e| no_mark(e.message().to_owned()))
}

/// Returns the entity tag of a reader's position.
#[must_use]
pub fn entity_tag(epoch: Epoch, position: Seq) -> String {
    format!("\"{epoch}-{position}\"")
}

/// Returns whether an `If-None-Match` names that tag. Weak tags count: a gateway may have made ours
/// weak.
#[must_use]
pub fn has_entity_tag(if_none_match: &str, tag: &str) -> bool {
    // Our tags contain no commas, so a tag that is split here is another one.
    if_none_match.split(',').any(|t| {
        let t = t.trim();
        t.strip_prefix("W/").unwrap_or(t) == tag
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_no_cursor_is_refused() {
        assert_eq!(read_cursor("").unwrap(), Cursor::default());
        for bad in ["!", "AAA=", "AAAA", "AAAAAAAAAAAA\n", "ä"] {
            assert_eq!(read_cursor(bad).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad:?}");
        }
    }

    #[test]
    fn a_tag_is_found_among_others() {
        let tag = entity_tag(Epoch([0xab; 16]), Seq(7));
        assert_eq!(tag, "\"abababababababababababababababab-7\"");
        assert!(has_entity_tag(&tag, &tag));
        assert!(has_entity_tag(&format!("\"x\" ,W/{tag}"), &tag));
        for other in ["*", "", "\"abababababababababababababababab-70\"", tag.trim_matches('"')] {
            assert!(!has_entity_tag(other, &tag), "{other}");
        }
    }
}
