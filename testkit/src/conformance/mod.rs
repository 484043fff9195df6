//! Suites that prove a backend: one named case for each promise of a contract.
//!
//! | Contract | Harness | Macros |
//! |---|---|---|
//! | [`Storage`](sync_core::storage::Storage) | [`StorageHarness`](storage::StorageHarness) | [`storage_conformance!`](crate::storage_conformance), [`storage_fault_injection!`](crate::storage_fault_injection) |
//! | [`ServerStorage`](sync_server::ServerStorage) | [`ServerStorageHarness`](server::ServerStorageHarness) | [`server_storage_conformance!`](crate::server_storage_conformance), [`server_storage_fault_injection!`](crate::server_storage_fault_injection) |
//! | [`Transport`](sync_core::transport::Transport) and [`Connection`](sync_core::transport::Connection) | [`TransportHarness`](transport::TransportHarness) | [`transport_conformance!`](crate::transport_conformance), [`transport_fault_injection!`](crate::transport_fault_injection) |
//! | [`ConflictResolver`](sync_core::resolver::ConflictResolver) | none: the resolver, and documents of the app's | [`resolver_conformance!`](crate::resolver_conformance), [`resolver_fault_injection!`](crate::resolver_fault_injection) |
//!
//! # How to prove a backend
//!
//! Write a harness: a fresh [`Place`] (a folder, a database, a map) and a way to open it. Declare
//! its other [`Capabilities`], and implement the methods that belong to them. In a test file of the
//! backend's crate call the macros, each in a separate module, because cases of different suites
//! may share a name. Every case becomes a `#[test]` that makes a harness by the given expression,
//! runs on a separate runtime, and is bounded in time.
//!
//! This is a complete example for a map in memory that outlives the storage over it, so that it can
//! be closed and crashed:
//!
//! ```
//! use std::sync::{Arc, Mutex, PoisonError};
//!
//! use sync_core::error::Result;
//! use storage_kit::kv::{KvOptions, MemoryKv, open_replica, open_server};
//! use sync_core::model::ReplicaId;
//! use sync_core::storage::Storage;
//! use sync_server::ServerStorage;
//! use testkit::conformance::server::ServerStorageHarness;
//! use testkit::conformance::storage::StorageHarness;
//! use testkit::conformance::{Capabilities, Place};
//!
//! #[derive(Default)]
//! struct Memory(Mutex<Arc<MemoryKv>>);
//!
//! impl Memory {
//!     fn map(&self) -> Arc<MemoryKv> {
//!         Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
//!     }
//!     /// The next storage opens a copy of what is there now.
//!     fn copy(&self) {
//!         let copy = Arc::new(self.map().copy());
//!         *self.0.lock().unwrap_or_else(PoisonError::into_inner) = copy;
//!     }
//! }
//!
//! #[async_trait::async_trait]
//! impl Place for Memory {
//!     fn capabilities(&self) -> Capabilities {
//!         Capabilities::none().durable().crash()
//!     }
//!     async fn crash(&self) -> Result<()> {
//!         self.copy();
//!         Ok(())
//!     }
//! }
//!
//! #[async_trait::async_trait]
//! impl StorageHarness for Memory {
//!     async fn open(&self) -> Result<Arc<dyn Storage>> {
//!         Ok(Arc::new(open_replica(self.map(), ReplicaId([7; 16]), KvOptions::default())?))
//!     }
//! }
//!
//! #[async_trait::async_trait]
//! impl ServerStorageHarness for Memory {
//!     async fn open(&self) -> Result<Arc<dyn ServerStorage>> {
//!         Ok(Arc::new(open_server(self.map(), KvOptions::default())?))
//!     }
//! }
//!
//! mod storage {
//!     testkit::storage_conformance!(super::Memory::default());
//! }
//! mod server {
//!     testkit::server_storage_conformance!(super::Memory::default());
//! }
//! mod storage_fault_injection {
//!     testkit::storage_fault_injection!(super::Memory::default());
//! }
//! # fn main() {
//! # // Inside an example no test runs: one case stands for all.
//! # let cases = testkit::conformance::storage::cases::<Memory>();
//! # let case = cases.iter().find(|c| c.name == "an_acknowledged_write_survives_a_crash");
//! # let case = case.expect("the case is in the list");
//! # assert_eq!(testkit::conformance::run(case.name, (case.run)(Memory::default())), Ok(()));
//! # }
//! ```
//!
//! A case that needs more than the harness can do is skipped, counted, and named on standard error;
//! it never counts as passed. [`storage::cases`], [`server::cases`] and [`resolver::cases`] return
//! the same cases as values, and [`attempt`] runs one and returns its failure.
//!
//! # What a crash is
//!
//! A crash leaves what a process that is killed between two calls leaves: everything that reached
//! the operating system. That proves that acknowledged changes were passed on, in whole
//! transactions. It does not prove anything about a power failure: that needs a disk that loses
//! unsynced data, or a machine that is switched off.
//!
//! # Fault injection
//!
//! A suite proves little unless it fails on a broken backend. Each fault
//! ([`storage::StorageFault`], [`server::ServerStorageFault`], [`resolver::ResolverFault`]) is a
//! bug that a real project shipped, built into the backend from outside, and names the case that
//! detects it. The macros with `fault_injection` in their name demand that this case passes on the
//! backend and fails on the broken one. The failure is printed to the test's standard output.

mod capabilities;
mod faults;
mod place;
pub mod resolver;
mod run;
pub mod server;
pub mod storage;
mod tools;
pub mod transport;

pub use capabilities::Capabilities;
pub use faults::BrokenHarness;
pub use place::Place;
pub use run::{Case, Outcome, Skipped, attempt, demand_failure, run};

/// Expands to one test for each case of a suite for storages.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    (($suite:ident, $harness:expr) $($name:ident)*) => {$(
        #[test]
        fn $name() {
            let case = $crate::conformance::$suite::$name($harness);
            let _ = $crate::conformance::run(stringify!($name), case);
        }
    )*};
}

/// Expands to one test for each fault of a suite for storages.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_fault_tests {
    (
        ($suite:ident, $faults:ident, $harness:expr)
        $($(#[doc = $doc:literal])* $name:ident $fault:ident => $case:ident)*
    ) => {$(
        #[test]
        fn $name() {
            let fault = $crate::conformance::$suite::$faults::$fault;
            let _ = $crate::conformance::$suite::demand(fault, || $harness);
        }
    )*};
}

/// Makes a list of cases from the names of their functions.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_list {
    (() $($name:ident)*) => {
        vec![$($crate::conformance::Case { name: stringify!($name), run: |h| Box::pin($name(h)) }),*]
    };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::resolver::ResolverFault;
    use super::server::{ServerStorageFault, ServerStorageHarness};
    use super::storage::{StorageFault, StorageHarness};

    struct Nowhere;

    impl super::Place for Nowhere {}

    #[async_trait::async_trait]
    impl StorageHarness for Nowhere {
        async fn open(
            &self,
        ) -> sync_core::error::Result<std::sync::Arc<dyn sync_core::storage::Storage>> {
            unreachable!("no case is run")
        }
    }

    #[async_trait::async_trait]
    impl ServerStorageHarness for Nowhere {
        async fn open(
            &self,
        ) -> sync_core::error::Result<std::sync::Arc<dyn sync_server::ServerStorage>> {
            unreachable!("no case is run")
        }
    }

    /// Returns the functions of cases in the files of a suite.
    fn written(files: &[&'static str]) -> BTreeSet<&'static str> {
        let lines = files.iter().flat_map(|f| f.lines());
        let names = lines.filter_map(|l| l.strip_prefix("pub async fn "));
        names.filter_map(|l| l.split(['<', '(']).next()).collect()
    }

    fn check<H>(
        cases: &[super::Case<H>],
        files: &[&'static str],
        noticed: impl Iterator<Item = &'static str>,
    ) {
        let listed: BTreeSet<_> = cases.iter().map(|c| c.name).collect();
        assert_eq!(listed.len(), cases.len(), "a case is listed twice");
        assert_eq!(listed, written(files), "listed (left) is not what is written (right)");
        for name in noticed {
            assert!(listed.contains(name), "there is no case {name}");
        }
    }

    #[test]
    fn every_case_that_is_written_is_in_the_list() {
        check(
            &super::storage::cases::<Nowhere>(),
            &[
                include_str!("storage/cancelling.rs"),
                include_str!("storage/choosing.rs"),
                include_str!("storage/closing.rs"),
                include_str!("storage/crowds.rs"),
                include_str!("storage/deciding.rs"),
                include_str!("storage/erasing.rs"),
                include_str!("storage/leases.rs"),
                include_str!("storage/leaving.rs"),
                include_str!("storage/local_only.rs"),
                include_str!("storage/own_bodies.rs"),
                include_str!("storage/purging.rs"),
                include_str!("storage/pushing.rs"),
                include_str!("storage/reading.rs"),
                include_str!("storage/settling.rs"),
                include_str!("storage/surviving.rs"),
                include_str!("storage/applying.rs"),
                include_str!("storage/writing.rs"),
            ],
            StorageFault::ALL.iter().map(|f| f.noticed_by()),
        );
        check(
            &super::server::cases::<Nowhere>(),
            &[
                include_str!("server/appending.rs"),
                include_str!("server/asking.rs"),
                include_str!("server/closing.rs"),
                include_str!("server/deciding.rs"),
                include_str!("server/erasing.rs"),
                include_str!("server/lives.rs"),
                include_str!("server/reading.rs"),
                include_str!("server/retrying.rs"),
                include_str!("server/surviving.rs"),
            ],
            ServerStorageFault::ALL.iter().map(|f| f.noticed_by()),
        );
        check(
            &super::resolver::cases(),
            &[include_str!("resolver/answers.rs"), include_str!("resolver/replicas.rs")],
            ResolverFault::ALL.iter().map(|f| f.noticed_by()),
        );
    }
}
