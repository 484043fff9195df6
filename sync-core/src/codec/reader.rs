//! A reader of a buffer that is decoded.

use bytes::Bytes;

use super::{Codec, malformed, model};
use crate::error::{Error, Result};
use crate::model::Collection;

#[cold]
fn too_short(wanted: usize, left: usize) -> Error {
    malformed(format!("{wanted} bytes are announced, {left} are left"))
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|e| malformed("a text is not UTF-8").because(e))
}

/// A reader of a buffer that is decoded.
#[derive(Clone, Debug)]
pub struct Reader {
    bytes: Bytes,
    /// How many of them were read.
    at: usize,
    /// The collection read last: neighbours mostly share it, and so its allocation.
    collection: Option<Collection>,
}

impl Reader {
    /// Makes a reader that starts at the beginning.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes, at: 0, collection: None }
    }

    /// Returns how many bytes are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Advances by `n` bytes, and returns where they begin.
    #[inline]
    fn skip(&mut self, n: usize) -> Result<usize> {
        let left = self.remaining();
        if n > left {
            return Err(too_short(n, left));
        }
        self.at += n;
        Ok(self.at - n)
    }

    /// Reads the next `n` bytes, as a slice of the buffer.
    ///
    /// # Errors
    /// `Protocol` if there are fewer.
    pub fn take(&mut self, n: usize) -> Result<Bytes> {
        let start = self.skip(n)?;
        Ok(self.bytes.slice(start..start + n))
    }

    /// Reads the next byte.
    ///
    /// # Errors
    /// `Protocol` at the end.
    #[inline]
    pub fn byte(&mut self) -> Result<u8> {
        let Some(byte) = self.bytes.get(self.at) else { return Err(too_short(1, 0)) };
        self.at += 1;
        Ok(*byte)
    }

    /// Reads the next `N` bytes.
    ///
    /// # Errors
    /// `Protocol` if there are fewer.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some(array) = rest.first_chunk::<N>() else { return Err(too_short(N, rest.len())) };
        self.at += N;
        Ok(*array)
    }

    /// Reads a varint that is used as a size in memory.
    ///
    /// # Errors
    /// `Protocol` if it does not fit.
    pub fn size(&mut self) -> Result<usize> {
        usize::try_from(u64::decode(self)?)
            .map_err(|_| malformed("a size does not fit into memory"))
    }

    /// Reads length-prefixed bytes.
    ///
    /// # Errors
    /// `Protocol` if the buffer is shorter.
    pub fn bytes(&mut self) -> Result<Bytes> {
        let n = self.size()?;
        self.take(n)
    }

    /// Reads length-prefixed text, borrowed for as long as the closure runs.
    pub(super) fn text<T>(&mut self, read: impl FnOnce(&str) -> Result<T>) -> Result<T> {
        let n = self.size()?;
        let start = self.skip(n)?;
        read(utf8(&self.bytes[start..start + n])?)
    }

    /// Reads length-prefixed text that names a collection.
    pub(super) fn collection(&mut self) -> Result<Collection> {
        let last = self.collection.take();
        let n = self.size()?;
        let start = self.skip(n)?;
        let name = &self.bytes[start..start + n];
        let read = match last {
            Some(last) if last.as_bytes() == name => last,
            _ => Collection::new(utf8(name)?).map_err(model::no_name)?,
        };
        self.collection = Some(read.clone());
        Ok(read)
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// `Protocol` if something is left.
    pub fn finish(&self) -> Result<()> {
        match self.remaining() {
            0 => Ok(()),
            n => Err(malformed(format!("{n} bytes follow after the end"))),
        }
    }
}
