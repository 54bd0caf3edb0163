//! Transfers between the host and a GPU that neither side waits for.

use tch::{Device, Kind, TchError, Tensor};

use crate::libtorch::{Event, empty_pinned, values};

/// Returns `tensor` on `device`. The host does not wait for a copy to a GPU, and may change its
/// tensor at once.
///
/// # Errors
/// Fails without memory.
pub fn to_device(tensor: &Tensor, device: Device) -> Result<Tensor, TchError> {
    if !device.is_cuda() || tensor.device() != Device::Cpu {
        return tensor.f_to_device(device);
    }
    let kind = tensor.f_kind()?;
    let mut pinned = empty_pinned(&tensor.size(), kind)?;
    pinned.f_copy_(tensor)?;
    pinned.f_to_device_(device, kind, true, false)
}

/// Bytes of the host to be copied to a device, which are page-locked where it is a GPU.
#[derive(Debug)]
pub struct HostBytes(Tensor);

impl HostBytes {
    /// Returns so many bytes of any values.
    ///
    /// # Errors
    /// Fails without memory.
    pub fn new(count: usize, device: Device) -> Result<Self, TchError> {
        let size = [count as i64];
        if device.is_cuda() {
            return empty_pinned(&size, Kind::Uint8).map(Self);
        }
        Tensor::f_zeros(size, (Kind::Uint8, Device::Cpu)).map(Self)
    }

    /// The bytes. Those of an upload must not change before something was read that was computed
    /// from them.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        values(&mut self.0)
    }

    /// Returns the first bytes as a tensor of `shape` on `device`, without waiting for the copy to
    /// a GPU.
    ///
    /// # Errors
    /// Fails without memory, or for more bytes than there are.
    pub fn upload(&self, shape: &[i64], device: Device) -> Result<Tensor, TchError> {
        let first = self.0.f_narrow(0, 0, shape.iter().product())?.f_view(shape)?;
        first.f_to_device_(device, Kind::Uint8, true, false)
    }
}

/// Values of a tensor on their way to the host.
///
/// A GPU copies them when it has computed them, and the host is free until it asks for them by
/// [`Reading::wait`]. That waits for these values alone, not for work that was given to the GPU
/// since.
#[derive(Debug)]
pub struct Reading {
    values: Tensor,
    arrival: Option<Event>,
}

impl Reading {
    /// Starts to copy the values that `tensor` has now: later changes of it are not seen.
    ///
    /// # Errors
    /// Fails without memory, or where earlier work of the GPU failed.
    pub fn start(tensor: &Tensor) -> Result<Self, TchError> {
        // libtorch puts what it copies without blocking into page-locked memory.
        let values = tensor.f_to_device_(Device::Cpu, tensor.f_kind()?, true, true)?;
        let arrival = match tensor.device() {
            Device::Cuda(gpu) => Some(Event::record(gpu)?),
            _ => None,
        };
        Ok(Self { values, arrival })
    }

    /// Waits for the values and returns them, a tensor of the host.
    ///
    /// # Errors
    /// Fails where the GPU's work failed.
    pub fn wait(self) -> Result<Tensor, TchError> {
        if let Some(arrival) = &self.arrival {
            arrival.wait()?;
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
    fn a_reading_has_the_values_from_when_it_was_started() {
        let tensor = Tensor::from_slice(&[1.0f32, -2.5, f32::MAX]);
        let reading = Reading::start(&tensor).unwrap();
        let _ = tensor.shallow_clone().fill_(7.0);
        let values = Vec::<f32>::try_from(reading.wait().unwrap()).unwrap();
        assert_eq!(values, [1.0, -2.5, f32::MAX]);
    }
}
