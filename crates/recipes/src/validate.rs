//! Ranges of values, and values that exclude each other.

use crate::{
    ClipPrefix, Config, ConfigError, Decoding, DecodingDtype, MapperKind, MergeRnn, Precision,
    Sampling, Sbg, Strategy, System, Tokenizer,
};

// Upper bounds: each far beyond any real training, and low enough that no product of them
// overflows.
const MAX_EPOCHS: u64 = 1_000_000;
const MAX_STEPS: u64 = 1_000_000_000;
const MAX_ROWS: u64 = 1_000_000;
const MAX_CHECKPOINTS: u64 = 1_000_000;
const MAX_THREADS: u64 = 1_024;
/// Seconds of a year.
const MAX_SECONDS: u64 = 31_536_000;
/// Smallest vocabulary of a byte-level BPE: the 256 bytes and the end of text.
const MIN_VOCABULARY: u64 = 257;
/// Largest number of tokens of a text: GPT-2's own number of positions is the lower bound.
pub(crate) const MAX_TOKENS: u64 = 100_000;
/// Largest number of vectors from an image embedding within the mapper; `ClipCap` has 10.
const MAX_CLIP_VECTORS: u64 = 1000;
/// Largest number of words of a caption; Merge-RNN itself has no bound.
const MAX_WORDS: u64 = 1_000;
const MAX_LAYERS: u64 = 1_000;
/// Largest layer size; a layer of it has 500 million weights.
const MAX_LAYER_SIZE: u64 = 8_192;
/// Largest rate: rates multiply 32-bit floats, which end a little above it.
const MAX_RATE: f64 = 1e38;
/// Largest temperature; higher ones make all tokens equally probable.
const MAX_TEMPERATURE: f64 = 1e6;
/// Largest number of captions decoded at the same time.
const MAX_CAPTIONS_AT_ONCE: usize = 1_000_000;

impl Config {
    /// Checks all ranges, and that the system uses each value set.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        self.validate_data()?;
        self.validate_training()?;
        self.validate_optimizer()?;
        self.check_decoding(&self.decoding)?;
        match &self.system {
            System::ClipPrefix(system) => system.validate(),
            System::Sbg(system) => system.validate(self),
            System::MergeRnn(system) => system.validate(self),
        }
    }

    /// Checks that decoding is in range and that the run's system supports it.
    ///
    /// # Errors
    /// Names the key and its range.
    pub fn check_decoding(&self, decoding: &Decoding) -> Result<(), ConfigError> {
        let words = matches!(self.system, System::MergeRnn(_));
        within("decoding.batch_size", decoding.batch_size, 0, MAX_ROWS)?;
        let most = if words { MAX_WORDS } else { MAX_TOKENS };
        within("decoding.max_new_tokens", decoding.max_new_tokens, 1, most)?;
        decoding.strategy.check().map_err(ConfigError::Strategy)?;
        decoding.constraints.check(decoding.max_new_tokens, &decoding.strategy)?;
        if words && let Some((key, value)) = decoding.constraints.first_set() {
            self.refuse_unless(false, key, &value, "has no such constraint; leave it out")?;
        }
        if words {
            let fits = matches!(decoding.dtype, DecodingDtype::F32 | DecodingDtype::Tf32);
            let reason = "is computed in f32; set it to f32 or tf32";
            self.refuse_unless(fits, "decoding.dtype", &decoding.dtype.name(), reason)?;
        }
        let strategy = &decoding.strategy;
        if let Strategy::Sampling(Sampling { temperature, top_k, .. }) = *strategy {
            let key = "decoding.strategy.temperature";
            check(temperature <= MAX_TEMPERATURE, key, &temperature, "at most 1000000")?;
            within("decoding.strategy.top_k", top_k, 0, MAX_ROWS)?;
        }
        let most = MAX_CAPTIONS_AT_ONCE / strategy.continuations();
        check(
            decoding.batch_size <= most,
            "decoding.batch_size",
            &decoding.batch_size,
            format!("at most {most} with so many beams or samples of each picture"),
        )?;
        let (fits, otherwise, reason) = match &self.system {
            System::ClipPrefix(_) => return Ok(()),
            System::Sbg(_) => (
                matches!(strategy, Strategy::Sampling(_)),
                "not sampling",
                "chooses among captions drawn at random; set it to sampling",
            ),
            System::MergeRnn(_) => (
                matches!(strategy, Strategy::Beam { .. }),
                "not beam",
                "captions by beam search; set it to beam",
            ),
        };
        self.refuse_unless(fits, "decoding.strategy.kind", &otherwise, reason)
    }

    fn validate_data(&self) -> Result<(), ConfigError> {
        self.data.layout()?;
        within("data.test_captions", self.data.test_captions, 0, MAX_STEPS)?;
        within("data.validation_captions", self.data.validation_captions, 0, MAX_STEPS)
    }

    fn validate_training(&self) -> Result<(), ConfigError> {
        let training = &self.training;
        within("training.threads", training.threads, 0, MAX_THREADS)?;
        within("training.batch_size", training.batch_size, 1, MAX_ROWS)?;
        within(
            "training.gradient_accumulation_steps",
            training.gradient_accumulation_steps,
            1,
            MAX_ROWS,
        )?;
        within("training.save_total_limit", training.save_total_limit, 1, MAX_CHECKPOINTS)?;
        within("training.scored_pictures", training.scored_pictures, 0, MAX_ROWS)?;
        for (key, value, least, most) in [
            ("training.epochs", training.epochs, 1, MAX_EPOCHS),
            ("training.early_stop_epochs", training.early_stop_epochs, 0, MAX_EPOCHS),
            ("training.peer_timeout_seconds", training.peer_timeout_seconds, 1, MAX_SECONDS),
            ("training.log_every_steps", training.log_every_steps, 1, MAX_STEPS),
            ("training.checkpoint_every_steps", training.checkpoint_every_steps, 0, MAX_STEPS),
            ("training.keep_every_steps", training.keep_every_steps, 0, MAX_STEPS),
        ] {
            within(key, value, least, most)?;
        }
        check(
            training.gradient_accumulation_steps <= training.batch_size,
            "training.gradient_accumulation_steps",
            &training.gradient_accumulation_steps,
            "at most training.batch_size",
        )?;
        check(
            !self.trains_past_best_epoch() || training.keep_best_checkpoint,
            "training.keep_best_checkpoint",
            &false,
            "true where training.early_stop_on is \"held-out\"",
        )
    }

    fn validate_optimizer(&self) -> Result<(), ConfigError> {
        let optimizer = &self.optimizer;
        for (key, beta) in
            [("optimizer.beta1", optimizer.beta1), ("optimizer.beta2", optimizer.beta2)]
        {
            check((0.0..1.0).contains(&beta), key, &beta, "at least 0 and below 1")?;
        }
        for (key, value) in [
            ("optimizer.learning_rate", optimizer.learning_rate),
            ("optimizer.epsilon", optimizer.epsilon),
            ("optimizer.weight_decay", optimizer.weight_decay),
            ("optimizer.max_grad_norm", optimizer.max_grad_norm),
        ] {
            check((0.0..=MAX_RATE).contains(&value), key, &value, "from 0 to 1e38")?;
        }
        within("optimizer.warmup_steps", optimizer.warmup_steps, 0, MAX_STEPS)
    }

    /// Refuses a value that the system does not use, unless it `fits`.
    fn refuse_unless(
        &self,
        fits: bool,
        key: &'static str,
        value: &dyn ToString,
        reason: &'static str,
    ) -> Result<(), ConfigError> {
        let system = self.system.name();
        let refused = || ConfigError::NotOfSystem { key, value: value.to_string(), system, reason };
        if fits { Ok(()) } else { Err(refused()) }
    }
}

impl ClipPrefix {
    fn validate(&self) -> Result<(), ConfigError> {
        within("mapper.prefix_length", self.mapper.prefix_length, 1, MAX_TOKENS)?;
        if let MapperKind::Transformer { clip_length, layers } = self.mapper.kind {
            within("mapper.clip_length", clip_length, 1, MAX_CLIP_VECTORS)?;
            within("mapper.layers", layers, 1, MAX_LAYERS)?;
        }
        dropout("mapper.dropout", self.mapper.dropout)?;
        if let Tokenizer::Custom { vocab_size } = self.tokenizer {
            within("tokenizer.vocab_size", vocab_size, MIN_VOCABULARY, MAX_ROWS)?;
        }
        Ok(())
    }
}

impl Sbg {
    fn validate(&self, config: &Config) -> Result<(), ConfigError> {
        let training = &config.training;
        config.refuse_unless(
            config.data.normalize_embeddings,
            "data.normalize_embeddings",
            &false,
            "compares pictures and texts by their angle; set it to true",
        )?;
        config.refuse_unless(
            !training.sort_by_length,
            "training.sort_by_length",
            &true,
            "learns from blocks of one length; set it to false",
        )?;
        within("text.block_size", self.text.block_size, 2, MAX_TOKENS)?;
        within("text.texts_together", self.text.texts_together, 1, MAX_ROWS)?;
        let samples = config.decoding.strategy.continuations();
        let best_of = &self.reranking.best_of;
        let fits = !best_of.is_empty() && best_of.iter().all(|best| (1..=samples).contains(best));
        check(
            fits,
            "reranking.best_of",
            &format!("{best_of:?}"),
            "numbers from 1 to decoding.strategy.num_return_sequences",
        )
    }
}

impl MergeRnn {
    fn validate(&self, config: &Config) -> Result<(), ConfigError> {
        let training = &config.training;
        within("network.layer_size", self.network.layer_size, 1, MAX_LAYER_SIZE)?;
        dropout("network.dropout", self.network.dropout)?;
        within("vocabulary.min_frequency", self.vocabulary.min_frequency, 0, MAX_STEPS)?;
        config.refuse_unless(
            !training.gradient_checkpointing,
            "training.gradient_checkpointing",
            &true,
            "has few activations to keep; set it to false",
        )?;
        config.refuse_unless(
            training.precision != Precision::Bf16,
            "training.precision",
            &"bf16",
            "is computed in f32; set it to f32 or tf32",
        )
    }
}

fn dropout(key: &'static str, probability: f64) -> Result<(), ConfigError> {
    check((0.0..1.0).contains(&probability), key, &probability, "from 0 to below 1")
}

pub(crate) fn check(
    fits: bool,
    key: &'static str,
    value: &dyn ToString,
    expected: impl Into<String>,
) -> Result<(), ConfigError> {
    if fits {
        Ok(())
    } else {
        let (key, value, expected) = (key.to_owned(), value.to_string(), expected.into());
        Err(ConfigError::OutOfRange { key, value, expected })
    }
}

/// Checks that a whole number is from `least` to `most`.
pub(crate) fn within<T>(
    key: &'static str,
    value: T,
    least: u64,
    most: u64,
) -> Result<(), ConfigError>
where
    T: Copy + ToString + TryInto<u64>,
{
    let fits = value.try_into().is_ok_and(|value| (least..=most).contains(&value));
    check(fits, key, &value, format!("from {least} to {most}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::tests::reference;
    use crate::keys::{dotted_keys, find};

    /// Keys without a range.
    const UNBOUNDED: [&str; 3] = ["data.split_seed", "training.seed", "decoding.strategy.seed"];
    /// Key that may be negative.
    const SIGNED: &str = "decoding.length_penalty";

    /// Systems, each with the settings that select one kind of it.
    const KINDS: [(&str, &[&str]); 6] = [
        ("clip-prefix", &["tokenizer={ kind = \"custom\", vocab_size = 5000 }"]),
        (
            "clip-prefix",
            &[
                "mapper={ kind = \"transformer\", prefix_length = 10, clip_length = 10, layers = 8 }",
                "decoding.strategy={ kind = \"beam\", num_beams = 5 }",
            ],
        ),
        ("sbg", &[]),
        ("merge-rnn", &[]),
        ("merge-rnn", &["network.architecture=inject"]),
        ("clip-prefix", &["gpt2.tuning=frozen"]),
    ];

    fn parse(system: &str, sets: &[String]) -> Result<Config, ConfigError> {
        Config::parse(&reference(system), Path::new("reference.toml"), sets)
    }

    #[test]
    fn every_number_of_a_config_has_bounds_and_an_error_that_names_it() {
        for (system, kind) in KINDS {
            let kind: Vec<String> = kind.iter().map(ToString::to_string).collect();
            let config = parse(system, &kind).unwrap();
            let table: toml::Table = config.to_toml().parse().unwrap();
            let mut numbers = 0;
            for key in dotted_keys(&table) {
                let value = find(&table, &key).unwrap();
                let (is_list, is_float) = (value.is_array(), value.is_float());
                if !(value.is_integer() || is_float || is_list) {
                    continue;
                }
                numbers += 1;
                let name = key.rsplit('.').next().unwrap();
                let refused = |text: &str| {
                    let text = if is_list { format!("[{text}]") } else { text.to_owned() };
                    let set = [&kind[..], &[format!("{key}={text}")]].concat();
                    let refused = parse(system, &set).err().map(|error| error.to_string());
                    if let Some(error) = &refused {
                        assert!(error.contains(name), "{key}={text}: {error}");
                    }
                    refused.is_some()
                };
                let is_rate = key.starts_with("optimizer.") && is_float && !key.contains("beta");
                let is_bounded = !is_rate && !UNBOUNDED.contains(&key.as_str());
                assert_eq!(refused("9223372036854775807"), is_bounded, "{key}");
                assert_eq!(refused("1000000000000"), is_bounded, "{key}");
                assert!(refused("-1") || key == SIGNED, "{key}");
                assert!(refused("99999999999999999999"), "{key}");
                assert!(refused("nan") && refused("-inf") && refused("inf"), "{key}");
                assert!(refused("1e300") && (refused("-0.5") || key == SIGNED), "{key}");
                refused("0");
            }
            assert!(numbers > 20, "{system} has {numbers} numbers only");
        }
    }

    #[test]
    fn beams_or_samples_of_all_pictures_together_have_a_bound() {
        let sets =
            ["decoding.batch_size=2000", "decoding.strategy={ kind = \"beam\", num_beams = 600 }"];
        let error = parse("clip-prefix", &sets.map(str::to_owned)).unwrap_err().to_string();
        assert!(
            error.contains("`decoding.batch_size` is 2000, but must be at most 1666"),
            "{error}"
        );
    }
}
