//! Steps whose losses and gradient norms are still on the device, until a log point.

use runs::checkpoints::Position;
use tch::{Device, Kind, TchError, Tensor};

use crate::learner::Step;

/// Training step whose loss and gradient norm have not been read from the device yet.
pub(crate) struct PendingStep {
    /// Number of the step, from 1.
    pub step: u64,
    /// Epoch, from 1.
    pub epoch: u64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Loss and norm, and before them the number of stop requests if there are several processes.
    values: Vec<Tensor>,
    /// Targets of the step's batch.
    pub targets: usize,
    /// Examples of the step's batch.
    pub batch: Vec<usize>,
}

/// Values of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct StepValues {
    pub loss: f64,
    pub norm: f64,
    /// Number of processes that were asked to stop; 0 for a single process.
    pub stop_requests: f64,
}

impl PendingStep {
    /// Describes the step that follows `position`.
    pub(crate) fn new(
        computed: &Step,
        position: &Position,
        targets: usize,
        batch: &[usize],
    ) -> Self {
        let stop = computed.stop_requests.as_ref().map(|stop| stop.view(1));
        Self {
            step: position.step + 1,
            epoch: position.epoch + 1,
            learning_rate: computed.learning_rate,
            values: stop.into_iter().chain([computed.values.shallow_clone()]).collect(),
            targets,
            batch: batch.to_vec(),
        }
    }
}

/// Reads the values of all steps, in one transfer.
///
/// # Errors
/// Fails if libtorch runs out of memory.
pub(crate) fn read(steps: &[PendingStep]) -> Result<Vec<StepValues>, TchError> {
    let all: Vec<&Tensor> = steps.iter().flat_map(|step| &step.values).collect();
    let all = Tensor::f_cat(&all, 0)?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?;
    let all = Vec::<f64>::try_from(all)?;
    let width = all.len() / steps.len().max(1);
    let values = |row: &[f64]| match *row {
        [loss, norm] => StepValues { loss, norm, stop_requests: 0.0 },
        [stop_requests, loss, norm] => StepValues { loss, norm, stop_requests },
        _ => unreachable!("two or three values a step"),
    };
    Ok(all.chunks(width).map(values).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(values: Vec<Tensor>) -> PendingStep {
        let (step, epoch, learning_rate, targets) = (1, 1, 0.0, 1);
        PendingStep { step, epoch, learning_rate, values, targets, batch: Vec::new() }
    }

    #[test]
    fn values_of_all_steps_are_read_with_and_without_other_processes() {
        let values = |loss: f32, norm: f32| Tensor::from_slice(&[loss, norm]);
        let alone = [pending(vec![values(1.5, 2.0)]), pending(vec![values(f32::INFINITY, 3.0)])];
        let expected = |loss, norm, stop_requests| StepValues { loss, norm, stop_requests };
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
