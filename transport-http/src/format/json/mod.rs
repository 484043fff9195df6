//! The JSON of every message: structs that mirror the model with readable names.
//!
//! Requests are read strictly: an unknown or repeated member is an error, because it would
//! otherwise be ignored silently. Answers are read leniently: unknown members come from a later
//! version.
//!
//! Bodies of documents are passed through unchanged, byte for byte. Nothing here uses
//! `serde_json::Value`, flattening or untagged types: so numbers keep their digits, and features of
//! `serde_json` that another crate enables change nothing.

pub(super) mod ack;
pub(super) mod chunk;
pub(super) mod error;
pub(super) mod hello;
pub(super) mod pull;
pub(super) mod push;
pub(super) mod reset;
pub(super) mod verdicts;
pub(super) mod welcome;

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{Body, Digest, DocumentState, Limits, Revision, Scope, Stamp};

fn write_json(json: &impl Serialize) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(128);
    write_json_to(&mut bytes, json)?;
    Ok(bytes)
}

fn write_json_to(bytes: &mut Vec<u8>, json: &impl Serialize) -> Result<()> {
    serde_json::to_writer(bytes, json).map_err(|e| {
        Error::new(ErrorKind::Internal, format!("this cannot be written as JSON: {e}"))
    })
}

fn read_request<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|e| refused(format!("the body is not what is expected: {e}")))
}

fn read_answer<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| {
        Error::new(ErrorKind::Protocol, format!("the answer is not what is expected: {e}"))
    })
}

/// Returns the error for an invalid request. Only its message is sent, so it contains every detail.
fn refused(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

/// Returns the scope, named in the request or in its address.
fn scope_of(own: Option<Scope>, address: Option<&Scope>) -> Result<Scope> {
    own.or_else(|| address.cloned()).ok_or_else(|| refused("the body names no scope"))
}

/// Reads a list of at most this many items. A longer list is rejected while it is parsed, so that a
/// small compressed body cannot use much memory.
fn at_most<'de, const MOST: usize, T, D>(d: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct Counted<T, const MOST: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Counted<T, MOST> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MOST}")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = list.next_element()? {
                if items.len() == MOST {
                    return Err(A::Error::invalid_length(MOST + 1, &self));
                }
                items.push(item);
            }
            Ok(items)
        }
    }

    d.deserialize_seq(Counted::<T, MOST>(PhantomData))
}

/// Reads a member that is present, whatever its value: a body that is `null` is a body.
fn present<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Body>, D::Error> {
    Body::deserialize(d).map(Some)
}

/// Reads a digest from its 32 hexadecimal digits.
pub(super) fn digest<'de, D: Deserializer<'de>>(d: D) -> Result<Digest, D::Error> {
    hexadecimal(d, 32).map(Digest)
}

/// Reads a digest that may be missing.
fn maybe_digest<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Digest>, D::Error> {
    Option::<String>::deserialize(d)?.map(|t| of_hexadecimal(&t, 32).map(Digest)).transpose()
}

fn hexadecimal<'de, D: Deserializer<'de>>(d: D, digits: usize) -> Result<u128, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
    of_hexadecimal(&text, digits)
}

fn of_hexadecimal<E: serde::de::Error>(text: &str, digits: usize) -> Result<u128, E> {
    let are_digits = text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
    let number = u128::from_str_radix(text, 16).ok().filter(|_| are_digits);
    number.ok_or_else(|| E::custom(format!("{digits} hexadecimal digits are expected")))
}

/// A mark of a log as its opaque text.
mod mark {
    use super::{Deserialize, Deserializer};
    use crate::format::cursor::{read_mark, write_mark};
    use serde::{Serializer, de::Error};
    use sync_core::model::LogMark;

    pub(super) fn serialize<S: Serializer>(m: &Option<LogMark>, s: S) -> Result<S::Ok, S::Error> {
        match m {
            Some(mark) => s.serialize_str(&write_mark(mark)),
            None => s.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<LogMark>, D::Error> {
        let text = Option::<std::borrow::Cow<'de, str>>::deserialize(d)?;
        let read = |text: std::borrow::Cow<'de, str>| {
            read_mark(&text).map_err(|e| D::Error::custom(e.message()))
        };
        text.map(read).transpose()
    }
}

/// A cursor as its opaque text.
mod cursor {
    use super::{Deserialize, Deserializer};
    use crate::format::cursor::{read_cursor, write_cursor};
    use serde::{Serializer, de::Error};
    use sync_core::model::Cursor;

    pub(super) fn serialize<S: Serializer>(c: &Cursor, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&write_cursor(c))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Cursor, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        read_cursor(&text).map_err(|e| D::Error::custom(e.message()))
    }
}

/// Returns the author, if it differs from the revision.
fn author_of(state: &DocumentState) -> Option<Revision> {
    Some(state.author).filter(|a| *a != state.revision)
}

/// The erasure in a state: the state itself, or the newest erasure that it includes.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
enum ErasedJson {
    Here(bool),
    Before(Revision),
}

impl ErasedJson {
    fn of(state: &DocumentState) -> Option<Self> {
        let erased = state.erased?;
        Some(if erased == state.revision { Self::Here(true) } else { Self::Before(erased) })
    }

    fn read(json: Option<Self>, revision: Revision) -> Option<Revision> {
        match json? {
            Self::Here(here) => Some(revision).filter(|_| here),
            Self::Before(erased) => Some(erased),
        }
    }
}

/// Makes a state from its members.
fn state<E: serde::de::Error>(
    revision: Revision,
    author: Option<Revision>,
    created: Stamp,
    deleted: bool,
    body: Option<Body>,
    erased: Option<ErasedJson>,
) -> Result<DocumentState, E> {
    if deleted != body.is_none() {
        return Err(E::custom("a document is either deleted or has a body"));
    }
    let (author, erased) = (author.unwrap_or(revision), ErasedJson::read(erased, revision));
    Ok(DocumentState { revision, author, created, body, erased })
}

/// Makes limits, each of which may be missing.
fn limits(documents: Option<usize>, bytes: Option<usize>) -> Limits {
    let most = Limits { documents: usize::MAX, bytes: usize::MAX };
    Limits { documents: documents.unwrap_or(most.documents), bytes: bytes.unwrap_or(most.bytes) }
}

fn maybe_limit(limit: usize) -> Option<usize> {
    Some(limit).filter(|l| *l != usize::MAX)
}

/// Converts a custom error of serde.
fn of_answer(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Protocol, format!("the answer contradicts itself: {error}"))
}

fn custom(message: &str) -> serde_json::Error {
    serde_json::Error::custom(message)
}
