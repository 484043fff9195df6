//! Every rule of applying, pushing, settling and resetting, on real folders.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is how a test ends"
)]

mod common;

use storage_sled::SledKv;
use testkit::cores::{Cores, KvCores};

/// Returns cores over folders inside a temporary one.
fn cores() -> impl Cores {
    let folder = tempfile::tempdir().unwrap();
    KvCores::new(move |n| SledKv::open(&common::config(&folder.path().join(format!("{n}.sled")))))
}

testkit::rule_traces!(cores());
