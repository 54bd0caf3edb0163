//! Configurations that runs saved, of this and earlier versions, and the form of version 0.2.0.

use std::path::Path;

use toml::{Table, Value};

use crate::config::Config;
use crate::error::ConfigError;
use crate::keys::nested;
use crate::layers::{merge, with_bases};
use crate::paths::PATHS;

/// Keys that older runs lack, with the values that those runs were trained with.
const ADDED: [(&str, Value); 2] = [
    ("decoding.clean_up_tokenization_spaces", Value::Boolean(false)),
    ("training.deterministic", Value::Boolean(false)),
];

/// Lines of [`Config::to_toml`] that version 0.2.0 did not write: new keys with their defaults.
const NEW_LINES: [&str; 12] = [
    "captions = \"\"",
    "image_column = \"\"",
    "caption_column = \"\"",
    "images = \"\"",
    "split_seed = 42",
    "dropout = 0.0",
    "standardize = false",
    "dtype = \"f32\"",
    "no_repeat_ngram_size = 0",
    "repetition_penalty = 1.0",
    "length_penalty = 1.0",
    "min_new_tokens = 0",
];

impl Config {
    /// Reads the config of a run folder, of this or an earlier version.
    ///
    /// A key that was added later takes the value that the run was trained with, not today's
    /// default.
    ///
    /// # Errors
    /// Same as [`Self::load`].
    pub fn load_saved(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse_saved(&text, path, &[])
    }

    fn parse_saved(text: &str, path: &Path, overrides: &[String]) -> Result<Self, ConfigError> {
        let saved = with_bases(text, path, &|path| std::fs::read_to_string(path))?;
        let writes_words = saved.get("system").and_then(Value::as_str) == Some("merge-rnn");
        let mut table = Table::new();
        for (key, value) in ADDED {
            if !(writes_words && key == "decoding.clean_up_tokenization_spaces") {
                merge(&mut table, nested(key, value), "");
            }
        }
        merge(&mut table, saved, "");
        Self::resolve(table, path, overrides)
    }

    /// Returns the config with other decoding or other paths of the data.
    ///
    /// # Errors
    /// Same as [`Self::load`]; also fails for any other key, which a trained run cannot change.
    pub fn with_settings(&self, overrides: &[String]) -> Result<Self, ConfigError> {
        let is_open = |set: &&String| {
            let key = set.split('=').next().unwrap_or_default().trim();
            key.starts_with("decoding.") || PATHS.contains(&key)
        };
        if let Some(other) = overrides.iter().find(|set| !is_open(set)) {
            return Err(ConfigError::Settled(other.clone()));
        }
        Self::parse_saved(&self.to_toml(), Path::new("the run's config.toml"), overrides)
    }

    /// Returns the configuration as version 0.2.0 wrote it, which keys of its studies digest.
    #[must_use]
    pub fn to_toml_of_0_2_0(&self) -> String {
        let text = self.to_toml();
        text.split_inclusive('\n').filter(|line| !NEW_LINES.contains(&line.trim_end())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::reference;

    #[test]
    fn saved_runs_without_later_keys_have_the_values_they_were_trained_with() {
        let saved = |text: &str| Config::parse_saved(text, Path::new("config.toml"), &[]).unwrap();
        for system in ["clip-prefix", "sbg"] {
            let text = reference(system);
            let named = saved(&text);
            assert_eq!(named.decoding.clean_up_tokenization_spaces, Some(true));
            let is_later = |line: &&str| {
                line.starts_with("clean_up_tokenization_spaces")
                    || line.starts_with("deterministic")
            };
            let lines: Vec<&str> = text.lines().filter(|line| !is_later(line)).collect();
            assert_eq!(text.lines().count() - lines.len(), 2);
            let before = saved(&lines.join("\n"));
            assert_eq!(before.decoding.clean_up_tokenization_spaces, Some(false));
            assert!(!before.training.deterministic);
            assert!(before.difference(&named).contains("clean_up_tokenization_spaces"));
            assert_eq!(saved(&before.to_toml()), before);
            let set = ["decoding.clean_up_tokenization_spaces=true".to_owned()];
            assert_eq!(before.with_settings(&set).unwrap(), named);
        }
        let words = saved(&reference("merge-rnn"));
        assert!(!words.to_toml().contains("clean_up"));
        assert_eq!(saved(&words.to_toml()), words);
        let set = ["decoding.clean_up_tokenization_spaces=true".to_owned()];
        let error = words.with_settings(&set).unwrap_err().to_string();
        assert!(error.contains("unknown key `decoding.clean_up_tokenization_spaces`"), "{error}");
    }

    #[test]
    fn configs_of_version_0_2_0_are_written_as_it_wrote_them() {
        // Printed by that version: `capsmith train --config configs/flickr8k/NAME --print-config`.
        let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/configs/0.2.0");
        for name in ["prefix-only", "prefix-custom-tokenizer", "sbg", "merge-rnn"] {
            let path = Path::new(fixtures).join(name).with_extension("toml");
            let text = std::fs::read_to_string(&path).unwrap();
            let config = Config::load_saved(&path).unwrap();
            assert_eq!(config.to_toml_of_0_2_0(), text, "{name}");
            assert_ne!(config.to_toml(), text, "{name}");
        }
    }
}
