//! How long stages may take: their floating-point operations by the sizes of data and models, at the speed
//! of a product of matrices that is measured first.
//!
//! A training step is taken as six operations a weight and token, a step forward as two (Kaplan et al.
//! 2020, arXiv 2001.08361, section 2.1), and half of the measured speed is taken to be reached. That is right
//! within a factor of two or three, which tells minutes from days.

use std::collections::HashMap;
use std::path::Path;

use datasets::Corpus;
use recipes::{Config, System};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Reproduction, Request};

/// The part of the measured speed that models reach.
const REACHED: f64 = 0.5;
/// Starting a command and loading what it needs.
const START_SECONDS: f64 = 2.0;
/// Tokens of a caption, and of a picture's keywords: what Flickr8k has.
const CAPTION_TOKENS: f64 = 13.0;
const KEYWORD_TOKENS: f64 = 60.0;
/// Operations of VGG-16 on a picture.
const VGG_OPERATIONS: f64 = 31e9;
/// Words that come at least three times in Flickr8k.
const FLICKR8K_WORDS: f64 = 4103.0;
/// How often a word comes that a Merge-RNN knows.
const KNOWN_WORD: usize = 3;
/// Merge-RNN stops early: epochs after which it did.
const MERGE_RNN_EPOCHS: f64 = 6.0;

/// Seconds of each stage of a study.
#[derive(Debug, Clone)]
pub struct Estimate {
    seconds: Vec<f64>,
    /// Operations a second that were measured on the first device.
    speed: f64,
}

/// Weights of models and sizes of data.
struct Sizes {
    pictures: f64,
    captions: f64,
    test_pictures: f64,
    /// Operations of CLIP on a picture.
    clip: f64,
    gpt2_weights: f64,
    /// Different words in the captions, but for rare ones.
    words: f64,
}

impl Estimate {
    /// Returns the device whose speed counts: that of the first run.
    #[must_use]
    pub fn device(reproduction: &Reproduction) -> &str {
        let mut configs = reproduction.runs.iter().filter_map(|run| run.resolved.as_ref());
        configs.next().map_or("cpu", |(_, config)| &config.training.device)
    }

    /// Estimates each stage on a device that computes `speed` floating-point operations a second.
    #[must_use]
    pub fn new(request: &Request, reproduction: &Reproduction, speed: f64) -> Self {
        let configs = reproduction.runs.iter().filter_map(|run| run.resolved.as_ref());
        let sizes = Sizes::of(request, configs.clone().next().map(|(_, config)| config));
        let seconds = reproduction.plan.stages().iter().map(|stage| {
            let (kind, run) = stage.name.split_once('/').unwrap_or((&stage.name, ""));
            let config = configs
                .clone()
                .find(|(path, _)| path.file_stem().is_some_and(|stem| stem == run))
                .map(|(_, config)| config);
            let operations = match (kind, config) {
                ("embeddings", _) => sizes.pictures * sizes.clip,
                ("features", _) => sizes.pictures * VGG_OPERATIONS,
                ("train", Some(config)) => sizes.training(config),
                ("evaluate", Some(config)) => sizes.captioning(config),
                _ => 0.0,
            };
            START_SECONDS + operations / (speed * REACHED)
        });
        Self { seconds: seconds.collect(), speed }
    }

    /// Seconds of a stage, by its place in the plan.
    #[must_use]
    pub fn seconds(&self, at: usize) -> f64 {
        self.seconds[at]
    }

    /// Returns the floating-point operations a second of the device.
    #[must_use]
    pub fn speed(&self) -> f64 {
        self.speed
    }
}

impl Sizes {
    fn of(request: &Request, config: Option<&Config>) -> Self {
        let corpus = Corpus::load(&request.dataset, None).ok();
        let published = match request.table {
            super::Table::One => 8091,
            super::Table::Two => 31_783,
        };
        let pictures = corpus.as_ref().map_or(published, |corpus| corpus.images.len()) as f64;
        let captions =
            corpus.as_ref().map_or(5.0 * pictures, |corpus| corpus.caption_count() as f64);
        let words = corpus.as_ref().map_or(FLICKR8K_WORDS, words);
        let test = config.map_or(5000, |config| config.data.test_captions) as f64;
        let models = &request.models;
        let clip = models.clip.as_deref().map_or_else(random_clip, |clip| {
            sizes::<ClipSize>(clip).map_or_else(large_clip, |clip| clip.vision_config)
        });
        let gpt2 = models
            .gpt2
            .as_deref()
            .map_or_else(random_gpt2, |gpt2| sizes(gpt2).unwrap_or(SMALL_GPT2));
        Self {
            pictures,
            captions,
            test_pictures: test / 5.0,
            clip: clip_operations(&clip),
            gpt2_weights: gpt2_weights(&gpt2),
            words,
        }
    }

    /// A recurrent layer, and one from its state and the picture to all words. Words are looked up.
    fn merge_rnn_weights(&self, layer_size: i64) -> f64 {
        let size = layer_size as f64;
        8.0 * size * size + 2.0 * size * self.words
    }

    fn training(&self, config: &Config) -> f64 {
        let epochs = config.training.epochs as f64;
        let tokens = match &config.system {
            System::ClipPrefix(system) => CAPTION_TOKENS + system.mapper.prefix_length as f64,
            System::Sbg(_) => CAPTION_TOKENS + KEYWORD_TOKENS,
            System::MergeRnn(system) => {
                let weights = self.merge_rnn_weights(system.network.layer_size);
                let epochs = epochs.min(MERGE_RNN_EPOCHS);
                return 6.0 * weights * self.captions * CAPTION_TOKENS * epochs;
            }
        };
        6.0 * self.gpt2_weights * self.captions * tokens * epochs
    }

    fn captioning(&self, config: &Config) -> f64 {
        let rows = config.decoding.strategy.continuations();
        let (weights, tokens) = match &config.system {
            System::MergeRnn(system) => {
                ((system.network.layer_size * 12_000) as f64, CAPTION_TOKENS)
            }
            System::Sbg(_) => {
                (self.gpt2_weights, KEYWORD_TOKENS + 2.0 * CAPTION_TOKENS * rows as f64)
            }
            System::ClipPrefix(_) => (self.gpt2_weights, 2.0 * CAPTION_TOKENS * rows as f64),
        };
        2.0 * weights * tokens * self.test_pictures
    }
}

fn words(corpus: &Corpus) -> f64 {
    let captions = corpus.images.iter().flat_map(|image| &image.captions);
    let words = captions.flat_map(|caption| caption.split_whitespace().map(str::to_lowercase));
    let mut counts = HashMap::<String, usize>::new();
    words.for_each(|word| *counts.entry(word).or_default() += 1);
    counts.into_values().filter(|&count| count >= KNOWN_WORD).count() as f64
}

/// The numbers in CLIP's `config.json` that its work depends on.
#[derive(Deserialize)]
struct ClipSize {
    vision_config: VisionSize,
}

#[derive(Deserialize)]
struct VisionSize {
    hidden_size: f64,
    intermediate_size: f64,
    num_hidden_layers: f64,
    image_size: f64,
    patch_size: f64,
}

/// The numbers in GPT-2's `config.json` that its work depends on.
#[derive(Deserialize)]
struct Gpt2Size {
    n_embd: f64,
    n_layer: f64,
    vocab_size: f64,
}

const SMALL_GPT2: Gpt2Size = Gpt2Size { n_embd: 768.0, n_layer: 12.0, vocab_size: 50_257.0 };

/// Reads a model's `config.json`; a model that is not on this machine yet has none.
fn sizes<T: DeserializeOwned>(folder: &str) -> Option<T> {
    let text = std::fs::read(Path::new(folder).join("config.json")).ok()?;
    serde_json::from_slice(&text).ok()
}

/// ViT-L/14.
fn large_clip() -> VisionSize {
    clip(1024.0, 24.0, 224.0, 14.0)
}

/// The model that `capsmith init clip` makes.
fn random_clip() -> VisionSize {
    clip(256.0, 2.0, 112.0, 16.0)
}

fn clip(hidden_size: f64, layers: f64, image_size: f64, patch_size: f64) -> VisionSize {
    let intermediate_size = 4.0 * hidden_size;
    VisionSize { hidden_size, intermediate_size, num_hidden_layers: layers, image_size, patch_size }
}

/// The model that `capsmith init gpt2` makes.
fn random_gpt2() -> Gpt2Size {
    Gpt2Size { n_embd: 192.0, n_layer: 3.0, vocab_size: 4000.0 }
}

fn clip_operations(vision: &VisionSize) -> f64 {
    let tokens = (vision.image_size / vision.patch_size).floor().powi(2) + 1.0;
    let hidden = vision.hidden_size;
    let weights = 4.0 * hidden * hidden + 2.0 * hidden * vision.intermediate_size;
    2.0 * weights * vision.num_hidden_layers * tokens
}

fn gpt2_weights(gpt2: &Gpt2Size) -> f64 {
    12.0 * gpt2.n_embd * gpt2.n_embd * gpt2.n_layer + gpt2.vocab_size * gpt2.n_embd
}
