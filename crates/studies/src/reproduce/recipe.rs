//! What the rows of a table share: the data set, the models, and how embeddings and keywords are made.
//! A folder of configurations has one `recipe.toml` beside a file for each row.

use std::path::Path;

use foreign_text::printable_path;
use serde::Deserialize;

/// A folder of configurations.
#[derive(Debug, Clone)]
pub struct Family {
    /// What it is called in messages.
    pub name: String,
    /// What its rows share.
    pub recipe: Recipe,
    /// Each configuration's name and text.
    configs: Vec<(String, String)>,
}

/// What the rows of a table share.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Folder of the data set; `--data` names another.
    pub dataset: String,
    /// Models.
    pub models: Models,
    /// How embeddings are made.
    pub precompute: Precompute,
    /// How keywords are made.
    pub keywords: Keywords,
    /// Runs of each configuration, whose seeds count from the configured one.
    pub seeds: Seeds,
}

/// Models: names of the hub, which `--weights` looks for in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Models {
    /// CLIP. `random`: one with random weights is made.
    pub clip: String,
    /// GPT-2. `random`: one with random weights is made, with a tokenizer of the training captions.
    pub gpt2: String,
    /// VGG-16, for Merge-RNN. Empty: it sees CLIP's embeddings.
    pub vgg: String,
}

/// How embeddings are made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Precompute {
    /// Type of weights and activations: f32, f16 or bf16.
    pub dtype: String,
}

/// How keywords are made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keywords {
    /// How near-synonyms are told: clip, wordnet or none.
    pub synonyms: String,
    /// How labels are filed: clip, wordnet, or nli by BART as the paper.
    pub categories: String,
    /// BART for nli.
    #[serde(default)]
    pub nli: String,
}

/// Runs of each configuration.
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

/// Most runs of one configuration.
const MOST_RUNS: u64 = 1_000;

impl Seeds {
    /// Runs of the configuration of that name.
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

/// The configurations that there are one for each of.
const CONFIGS: [&str; 5] =
    ["prefix-original", "prefix-gradient-clipping", "prefix-custom-tokenizer", "sbg", "merge-rnn"];

macro_rules! built_in {
    ($name:literal, $folder:literal) => {
        (
            $name,
            include_str!(concat!("../../../../configs/", $folder, "/recipe.toml")),
            [
                include_str!(concat!("../../../../configs/", $folder, "/prefix-original.toml")),
                include_str!(concat!(
                    "../../../../configs/",
                    $folder,
                    "/prefix-gradient-clipping.toml"
                )),
                include_str!(concat!(
                    "../../../../configs/",
                    $folder,
                    "/prefix-custom-tokenizer.toml"
                )),
                include_str!(concat!("../../../../configs/", $folder, "/sbg.toml")),
                include_str!(concat!("../../../../configs/", $folder, "/merge-rnn.toml")),
            ],
        )
    };
}

/// The repository's own families, so that the program needs no repository.
const BUILT_IN: [(&str, &str, [&str; 5]); 4] = [
    built_in!("flickr8k", "flickr8k"),
    built_in!("flickr30k", "flickr30k"),
    built_in!("small", "small"),
    built_in!("demo", "demo"),
];

/// Why a family cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FamilyError {
    /// A file is not there, or cannot be read.
    #[error(
        "cannot read {}: {source}; a family of configurations is flickr8k, flickr30k, small, demo, or a folder with recipe.toml and a file for each row",
        printable_path(path)
    )]
    Read {
        /// The file.
        path: std::path::PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The recipe is not one.
    #[error("{name}/recipe.toml: {reason}")]
    Recipe {
        /// The family.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

impl Family {
    /// A family of that name, or of the folder at that path.
    ///
    /// # Errors
    /// Names the file that is missing or wrong.
    pub fn open(name: &str) -> Result<Self, FamilyError> {
        let built_in = BUILT_IN.iter().find(|(known, ..)| *known == name);
        let read = |file: &str| {
            let path = Path::new(name).join(file);
            std::fs::read_to_string(&path).map_err(|source| FamilyError::Read { path, source })
        };
        let (recipe, configs) = if let Some((_, recipe, configs)) = built_in {
            ((*recipe).to_owned(), configs.map(ToOwned::to_owned).to_vec())
        } else {
            let configs = CONFIGS.iter().map(|config| read(&format!("{config}.toml")));
            (read("recipe.toml")?, configs.collect::<Result<_, _>>()?)
        };
        let wrong = |reason: String| FamilyError::Recipe { name: name.to_owned(), reason };
        let recipe: Recipe =
            toml::from_str(&recipe).map_err(|error| wrong(error.to_string().trim().to_owned()))?;
        for config in CONFIGS {
            let count = recipe.seeds.of(config);
            if !(1..=MOST_RUNS).contains(&count) {
                return Err(wrong(format!(
                    "`seeds.{config}` is {count}, but must be from 1 to {MOST_RUNS}"
                )));
            }
        }
        let configs = CONFIGS.iter().map(|name| (*name).to_owned()).zip(configs).collect();
        Ok(Self { name: name.to_owned(), recipe, configs })
    }

    /// The text of the configuration of that name.
    #[must_use]
    pub fn config(&self, name: &str) -> &str {
        let config = self.configs.iter().find(|(known, _)| known == name);
        config.map_or("", |(_, text)| text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_runs_has_bounds() {
        let (_, recipe, configs) = BUILT_IN[0];
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in CONFIGS.iter().zip(configs) {
            std::fs::write(folder.path().join(format!("{name}.toml")), text).unwrap();
        }
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
