//! What a run is: one TOML file, `--set key=value` overrides, and the validated result.
//!
//! Every value is named in the file; nothing has a hidden default. Unknown keys are refused with a
//! suggestion. The resolved configuration is saved in the run folder, and a resumed run must have
//! the same one.

mod keys;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use flickr::{Layout, SplitKind, SplitSpec};
use networks::decode;
use networks::prefix::{MapperConfig, MapperKind};
use serde::{Deserialize, Serialize};

use keys::{apply_override, dotted_keys, flatten, known_keys, nearest};

/// A configuration that cannot be used, with what to change.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The configuration file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not TOML, or a value has the wrong type.
    #[error("{}: {message}", path.display())]
    Invalid {
        /// The configuration file.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// A key that capsmith does not know.
    #[error("unknown key `{key}`{}", did_you_mean(suggestion.as_deref()))]
    UnknownKey {
        /// The key in dotted form.
        key: String,
        /// The nearest known key.
        suggestion: Option<String>,
    },
    /// A strategy of decoding that cannot be followed.
    #[error("decoding.strategy: {0}")]
    Strategy(#[source] decode::StrategyError),
    /// A `--set` argument that is not `key=value`.
    #[error("`--set {0}` is not of the form key=value, such as --set training.epochs=3")]
    Override(String),
    /// A change to a trained run that would be another run.
    #[error(
        "`--set {0}`: of a trained run only keys of `decoding` can be changed, such as --set decoding.max_tokens=40"
    )]
    NotDecoding(String),
    /// A value out of its range.
    #[error("`{key}` is {value}, but must be {expected}")]
    OutOfRange {
        /// The key in dotted form.
        key: &'static str,
        /// What was given.
        value: String,
        /// What is accepted.
        expected: &'static str,
    },
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(
        || "; configs/flickr8k/prefix-gradient-clipping.toml names every key".to_owned(),
        |key| format!("; did you mean `{key}`?"),
    )
}

/// The captioning system that a run trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    /// A mapper from a CLIP image embedding to GPT-2's prefix, and GPT-2, trained together.
    ClipPrefix,
}

/// One run, fully specified.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Which system is trained.
    pub system: System,
    /// Captions, split and image embeddings.
    pub data: Data,
    /// The language model.
    pub gpt2: Gpt2,
    /// How captions become tokens.
    pub tokenizer: Tokenizer,
    /// From image embedding to prefix vectors.
    pub mapper: Mapper,
    /// The loop.
    pub training: Training,
    /// The update rule.
    pub optimizer: Optimizer,
    /// How captions are generated.
    pub decoding: Decoding,
}

/// Captions, split and image embeddings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Folder with the captions file and the pictures.
    pub dataset: PathBuf,
    /// `auto`, `kaggle`, `original` or `karpathy`.
    pub layout: String,
    /// `paper`, `official` or `karpathy`.
    pub split: SplitKind,
    /// Paper split: how many caption rows at the end are the test set.
    pub test_captions: usize,
    /// Paper split: how many rows before those are held out.
    pub validation_captions: usize,
    /// The file that `capsmith precompute` wrote.
    pub embeddings: PathBuf,
    /// Divide each embedding by its L2 norm.
    pub normalize_embeddings: bool,
}

impl Data {
    /// The layout to load, `None` when it is to be recognised.
    ///
    /// # Errors
    /// Names the layouts there are.
    pub fn layout(&self) -> Result<Option<Layout>, ConfigError> {
        if self.layout == "auto" {
            return Ok(None);
        }
        self.layout.parse().map(Some).map_err(|_| ConfigError::OutOfRange {
            key: "data.layout",
            value: format!("\"{}\"", self.layout),
            expected: "auto, kaggle, original or karpathy",
        })
    }

    /// The split as the loaders take it.
    #[must_use]
    pub fn split_spec(&self) -> SplitSpec {
        SplitSpec {
            kind: self.split,
            test_captions: self.test_captions,
            validation_captions: self.validation_captions,
        }
    }
}

/// The language model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpt2 {
    /// A Hugging Face folder, a run folder, or a model of the hub, as `hub::ModelReference` reads it.
    pub model: String,
    /// Whether its weights are trained.
    pub tuning: Tuning,
}

/// What of GPT-2 is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tuning {
    /// All of it, with dropout.
    Full,
    /// Nothing, and it is without dropout: ClipCap's "prefix only".
    Frozen,
}

/// How captions become tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Tokenizer {
    /// By the tokenizer beside the language model.
    Pretrained {},
    /// By a byte-level BPE trained on the training captions; GPT-2's embeddings are resized to it,
    /// rows kept by index.
    Custom {
        /// Most tokens it may have.
        vocab_size: usize,
    },
}

/// From image embedding to prefix vectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Mapper {
    /// Two linear layers with tanh between.
    Mlp {
        /// Prefix vectors before the caption.
        prefix_length: i64,
    },
    /// ClipCap's transformer.
    Transformer {
        /// Prefix vectors before the caption.
        prefix_length: i64,
        /// Vectors that the image embedding is projected to.
        clip_length: i64,
        /// Layers.
        layers: i64,
    },
}

impl Mapper {
    /// Prefix vectors before the caption.
    #[must_use]
    pub fn prefix_length(&self) -> i64 {
        match *self {
            Self::Mlp { prefix_length } | Self::Transformer { prefix_length, .. } => prefix_length,
        }
    }

    /// The network for embeddings of `clip_dim` values.
    #[must_use]
    pub fn network(&self, clip_dim: usize) -> MapperConfig {
        let kind = match *self {
            Self::Mlp { .. } => MapperKind::Mlp,
            Self::Transformer { clip_length, layers, .. } => {
                MapperKind::Transformer { clip_length, layers }
            }
        };
        MapperConfig { kind, clip_dim: clip_dim as i64, prefix_length: self.prefix_length() }
    }
}

/// The training loop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// CPU threads, 0 for all cores.
    pub threads: usize,
    /// Decides the mapper's initial weights, the order of captions and dropout.
    pub seed: u64,
    /// Passes over the training captions.
    pub epochs: u64,
    /// Captions in a batch.
    pub batch_size: usize,
    /// Parts that a batch is computed in, for less memory. The update is the whole batch's.
    pub accumulation_steps: usize,
    /// Batches of captions of like length. Fewer rows wait for the longest, but the order is another.
    pub sort_by_length: bool,
    /// The type of matrix products.
    pub precision: Precision,
    /// Compute activations again for the gradients instead of keeping them: less memory, more time.
    pub gradient_checkpointing: bool,
    /// Epochs without improvement of the last loss before training stops; 0 for never.
    pub early_stop_epochs: u64,
    /// Steps between fetching losses from the device.
    pub log_every_steps: u64,
    /// Steps between checkpoints, besides those at the end of each epoch; 0 for none.
    pub checkpoint_every_steps: u64,
    /// Newest checkpoints kept.
    pub keep_checkpoints: usize,
    /// Also keep that of the epoch with the lowest loss: on the held-out captions where there are
    /// any, of the last batch elsewhere.
    pub keep_best_checkpoint: bool,
    /// Also keep those of every so many steps; 0 for none.
    pub keep_every_steps: u64,
}

/// The type of matrix products; all else is f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// f32, the reference's.
    F32,
    /// On GPUs that have it, f32 with the mantissa rounded to ten bits; on others f32.
    Tf32,
    /// bfloat16, as PyTorch's autocast has it.
    Bf16,
}

impl Training {
    /// The configured number of CPU threads, or the machine's cores.
    #[must_use]
    pub fn cpu_threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            threads => threads,
        }
    }
}

/// AdamW with a linear schedule and clipping.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Optimizer {
    /// The peak of the schedule.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment before bias correction.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Steps from 0 to the peak.
    pub warmup_steps: u64,
    /// Total gradient norm to clip to; 0 for no clipping.
    pub max_gradient_norm: f64,
}

/// How captions are generated, up to the first '.'.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decoding {
    /// Tokens at most.
    pub max_tokens: usize,
    /// Pictures captioned together.
    pub batch_size: usize,
    /// How the next token is chosen.
    pub strategy: Strategy,
}

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Strategy {
    /// The most probable: the paper's.
    Greedy {},
    /// ClipCap's beam search.
    Beam {
        /// Sequences followed for each picture.
        beams: usize,
    },
    /// Drawn at random.
    Sampling {
        /// Captions drawn for each picture; the most probable is the caption.
        samples: usize,
        /// Logits are divided by it.
        temperature: f64,
        /// Only so many of the most probable tokens; 0 for all.
        top_k: usize,
        /// Only the most probable tokens that together have this probability; 1 for all.
        top_p: f64,
        /// Decides the draws.
        seed: u64,
    },
}

impl Strategy {
    /// As the decoder takes it.
    #[must_use]
    pub fn steps(&self) -> decode::Strategy {
        match *self {
            Self::Greedy {} => decode::Strategy::Greedy,
            Self::Beam { beams } => decode::Strategy::Beam { beams },
            Self::Sampling { samples, temperature, top_k, top_p, seed } => {
                decode::Strategy::Sample(decode::Sampling {
                    temperature,
                    top_k: Some(top_k).filter(|&top_k| top_k > 0),
                    top_p: Some(top_p).filter(|&top_p| top_p.to_bits() != 1.0_f64.to_bits()),
                    samples,
                    seed,
                })
            }
        }
    }
}

impl Config {
    /// Reads a TOML file and applies `key=value` overrides.
    ///
    /// # Errors
    /// Names the file, the key and what is expected.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path, overrides)
    }

    /// Parses TOML text that came from `path`.
    ///
    /// # Errors
    /// Names the file, the key and what is expected.
    pub fn parse(text: &str, path: &Path, overrides: &[String]) -> Result<Self, ConfigError> {
        let invalid = |message: String| ConfigError::Invalid { path: path.to_owned(), message };
        let mut table: toml::Table =
            text.parse().map_err(|error: toml::de::Error| invalid(error.to_string()))?;
        for argument in overrides {
            apply_override(&mut table, argument)?;
        }
        let known = known_keys();
        for key in dotted_keys(&table) {
            if !known.contains(&key) {
                let suggestion = nearest(&key, &known);
                return Err(ConfigError::UnknownKey { key, suggestion });
            }
        }
        let config: Self = table
            .try_into()
            .map_err(|error: toml::de::Error| invalid(error.to_string().trim().to_owned()))?;
        config.validate()?;
        Ok(config)
    }

    /// Changes how captions are generated.
    ///
    /// # Errors
    /// As [`Self::load`]; and when a key is not of `decoding`, since a trained run's others are
    /// settled.
    pub fn with_decoding(&self, overrides: &[String]) -> Result<Self, ConfigError> {
        if let Some(other) = overrides.iter().find(|set| !set.trim_start().starts_with("decoding."))
        {
            return Err(ConfigError::NotDecoding(other.clone()));
        }
        Self::parse(&self.to_toml(), Path::new("the run's config.toml"), overrides)
    }

    /// The configuration as TOML, as it is saved in the run folder.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_default()
    }

    /// Lines `key: before -> after` for every value that differs; empty when none does.
    #[must_use]
    pub fn difference(&self, other: &Self) -> String {
        let (before, after) = (flatten(self), flatten(other));
        let mut lines = String::new();
        for (key, value) in &before {
            match after.iter().find(|(name, _)| name == key) {
                Some((_, changed)) if changed != value => {
                    let _ = writeln!(lines, "  {key}: {value} -> {changed}");
                }
                _ => {}
            }
        }
        lines
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.data.layout()?;
        let check = |ok: bool, key, value: String, expected| {
            if ok { Ok(()) } else { Err(ConfigError::OutOfRange { key, value, expected }) }
        };
        let (training, optimizer) = (&self.training, &self.optimizer);
        let positive = |value: i64| u64::try_from(value).unwrap_or(0);
        let mut at_least_one: Vec<(&'static str, u64)> = vec![
            ("mapper.prefix_length", positive(self.mapper.prefix_length())),
            ("training.epochs", training.epochs),
            ("training.batch_size", training.batch_size as u64),
            ("training.accumulation_steps", training.accumulation_steps as u64),
            ("training.log_every_steps", training.log_every_steps),
            ("training.keep_checkpoints", training.keep_checkpoints as u64),
            ("decoding.batch_size", self.decoding.batch_size as u64),
            ("decoding.max_tokens", self.decoding.max_tokens as u64),
        ];
        if let Mapper::Transformer { clip_length, layers, .. } = self.mapper {
            at_least_one.push(("mapper.clip_length", positive(clip_length)));
            at_least_one.push(("mapper.layers", positive(layers)));
        }
        for (key, value) in at_least_one {
            check(value >= 1, key, value.to_string(), "at least 1")?;
        }
        check(
            training.accumulation_steps <= training.batch_size,
            "training.accumulation_steps",
            training.accumulation_steps.to_string(),
            "at most training.batch_size",
        )?;
        if let Tokenizer::Custom { vocab_size } = self.tokenizer {
            let fits = vocab_size >= words::Gpt2Tokenizer::SMALLEST_VOCABULARY;
            check(fits, "tokenizer.vocab_size", vocab_size.to_string(), "at least 257")?;
        }
        self.decoding.strategy.steps().check().map_err(ConfigError::Strategy)?;
        for (key, beta) in
            [("optimizer.beta1", optimizer.beta1), ("optimizer.beta2", optimizer.beta2)]
        {
            check((0.0..1.0).contains(&beta), key, beta.to_string(), "at least 0 and below 1")?;
        }
        for (key, value) in [
            ("optimizer.learning_rate", optimizer.learning_rate),
            ("optimizer.epsilon", optimizer.epsilon),
            ("optimizer.weight_decay", optimizer.weight_decay),
            ("optimizer.max_gradient_norm", optimizer.max_gradient_norm),
        ] {
            check(value.is_finite() && value >= 0.0, key, value.to_string(), "0 or more")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::keys::REFERENCE;
    use super::*;

    fn parse(overrides: &[&str]) -> Result<Config, ConfigError> {
        let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
        Config::parse(REFERENCE, Path::new("reference.toml"), &overrides)
    }

    #[test]
    fn overrides_replace_values_and_paths_need_no_quotes() {
        let config = parse(&[
            "training.epochs=3",
            "data.dataset=/tmp/some set",
            "optimizer.max_gradient_norm=0",
            "training.device=cpu",
        ])
        .unwrap();
        assert_eq!(config.training.epochs, 3);
        assert_eq!(config.data.dataset, Path::new("/tmp/some set"));
        assert!(config.optimizer.max_gradient_norm.abs() < f64::EPSILON);
        assert_eq!(config.training.device, "cpu");
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_known_one() {
        let error = parse(&["optimizer.learning_rat=1e-3"]).unwrap_err().to_string();
        assert!(error.contains("did you mean `optimizer.learning_rate`"), "{error}");
        let error = parse(&["epochs=3"]).unwrap_err().to_string();
        assert!(error.contains("did you mean `training.epochs`"), "{error}");
        assert!(parse(&["zzz.q=3"]).unwrap_err().to_string().contains("names every key"));
    }

    #[test]
    fn each_kind_has_its_own_keys() {
        let kinds: [&[&str]; 4] = [
            &["mapper.kind=transformer", "mapper.clip_length=10", "mapper.layers=8"],
            &["tokenizer.kind=custom", "tokenizer.vocab_size=50257"],
            &["decoding.strategy.kind=beam", "decoding.strategy.beams=5"],
            &[
                "decoding.strategy.kind=sampling",
                "decoding.strategy.samples=3",
                "decoding.strategy.temperature=0.7",
                "decoding.strategy.top_k=50",
                "decoding.strategy.top_p=0.9",
                "decoding.strategy.seed=1",
            ],
        ];
        for sets in kinds {
            assert!(parse(sets).is_ok(), "{:?}", parse(sets));
            for left_out in 0..sets.len() {
                let mut some = sets.to_vec();
                let key = some.remove(left_out).split('=').next().unwrap();
                let error = parse(&some).unwrap_err().to_string();
                let name =
                    if key.ends_with("kind") { "unknown" } else { key.rsplit('.').next().unwrap() };
                assert!(error.contains(name), "without {key}: {error}");
            }
        }
    }

    #[test]
    fn wrong_types_ranges_and_forms_are_named() {
        for (argument, expected) in [
            ("training.epochs=many", "epochs"),
            ("training.epochs=0", "`training.epochs` is 0"),
            ("training.accumulation_steps=41", "training.accumulation_steps"),
            ("training.precision=f16", "f32"),
            ("gpt2.tuning=half", "frozen"),
            ("mapper.kind=linear", "transformer"),
            ("decoding.strategy={ kind = \"beam\", beams = 0 }", "beams is 0"),
            ("mapper.prefix_length=0", "mapper.prefix_length"),
            ("optimizer.beta1=1.0", "optimizer.beta1"),
            ("optimizer.learning_rate=-1.0", "optimizer.learning_rate"),
            ("data.split=random", "split"),
            ("data.layout=zip", "data.layout"),
            ("training.epochs", "key=value"),
            ("training..epochs=3", "key=value"),
        ] {
            let error = parse(&[argument]).unwrap_err().to_string();
            assert!(error.contains(expected), "{argument}: {error}");
        }
    }

    #[test]
    fn a_saved_configuration_reads_back_the_same() {
        let config = parse(&[]).unwrap();
        let again = Config::parse(&config.to_toml(), Path::new("saved.toml"), &[]).unwrap();
        assert_eq!(config, again);
    }

    #[test]
    fn a_difference_names_the_keys_that_changed() {
        let (before, after) = (parse(&[]).unwrap(), parse(&["training.seed=7"]).unwrap());
        assert_eq!(before.difference(&before), "");
        assert_eq!(before.difference(&after), "  training.seed: 42 -> 7\n");
    }
}
