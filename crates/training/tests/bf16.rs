//! Training in bf16 with kept copies of the weights has the bits of casts in each pass.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests may")]

use networks::gpt2::Gpt2Config;
use networks::prefix::{ClipCaptioner, MapperConfig, MapperKind};
use networks::{GradientCheckpointing, Pass, Precision};
use recipes::{Rule, Schedule};
use tch::{Device, Tensor, nn, no_grad};
use training::PrefixBatch as Part;
use training::batches::TokenRow;
use training::learner::{Learner, LearnerOptions, Model};
use training::optimizer::{AdamW, AdamWOptions, clipping_factor, total_norm};
use training::schedule::RateSchedule;

const STEPS: u64 = 8;
const MAX_NORM: f64 = 0.5;

#[derive(Debug, Clone, Copy)]
struct Way {
    kind: MapperKind,
    is_frozen: bool,
    parts: usize,
    recompute: bool,
}

/// Returns a captioner with random weights, its trained weights, and its optimizer.
fn start(way: Way) -> (ClipCaptioner, Vec<(String, Tensor)>, AdamW) {
    tch::manual_seed(4);
    let store = nn::VarStore::new(Device::Cpu);
    let gpt2 = Gpt2Config {
        vocab_size: 40,
        n_positions: 24,
        n_embd: 32,
        n_layer: 3,
        n_head: 4,
        ..Gpt2Config::default()
    };
    let mapper = MapperConfig::plain(way.kind, 16, 3);
    let captioner = ClipCaptioner::new(store.root(), &gpt2, &mapper);
    let mut trained = training::named_variables(&store);
    trained.retain(|(name, tensor)| {
        let is_frozen = way.is_frozen && name.starts_with("gpt.");
        let _ = tensor.set_requires_grad(!is_frozen);
        !is_frozen
    });
    let options = AdamWOptions {
        rule: Rule::Transformers,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-6,
        weight_decay: 0.01,
    };
    let parameters = trained.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone()));
    let optimizer = AdamW::new(parameters.collect(), options);
    (captioner, trained, optimizer)
}

fn schedule() -> RateSchedule {
    RateSchedule { shape: Schedule::Linear, peak: 1e-2, warmup_steps: 2, total_steps: STEPS }
}

/// Returns the parts of a step's batch.
fn batch(way: Way, step: u64) -> Vec<Part> {
    let embeddings = Tensor::from_slice(&(0..5 * 16).map(|n| (n as f32).sin()).collect::<Vec<_>>());
    let row = |number: i64| TokenRow {
        embedding: number % 5,
        tokens: (0..3 + number % 4)
            .map(|position| (number * 7 + position * position) % 40)
            .collect(),
        image: 0,
        caption: 0,
    };
    let rows: Vec<TokenRow> = (0..6).map(|number| row(number + step as i64)).collect();
    let rows: Vec<&TokenRow> = rows.iter().collect();
    rows.chunks(rows.len().div_ceil(way.parts))
        .map(|rows| Part::new(rows, &embeddings.view([5, 16]), 3, Device::Cpu))
        .collect()
}

/// Losses and norms of the steps, the last loss without dropout, and the final weights.
type Walk = (Vec<(Tensor, Tensor)>, Tensor, Vec<Tensor>);

fn weights(trained: &[(String, Tensor)]) -> Vec<Tensor> {
    trained.iter().map(|(_, tensor)| tensor.detach().copy()).collect()
}

/// Trains as a run does.
fn walk(way: Way) -> Walk {
    let (captioner, trained, optimizer) = start(way);
    let options = LearnerOptions {
        max_grad_norm: MAX_NORM,
        dropout: true,
        precision: Precision::Bf16,
        gradient_checkpointing: way.recompute,
    };
    let mut learner = Learner::new(captioner, optimizer, schedule(), options);
    let mut series = Vec::new();
    for step in 0..STEPS {
        let computed = learner.compute(&batch(way, step), step, step as i64).unwrap();
        learner.apply(&computed).unwrap();
        series.push((computed.loss, computed.norm));
    }
    (series, learner.evaluate(&batch(way, 0)[0]), weights(&trained))
}

/// Trains with plain operations.
fn walk_by_casts(way: Way) -> Walk {
    let (captioner, trained, mut optimizer) = start(way);
    let mut series = Vec::new();
    for step in 0..STEPS {
        let parts = batch(way, step);
        let all: usize = parts.iter().map(ClipCaptioner::targets).sum();
        tch::manual_seed(step as i64);
        let mut sum: Option<(Tensor, Vec<Tensor>)> = None;
        for (number, part) in (0..).zip(&parts) {
            let weight = ClipCaptioner::targets(part) as f64 / all as f64;
            let seed = step as i64 + (number << 32);
            let checkpointing = way.recompute.then(|| GradientCheckpointing::new(seed));
            let pass = Pass {
                dropout: true,
                precision: Precision::Bf16,
                checkpointing: checkpointing.as_ref(),
            };
            let loss = captioner.caption_loss(&part.embeddings, &part.tokens, pass) * weight;
            let by: Vec<&Tensor> = trained.iter().map(|(_, tensor)| tensor).collect();
            let gradients = pass.gradients(&loss, &by).unwrap();
            let loss = loss.detach();
            sum = Some(match sum {
                None => (loss, gradients),
                Some((total, totals)) => {
                    let totals = totals.iter().zip(&gradients).map(|(a, b)| a + b).collect();
                    (total + loss, totals)
                }
            });
        }
        let (loss, gradients) = sum.unwrap();
        let norm = total_norm(&gradients).unwrap();
        let factor = clipping_factor(&norm, MAX_NORM);
        optimizer.step(&gradients, Some(&factor), step + 1, schedule().rate(step)).unwrap();
        series.push((loss, norm));
    }
    let part = &batch(way, 0)[0];
    let pass = Pass { dropout: false, precision: Precision::Bf16, checkpointing: None };
    let last = no_grad(|| captioner.caption_loss(&part.embeddings, &part.tokens, pass));
    (series, last, weights(&trained))
}

// One test: several would seed the same generator.
#[test]
fn a_trajectory_in_bf16_is_that_of_casts_in_each_pass_to_the_bit() {
    networks::device::set_threads(1);
    let transformer = MapperKind::Transformer { clip_length: 2, layers: 2 };
    for (kind, is_frozen) in [
        (MapperKind::Mlp, false),
        (transformer, false),
        (transformer, true),
        (MapperKind::Mlp, true),
    ] {
        for (parts, recompute) in [(1, false), (3, false), (1, true), (2, true)] {
            let way = Way { kind, is_frozen, parts, recompute };
            let (ours, last, weights) = walk(way);
            let (theirs, their_last, their_weights) = walk_by_casts(way);
            assert_eq!(ours, theirs, "{way:?}");
            assert_eq!(weights, their_weights, "{way:?}");
            assert_eq!(last, their_last, "{way:?}");
            // Copies that stayed behind would be seen: by more than bf16 tells apart.
            for ((name, start), end) in start(way).1.iter().zip(&weights) {
                let moved = no_grad(|| (end - start).norm() / start.norm().clamp_min(1e-3));
                assert!(moved.double_value(&[]) > 1.0 / 256.0, "{way:?}: {name} moved by {moved}");
            }
        }
    }
}
