//! The binary form of all types: one set of rules for the wire and for key-value backends.
//!
//! Integers are LEB128 varints, texts and bodies are length-prefixed, options are a byte 0 or 1,
//! lists are a count and their items, enums are a byte and their fields; PROTOCOL.md gives every
//! type. Decoding checks everything it reads, allocates no more than the input is long, and never
//! panics. Bodies are slices of the input buffer.

mod model;
mod reader;
mod values;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};

pub(crate) use model::{decode_digest_and_mark, encode_digest_and_mark};
pub use reader::Reader;

/// A type that has a binary form.
pub trait Codec: Sized {
    /// Appends the binary form.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads one value.
    ///
    /// # Errors
    /// `Protocol` if the bytes are not the form of a valid value.
    fn decode(input: &mut Reader) -> Result<Self>;

    /// Returns the binary form in a separate buffer.
    fn to_bytes(&self) -> Bytes {
        let mut out = Vec::new();
        self.encode(&mut out);
        out.into()
    }

    /// Reads a value that must fill the bytes.
    ///
    /// # Errors
    /// `Protocol` if the bytes are not the form of a valid value, or continue after it.
    fn from_bytes(bytes: Bytes) -> Result<Self> {
        let mut input = Reader::new(bytes);
        let value = Self::decode(&mut input)?;
        input.finish()?;
        Ok(value)
    }
}

/// Makes the error for malformed bytes.
pub fn malformed(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Protocol, what).during("decode")
}

/// Appends a length and the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    (bytes.len() as u64).encode(out);
    out.extend_from_slice(bytes);
}

/// Implements `Codec` for a struct: its fields, one after the other. Fields behind a bar are not
/// encoded: they are read as their defaults.
#[doc(hidden)]
#[macro_export]
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

/// Implements `Codec` for an enum: one byte for the variant, and then its fields.
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

pub(crate) use codec_enum;
#[doc(hidden)]
pub use codec_struct;
