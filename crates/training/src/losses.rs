//! Losses and gradient norms that are still on the device, and their transfer at a log point.

use tch::{Device, Kind, TchError, Tensor};

use crate::learner::Step;

/// A step that is launched and not read yet.
pub(crate) struct Pending {
    pub step: u64,
    pub epoch: u64,
    pub rate: f64,
    /// Loss and norm, and of several processes how many were asked to stop.
    values: Vec<Tensor>,
    /// Targets of the step's batch.
    pub targets: usize,
    /// The examples of its batch.
    pub batch: Vec<usize>,
}

/// The values of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Values {
    pub loss: f64,
    pub norm: f64,
    /// Number of processes that were asked to stop; 0 without other processes.
    pub wanting_to_stop: f64,
}

impl Pending {
    /// Keeps what is read later of `computed`.
    pub fn new(computed: &Step, step: u64, epoch: u64, targets: usize, batch: &[usize]) -> Self {
        let stop = computed.wanting_to_stop.as_ref().map(|stop| stop.view(1));
        let values = stop.into_iter().chain([computed.values.shallow_clone()]).collect();
        Self { step, epoch, rate: computed.rate, values, targets, batch: batch.to_vec() }
    }
}

/// Reads the values of all steps, in one transfer.
///
/// # Errors
/// Fails if libtorch refuses, for want of memory.
pub(crate) fn read(pending: &[Pending]) -> Result<Vec<Values>, TchError> {
    let all: Vec<&Tensor> = pending.iter().flat_map(|pending| &pending.values).collect();
    let all = Tensor::f_cat(&all, 0)?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?;
    let all = Vec::<f64>::try_from(all)?;
    let width = all.len() / pending.len().max(1);
    let values = |row: &[f64]| match *row {
        [loss, norm] => Values { loss, norm, wanting_to_stop: 0.0 },
        [wanting_to_stop, loss, norm] => Values { loss, norm, wanting_to_stop },
        _ => unreachable!("two or three values a step"),
    };
    Ok(all.chunks(width).map(values).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(values: Vec<Tensor>) -> Pending {
        Pending { step: 1, epoch: 1, rate: 0.0, values, targets: 1, batch: Vec::new() }
    }

    #[test]
    fn values_of_all_steps_are_read_with_and_without_other_processes() {
        let values = |loss: f32, norm: f32| Tensor::from_slice(&[loss, norm]);
        let alone = [pending(vec![values(1.5, 2.0)]), pending(vec![values(f32::INFINITY, 3.0)])];
        let expected = |loss, norm, wanting_to_stop| Values { loss, norm, wanting_to_stop };
        let both = [expected(1.5, 2.0, 0.0), expected(f64::INFINITY, 3.0, 0.0)];
        assert_eq!(read(&alone).unwrap(), both);
        // Sums over processes are f64.
        let stop = |count: f64| Tensor::from_slice(&[count]);
        let several = [
            pending(vec![stop(0.0), values(0.1, 2.0)]),
            pending(vec![stop(2.0), values(0.25, 3.0)]),
        ];
        let both = [expected(f64::from(0.1_f32), 2.0, 0.0), expected(0.25, 3.0, 2.0)];
        assert_eq!(read(&several).unwrap(), both);
    }
}
