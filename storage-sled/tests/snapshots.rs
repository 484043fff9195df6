//! A process that ends while sled writes a snapshot, which it does whenever a folder is opened.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{config, entries, files, place};
use storage_kit::Durability;
use storage_kit::kv::{Batch, OrderedKv};
use storage_sled::SledKv;
use sync_core::error::ErrorKind;

/// A position in the log after that of any snapshot here: sled reads this file first.
const NEWEST: &str = "snap.0000000000FFFFFF.generating";

fn commit(path: &Path, n: u8) {
    let kv = SledKv::open(&config(path)).unwrap();
    let batch: Batch = vec![(vec![n].as_slice().into(), Some(vec![n; 100].into()))];
    kv.commit(batch, Durability::Process).unwrap();
}

fn keys(path: &Path) -> usize {
    entries(&SledKv::open(&config(path)).unwrap()).unwrap().len()
}

/// Returns the snapshot of the last opening.
fn snapshot(path: &Path) -> PathBuf {
    let is_snapshot = |p: &PathBuf| p.file_name().unwrap().to_string_lossy().starts_with("snap.");
    files(path).into_iter().map(|(path, _)| path).rfind(is_snapshot).unwrap()
}

#[test]
fn a_snapshot_that_was_not_finished_is_put_aside_and_nothing_is_missing() {
    let (_folder, path) = place();
    (0..3).for_each(|n| commit(&path, n));
    let whole = std::fs::read(snapshot(&path)).unwrap();
    let lengths = [0, 1, 11, 12, 13, 40, whole.len() / 2, whole.len() - 4, whole.len() - 1];
    for (written, length) in (3..).zip(lengths) {
        std::fs::write(path.join(NEWEST), &whole[..length]).unwrap();
        assert_eq!(keys(&path), usize::from(written), "with {length} bytes of a snapshot");
        assert!(!path.join(NEWEST).exists());
        let aside = std::fs::read(path.join(format!("unfinished-{NEWEST}"))).unwrap();
        assert_eq!(aside, whole[..length]);
        // The store continues from there.
        commit(&path, written);
        assert_eq!(keys(&path), usize::from(written) + 1);
    }
}

#[test]
fn without_any_finished_snapshot_the_whole_log_is_read() {
    let (_folder, path) = place();
    (0..20).for_each(|n| commit(&path, n));
    let last = snapshot(&path);
    let whole = std::fs::read(&last).unwrap();
    std::fs::remove_file(&last).unwrap();
    std::fs::write(path.join(NEWEST), &whole[..whole.len() - 1]).unwrap();
    assert_eq!(keys(&path), 20);
}

#[test]
fn a_snapshot_that_is_whole_but_was_not_renamed_is_used() {
    let (_folder, path) = place();
    (0..3).for_each(|n| commit(&path, n));
    let last = snapshot(&path);
    let unrenamed = format!("{}.generating", last.file_name().unwrap().to_str().unwrap());
    std::fs::rename(&last, path.join(&unrenamed)).unwrap();
    assert_eq!(keys(&path), 3);
    commit(&path, 3);
    assert_eq!(keys(&path), 4);
    assert!(!path.join(format!("unfinished-{unrenamed}")).exists());
}

#[test]
fn a_snapshot_that_another_process_may_be_writing_is_left_alone() {
    let (_folder, path) = place();
    commit(&path, 0);
    let mut impatient = config(&path);
    impatient.lock_timeout = Duration::ZERO;
    let open = SledKv::open(&impatient).unwrap();
    std::fs::write(path.join(NEWEST), b"half").unwrap();
    assert_eq!(SledKv::open(&impatient).unwrap_err().kind(), ErrorKind::Busy);
    assert!(path.join(NEWEST).exists());
    drop(open);
    assert_eq!(keys(&path), 1);
}
