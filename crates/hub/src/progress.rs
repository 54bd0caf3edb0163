//! How a program that fetches shows how far it is.

/// Told of every file that is fetched or unpacked. One thing is under way at a time.
pub trait Progress {
    /// Something begins: it has `total` units, where that is known, of which `done` are there already.
    fn start(&mut self, what: &str, unit: Unit, total: Option<u64>, done: u64);

    /// So much of it is done now, counted from its beginning.
    fn position(&mut self, done: u64);

    /// It is done, or was given up.
    fn finish(&mut self);

    /// Something to tell in words: a wait, another try, a check that could not be made.
    fn say(&mut self, line: &str);
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes of a file that is fetched.
    Bytes,
    /// Files that are unpacked.
    Files,
}

/// Shows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn start(&mut self, _what: &str, _unit: Unit, _total: Option<u64>, _done: u64) {}
    fn position(&mut self, _done: u64) {}
    fn finish(&mut self) {}
    fn say(&mut self, _line: &str) {}
}
