//! Transports by the server's address, chosen when the program runs.

use std::sync::Arc;
#[cfg(any(feature = "ws", feature = "http"))]
use std::time::Duration;

use sync_core::error::{Error, ErrorKind, Result};
use sync_core::transport::Transport;

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

/// What a transport that is made from an address is told.
#[derive(Clone, Debug)]
pub(crate) struct DialOptions {
    /// Whether compression is offered.
    #[cfg(any(feature = "ws", feature = "http"))]
    pub(crate) compression: bool,
    /// Whom TLS trusts.
    #[cfg(any(feature = "ws", feature = "http"))]
    pub(crate) trust: transport_net::tls::Trust,
    /// How changes are followed over HTTP.
    #[cfg(feature = "http")]
    pub(crate) live_by: transport_http::LiveBy,
    /// How often a server is asked over HTTP where nothing better works.
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
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    match scheme {
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
                .with("address", format!("{:?}", shown(url)))
                .with("there is", there))
        }
    }
}

/// An address as far as it can be told: a password may stand in front of the host, and a secret in
/// the query.
fn shown(url: &str) -> &str {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let url = &url[..end];
    url.rfind('@').map_or(url, |at| &url[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ReplicaConfig;

    #[test]
    fn an_unknown_scheme_names_those_that_are_there() {
        for bad in ["", "localhost:1", "ftp://localhost"] {
            let error = dial(bad, &ReplicaConfig::default().dial_options()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            let told = error.to_string();
            assert!(KNOWN.iter().all(|known| told.contains(known)), "{told}");
        }
    }

    #[test]
    fn an_address_is_told_without_what_may_be_secret() {
        assert_eq!(shown("htp://h:1/p?token=X#Y"), "htp://h:1/p");
        assert_eq!(shown("htp://ann:X@h/p"), "h/p");
        assert_eq!(shown("h#X"), "h");
    }
}
