//! Full specification of a run, and loading it from its layers.

use std::path::Path;

use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::error::ConfigError;
use crate::keys::{check, flatten};
use crate::layers::{ReadFile, fill_kinds, merge, parse_override, with_bases};
use crate::sections::{CheckpointChoice, Data, Decoding, EarlyStopOn, Optimizer, Training};
use crate::systems::{ClipPrefix, MergeRnn, Sbg, System, Tokenizer};

/// Full specification of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// System to train, and its own sections.
    #[serde(flatten)]
    pub system: System,
    /// Captions, split and image embeddings.
    pub data: Data,
    /// The training loop.
    pub training: Training,
    /// The update rule.
    pub optimizer: Optimizer,
    /// Generation of captions.
    pub decoding: Decoding,
}

/// Sections that every system has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Common {
    data: Data,
    training: Training,
    optimizer: Optimizer,
    decoding: Decoding,
}

impl Config {
    /// Reads a config file and merges all layers.
    ///
    /// From lowest to highest: defaults, `base` files, the file, `key=value` overrides.
    ///
    /// # Errors
    /// Names the file, the key and the expected value.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, ConfigError> {
        let read: ReadFile = &|path| std::fs::read_to_string(path);
        let text =
            read(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::resolve(with_bases(&text, path, read)?, path, overrides)
    }

    /// Parses the text of a config file at `path`, to which its `base` is relative.
    ///
    /// # Errors
    /// Same as [`Self::load`].
    pub fn parse(text: &str, path: &Path, overrides: &[String]) -> Result<Self, ConfigError> {
        let table = with_bases(text, path, &|path| std::fs::read_to_string(path))?;
        Self::resolve(table, path, overrides)
    }

    /// Merges overrides over the `table` of the file at `path` and both over the system's defaults;
    /// checks the result.
    pub(crate) fn resolve(
        table: Table,
        path: &Path,
        overrides: &[String],
    ) -> Result<Self, ConfigError> {
        Self::layered(table.clone(), overrides).map_err(|error| {
            let without_overrides = Self::layered(table, &[]).map_err(|error| error.to_string());
            if without_overrides == Err(error.to_string()) { error.in_file(path) } else { error }
        })
    }

    /// Merges overrides over `table` and both over the system's defaults; checks the result.
    fn layered(mut table: Table, overrides: &[String]) -> Result<Self, ConfigError> {
        for argument in overrides {
            merge(&mut table, parse_override(argument)?, "");
        }
        let system = table.get("system").map_or_else(|| "missing".to_owned(), ToString::to_string);
        let defaults = Self::default_of(system.trim_matches('"'))
            .ok_or(ConfigError::System(system))?
            .to_table();
        let mut all = defaults.clone();
        merge(&mut all, table, "");
        fill_kinds(&mut all);
        check(&all, &defaults)?;
        let config = Self::from_table(all)
            .map_err(|error| ConfigError::Invalid(error.to_string().trim().to_owned()))?;
        config.validate()?;
        Ok(config)
    }

    /// Converts a table that has every key.
    fn from_table(mut table: Table) -> Result<Self, toml::de::Error> {
        let names = ["data", "training", "optimizer", "decoding"];
        let common: Table = names.iter().filter_map(|name| table.remove_entry(*name)).collect();
        let Common { data, training, optimizer, decoding } = common.try_into()?;
        let name = table.remove("system");
        let system = match name.as_ref().and_then(Value::as_str) {
            Some("sbg") => System::Sbg(table.try_into::<Sbg>()?),
            Some("merge-rnn") => System::MergeRnn(table.try_into::<MergeRnn>()?),
            Some("clip-prefix") => System::ClipPrefix(table.try_into::<ClipPrefix>()?),
            other => return Err(toml::de::Error::custom(format!("unknown system {other:?}"))),
        };
        Ok(Self { system, data, training, optimizer, decoding })
    }

    fn to_table(&self) -> Table {
        Table::try_from(self).unwrap_or_default()
    }

    /// Returns the system's own sections of a run of CLIP-prefix.
    ///
    /// # Errors
    /// Fails if it is of another system.
    pub fn clip_prefix(&self) -> Result<&ClipPrefix, ConfigError> {
        match &self.system {
            System::ClipPrefix(system) => Ok(system),
            other => Err(ConfigError::OtherSystem { needed: "clip-prefix", found: other.name() }),
        }
    }

    /// Returns the system's own sections of a run of SBG.
    ///
    /// # Errors
    /// Fails if it is of another system.
    pub fn sbg(&self) -> Result<&Sbg, ConfigError> {
        match &self.system {
            System::Sbg(system) => Ok(system),
            other => Err(ConfigError::OtherSystem { needed: "sbg", found: other.name() }),
        }
    }

    /// Returns the system's own sections of a run of Merge-RNN.
    ///
    /// # Errors
    /// Fails if it is of another system.
    pub fn merge_rnn(&self) -> Result<&MergeRnn, ConfigError> {
        match &self.system {
            System::MergeRnn(system) => Ok(system),
            other => Err(ConfigError::OtherSystem { needed: "merge-rnn", found: other.name() }),
        }
    }

    /// Returns true if training continues past the best epoch before it stops.
    #[must_use]
    pub fn trains_past_best_epoch(&self) -> bool {
        let training = &self.training;
        training.early_stop_epochs > 0 && training.early_stop_on == EarlyStopOn::HeldOut
    }

    /// Returns the checkpoint that commands use by default.
    ///
    /// This is the best epoch's if the held-out captions end training, which continues past that
    /// epoch; else the newest.
    #[must_use]
    pub fn usual_checkpoint(&self) -> CheckpointChoice {
        if self.trains_past_best_epoch() {
            CheckpointChoice::Best
        } else {
            CheckpointChoice::Newest
        }
    }

    /// Returns the paper's name of the system as it trains, and as it decodes by `decoding`.
    ///
    /// For example `CLIP-prefix, gradient clipping` or `SBG, top-5`.
    #[must_use]
    pub fn title(&self, decoding: &Decoding) -> String {
        let mut title = self.system.title().to_owned();
        match &self.system {
            System::ClipPrefix(system) => {
                if matches!(system.tokenizer, Tokenizer::Custom { .. }) {
                    title += ", custom tokenizer";
                }
                if self.optimizer.max_grad_norm > 0.0 {
                    title += ", gradient clipping";
                }
            }
            System::Sbg(_) => {
                title += ", ";
                title += &System::choice_title(decoding.strategy.continuations());
            }
            System::MergeRnn(_) => {}
        }
        title
    }

    /// Returns the config as TOML with every key, as the run folder stores it.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_default()
    }

    /// Returns dotted keys and their values as TOML writes them.
    #[must_use]
    pub fn values(&self) -> Vec<(String, String)> {
        flatten(&self.to_table())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns a config of that system with every key.
    pub(crate) fn reference(system: &str) -> String {
        Config::default_of(system).unwrap().to_toml()
    }

    fn parse(overrides: &[&str]) -> Result<Config, ConfigError> {
        let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
        Config::parse(&reference("clip-prefix"), Path::new("reference.toml"), &overrides)
    }

    #[test]
    fn pictures_are_captioned_in_larger_batches_on_a_gpu_unless_the_batch_is_set() {
        let batch_sizes = |sets: &[&str]| {
            let decoding = parse(sets).unwrap().decoding;
            [false, true].map(|on_gpu| decoding.caption_batch_size(on_gpu))
        };
        assert_eq!(batch_sizes(&[]), [64, 256]);
        assert_eq!(
            batch_sizes(&["decoding.strategy={ kind = \"beam\", num_beams = 5 }"]),
            [64, 64]
        );
        assert_eq!(batch_sizes(&["decoding.batch_size=9"]), [9, 9]);
    }

    #[test]
    fn overrides_replace_values_and_paths_need_no_quotes() {
        let config = parse(&[
            "training.epochs=3",
            "data.dataset=/tmp/some set",
            "optimizer.max_grad_norm=0",
            "training.device=cpu",
        ])
        .unwrap();
        assert_eq!(config.training.epochs, 3);
        assert_eq!(config.data.dataset, Path::new("/tmp/some set"));
        assert!(config.optimizer.max_grad_norm.abs() < f64::EPSILON);
        assert_eq!(config.training.device, "cpu");
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_known_one() {
        let error = parse(&["optimizer.learning_rat=1e-3"]).unwrap_err().to_string();
        assert!(error.contains("did you mean `optimizer.learning_rate`"), "{error}");
        let error = parse(&["epochs=3"]).unwrap_err().to_string();
        assert!(error.contains("did you mean `training.epochs`"), "{error}");
        let error = parse(&["decoding.stratgy.kind=beam"]).unwrap_err().to_string();
        assert!(error.contains("did you mean `decoding.strategy.kind`"), "{error}");
        assert!(parse(&["zzz.q=3"]).unwrap_err().to_string().contains("prints every key"));
    }

    #[test]
    fn an_error_names_the_file_unless_an_override_has_it() {
        let error = |epochs: &str, set: &str| {
            let text = format!("system = \"sbg\"\ntraining.epochs = {epochs}");
            let sets = [set.to_owned()];
            Config::parse(&text, Path::new("mine.toml"), &sets).unwrap_err().to_string()
        };
        assert!(error("0", "training.seed=1").starts_with("mine.toml: `training.epochs` is 0"));
        assert!(error("0", "training.epochs=-1").starts_with("`training.epochs` is -1"));
        assert!(error("1", "training.epochs=0").starts_with("`training.epochs` is 0"));
    }

    #[test]
    fn a_kind_has_its_own_keys_and_defaults() {
        let value = |sets: &[&str], key: &str| {
            let values = parse(sets).unwrap().values();
            values.into_iter().find(|(name, _)| name == key).map(|(_, value)| value)
        };
        let transformer = ["mapper.kind=transformer"];
        assert_eq!(value(&transformer, "mapper.layers").as_deref(), Some("8"));
        assert_eq!(
            value(&["mapper.prefix_length=4", transformer[0]], "mapper.prefix_length").unwrap(),
            "4"
        );
        let sampling = "decoding.strategy={ kind = \"sampling\", top_p = 0.9 }";
        assert_eq!(value(&[sampling], "decoding.strategy.top_k").as_deref(), Some("50"));
        // Another kind drops what only the previous one had.
        let beams = [sampling, "decoding.strategy.kind=beam"];
        assert_eq!(value(&beams, "decoding.strategy.num_beams").as_deref(), Some("5"));
        assert_eq!(value(&beams, "decoding.strategy.top_p"), None);
        for (set, expected) in [
            ("mapper.layers=4", "`mapper.layers` has no use with kind = \"mlp\""),
            ("decoding.strategy.num_beams=4", "has no use with kind = \"greedy\""),
            ("tokenizer={ kind = \"custom\", vocabsize = 300 }", "`tokenizer.vocab_size`"),
        ] {
            let error = parse(&[set]).unwrap_err().to_string();
            assert!(error.contains(expected), "{set}: {error}");
        }
    }

    #[test]
    fn a_file_names_only_what_it_decides_and_bases_may_be_chained() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path
        };
        let first = write("first.toml", "system = \"sbg\"\n[training]\nepochs = 3\nseed = 1");
        write("rows/second.toml", "base = \"../first.toml\"\n[training]\nseed = 2");
        let third = write(
            "third.toml",
            "base = \"rows/second.toml\"\n[decoding.strategy]\nkind = \"sampling\"\ntop_k = 7",
        );
        let (first, third) =
            (Config::load(&first, &[]).unwrap(), Config::load(&third, &[]).unwrap());
        assert_eq!(
            first.difference(&third),
            "  decoding.strategy.top_k: 50 -> 7\n  training.seed: 1 -> 2\n"
        );
        let defaults = Config::default_of("sbg").unwrap();
        assert_eq!(
            defaults.difference(&first),
            "  training.epochs: 10 -> 3\n  training.seed: 42 -> 1\n"
        );
        let error =
            |name: &str, text: &str| Config::load(&write(name, text), &[]).unwrap_err().to_string();
        assert!(error("lost.toml", "base = \"gone.toml\"").contains("gone.toml"));
        write("a.toml", "base = \"rows/b.toml\"");
        let cycle = error("rows/b.toml", "base = \"../a.toml\"");
        assert!(cycle.contains("leads back"), "{cycle}");
        assert!(error("list.toml", "base = [1]").contains("must be the path"));
        let typo = error("typo.toml", "base = \"first.toml\"\n[optimizer]\nlearning_rat = 1e-3");
        assert!(typo.contains("did you mean `optimizer.learning_rate`"), "{typo}");
    }

    #[test]
    fn the_built_in_configs_load_and_two_rows_differ_in_under_ten_lines() {
        let mut rows = 0;
        for folder in ["flickr8k", "flickr30k", "real", "small", "demo"] {
            let plain = Config::built_in(&format!("{folder}/prefix-original.toml"), &[]).unwrap();
            for row in ["prefix-gradient-clipping", "prefix-custom-tokenizer", "sbg", "merge-rnn"] {
                let row = Config::built_in(&format!("{folder}/{row}.toml"), &[]).unwrap();
                rows += 1;
                if row.clip_prefix().is_ok() {
                    let lines = plain.difference(&row).lines().count();
                    assert!((1..10).contains(&lines), "{folder}: {lines} lines");
                }
            }
        }
        assert_eq!(rows, 20);
    }

    /// `tests/fixtures/configs/0.1.0` has the configs that version 0.1.0 came with.
    #[test]
    fn configs_of_version_0_1_0_are_read_and_mean_what_they_meant() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/configs/0.1.0");
        for family in ["flickr8k", "flickr30k", "small", "demo"] {
            for row in [
                "prefix-original",
                "prefix-gradient-clipping",
                "prefix-custom-tokenizer",
                "sbg",
                "merge-rnn",
            ] {
                let name = format!("{family}/{row}.toml");
                let old = Config::load(&Path::new(folder).join(&name), &[]).unwrap();
                let now = Config::built_in(&name, &[]).unwrap();
                assert_eq!(old.difference(&now), "", "{name}");
                assert_eq!(old, now, "{name}");
            }
        }
    }

    #[test]
    fn keys_of_version_0_1_0_are_read_under_their_names_of_then() {
        let old = [
            "training.accumulation_steps=4",
            "training.keep_checkpoints=3",
            "optimizer.max_gradient_norm=1",
            "decoding.max_tokens=9",
            "decoding.strategy={ kind = \"sampling\", samples = 2 }",
        ];
        let new = [
            "training.gradient_accumulation_steps=4",
            "training.save_total_limit=3",
            "optimizer.max_grad_norm=1",
            "decoding.max_new_tokens=9",
            "decoding.strategy={ kind = \"sampling\", num_return_sequences = 2 }",
        ];
        assert_eq!(parse(&old).unwrap(), parse(&new).unwrap());
        let beams =
            ["decoding.strategy={ kind = \"beam\", beams = 3 }", "decoding.strategy.beams=4"];
        assert_eq!(parse(&beams).unwrap().decoding.strategy.continuations(), 4);
        let both = "[optimizer]\nmax_grad_norm = 1.0\nmax_gradient_norm = 2.0";
        let error = Config::parse(both, Path::new("both.toml"), &[]).unwrap_err().to_string();
        assert!(error.contains("both.toml") && error.contains("max_grad_norm"), "{error}");
    }

    #[test]
    fn each_system_has_its_own_sections_and_refuses_what_it_has_no_use_for() {
        let parse = |system: &str, sets: &[&str]| {
            let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
            Config::parse(&reference(system), Path::new("reference.toml"), &sets)
        };
        assert!(parse("sbg", &[]).unwrap().sbg().is_ok());
        assert!(parse("merge-rnn", &[]).unwrap().trains_past_best_epoch());
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
            ("merge-rnn", "network.dropout=1", "network.dropout"),
            ("merge-rnn", "decoding.dtype=bf16", "decoding.dtype"),
            ("clip-prefix", "mapper.dropout=-0.1", "mapper.dropout"),
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
            ("training.gradient_accumulation_steps=41", "training.gradient_accumulation_steps"),
            ("training.precision=f16", "f32"),
            ("gpt2.tuning=half", "frozen"),
            ("mapper.kind=linear", "transformer"),
            ("decoding.strategy={ kind = \"beam\", num_beams = 0 }", "num_beams is 0"),
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
                Config::parse(&reference(system), Path::new("reference.toml"), &[]).unwrap();
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
        let elsewhere = parse(&[
            "training.device=cpu",
            "training.threads=7",
            "decoding.batch_size=9",
            "data.dataset=/x",
        ])
        .unwrap();
        assert_eq!(before.difference(&elsewhere).lines().count(), 4);
        assert_eq!(before.difference_of_run(&elsewhere), "");
    }
}
