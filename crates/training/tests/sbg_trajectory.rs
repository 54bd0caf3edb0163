//! Training of SBG against 200 steps of Hugging Face's Trainer.
//!
//! The reference is `tests/reference/sbg_trajectory.py`, with the loss on all tokens and on some.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests may")]

use std::path::PathBuf;

use networks::Precision;
use networks::gpt2::{self, Gpt2Config, Vocabulary};
use networks::language_model::{Block, Blocks, LanguageModel};
use networks::weights::Checkpoint;
use recipes::{Rule, Schedule};
use tch::{Device, Kind, Tensor, nn};
use training::learner::{Learner, LearnerOptions};
use training::optimizer::{AdamW, AdamWOptions};
use training::schedule::RateSchedule;

const BATCH: usize = 8;
const STEPS: u64 = 200;
/// Tolerance, relative for each step's loss, norm and rate, absolute for each final weight.
const TOLERANCE: f64 = 1e-5;

#[derive(Clone, Copy)]
struct Recipe {
    name: &'static str,
    rule: Rule,
    epsilon: f64,
    max_norm: f64,
    shape: Schedule,
    all_targets: bool,
    parts: usize,
    recompute: bool,
    whole_batches: bool,
}

const ALL: Recipe = Recipe {
    name: "all",
    rule: Rule::Torch,
    epsilon: 1e-8,
    max_norm: 1.0,
    shape: Schedule::Linear,
    all_targets: true,
    parts: 1,
    recompute: false,
    whole_batches: false,
};
const CAPTION: Recipe = Recipe { name: "caption", all_targets: false, ..ALL };

fn open(name: &str) -> Checkpoint {
    let folder: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "../../tests/fixtures/sbg_trajectory"].iter().collect();
    Checkpoint::open(&folder.join(name)).unwrap()
}

fn tensor(file: &Checkpoint, name: &str) -> Tensor {
    file.tensor(name, Device::Cpu).unwrap()
}

fn rows(file: &Checkpoint, name: &str) -> Vec<Vec<i64>> {
    tensor(file, name).to_kind(Kind::Int64).try_into().unwrap()
}

fn blocks(recipe: &Recipe) -> Vec<Block> {
    let file = open("blocks.safetensors");
    let rows = rows(&file, "tokens").into_iter().zip(rows(&file, "is_target"));
    let block = |(tokens, is_target): (Vec<i64>, Vec<i64>)| Block {
        tokens,
        is_target: is_target.into_iter().map(|one| one == 1 || recipe.all_targets).collect(),
    };
    rows.map(block).collect()
}

/// Returns the largest difference of loss, norm, rate and weights.
fn distance(recipe: &Recipe) -> [f64; 4] {
    networks::device::set_threads(1);
    let mut store = nn::VarStore::new(Device::Cpu);
    let model = open("model.safetensors");
    let config = Gpt2Config::open(&model.path().with_file_name("config.json")).unwrap();
    let network = LanguageModel::new(store.root(), &config);
    gpt2::load_pretrained(&mut store, "gpt", &model, Vocabulary::Same).unwrap();
    let weights = training::named_variables(&store);
    let shared = weights.iter().map(|(name, weight)| (name.clone(), weight.shallow_clone()));
    let options = AdamWOptions {
        rule: recipe.rule,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: recipe.epsilon,
        weight_decay: 0.0,
    };
    let optimizer = AdamW::new(shared.collect(), options);
    let schedule =
        RateSchedule { shape: recipe.shape, peak: 2e-3, warmup_steps: 0, total_steps: STEPS };
    let options = LearnerOptions {
        max_grad_norm: recipe.max_norm,
        dropout: true,
        precision: Precision::Full,
        gradient_checkpointing: recipe.recompute,
    };
    let mut learner = Learner::new(network, optimizer, schedule, options);

    let reference = open(&format!("{}.safetensors", recipe.name));
    let theirs = ["loss", "norm", "rate"]
        .map(|name| Vec::<f64>::try_from(tensor(&reference, name)).unwrap());
    let blocks = blocks(recipe);
    let mut off = [0.0_f64; 4];
    let mut finished = 0;
    for order in rows(&reference, "order") {
        for batch in order.chunks(BATCH) {
            if recipe.whole_batches && batch.len() < BATCH {
                continue;
            }
            let batch: Vec<&Block> = batch.iter().map(|&block| &blocks[block as usize]).collect();
            let parts: Vec<Blocks> = batch
                .chunks(batch.len().div_ceil(recipe.parts))
                .map(|blocks| Blocks::new(blocks, Device::Cpu))
                .collect();
            let step = learner.compute(&parts, finished, 1).unwrap();
            let ours =
                [step.loss.double_value(&[]), step.norm.double_value(&[]), step.learning_rate];
            for (position, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
                let theirs = theirs[finished as usize];
                off[position] = larger(off[position], ((ours - theirs) / theirs).abs());
            }
            learner.apply(&step).unwrap();
            finished += 1;
        }
    }
    let finals = reference.names().filter(|name| name.starts_with("final.")).count();
    assert_eq!(finals, weights.len());
    for (name, ours) in &weights {
        let name = name.strip_prefix("gpt.").unwrap();
        let theirs = tensor(&reference, &format!("final.{name}"));
        let difference = tch::no_grad(|| {
            let difference = (ours - theirs).abs();
            if name.ends_with("c_attn.bias") {
                // The biases of keys shift all of a query's scores alike: their gradients are zero
                // but for rounding, which Adam makes steps of.
                let third = difference.size()[0] / 3;
                let _ = difference.narrow(0, third, third).zero_();
            }
            difference.max()
        });
        let difference = difference.double_value(&[]);
        off[3] = larger(off[3], difference);
    }
    off
}

/// Returns the maximum; NaN counts as the largest.
fn larger(a: f64, b: f64) -> f64 {
    if b.is_nan() { f64::INFINITY } else { a.max(b) }
}

#[test]
fn every_step_is_the_trainers() {
    let recomputed = Recipe { recompute: true, ..ALL };
    let in_parts = Recipe { parts: 3, ..CAPTION };
    for (what, recipe) in [
        ("all", ALL),
        ("caption", CAPTION),
        ("all, recomputed", recomputed),
        ("caption, in three parts", in_parts),
    ] {
        let [loss, norm, rate, weights] = distance(&recipe);
        println!(
            "{what}: loss {loss:.1e}, norm {norm:.1e}, rate {rate:.1e}, weights {weights:.1e}"
        );
        assert!([loss, norm, rate, weights].iter().all(|&off| off < TOLERANCE), "{what}");
    }
}

#[test]
fn any_other_recipe_leaves_the_trainer() {
    for (what, recipe) in [
        ("epsilon before bias correction", Recipe { rule: Rule::Transformers, ..ALL }),
        ("no clipping", Recipe { max_norm: 0.0, ..ALL }),
        ("a constant rate", Recipe { shape: Schedule::Constant, ..ALL }),
        ("a larger epsilon", Recipe { epsilon: 1e-6, ..ALL }),
        ("all targets", Recipe { all_targets: true, ..CAPTION }),
        ("the last batch dropped", Recipe { whole_batches: true, ..ALL }),
    ] {
        let [loss, _, _, weights] = distance(&recipe);
        println!("{what}: loss {loss:.1e}, weights {weights:.1e}");
        assert!(
            loss > 3.0 * TOLERANCE && weights > 3.0 * TOLERANCE,
            "{what}: {loss:e} {weights:e}"
        );
    }
}
