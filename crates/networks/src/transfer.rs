//! Transfers between the host and a GPU that neither side waits for.

use tch::{Device, TchError, Tensor};

use crate::libtorch::Event;

/// Values of a tensor on their way to the host.
///
/// A GPU copies them when it has computed them, and the host is free until it asks for them by
/// [`Reading::wait`]. That waits for these values alone, not for work that was given to the GPU since.
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
    fn a_reading_has_the_values_from_when_it_was_started() {
        let tensor = Tensor::from_slice(&[1.0f32, -2.5, f32::MAX]);
        let reading = Reading::start(&tensor).unwrap();
        let _ = tensor.shallow_clone().fill_(7.0);
        let values = Vec::<f32>::try_from(reading.wait().unwrap()).unwrap();
        assert_eq!(values, [1.0, -2.5, f32::MAX]);
    }
}
