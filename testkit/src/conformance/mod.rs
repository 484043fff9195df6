//! Suites that prove a backend: one named case for each promise of a contract.
//!
//! Each contract has a harness trait, which an implementer writes for the backend (open, crash, reopen, and what it is
//! capable of), and a macro that turns every case into a named test. What a backend is not capable of is skipped, counted
//! and printed; it is never passed in silence.

mod run;
pub mod transport;

pub use run::{Case, Outcome, Skipped, run};
