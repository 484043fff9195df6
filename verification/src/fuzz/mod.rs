//! Checks for every decoder and every sequence of messages, over any bytes.
//!
//! A check is a function of bytes that panics if a promise is broken: that decoding never panics,
//! that a decoded value encodes to the same value (and to the same bytes, where one value has one
//! form), that an error is of the promised kind. [`CHECKS`] lists all of this crate. `fuzz/` runs
//! each with libFuzzer, and the normal tests run each with the output of [`Damage`] on good input,
//! so that a broken promise is found without a fuzzer too:
//!
//! ```
//! use verification::fuzz::{self, Damage};
//! let good = sync_core::codec::Codec::to_bytes(&sync_core::protocol::Message::Ping(7));
//! fuzz::message(&good);
//! for bad in Damage::new(1, &[&good]).take(100) {
//!     fuzz::message(&bad);
//! }
//! ```
//!
//! A third-party backend can use these as well: [`compression`] checks any `Compression`.

mod damage;
mod frames;
mod hostile;
mod links;
mod samples;
mod stores;
mod text;
mod values;

pub use damage::Damage;
pub use frames::{compression, frame};
pub use hostile::{replica, server};
pub use links::{client_link, server_link};
pub use samples::{conversation, frames_of_links, golden};
pub use stores::{replica_store, server_store};
pub use text::{body, merge, name, plan, stamp};
pub use values::{message, model, row};

/// A check of bytes, with input to begin with.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of the fuzz target.
    pub name: &'static str,
    /// The check, which panics if a promise does not hold for these bytes.
    pub check: fn(&[u8]),
    /// Good input.
    pub samples: fn() -> Vec<Vec<u8>>,
}

/// The checks of this crate.
pub const CHECKS: &[Target] = &[
    Target { name: "message", check: message, samples: samples::messages },
    Target { name: "model", check: model, samples: samples::models },
    Target { name: "row", check: row, samples: samples::rows },
    Target { name: "frame", check: frame, samples: samples::frames },
    Target { name: "name", check: name, samples: samples::names },
    Target { name: "stamp", check: stamp, samples: samples::stamps },
    Target { name: "body", check: body, samples: samples::bodies },
    Target { name: "merge", check: merge, samples: samples::merges },
    Target { name: "plan", check: plan, samples: samples::plans },
    Target { name: "replica", check: replica, samples: samples::conversations },
    Target { name: "server", check: server, samples: samples::conversations },
    Target { name: "replica_store", check: replica_store, samples: samples::damages },
    Target { name: "server_store", check: server_store, samples: samples::damages },
];
