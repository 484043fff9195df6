//! The place of a replica in a backend that has no positions of ours.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};

/// How far a custom backend says that a replica has come: a change token, a pair of time and id, a
/// page's name. Only the backend knows what it means. It is stored with the documents that it
/// covers, and handed back with the next request.
///
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bookmark(Arc<str>);

impl Bookmark {
    /// The longest bookmark, in bytes of UTF-8: 4 KiB.
    pub const MAX_BYTES: usize = 4 << 10;

    /// Takes a bookmark as the backend gave it.
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

    /// The bookmark as text.
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

/// The bookmarks between which a custom backend's chunk lies.
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
