//! The binary form of everything: one set of rules for the wire and for what key-value backends store.
//!
//! Integers are LEB128 varints, texts and bodies are length-prefixed, options are a byte 0 or 1, lists are a count and
//! their items, enums are a byte and their fields; PROTOCOL.md gives every type. Decoding checks everything it reads,
//! allocates no more than the input is long, and never panics. Bodies are slices of the buffer they came in.

mod model;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::model::{Body, Collection};

/// Something that has a binary form.
pub trait Codec: Sized {
    /// Appends the binary form.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads one value.
    ///
    /// # Errors
    /// `Protocol` if the bytes are not the form of a valid value.
    fn decode(input: &mut Reader) -> Result<Self>;

    /// The binary form as bytes of their own.
    fn to_bytes(&self) -> Bytes {
        let mut out = Vec::new();
        self.encode(&mut out);
        out.into()
    }

    /// Reads a value that fills the bytes to their end.
    ///
    /// # Errors
    /// `Protocol` if the bytes are not the form of a valid value, or go on after it.
    fn from_bytes(bytes: Bytes) -> Result<Self> {
        let mut input = Reader::new(bytes);
        let value = Self::decode(&mut input)?;
        input.finish()?;
        Ok(value)
    }
}

/// The error for bytes that are not what they should be.
pub(crate) fn malformed(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Protocol, what).during("decode")
}

#[cold]
fn too_short(wanted: usize, left: usize) -> Error {
    malformed(format!("{wanted} bytes are announced, {left} are left"))
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|e| malformed("a text is not UTF-8").because(e))
}

/// A place in a buffer that is being decoded.
#[derive(Debug)]
pub struct Reader {
    bytes: Bytes,
    /// What was read of them.
    at: usize,
    /// The collection read last: neighbours mostly share it, so they share its allocation too.
    collection: Option<Collection>,
}

impl Reader {
    /// Starts at the beginning.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes, at: 0, collection: None }
    }

    /// How many bytes are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Goes on by `n` bytes; where they begin.
    #[inline]
    fn skip(&mut self, n: usize) -> Result<usize> {
        let left = self.remaining();
        if n > left {
            return Err(too_short(n, left));
        }
        self.at += n;
        Ok(self.at - n)
    }

    /// The next `n` bytes, as a slice of the buffer.
    ///
    /// # Errors
    /// `Protocol` if there are fewer.
    pub fn take(&mut self, n: usize) -> Result<Bytes> {
        let start = self.skip(n)?;
        Ok(self.bytes.slice(start..start + n))
    }

    /// The next byte.
    ///
    /// # Errors
    /// `Protocol` at the end.
    #[inline]
    pub fn byte(&mut self) -> Result<u8> {
        let Some(byte) = self.bytes.get(self.at) else { return Err(too_short(1, 0)) };
        self.at += 1;
        Ok(*byte)
    }

    /// The next `N` bytes.
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

    /// A varint that is used as a size in memory.
    ///
    /// # Errors
    /// `Protocol` if it does not fit.
    pub fn size(&mut self) -> Result<usize> {
        usize::try_from(u64::decode(self)?)
            .map_err(|_| malformed("a size does not fit into memory"))
    }

    /// Length-prefixed bytes.
    ///
    /// # Errors
    /// `Protocol` if the buffer is shorter.
    pub fn bytes(&mut self) -> Result<Bytes> {
        let n = self.size()?;
        self.take(n)
    }

    /// Length-prefixed text, borrowed for as long as the closure runs.
    fn text<T>(&mut self, read: impl FnOnce(&str) -> Result<T>) -> Result<T> {
        let n = self.size()?;
        let start = self.skip(n)?;
        read(utf8(&self.bytes[start..start + n])?)
    }

    fn collection(&mut self) -> Result<Collection> {
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
    /// `Protocol` if something is.
    pub fn finish(&self) -> Result<()> {
        match self.remaining() {
            0 => Ok(()),
            n => Err(malformed(format!("{n} bytes follow after the end"))),
        }
    }
}

/// Appends a length and the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    (bytes.len() as u64).encode(out);
    out.extend_from_slice(bytes);
}

impl Codec for u64 {
    fn encode(&self, out: &mut Vec<u8>) {
        let mut rest = *self;
        while rest >= 0x80 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }

    #[inline]
    fn decode(input: &mut Reader) -> Result<Self> {
        // Most numbers are small.
        let first = input.byte()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        long_number(first, input)
    }
}

/// The rest of a number of more than one byte.
fn long_number(first: u8, input: &mut Reader) -> Result<u64> {
    let mut value = u64::from(first & 0x7f);
    for shift in (7..64).step_by(7) {
        let byte = input.byte()?;
        let part = u64::from(byte & 0x7f);
        if shift == 63 && part > 1 {
            break;
        }
        value |= part << shift;
        if byte < 0x80 {
            // One value has one form: no padding with empty groups.
            return if byte == 0 { Err(malformed("a padded number")) } else { Ok(value) };
        }
    }
    Err(malformed("a number does not fit into 64 bits"))
}

impl Codec for u128 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }
    fn decode(input: &mut Reader) -> Result<Self> {
        input.array().map(Self::from_be_bytes)
    }
}

impl Codec for u32 {
    fn encode(&self, out: &mut Vec<u8>) {
        u64::from(*self).encode(out);
    }
    fn decode(input: &mut Reader) -> Result<Self> {
        Self::try_from(u64::decode(input)?)
            .map_err(|_| malformed("a number does not fit into 32 bits"))
    }
}

impl Codec for usize {
    fn encode(&self, out: &mut Vec<u8>) {
        (*self as u64).encode(out);
    }
    fn decode(input: &mut Reader) -> Result<Self> {
        input.size()
    }
}

impl Codec for i64 {
    fn encode(&self, out: &mut Vec<u8>) {
        // Zigzag: small numbers of either sign stay short.
        (((self << 1) ^ (self >> 63)) as u64).encode(out);
    }
    fn decode(input: &mut Reader) -> Result<Self> {
        let n = u64::decode(input)?;
        Ok((n >> 1) as i64 ^ -((n & 1) as i64))
    }
}

impl Codec for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn decode(input: &mut Reader) -> Result<Self> {
        match input.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            n => Err(malformed(format!("{n} is neither 0 nor 1"))),
        }
    }
}

impl Codec for String {
    fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.as_bytes());
    }
    fn decode(input: &mut Reader) -> Result<Self> {
        input.text(|t| Ok(t.to_owned()))
    }
}

impl Codec for Bytes {
    fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, self);
    }
    fn decode(input: &mut Reader) -> Result<Self> {
        input.bytes()
    }
}

impl Codec for Body {
    fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.as_bytes());
    }
    fn decode(input: &mut Reader) -> Result<Self> {
        Self::trusted(input.bytes()?)
    }
}

impl<T: Codec> Codec for Option<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.is_some().encode(out);
        if let Some(value) = self {
            value.encode(out);
        }
    }
    fn decode(input: &mut Reader) -> Result<Self> {
        Ok(if bool::decode(input)? { Some(T::decode(input)?) } else { None })
    }
}

impl<T: Codec> Codec for Box<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        (**self).encode(out);
    }
    fn decode(input: &mut Reader) -> Result<Self> {
        Ok(Self::new(T::decode(input)?))
    }
}

impl<A: Codec, B: Codec> Codec for (A, B) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
    }
    fn decode(input: &mut Reader) -> Result<Self> {
        Ok((A::decode(input)?, B::decode(input)?))
    }
}

impl<T: Codec> Codec for Vec<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.len().encode(out);
        for item in self {
            item.encode(out);
        }
    }
    fn decode(input: &mut Reader) -> Result<Self> {
        let count = input.size()?;
        if count > input.remaining() {
            return Err(malformed(format!(
                "{count} items are announced, {} bytes are left",
                input.remaining()
            )));
        }
        // A lying count must not allocate more than a small multiple of the input.
        let mut items = Self::with_capacity(count.min(1 + input.remaining() / 16));
        for _ in 0..count {
            items.push(T::decode(input)?);
        }
        Ok(items)
    }
}

impl<K: Codec + Ord, V: Codec> Codec for BTreeMap<K, V> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.len().encode(out);
        for (key, value) in self {
            key.encode(out);
            value.encode(out);
        }
    }
    fn decode(input: &mut Reader) -> Result<Self> {
        let pairs = Vec::<(K, V)>::decode(input)?;
        // One value has one form: ascending, and no key twice.
        if pairs.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
            return Err(malformed("the keys of a map are not in order"));
        }
        Ok(pairs.into_iter().collect())
    }
}

impl<T: Codec + Ord> Codec for BTreeSet<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.len().encode(out);
        for item in self {
            item.encode(out);
        }
    }
    fn decode(input: &mut Reader) -> Result<Self> {
        let items = Vec::<T>::decode(input)?;
        // One value has one form: ascending, and none twice.
        if items.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(malformed("the items of a set are not in order"));
        }
        Ok(items.into_iter().collect())
    }
}

/// Gives a struct the form of its fields, one after the other. Those behind a bar have no form: they are read as their
/// defaults.
macro_rules! codec_struct {
    ($($type:ident { $($field:ident),* $(,)? $(| $($left_out:ident),*)? })*) => {$(
        impl $crate::codec::Codec for $type {
            fn encode(&self, out: &mut Vec<u8>) {
                $($crate::codec::Codec::encode(&self.$field, out);)*
            }
            fn decode(input: &mut $crate::codec::Reader) -> $crate::error::Result<Self> {
                Ok(Self {
                    $($field: $crate::codec::Codec::decode(input)?,)*
                    $($($left_out: Default::default(),)*)?
                })
            }
        }
    )*};
}

/// Gives an enum the form of one byte for the variant and then its fields.
macro_rules! codec_enum {
    ($type:ident { $($tag:literal => $variant:ident $({ $($field:ident),* })? $(( $inner:ident ))?),* $(,)? }) => {
        impl $crate::codec::Codec for $type {
            fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant $({ $($field),* })? $(( $inner ))? => {
                        out.push($tag);
                        $($($crate::codec::Codec::encode($field, out);)*)?
                        $($crate::codec::Codec::encode($inner, out);)?
                    })*
                }
            }
            fn decode(input: &mut $crate::codec::Reader) -> $crate::error::Result<Self> {
                match input.byte()? {
                    $($tag => Ok(Self::$variant
                        $({ $($field: $crate::codec::Codec::decode(input)?),* })?
                        $(({ let $inner = $crate::codec::Codec::decode(input)?; $inner }))?
                    ),)*
                    n => Err($crate::codec::malformed(
                        format!(concat!("{} is no ", stringify!($type)), n),
                    )),
                }
            }
        }
    };
}

pub(crate) use {codec_enum, codec_struct};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_number_has_one_form() {
        for (n, form) in [
            (0, &[0][..]),
            (127, &[127]),
            (128, &[0x80, 1]),
            (u64::MAX, &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
        ] {
            assert_eq!(&u64::to_bytes(&n)[..], form);
        }
        for bad in [
            &[0x80, 0][..],
            &[0x80],
            &[255, 255, 255, 255, 255, 255, 255, 255, 255, 2],
            &[0x80; 11],
        ] {
            assert!(u64::from_bytes(Bytes::copy_from_slice(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_lying_count_is_refused_before_anything_is_allocated() {
        let mut form = Vec::new();
        (u64::MAX >> 1).encode(&mut form);
        assert!(Vec::<u64>::from_bytes(form.into()).is_err());
    }

    #[test]
    fn a_map_has_one_form() {
        for (pairs, is_good) in [
            (vec![(1u64, 1u64), (2, 2)], true),
            (vec![(2, 2), (1, 1)], false),
            (vec![(1, 1), (1, 2)], false),
        ] {
            assert_eq!(BTreeMap::<u64, u64>::from_bytes(pairs.to_bytes()).is_ok(), is_good);
        }
    }

    proptest! {
        #[test]
        fn numbers_survive(n: u64, i: i64) {
            prop_assert_eq!(u64::from_bytes(n.to_bytes()).unwrap(), n);
            prop_assert_eq!(i64::from_bytes(i.to_bytes()).unwrap(), i);
        }
    }
}
