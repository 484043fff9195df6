//! A REST service, and replicas that sync with it.

#![forbid(unsafe_code)]

fn main() {}
