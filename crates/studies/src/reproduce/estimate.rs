//! Estimates of the run times of stages: floating-point operations from the sizes of data and
//! models, divided by the measured speed of a matrix product.
//!
//! A training step counts as six operations per weight and token, a forward step as two (Kaplan et
//! al. 2020, arXiv 2001.08361, section 2.1), at half of the measured speed. Estimates are right
//! within a factor of two or three, enough to distinguish minutes from days.

use std::collections::HashMap;
use std::path::Path;

use datasets::Corpus;
use recipes::{Config, System};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Reproduction, Request};

/// Fraction of the measured speed that models reach.
const REACHED: f64 = 0.5;
/// Seconds to start a command and load its inputs.
const START_SECONDS: f64 = 2.0;
/// Mean tokens of a caption in Flickr8k.
const CAPTION_TOKENS: f64 = 13.0;
/// Mean tokens of the keywords of an image of Flickr8k.
const KEYWORD_TOKENS: f64 = 60.0;
/// Operations of VGG-16 per image.
const VGG_OPERATIONS: f64 = 31e9;
/// Operations of EfficientNet-Lite2 per image (0.86e9 multiplications and additions), times four:
/// convolutions of single channels are that much slower than a matrix product.
const EFFICIENTNET_OPERATIONS: f64 = 4.0 * 1.7e9;
/// Words that occur at least three times in Flickr8k.
const FLICKR8K_WORDS: f64 = 4103.0;
/// Minimum occurrences of a word in the vocabulary of a Merge-RNN.
const MIN_OCCURRENCES: usize = 3;
/// Epochs after which Merge-RNN stopped early.
const MERGE_RNN_EPOCHS: f64 = 6.0;

/// Seconds of each stage of a study.
#[derive(Debug, Clone)]
pub struct Estimate {
    seconds: Vec<f64>,
    /// Measured floating-point operations per second of the first device.
    speed: f64,
}

/// Weights of models and sizes of data.
struct Sizes {
    pictures: f64,
    captions: f64,
    test_pictures: f64,
    /// Operations of CLIP per image.
    clip: f64,
    /// Operations per image of the encoder of features.
    encoder: f64,
    gpt2_weights: f64,
    /// Operations of training the text tower of a CLIP on features.
    pretrain_clip: f64,
    /// Operations of training a GPT-2 on captions.
    pretrain_gpt2: f64,
    /// Distinct words in the captions, without rare ones.
    words: f64,
}

impl Estimate {
    /// Returns the device to measure: that of the first run.
    #[must_use]
    pub fn device(reproduction: &Reproduction) -> &str {
        let mut configs = reproduction.runs.iter().filter_map(|run| run.resolved.as_ref());
        configs.next().map_or("cpu", |(_, config)| &config.training.device)
    }

    /// Estimates each stage on a device of `speed` floating-point operations per second.
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
                ("features", _) => sizes.pictures * sizes.encoder,
                ("pretrain-clip", _) => sizes.pretrain_clip,
                ("pretrain-gpt2", _) => sizes.pretrain_gpt2,
                ("train", Some(config)) => sizes.training(config),
                ("evaluate", Some(config)) => sizes.captioning(config),
                _ => 0.0,
            };
            START_SECONDS + operations / (speed * REACHED)
        });
        Self { seconds: seconds.collect(), speed }
    }

    /// Returns the seconds of a stage, by its index in the plan.
    #[must_use]
    pub fn seconds(&self, stage: usize) -> f64 {
        self.seconds[stage]
    }

    /// Returns the speed of the device, in floating-point operations per second.
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
        let (models, recipe) = (&request.models, &request.family.recipe);
        let (gpt2_options, clip_options) = (&recipe.pretrain.gpt2, &recipe.pretrain.clip);
        let clip = models.clip.as_deref().map_or_else(random_clip, |clip| {
            sizes::<ClipSize>(clip).map_or_else(large_clip, |clip| clip.vision_config)
        });
        let gpt2 = models
            .gpt2
            .as_deref()
            .map_or_else(|| own_gpt2(gpt2_options), |gpt2| sizes(gpt2).unwrap_or(SMALL_GPT2));
        let gpt2_weights = gpt2_weights(&gpt2);
        let has_encoder = !recipe.models.encoder.is_empty();
        let steps = |options: &toml::Table, rows: f64, tokens: f64| {
            option(options, "steps", 2000.0) * option(options, "batch_size", rows) * tokens
        };
        let width = option(clip_options, "hidden_size", 256.0);
        let tower = 12.0 * width * width * option(clip_options, "layers", 2.0);
        let block = option(gpt2_options, "block_size", 64.0);
        Self {
            pictures,
            captions,
            test_pictures: test / 5.0,
            clip: if has_encoder { 0.0 } else { clip_operations(&clip) },
            encoder: if has_encoder { EFFICIENTNET_OPERATIONS } else { VGG_OPERATIONS },
            gpt2_weights,
            pretrain_clip: 6.0 * tower * steps(clip_options, 128.0, CAPTION_TOKENS),
            pretrain_gpt2: 6.0 * gpt2_weights * steps(gpt2_options, 32.0, block),
            words,
        }
    }

    /// Returns the weights that each token uses: the recurrent layer and the output layer, which
    /// reads its state and the image. Word embeddings are looked up, not multiplied.
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
    counts.into_values().filter(|&count| count >= MIN_OCCURRENCES).count() as f64
}

/// Dimensions in CLIP's `config.json`.
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

/// Dimensions in GPT-2's `config.json`.
#[derive(Deserialize)]
struct Gpt2Size {
    n_embd: f64,
    n_layer: f64,
    vocab_size: f64,
}

const SMALL_GPT2: Gpt2Size = Gpt2Size { n_embd: 768.0, n_layer: 12.0, vocab_size: 50_257.0 };

/// Reads a model's `config.json`; `None` if the model is not on this machine yet.
fn sizes<T: DeserializeOwned>(folder: &str) -> Option<T> {
    let text = std::fs::read(Path::new(folder).join("config.json")).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Returns the dimensions of ViT-L/14.
fn large_clip() -> VisionSize {
    clip(1024.0, 24.0, 224.0, 14.0)
}

/// Returns the dimensions of the model that `capsmith init clip` creates.
fn random_clip() -> VisionSize {
    clip(256.0, 2.0, 112.0, 16.0)
}

fn clip(hidden_size: f64, layers: f64, image_size: f64, patch_size: f64) -> VisionSize {
    let intermediate_size = 4.0 * hidden_size;
    VisionSize { hidden_size, intermediate_size, num_hidden_layers: layers, image_size, patch_size }
}

/// Returns the dimensions of the model that `capsmith init gpt2` creates, or `pretrain gpt2` with
/// these options.
fn own_gpt2(options: &toml::Table) -> Gpt2Size {
    Gpt2Size {
        n_embd: option(options, "hidden_size", 192.0),
        n_layer: option(options, "layers", 3.0),
        vocab_size: option(options, "vocab_size", 4000.0),
    }
}

/// Returns a number among the options of `capsmith pretrain`, or its default.
fn option(options: &toml::Table, name: &str, default: f64) -> f64 {
    let value = options.get(name);
    value.and_then(|value| value.as_integer().map(|value| value as f64)).unwrap_or(default)
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
