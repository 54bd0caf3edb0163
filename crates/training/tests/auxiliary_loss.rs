//! A loss added in [`Model::loss`] counts in every way of computing a step: with and without
//! gradient checkpointing, in one batch and in microbatches, with one process and several.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests may")]

#[allow(dead_code, reason = "each file of tests uses some of it")]
mod tiny;

use std::time::Duration;

use launchers::ProcessRank;
use networks::language_model::{Block, Blocks, LanguageModel};
use networks::{Pass, Precision};
use tch::{Device, Tensor, nn, no_grad};
use training::learner::{Learner, Model};

/// A language model with two auxiliary losses: one of its weights in several layers, and one that
/// goes through the network a second time.
struct WithAuxiliary {
    model: LanguageModel,
    weights: Vec<Tensor>,
    factor: f64,
}

impl WithAuxiliary {
    fn penalty(&self) -> Tensor {
        let squares = self.weights.iter().map(|weight| weight.square().mean(None));
        squares.fold(Tensor::from(0.0_f32), |sum, square| sum + square)
    }
}

impl Model for WithAuxiliary {
    type Batch = Blocks;

    fn targets(blocks: &Blocks) -> usize {
        blocks.targets()
    }

    fn loss<'m>(&'m self, blocks: &'m Blocks, pass: Pass<'_, 'm>) -> Tensor {
        let again = self.model.loss(blocks, pass) * self.factor;
        self.model.loss(blocks, pass) + self.penalty() * self.factor + again
    }
}

struct Case {
    learner: Learner<WithAuxiliary>,
    store: nn::VarStore,
}

impl Case {
    fn new(factor: f64, gradient_checkpointing: bool, is_shared: bool) -> Self {
        networks::device::set_threads(1);
        let wrap = |model| WithAuxiliary { model, weights: Vec::new(), factor };
        let (mut learner, store) =
            tiny::learner_of(Device::Cpu, Precision::Full, gradient_checkpointing, wrap);
        learner.model_mut().weights = sorted(&store);
        if is_shared {
            let wait = Duration::from_secs(5);
            let group = collectives::connect(ProcessRank::SINGLE, Device::Cpu, wait).unwrap();
            learner.share(&group).unwrap();
        }
        Self { learner, store }
    }

    /// Takes three steps, and returns losses, norms and weights.
    fn train(mut self, microbatches: usize) -> (Vec<[f64; 2]>, Vec<Tensor>) {
        let mut values = Vec::new();
        for finished in 0..3 {
            let blocks: Vec<Block> = (0..4).map(|number| block(finished as i64 + number)).collect();
            let batches: Vec<Blocks> = blocks
                .chunks(blocks.len() / microbatches)
                .map(|some| Blocks::new(&some.iter().collect::<Vec<_>>(), Device::Cpu))
                .collect();
            let step = self.learner.compute(&batches, finished, 1).unwrap();
            self.learner.apply(&step).unwrap();
            values.push([&step.loss, &step.norm].map(|value| value.double_value(&[])));
        }
        let weights = no_grad(|| sorted(&self.store).iter().map(Tensor::copy).collect());
        (values, weights)
    }
}

fn sorted(store: &nn::VarStore) -> Vec<Tensor> {
    training::named_variables(store).into_iter().map(|(_, weight)| weight).collect()
}

fn block(first: i64) -> Block {
    let tokens: Vec<i64> = (0..12).map(|position| (first + 5 * position) % 60).collect();
    Block { is_target: vec![true; tokens.len()], tokens }
}

fn distance(a: &[Tensor], b: &[Tensor]) -> f64 {
    let off = a.iter().zip(b).map(|(a, b)| (a - b).abs().max().double_value(&[]));
    off.fold(0.0, f64::max)
}

#[test]
fn an_auxiliary_loss_is_trained_on_with_and_without_gradient_checkpointing() {
    let (without, weights_without) = Case::new(0.0, false, false).train(1);
    let (expected, expected_weights) = Case::new(0.5, false, false).train(1);
    let penalty = no_grad(|| Case::new(0.5, false, false).learner.model_mut().penalty());
    let added = 0.5 * (penalty.double_value(&[]) + without[0][0]);
    assert!((expected[0][0] - without[0][0] - added).abs() < 1e-5, "{expected:?} {without:?}");
    assert!(expected[0][1] > 1.2 * without[0][1], "{expected:?} {without:?}");
    assert!(distance(&expected_weights, &weights_without) > 1e-4);
    for gradient_checkpointing in [false, true] {
        for is_shared in [false, true] {
            for microbatches in [1, 2] {
                let case = Case::new(0.5, gradient_checkpointing, is_shared);
                let (values, weights) = case.train(microbatches);
                let what = format!("{gradient_checkpointing}, {is_shared}, {microbatches}");
                for (ours, theirs) in values.iter().flatten().zip(expected.iter().flatten()) {
                    assert!((ours - theirs).abs() < 1e-5 * theirs, "{what}: {ours} {theirs}");
                }
                let off = distance(&weights, &expected_weights);
                assert!(off < 1e-5, "{what}: {off:e}");
            }
        }
    }
}
