//! Every rule of applying, pushing, settling and resetting, on redb.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is how a test ends"
)]

use storage_redb::RedbKv;
use testkit::cores::{Cores, KvCores};

/// Returns cores over files in a temporary folder.
fn cores() -> impl Cores {
    let folder = tempfile::tempdir().unwrap();
    KvCores::new(move |n| RedbKv::open(&folder.path().join(format!("{n}.redb"))))
}

testkit::rule_traces!(cores());
