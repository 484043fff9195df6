//! Support for authors of transports: everything besides the link itself.
//!
//! There are three ways to write a transport:
//!
//! - Implement [`Transport`](sync_core::transport::Transport) and
//!   [`Connection`](sync_core::transport::Connection) themselves.
//! - Provide a link that carries byte frames, and let
//!   [`FramedTransport`](framed::FramedTransport) speak the protocol over it.
//! - Pass two closures that call the service that an app already has:
//!   [`FnTransport`](custom_backend::FnTransport).
//!
//! A transport of the second kind implements [`Dial`](framed::Dial), which connects links:
//!
//! ```
//! use sync_core::error::Result;
//! use sync_core::transport::FrameLink;
//! use transport_kit::framed::{Dial, FramedOptions, FramedTransport, memory_link};
//!
//! #[derive(Debug)]
//! struct MyNetwork;
//!
//! #[async_trait::async_trait]
//! impl Dial for MyNetwork {
//!     async fn dial(&self) -> Result<FrameLink> {
//!         let (here, _there) = memory_link(8); // over a network: a socket, split in two halves
//!         Ok(here)
//!     }
//! }
//!
//! let transport = FramedTransport::new(MyNetwork, FramedOptions::default());
//! # let _ = transport;
//! ```
//!
//! The crate also has the shared parts of this project's transports: TLS (feature `tls`), listening
//! sockets (feature `server`), a counter of the bytes on a stream, and limits on how long a server
//! may make a client wait. A server's routes come from the transports, each of which provides an
//! axum `Router`. Merged into one, they are served on one port by `listen` or `listen_tls`, which
//! bound the number of connections and how slow their clients may be.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod address;
#[cfg(feature = "server")]
mod browsers;
mod counted;
pub mod custom_backend;
pub mod framed;
mod gateway;
#[cfg(feature = "server")]
mod listen;
#[cfg(feature = "tls")]
mod pem;
#[cfg(feature = "server")]
mod places;
#[cfg(feature = "tls")]
mod plain_answer;
mod retry;
#[cfg(feature = "tls")]
pub mod tls;

pub use address::{normalized_address, shown_address};
#[cfg(feature = "server")]
pub use browsers::BrowserPolicy;
pub use counted::Counted;
pub use gateway::{gateway_error, shown_text};
#[cfg(feature = "server")]
pub use listen::{ListenConfig, RemoteAddress, listen, listen_with};
#[cfg(feature = "server")]
pub use places::{Place, Places};
#[cfg(feature = "tls")]
pub use plain_answer::is_plain_answer;
pub use retry::{gateway_wait, retry_after};

#[cfg(all(feature = "server", feature = "tls"))]
pub use listen::{listen_tls, listen_tls_with};
