//! Checks of `Host` and `Origin` on every request, and security headers on every response.
//!
//! A web page of another site can reach this server through its reader's browser in two ways: by
//! DNS rebinding, which `Host` reveals, or by a cross-origin request, which `Origin` reveals. So
//! every request must name one of the server's own hosts, and no other origin, unless
//! `--allow-origin` names it. Pages of such an origin get the headers of CORS.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};

use crate::error::HttpError;

/// Security headers of every response. The page needs only its own files and the user's images.
const SECURITY_HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Adds the security headers.
pub(crate) fn add_security_headers(headers: &mut HeaderMap) {
    for (name, value) in SECURITY_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Headers that let pages of an allowed origin send requests and read answers.
const CORS_HEADERS: [(HeaderName, &str); 4] = [
    (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
    (header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type"),
    (header::ACCESS_CONTROL_EXPOSE_HEADERS, "retry-after"),
    (header::ACCESS_CONTROL_MAX_AGE, "600"),
];

/// Returns true if a browser asks, before a page's request, whether it is allowed.
pub(crate) fn is_preflight<B>(request: &Request<B>) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Adds the headers for a page of an allowed origin.
pub(crate) fn add_cors_headers(headers: &mut HeaderMap, origin: HeaderValue) {
    for (name, value) in CORS_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
}

/// Host name in lower case or IP address by which requests may address the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host(HostKind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostKind {
    Name(String),
    Ip(IpAddr),
}

/// Text that is no host.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is not a host such as captions.example.org or 192.168.1.5, without a scheme and a port"
)]
pub struct InvalidHost(String);

impl FromStr for Host {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        let bare: Option<Ipv6Addr> = text.parse().ok();
        let parsed = match bare {
            Some(ip) => Some(Self(HostKind::Ip(IpAddr::V6(ip).to_canonical()))),
            None => {
                HostPort::parse(text).filter(|named| named.port.is_none()).map(|named| named.host)
            }
        };
        parsed.ok_or_else(|| InvalidHost(text.to_owned()))
    }
}

/// Host and optional port, as in `Host` and `Origin`.
#[derive(Debug, PartialEq, Eq)]
struct HostPort {
    host: Host,
    port: Option<u16>,
}

impl HostPort {
    fn parse(text: &str) -> Option<Self> {
        let authority: Authority = text.parse().ok()?;
        let host = authority.host();
        // `url` does not strip a user name, so the prefix differs and the text is rejected.
        let port = match text.strip_prefix(host)? {
            "" => None,
            rest => Some(rest.strip_prefix(':')?.parse().ok()?),
        };
        let name = host.strip_suffix('.').unwrap_or(host);
        let kind = if let Some(inner) = name.strip_prefix('[') {
            let ip: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
            HostKind::Ip(IpAddr::V6(ip).to_canonical())
        } else if let Ok(ip) = name.parse::<Ipv4Addr>() {
            HostKind::Ip(IpAddr::V4(ip))
        } else if is_name(name) {
            HostKind::Name(name.to_ascii_lowercase())
        } else {
            return None;
        };
        Some(Self { host: Host(kind), port })
    }

    /// Parses an origin such as `http://localhost:8080`; returns it with the scheme's default port.
    fn parse_origin(text: &str) -> Option<(Self, u16)> {
        let (scheme, authority) = text.split_once("://")?;
        let default = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        Some((Self::parse(authority)?, default))
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// Origin of web pages, such as `https://example.org`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    is_https: bool,
    host: Host,
    port: u16,
}

/// Text that is no origin.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not an origin such as https://example.org or http://localhost:3000")]
pub struct InvalidOrigin(String);

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let (named, default) =
            HostPort::parse_origin(text).ok_or_else(|| InvalidOrigin(text.to_owned()))?;
        let port = named.port.unwrap_or(default);
        Ok(Self { is_https: text.starts_with("https:"), host: named.host, port })
    }
}

/// Hosts that a server answers to, and origins whose pages may use it.
#[derive(Debug)]
pub(crate) struct Guard {
    /// Address that the server listens on.
    address: IpAddr,
    /// Additional allowed hosts.
    hosts: Vec<Host>,
    /// Other allowed origins.
    origins: Vec<Origin>,
}

impl Guard {
    pub fn new(address: IpAddr, hosts: Vec<Host>, origins: Vec<Origin>) -> Self {
        Self { address: address.to_canonical(), hosts, origins }
    }

    /// Rejects a request that names a foreign host, or comes from a page of another origin.
    ///
    /// Returns the origin if it is another one that is allowed.
    pub fn check<B>(&self, request: &Request<B>) -> Result<Option<HeaderValue>, HttpError> {
        let headers = request.headers();
        let text = single_header(headers, &header::HOST)?
            .ok_or_else(|| HttpError::bad_request("the request has no Host header"))?;
        let named = self.check_host(text)?;
        // An absolute request target takes precedence over the header.
        if let Some(authority) = request.uri().authority() {
            self.check_host(authority.as_str())?;
        }
        let Some(text) = single_header(headers, &header::ORIGIN)? else { return Ok(None) };
        let is_own = HostPort::parse_origin(text).is_some_and(|(origin, default)| {
            let port = |named: &HostPort| named.port.unwrap_or(default);
            origin.host == named.host && port(&origin) == port(&named)
        });
        if is_own {
            return Ok(None);
        }
        if text.parse().is_ok_and(|origin| self.origins.contains(&origin)) {
            return Ok(headers.get(header::ORIGIN).cloned());
        }
        Err(HttpError::new(
            StatusCode::FORBIDDEN,
            format!(
                "pages of another origin, such as {text:?}, may not access this server; --allow-origin allows another origin"
            ),
        ))
    }

    fn check_host(&self, text: &str) -> Result<HostPort, HttpError> {
        let named = HostPort::parse(text)
            .ok_or_else(|| HttpError::bad_request(format!("the host {text:?} is malformed")))?;
        if self.is_own(&named.host) {
            return Ok(named);
        }
        let own = if self.address.is_loopback() {
            "localhost, 127.0.0.1 and [::1]"
        } else {
            "localhost and IP addresses"
        };
        Err(HttpError::new(
            StatusCode::FORBIDDEN,
            format!(
                "this server answers to {own}, not to {text:?}; --allowed-host allows another name"
            ),
        ))
    }

    /// Returns true for the server's own hosts.
    ///
    /// DNS rebinding cannot forge an IP address, so a server that is reachable by other machines
    /// accepts all addresses.
    fn is_own(&self, host: &Host) -> bool {
        let own = match &host.0 {
            HostKind::Name(name) => name == "localhost",
            HostKind::Ip(ip) => {
                let usual = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
                !self.address.is_loopback() || *ip == self.address || usual.contains(ip)
            }
        };
        own || self.hosts.contains(host)
    }
}

/// Returns the value of a header that may appear at most once.
fn single_header<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'h str>, HttpError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(HttpError::bad_request(format!("the request has two headers {name}")));
    }
    let text = value.to_str();
    text.map(Some).map_err(|_| HttpError::bad_request(format!("the header {name} is not ASCII")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins() -> Vec<Origin> {
        ["https://Pages.example.org", "http://localhost:3000"]
            .map(|text| text.parse().unwrap())
            .into()
    }

    fn status(address: &str, target: &str, headers: &[(HeaderName, &str)]) -> u16 {
        let allowed = vec!["Captions.Example.org".parse().unwrap(), "10.1.1.1".parse().unwrap()];
        let guard = Guard::new(address.parse().unwrap(), allowed, origins());
        let mut request = Request::builder().uri(target);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let checked = guard.check(&request.body(()).unwrap());
        checked.map_or_else(|refusal| refusal.status.as_u16(), |_| 200)
    }

    fn by_host(address: &str, host: &str) -> u16 {
        status(address, "/", &[(header::HOST, host)])
    }

    fn by_origin(address: &str, host: &str, origin: &str) -> u16 {
        status(address, "/", &[(header::HOST, host), (header::ORIGIN, origin)])
    }

    #[test]
    fn a_loopback_server_answers_to_this_machines_names_and_those_allowed() {
        for host in [
            "localhost",
            "LocalHost:80",
            "localhost.",
            "localhost.:8080",
            "127.0.0.1:8080",
            "127.0.0.1",
            "127.0.0.1.",
            "[::1]:80",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]:1",
            "captions.example.org:443",
            "CAPTIONS.EXAMPLE.ORG.",
            "10.1.1.1",
        ] {
            assert_eq!(by_host("127.0.0.1", host), 200, "{host}");
        }
        for host in [
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.2",
            "10.0.0.1",
            "0.0.0.0",
            "[::2]",
            "foo.localhost",
            "localhost..",
            "2130706433",
            "0x7f.1",
            "captions.example.org.evil.example",
        ] {
            assert_eq!(by_host("127.0.0.1", host), 403, "{host}");
        }
        assert_eq!(by_host("127.0.0.2", "127.0.0.2:80"), 200);
        assert_eq!(by_host("::1", "127.0.0.1"), 200);
    }

    #[test]
    fn malformed_hosts_are_rejected() {
        for host in [
            "",
            ".",
            ":80",
            "localhost:",
            "localhost:http",
            "localhost:99999",
            "localhost:80:80",
            "user@localhost",
            "localhost@evil.example",
            "http://localhost",
            "localhost/",
            "localhost, evil.example",
            "[::1",
            "::1",
            "[::1%25lo]",
        ] {
            assert_eq!(by_host("127.0.0.1", host), 400, "{host}");
        }
        assert_eq!(status("127.0.0.1", "/", &[]), 400);
        let twice = [(header::HOST, "localhost"), (header::HOST, "localhost")];
        assert_eq!(status("127.0.0.1", "/", &twice), 400);
        for text in ["http://a", "a:80", "*", "*.example.org", "a b", ""] {
            assert!(text.parse::<Host>().is_err(), "{text}");
        }
        assert_eq!("::1".parse::<Host>().unwrap(), "[::1]".parse().unwrap());
    }

    #[test]
    fn a_server_for_other_machines_answers_to_addresses_and_names_that_are_allowed() {
        for host in
            ["192.168.1.5:8080", "10.0.0.1", "[fe80::1]", "localhost", "captions.example.org"]
        {
            assert_eq!(by_host("0.0.0.0", host), 200, "{host}");
            assert_eq!(by_host("192.168.1.5", host), 200, "{host}");
            assert_eq!(by_host("::", host), 200, "{host}");
        }
        for host in ["evil.example", "some-machine:8080", "1.2.3.4.evil.example"] {
            assert_eq!(by_host("0.0.0.0", host), 403, "{host}");
        }
    }

    #[test]
    fn an_absolute_target_is_checked_as_the_host_is() {
        let target = |target: &str, host| status("127.0.0.1", target, &[(header::HOST, host)]);
        assert_eq!(target("http://localhost:80/healthz", "localhost"), 200);
        assert_eq!(target("http://evil.example/healthz", "localhost"), 403);
        assert_eq!(target("http://localhost/healthz", "evil.example"), 403);
    }

    #[test]
    fn pages_of_another_origin_are_refused_wherever_the_server_listens() {
        for (host, origin) in [
            ("localhost:80", "http://localhost:80"),
            ("localhost:80", "http://localhost"),
            ("localhost", "http://LOCALHOST:80"),
            ("[::1]:8080", "http://[::1]:8080"),
            ("captions.example.org", "https://captions.example.org"),
            ("captions.example.org", "https://captions.example.org:443"),
        ] {
            assert_eq!(by_origin("127.0.0.1", host, origin), 200, "{origin}");
            assert_eq!(by_origin("0.0.0.0", host, origin), 200, "{origin}");
        }
        for origin in [
            "http://evil.example",
            "http://evil.example:8080",
            "null",
            "",
            "http://localhost:81",
            "https://localhost:8081",
            "http://127.0.0.1:8080",
            "http://localhost:8080/",
            "http://localhost:8080.evil.example",
            "http://user@localhost:8080",
            "http://localhost.evil.example:8080",
            "file://localhost:8080",
            "localhost:8080",
            "http://localhost:8080, http://evil.example",
        ] {
            assert_eq!(by_origin("127.0.0.1", "localhost:8080", origin), 403, "{origin}");
            assert_eq!(by_origin("0.0.0.0", "localhost:8080", origin), 403, "{origin}");
        }
        let own = "http://localhost";
        let twice = [(header::HOST, "localhost"), (header::ORIGIN, own), (header::ORIGIN, own)];
        assert_eq!(status("127.0.0.1", "/", &twice), 400);
    }

    #[test]
    fn pages_of_allowed_origins_are_answered() {
        for origin in
            ["https://pages.example.org", "https://PAGES.example.org.:443", "http://localhost:3000"]
        {
            assert_eq!(by_origin("127.0.0.1", "localhost:8080", origin), 200, "{origin}");
        }
        for origin in [
            "http://pages.example.org",
            "http://pages.example.org:443",
            "https://pages.example.org:8443",
            "https://other.pages.example.org",
            "https://pages.example.org.evil.example",
            "http://localhost:3001",
            "https://localhost:3000",
            "null",
        ] {
            assert_eq!(by_origin("127.0.0.1", "localhost:8080", origin), 403, "{origin}");
        }
        // The host is checked all the same.
        assert_eq!(by_origin("127.0.0.1", "evil.example", "https://pages.example.org"), 403);
        for text in ["*", "null", "example.org", "https://", "ftp://a", "https://a/b", ""] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }
}
