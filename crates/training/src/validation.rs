//! The loss on held-out examples.

use tch::no_grad;

use crate::batches::Example;
use crate::config::Config;
use crate::learner::Model;
use crate::prepare::Prepared;
use crate::systems::System;

impl<S: System> Prepared<S> {
    /// Mean loss over all held-out targets, without dropout; none where nothing is held out.
    pub(crate) fn held_out_loss(&self, config: &Config) -> Option<f64> {
        let training = &config.training;
        let batch_size = training.batch_size.div_ceil(training.accumulation_steps);
        // Examples of like length together: their order changes nothing but speed.
        let mut examples: Vec<&S::Example> = self.system.held_out().iter().collect();
        examples.sort_by_key(|example| example.length());
        let mut total = tch::Tensor::zeros([], (tch::Kind::Double, self.device));
        let mut targets = 0;
        for batch in examples.chunks(batch_size) {
            let part = self.system.part(batch, &self.inputs);
            let count = S::Model::targets(&part);
            if count == 0 {
                continue;
            }
            let loss = self.learner.evaluate(&part);
            no_grad(|| total += loss.to_kind(tch::Kind::Double) * count as f64);
            targets += count;
        }
        (targets > 0).then(|| total.double_value(&[]) / targets as f64)
    }
}
