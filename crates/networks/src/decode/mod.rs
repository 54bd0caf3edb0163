//! Batched text generation with a key/value cache: greedy, sampling and beam search.
//!
//! [`generate`] is the entry point. Each prompt is computed once, however many continuations it
//! gets. Each step computes one token and its logits per continuation, and finished continuations
//! leave the batch. The host reads one small tensor per step, the chosen tokens, to detect finished
//! continuations. Where the next step does not depend on that, it is queued on the GPU first.
//!
//! ClipCap's `generate2` keeps the most probable tokens that hold 0.8 of the probability and takes
//! the most probable of those, which equals [`Strategy::Greedy`]. ClipCap's `generate_beam` is
//! [`Strategy::Beam`]. Both decode one image at a time and read the whole caption again for each
//! token; the tokens are the same.

mod beam;
mod hypothesis;
pub(crate) mod pending_tokens;
mod sampling;
mod steps;

use tch::Tensor;

pub use hypothesis::Hypothesis;
pub use sampling::Sampling;

use crate::gpt2::Gpt2;
use steps::StopCriteria;

/// Sanity limit on continuations per prompt, so that a mistake fails before memory runs out.
const MAX_CONTINUATIONS: usize = 1_000;

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Strategy {
    /// The most probable one. One continuation of each prompt.
    Greedy,
    /// Drawn at random; [`Sampling::samples`] continuations of each prompt, in the order of their
    /// draws.
    Sample(Sampling),
    /// ClipCap's beam search: at each step, of all beams lengthened by any token, those of the
    /// highest [`Hypothesis::score`] go on. A beam that has ended stays as it is among the others
    /// until better ones push it out. All beams are returned, best first.
    ///
    /// ClipCap stops a beam at the token `.` alone. With more stop tokens, beams end earlier and
    /// others may win, whereas a greedy caption is only cut.
    Beam {
        /// Beams of each prompt; ClipCap's default is 5. No more than the vocabulary has tokens.
        beams: usize,
    },
}

/// Invalid decoding strategy.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StrategyError {
    /// The temperature is too low for the arithmetic, infinite, or not a number.
    #[error(
        "temperature is {0}, but must be a number from {min}\n\
         hint: use greedy decoding, the limit of low temperatures",
        min = sampling::MIN_TEMPERATURE
    )]
    Temperature(f64),
    /// No token would be left.
    #[error("top_k is 0, but must be 1 or more\nhint: omit it to sample from all tokens")]
    TopK,
    /// `top_p` is no share of the probability.
    #[error(
        "top_p is {0}, but must be above 0 and at most 1\nhint: omit it to sample from all tokens"
    )]
    TopP(f64),
    /// The number of continuations is 0, or more than memory allows.
    #[error("{name} is {count}, but must be from 1 to {MAX_CONTINUATIONS}")]
    Continuations {
        /// `samples` or `beams`.
        name: &'static str,
        /// Requested number.
        count: usize,
    },
}

impl Strategy {
    /// Checks every value.
    ///
    /// # Errors
    /// Fails with the value and its valid range.
    pub fn check(&self) -> Result<(), StrategyError> {
        match *self {
            Self::Greedy => Ok(()),
            Self::Sample(sampling) => sampling.check(),
            Self::Beam { beams } => check_count("beams", beams),
        }
    }

    /// Returns the number of continuations per prompt.
    #[must_use]
    pub fn continuations(&self) -> usize {
        match *self {
            Self::Greedy => 1,
            Self::Sample(Sampling { samples, .. }) => samples,
            Self::Beam { beams } => beams,
        }
    }
}

fn check_count(name: &'static str, count: usize) -> Result<(), StrategyError> {
    if (1..=MAX_CONTINUATIONS).contains(&count) {
        Ok(())
    } else {
        Err(StrategyError::Continuations { name, count })
    }
}

/// Decoding strategy and stopping criteria.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// Decoding strategy.
    pub strategy: Strategy,
    /// Maximum number of new tokens; the paper uses 67. GPT-2's positions may allow fewer.
    pub max_tokens: usize,
    /// `stops[id]` is true if token `id` ends a continuation. Ids beyond the slice do not.
    pub stops: &'a [bool],
}

/// Generates continuations for each row of `prompt` `[batch, tokens, hidden]`.
///
/// Prompts are input vectors, as [`Gpt2::embed`] or a mapper returns them.
///
/// `row_ids` holds one id per row, from which sampling derives its random numbers together with the
/// seed. So a row's continuations do not depend on its position or on the rest of the batch, except
/// where rounding decides a choice.
///
/// # Errors
/// Fails if the strategy does not pass [`Strategy::check`].
///
/// # Panics
/// Panics if `row_ids` and `prompt` differ in length, or the prompt has no token or another width
/// than the model.
pub fn generate(
    gpt2: &Gpt2,
    prompt: &Tensor,
    row_ids: &[u64],
    options: &Options,
) -> Result<Vec<Vec<Hypothesis>>, StrategyError> {
    options.strategy.check()?;
    let [batch, prompt_tokens] = [prompt.size()[0], prompt.size()[1]];
    assert_eq!(batch as usize, row_ids.len(), "one row id per row of the prompt");
    // The last token is generated, but not read.
    let positions = gpt2.config().n_positions - prompt_tokens + 1;
    let max_tokens = usize::try_from(positions).unwrap_or(0).min(options.max_tokens);
    let continuations = options.strategy.continuations();
    if batch == 0 || max_tokens == 0 {
        return Ok(vec![vec![Hypothesis::default(); continuations]; row_ids.len()]);
    }
    let criteria = StopCriteria { max_tokens, stops: options.stops };
    Ok(tch::no_grad(|| match options.strategy {
        Strategy::Greedy => {
            steps::generate(gpt2, prompt, 1, &criteria, |logits, _, _| logits.argmax(-1, false))
        }
        Strategy::Sample(sampling) => {
            steps::generate(gpt2, prompt, continuations, &criteria, |logits, rows, step| {
                let sources =
                    rows.iter().map(|row| (row_ids[row / continuations], row % continuations));
                sampling.draw_tokens(logits, sources, step)
            })
        }
        Strategy::Beam { beams } => beam::search(gpt2, prompt, beams, &criteria),
    }))
}

#[cfg(test)]
mod tests;
