//! Sum of a step's gradients, over its microbatches and over all processes.

use collectives::{Buckets, StepSums};
use networks::libtorch;
use tch::{Device, Kind, Tensor, no_grad};

use crate::error::Error;

/// Sum that is extended by one microbatch at a time.
pub(crate) enum GradientSum<'a> {
    /// Sum of a single process; `None` before the first microbatch.
    Alone { sum: Option<(Tensor, Vec<Tensor>)>, device: Device },
    /// Sum over all processes. Buckets weigh gradients, and send them during the backward pass.
    Shared { buckets: &'a Buckets, loss: Tensor },
}

/// Finished sum.
pub(crate) struct Sum {
    /// Mean loss of the whole batch, a float scalar.
    pub loss: Tensor,
    /// Gradients in the order of the parameters; empty without microbatches.
    pub gradients: Vec<Tensor>,
    /// Number of processes that were asked to stop, if there are several.
    pub stop_requests: Option<Tensor>,
}

impl<'a> GradientSum<'a> {
    /// Begins a step's sum, over all processes if there are `buckets`.
    pub(crate) fn new(buckets: Option<&'a Buckets>, device: Device) -> Self {
        match buckets {
            None => Self::Alone { sum: None, device },
            Some(buckets) => {
                Self::Shared { buckets, loss: Tensor::zeros([], (Kind::Double, device)) }
            }
        }
    }

    /// Prepares a backward pass and returns the factor of its loss: `weight`, or 1 if buckets weigh
    /// the gradients.
    pub(crate) fn begin(&self, weight: f64, is_last: bool) -> f64 {
        match self {
            Self::Alone { .. } => weight,
            Self::Shared { buckets, .. } => {
                buckets.prepare_backward(weight, is_last);
                1.0
            }
        }
    }

    /// Adds the loss and the gradients of a backward pass.
    pub(crate) fn add(
        &mut self,
        loss: &Tensor,
        gradients: Vec<Tensor>,
        weight: f64,
    ) -> Result<(), Error> {
        match self {
            Self::Alone { sum: sum @ None, .. } => {
                *sum = Some((loss.shallow_clone(), gradients));
            }
            Self::Alone { sum: Some((total, totals)), .. } => no_grad(|| {
                let _ = total.f_add_(loss)?;
                libtorch::foreach_add(totals, &gradients)
            })?,
            Self::Shared { buckets, loss: total } => {
                buckets.accumulate(&gradients, weight)?;
                no_grad(|| *total += loss.to_kind(Kind::Double) * weight);
            }
        }
        Ok(())
    }

    /// Finishes the sum, once all processes have added their part.
    pub(crate) fn finish(self, stop_requested: bool) -> Result<Sum, Error> {
        match self {
            Self::Alone { sum, device } => {
                let none = || (Tensor::zeros([], (Kind::Float, device)), Vec::new());
                let (loss, gradients) = sum.unwrap_or_else(none);
                Ok(Sum { loss, gradients, stop_requests: None })
            }
            Self::Shared { buckets, loss } => {
                // Created on its device: a copy from the host would make the host wait.
                let stop = f64::from(u8::from(stop_requested));
                let stop = Tensor::full(1, stop, (Kind::Double, loss.device())).squeeze();
                let StepSums { gradients, scalars } = buckets.finish_step(&[loss, stop])?;
                let loss = scalars.get(0).to_kind(Kind::Float);
                Ok(Sum { loss, gradients, stop_requests: Some(scalars.get(1)) })
            }
        }
    }
}
