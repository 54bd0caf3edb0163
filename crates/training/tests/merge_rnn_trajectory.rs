//! Training of Merge-RNN against 150 steps in float64 with TensorFlow's Adam.
//!
//! The reference is `tests/reference/merge_rnn_goldens.py`.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests may")]

use std::path::PathBuf;

use networks::Precision;
use networks::merge_rnn::{Architecture, MergeRnn, MergeRnnConfig};
use networks::weights::{self, Checkpoint};
use recipes::{Rule, Schedule};
use serde_json::Value;
use tch::{Device, nn};
use training::MergeRnnBatch;
use training::batches::TokenRow;
use training::learner::{Learner, LearnerOptions};
use training::optimizer::{AdamW, AdamWOptions};
use training::schedule::RateSchedule;

/// Tolerance, relative for each step's loss and absolute for each final weight (f32).
const TOLERANCE: f64 = 1e-5;

fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../tests/fixtures/merge_rnn", name].iter().collect()
}

fn integers(list: &Value) -> Vec<i64> {
    list.as_array().unwrap().iter().map(|number| number.as_i64().unwrap()).collect()
}

/// Returns the largest difference of losses and of final weights.
fn distance(name: &str, architecture: Architecture, max_norm: f64, parts: usize) -> [f64; 2] {
    networks::device::set_threads(1);
    let numbers: Value =
        serde_json::from_slice(&std::fs::read(file("numbers.json")).unwrap()).unwrap();
    let initial = Checkpoint::open(&file(&format!("{name}.initial.safetensors"))).unwrap();
    let images = initial.tensor("images", Device::Cpu).unwrap();
    let config = MergeRnnConfig::plain(
        architecture,
        initial.shape("softmax.bias").unwrap()[0] as i64,
        initial.shape("image.bias").unwrap()[0] as i64,
        images.size()[1],
    );
    let mut store = nn::VarStore::new(Device::Cpu);
    let network = MergeRnn::new(store.root(), &config);
    weights::load(&mut store, &initial, str::to_owned, |name| name == "images").unwrap();
    let options = AdamWOptions {
        rule: Rule::Transformers,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.0,
    };
    let optimizer = AdamW::new(store.variables().into_iter().collect(), options);
    let schedule =
        RateSchedule { shape: Schedule::Constant, peak: 1e-3, warmup_steps: 0, total_steps: 150 };
    let options = LearnerOptions {
        max_grad_norm: max_norm,
        dropout: true,
        precision: Precision::Full,
        gradient_checkpointing: false,
    };
    let mut learner = Learner::new(network, optimizer, schedule, options);

    let captions = numbers["captions"].as_array().unwrap().iter().zip(integers(&numbers["places"]));
    let rows: Vec<TokenRow> = captions
        .map(|(words, embedding)| TokenRow {
            embedding,
            tokens: integers(words),
            image: 0,
            caption: 0,
        })
        .collect();
    let losses = numbers[name]["losses"].as_array().unwrap();
    let mut off = [0.0_f64; 2];
    for (finished, batch) in numbers["order"].as_array().unwrap().iter().enumerate() {
        let batch: Vec<&TokenRow> =
            integers(batch).into_iter().map(|row| &rows[row as usize]).collect();
        let parts: Vec<MergeRnnBatch> = batch
            .chunks(batch.len().div_ceil(parts))
            .map(|rows| MergeRnnBatch::new(rows, &images, Device::Cpu))
            .collect();
        let step = learner.compute(&parts, finished as u64, 1).unwrap();
        let theirs = losses[finished].as_f64().unwrap();
        off[0] = off[0].max(((step.loss.double_value(&[]) - theirs) / theirs).abs());
        learner.apply(&step).unwrap();
    }
    let last = Checkpoint::open(&file(&format!("{name}.final.safetensors"))).unwrap();
    for (name, ours) in store.variables() {
        let theirs = last.tensor(&name, Device::Cpu).unwrap();
        let difference = tch::no_grad(|| (ours - theirs).abs().max()).double_value(&[]);
        off[1] = off[1].max(difference);
    }
    off
}

#[test]
fn every_step_is_that_of_plain_operations() {
    for (name, architecture) in [("merge", Architecture::Merge), ("inject", Architecture::Inject)] {
        for parts in [1, 3] {
            let [loss, weights] = distance(name, architecture, 0.0, parts);
            println!("{name} in {parts} parts: loss {loss:.1e}, weights {weights:.1e}");
            assert!(loss < TOLERANCE && weights < TOLERANCE, "{name}: {loss:e} {weights:e}");
        }
    }
}

#[test]
fn clipping_leaves_it() {
    let [loss, weights] = distance("merge", Architecture::Merge, 0.01, 1);
    assert!(loss > 3.0 * TOLERANCE && weights > 3.0 * TOLERANCE, "{loss:e} {weights:e}");
}
