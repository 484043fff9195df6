//! Text that shares a buffer.

use std::fmt;

use bytes::Bytes;

/// Text, often a slice of the buffer that it came in: cheap to clone, and nothing is allocated to
/// read one. Ordered by its bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Text(Bytes);

impl Text {
    pub(super) const fn constant(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }

    pub(super) fn of(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// Makes a text of the bytes, if they are UTF-8.
    pub(super) fn shared(bytes: Bytes) -> Result<Self, std::str::Utf8Error> {
        std::str::from_utf8(&bytes)?;
        Ok(Self(bytes))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the text. Validates the UTF-8 on each call: code that only copies or counts uses the
    /// bytes.
    pub(super) fn as_str(&self) -> &str {
        // The constructors reject bytes that are not UTF-8.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
