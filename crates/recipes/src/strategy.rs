//! Decoding strategies: the choice of each next token of a caption.

use serde::{Deserialize, Serialize};

/// Largest number of continuations of one prompt; more would run out of memory.
const MAX_CONTINUATIONS: usize = 1_000;

/// Lowest temperature: logits of some tens divided by it keep their digits as floats.
pub const MIN_TEMPERATURE: f64 = 0.001;

/// Choice of the next token.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Strategy {
    /// The most probable token, as in the paper and ClipCap's `generate2`. One continuation.
    Greedy {},
    /// `ClipCap`'s beam search.
    ///
    /// At each step, of all beams extended by any token, those of the highest average
    /// log-probability stay. A beam that has ended competes with the others until better ones push
    /// it out. All beams are returned, best first. The divisor of the average is the length to the
    /// power of `length_penalty`.
    ///
    /// `ClipCap` stops a beam at the token `.` alone. With more stop tokens, beams end earlier and
    /// others may win, whereas a greedy caption is only cut.
    Beam {
        /// Beam width, at most the vocabulary size. Default 5 (`ClipCap`).
        #[serde(alias = "beams", default = "default_beams")]
        num_beams: usize,
    },
    /// Draws tokens at random.
    Sampling(Sampling),
}

/// Random draws of tokens. The defaults are those of transformers' `generate`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Continuations drawn for each prompt, in the order of their draws. Default 5 (paper's SBG).
    #[serde(alias = "samples")]
    pub num_return_sequences: usize,
    /// Divisor of the logits: below 1 the probable becomes more probable.
    ///
    /// From [`MIN_TEMPERATURE`]; lower ones would equal [`Strategy::Greedy`]. Default 1.
    pub temperature: f64,
    /// Number of most probable tokens to draw from; 0 for all. Default 50.
    ///
    /// Tokens that tie with the last one are included.
    pub top_k: usize,
    /// Share of the probability that the nucleus holds; 1 for all. Default 1.
    ///
    /// The nucleus is the smallest set of most probable tokens with this share, after top-k.
    pub top_p: f64,
    /// Seed of the draws. Default 42.
    pub seed: u64,
}

pub(crate) const fn default_beams() -> usize {
    5
}

impl Default for Sampling {
    fn default() -> Self {
        Self { num_return_sequences: 5, temperature: 1.0, top_k: 50, top_p: 1.0, seed: 42 }
    }
}

/// A strategy whose values cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StrategyError {
    /// The temperature is too low for the arithmetic, infinite, or not a number.
    #[error(
        "temperature is {0}, but must be a number from {MIN_TEMPERATURE}\n\
         hint: greedy decoding is what sampling comes to as the temperature falls"
    )]
    Temperature(f64),
    /// `top_p` is not a share of the probability.
    #[error("top_p is {0}, but must be above 0 and at most 1\nhint: 1 draws from all tokens")]
    TopP(f64),
    /// The number of continuations is 0 or more than memory allows.
    #[error("{name} is {count}, but must be from 1 to {MAX_CONTINUATIONS}")]
    Continuations {
        /// `num_return_sequences` or `num_beams`.
        name: &'static str,
        /// The number given.
        count: usize,
    },
}

impl Strategy {
    /// Checks every value.
    ///
    /// # Errors
    /// Names the value and its range.
    pub fn check(&self) -> Result<(), StrategyError> {
        match *self {
            Self::Greedy {} => Ok(()),
            Self::Sampling(sampling) => sampling.check(),
            Self::Beam { num_beams } => check_count("num_beams", num_beams),
        }
    }

    /// Returns the number of continuations computed for each prompt.
    #[must_use]
    pub fn continuations(&self) -> usize {
        match *self {
            Self::Greedy {} => 1,
            Self::Sampling(Sampling { num_return_sequences, .. }) => num_return_sequences,
            Self::Beam { num_beams } => num_beams,
        }
    }
}

impl Sampling {
    fn check(&self) -> Result<(), StrategyError> {
        if !(self.temperature >= MIN_TEMPERATURE && self.temperature.is_finite()) {
            return Err(StrategyError::Temperature(self.temperature));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(StrategyError::TopP(self.top_p));
        }
        check_count("num_return_sequences", self.num_return_sequences)
    }
}

fn check_count(name: &'static str, count: usize) -> Result<(), StrategyError> {
    if (1..=MAX_CONTINUATIONS).contains(&count) {
        Ok(())
    } else {
        Err(StrategyError::Continuations { name, count })
    }
}
