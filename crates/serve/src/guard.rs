//! Who may ask, and what browsers are told about every answer.
//!
//! A server on a loopback address is for this machine's own programs. A web page elsewhere reaches it
//! through its reader's browser: by a name that it lets point here (DNS rebinding), which the `Host`
//! header betrays, or by posting here from its own origin, which `Origin` betrays.

use std::net::IpAddr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::error::Refusal;

/// Headers of every answer. The page needs nothing but its own files and the pictures it is given.
const SECURITY: [(HeaderName, &str); 5] = [
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

/// Adds what browsers are told.
pub(crate) fn secure(headers: &mut HeaderMap) {
    for (name, value) in SECURITY {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Refuses requests that come by another name than this machine's, where `address` is a loopback
/// address, and those from pages of another origin.
pub(crate) fn check(headers: &HeaderMap, address: IpAddr) -> Result<(), Refusal> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let host = text(header::HOST).unwrap_or_default();
    if address.is_loopback() && !is_loopback_name(host, address) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            format!(
                "this server answers to localhost, 127.0.0.1 and [::1], and not to {host:?}; --address lets others reach it"
            ),
        ));
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    if origin.split_once("://").is_some_and(|(_, authority)| authority == host) {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::FORBIDDEN,
        format!("pages of another origin, such as {origin:?}, may not ask for captions"),
    ))
}

fn is_loopback_name(host: &str, address: IpAddr) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| {
            ip == address || ["127.0.0.1", "::1"].iter().any(|known| ip.to_string() == *known)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(host: &str, origin: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        headers
    }

    fn passes(host: &str, origin: Option<&str>, address: &str) -> bool {
        check(&headers(host, origin), address.parse().unwrap()).is_ok()
    }

    #[test]
    fn a_loopback_server_answers_to_this_machines_names_alone() {
        for host in ["localhost", "LocalHost:80", "127.0.0.1:8080", "127.0.0.1", "[::1]:80"] {
            assert!(passes(host, None, "127.0.0.1"), "{host}");
        }
        let others = [
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil@localhost.example",
            "127.0.0.2",
            "",
            "10.0.0.1",
        ];
        for host in others {
            assert!(!passes(host, None, "127.0.0.1"), "{host}");
        }
        assert!(passes("127.0.0.2:80", None, "127.0.0.2"));
        assert!(passes("evil.example", None, "0.0.0.0"));
    }

    #[test]
    fn pages_of_another_origin_are_refused_wherever_the_server_listens() {
        assert!(passes("localhost:80", Some("http://localhost:80"), "127.0.0.1"));
        assert!(passes("some.host", Some("https://some.host"), "0.0.0.0"));
        for origin in ["http://evil.example", "null", "http://localhost:81", ""] {
            assert!(!passes("localhost:80", Some(origin), "127.0.0.1"), "{origin}");
        }
        assert!(!passes("some.host", Some("https://evil.example"), "0.0.0.0"));
    }
}
