//! The paper's training loop against 200 steps of it in PyTorch and transformers, which
//! `tests/reference/trajectory.py` walked on a tiny captioner in two ways: raw embeddings without
//! clipping, and normalised ones with it.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests may")]

use std::fmt;
use std::path::PathBuf;

use networks::gpt2::Gpt2Config;
use networks::prefix::{self, ClipCaptioner, TokenBatch};
use networks::weights::Checkpoint;
use tch::{Device, Kind, Tensor, nn};
use training::batches::{TokenRow, cut_long_rows};
use training::inputs::normalized;
use training::learner::Learner;
use training::optimizer::{AdamW, AdamWOptions, clip_gradients};
use training::schedule::LinearSchedule;

const CLIP_DIM: i64 = 16;
const PREFIX: i64 = 4;
const STEPS: usize = 200;

/// Relative for loss, norm and rate of every step, absolute for every final weight.
const TOLERANCE: f64 = 1e-5;
/// A loop that is wrong must leave the reference by this much: far more than rounding does.
const NOTICED: f64 = 10.0 * TOLERANCE;

#[derive(Clone, Copy)]
struct Recipe {
    /// The reference to compare with.
    way: &'static str,
    normalize: bool,
    cut: bool,
    max_norm: f64,
    schedule: LinearSchedule,
    optimizer: AdamWOptions,
}

const PLAIN: Recipe = Recipe {
    way: "plain",
    normalize: false,
    cut: true,
    max_norm: 0.0,
    schedule: LinearSchedule { peak: 2e-3, warmup_steps: 50, total_steps: STEPS as u64 },
    optimizer: AdamWOptions { beta1: 0.9, beta2: 0.999, epsilon: 1e-6, weight_decay: 0.0 },
};
const CLIPPED: Recipe = Recipe { way: "clipped", normalize: true, max_norm: 1.0, ..PLAIN };

fn open(name: &str) -> Checkpoint {
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "../../tests/fixtures/trajectory", name].iter().collect();
    Checkpoint::open(&path).unwrap()
}

fn tensor(file: &Checkpoint, name: &str) -> Tensor {
    file.tensor(name, Device::Cpu).unwrap()
}

fn integers(file: &Checkpoint, name: &str) -> Vec<i64> {
    tensor(file, name).flatten(0, -1).to_kind(Kind::Int64).try_into().unwrap()
}

/// A captioner with the initial weights, and its variables.
fn initial() -> (Vec<(String, Tensor)>, ClipCaptioner) {
    let config: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "../../tests/fixtures/trajectory/config.json"]
            .iter()
            .collect();
    let mut store = nn::VarStore::new(Device::Cpu);
    let config = Gpt2Config::open(&config).unwrap();
    let captioner = ClipCaptioner::new(store.root(), &config, CLIP_DIM, PREFIX);
    prefix::load(&mut store, &open("model.safetensors")).unwrap();
    (store.variables().into_iter().collect(), captioner)
}

/// The captions with the places of their embeddings, uncut.
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

/// Embeddings and captions of each step.
fn batches(recipe: &Recipe) -> Vec<(Tensor, TokenBatch)> {
    let inputs = open("inputs.safetensors");
    let mut rows = captions(&inputs);
    if recipe.cut {
        cut_long_rows(&mut rows);
    }
    let mut embeddings = tensor(&inputs, "embeddings");
    if recipe.normalize {
        embeddings = normalized(&embeddings);
    }
    let order = integers(&inputs, "order");
    let batches: Vec<_> = order
        .chunks(order.len() / STEPS)
        .map(|batch| {
            let rows: Vec<&TokenRow> = batch.iter().map(|&row| &rows[row as usize]).collect();
            let places: Vec<i64> = rows.iter().map(|row| row.embedding).collect();
            let tokens: Vec<&[i64]> = rows.iter().map(|row| row.tokens.as_slice()).collect();
            let seen = embeddings.index_select(0, &Tensor::from_slice(&places));
            (seen, TokenBatch::new(&tokens, PREFIX, Device::Cpu))
        })
        .collect();
    assert_eq!(batches.len(), STEPS);
    batches
}

/// What a walk left behind.
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
    let (weights, captioner) = initial();
    let optimizer = AdamW::new(shared(&weights), recipe.optimizer);
    let mut learner = Learner::new(captioner, optimizer, recipe.schedule, recipe.max_norm);
    let mut walk = Walk { weights, ..Walk::default() };
    for (finished, (embeddings, tokens)) in (0..).zip(batches(recipe)) {
        let step = learner.compute(&embeddings, &tokens, finished).unwrap();
        walk.record(&step.loss, &step.norm, step.rate);
        learner.apply(&step);
    }
    walk
}

/// The same without [`Learner`], so that each step, counted from 1, can have an epsilon and a rate of
/// its own: with a new optimizer, which takes over the moments of the one before.
fn walk_by_hand(recipe: &Recipe, epsilon_and_rate: impl Fn(u64) -> (f64, f64)) -> Walk {
    networks::device::set_threads(1);
    let (weights, captioner) = initial();
    let mut walk = Walk { weights, ..Walk::default() };
    let mut optimizer = AdamW::new(shared(&walk.weights), recipe.optimizer);
    for (step, (embeddings, tokens)) in (1..).zip(batches(recipe)) {
        let loss = captioner.caption_loss(&embeddings, &tokens, true);
        let mut gradients = Tensor::run_backward(&[&loss], &optimizer.parameters(), false, false);
        let norm = clip_gradients(&mut gradients, recipe.max_norm);
        let (epsilon, rate) = epsilon_and_rate(step);
        walk.record(&loss, &norm, rate);

        let before = optimizer.moments();
        let options = AdamWOptions { epsilon, ..recipe.optimizer };
        optimizer = AdamW::new(shared(&walk.weights), options);
        for ((_, mut now), (_, before)) in optimizer.moments().into_iter().zip(before) {
            now.copy_(&before);
        }
        optimizer.step(&gradients, step, rate);
    }
    walk
}

fn shared(weights: &[(String, Tensor)]) -> Vec<(String, Tensor)> {
    weights.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect()
}

/// How far a walk is from the reference at most.
struct Distance {
    loss: f64,
    norm: f64,
    rate: f64,
    weight: f64,
}

impl Distance {
    fn of(walk: &Walk, way: &str) -> Self {
        let reference = open(&format!("{way}.safetensors"));
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

    /// Whether the walk is the reference's.
    fn is_small(&self) -> bool {
        [self.loss, self.norm, self.rate, self.weight].iter().all(|&off| off <= TOLERANCE)
    }

    /// Whether training went elsewhere: a wrong rate alone would be too easily seen.
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

/// The maximum, for which a value that is no number is the largest.
fn larger(a: f64, b: f64) -> f64 {
    if b.is_nan() { f64::INFINITY } else { a.max(b) }
}

#[test]
fn both_ways_of_training_are_pytorchs_at_every_step() {
    for recipe in [PLAIN, CLIPPED] {
        let distance = Distance::of(&walk(&recipe), recipe.way);
        println!("{}: {distance}", recipe.way);
        assert!(distance.is_small(), "{}: {distance}", recipe.way);
    }
}

#[test]
fn clipping_takes_hold_on_many_steps_but_not_on_all() {
    let norms = Vec::<f64>::try_from(tensor(&open("clipped.safetensors"), "norm")).unwrap();
    let clipped = norms.iter().filter(|&&norm| norm > CLIPPED.max_norm).count();
    assert!((51..STEPS).contains(&clipped), "{clipped}");
}

#[test]
fn any_other_recipe_leaves_the_reference() {
    let schedule = |change: fn(&mut LinearSchedule)| {
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
    let distance = Distance::of(&right, "clipped");
    println!("by hand: {distance}");
    assert!(distance.is_small(), "{distance}");

    // sqrt(v) / c + epsilon is (sqrt(v) + c epsilon) / c, with c = sqrt(1 - beta2^step).
    let late = |step: u64| epsilon * (1.0 - CLIPPED.optimizer.beta2.powf(step as f64)).sqrt();
    let walks = [
        ("late epsilon", walk_by_hand(&CLIPPED, |step| (late(step), rate(step - 1)))),
        ("schedule a step ahead", walk_by_hand(&CLIPPED, |step| (epsilon, rate(step)))),
    ];
    for (what, walk) in walks {
        let distance = Distance::of(&walk, "clipped");
        println!("{what}: {distance}");
        assert!(distance.is_noticed(), "{what}: {distance}");
    }
}
