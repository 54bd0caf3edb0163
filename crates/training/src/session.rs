//! Options and outcome of [`crate::trainer::train`].

use std::path::PathBuf;

use launchers::ProcessRank;

/// Scope of one call of [`crate::trainer::train`]. The run itself is its configuration's.
#[derive(Debug, Clone, Default)]
pub struct TrainOptions {
    /// Resumes a run that is there; without it there must be none.
    pub resume: bool,
    /// Stops after this many epochs of the run, on the schedule of all of them.
    pub stop_after_epochs: Option<u64>,
    /// Folder of custom tokenizers that runs on the same captions share ([`crate::tokenizers`]).
    pub tokenizers: Option<PathBuf>,
    /// Rank of this process, and the number of processes that train the run together.
    pub process: ProcessRank,
}

/// Outcome of a training run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All epochs are done.
    Finished {
        /// Steps in all.
        steps: u64,
    },
    /// The loss had not improved for the configured number of epochs.
    StoppedEarly {
        /// Epochs done.
        epochs: u64,
    },
    /// Reached [`TrainOptions::stop_after_epochs`]. A checkpoint to resume from is written.
    Paused {
        /// Epochs done.
        epochs: u64,
    },
    /// Asked to stop. A checkpoint to resume from is written.
    Interrupted {
        /// Steps done.
        steps: u64,
    },
}
