//! Transports by the server's address, chosen when the program runs.

use std::sync::Arc;
#[cfg(any(feature = "ws", feature = "http"))]
use std::time::Duration;

use sync_core::error::{Error, ErrorKind, Result};
use sync_core::transport::Transport;
#[cfg(any(feature = "ws", feature = "http"))]
use transport_kit::shown_address;

/// The schemes that were compiled in.
const KNOWN: &[&str] = &[
    #[cfg(feature = "ws")]
    "ws://",
    #[cfg(feature = "ws")]
    "wss://",
    #[cfg(feature = "http")]
    "http://",
    #[cfg(feature = "http")]
    "https://",
];

/// The options of a transport that is made from an address.
#[derive(Clone, Debug)]
pub(crate) struct DialOptions {
    /// Whether compression is offered.
    #[cfg(any(feature = "ws", feature = "http"))]
    pub(crate) compression: bool,
    /// The certificates that TLS trusts.
    #[cfg(any(feature = "ws", feature = "http"))]
    pub(crate) trust: transport_kit::tls::Trust,
    /// How changes are followed over HTTP.
    #[cfg(feature = "http")]
    pub(crate) live_by: transport_http::LiveBy,
    /// The interval of polls over HTTP where nothing better works.
    #[cfg(feature = "http")]
    pub(crate) poll_interval: Duration,
    /// Which proxy HTTP goes through.
    #[cfg(feature = "http")]
    pub(crate) proxy: transport_http::ProxyBy,
    /// How long connecting may take.
    #[cfg(any(feature = "ws", feature = "http"))]
    pub(crate) connect_timeout: Duration,
    /// How long a request over HTTP may take. Over WebSocket the engine bounds it.
    #[cfg(feature = "http")]
    pub(crate) request_timeout: Duration,
}

/// The transport for an address.
pub(crate) fn dial(url: &str, options: &DialOptions) -> Result<Arc<dyn Transport>> {
    let scheme = url.trim().split_once("://").map_or("", |(scheme, _)| scheme);
    match scheme.to_ascii_lowercase().as_str() {
        #[cfg(feature = "ws")]
        "ws" | "wss" => {
            let mut config = transport_ws::WsConfig::new(url);
            config.trust = options.trust.clone();
            config.connect_timeout = options.connect_timeout;
            config.framed.greeting_timeout = options.connect_timeout;
            if options.compression {
                config.framed.compressions = vec![Arc::new(transport_ws::Zstd)];
            }
            Ok(Arc::new(transport_ws::WsTransport::new(config)?))
        }
        #[cfg(feature = "http")]
        "http" | "https" => {
            let mut config = transport_http::HttpConfig::new(url);
            config.trust = options.trust.clone();
            config.compress = options.compression;
            config.live = options.live_by;
            config.poll_interval = options.poll_interval;
            config.proxy = options.proxy.clone();
            config.connect_timeout = options.connect_timeout;
            config.request_timeout = options.request_timeout;
            Ok(Arc::new(transport_http::HttpTransport::new(config)?))
        }
        _ => {
            let _ = options;
            let there = if KNOWN.is_empty() { "none".to_owned() } else { KNOWN.join(", ") };
            let message = "no transport for this address was compiled in";
            Err(Error::new(ErrorKind::InvalidInput, message)
                .with("address", format!("{:?}", shown_address(url)))
                .with("there is", there))
        }
    }
}

/// Returns only the scheme of an address, because the rest may be secret.
#[cfg(not(any(feature = "ws", feature = "http")))]
fn shown_address(url: &str) -> String {
    url.split_once("://").map_or_else(String::new, |(scheme, _)| format!("{scheme}://"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ReplicaConfig;

    #[test]
    fn an_unknown_scheme_is_refused_with_the_known_ones() {
        for bad in ["", "localhost:1", "ftp://localhost"] {
            let error = dial(bad, &ReplicaConfig::default().dial_options()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            let told = error.to_string();
            assert!(KNOWN.iter().all(|known| told.contains(known)), "{told}");
        }
    }
}
