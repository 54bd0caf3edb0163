//! Progress events of fetching and unpacking.

/// Receives progress events. One task is in progress at a time.
pub trait DownloadProgress {
    /// Starts a task; `done` of its `total` units, if known, are done already.
    fn start(&mut self, task: &str, unit: Unit, total: Option<u64>, done: u64);

    /// Reports the number of units done since the beginning of the task.
    fn position(&mut self, done: u64);

    /// Ends the task, finished or failed.
    fn finish(&mut self);

    /// Shows a message: a wait, a retry, a check that is not possible.
    fn message(&mut self, line: &str);
}

/// Unit of a task's progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes of a file that is fetched.
    Bytes,
    /// Files that are unpacked.
    Files,
}

/// Ignores all progress events.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl DownloadProgress for NoProgress {
    fn start(&mut self, _task: &str, _unit: Unit, _total: Option<u64>, _done: u64) {}
    fn position(&mut self, _done: u64) {}
    fn finish(&mut self) {}
    fn message(&mut self, _line: &str) {}
}
