//! A REST service that has never heard of Twotide, and replicas that sync with it.
//!
//! [`service`] is the service as anybody might have written it. [`transport`] is all that an app
//! has to write: two closures. [`notes`] is what the app keeps, and how it merges.

#![forbid(unsafe_code)]

pub mod notes;
pub mod server;
pub mod service;
pub mod transport;
