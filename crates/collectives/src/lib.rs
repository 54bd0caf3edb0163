//! Collective operations between the processes of a distributed training job.
//!
//! Training accesses other processes only through [`Collectives`]. [`connect`] returns
//! [`SingleProcess`] for a single process, otherwise c10d, the engine of `torch.distributed` inside
//! libtorch: Gloo for CPUs and NCCL for GPUs. They need the features `gloo` and `nccl`; without
//! these no C++ code is compiled or linked.
//!
//! [`Buckets`] sums gradients over all processes while the backward pass is still running.

mod buckets;
#[cfg(feature = "gloo")]
mod c10d;
mod hooks;

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use launchers::ProcessRank;
#[cfg(feature = "gloo")]
use launchers::Rendezvous;
use tch::{Device, TchError, Tensor};

pub use buckets::{BUCKET_BYTES, Buckets, StepSums};

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

/// Process group. All processes must make the same calls in the same order.
///
/// A call fails if the others do not make it within the time limit; the job is then over.
pub trait Collectives: Debug + Send + Sync {
    /// Returns the rank of this process, from 0.
    fn rank(&self) -> usize;

    /// Returns the number of processes.
    fn world_size(&self) -> usize;

    /// Starts to sum a contiguous tensor over all processes, in place.
    ///
    /// # Errors
    /// Fails if the operation cannot start.
    fn all_reduce(&self, tensor: &Tensor) -> Result<Pending, Error>;

    /// Copies rank 0's contiguous tensor to every process, in place.
    ///
    /// # Errors
    /// Fails if another process is lost.
    fn broadcast(&self, tensor: &Tensor) -> Result<(), Error>;

    /// Waits until every process has called it.
    ///
    /// # Errors
    /// Fails if another process is lost.
    fn barrier(&self) -> Result<(), Error> {
        self.all_reduce(&Tensor::zeros([1], (tch::Kind::Float, self.device())))?.wait()
    }

    /// Returns the device that tensors must be on.
    fn device(&self) -> Device;

    /// Returns rank 0's bytes on every process.
    ///
    /// # Errors
    /// Fails if another process is lost.
    fn broadcast_bytes(&self, bytes: &[u8]) -> Result<Vec<u8>, Error> {
        let device = self.device();
        let length = Tensor::from_slice(&[bytes.len() as i64]).to_device(device);
        self.broadcast(&length)?;
        let length = length.int64_value(&[0]);
        let all = if self.rank() == 0 {
            Tensor::from_slice(bytes).to_device(device)
        } else {
            Tensor::zeros([length], (tch::Kind::Uint8, device))
        };
        self.broadcast(&all)?;
        Ok(Vec::<u8>::try_from(&all.to_device(Device::Cpu))?)
    }
}

/// Collective operation in progress.
#[must_use]
pub struct Pending(Option<Box<dyn FnOnce() -> Result<(), Error> + Send>>);

impl Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}

impl Pending {
    /// Creates an operation that ends when `wait` returns.
    pub fn new(wait: impl FnOnce() -> Result<(), Error> + Send + 'static) -> Self {
        Self(Some(Box::new(wait)))
    }

    /// Waits for the end of the operation.
    ///
    /// On a GPU it does not block the host: later work on the GPU waits.
    ///
    /// # Errors
    /// Fails if another process is lost.
    pub fn wait(self) -> Result<(), Error> {
        self.0.map_or(Ok(()), |wait| wait())
    }
}

/// Process group of a single process.
#[derive(Debug, Clone, Copy)]
pub struct SingleProcess;

impl Collectives for SingleProcess {
    fn rank(&self) -> usize {
        0
    }

    fn world_size(&self) -> usize {
        1
    }

    fn all_reduce(&self, _tensor: &Tensor) -> Result<Pending, Error> {
        Ok(Pending(None))
    }

    fn broadcast(&self, _tensor: &Tensor) -> Result<(), Error> {
        Ok(())
    }

    fn device(&self) -> Device {
        Device::Cpu
    }
}

/// Connects the processes of a rendezvous through c10d, even a single one.
///
/// # Errors
/// Same as [`connect`].
#[cfg(feature = "gloo")]
pub fn connect_c10d(
    process: ProcessRank,
    rendezvous: &Rendezvous,
    device: Device,
    timeout: Duration,
) -> Result<Arc<dyn Collectives>, Error> {
    Ok(Arc::new(c10d::Group::connect(process, rendezvous, device, timeout)?))
}

/// Connects to the other processes of the job; this one's model is on `device`.
///
/// `timeout` limits the time that processes wait for each other, here and in every later call.
///
/// # Errors
/// Fails without a rendezvous address, if the others do not connect in time, or if this program is
/// built without the backend for the device.
pub fn connect(
    process: ProcessRank,
    device: Device,
    timeout: Duration,
) -> Result<Arc<dyn Collectives>, Error> {
    if process.is_single() {
        return Ok(Arc::new(SingleProcess));
    }
    #[cfg(feature = "gloo")]
    if device == Device::Cpu || cfg!(feature = "nccl") {
        return connect_c10d(process, &process.rendezvous()?, device, timeout);
    }
    let _ = timeout;
    let feature = if device == Device::Cpu { "gloo" } else { "nccl" };
    Err(Error::NotBuilt { world_size: process.world_size, feature })
}
