//! Progress of long work: what libraries report, and a front end shows.
//!
//! ```
//! use progress::{Progress, Silent, Unit};
//!
//! fn add_all(numbers: &[u64], progress: &mut dyn Progress) -> u64 {
//!     progress.start("adding", Unit::Count("numbers"), Some(numbers.len() as u64), 0);
//!     let mut sum = 0;
//!     for (done, number) in (1..).zip(numbers) {
//!         sum += number;
//!         progress.position(done);
//!     }
//!     progress.finish();
//!     sum
//! }
//!
//! assert_eq!(add_all(&[1, 2, 3], &mut Silent), 6);
//! ```

/// Receives progress events, which it ignores by default. One task is in progress at a time.
pub trait Progress {
    /// Starts a task, of whose `total` units, if known, `done` are done already. It takes the place
    /// of the task before it.
    fn start(&mut self, _task: &str, _unit: Unit, _total: Option<u64>, _done: u64) {}

    /// Reports the number of units done since the beginning of the task.
    fn position(&mut self, _done: u64) {}

    /// Sets a short text that is shown with the task, such as the newest loss.
    fn detail(&mut self, _text: &str) {}

    /// Ends the task, finished or failed.
    fn finish(&mut self) {}

    /// Shows a message.
    fn note(&mut self, _message: &str) {}

    /// Reports whether there is work that is not saved. While there is, a stop must be left to the
    /// work, which saves it; else the process may end at once.
    fn unsaved(&mut self, _is_unsaved: bool) {}
}

/// Unit of a task's progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes of files.
    Bytes,
    /// Things of this name, in the plural.
    Count(&'static str),
}

/// Ignores all progress events.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}

/// Part of a larger task: positions count from where the part begins.
pub struct Part<'a> {
    whole: &'a mut dyn Progress,
    begin: u64,
}

impl<'a> Part<'a> {
    /// Begins a part after `begin` units of the task in progress.
    pub fn new(whole: &'a mut dyn Progress, begin: u64) -> Self {
        Self { whole, begin }
    }
}

impl Progress for Part<'_> {
    fn position(&mut self, done: u64) {
        self.whole.position(self.begin + done);
    }

    fn detail(&mut self, text: &str) {
        self.whole.detail(text);
    }

    fn note(&mut self, message: &str) {
        self.whole.note(message);
    }

    fn unsaved(&mut self, is_unsaved: bool) {
        self.whole.unsaved(is_unsaved);
    }
}
