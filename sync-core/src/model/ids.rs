//! Identities: names that the app chooses, and numbers and random ids that replicas and servers
//! generate.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::text::Text;
use crate::error::{Error, ErrorKind, Result};

/// Checks a name that an app chose: never empty, bounded, free of control characters (so that keys,
/// logs and terminals can contain it unchanged).
fn check_name(what: &'static str, max: usize, name: &str) -> Result<()> {
    let problem = if name.is_empty() {
        "it is empty".to_owned()
    } else if name.len() > max {
        format!("it has {} bytes and {max} is the most", name.len())
    } else if name.bytes().fold(true, |plain, b| plain & matches!(b, 0x20..0x7f)) {
        // The fold reads to the end in any case, so that it checks many bytes at a time.
        return Ok(());
    } else if let Some(bad) = name.chars().find(|c| c.is_control()) {
        format!("it contains the control character U+{:04X}", bad as u32)
    } else {
        return Ok(());
    };
    let shown: String = name.chars().take(40).collect();
    Err(Error::new(ErrorKind::InvalidInput, format!("not a valid {what}: {problem}"))
        .with("name", format!("{shown:?}")))
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal) => {
        $(#[$doc])*
        ///
        /// Cheap to clone. Ordered by its bytes.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Text);

        impl $name {
            /// The longest name, in bytes of UTF-8.
            pub const MAX_BYTES: usize = $max;

            /// Makes a name of text.
            ///
            /// # Errors
            /// `InvalidInput` if it is empty, longer than [`Self::MAX_BYTES`] or contains a
            /// control character.
            pub fn new(name: impl AsRef<str>) -> Result<Self> {
                let name = name.as_ref();
                check_name($what, Self::MAX_BYTES, name)?;
                Ok(Self(Text::of(name)))
            }

            /// Returns the name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }

            /// Returns the name in bytes of UTF-8. It costs nothing, while [`as_str`](Self::as_str)
            /// validates each of them.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8] {
                self.0.as_bytes()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(s: &str) -> Result<Self> {
                Self::new(s)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                Self::new(text).map_err(de::Error::custom)
            }
        }
    };
}

name_type!(
    /// A unit of what a client may see: a user, a room, a tenant. Every scope has a separate change
    /// log.
    Scope, "scope", 128
);
name_type!(
    /// The name of a group of documents within a scope.
    Collection, "collection", 128
);
name_type!(
    /// The id of a document, unique within its collection.
    DocumentId, "document id", 512
);

impl Default for Scope {
    /// Returns the scope that is used if none is named: `default`.
    fn default() -> Self {
        Self(Text::constant("default"))
    }
}

impl Scope {
    /// Returns the scope in which a replica keeps the documents of local-only collections:
    /// `$local`. No replica syncs it, and no server serves it.
    #[must_use]
    pub fn local() -> Self {
        Self(Text::constant(Self::LOCAL))
    }

    /// Returns whether this is [`local`](Self::local), which never leaves a device.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.as_bytes() == Self::LOCAL.as_bytes()
    }

    const LOCAL: &str = "$local";
}

impl DocumentId {
    /// As [`Self::new`], without a copy: documents arrive by the thousand in one buffer, each with
    /// an id.
    ///
    /// # Errors
    /// As [`Self::new`], and if it is not UTF-8.
    pub(crate) fn shared(name: Bytes) -> Result<Self> {
        let text = Text::shared(name).map_err(|e| {
            Error::new(ErrorKind::InvalidInput, "not a valid document id: it is not UTF-8")
                .because(e)
        })?;
        check_name("document id", Self::MAX_BYTES, text.as_str())?;
        Ok(Self(text))
    }

    /// Makes a time-ordered id (UUID version 7, RFC 9562) from a time in Unix milliseconds and
    /// ten random bytes. Ids made in a later millisecond sort after earlier ones, which keeps bulk
    /// writes next to each other in a storage's index.
    #[must_use]
    pub fn time_ordered(millis: u64, random: &[u8; 10]) -> Self {
        let id = uuid::Builder::from_unix_timestamp_millis(millis, random).into_uuid();
        Self(Text::of(id.hyphenated().encode_lower(&mut [0; 36])))
    }
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        ///
        /// 128 random bits, shown as 32 hexadecimal digits.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", u128::from_be_bytes(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(s: &str) -> Result<Self> {
                let digits = s.len() == 32 && s.bytes().all(|b| b.is_ascii_hexdigit());
                match u128::from_str_radix(s, 16) {
                    Ok(n) if digits => Ok(Self(n.to_be_bytes())),
                    _ => Err(Error::new(
                        ErrorKind::InvalidInput,
                        concat!("not a valid ", $what, ": 32 hexadecimal digits are expected"),
                    )
                    .with("text", format!("{s:?}"))),
                }
            }
        }

        serde_as_text!($name);
    };
}

random_id!(
    /// The identity of one copy of the data on one device.
    ReplicaId, "replica id"
);
random_id!(
    /// The identity of one life of a scope's log. In a new epoch, old positions are not valid
    /// beyond its cut.
    Epoch, "epoch"
);

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// Returns the next number (saturating: the counters are 64 bits wide).
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

counter!(
    /// The position that the server gives an accepted change in its scope's log: commit order,
    /// never a clock. The first is 1; 0 is before all of them.
    Seq
);
counter!(
    /// Names a push batch. A counter of the replica that only grows; 0 stands for "none yet".
    PushId
);
counter!(
    /// Orders what became visible on one replica, local writes and remote changes alike. The first
    /// is 1.
    LocalSeq
);
counter!(
    /// The generation of an engine lease (also known as: fencing token): a holder of an older one
    /// cannot change anything any more.
    FencingToken
);
counter!(
    /// One start of a server process, a random number. It is stored with positions, and reveals a
    /// log that was restored from a backup without an announcement.
    ServerStart
);

/// Where a document lives: (scope, collection, id).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DocumentKey {
    /// The scope.
    pub scope: Scope,
    /// The collection within the scope.
    pub collection: Collection,
    /// The id within the collection.
    pub id: DocumentId,
}

impl DocumentKey {
    /// Makes a key of the three.
    #[must_use]
    pub fn new(scope: Scope, collection: Collection, id: DocumentId) -> Self {
        Self { scope, collection, id }
    }
}

impl fmt::Display for DocumentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.scope, self.collection, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_bounded_and_printable() {
        assert!(Scope::new("room 7/ä").is_ok());
        assert!(Scope::new("").is_err());
        assert!(Scope::new("a\nb").is_err());
        assert!(DocumentId::new("x".repeat(512)).is_ok());
        let error = DocumentId::new("x".repeat(513)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("513 bytes"), "{error}");
    }

    #[test]
    fn time_ordered_ids_sort_by_time() {
        let early = DocumentId::time_ordered(1_000, &[255; 10]);
        let late = DocumentId::time_ordered(1_001, &[0; 10]);
        assert!(early < late);
    }

    #[test]
    fn a_replica_id_survives_its_text() {
        let id = ReplicaId([0xab; 16]);
        assert_eq!(id.to_string().parse::<ReplicaId>().unwrap(), id);
        assert!("+bababababababababababababababab".parse::<ReplicaId>().is_err());
    }
}
