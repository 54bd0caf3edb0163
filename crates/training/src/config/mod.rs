//! What a run is: one TOML file, `--set key=value` overrides, and the validated result.
//!
//! Every value is named in the file; nothing has a hidden default. Unknown keys are refused with a
//! suggestion. The resolved configuration is saved in the run folder, and a resumed run must have
//! the same one.

mod keys;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use flickr::{Layout, SplitKind, SplitSpec};
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
    /// A `--set` argument that is not `key=value`.
    #[error("`--set {0}` is not of the form key=value, such as --set training.epochs=3")]
    Override(String),
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
    /// Hugging Face folder with `config.json`, `model.safetensors` and the tokenizer.
    pub model: PathBuf,
}

/// Kinds of mapper from an image embedding to prefix vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MapperKind {
    /// Two linear layers with tanh between.
    Mlp,
}

/// From image embedding to prefix vectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapper {
    /// The network.
    pub kind: MapperKind,
    /// Prefix vectors before the caption.
    pub prefix_length: i64,
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
    /// Epochs without improvement of the last loss before training stops; 0 for never.
    pub early_stop_epochs: u64,
    /// Steps between fetching losses from the device.
    pub log_every_steps: u64,
    /// Steps between checkpoints, besides those at the end of each epoch; 0 for none.
    pub checkpoint_every_steps: u64,
    /// Checkpoints kept.
    pub keep_checkpoints: usize,
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

/// How captions are generated: greedily, up to the first '.'.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decoding {
    /// Tokens at most.
    pub max_tokens: usize,
    /// Pictures captioned together.
    pub batch_size: usize,
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
        let at_least_one: [(&'static str, u64); 6] = [
            ("mapper.prefix_length", u64::try_from(self.mapper.prefix_length).unwrap_or(0)),
            ("training.epochs", training.epochs),
            ("training.batch_size", training.batch_size as u64),
            ("training.log_every_steps", training.log_every_steps),
            ("training.keep_checkpoints", training.keep_checkpoints as u64),
            ("decoding.batch_size", self.decoding.batch_size as u64),
        ];
        for (key, value) in at_least_one {
            check(value >= 1, key, value.to_string(), "at least 1")?;
        }
        check(
            self.decoding.max_tokens >= 1,
            "decoding.max_tokens",
            self.decoding.max_tokens.to_string(),
            "at least 1",
        )?;
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
    fn wrong_types_ranges_and_forms_are_named() {
        for (argument, expected) in [
            ("training.epochs=many", "epochs"),
            ("training.epochs=0", "`training.epochs` is 0"),
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
