//! Selects the proxy of requests, and checks that the system's proxy can be used.

use std::net::IpAddr;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{ClientBuilder, Proxy, Url};
use sync_core::error::{Error, ErrorKind, Result};

use crate::config::ProxyBy;

/// A placeholder for a usable proxy. No request is sent to it.
const SOME_PROXY: &str = "http://proxy.invalid";

/// Configures a client with the selected proxy.
///
/// # Errors
/// `InvalidInput` if there is one for this server that cannot be used: bypassing it could send a
/// request out of a network that it must not leave.
pub(super) fn with_proxy(
    builder: ClientBuilder,
    proxy: &ProxyBy,
    server: &Url,
) -> Result<ClientBuilder> {
    match proxy {
        ProxyBy::System if is_here(server) => Ok(builder.no_proxy()),
        ProxyBy::System => {
            check(server, |name| std::env::var_os(name)?.into_string().ok()).map(|()| builder)
        }
        ProxyBy::None => Ok(builder.no_proxy()),
        ProxyBy::Url(url) => {
            check_scheme(url.split_once("://").map(|(scheme, _)| scheme))?;
            // The client's error would show the password.
            let proxy = Proxy::all(url.as_str());
            Ok(builder.proxy(proxy.map_err(|_| invalid("not the address of a proxy"))?))
        }
    }
}

fn invalid(what: &'static str) -> Error {
    Error::new(ErrorKind::InvalidInput, what)
}

fn check_scheme(scheme: Option<&str>) -> Result<()> {
    match scheme.map(str::to_ascii_lowercase).as_deref() {
        None | Some("http" | "https") => Ok(()),
        _ => Err(invalid("a proxy's address begins with http:// or https://")),
    }
}

/// Returns whether an address is on this machine, where a proxy is never used.
fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Checks the variables from which the client reads a proxy, in this order. The client silently
/// ignores an unusable one.
fn check(server: &Url, variable: impl Fn(&str) -> Option<String>) -> Result<()> {
    let names: &[&str] = match server.scheme() {
        "https" => &["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"],
        // In a CGI program this variable contains the header `Proxy` of a request.
        _ if variable("REQUEST_METHOD").is_some() => &["ALL_PROXY", "all_proxy"],
        _ => &["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"],
    };
    let set = |name: &&str| variable(name).filter(|value| !value.is_empty());
    let Some((name, value)) = names.iter().find_map(|name| Some((name, set(name)?))) else {
        return Ok(());
    };
    let Ok(target) = server.as_str().parse() else { return Ok(()) };
    let not_by_proxy =
        ["NO_PROXY", "no_proxy"].iter().find_map(|name| variable(name)).unwrap_or_default();
    let taken = |proxy: &str| {
        let matcher = Matcher::builder().all(proxy.to_owned()).no(not_by_proxy.clone()).build();
        matcher.intercept(&target)
    };
    // The value is not shown: it may contain a password.
    let unusable = |e: Error| e.with("variable", name);
    match taken(&value) {
        Some(proxy) => check_scheme(proxy.uri().scheme_str()).map_err(unusable),
        None if taken(SOME_PROXY).is_some() => {
            Err(unusable(invalid("the environment names a proxy that is not an address")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_on_this_machine_are_detected_by_their_address() {
        for here in
            ["http://localhost:1", "https://a.localhost/x", "http://127.9.0.1", "http://[::1]:80"]
        {
            assert!(is_here(&here.parse().unwrap()), "{here}");
        }
        for elsewhere in [
            "http://localhost.example.org",
            "http://10.0.0.1",
            "http://0.0.0.0",
            "http://[2001:db8::1]",
        ] {
            assert!(!is_here(&elsewhere.parse().unwrap()), "{elsewhere}");
        }
    }

    #[test]
    fn a_proxy_of_the_environment_that_cannot_be_used_is_an_error() {
        let checked = |server: &str, variables: &[(&str, &str)]| {
            let value = |name: &str| variables.iter().find(|v| v.0 == name).map(|v| v.1.to_owned());
            check(&server.parse().unwrap(), value).map_err(|e| e.to_string())
        };
        let (plain, secure) = ("http://sync.example", "https://sync.example");
        for good in ["http://proxy:3128", "proxy:3128", "https://ann:secret@proxy", ""] {
            assert_eq!(checked(plain, &[("HTTP_PROXY", good)]), Ok(()), "{good}");
            assert_eq!(checked(secure, &[("ALL_PROXY", good)]), Ok(()), "{good}");
        }
        for bad in ["http://", "http://secret@[::", "socks5://secret:1", "ftp://secret", "a b"] {
            for (server, name) in
                [(plain, "HTTP_PROXY"), (plain, "http_proxy"), (plain, "ALL_PROXY")]
                    .into_iter()
                    .chain([(secure, "HTTPS_PROXY"), (secure, "all_proxy")])
            {
                let error = checked(server, &[(name, bad)]).unwrap_err();
                assert!(error.contains(name) && !error.contains("secret"), "{bad}: {error}");
                let not = [(name, bad), ("NO_PROXY", "sync.example")];
                assert_eq!(checked(server, &not), Ok(()), "{bad}");
            }
            assert_eq!(checked(secure, &[("HTTP_PROXY", bad)]), Ok(()), "another scheme's");
            let cgi = [("HTTP_PROXY", bad), ("REQUEST_METHOD", "GET")];
            assert_eq!(checked(plain, &cgi), Ok(()), "a header of a request");
        }
    }
}
