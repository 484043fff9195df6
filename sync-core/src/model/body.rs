//! Document bodies: JSON that is carried as the bytes it was written in.

use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::portable;
use crate::error::{Error, ErrorKind, Result};

/// The JSON text of a document, kept byte for byte: big numbers keep their digits, keys their
/// order.
///
/// Cheap to clone: many bodies may share one buffer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Body(Bytes);

impl Body {
    /// Parses JSON text from an app or a file.
    ///
    /// # Errors
    /// `InvalidInput`, with the place, if it is not one JSON value, or is nested deeper than
    /// [`DEPTH`](Self::DEPTH).
    pub fn parse(text: impl Into<Bytes>) -> Result<Self> {
        let bytes = text.into();
        match serde_json::from_slice::<IgnoredAny>(&bytes) {
            // IgnoredAny skips strings without checking their encoding, so it is checked here.
            Ok(_) => Self::trusted(bytes)?.portable(),
            Err(e) => {
                Err(Error::new(ErrorKind::InvalidInput, "the body is not valid JSON").because(e))
            }
        }
    }

    /// The deepest nesting of arrays and objects.
    pub const DEPTH: usize = portable::DEPTH;

    fn portable(self) -> Result<Self> {
        if self.depth() > Self::DEPTH {
            let message = format!("the body is nested deeper than {} levels", Self::DEPTH);
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        Ok(self)
    }

    /// Returns how deep its arrays and objects are nested: 0 for a number, 1 for `[1]`.
    #[must_use]
    pub fn depth(&self) -> usize {
        portable::oddities(&self.0).depth
    }

    /// Returns whether a string or a key in it holds half of a surrogate pair, which some readers
    /// of JSON reject.
    #[must_use]
    pub fn has_half_pair(&self) -> bool {
        portable::oddities(&self.0).has_half_pair
    }

    /// Makes a body of bytes that were [parsed](Self::parse) before, by this side or by the server.
    /// Checks only their encoding.
    ///
    /// # Errors
    /// `Protocol` if they are not UTF-8.
    pub fn trusted(bytes: Bytes) -> Result<Self> {
        match std::str::from_utf8(&bytes) {
            Ok(_) => Ok(Self(bytes)),
            Err(e) => Err(Error::new(ErrorKind::Protocol, "the body is not UTF-8").because(e)),
        }
    }

    /// Returns the same text in a separate buffer. A body may share its buffer with a whole
    /// message, which stays in memory as long as the body, so a body that is kept is detached.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    /// Serializes a value as JSON.
    ///
    /// # Errors
    /// `InvalidInput` if it has no JSON form (for example a map with keys that are not strings), or
    /// is nested deeper than [`DEPTH`](Self::DEPTH).
    pub fn from_value(value: &impl Serialize) -> Result<Self> {
        match serde_json::to_vec(value) {
            Ok(text) => Self(text.into()).portable(),
            Err(e) => {
                Err(Error::new(ErrorKind::InvalidInput, "the value has no JSON form").because(e))
            }
        }
    }

    /// Deserializes the JSON into a type.
    ///
    /// # Errors
    /// `InvalidInput` if the JSON is not of that type.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.0).map_err(|e| {
            Error::new(ErrorKind::InvalidInput, "the body is not of the requested type").because(e)
        })
    }

    /// Returns the JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // The constructors reject bytes that are not UTF-8.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Returns the JSON text as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Returns the length in bytes.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "JSON is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.as_str();
        match text.char_indices().nth(80) {
            Some((end, _)) => write!(f, "{}… ({} bytes)", &text[..end], text.len()),
            None => f.write_str(text),
        }
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let raw: &serde_json::value::RawValue =
            serde_json::from_str(self.as_str()).map_err(serde::ser::Error::custom)?;
        raw.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let raw = Box::<serde_json::value::RawValue>::deserialize(d)?;
        Self::trusted(Bytes::from(raw.get().to_owned())).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_keeps_its_bytes() {
        let text = r#"{"b":1,"a":123456789012345678901234567890.10}"#;
        let body = Body::parse(text).unwrap();
        assert_eq!(body.as_str(), text);
        assert_eq!(serde_json::to_string(&body).unwrap(), text);
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for bad in ["", "{", "{}x", "nul", "\"\u{1}\""] {
            assert!(Body::parse(bad.to_owned()).is_err(), "{bad:?}");
        }
        assert!(Body::parse(Bytes::from_static(b"\"\xff\"")).is_err());
    }
}
