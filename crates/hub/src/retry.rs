//! Which failures pass by themselves, and waiting for that.

use std::thread;
use std::time::Duration;

use ureq::Body;
use ureq::http::{Response, StatusCode};

use crate::client::header_text;
use crate::{Error, Options, Progress};

/// The longest wait between two tries, also where the server wishes a longer one.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Why a try failed.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Another try may go better, after the wait that the server wishes.
    Passing { reason: String, wait: Option<Duration> },
    /// Another try would fail the same way.
    Final(Box<Error>),
}

impl Fault {
    pub fn passing(reason: impl Into<String>) -> Self {
        Self::Passing { reason: reason.into(), wait: None }
    }

    /// What an answer that is no success means, where no more is known of it.
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

/// The tries of one request.
pub(crate) struct Patience<'o> {
    options: &'o Options,
    made: u32,
}

impl<'o> Patience<'o> {
    pub fn new(options: &'o Options) -> Self {
        Self { options, made: 0 }
    }

    /// Begins to count anew: the last try brought something.
    pub fn renew(&mut self) {
        self.made = 0;
    }

    /// After a failed try of `url`: waits for the next one, or says that it was the last.
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

/// Does `request` for `url` until it succeeds, fails for good, or has been tried often enough.
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
