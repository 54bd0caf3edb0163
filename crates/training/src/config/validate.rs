//! Ranges, and what goes together.

use super::{
    ClipPrefix, Config, ConfigError, Decoding, Mapper, MergeRnn, Precision, Sbg, Strategy, System,
    Tokenizer,
};

impl Config {
    /// Refuses what is out of range, and what the system has no use for.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        self.data.layout()?;
        self.validate_training()?;
        self.validate_optimizer()?;
        self.check_decoding(&self.decoding)?;
        match &self.system {
            System::ClipPrefix(system) => system.validate(),
            System::Sbg(system) => system.validate(self),
            System::MergeRnn(system) => system.validate(self),
        }
    }

    /// Refuses decoding that is out of range, or that the run's system does not do.
    ///
    /// # Errors
    /// Names the key and says what it may be.
    pub fn check_decoding(&self, decoding: &Decoding) -> Result<(), ConfigError> {
        at_least_one("decoding.batch_size", decoding.batch_size)?;
        at_least_one("decoding.max_tokens", decoding.max_tokens)?;
        decoding.strategy.steps().check().map_err(ConfigError::Strategy)?;
        let strategy = &decoding.strategy;
        let (fits, otherwise, reason) = match &self.system {
            System::ClipPrefix(_) => return Ok(()),
            System::Sbg(_) => (
                matches!(strategy, Strategy::Sampling { .. }),
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

    fn validate_training(&self) -> Result<(), ConfigError> {
        let training = &self.training;
        for (key, value) in [
            ("training.epochs", training.epochs),
            ("training.peer_timeout_seconds", training.peer_timeout_seconds),
            ("training.batch_size", training.batch_size as u64),
            ("training.accumulation_steps", training.accumulation_steps as u64),
            ("training.log_every_steps", training.log_every_steps),
            ("training.keep_checkpoints", training.keep_checkpoints as u64),
        ] {
            at_least_one(key, value as usize)?;
        }
        check(
            training.accumulation_steps <= training.batch_size,
            "training.accumulation_steps",
            &training.accumulation_steps,
            "at most training.batch_size",
        )?;
        check(
            !self.ends_behind_its_best() || training.keep_best_checkpoint,
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
            ("optimizer.max_gradient_norm", optimizer.max_gradient_norm),
        ] {
            check(value.is_finite() && value >= 0.0, key, &value, "0 or more")?;
        }
        Ok(())
    }

    /// Refuses a value that the system has no use for, unless it `fits`.
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
        let size = |value: i64| usize::try_from(value).unwrap_or(0);
        at_least_one("mapper.prefix_length", size(self.mapper.prefix_length()))?;
        if let Mapper::Transformer { clip_length, layers, .. } = self.mapper {
            at_least_one("mapper.clip_length", size(clip_length))?;
            at_least_one("mapper.layers", size(layers))?;
        }
        if let Tokenizer::Custom { vocab_size } = self.tokenizer {
            let fits = vocab_size >= words::Gpt2Tokenizer::SMALLEST_VOCABULARY;
            check(fits, "tokenizer.vocab_size", &vocab_size, "at least 257")?;
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
        check(self.text.block_size >= 2, "text.block_size", &self.text.block_size, "at least 2")?;
        at_least_one("text.texts_together", self.text.texts_together)?;
        let samples = config.decoding.strategy.continuations();
        let best_of = &self.reranking.best_of;
        let fits = !best_of.is_empty() && best_of.iter().all(|best| (1..=samples).contains(best));
        check(
            fits,
            "reranking.best_of",
            &format!("{best_of:?}"),
            "numbers from 1 to decoding.strategy.samples",
        )
    }
}

impl MergeRnn {
    fn validate(&self, config: &Config) -> Result<(), ConfigError> {
        let training = &config.training;
        check(
            self.network.layer_size >= 1,
            "network.layer_size",
            &self.network.layer_size,
            "at least 1",
        )?;
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

fn check(
    fits: bool,
    key: &'static str,
    value: &dyn ToString,
    expected: &'static str,
) -> Result<(), ConfigError> {
    if fits {
        Ok(())
    } else {
        Err(ConfigError::OutOfRange { key, value: value.to_string(), expected })
    }
}

fn at_least_one(key: &'static str, value: usize) -> Result<(), ConfigError> {
    check(value >= 1, key, &value, "at least 1")
}
