//! Headers of responses.

use ureq::Body;
use ureq::http::Response;

/// Returns a header's value; `None` if it is not text.
pub(crate) fn header_text<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}
