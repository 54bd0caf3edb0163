//! Asynchronous transfers between host and GPU.

use tch::{Device, Kind, TchError, Tensor};

use crate::libtorch::{Event, empty_pinned, values};

/// Copies `tensor` to `device`. The host does not wait for a GPU, and may change its tensor at
/// once.
///
/// # Errors
/// Fails if memory is exhausted.
pub fn to_device(tensor: &Tensor, device: Device) -> Result<Tensor, TchError> {
    if !device.is_cuda() || tensor.device() != Device::Cpu {
        return tensor.f_to_device(device);
    }
    let kind = tensor.f_kind()?;
    let mut pinned = empty_pinned(&tensor.size(), kind)?;
    pinned.f_copy_(tensor)?;
    pinned.f_to_device_(device, kind, true, false)
}

/// Host buffer for uploads to a device; page-locked if the device is a GPU.
#[derive(Debug)]
pub struct HostBytes(Tensor);

impl HostBytes {
    /// Allocates `count` bytes, whose initial values are unspecified.
    ///
    /// # Errors
    /// Fails if memory is exhausted.
    pub fn new(count: usize, device: Device) -> Result<Self, TchError> {
        let size = [count as i64];
        if device.is_cuda() {
            return empty_pinned(&size, Kind::Uint8).map(Self);
        }
        Tensor::f_zeros(size, (Kind::Uint8, Device::Cpu)).map(Self)
    }

    /// Returns the bytes.
    ///
    /// Do not change those of an upload until a result computed from them has been read.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        values(&mut self.0)
    }

    /// Copies the first bytes to `device` as a tensor of `shape`, without waiting for a GPU.
    ///
    /// # Errors
    /// Fails if memory is exhausted, or `shape` exceeds the buffer.
    pub fn upload(&self, shape: &[i64], device: Device) -> Result<Tensor, TchError> {
        let first = self.0.f_narrow(0, 0, shape.iter().product())?.f_view(shape)?;
        first.f_to_device_(device, Kind::Uint8, true, false)
    }
}

/// Copy of a tensor on its way to the host.
///
/// The GPU copies the values once it has computed them; the host is free until it calls
/// [`PendingCopy::wait`], which does not wait for work that was queued on the GPU later.
#[derive(Debug)]
pub struct PendingCopy {
    values: Tensor,
    event: Option<Event>,
}

impl PendingCopy {
    /// Starts to copy the current values of `tensor`; later changes have no effect.
    ///
    /// # Errors
    /// Fails if memory is exhausted, or earlier work of the GPU failed.
    pub fn start(tensor: &Tensor) -> Result<Self, TchError> {
        // libtorch copies asynchronously into page-locked memory.
        let values = tensor.f_to_device_(Device::Cpu, tensor.f_kind()?, true, true)?;
        let event = match tensor.device() {
            Device::Cuda(gpu) => Some(Event::record(gpu)?),
            _ => None,
        };
        Ok(Self { values, event })
    }

    /// Waits for the values; returns a host tensor.
    ///
    /// # Errors
    /// Fails if the GPU's work failed.
    pub fn wait(self) -> Result<Tensor, TchError> {
        if let Some(event) = &self.event {
            event.wait()?;
        }
        Ok(self.values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_are_uploaded_in_their_shape() {
        let mut bytes = HostBytes::new(8, Device::Cpu).unwrap();
        bytes.as_mut_slice().copy_from_slice(&[1, 2, 3, 4, 250, 6, 7, 8]);
        let uploaded = bytes.upload(&[2, 3], Device::Cpu).unwrap();
        assert_eq!(Vec::<Vec<u8>>::try_from(uploaded).unwrap(), [[1, 2, 3], [4, 250, 6]]);
        assert!(bytes.upload(&[3, 3], Device::Cpu).is_err());
        assert!(HostBytes::new(0, Device::Cpu).unwrap().as_mut_slice().is_empty());
    }

    #[test]
    fn a_pending_copy_has_the_values_at_its_start() {
        let tensor = Tensor::from_slice(&[1.0f32, -2.5, f32::MAX]);
        let reading = PendingCopy::start(&tensor).unwrap();
        let _ = tensor.shallow_clone().fill_(7.0);
        let values = Vec::<f32>::try_from(reading.wait().unwrap()).unwrap();
        assert_eq!(values, [1.0, -2.5, f32::MAX]);
    }
}
