//! Retries after temporary failures.

use std::thread;
use std::time::Duration;

use ureq::Body;
use ureq::http::{Response, StatusCode};

use crate::client::header_text;
use crate::{Error, Options, Progress};

/// Maximum pause between two tries, even if the server asks for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Failure of one try.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Temporary failure. `wait` is the pause that the server asks for.
    Passing { reason: String, wait: Option<Duration> },
    /// Permanent failure: a retry would fail the same way.
    Final(Box<Error>),
}

impl Fault {
    pub fn passing(reason: impl Into<String>) -> Self {
        Self::Passing { reason: reason.into(), wait: None }
    }

    /// Returns the failure for an error status that has no specific meaning.
    pub fn of_status(answer: &Response<Body>, url: &str) -> Self {
        let status = answer.status();
        let reason = format!("the server answered {status}");
        let passes = status.is_server_error()
            || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS]
                .contains(&status);
        if !passes {
            return Error::Refused { url: url.to_owned(), reason }.into();
        }
        let wait = header_text(answer, "retry-after").and_then(|wait| wait.trim().parse().ok());
        Self::Passing { reason, wait: wait.map(Duration::from_secs) }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Final(Box::new(error))
    }
}

impl From<ureq::Error> for Fault {
    fn from(error: ureq::Error) -> Self {
        let reason = match &error {
            ureq::Error::HostNotFound => "the host's name is not known".to_owned(),
            ureq::Error::Io(cause) => cause.to_string(),
            _ => error.to_string(),
        };
        Self::passing(reason)
    }
}

/// Retry counter of one request.
pub(crate) struct Patience<'o> {
    options: &'o Options,
    made: u32,
}

impl<'o> Patience<'o> {
    pub fn new(options: &'o Options) -> Self {
        Self { options, made: 0 }
    }

    /// Resets the counter, because the last try made progress.
    pub fn renew(&mut self) {
        self.made = 0;
    }

    /// Pauses after a failed try of `url`, or returns the error of the last try.
    pub fn pause(
        &mut self,
        url: &str,
        fault: Fault,
        progress: &mut dyn Progress,
    ) -> Result<(), Error> {
        let (reason, wait) = match fault {
            Fault::Final(error) => return Err(*error),
            Fault::Passing { reason, wait } => (reason, wait),
        };
        self.made += 1;
        if self.made >= self.options.tries {
            return Err(Error::Unreachable { url: url.to_owned(), reason, tries: self.made });
        }
        let own = self.options.first_pause * 2_u32.saturating_pow(self.made - 1);
        let pause = wait.unwrap_or_default().max(own).min(LONGEST_PAUSE);
        progress.say(&format!("{url}: {reason}; trying again in {:.1} s", pause.as_secs_f32()));
        thread::sleep(pause);
        Ok(())
    }
}

/// Repeats `request` for `url` until it succeeds, fails for good or reaches the maximum of tries.
pub(crate) fn with_retries<T>(
    options: &Options,
    url: &str,
    progress: &mut dyn Progress,
    mut request: impl FnMut() -> Result<T, Fault>,
) -> Result<T, Error> {
    let mut patience = Patience::new(options);
    loop {
        match request() {
            Ok(value) => return Ok(value),
            Err(fault) => patience.pause(url, fault, progress)?,
        }
    }
}
