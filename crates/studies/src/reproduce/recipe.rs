//! Recipes: data set, models, and settings of embeddings and keywords that the rows of a table
//! share.
//!
//! A folder of configurations has a `recipe.toml` and a file for each row.

use std::path::Path;

use foreign_text::printable_path;
use recipes::{Config, ConfigError};
use serde::Deserialize;

/// A folder of configurations.
#[derive(Debug, Clone)]
pub struct Family {
    /// Name of a built-in family, or path of its folder.
    pub name: String,
    /// Settings that its rows share.
    pub recipe: Recipe,
    is_built_in: bool,
}

/// Settings that the rows of a table share.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Folder of the data set; `--dataset` names another.
    pub dataset: String,
    /// First line of the table: its data and models, if these are not the paper's.
    ///
    /// With it, scores are not compared with the published ones.
    #[serde(default)]
    pub about: Option<String>,
    /// Also score the control of each run: captions of other images.
    #[serde(default)]
    pub controls: bool,
    /// Nearest training images of the baseline without a model; 0 for no baseline.
    #[serde(default)]
    pub neighbours: usize,
    /// Number of images on the page, spread over the test set.
    #[serde(default = "default_pictures")]
    pub pictures: usize,
    /// Models.
    pub models: Models,
    /// Settings of embeddings.
    pub precompute: Precompute,
    /// Settings of keywords.
    pub keywords: Keywords,
    /// Training of the models that the study trains itself.
    #[serde(default)]
    pub pretrain: Pretrain,
    /// Number of runs of each configuration; seeds count up from the configured one.
    pub seeds: Seeds,
}

fn default_pictures() -> usize {
    48
}

/// Hub names of models, which `--weights` looks for in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Models {
    /// Image encoder of `capsmith precompute --encoder`; empty for CLIP's own.
    #[serde(default)]
    pub encoder: String,
    /// CLIP; `random` for one with random weights, `lit` for a text tower and a projection trained
    /// on the features of `encoder`.
    pub clip: String,
    /// GPT-2; `random` for one with random weights and a tokenizer trained on the training
    /// captions, `pretrained-on-captions` for one trained on them as a language model.
    pub gpt2: String,
    /// VGG-16 for Merge-RNN; empty to use the features of `encoder`, or CLIP's embeddings.
    pub vgg: String,
}

/// Name in a recipe of a CLIP trained on the features of an image encoder.
pub const LIT: &str = "lit";
/// Name in a recipe of a GPT-2 trained on the training captions.
pub const PRETRAINED: &str = "pretrained-on-captions";

/// Options of `capsmith pretrain`, with `_` for `-`, such as `learning_rate = 1e-3`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pretrain {
    /// Options of `capsmith pretrain clip`.
    #[serde(default)]
    pub clip: toml::Table,
    /// Options of `capsmith pretrain gpt2`.
    #[serde(default)]
    pub gpt2: toml::Table,
    /// Options of `capsmith pretrain encoder`, which tunes the image encoder before its features
    /// are computed; `None` to keep its weights.
    #[serde(default)]
    pub encoder: Option<toml::Table>,
}

/// Features that the rows of CLIP-prefix read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrefixInput {
    /// CLIP's embeddings.
    #[default]
    Embeddings,
    /// Features of the image encoder.
    Features,
}

/// Settings of embeddings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Precompute {
    /// Type of weights and activations: f32, f16 or bf16.
    pub dtype: String,
    /// Features that the rows of CLIP-prefix read.
    #[serde(default)]
    pub prefix: PrefixInput,
}

/// Settings of keywords.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keywords {
    /// Method of detecting near-synonyms: sentence (as in the paper), clip, wordnet or none.
    pub synonyms: String,
    /// Model of sentence-transformers for sentence, and for tuning the image encoder.
    #[serde(default)]
    pub sentence: String,
    /// Method of sorting labels into categories: clip, wordnet, or nli (BART, as in the paper).
    pub categories: String,
    /// BART for nli.
    #[serde(default)]
    pub nli: String,
}

/// Number of runs of each configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[allow(missing_docs, reason = "named as the configurations")]
pub struct Seeds {
    pub prefix_original: u64,
    pub prefix_gradient_clipping: u64,
    pub prefix_custom_tokenizer: u64,
    pub sbg: u64,
    pub merge_rnn: u64,
}

/// Maximum number of runs of a configuration.
const MAX_RUNS: u64 = 1_000;

impl Seeds {
    /// Returns the number of runs of a configuration.
    #[must_use]
    pub fn of(&self, config: &str) -> u64 {
        match config {
            "prefix-original" => self.prefix_original,
            "prefix-gradient-clipping" => self.prefix_gradient_clipping,
            "prefix-custom-tokenizer" => self.prefix_custom_tokenizer,
            "sbg" => self.sbg,
            _ => self.merge_rnn,
        }
    }
}

/// Names of the configurations of a family.
const CONFIGS: [&str; 5] =
    ["prefix-original", "prefix-gradient-clipping", "prefix-custom-tokenizer", "sbg", "merge-rnn"];

/// Error of opening a family of configurations.
#[derive(Debug, thiserror::Error)]
pub enum FamilyError {
    /// A file is missing or cannot be read.
    #[error(
        "cannot read {}: {source}\nhint: a family of configurations is flickr8k, flickr30k, real, small, demo, or a folder with recipe.toml and a file for each row",
        printable_path(path)
    )]
    Read {
        /// The file.
        path: std::path::PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The recipe is invalid.
    #[error("{name}/recipe.toml: {reason}")]
    Recipe {
        /// The family.
        name: String,
        /// Description of the defect.
        reason: String,
    },
}

impl Family {
    /// Opens a built-in family by its name, or the family in the folder at that path.
    ///
    /// # Errors
    /// Fails if a file is missing or invalid.
    pub fn open(name: &str) -> Result<Self, FamilyError> {
        let built_in = Config::built_in_text(&format!("{name}/recipe.toml"));
        let is_built_in = built_in.is_some();
        let recipe = if let Some(text) = built_in {
            text.to_owned()
        } else {
            let path = Path::new(name).join("recipe.toml");
            let read = std::fs::read_to_string(&path);
            read.map_err(|source| FamilyError::Read { path, source })?
        };
        let wrong = |reason: String| FamilyError::Recipe { name: name.to_owned(), reason };
        let recipe: Recipe =
            toml::from_str(&recipe).map_err(|error| wrong(error.to_string().trim().to_owned()))?;
        let models = &recipe.models;
        if models.clip == LIT && models.encoder.is_empty() {
            return Err(wrong("`models.clip = \"lit\"` needs `models.encoder`".to_owned()));
        }
        if recipe.pretrain.encoder.is_some() && models.encoder.is_empty() {
            return Err(wrong("`[pretrain.encoder]` needs `models.encoder`".to_owned()));
        }
        if recipe.precompute.prefix == PrefixInput::Features && models.encoder.is_empty() {
            let reason = "`precompute.prefix = \"features\"` needs `models.encoder`";
            return Err(wrong(reason.to_owned()));
        }
        for config in CONFIGS {
            let count = recipe.seeds.of(config);
            if !(1..=MAX_RUNS).contains(&count) {
                return Err(wrong(format!(
                    "`seeds.{config}` is {count}, but must be from 1 to {MAX_RUNS}"
                )));
            }
        }
        Ok(Self { name: name.to_owned(), recipe, is_built_in })
    }

    /// Loads a config of the family, with `key=value` overrides.
    ///
    /// # Errors
    /// Fails as [`Config::load`] does.
    pub fn config(&self, name: &str, overrides: &[String]) -> Result<Config, ConfigError> {
        let file = format!("{name}.toml");
        if self.is_built_in {
            Config::built_in(&format!("{}/{file}", self.name), overrides)
        } else {
            Config::load(&Path::new(&self.name).join(file), overrides)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_runs_has_bounds() {
        let recipe = Config::built_in_text("flickr8k/recipe.toml").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let opened = |count: &str| {
            let recipe = recipe.replace("sbg = 1", &format!("sbg = {count}"));
            std::fs::write(folder.path().join("recipe.toml"), recipe).unwrap();
            Family::open(&folder.path().display().to_string()).map_err(|error| error.to_string())
        };
        assert_eq!(opened("3").unwrap().recipe.seeds.sbg, 3);
        for count in ["0", "1000000000000", "9223372036854775807"] {
            let error = opened(count).unwrap_err();
            assert!(error.contains("`seeds.sbg`") && error.contains("from 1 to 1000"), "{error}");
        }
    }
}
