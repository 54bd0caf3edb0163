//! Retries after temporary failures.

use std::thread;
use std::time::Duration;

use progress::Progress;
use ureq::Body;
use ureq::http::{Response, StatusCode};

use crate::headers::header_text;
use crate::{Error, Options};

/// Maximum pause between two tries, even if the server asks for a longer one.
const MAX_PAUSE: Duration = Duration::from_mins(1);

/// Failure of one request.
#[derive(Debug)]
pub(crate) enum RequestError {
    /// Temporary failure, with the pause that the server asks for.
    Temporary { reason: String, retry_after: Duration },
    /// Permanent failure: a retry would fail the same way.
    Permanent(Box<Error>),
}

impl RequestError {
    pub fn temporary(reason: impl Into<String>) -> Self {
        Self::Temporary { reason: reason.into(), retry_after: Duration::ZERO }
    }

    /// Returns the failure for an error status that has no specific meaning.
    pub fn of_status(response: &Response<Body>, url: &str) -> Self {
        let status = response.status();
        let reason = format!("the server answered {status}");
        let is_temporary = status.is_server_error()
            || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS]
                .contains(&status);
        if !is_temporary {
            return Error::Refused { url: url.to_owned(), reason }.into();
        }
        let seconds =
            header_text(response, "retry-after").and_then(|text| text.trim().parse().ok());
        let retry_after = Duration::from_secs(seconds.unwrap_or_default());
        Self::Temporary { reason, retry_after }
    }
}

impl From<Error> for RequestError {
    fn from(error: Error) -> Self {
        Self::Permanent(Box::new(error))
    }
}

impl From<ureq::Error> for RequestError {
    fn from(error: ureq::Error) -> Self {
        Self::temporary(reason(&error))
    }
}

/// Returns why a request got no answer.
pub(crate) fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::HostNotFound => "the host's name is not known".to_owned(),
        ureq::Error::Io(cause) => cause.to_string(),
        _ => error.to_string(),
    }
}

/// Repeats `request` for `url` until it succeeds, fails for good or reaches the maximum of tries.
///
/// `request` also gets the number of failed tries, to reset it after progress.
pub(crate) fn with_retries<T>(
    options: &Options,
    url: &str,
    progress: &mut dyn Progress,
    mut request: impl FnMut(&mut dyn Progress, &mut u32) -> Result<T, RequestError>,
) -> Result<T, Error> {
    let mut tries = 0;
    loop {
        let (reason, retry_after) = match request(progress, &mut tries) {
            Ok(value) => return Ok(value),
            Err(RequestError::Permanent(error)) => return Err(*error),
            Err(RequestError::Temporary { reason, retry_after }) => (reason, retry_after),
        };
        tries += 1;
        if tries >= options.max_tries {
            return Err(Error::Unreachable { url: url.to_owned(), reason, tries });
        }
        let backoff = options.initial_backoff * 2_u32.saturating_pow(tries - 1);
        let pause = retry_after.max(backoff).min(MAX_PAUSE);
        progress.note(&format!("{url}: {reason}; trying again in {:.1} s", pause.as_secs_f32()));
        thread::sleep(pause);
    }
}
