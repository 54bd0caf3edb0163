//! What processes that train together say to each other.
//!
//! [`Collectives`] is all that training knows of other processes. [`connect`] makes one for the place
//! that a launcher gave this process: [`Alone`] where there is no other, and elsewhere c10d, the
//! engine of `torch.distributed` that libtorch contains, with Gloo between processors and NCCL
//! between GPUs. Those need the features `gloo` and `nccl`; without them nothing is compiled or linked.
//!
//! [`Buckets`] sums gradients over all processes while the backward pass still makes others.

mod buckets;
#[cfg(feature = "gloo")]
mod c10d;
mod hooks;

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "gloo")]
use launchers::Meeting;
use launchers::Place;
use tch::{Device, TchError, Tensor};

pub use buckets::{BUCKET_BYTES, Buckets, Sums};

/// A job of processes that cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The launcher does not say where processes meet.
    #[error(transparent)]
    Launcher(#[from] launchers::Error),
    /// This program cannot speak with other processes on such a device.
    #[error(
        "there are {world_size} processes, but this capsmith was built for one; build it with `cargo build --release --features {feature}`"
    )]
    NotBuilt {
        /// How many.
        world_size: usize,
        /// What it has to be built with.
        feature: &'static str,
    },
    /// The processes do not find each other.
    #[error(
        "rank {rank} of {world_size} did not meet the others at {at} within {} s: {reason}", timeout.as_secs()
    )]
    NotMet {
        /// This process's number.
        rank: usize,
        /// How many there are.
        world_size: usize,
        /// Host and port.
        at: String,
        /// How long it waited.
        timeout: Duration,
        /// The engine's words.
        reason: String,
    },
    /// Another process ended, hangs, or cannot be reached.
    #[error(
        "rank {rank} of {world_size} lost the others, of whom one has ended, hangs or cannot be reached (they wait for each other for {} s): {reason}", timeout.as_secs()
    )]
    Lost {
        /// This process's number.
        rank: usize,
        /// How many there are.
        world_size: usize,
        /// How long it waits.
        timeout: Duration,
        /// The engine's words.
        reason: String,
    },
    /// libtorch refused an operation.
    #[error("libtorch: {0}")]
    Torch(#[from] TchError),
}

/// Processes that work together. All of them make the same calls in the same order.
///
/// A call whose others do not come within the time limit is an error, after which the job is over.
pub trait Collectives: Debug + Send + Sync {
    /// This process's number, from 0.
    fn rank(&self) -> usize;

    /// How many processes there are.
    fn world_size(&self) -> usize;

    /// Begins to sum a contiguous tensor over all processes, in place.
    ///
    /// # Errors
    /// When it cannot begin.
    fn all_reduce(&self, tensor: &Tensor) -> Result<Pending, Error>;

    /// Gives every process rank 0's contiguous tensor, in place.
    ///
    /// # Errors
    /// When another process is lost.
    fn broadcast(&self, tensor: &Tensor) -> Result<(), Error>;

    /// Waits until every process is here.
    ///
    /// # Errors
    /// When another process is lost.
    fn barrier(&self) -> Result<(), Error> {
        self.all_reduce(&Tensor::zeros([1], (tch::Kind::Float, self.device())))?.wait()
    }

    /// Where tensors have to be.
    fn device(&self) -> Device;

    /// Gives every process rank 0's bytes.
    ///
    /// # Errors
    /// When another process is lost.
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

/// Something begun that ends by itself.
#[must_use]
pub struct Pending(Option<Box<dyn FnOnce() -> Result<(), Error> + Send>>);

impl Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}

impl Pending {
    /// What ends when `wait` returns.
    pub fn new(wait: impl FnOnce() -> Result<(), Error> + Send + 'static) -> Self {
        Self(Some(Box::new(wait)))
    }

    /// Waits for its end: on the processor until it is there; on a GPU what is computed next waits.
    ///
    /// # Errors
    /// When another process is lost.
    pub fn wait(self) -> Result<(), Error> {
        self.0.map_or(Ok(()), |wait| wait())
    }
}

/// A process without others.
#[derive(Debug, Clone, Copy)]
pub struct Alone;

impl Collectives for Alone {
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

/// c10d for the processes that meet at a place, be it one process alone.
///
/// # Errors
/// As [`connect`].
#[cfg(feature = "gloo")]
pub fn meet(
    place: Place,
    meeting: &Meeting,
    device: Device,
    timeout: Duration,
) -> Result<Arc<dyn Collectives>, Error> {
    Ok(Arc::new(c10d::Group::meet(place, meeting, device, timeout)?))
}

/// Meets the other processes of the job, of whose models this one's is on `device`. They wait for
/// each other for `timeout` and no longer, now and at every later call.
///
/// # Errors
/// When nothing says where to meet, the others do not come, or this program cannot do it.
pub fn connect(
    place: Place,
    device: Device,
    timeout: Duration,
) -> Result<Arc<dyn Collectives>, Error> {
    if place.is_alone() {
        return Ok(Arc::new(Alone));
    }
    #[cfg(feature = "gloo")]
    if device == Device::Cpu || cfg!(feature = "nccl") {
        return meet(place, &place.meeting()?, device, timeout);
    }
    let _ = timeout;
    let feature = if device == Device::Cpu { "gloo" } else { "nccl" };
    Err(Error::NotBuilt { world_size: place.world_size, feature })
}
