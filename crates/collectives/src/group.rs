//! Interface of process groups, and the group of a single process.

use std::fmt::{self, Debug};

use tch::{Device, Tensor};

use crate::error::Error;

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
        let sum = Tensor::zeros([1], (tch::Kind::Float, self.device()));
        self.all_reduce(&sum)?.wait()?;
        // On a GPU only reading the sum makes the host wait.
        let _ = sum.f_double_value(&[0])?;
        Ok(())
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
