//! Hyperparameter sweeps: a config with varied values, each combination a trial with its own runs.
//!
//! A [`Sweep`] is read from a TOML file and checked, with the config of every trial, before the
//! first trial starts. [`run`] runs the trials as [stages], several in parallel, on one machine or
//! as one of several tasks on shared storage; finished stages are reused. Trials are compared on
//! the split that the file names.
//!
//! ```text
//! SWEEP/
//!   sweep.json, trials.csv    results
//!   index.html                page of the results
//!   tensorboard/              results for TensorBoard's `HParams` tab
//!   trials/003/config.toml    config of the trial
//!   trials/003/seed-42/       run folder of the trial with this seed
//!   tokenizers/               custom tokenizers, each trained once
//!   stages/, logs/            record and log of each stage
//! ```

mod definition;
mod files;
mod halving;
mod hparams;
mod page;
mod plan;
mod plot;
mod reporter;
mod results;
mod run;
mod slurm;
mod space;

use std::path::PathBuf;

pub use definition::{Search, Sweep, Trial};
pub use halving::Direction;
pub use results::{Results, TrialResult};
pub use run::{Options, SweepOutcome, Task, run};
pub use slurm::batch_script;
pub use space::{Axis, Domain, Settings, Space};

use crate::stages;
use foreign_text::printable_path;

/// Error of loading or running a sweep.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", printable_path(path))]
    Read {
        /// The sweep file, or a file of a result.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The sweep file or a result is invalid.
    #[error("{}: {reason}", printable_path(path))]
    Invalid {
        /// The sweep file, or a file of a result.
        path: PathBuf,
        /// Description of the defect, and what to do.
        reason: String,
    },
    /// The folder already holds a sweep.
    #[error(
        "{} already holds a sweep\nhint: add --resume to resume it or --rerun to run all of it again, or choose another --out", printable_path(.0)
    )]
    Started(PathBuf),
    /// A stage cannot run.
    #[error(transparent)]
    Stages(#[from] stages::Error),
    /// A file cannot be written.
    #[error(transparent)]
    Durable(#[from] durable::Error),
    /// A run's scores cannot be read.
    #[error(transparent)]
    Training(#[from] runs::Error),
    /// A run's metrics cannot be read, or TensorBoard's events cannot be written.
    #[error(transparent)]
    Metrics(#[from] runs::metrics::MetricsError),
}
