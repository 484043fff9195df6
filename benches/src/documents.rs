//! The documents of the measurements: bodies of 258 bytes and ids of 20 characters, the same in
//! every run.

use sync_core::error::Result;
use sync_core::model::{
    Body, Change, Chunk, Collection, DocumentId, DocumentState, Epoch, LogEntry, ReplicaId,
    Revision, Scope, Seq, Stamp,
};

/// The bytes of a body.
pub const BODY: usize = 258;

/// The order of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// Each greater than the one before it, like ids that are made from the time.
    Ordered,
    /// In scattered order, like random ids.
    Random,
}

/// Spreads a number over 64 bits.
fn mixed(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The id of the n-th document.
#[must_use]
pub fn id(order: Order, n: usize) -> String {
    let n = n as u64;
    match order {
        Order::Ordered => format!("{n:012x}{:08x}", mixed(n) as u32),
        Order::Random => format!("{:016x}{:04x}", mixed(n), n & 0xffff),
    }
}

/// The body of the n-th document: JSON of [`BODY`] bytes.
#[must_use]
pub fn body(n: usize) -> String {
    let head = format!(r#"{{"number":{n},"text":""#);
    let mut body = String::with_capacity(BODY);
    body.push_str(&head);
    let mut word = mixed(n as u64);
    while body.len() < BODY - 2 {
        word = if word == 0 { mixed(body.len() as u64) } else { word };
        body.push(char::from(b'a' + (word % 26) as u8));
        word /= 26;
    }
    body.push_str("\"}");
    body
}

/// The collection of all documents.
///
/// # Errors
/// Never.
pub fn collection() -> Result<Collection> {
    Collection::new("documents")
}

/// The replica that wrote all documents.
pub const AUTHOR: ReplicaId = ReplicaId([9; 16]);

/// The revision of the n-th document.
#[must_use]
pub fn revision(n: usize) -> Revision {
    let n = n as u64;
    Revision {
        stamp: Stamp::new(1_790_000_000_000 + n / 1_000, (n % 1_000) as u16),
        replica: AUTHOR,
    }
}

/// The state of the n-th document.
///
/// # Errors
/// Never.
pub fn state(n: usize) -> Result<DocumentState> {
    let revision = revision(n);
    let body = Some(Body::parse(body(n))?);
    Ok(DocumentState::new(revision, body))
}

/// The chunk with that many documents, in the order of their numbers, that an empty replica
/// receives.
///
/// # Errors
/// Never.
pub fn chunk(count: usize) -> Result<Chunk> {
    let collection = collection()?;
    let entry = |n: usize| {
        Ok(LogEntry::new(
            Seq(n as u64 + 1),
            collection.clone(),
            DocumentId::new(id(Order::Random, n))?,
            state(n)?,
        ))
    };
    Ok(Chunk {
        next: Seq(count as u64),
        head: Seq(count as u64),
        entries: (0..count).map(entry).collect::<Result<_>>()?,
        ..Chunk::empty(Scope::default(), Epoch([1; 16]), Seq(0))
    })
}

/// The n-th document as a change without a base.
///
/// # Errors
/// Never.
pub fn change(order: Order, n: usize, collection: &Collection) -> Result<Change> {
    let id = DocumentId::new(id(order, n))?;
    let collection = collection.clone();
    Ok(Change::new(collection, id, state(n)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn documents_have_the_stated_size_and_unique_ids() {
        for order in [Order::Ordered, Order::Random] {
            let ids: BTreeSet<_> = (0..10_000).map(|n| id(order, n)).collect();
            assert_eq!(ids.len(), 10_000);
            assert!(ids.iter().all(|id| id.len() == 20));
        }
        assert!([0, 7, 999_999].iter().all(|n| body(*n).len() == BODY && state(*n).is_ok()));
    }
}
