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
mod error;
mod group;
mod hooks;

use std::sync::Arc;
use std::time::Duration;

use launchers::ProcessRank;
#[cfg(feature = "gloo")]
use launchers::Rendezvous;
use tch::Device;

pub use buckets::{BUCKET_BYTES, Buckets, StepSums};
pub use error::Error;
pub use group::{Collectives, Pending, SingleProcess};

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
