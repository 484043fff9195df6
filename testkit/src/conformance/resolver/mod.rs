//! The suite for [`ConflictResolver`], which decides when two edits were made without knowledge of
//! each other.
//!
//! Call [`resolver_conformance!`](crate::resolver_conformance) with the resolver and with bodies as
//! the app has them: every case becomes a named test.
//! [`resolver_fault_injection!`](crate::resolver_fault_injection) proves that the cases detect a
//! broken resolver.
//!
//! ```
//! use sync_core::model::Body;
//! use sync_core::resolver::LastWriteWins;
//!
//! fn documents() -> Vec<Body> {
//!     let bodies = [r#"{"title":"a","done":false}"#, r#"{"title":"b","done":false}"#, r#"{"title":"a","done":true}"#];
//!     bodies.into_iter().filter_map(|json| Body::parse(json).ok()).collect()
//! }
//!
//! testkit::resolver_conformance!(LastWriteWins, documents());
//! # fn main() {}
//! ```

#![allow(clippy::panic, clippy::missing_panics_doc, reason = "a case that fails ends its test")]

mod answers;
mod broken;
mod conflicts;
mod replicas;

use std::sync::Arc;

use sync_core::model::Body;
use sync_core::resolver::ConflictResolver;

pub use answers::*;
pub use broken::ResolverFault;
pub use replicas::*;

use super::run::{Case, Outcome, demand_failure};

/// A resolver, with documents of its app.
#[derive(Clone, Debug)]
pub struct Subject {
    resolver: Arc<dyn ConflictResolver>,
    documents: Vec<Body>,
}

impl Subject {
    /// The largest number of documents that are used: every case tries them in pairs.
    pub const DOCUMENTS: usize = 6;

    /// Makes a subject of a resolver and at least three different bodies as the app has them. No
    /// more than [`Self::DOCUMENTS`] are used.
    ///
    /// # Panics
    /// If there are fewer than three.
    #[must_use]
    pub fn new(resolver: impl ConflictResolver, documents: impl IntoIterator<Item = Body>) -> Self {
        let mut different: Vec<Body> = Vec::new();
        for body in documents {
            if !different.contains(&body) && different.len() < Self::DOCUMENTS {
                different.push(body);
            }
        }
        assert!(different.len() >= 3, "at least three different documents are needed");
        Self { resolver: Arc::new(resolver), documents: different }
    }
}

/// Returns all cases, for callers that run them without the test harness.
#[must_use]
pub fn cases() -> Vec<Case<Subject>> {
    crate::resolver_conformance_cases!(__conformance_list())
}

/// Runs the case that detects the fault: it has to pass on the correct resolver, and to fail on the
/// broken one.
///
/// # Panics
/// If it does not.
pub fn demand(fault: ResolverFault, subject: &Subject) -> Outcome {
    let name = fault.noticed_by();
    let Some(case) = cases().into_iter().find(|c| c.name == name) else {
        panic!("there is no case {name}");
    };
    let broken = broken::broken(subject, fault);
    demand_failure(&format!("{fault:?}"), name, (case.run)(subject.clone()), (case.run)(broken))
}

/// The names of all cases, passed to another macro of this crate.
#[doc(hidden)]
#[macro_export]
macro_rules! resolver_conformance_cases {
    ($callback:ident($($args:tt)*)) => {
        $crate::$callback! { ($($args)*)
            it_has_a_name
            the_same_conflict_gets_the_same_answer
            ordinary_documents_are_decided
            odd_documents_do_no_harm
            a_merge_is_a_valid_document
            an_unrequested_base_makes_no_difference
            merging_the_same_again_terminates
            replicas_become_equal_in_any_order_of_syncs
            replicas_become_equal_when_the_server_resolves
            three_replicas_converge
        }
    };
}

/// Expands to one named test for each case of the [suite](crate::conformance::resolver). The
/// arguments are a resolver and at least three different bodies, as the app has them.
#[macro_export]
macro_rules! resolver_conformance {
    ($resolver:expr, $documents:expr $(,)?) => {
        $crate::resolver_conformance_cases! { __resolver_tests($resolver, $documents) }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __resolver_tests {
    (($resolver:expr, $documents:expr) $($name:ident)*) => {$(
        #[test]
        fn $name() {
            let subject = $crate::conformance::resolver::Subject::new($resolver, $documents);
            let case = $crate::conformance::resolver::$name(subject);
            let _ = $crate::conformance::run(stringify!($name), case);
        }
    )*};
}

/// Expands to one named test for each [fault](crate::conformance::resolver::ResolverFault): the
/// case that detects it passes on the resolver, and fails when the fault is built in.
#[macro_export]
macro_rules! resolver_fault_injection {
    ($resolver:expr, $documents:expr $(,)?) => {
        $crate::resolver_conformance_faults! { __resolver_teeth_tests($resolver, $documents) }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __resolver_teeth_tests {
    (
        ($resolver:expr, $documents:expr)
        $($(#[doc = $doc:literal])* $name:ident $fault:ident => $case:ident)*
    ) => {$(
        #[test]
        fn $name() {
            let subject = $crate::conformance::resolver::Subject::new($resolver, $documents);
            let fault = $crate::conformance::resolver::ResolverFault::$fault;
            let _ = $crate::conformance::resolver::demand(fault, &subject);
        }
    )*};
}
