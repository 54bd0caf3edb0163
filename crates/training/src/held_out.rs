//! Loss on held-out examples, after each epoch.

use std::sync::atomic::{AtomicBool, Ordering};

use collectives::Collectives;
use recipes::Config;
use tch::{Device, Kind, Tensor, no_grad};

use crate::batches::Example;
use crate::error::Error;
use crate::learner::Model;
use crate::state::TrainState;
use crate::systems::System;

/// Result of a measurement.
pub(crate) enum HeldOutLoss {
    /// The loss; `None` if nothing is held out.
    Measured(Option<f64>),
    /// The measurement was stopped.
    Stopped,
}

impl<S: System> TrainState<S> {
    /// Returns the mean loss over all held-out targets, without dropout.
    ///
    /// The processes of `group` share the work and the result. A single process checks `stop`
    /// between batches; several must end at the same time.
    pub(crate) fn held_out_loss(
        &self,
        config: &Config,
        group: &dyn Collectives,
        stop: &AtomicBool,
    ) -> Result<HeldOutLoss, Error> {
        let training = &config.training;
        let batch_size = training.batch_size.div_ceil(training.gradient_accumulation_steps);
        // Batches hold examples of like length: their order changes nothing but speed.
        let mut examples: Vec<&S::Example> = self.system.held_out().iter().collect();
        examples.sort_by_key(|example| example.length());
        let mut total = Tensor::zeros([], (Kind::Double, self.device));
        let mut targets = 0;
        let batches = examples.chunks(batch_size).skip(group.rank()).step_by(group.world_size());
        for batch in batches {
            if group.world_size() == 1 && stop.load(Ordering::Relaxed) {
                return Ok(HeldOutLoss::Stopped);
            }
            let batch = self.system.batch(batch, &self.inputs);
            let count = S::Model::targets(&batch);
            if count == 0 {
                continue;
            }
            let loss = self.learner.evaluate(&batch);
            no_grad(|| total += loss.to_kind(Kind::Double) * count as f64);
            targets += count;
        }
        let targets = Tensor::full([], targets as f64, (Kind::Double, self.device));
        let sums = Tensor::stack(&[total, targets], 0);
        group.all_reduce(&sums)?.wait()?;
        // The one value that is read: no batch waits for a GPU.
        let sums = Vec::<f64>::try_from(sums.f_to_device(Device::Cpu)?)?;
        Ok(HeldOutLoss::Measured((sums[1] > 0.0).then(|| sums[0] / sums[1])))
    }
}
