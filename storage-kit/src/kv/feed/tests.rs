use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::kv::{Batch, KvOptions, MemoryKv, open_replica};
use sync_core::codec::Codec;
use sync_core::error::ErrorKind;
use sync_core::model::ReplicaId;

fn key(scope: &str, collection: &str, id: &str) -> DocumentKey {
    let collection = Collection::new(collection).unwrap();
    DocumentKey::new(Scope::new(scope).unwrap(), collection, DocumentId::new(id).unwrap())
}

fn writer(kv: &Arc<MemoryKv>) -> KvWriter<MemoryKv> {
    KvWriter::new(Arc::clone(kv))
}

fn all(kv: &impl KvReads) -> Vec<DocumentKey> {
    after(kv, LocalSeq(0), usize::MAX).unwrap()
}

/// Returns all stored bytes.
fn stored(kv: &MemoryKv) -> Vec<u8> {
    let mut bytes = Vec::new();
    kv.range(&[], &[u8::MAX; 64], &mut |key, value| {
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    bytes
}

#[test]
fn consecutive_places_are_read_from_any_place() {
    let mut kv = writer(&Arc::default());
    // Pairs of names that are equal when joined, and ids of all lengths.
    let names = [("a", "bc"), ("ab", "c"), ("ab", "c"), ("a", "bc"), ("abc", "a")];
    let id = |n: usize| format!("{n}{}", "x".repeat(n % 7));
    let name = |n: usize| key(names[n % 5].0, names[n % 5].1, &id(n));
    let keys: Vec<_> = (0..200).map(name).collect();
    let place = |n: usize| LocalSeq(n as u64 + 1);
    // One by one, a few, and many.
    add(&mut kv, std::iter::once((place(0), &keys[0]))).unwrap();
    add(&mut kv, (1..40).map(|n| (place(n), &keys[n]))).unwrap();
    add(&mut kv, (40..200).map(|n| (place(n), &keys[n]))).unwrap();
    for from in 0..=200 {
        assert_eq!(after(&kv, LocalSeq(from as u64), usize::MAX).unwrap(), keys[from..]);
        let few = &keys[from..200.min(from + 3)];
        assert_eq!(after(&kv, LocalSeq(from as u64), 3).unwrap(), few);
    }
    assert!(after(&kv, LocalSeq(u64::MAX), 3).unwrap().is_empty());
}

#[test]
fn removed_members_leave_no_bytes() {
    let store = Arc::<MemoryKv>::default();
    let mut kv = writer(&store);
    let keys = ["rose", "tulip", "daisy"].map(|id| key("garden", "flowers", id));
    add(&mut kv, (1..).map(LocalSeq).zip(&keys)).unwrap();
    kv.commit().unwrap();
    remove(&mut kv, LocalSeq(1)).unwrap();
    kv.commit().unwrap();
    assert_eq!(all(&kv), keys[1..]);
    let holds = |name: &str| stored(&store).windows(name.len()).any(|w| w == name.as_bytes());
    assert!(!holds("rose") && holds("tulip"));
    for place in [2, 3, 3, 77] {
        remove(&mut kv, LocalSeq(place)).unwrap();
    }
    kv.commit().unwrap();
    assert!(stored(&store).is_empty());
}

proptest! {
    #[test]
    fn moved_documents_are_at_their_last_places(
        moves in prop::collection::vec((0_usize..12, any::<bool>()), 1..150),
    ) {
        let mut kv = writer(&Arc::default());
        let (mut last, mut places) = (LocalSeq(0), BTreeMap::new());
        for (which, stays) in moves {
            let document = key(["s", "t"][which % 2], ["c", "d", "e"][which % 3], &which.to_string());
            if let Some(place) = places.remove(&document) {
                remove(&mut kv, place).unwrap();
            }
            last = last.next();
            if stays {
                add(&mut kv, std::iter::once((last, &document))).unwrap();
                places.insert(document, last);
            }
        }
        let mut expected: Vec<_> = places.into_iter().map(|(key, place)| (place, key)).collect();
        expected.sort();
        prop_assert_eq!(all(&kv), expected.into_iter().map(|(_, key)| key).collect::<Vec<_>>());
    }

    #[test]
    fn arbitrary_bytes_are_an_error_at_most(bytes in prop::collection::vec(0_u8..4, 0..40)) {
        let kv = Arc::<MemoryKv>::default();
        kv.commit(vec![(run_key(LocalSeq(1)), Some(bytes.into()))], Durability::Process).unwrap();
        let mut kv = writer(&kv);
        let document = key("s", "c", "1");
        for result in [
            after(&kv, LocalSeq(0), 9).map(drop),
            add(&mut kv, std::iter::once((LocalSeq(9), &document))),
            remove(&mut kv, LocalSeq(1)),
        ] {
            if let Err(error) = result {
                prop_assert_eq!(error.kind(), ErrorKind::Incompatible);
            }
        }
    }
}

/// Returns the batch that converts a store to version 1 of the layout, from a run on: earlier runs
/// count as migrated.
fn in_version_1(keys: &[DocumentKey], from: u64) -> Batch {
    let mut batch = Batch::new();
    for (place, key) in (1..).zip(keys).filter(|(place, _)| *place >= from * RUN) {
        batch.push((Key::table(PLACE).number(place), Some(key.to_bytes())));
    }
    let mark = if from == 0 { b"replica\x01" } else { b"replica\x02" };
    batch.push((Key::from(&b"!kind"[..]), Some(mark[..].into())));
    batch.extend((from..=keys.len() as u64 / RUN).map(|run| (run_key(LocalSeq(run * RUN)), None)));
    batch.sort();
    batch
}

#[test]
fn a_store_of_version_1_is_migrated_also_after_an_interruption() {
    let keys: Vec<_> = (0..GATHERED + 500).map(|n| key("s", "c", &format!("{n:05}"))).collect();
    for from in [0, 50] {
        let kv = Arc::<MemoryKv>::default();
        let mut writing = writer(&kv);
        add(&mut writing, (1..).map(LocalSeq).zip(&keys)).unwrap();
        writing.commit().unwrap();
        kv.commit(in_version_1(&keys, from), Durability::Process).unwrap();
        assert_eq!(all(&writing).len() as u64, (from * RUN).saturating_sub(1));
        drop(open_replica(Arc::clone(&kv), ReplicaId([7; 16]), KvOptions::default()).unwrap());
        assert_eq!(all(&writing), keys);
        let mark = kv.get(b"!kind").unwrap().unwrap();
        assert_eq!(&*mark, b"replica\x02");
        let mut places = 0;
        kv.range(&[PLACE], &[PLACE + 1], &mut |_, _| {
            places += 1;
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
        assert_eq!(places, 0);
    }
}
