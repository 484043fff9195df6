//! The position of a replica in a custom backend.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};

/// A position in a custom backend: a change token, a pair of time and id, the name of a page. Only
/// the backend can interpret it. It is stored with the documents that it covers, and sent with the
/// next request.
///
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bookmark(Arc<str>);

impl Bookmark {
    /// The longest bookmark, in bytes of UTF-8: 4 KiB.
    pub const MAX_BYTES: usize = 4 << 10;

    /// Makes a bookmark of the backend's text.
    ///
    /// # Errors
    /// `InvalidInput` if it is longer than [`Self::MAX_BYTES`].
    pub fn new(text: impl AsRef<str>) -> Result<Self> {
        let text = text.as_ref();
        if text.len() > Self::MAX_BYTES {
            let most = Self::MAX_BYTES;
            let what = format!("a bookmark of {} bytes is over the limit of {most}", text.len());
            return Err(Error::new(ErrorKind::InvalidInput, what));
        }
        Ok(Self(Arc::from(text)))
    }

    /// Returns the bookmark as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Bookmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Bookmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// The bookmarks at the start and the end of a custom backend's chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bookmarks {
    /// The bookmark of the request; none at the beginning.
    pub after: Option<Bookmark>,
    /// The bookmark of the next request.
    pub next: Option<Bookmark>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bookmark_is_bounded() {
        assert_eq!(Bookmark::new("x".repeat(4_096)).unwrap().as_str().len(), 4_096);
        let error = Bookmark::new("x".repeat(4_097)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}
