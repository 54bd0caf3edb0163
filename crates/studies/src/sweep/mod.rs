//! Sweeps: one config with some of its values varied, every trial a run of its own.
//!
//! A [`Sweep`] is read from a TOML file and checked as a whole, every trial's config with it, before
//! anything is started. [`run`] makes the trials' runs as [stages], several at a time, on one
//! machine or as one task of many on shared storage; what is finished is kept. Trials are compared on the
//! split that the file names.
//!
//! ```text
//! SWEEP/
//!   sweep.json, trials.csv    what came out
//!   index.html                the same to look at
//!   tensorboard/              the same for TensorBoard's `HParams` tab
//!   trials/003/config.toml    the trial's config
//!   trials/003/seed-42/       its run with that seed, as `capsmith train` leaves it
//!   tokenizers/               custom tokenizers, each trained once
//!   stages/, logs/            what each stage's command was, and said
//! ```

mod definition;
mod files;
mod halving;
mod hparams;
mod page;
mod plan;
mod results;
mod run;
mod slurm;
mod space;

use std::path::PathBuf;

pub use definition::{Search, Sweep, Trial};
pub use halving::Direction;
pub use results::{Results, TrialResult};
pub use run::{Ended, Options, Task, run};
pub use slurm::batch_script;
pub use space::{Axis, Domain, Settings, Space};

use crate::stages;
use foreign_text::printable_path;

/// A sweep that cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", printable_path(path))]
    Read {
        /// The sweep's file, or one of a result.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file asks for what cannot be.
    #[error("{}: {reason}", printable_path(path))]
    Invalid {
        /// The sweep's file, or one of a result.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The folder holds a sweep already.
    #[error(
        "a sweep was started in {}; add --resume to go on with it, or choose another --out", printable_path(.0)
    )]
    Started(PathBuf),
    /// A stage cannot be run.
    #[error(transparent)]
    Stages(#[from] stages::Error),
    /// A file cannot be written.
    #[error(transparent)]
    Durable(#[from] durable::Error),
    /// A run's scores cannot be read.
    #[error(transparent)]
    Training(#[from] runs::Error),
    /// A run's records cannot be read, or TensorBoard's cannot be written.
    #[error(transparent)]
    Metrics(#[from] runs::metrics::MetricsError),
}
