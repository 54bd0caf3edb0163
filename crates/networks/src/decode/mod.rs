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
mod constraints;
mod hypothesis;
pub(crate) mod pending_tokens;
mod sampling;
mod steps;

use tch::Tensor;

pub use hypothesis::Hypothesis;
pub use recipes::{Constraints, Sampling, Strategy, StrategyError};
pub use sampling::probabilities;

use crate::gpt2::Gpt2;
use constraints::TokenConstraints;
use steps::StopCriteria;

/// Decoding strategy, stopping criteria and constraints.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// Decoding strategy.
    pub strategy: Strategy,
    /// Maximum number of new tokens; the paper uses 67. GPT-2's positions may allow fewer.
    pub max_tokens: usize,
    /// `stops[id]` is true if token `id` ends a continuation. Ids beyond the slice do not.
    pub stops: &'a [bool],
    /// Constraints on the tokens.
    pub constraints: Constraints,
    /// `ends[id]` is true if token `id` cannot be among the first `constraints.min_new_tokens`.
    pub ends: &'a [bool],
    /// Number of tokens. A model can have more ids, which are never chosen.
    pub vocabulary: Option<usize>,
}

impl Default for Options<'_> {
    /// The paper's: greedy decoding of up to 67 tokens, without stop tokens and constraints.
    fn default() -> Self {
        Self {
            strategy: Strategy::Greedy {},
            max_tokens: 67,
            stops: &[],
            constraints: Constraints::default(),
            ends: &[],
            vocabulary: None,
        }
    }
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
    let max_tokens = gpt2.config().tokens_after(prompt_tokens).min(options.max_tokens);
    let continuations = options.strategy.continuations();
    if batch == 0 || max_tokens == 0 {
        return Ok(vec![vec![Hypothesis::default(); continuations]; row_ids.len()]);
    }
    let criteria = StopCriteria { max_tokens, stops: options.stops };
    let head = gpt2.config().vocab_size;
    let vocabulary = options.vocabulary.map_or(head, |tokens| head.min(tokens as i64));
    let constraints =
        TokenConstraints::new(options.constraints, options.ends, vocabulary, prompt.device());
    let generate = |copies, choose: steps::Choose| {
        steps::generate(gpt2, prompt, copies, &criteria, &constraints, choose)
    };
    Ok(tch::no_grad(|| match options.strategy {
        Strategy::Greedy {} => generate(1, &|logits, _, _| logits.argmax(-1, false)),
        Strategy::Sampling(sampling) => generate(continuations, &|logits, rows, step| {
            let sources =
                rows.iter().map(|row| (row_ids[row / continuations], row % continuations));
            sampling::draw_tokens(&sampling, logits, sources, step)
        }),
        Strategy::Beam { num_beams } => {
            let penalty = options.constraints.length_penalty as f32;
            beam::search(gpt2, prompt, num_beams, &criteria, &constraints, penalty)
        }
    }))
}

#[cfg(test)]
mod tests;
