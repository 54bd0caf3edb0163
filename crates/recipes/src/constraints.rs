//! Constraints on generated tokens, for any decoding strategy.

use serde::{Deserialize, Serialize};

use crate::error::ConfigError;
use crate::strategy::Strategy;
use crate::validate::{MAX_TOKENS, check, within};

/// Constraints of transformers' `generate` (4.57). The defaults change nothing.
///
/// They look at the caption's own tokens alone, as `generate` does after `inputs_embeds`: a prompt
/// may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Constraints {
    /// Length of token sequences that a caption cannot have twice; 0 for none. Default 0.
    pub no_repeat_ngram_size: usize,
    /// Divisor of the positive logits of the caption's tokens, and factor of the negative ones.
    ///
    /// Above 1 repetitions are less probable. In beam search it multiplies log-probabilities.
    /// Default 1 (no penalty).
    pub repetition_penalty: f64,
    /// Exponent of the number of tokens that divides a beam's log-probability.
    ///
    /// Above 1 long captions win more often, below 1 short ones. Default 1 (`ClipCap`).
    pub length_penalty: f64,
    /// Number of tokens before a caption can end. Default 0.
    pub min_new_tokens: usize,
}

impl Default for Constraints {
    fn default() -> Self {
        Self {
            no_repeat_ngram_size: 0,
            repetition_penalty: 1.0,
            length_penalty: 1.0,
            min_new_tokens: 0,
        }
    }
}

impl Constraints {
    /// Returns true if the scores of generated tokens are changed.
    #[must_use]
    pub fn penalizes_repetition(&self) -> bool {
        self.repetition_penalty.to_bits() != 1.0_f64.to_bits()
    }

    /// Checks all ranges, and that `strategy` uses the length penalty.
    pub(crate) fn check(
        &self,
        max_new_tokens: usize,
        strategy: &Strategy,
    ) -> Result<(), ConfigError> {
        let Self { no_repeat_ngram_size, repetition_penalty, length_penalty, min_new_tokens } =
            *self;
        within("decoding.no_repeat_ngram_size", no_repeat_ngram_size, 0, MAX_TOKENS)?;
        within("decoding.min_new_tokens", min_new_tokens, 0, max_new_tokens as u64)?;
        check(
            (0.01..=100.0).contains(&repetition_penalty),
            "decoding.repetition_penalty",
            &repetition_penalty,
            "from 0.01 to 100",
        )?;
        let key = "decoding.length_penalty";
        check((-5.0..=5.0).contains(&length_penalty), key, &length_penalty, "from -5 to 5")?;
        let is_default = length_penalty.to_bits() == 1.0_f64.to_bits();
        check(
            is_default || matches!(strategy, Strategy::Beam { .. }),
            key,
            &length_penalty,
            "1 unless decoding.strategy.kind is \"beam\"",
        )
    }

    /// Returns the first key that differs from its default, and its value.
    pub(crate) fn first_set(&self) -> Option<(&'static str, f64)> {
        let values = |constraints: &Self| {
            [
                ("decoding.no_repeat_ngram_size", constraints.no_repeat_ngram_size as f64),
                ("decoding.repetition_penalty", constraints.repetition_penalty),
                ("decoding.length_penalty", constraints.length_penalty),
                ("decoding.min_new_tokens", constraints.min_new_tokens as f64),
            ]
        };
        let defaults = values(&Self::default());
        values(self)
            .into_iter()
            .zip(defaults)
            .find(|(own, default)| own != default)
            .map(|(own, _)| own)
    }
}
