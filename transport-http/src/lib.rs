//! Twotide over HTTP.

#![forbid(unsafe_code)]

pub mod api;
