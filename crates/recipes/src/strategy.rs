//! Decoding strategies: how the next token of a caption is chosen.

use serde::{Deserialize, Serialize};

/// Most continuations of one prompt. More are a mistake, and would run out of memory.
const MAX_CONTINUATIONS: usize = 1_000;

/// Lowest temperature: logits of some tens divided by it still have their digits as floats.
pub const MIN_TEMPERATURE: f64 = 0.001;

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Strategy {
    /// The most probable token: the paper's, and ClipCap's `generate2`. One continuation.
    Greedy {},
    /// `ClipCap`'s beam search: at each step, of all beams lengthened by any token, those of the
    /// highest average log-probability stay. A beam that has ended competes with the others until
    /// better ones push it out. All beams are returned, best first.
    ///
    /// `ClipCap` stops a beam at the token `.` alone. With more stop tokens, beams end earlier and
    /// others may win, whereas a greedy caption is only cut.
    Beam {
        /// Beams of each prompt, at most as many as the vocabulary has tokens. Default 5 (`ClipCap`).
        #[serde(alias = "beams")]
        num_beams: usize,
    },
    /// Draws tokens at random.
    Sampling(Sampling),
}

/// How tokens are drawn. The defaults are those of transformers' `generate`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Continuations drawn of each prompt, in the order of their draws. Default 5: the paper's SBG.
    #[serde(alias = "samples")]
    pub num_return_sequences: usize,
    /// Divides the logits: below 1 the probable becomes more probable. From [`MIN_TEMPERATURE`];
    /// lower ones come to [`Strategy::Greedy`]. Default 1.
    pub temperature: f64,
    /// Draws from this many most probable tokens, and those that tie with the last; 0 for all.
    /// Default 50.
    pub top_k: usize,
    /// Draws from the nucleus, the fewest most probable tokens that hold this share of the
    /// probability (after top-k); 1 for all. Default 1.
    pub top_p: f64,
    /// Seed of the draws. Default 42.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { num_return_sequences: 5, temperature: 1.0, top_k: 50, top_p: 1.0, seed: 42 }
    }
}

/// A strategy whose values cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StrategyError {
    /// Too low for the arithmetic, infinite, or not a number.
    #[error(
        "temperature is {0}, but must be a number from {MIN_TEMPERATURE}\n\
         hint: greedy decoding is what sampling comes to as the temperature falls"
    )]
    Temperature(f64),
    /// Not a share of the probability.
    #[error("top_p is {0}, but must be above 0 and at most 1\nhint: 1 draws from all tokens")]
    TopP(f64),
    /// None, or more continuations than memory is made for.
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
    /// Names the value and says what it may be.
    pub fn check(&self) -> Result<(), StrategyError> {
        match *self {
            Self::Greedy {} => Ok(()),
            Self::Sampling(sampling) => sampling.check(),
            Self::Beam { num_beams } => check_count("num_beams", num_beams),
        }
    }

    /// Returns how many continuations of each prompt are followed or drawn.
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
