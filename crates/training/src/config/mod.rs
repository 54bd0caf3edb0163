//! What a run is: one TOML file, `--set key=value` overrides, and the validated result.
//!
//! Every value is named in the file; nothing has a hidden default. Unknown keys are refused with a
//! suggestion. The resolved configuration is saved in the run folder, and a resumed run must have
//! the same one.

mod error;
mod keys;
mod sections;
mod systems;
mod validate;

use std::fmt::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::checkpoint::Which;

pub use error::ConfigError;
use keys::{apply_override, check_numbers, dotted_keys, flatten, known_keys, nearest};
pub use sections::{
    Data, Decoding, EarlyStopOn, Optimizer, Precision, Rule, Schedule, Strategy, Training,
};
pub use systems::{
    Architecture, ClipPrefix, Gpt2, Keywords, LanguageModel, Mapper, MergeRnn, Network, Reranking,
    Sbg, System, Text, TextLoss, Tokenizer, Tuning, Vocabulary,
};

/// Keys that say where files are. What is in the files is checked by their digests.
const PLACES: [&str; 3] = ["data.dataset", "data.embeddings", "keywords.selected"];

/// Keys that say what a run is computed on. Another value changes the last digits of its results at most.
const HARDWARE: [&str; 3] = ["training.device", "training.threads", "decoding.batch_size"];

/// One run, fully specified.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// Which system is trained, and its own sections.
    #[serde(flatten)]
    pub system: System,
    /// Captions, split and image embeddings.
    pub data: Data,
    /// The loop.
    pub training: Training,
    /// The update rule.
    pub optimizer: Optimizer,
    /// How captions are generated.
    pub decoding: Decoding,
}

/// The sections that every system has.
#[derive(Deserialize)]
struct Common {
    data: Data,
    training: Training,
    optimizer: Optimizer,
    decoding: Decoding,
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
        let known = known_keys(&table)?;
        for key in dotted_keys(&table) {
            if !known.contains(&key) {
                let suggestion = nearest(&key, &known);
                return Err(ConfigError::UnknownKey { key, suggestion });
            }
        }
        check_numbers(&table)?;
        let misfit = |error: toml::de::Error| invalid(error.to_string().trim().to_owned());
        // One by one: a flattened enum would forget which key a value is of.
        let system = match table.get("system").and_then(toml::Value::as_str) {
            Some("sbg") => System::Sbg(table.clone().try_into().map_err(misfit)?),
            Some("merge-rnn") => System::MergeRnn(table.clone().try_into().map_err(misfit)?),
            _ => System::ClipPrefix(table.clone().try_into().map_err(misfit)?),
        };
        let Common { data, training, optimizer, mut decoding } =
            table.try_into().map_err(misfit)?;
        if !matches!(system, System::MergeRnn(_)) {
            // Runs of before there was this key did not clean up.
            decoding.clean_up_tokenization_spaces.get_or_insert(false);
        }
        let config = Self { system, data, training, optimizer, decoding };
        config.validate()?;
        Ok(config)
    }

    /// Changes how captions are generated, or where the data lies now.
    ///
    /// # Errors
    /// As [`Self::load`]; and when a key is another one, since a trained run's others are settled.
    pub fn with_settings(&self, overrides: &[String]) -> Result<Self, ConfigError> {
        let is_open = |set: &&String| {
            let key = set.split('=').next().unwrap_or_default().trim();
            key.starts_with("decoding.") || PLACES.contains(&key)
        };
        if let Some(other) = overrides.iter().find(|set| !is_open(set)) {
            return Err(ConfigError::Settled(other.clone()));
        }
        Self::parse(&self.to_toml(), Path::new("the run's config.toml"), overrides)
    }

    /// The system's own sections, of a run of CLIP-prefix.
    ///
    /// # Errors
    /// When it is of another system.
    pub fn clip_prefix(&self) -> Result<&ClipPrefix, ConfigError> {
        match &self.system {
            System::ClipPrefix(system) => Ok(system),
            other => Err(ConfigError::OtherSystem { needed: "clip-prefix", found: other.name() }),
        }
    }

    /// The system's own sections, of a run of SBG.
    ///
    /// # Errors
    /// When it is of another system.
    pub fn sbg(&self) -> Result<&Sbg, ConfigError> {
        match &self.system {
            System::Sbg(system) => Ok(system),
            other => Err(ConfigError::OtherSystem { needed: "sbg", found: other.name() }),
        }
    }

    /// The system's own sections, of a run of Merge-RNN.
    ///
    /// # Errors
    /// When it is of another system.
    pub fn merge_rnn(&self) -> Result<&MergeRnn, ConfigError> {
        match &self.system {
            System::MergeRnn(system) => Ok(system),
            other => Err(ConfigError::OtherSystem { needed: "merge-rnn", found: other.name() }),
        }
    }

    /// Whether training goes on past the best epoch before it stops.
    #[must_use]
    pub fn ends_behind_its_best(&self) -> bool {
        let training = &self.training;
        training.early_stop_epochs > 0 && training.early_stop_on == EarlyStopOn::HeldOut
    }

    /// Returns which checkpoint of a run is used wherever none is asked for: the best epoch's where
    /// the held-out captions end training, since it goes on past that one; else the newest.
    #[must_use]
    pub fn usual_checkpoint(&self) -> Which {
        if self.ends_behind_its_best() { Which::Best } else { Which::Newest }
    }

    /// The configuration as TOML, as it is saved in the run folder.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_default()
    }

    /// Dotted keys and their values as TOML writes them.
    #[must_use]
    pub fn values(&self) -> Vec<(String, String)> {
        flatten(self)
    }

    /// Lines `key: before -> after` for every value that differs; empty when none does.
    #[must_use]
    pub fn difference(&self, other: &Self) -> String {
        self.difference_except(&[], other)
    }

    /// Returns [`Self::difference`] without the keys that say what a run is computed on: the difference that
    /// makes it another run.
    #[must_use]
    pub fn difference_of_run(&self, other: &Self) -> String {
        self.difference_except(&HARDWARE, other)
    }

    fn difference_except(&self, keys: &[&str], other: &Self) -> String {
        let (before, after) = (self.values(), other.values());
        let mut lines = String::new();
        for (key, value) in before.iter().filter(|(key, _)| !keys.contains(&key.as_str())) {
            match after.iter().find(|(name, _)| name == key) {
                Some((_, changed)) if changed != value => {
                    let _ = writeln!(lines, "  {key}: {value} -> {changed}");
                }
                _ => {}
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::keys::reference;
    use super::*;
    use tch::Device;

    fn parse(overrides: &[&str]) -> Result<Config, ConfigError> {
        let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
        Config::parse(reference("clip-prefix"), Path::new("reference.toml"), &overrides)
    }

    #[test]
    fn pictures_are_captioned_in_larger_batches_on_a_gpu_unless_the_batch_is_set() {
        let together = |sets: &[&str]| {
            let decoding = parse(sets).unwrap().decoding;
            [Device::Cpu, Device::Cuda(1)].map(|device| decoding.pictures_together(device))
        };
        assert_eq!(together(&[]), [64, 256]);
        assert_eq!(together(&["decoding.strategy={ kind = \"beam\", beams = 5 }"]), [64, 64]);
        assert_eq!(together(&["decoding.batch_size=9"]), [9, 9]);
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
    fn runs_that_do_not_name_the_clean_up_of_spaces_have_none() {
        let parse = |text: &str| Config::parse(text, Path::new("config.toml"), &[]).unwrap();
        for system in ["clip-prefix", "sbg"] {
            let named = parse(reference(system));
            assert_eq!(named.decoding.clean_up_tokenization_spaces, Some(true));
            let lines = reference(system).lines();
            let lines: Vec<&str> =
                lines.filter(|line| !line.starts_with("clean_up_tokenization_spaces")).collect();
            let before = parse(&lines.join("\n"));
            assert_eq!(before.decoding.clean_up_tokenization_spaces, Some(false));
            assert!(before.difference(&named).contains("clean_up_tokenization_spaces"));
            assert_eq!(parse(&before.to_toml()), before);
            let set = ["decoding.clean_up_tokenization_spaces=true".to_owned()];
            assert_eq!(before.with_settings(&set).unwrap(), named);
        }
        let words = parse(reference("merge-rnn"));
        assert!(!words.to_toml().contains("clean_up"));
        assert_eq!(parse(&words.to_toml()), words);
        let set = ["decoding.clean_up_tokenization_spaces=true".to_owned()];
        let error = words.with_settings(&set).unwrap_err().to_string();
        assert!(error.contains("unknown key `decoding.clean_up_tokenization_spaces`"), "{error}");
    }

    #[test]
    fn each_system_has_its_own_sections_and_refuses_what_it_has_no_use_for() {
        let parse = |system: &str, sets: &[&str]| {
            let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
            Config::parse(reference(system), Path::new("reference.toml"), &sets)
        };
        assert!(parse("sbg", &[]).unwrap().sbg().is_ok());
        assert!(parse("merge-rnn", &[]).unwrap().ends_behind_its_best());
        let error = parse("sbg", &[]).unwrap().clip_prefix().unwrap_err().to_string();
        assert!(error.contains("a run of sbg") && error.contains("clip-prefix"), "{error}");
        for (system, set, expected) in [
            ("sbg", "mapper.kind=mlp", "unknown key `mapper.kind`"),
            ("sbg", "gpt2.tuning=frozen", "unknown key `gpt2.tuning`"),
            ("sbg", "data.normalize_embeddings=false", "normalize_embeddings"),
            ("sbg", "training.sort_by_length=true", "sort_by_length"),
            ("sbg", "decoding.strategy={ kind = \"greedy\" }", "drawn at random"),
            ("sbg", "reranking.best_of=[1, 6]", "reranking.best_of"),
            ("sbg", "reranking.best_of=[]", "reranking.best_of"),
            ("sbg", "text.block_size=1", "text.block_size"),
            ("sbg", "text.loss=some", "loss"),
            ("merge-rnn", "gpt2.model=gpt2", "unknown key `gpt2.model`"),
            ("merge-rnn", "training.precision=bf16", "training.precision"),
            ("merge-rnn", "training.gradient_checkpointing=true", "gradient_checkpointing"),
            ("merge-rnn", "network.architecture=append", "architecture"),
            ("merge-rnn", "network.layer_size=0", "network.layer_size"),
            ("merge-rnn", "training.keep_best_checkpoint=false", "keep_best_checkpoint"),
            ("merge-rnn", "system=rnn", "`system` is \"rnn\""),
        ] {
            let error = parse(system, &[set]).unwrap_err().to_string();
            assert!(error.contains(expected), "{set}: {error}");
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
        for system in ["clip-prefix", "sbg", "merge-rnn"] {
            let config =
                Config::parse(reference(system), Path::new("reference.toml"), &[]).unwrap();
            let again = Config::parse(&config.to_toml(), Path::new("saved.toml"), &[]).unwrap();
            assert_eq!(config, again);
        }
    }

    #[test]
    fn a_difference_names_the_keys_that_changed() {
        let (before, after) = (parse(&[]).unwrap(), parse(&["training.seed=7"]).unwrap());
        assert_eq!(before.difference(&before), "");
        assert_eq!(before.difference(&after), "  training.seed: 42 -> 7\n");
        assert_eq!(before.difference_of_run(&after), "  training.seed: 42 -> 7\n");
        let elsewhere =
            parse(&["training.device=cpu", "training.threads=7", "decoding.batch_size=9"]).unwrap();
        assert_eq!(before.difference(&elsewhere).lines().count(), 3);
        assert_eq!(before.difference_of_run(&elsewhere), "");
    }

    #[test]
    fn runs_that_do_not_name_determinism_have_none() {
        let lines = reference("sbg").lines().filter(|line| !line.starts_with("deterministic"));
        let text = lines.collect::<Vec<_>>().join("\n");
        let parse = |sets: &[String]| Config::parse(&text, Path::new("config.toml"), sets);
        let config = parse(&[]).unwrap();
        assert!(!config.training.deterministic);
        let set = parse(&["training.deterministic=true".to_owned()]).unwrap();
        assert_eq!(config.difference_of_run(&set), "  training.deterministic: false -> true\n");
    }
}
