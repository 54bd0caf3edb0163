//! Errors of distributed jobs.

use std::time::Duration;

use tch::TchError;

/// Failure of a distributed job.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The launcher sets no rendezvous address, or invalid variables.
    #[error(transparent)]
    Launcher(#[from] launchers::Error),
    /// This program is built without the backend for the device.
    #[error(
        "the job has {world_size} processes, but this capsmith is built without the feature {feature}\nhint: build it with `cargo build --release --features {feature}`"
    )]
    NotBuilt {
        /// Number of processes.
        world_size: usize,
        /// Cargo feature to build with.
        feature: &'static str,
    },
    /// The processes did not find each other in time.
    #[error(
        "rank {rank} of {world_size} cannot connect to the others at {address} within {} s: {reason}\nhint: check that all processes start, and that the address is reachable", timeout.as_secs()
    )]
    RendezvousFailed {
        /// Rank of this process.
        rank: usize,
        /// Number of processes.
        world_size: usize,
        /// Host and port of the rendezvous.
        address: String,
        /// Time limit.
        timeout: Duration,
        /// Reason, from c10d.
        reason: String,
    },
    /// Another process has ended, hangs, or is unreachable.
    #[error(
        "rank {rank} of {world_size} lost another process, which has ended, hangs or is unreachable (time limit {} s): {reason}", timeout.as_secs()
    )]
    PeerLost {
        /// Rank of this process.
        rank: usize,
        /// Number of processes.
        world_size: usize,
        /// Time limit.
        timeout: Duration,
        /// Reason, from c10d.
        reason: String,
    },
    /// libtorch error.
    #[error("libtorch: {0}")]
    Torch(#[from] TchError),
}
