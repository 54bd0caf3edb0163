//! Decoding: what GPT-2 writes on from a prompt of input vectors. Greedy, by sampling, or by beam
//! search; batched, with cached keys and values.
//!
//! [`generate`] is the one entry. The prompt is computed once for each row, however many
//! continuations are wanted of it; each step computes one token of each continuation, and logits of
//! nothing else; continuations that have ended leave the batch. The host reads one small tensor a
//! step: the chosen tokens, by which it knows who has ended. Where it need not know before the next step,
//! a GPU is given that step's work first.
//!
//! ClipCap's `generate2` keeps the most probable tokens that hold 0.8 of the probability and takes
//! the most probable of those: always the most probable of all, so it is [`Strategy::Greedy`].
//! ClipCap's `generate_beam` is [`Strategy::Beam`]. Both decode one picture at a time and read the
//! whole caption again for each token; the tokens are the same.

mod beam;
pub(crate) mod chosen;
mod sampling;
mod steps;

use tch::Tensor;

pub use recipes::{Sampling, Strategy, StrategyError};
pub use sampling::probabilities;

use crate::gpt2::Gpt2;
use steps::Limits;

/// How tokens are chosen, and when a continuation ends.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// How the next token is chosen.
    pub strategy: Strategy,
    /// Longest continuation, in tokens; the paper's is 67. Fewer where GPT-2's positions end.
    pub max_tokens: usize,
    /// By token id, whether a continuation ends with it. Ids beyond the slice do not end one.
    pub stops: &'a [bool],
}

/// What was written on from a prompt.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Hypothesis {
    /// The tokens, up to and including the first that stops it.
    pub tokens: Vec<i64>,
    /// The sum of the tokens' log-probabilities (natural) by the model itself: whatever
    /// temperature or filter they were drawn through.
    pub log_probability: f64,
}

impl Hypothesis {
    /// [`Self::log_probability`] a token, by which ClipCap's beams compete; 0 where there is none.
    #[must_use]
    pub fn score(&self) -> f64 {
        self.log_probability / self.tokens.len().max(1) as f64
    }
}

/// For each row of `prompt` `[batch, tokens, hidden]` (input vectors, as [`Gpt2::embed`] or a
/// mapper makes them) what the model writes on from it.
///
/// `numbers` has one for each row, by which sampling knows it: what is drawn depends on the row's
/// number and the seed, and not on its place or on its company. Neither the batch's other rows nor
/// its size change a continuation, except where a choice hangs on rounding.
///
/// # Errors
/// When the strategy does not pass [`Strategy::check`].
///
/// # Panics
/// When `numbers` has not one for each row, or the prompt no token or another width than the model.
pub fn generate(
    gpt2: &Gpt2,
    prompt: &Tensor,
    numbers: &[u64],
    options: &Options,
) -> Result<Vec<Vec<Hypothesis>>, StrategyError> {
    options.strategy.check()?;
    let [batch, prompt_tokens] = [prompt.size()[0], prompt.size()[1]];
    assert_eq!(batch as usize, numbers.len(), "a number for each row of the prompt");
    // The last token is chosen, but never read.
    let positions = gpt2.config().n_positions - prompt_tokens + 1;
    let max_tokens = usize::try_from(positions).unwrap_or(0).min(options.max_tokens);
    let continuations = options.strategy.continuations();
    if batch == 0 || max_tokens == 0 {
        return Ok(vec![vec![Hypothesis::default(); continuations]; numbers.len()]);
    }
    let limits = Limits { max_tokens, stops: options.stops };
    Ok(tch::no_grad(|| match options.strategy {
        Strategy::Greedy {} => {
            steps::write(gpt2, prompt, 1, &limits, |logits, _, _| logits.argmax(-1, false))
        }
        Strategy::Sampling(sampling) => {
            steps::write(gpt2, prompt, continuations, &limits, |logits, rows, step| {
                let sources =
                    rows.iter().map(|row| (numbers[row / continuations], row % continuations));
                sampling::draw_tokens(&sampling, logits, sources, step)
            })
        }
        Strategy::Beam { num_beams } => beam::search(gpt2, prompt, num_beams, &limits),
    }))
}

#[cfg(test)]
mod tests;
