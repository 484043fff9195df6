//! A foreign REST service, and replicas that sync with it.
//!
//! [`service`] is an ordinary REST service. [`transport`] has the two closures, which are all that
//! an app has to write. [`notes`] is the app's data type and its resolver.

#![forbid(unsafe_code)]

pub mod notes;
pub mod server;
pub mod service;
pub mod transport;
