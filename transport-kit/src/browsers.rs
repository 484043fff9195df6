//! The web pages that may connect to a server from a browser.
//!
//! A browser lets every page open a WebSocket to any address, and send simple requests there.
//! Without a check, any page that a user visits can read and write a server on that user's machine.
//! The `Origin` header, which a page cannot forge, names the page's site. A site can also point one
//! of its names at the address of the server (DNS rebinding); the page then has the same origin as
//! the server, and only the `Host` header contains the foreign name.

use std::net::IpAddr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use sync_core::error::{Error, ErrorKind, Result};

/// The pages and host names that a server answers. Requests without a page have no `Origin`; only
/// the host name is checked for them.
///
/// ```
/// use axum::http::{HeaderMap, Uri, header};
/// use transport_kit::BrowserPolicy;
///
/// let policy = BrowserPolicy::default().allow_origin("https://app.example")?;
/// let mut headers = HeaderMap::new();
/// headers.insert(header::HOST, "sync.example".parse()?);
/// headers.insert(header::ORIGIN, "https://app.example".parse()?);
/// assert!(policy.check(&headers, &Uri::from_static("/v1/hello")).is_ok());
/// headers.insert(header::ORIGIN, "https://evil.example".parse()?);
/// assert!(policy.check(&headers, &Uri::from_static("/v1/hello")).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrowserPolicy {
    origins: Vec<String>,
    any_origin: bool,
    /// The names that are answered besides those of this machine; every name if `None`.
    hosts: Option<Vec<String>>,
}

impl BrowserPolicy {
    /// Answers only this machine's names (`localhost`, names below it, and IP addresses) and those
    /// of [`allow_host`](Self::allow_host): for a server that admits every client. By default every
    /// name is answered.
    #[must_use]
    pub fn local_hosts(mut self) -> Self {
        self.hosts.get_or_insert_default();
        self
    }

    /// Answers requests to that host name, with any port. After the first such call only the given
    /// names are answered.
    ///
    /// # Errors
    /// `InvalidInput` if it is no host name.
    pub fn allow_host(mut self, name: &str) -> Result<Self> {
        let host = name.parse::<Authority>().ok().filter(|a| a.as_str() == a.host());
        let host = host.ok_or_else(|| {
            let message = "not a host name without a port, such as sync.example";
            Error::new(ErrorKind::InvalidInput, message).with("host", name)
        })?;
        self.hosts.get_or_insert_default().push(host.host().to_ascii_lowercase());
        Ok(self)
    }

    /// Allows pages of that origin: a scheme and a host, with the port if it is not the scheme's
    /// default, or `*` for every page. Pages of the server's own address are always allowed.
    ///
    /// # Errors
    /// `InvalidInput` if it is no origin.
    pub fn allow_origin(mut self, origin: &str) -> Result<Self> {
        if origin == "*" {
            self.any_origin = true;
            return Ok(self);
        }
        let normal = normal_origin(origin).ok_or_else(|| {
            let message = "not an origin such as https://app.example or http://localhost:5173";
            Error::new(ErrorKind::InvalidInput, message).with("origin", origin)
        })?;
        self.origins.push(normal);
        Ok(self)
    }

    /// Checks whether a request may be answered.
    ///
    /// # Errors
    /// `PermissionDenied` for a host name or an origin that is not allowed.
    pub fn check(&self, headers: &HeaderMap, uri: &Uri) -> Result<()> {
        let host = host_of(headers, uri);
        self.check_host(host.as_ref())?;
        match headers.get(header::ORIGIN) {
            None => Ok(()),
            Some(origin) if self.allows(origin, host.as_ref()) => Ok(()),
            Some(origin) => Err(denied("pages of the origin", origin.as_bytes(), "--allow-origin")),
        }
    }

    /// Checks whether the handshake of a WebSocket may be accepted. A browser always sends the
    /// origin of its page, so a handshake without one comes from a program; host names of one
    /// label, which programs in one network use for each other, are then accepted as well.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn check_handshake(&self, headers: &HeaderMap, uri: &Uri) -> Result<()> {
        let has_one_label = host_of(headers, uri).is_some_and(|h| !h.host().contains(['.', ':']));
        match has_one_label && !headers.contains_key(header::ORIGIN) {
            true => Ok(()),
            false => self.check(headers, uri),
        }
    }

    fn check_host(&self, host: Option<&Authority>) -> Result<()> {
        let Some(names) = &self.hosts else { return Ok(()) };
        // Only requests of HTTP/1.0 have no host, and browsers do not send those.
        let Some(host) = host.map(|h| h.host().to_ascii_lowercase()) else { return Ok(()) };
        if is_local(&host) || names.contains(&host) {
            return Ok(());
        }
        Err(denied("requests to the host name", host.as_bytes(), "--allow-host"))
    }

    fn allows(&self, origin: &HeaderValue, host: Option<&Authority>) -> bool {
        let Some(origin) = origin.to_str().ok().and_then(normal_origin) else {
            return self.any_origin;
        };
        // A proxy may have terminated TLS, so the scheme of the server's own address is not known.
        let is_own = host.is_some_and(|host| {
            ["http", "https"]
                .iter()
                .any(|scheme| normal_origin(&format!("{scheme}://{host}")) == Some(origin.clone()))
        });
        self.any_origin || is_own || self.origins.contains(&origin)
    }

    /// Returns whether pages of an origin that is not the server's own are allowed: they may read
    /// answers.
    #[must_use]
    pub fn allows_foreign(&self, origin: &HeaderValue) -> bool {
        self.allows(origin, None)
    }

    /// Returns whether any pages but those of the server's own address are allowed.
    #[must_use]
    pub fn has_foreign(&self) -> bool {
        self.any_origin || !self.origins.is_empty()
    }
}

fn denied(what: &str, value: &[u8], option: &str) -> Error {
    let value = String::from_utf8_lossy(&value[..value.len().min(200)]).into_owned();
    let message = format!("{what} {value:?} are not answered by this server (its option {option})");
    Error::new(ErrorKind::PermissionDenied, message)
}

/// Returns the host of a request.
fn host_of(headers: &HeaderMap, uri: &Uri) -> Option<Authority> {
    let named = || headers.get(header::HOST)?.to_str().ok()?.parse::<Authority>().ok();
    uri.authority().cloned().or_else(named)
}

/// Returns whether a name means this machine, or is an address: no site can point those elsewhere.
fn is_local(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.ends_with(".localhost") || address.parse::<IpAddr>().is_ok()
}

/// Returns an origin as browsers send it: in lower case, without the scheme's default port.
fn normal_origin(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    let (scheme, rest) = text.split_once("://")?;
    let authority: Authority = rest.parse().ok()?;
    if authority.as_str().contains('@') || authority.host().is_empty() {
        return None;
    }
    let own = match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    let port = authority.port_u16().filter(|port| Some(*port) != own);
    let port = port.map_or(String::new(), |port| format!(":{port}"));
    Some(format!("{scheme}://{}{port}", authority.host()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: &BrowserPolicy, host: &str, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        policy.check(&headers, &Uri::from_static("/v1/hello")).is_ok()
    }

    #[test]
    fn pages_of_the_servers_own_address_are_answered_and_no_others() {
        let policy = BrowserPolicy::default();
        for (host, origin, is_allowed) in [
            ("127.0.0.1:8787", None, true),
            ("127.0.0.1:8787", Some("http://127.0.0.1:8787"), true),
            ("sync.example", Some("https://sync.example"), true),
            ("sync.example", Some("https://SYNC.example:443"), true),
            ("localhost:8787", Some("http://localhost:1"), false),
            ("localhost:8787", Some("http://localhost"), false),
            ("localhost:8787", Some("null"), false),
            ("localhost:8787", Some("https://evil.example"), false),
            ("sync.example", Some("https://sync.example.evil.example"), false),
            ("sync.example", Some("https://sync.example@evil.example"), false),
        ] {
            assert_eq!(check(&policy, host, origin), is_allowed, "{host} {origin:?}");
        }
    }

    #[test]
    fn a_foreign_name_for_this_machine_is_refused() {
        let local = BrowserPolicy::default().local_hosts();
        for host in ["localhost:1", "app.localhost", "127.0.0.1", "[::1]:8787", "192.168.0.7"] {
            assert!(check(&local, host, None), "{host}");
        }
        for host in ["evil.example:8787", "127.0.0.1.evil.example", "notlocalhost"] {
            assert!(!check(&local, host, None), "{host}");
            assert!(!check(&local, host, Some(&format!("http://{host}"))), "{host}");
            assert!(check(&BrowserPolicy::default(), host, None), "{host}");
        }
        let named = local.allow_host("Sync.example").unwrap();
        assert!(check(&named, "sync.example:443", None) && check(&named, "localhost", None));
        assert!(named.clone().allow_host("sync.example:80").is_err());
        assert!(named.allow_host("a b").is_err());
    }

    #[test]
    fn origins_are_allowed_by_name_and_their_answers_may_be_read() {
        let policy = BrowserPolicy::default().allow_origin("https://App.example:443").unwrap();
        assert!(check(&policy, "sync.example", Some("https://app.example")));
        assert!(!check(&policy, "sync.example", Some("http://app.example")));
        let foreign = |policy: &BrowserPolicy, origin| {
            policy.allows_foreign(&HeaderValue::from_static(origin))
        };
        assert!(foreign(&policy, "https://app.example") && policy.has_foreign());
        assert!(!foreign(&policy, "https://evil.example"));
        assert!(!BrowserPolicy::default().has_foreign());
        let any = BrowserPolicy::default().allow_origin("*").unwrap();
        assert!(check(&any, "sync.example", Some("null")));
        for wrong in ["app.example", "https://", "https://a/b", "https://u@a"] {
            assert!(BrowserPolicy::default().allow_origin(wrong).is_err(), "{wrong}");
        }
    }
}
