//! The forms of numbers, texts, bodies and collections of them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{Codec, Reader, malformed, put_bytes};
use crate::error::Result;
use crate::model::Body;

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

/// Reads the rest of a number of more than one byte.
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
        decode_at_most(input, usize::MAX)
    }
}

/// Checks that the list that is read next announces at most so many items; reads nothing of it.
///
/// # Errors
/// `Protocol` if it announces more.
pub(super) fn check_count(input: &Reader, most: usize) -> Result<()> {
    let count = input.clone().size()?;
    if count > most {
        return Err(malformed(format!("{count} items are announced, and {most} are the most")));
    }
    Ok(())
}

/// Reads a list of at most so many items.
///
/// # Errors
/// `Protocol`, before any item is read, if it has more, or if the bytes cannot hold as many as it
/// announces.
pub(super) fn decode_at_most<T: Codec>(input: &mut Reader, most: usize) -> Result<Vec<T>> {
    check_count(input, most)?;
    let count = input.size()?;
    if count > input.remaining() {
        return Err(malformed(format!(
            "{count} items are announced, {} bytes are left",
            input.remaining()
        )));
    }
    // A false count must not allocate more than a small multiple of the input.
    let mut items = Vec::with_capacity(count.min(1 + input.remaining() / 16));
    for _ in 0..count {
        items.push(T::decode(input)?);
    }
    Ok(items)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
