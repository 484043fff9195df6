//! Which folders are opened, and which are refused and stay unchanged.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;
use std::time::Duration;

use common::{NOW, REPLICA, config, entries, files, key, place, puts};
use storage_kit::Durability;
use storage_kit::kv::{Key, OrderedKv};
use storage_sled::{SledConfig, SledKv, open_replica, open_server};
use sync_core::error::{Error, ErrorKind, Result, Retry};
use sync_core::model::{Epoch, LogKey, NewLog, ReplicaId, Scope};
use sync_core::storage::Storage;
use sync_server::ServerStorage;

fn open_as_replica(path: &Path) -> Result<()> {
    open_replica(&config(path), REPLICA).map(drop)
}

fn open_as_server(path: &Path) -> Result<()> {
    open_server(&config(path)).map(drop)
}

#[track_caller]
fn assert_incompatible(error: &Error, why: &str) {
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Incompatible, Retry::Never), "{error}");
    assert!(error.report().to_string().contains(why), "{error}");
}

#[tokio::test]
async fn a_new_folder_becomes_a_replica_and_keeps_its_identity() {
    let (_folder, path) = place();
    for other in [REPLICA, ReplicaId([8; 16])] {
        let storage = open_replica(&config(&path), other).unwrap();
        assert_eq!(storage.state().await.unwrap().replica, REPLICA);
        storage.close().await.unwrap();
    }
}

#[test]
fn an_empty_folder_and_one_whose_making_was_cut_short_count_as_new() {
    let (_folder, path) = place();
    std::fs::create_dir(&path).unwrap();
    open_as_replica(&path).unwrap();
    let (_folder, path) = place();
    std::fs::create_dir_all(path.join("blobs")).unwrap();
    std::fs::write(path.join("conf"), b"").unwrap();
    open_as_replica(&path).unwrap();
}

#[test]
fn a_folder_of_another_program_is_refused_and_unchanged() {
    // sled would mistake the last for a damaged file of its own, and overwrite it.
    for name in ["holiday.jpg", "snap.jpg", "db"] {
        let (_folder, path) = place();
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join(name), vec![b'x'; 3 << 20]).unwrap();
        let before = files(&path);
        assert_incompatible(&open_as_replica(&path).unwrap_err(), name);
        assert_incompatible(&open_as_server(&path).unwrap_err(), "app.sled");
        assert_eq!(files(&path), before);
    }
}

#[test]
fn files_of_the_operating_system_are_ignored() {
    let (_folder, path) = place();
    open_as_replica(&path).unwrap();
    std::fs::write(path.join(".DS_Store"), b"x").unwrap();
    open_as_replica(&path).unwrap();
}

#[test]
fn a_file_is_no_folder() {
    let (_folder, path) = place();
    std::fs::write(&path, b"x").unwrap();
    assert_incompatible(&open_as_replica(&path).unwrap_err(), "the path is a file");
    let error = open_as_replica(&path.join("below")).unwrap_err();
    assert!(error.report().to_string().contains("below"), "{error}");
}

#[test]
fn a_servers_folder_is_no_replicas_and_the_reverse() {
    let (_folder, path) = place();
    open_as_server(&path).unwrap();
    assert_incompatible(&open_as_replica(&path).unwrap_err(), "server");
    open_as_server(&path).unwrap();
    let (_folder, path) = place();
    open_as_replica(&path).unwrap();
    assert_incompatible(&open_as_server(&path).unwrap_err(), "replica");
    open_as_replica(&path).unwrap();
}

#[test]
fn a_store_that_another_program_made_with_sled_is_refused() {
    // As sled creates it by default.
    let (_folder, path) = place();
    drop(sled::open(&path).unwrap());
    assert_incompatible(&open_as_replica(&path).unwrap_err(), "another program");
    // With the same settings as ours, but with other entries or trees.
    for tree in [None, Some("theirs")] {
        let (_folder, path) = place();
        let theirs = sled::Config::new().path(&path).segment_size(2 << 20).open().unwrap();
        match tree {
            Some(tree) => drop(theirs.open_tree(tree).unwrap()),
            None => drop(theirs.insert("e", "x").unwrap()),
        }
        drop(theirs);
        assert_incompatible(&open_as_replica(&path).map_err(patient).unwrap_err(), "");
    }
}

/// Asserts that an error is not `Busy`: a store that sled itself closed stays locked for a moment,
/// but not for the second that opening waits.
fn patient(error: Error) -> Error {
    assert_ne!(error.kind(), ErrorKind::Busy, "{error}");
    error
}

#[test]
fn damaged_entries_are_incompatible_with_the_folder_in_the_error() {
    for damage in [&b""[..], &[7], &[1], &[1, 0, 0, 0, 2]] {
        let (_folder, path) = place();
        let other = sled::Config::new().path(&path).segment_size(2 << 20).open().unwrap();
        other.insert("ekey", damage).unwrap();
        drop(other);
        let kv = SledKv::open(&config(&path)).unwrap();
        for error in [kv.get(b"key").map(drop).unwrap_err(), entries(&kv).map(drop).unwrap_err()] {
            assert_incompatible(&error, "app.sled");
        }
    }
}

#[test]
fn a_damaged_folder_is_an_error_and_no_panic() {
    for name in ["conf", "snap"] {
        let (_folder, path) = place();
        open_as_replica(&path).unwrap();
        open_as_replica(&path).unwrap();
        let is_it = |p: &Path| p.file_name().unwrap().to_string_lossy().starts_with(name);
        let (file, mut bytes) = files(&path).into_iter().find(|(p, _)| is_it(p)).unwrap();
        bytes.iter_mut().for_each(|b| *b ^= 0x55);
        std::fs::write(file, bytes).unwrap();
        assert_incompatible(&open_as_replica(&path).unwrap_err(), "app.sled");
    }
}

#[tokio::test]
async fn a_folder_that_is_open_is_busy_until_it_is_closed() {
    let (_folder, path) = place();
    let mut impatient = config(&path);
    impatient.lock_timeout = Duration::ZERO;
    let first = open_replica(&impatient, REPLICA).unwrap();
    first.write(NOW, puts(&[("a", "1")])).await.unwrap();
    for _ in 0..3 {
        let error = open_replica(&impatient, REPLICA).map(drop).unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Busy, Retry::Later(None)));
        assert!(error.report().to_string().contains("close its storage"), "{error}");
        assert!(error.report().to_string().contains("app.sled"), "{error}");
    }
    first.close().await.unwrap();
    let second = open_replica(&impatient, REPLICA).unwrap();
    assert!(second.get(vec![key("a")]).await.unwrap()[0].is_some());
}

#[tokio::test]
async fn opening_waits_until_the_folder_is_released() {
    let (_folder, path) = place();
    let mut patient = config(&path);
    patient.lock_timeout = Duration::from_secs(20);
    let first = open_replica(&patient, REPLICA).unwrap();
    let second = tokio::task::spawn_blocking(move || open_replica(&patient, REPLICA));
    first.close().await.unwrap();
    second.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_closed_folder_can_be_opened_again_at_once_and_often() {
    let (_folder, path) = place();
    let mut config = config(&path);
    config.lock_timeout = Duration::ZERO;
    // With background cleaning, whose thread holds handles, too.
    config.tidy_every = Some(Duration::from_millis(1));
    for n in 0..25 {
        let storage = open_replica(&config, REPLICA).unwrap();
        storage.write(NOW, puts(&[(&n.to_string(), "1")])).await.unwrap();
        assert_eq!(storage.state().await.unwrap().scopes[0].documents, n + 1);
        storage.close().await.unwrap();
        let error = storage.write(NOW, puts(&[("late", "1")])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
    // A store that is dropped without being closed is released as well, once its threads have
    // ended.
    for _ in 0..10 {
        drop(SledKv::open(&config).unwrap());
    }
}

#[tokio::test]
async fn a_server_remembers_its_scopes() {
    let (_folder, path) = place();
    let mut durable = SledConfig::new(&path);
    durable.cache_bytes = 4 << 20;
    for fresh in [1, 2] {
        let server = open_server(&durable).unwrap();
        let scope = server
            .scope(Scope::default(), NewLog { epoch: Epoch([fresh; 16]), key: LogKey([7; 16]) })
            .await
            .unwrap();
        assert_eq!(scope.epoch, Epoch([1; 16]));
        server.close().await.unwrap();
    }
}

#[test]
fn large_values_are_stored_in_sleds_log_and_leave_nothing_behind() {
    let (_folder, path) = place();
    let mut kv = SledKv::open(&config(&path)).unwrap();
    let long = |n: u32| Key::from(&[&[b'k'; 776], &n.to_be_bytes()[..]].concat()[..]);
    let value = |n: u32, size: usize| {
        (0..size).map(|at| (at as u32).wrapping_mul(n) as u8).collect::<Vec<_>>()
    };
    let sizes = [5 << 20, 1, 16 << 10, (16 << 10) + 1, 0, 100_000];
    for round in 0..sizes.len() {
        let size = |n: u32| sizes[(round + n as usize) % sizes.len()];
        let batch = (0..6).map(|n| (long(n), Some(value(n, size(n)).into()))).collect();
        kv.commit(batch, Durability::Power).unwrap();
        for (n, (found, bytes)) in (0..).zip(entries(&kv).unwrap()) {
            assert_eq!((found, bytes), (long(n), value(n, size(n))));
            assert_eq!(kv.get(&long(n)).unwrap().unwrap(), value(n, size(n)));
        }
        assert_eq!(std::fs::read_dir(path.join("blobs")).unwrap().count(), 0);
        // A reopened store detects that entries are in pieces.
        if round % 2 == 1 {
            drop(kv);
            kv = SledKv::open(&config(&path)).unwrap();
        }
    }
    // Many long keys, so that pages that contain only keys are large as well.
    for start in (0..3_000).step_by(1_000) {
        let batch = (start..start + 1_000).map(|n| (long(n), Some(vec![1; 100].into()))).collect();
        kv.commit(batch, Durability::Process).unwrap();
    }
    assert_eq!(std::fs::read_dir(path.join("blobs")).unwrap().count(), 0);
    kv.commit((0..3_000).map(|n| (long(n), None)).collect(), Durability::Process).unwrap();
    assert_eq!(entries(&kv).unwrap(), []);
    drop(kv);
    let left = sled::Config::new().path(&path).segment_size(2 << 20).open().unwrap();
    assert_eq!(left.len(), 0, "no piece is left behind");
}

#[test]
fn sled_alone_shows_a_batch_in_the_middle_of_a_range() {
    let (_folder, path) = place();
    let kv = SledKv::open(&config(&path)).unwrap();
    let put = |value: u8| {
        let batch = (0..100).map(|n| (Key::from(&[n][..]), Some(vec![value].into()))).collect();
        kv.commit(batch, Durability::Process).unwrap();
    };
    put(1);
    let mut seen = Vec::new();
    kv.range(&[], &[u8::MAX], &mut |_, value| {
        if seen.is_empty() {
            put(2);
        }
        seen.push(value[0]);
        Ok(std::ops::ControlFlow::Continue(()))
    })
    .unwrap();
    // This is why the layer above runs no commit while a snapshot is open.
    assert_eq!((seen[0], seen[99]), (1, 2));
}
