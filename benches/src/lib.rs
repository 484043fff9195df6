//! The benchmarks, and the report that measures Twotide and its raw baselines in turn.
//!
//! ```text
//!   bin/report ── goals/ (one file for each goal, with the raw baseline beside it)
//!                   │        measured by `measure` (rounds in turn, medians, verdicts) and `meter` (time, memory)
//!                   │        on `documents` in `server` (a server that is full of them), in other processes by `child`
//!                   └─► report/ (a table, JSON, a page)
//!   benches/*.rs (criterion) ── `setup`
//! ```

#![forbid(unsafe_code)]

pub mod child;
pub mod documents;
pub mod goal;
pub mod goals;
pub mod measure;
pub mod meter;
pub mod raw;
pub mod report;
pub mod server;
pub mod setup;

/// Any error of a benchmark.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// The result of an operation that can fail in a benchmark.
pub type Outcome<T = ()> = Result<T, Error>;
