//! Suites that prove a backend: one named case for each promise of a contract.
//!
//! Each contract has a harness trait, which an implementer writes for the backend (open, crash, reopen, and what it is
//! capable of), and a macro that turns every case into a named test. What a backend is not capable of is skipped, counted
//! and printed; it is never passed in silence.

mod capabilities;
mod faults;
pub mod resolver;
mod run;
pub mod server;
pub mod storage;
mod tools;

pub use capabilities::Capabilities;
pub use run::{Case, Outcome, Skipped, attempt, demand_failure, run};

/// A list of cases out of the names of their functions.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_list {
    (() $($name:ident)*) => {
        vec![$($crate::conformance::Case { name: stringify!($name), run: |h| Box::pin($name(h)) }),*]
    };
}
