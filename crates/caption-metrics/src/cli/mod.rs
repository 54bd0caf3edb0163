//! The command line, for `caption-eval` and for programs that have the same commands among others.
//!
//! Each command is a clap `Args` and a function that runs it and writes what it has to say to `out`.

mod evaluate;
mod fetch;
mod tokenize;

use std::io;

pub use evaluate::{
    CompareArgs, CorrelateArgs, EvaluateArgs, EvaluateCommand, ScoringArgs, evaluate, print_scores,
};
pub use fetch::{FetchMeteorArgs, fetch_meteor};
pub use tokenize::{TokenizeArgs, tokenize};

use crate::meteor::resources;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The input cannot be scored.
    #[error(transparent)]
    Input(#[from] crate::Error),
    /// METEOR's resources cannot be made or read.
    #[error(transparent)]
    Resources(#[from] resources::Error),
    /// A result cannot be written to its file.
    #[error(transparent)]
    Write(#[from] durable::Error),
    /// A line of standard input is not what it should be.
    #[error("standard input, line {line}: {message}")]
    StandardInput {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// Standard input cannot be read or standard output not written.
    #[error("{0}")]
    Stream(#[from] io::Error),
    /// The arguments do not say what to score.
    #[error("{0}")]
    Usage(&'static str),
}

impl Failure {
    /// Whether the reader of the output went away, which is no failure to tell about.
    #[must_use]
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Stream(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// Threads that may score; each takes memory, and more than a machine's cores gain nothing.
const MAX_THREADS: u64 = 1024;

/// Refuses a `RAYON_NUM_THREADS` that would exhaust the machine.
fn check_threads() -> Result<(), Failure> {
    check_count(std::env::var("RAYON_NUM_THREADS").ok().as_deref())
}

fn check_count(threads: Option<&str>) -> Result<(), Failure> {
    match threads.and_then(|threads| threads.trim().parse::<u64>().ok()) {
        Some(threads) if threads > MAX_THREADS => Err(Failure::Usage(
            "RAYON_NUM_THREADS is more than 1024; set it to the number of cores or fewer",
        )),
        _ => Ok(()),
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Stream(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_threads_than_any_machine_has_are_refused() {
        for wanted in [None, Some("8"), Some("1024"), Some(""), Some("many")] {
            assert!(check_count(wanted).is_ok(), "{wanted:?}");
        }
        for wanted in ["1025", " 1000000 "] {
            let error = check_count(Some(wanted)).err().map(|error| error.to_string());
            assert!(error.is_some_and(|error| error.contains("1024")), "{wanted}");
        }
    }
}
