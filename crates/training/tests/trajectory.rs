//! The paper's training loop against 200 steps in PyTorch and transformers.
//!
//! `tests/reference/trajectory.py` trains a tiny captioner in four ways: raw embeddings without
//! clipping; normalised ones with it; the same with a custom tokenizer and resized embeddings; and
//! the transformer mapper before a frozen GPT-2. `CAPSMITH_TRAJECTORIES` names another folder of
//! that script's, with another seed or other sizes.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests may")]

use std::fmt;
use std::path::PathBuf;

use networks::gpt2::{self, Gpt2Config, Vocabulary};
use networks::prefix::{self, ClipCaptioner, MapperConfig, MapperKind};
use networks::weights::Checkpoint;
use networks::{Pass, Precision, normalized};
use recipes::{Rule, Schedule};
use serde::Deserialize;
use tch::{Device, Kind, Tensor, nn};
use training::PrefixBatch as Part;
use training::batches::{TokenRow, cut_long_rows};
use training::learner::{Learner, LearnerOptions};
use training::optimizer::{AdamW, AdamWOptions, clipping_factor, total_norm};
use training::schedule::RateSchedule;
use words::Gpt2Tokenizer;

const STEPS: usize = 200;

/// Tolerance, relative for each step's loss, norm and rate, absolute for each final weight.
const TOLERANCE: f64 = 1e-5;
/// Least distance of a wrong loop from the reference: far more than rounding.
const NOTICED: f64 = 10.0 * TOLERANCE;

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Plain,
    Clipped,
    Custom,
    PrefixOnly,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Clipped => "clipped",
            Self::Custom => "custom",
            Self::PrefixOnly => "prefix_only",
        }
    }
}

#[derive(Clone, Copy)]
struct Recipe {
    /// Name of the reference.
    way: Way,
    normalize: bool,
    cut: bool,
    max_norm: f64,
    /// Number of parts of a batch.
    parts: usize,
    recompute: bool,
    schedule: RateSchedule,
    optimizer: AdamWOptions,
}

const PLAIN: Recipe = Recipe {
    way: Way::Plain,
    normalize: false,
    cut: true,
    max_norm: 0.0,
    parts: 1,
    recompute: false,
    schedule: RateSchedule {
        shape: Schedule::Linear,
        peak: 2e-3,
        warmup_steps: 50,
        total_steps: STEPS as u64,
    },
    optimizer: AdamWOptions {
        rule: Rule::Transformers,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-6,
        weight_decay: 0.0,
    },
};
const CLIPPED: Recipe = Recipe { way: Way::Clipped, normalize: true, max_norm: 1.0, ..PLAIN };
const CUSTOM: Recipe = Recipe { way: Way::Custom, ..CLIPPED };
const PREFIX_ONLY: Recipe = Recipe { way: Way::PrefixOnly, ..PLAIN };

fn file(name: &str) -> PathBuf {
    let default = [env!("CARGO_MANIFEST_DIR"), "../../tests/fixtures/trajectory"].iter().collect();
    std::env::var_os("CAPSMITH_TRAJECTORIES").map_or(default, PathBuf::from).join(name)
}

fn json<T: serde::de::DeserializeOwned>(name: &str) -> T {
    serde_json::from_slice(&std::fs::read(file(name)).unwrap()).unwrap()
}

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(&file(name)).unwrap()
}

fn tensor(file: &Checkpoint, name: &str) -> Tensor {
    file.tensor(name, Device::Cpu).unwrap()
}

fn integers(file: &Checkpoint, name: &str) -> Vec<i64> {
    tensor(file, name).flatten(0, -1).to_kind(Kind::Int64).try_into().unwrap()
}

#[derive(Deserialize)]
struct Sizes {
    clip_dim: i64,
    prefix_length: i64,
    clip_length: i64,
    mapper_layers: i64,
    custom_words: usize,
    pretrained_words: i64,
}

/// Returns a captioner with the initial weights, and its trained variables.
fn initial(recipe: &Recipe) -> (Vec<(String, Tensor)>, ClipCaptioner) {
    let sizes: Sizes = json("sizes.json");
    let mut config = Gpt2Config::open(&file("config.json")).unwrap();
    let mut kind = MapperKind::Mlp;
    match recipe.way {
        Way::Plain | Way::Clipped => {}
        Way::Custom => config.vocab_size = trained_tokenizer().vocab_size() as i64,
        Way::PrefixOnly => {
            // Dropout, which eval mode must disable.
            (config.resid_pdrop, config.embd_pdrop, config.attn_pdrop) = (0.3, 0.3, 0.3);
            kind = MapperKind::Transformer {
                clip_length: sizes.clip_length,
                layers: sizes.mapper_layers,
            };
        }
    }
    let mapper = MapperConfig::plain(kind, sizes.clip_dim, sizes.prefix_length);
    let mut store = nn::VarStore::new(Device::Cpu);
    let captioner = ClipCaptioner::new(store.root(), &config, &mapper);
    let model = open("model.safetensors");
    match recipe.way {
        Way::Plain | Way::Clipped => prefix::load(&mut store, &model).unwrap(),
        Way::Custom => {
            let pretrained = open("custom_gpt2.safetensors");
            assert_eq!(
                pretrained.shape("transformer.wte.weight").unwrap()[0],
                sizes.pretrained_words
            );
            gpt2::load_pretrained(&mut store, "gpt", &pretrained, Vocabulary::FirstRows).unwrap();
            copy(&store, "clip_project.", &model);
        }
        Way::PrefixOnly => {
            copy(&store, "gpt.", &model);
            copy(&store, "clip_project.", &open("prefix_only_mapper.safetensors"));
        }
    }
    let mut weights: Vec<(String, Tensor)> = store.variables().into_iter().collect();
    if recipe.way == Way::PrefixOnly {
        weights.retain(|(name, weight)| {
            let is_frozen = name.starts_with("gpt.");
            let _ = weight.set_requires_grad(!is_frozen);
            !is_frozen
        });
    }
    weights.sort_by(|(a, _), (b, _)| a.cmp(b));
    (weights, captioner)
}

/// Fills the variables whose names begin with `beginning`.
fn copy(store: &nn::VarStore, beginning: &str, from: &Checkpoint) {
    for (name, mut variable) in store.variables() {
        if name.starts_with(beginning) {
            tch::no_grad(|| variable.copy_(&tensor(from, &name)));
        }
    }
}

fn trained_tokenizer() -> Gpt2Tokenizer {
    let captions: Vec<String> = json("captions.json");
    Gpt2Tokenizer::train(captions, json::<Sizes>("sizes.json").custom_words).unwrap()
}

/// Returns the captions, not truncated, with the rows of their embeddings.
fn captions(inputs: &Checkpoint) -> Vec<TokenRow> {
    let mut tokens = integers(inputs, "tokens").into_iter();
    integers(inputs, "lengths")
        .into_iter()
        .zip(integers(inputs, "images"))
        .map(|(length, image)| TokenRow {
            embedding: image,
            tokens: tokens.by_ref().take(length as usize).collect(),
            image: image as usize,
            caption: 0,
        })
        .collect()
}

/// Returns the parts of each step's batch.
fn batches(recipe: &Recipe) -> Vec<Vec<Part>> {
    let inputs = open("inputs.safetensors");
    let captions_of = match recipe.way {
        Way::Custom => open("custom_inputs.safetensors"),
        _ => open("inputs.safetensors"),
    };
    let mut rows = captions(&captions_of);
    if recipe.cut {
        cut_long_rows(&mut rows);
    }
    let mut embeddings = tensor(&inputs, "embeddings");
    if recipe.normalize {
        embeddings = normalized(&embeddings).unwrap();
    }
    let prefix_length = json::<Sizes>("sizes.json").prefix_length;
    let order = integers(&inputs, "order");
    let batches: Vec<_> = order
        .chunks(order.len() / STEPS)
        .map(|batch| {
            let rows: Vec<&TokenRow> = batch.iter().map(|&row| &rows[row as usize]).collect();
            rows.chunks(rows.len().div_ceil(recipe.parts))
                .map(|rows| Part::new(rows, &embeddings, prefix_length, Device::Cpu))
                .collect()
        })
        .collect();
    assert_eq!(batches.len(), STEPS);
    batches
}

/// Result of a training.
#[derive(Default)]
struct Walk {
    loss: Vec<f64>,
    norm: Vec<f64>,
    rate: Vec<f64>,
    weights: Vec<(String, Tensor)>,
}

impl Walk {
    fn record(&mut self, loss: &Tensor, norm: &Tensor, rate: f64) {
        self.loss.push(loss.double_value(&[]));
        self.norm.push(norm.double_value(&[]));
        self.rate.push(rate);
    }
}

/// Trains as a run does.
fn walk(recipe: &Recipe) -> Walk {
    networks::device::set_threads(1);
    let (weights, captioner) = initial(recipe);
    let optimizer = AdamW::new(shared(&weights), recipe.optimizer);
    let options = LearnerOptions {
        max_grad_norm: recipe.max_norm,
        dropout: recipe.way != Way::PrefixOnly,
        precision: Precision::Full,
        gradient_checkpointing: recipe.recompute,
    };
    let mut learner = Learner::new(captioner, optimizer, recipe.schedule, options);
    let mut walk = Walk { weights, ..Walk::default() };
    for (finished, parts) in (0..).zip(batches(recipe)) {
        let step = learner.compute(&parts, finished, 1).unwrap();
        walk.record(&step.loss, &step.norm, step.learning_rate);
        learner.apply(&step).unwrap();
    }
    walk
}

/// Trains without [`Learner`], so that each step can have its own epsilon and rate.
///
/// Steps count from 1. Each has a new optimizer, which takes over the previous one's moments.
fn walk_by_hand(recipe: &Recipe, epsilon_and_rate: impl Fn(u64) -> (f64, f64)) -> Walk {
    networks::device::set_threads(1);
    let (weights, captioner) = initial(recipe);
    let mut walk = Walk { weights, ..Walk::default() };
    let mut optimizer = AdamW::new(shared(&walk.weights), recipe.optimizer);
    for (step, parts) in (1..).zip(batches(recipe)) {
        let loss = captioner.caption_loss(&parts[0].embeddings, &parts[0].tokens, Pass::TRAINING);
        let gradients = Tensor::run_backward(&[&loss], &optimizer.parameters(), false, false);
        let norm = total_norm(&gradients).unwrap();
        let (epsilon, rate) = epsilon_and_rate(step);
        walk.record(&loss, &norm, rate);

        let before = optimizer.moments();
        let options = AdamWOptions { epsilon, ..recipe.optimizer };
        optimizer = AdamW::new(shared(&walk.weights), options);
        for ((_, mut now), (_, before)) in optimizer.moments().into_iter().zip(before) {
            now.copy_(&before);
        }
        let factor = clipping_factor(&norm, recipe.max_norm);
        optimizer.step(&gradients, Some(&factor), step, rate).unwrap();
    }
    walk
}

fn shared(weights: &[(String, Tensor)]) -> Vec<(String, Tensor)> {
    weights.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect()
}

/// Largest differences of a training from the reference.
struct Distance {
    loss: f64,
    norm: f64,
    rate: f64,
    weight: f64,
}

impl Distance {
    fn of(walk: &Walk, way: Way) -> Self {
        let reference = open(&format!("{}.safetensors", way.name()));
        let series = |name, ours: &[f64]| {
            let theirs = Vec::<f64>::try_from(tensor(&reference, name)).unwrap();
            assert_eq!((ours.len(), theirs.len()), (STEPS, STEPS));
            ours.iter().zip(&theirs).map(|(a, b)| relative(*a, *b)).fold(0.0, larger)
        };
        let finals = reference.names().filter(|name| name.starts_with("final.")).count();
        assert_eq!(walk.weights.len(), finals);
        let weight = walk.weights.iter().map(|(name, ours)| {
            let theirs = tensor(&reference, &format!("final.{name}"));
            assert_eq!(ours.size(), theirs.size(), "{name}");
            tch::no_grad(|| (ours - theirs).abs().max()).double_value(&[])
        });
        Self {
            loss: series("loss", &walk.loss),
            norm: series("norm", &walk.norm),
            rate: series("rate", &walk.rate),
            weight: weight.fold(0.0, larger),
        }
    }

    /// Returns whether the training is the reference's.
    fn is_small(&self) -> bool {
        [self.loss, self.norm, self.rate, self.weight].iter().all(|&off| off <= TOLERANCE)
    }

    /// Returns whether loss, norm and weights differ; a wrong rate alone is too easy to see.
    fn is_noticed(&self) -> bool {
        [self.loss, self.norm, self.weight].iter().all(|&off| off > NOTICED)
    }
}

impl fmt::Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { loss, norm, rate, weight } = self;
        write!(f, "loss {loss:.1e}, norm {norm:.1e}, rate {rate:.1e}, weights {weight:.1e}")
    }
}

fn relative(ours: f64, theirs: f64) -> f64 {
    // The first rate is 0 and must be exactly that: any other is infinitely far.
    if ours.to_bits() == theirs.to_bits() { 0.0 } else { ((ours - theirs) / theirs).abs() }
}

/// Returns the maximum; NaN counts as the largest.
fn larger(a: f64, b: f64) -> f64 {
    if b.is_nan() { f64::INFINITY } else { a.max(b) }
}

#[test]
fn every_way_of_training_is_pytorchs_at_every_step() {
    for recipe in [PLAIN, CLIPPED, CUSTOM, PREFIX_ONLY] {
        let distance = Distance::of(&walk(&recipe), recipe.way);
        println!("{}: {distance}", recipe.way.name());
        assert!(distance.is_small(), "{}: {distance}", recipe.way.name());
    }
}

#[test]
fn a_batch_in_parts_and_activations_computed_twice_change_nothing() {
    for recipe in [CLIPPED, PREFIX_ONLY] {
        for (what, recipe) in [
            ("five parts", Recipe { parts: 5, ..recipe }),
            ("recomputing", Recipe { recompute: true, ..recipe }),
            ("both", Recipe { parts: 2, recompute: true, ..recipe }),
        ] {
            let distance = Distance::of(&walk(&recipe), recipe.way);
            println!("{}, {what}: {distance}", recipe.way.name());
            assert!(distance.is_small(), "{what}: {distance}");
        }
    }
}

#[test]
fn the_custom_tokenizer_makes_the_ids_of_train_new_from_iterator() {
    let tokenizer = trained_tokenizer();
    let captions: Vec<String> = json("captions.json");
    let theirs = captions_of_words();
    assert_eq!(captions.len(), theirs.len());
    for (caption, theirs) in captions.iter().zip(theirs) {
        let ours: Vec<i64> =
            tokenizer.encode(caption).unwrap().into_iter().map(i64::from).collect();
        assert!(ours.starts_with(&theirs), "{caption}");
    }
}

fn captions_of_words() -> Vec<Vec<i64>> {
    captions(&open("custom_inputs.safetensors")).into_iter().map(|row| row.tokens).collect()
}

#[test]
fn clipping_takes_hold_on_many_steps_but_not_on_all() {
    let norms = Vec::<f64>::try_from(tensor(&open("clipped.safetensors"), "norm")).unwrap();
    let clipped = norms.iter().filter(|&&norm| norm > CLIPPED.max_norm).count();
    assert!((51..STEPS).contains(&clipped), "{clipped}");
}

#[test]
fn any_other_recipe_leaves_the_reference() {
    let schedule = |change: fn(&mut RateSchedule)| {
        let mut schedule = CLIPPED.schedule;
        change(&mut schedule);
        Recipe { schedule, ..CLIPPED }
    };
    let optimizer = |change: fn(&mut AdamWOptions)| {
        let mut optimizer = CLIPPED.optimizer;
        change(&mut optimizer);
        Recipe { optimizer, ..CLIPPED }
    };
    for (what, recipe) in [
        ("no clipping", Recipe { max_norm: 0.0, ..CLIPPED }),
        ("clipping at 1.1", Recipe { max_norm: 1.1, ..CLIPPED }),
        ("clipping in the plain way", Recipe { max_norm: 1.0, ..PLAIN }),
        ("raw embeddings", Recipe { normalize: false, ..CLIPPED }),
        ("the longest caption uncut", Recipe { cut: false, ..CLIPPED }),
        ("one more step of warm-up", schedule(|schedule| schedule.warmup_steps += 1)),
        ("an end ten steps later", schedule(|schedule| schedule.total_steps += 10)),
        ("beta2 of 0.99", optimizer(|optimizer| optimizer.beta2 = 0.99)),
        ("weight decay", optimizer(|optimizer| optimizer.weight_decay = 0.01)),
    ] {
        let distance = Distance::of(&walk(&recipe), recipe.way);
        println!("{what}: {distance}");
        assert!(distance.is_noticed(), "{what}: {distance}");
    }
}

#[test]
fn epsilon_after_bias_correction_or_a_schedule_a_step_ahead_leaves_the_reference() {
    let epsilon = CLIPPED.optimizer.epsilon;
    let rate = |finished| CLIPPED.schedule.rate(finished);
    let right = walk_by_hand(&CLIPPED, |step| (epsilon, rate(step - 1)));
    let distance = Distance::of(&right, Way::Clipped);
    println!("by hand: {distance}");
    assert!(distance.is_small(), "{distance}");

    // sqrt(v) / c + epsilon is (sqrt(v) + c epsilon) / c, with c = sqrt(1 - beta2^step).
    let late = |step: u64| epsilon * (1.0 - CLIPPED.optimizer.beta2.powf(step as f64)).sqrt();
    let walks = [
        ("late epsilon", walk_by_hand(&CLIPPED, |step| (late(step), rate(step - 1)))),
        ("schedule a step ahead", walk_by_hand(&CLIPPED, |step| (epsilon, rate(step)))),
    ];
    for (what, walk) in walks {
        let distance = Distance::of(&walk, Way::Clipped);
        println!("{what}: {distance}");
        assert!(distance.is_noticed(), "{what}: {distance}");
    }
}
