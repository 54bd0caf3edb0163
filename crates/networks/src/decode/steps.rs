//! Token-by-token generation of independent continuations.

use tch::{Kind, Tensor};

use super::constraints::TokenConstraints;
use super::hypothesis::Hypothesis;
use super::pending_tokens::PendingTokens;
use crate::gpt2::{Gpt2, KvCache};

/// Stopping criteria of a continuation.
pub(super) struct StopCriteria<'a> {
    /// Maximum number of new tokens; above 0, and within the model's positions.
    pub max_tokens: usize,
    pub stops: &'a [bool],
}

impl StopCriteria<'_> {
    /// Returns true if `token` ends a continuation.
    pub fn is_stop(&self, token: i64) -> bool {
        usize::try_from(token).ok().and_then(|id| self.stops.get(id)) == Some(&true)
    }

    /// Returns the number of tokens to cache: the prompt's, and all new ones but the last.
    pub fn cache_tokens(&self, prompt: &Tensor) -> i64 {
        prompt.size()[1] + self.max_tokens as i64 - 1
    }
}

/// Tokens of one step.
struct Step {
    /// Continuation of each row, counted over all prompts.
    rows: Vec<usize>,
    chosen: PendingTokens,
}

/// Continuations as far as the host has read them.
struct Continuations<'a> {
    criteria: &'a StopCriteria<'a>,
    hypotheses: Vec<Hypothesis>,
    ended: Vec<bool>,
}

/// Choice of the next tokens `[rows]`.
///
/// It gets logits `[rows, vocab]`, the continuation of each row (counted over all prompts) and the
/// step (from 0).
pub(super) type Choose<'a> = &'a dyn Fn(&Tensor, &[usize], usize) -> Tensor;

/// Generates `copies` continuations of each row of `prompt`.
///
/// The host reads a GPU's tokens after it has queued the next step, so that the GPU never waits for
/// the host. The end of a continuation is therefore noticed one step late.
pub(super) fn generate(
    gpt2: &Gpt2,
    prompt: &Tensor,
    copies: usize,
    criteria: &StopCriteria,
    constraints: &TokenConstraints,
    choose: Choose,
) -> Vec<Vec<Hypothesis>> {
    let (mut cache, mut logits) = read_prompt(gpt2, prompt, copies, criteria.cache_tokens(prompt));
    let options = (Kind::Int64, prompt.device());
    let mut history = constraints.need_history().then(|| Tensor::empty([cache.rows(), 0], options));
    let mut rows: Vec<usize> = (0..cache.rows() as usize).collect();
    let mut continuations = Continuations::new(rows.len(), criteria);
    let is_asynchronous = prompt.device().is_cuda();
    let mut pending = None;
    for step in 0..criteria.max_tokens {
        logits = constraints.known(logits);
        let mut tokens = choose(&constraints.apply(&logits, history.as_ref(), step), &rows, step);
        history = history.map(|history| Tensor::cat(&[history, tokens.unsqueeze(1)], 1));
        let chosen = PendingTokens::start(&tokens, &log_probabilities(&logits, &tokens));
        let current = Step { rows: rows.clone(), chosen };
        let ready = if is_asynchronous { pending.replace(current) } else { Some(current) };
        if let Some(ready) = ready {
            continuations.append(ready);
        }
        let live: Vec<bool> = rows.iter().map(|&row| !continuations.ended[row]).collect();
        let left = live.iter().filter(|&&live| live).count();
        if left == 0 || step + 1 == criteria.max_tokens {
            break;
        }
        if should_compact(left, rows.len()) {
            let sources = compacted_rows(&live);
            let indices: Vec<i64> = sources.iter().map(|&source| source as i64).collect();
            let [indices] = cache.rearrange(&sources, 0, [&indices]);
            tokens = tokens.index_select(0, &indices);
            history = history.map(|history| history.index_select(0, &indices));
            rows = sources.into_iter().map(|source| rows[source]).collect();
        }
        logits = next_logits(gpt2, &gpt2.embed(&tokens.unsqueeze(1)), &mut cache);
    }
    if let Some(last) = pending {
        continuations.append(last);
    }
    let mut continuations = continuations.hypotheses.into_iter();
    (0..prompt.size()[0]).map(|_| continuations.by_ref().take(copies).collect()).collect()
}

/// Returns the log-probabilities `[rows]` of tokens `[rows]`.
fn log_probabilities(logits: &Tensor, tokens: &Tensor) -> Tensor {
    let all = logits.log_softmax(-1, Kind::Float);
    all.gather(1, &tokens.unsqueeze(1), false).squeeze_dim(1)
}

impl<'a> Continuations<'a> {
    fn new(continuations: usize, criteria: &'a StopCriteria<'a>) -> Self {
        Self {
            criteria,
            hypotheses: vec![Hypothesis::default(); continuations],
            ended: vec![false; continuations],
        }
    }

    /// Appends tokens to unfinished continuations, and marks those that have ended.
    fn append(&mut self, step: Step) {
        let (tokens, log_probabilities) = step.chosen.wait();
        let chosen = tokens.into_iter().zip(log_probabilities);
        for (row, (token, log_probability)) in step.rows.into_iter().zip(chosen) {
            if !self.ended[row] {
                let hypothesis = &mut self.hypotheses[row];
                hypothesis.tokens.push(token);
                hypothesis.log_probability += log_probability;
                self.ended[row] = self.criteria.is_stop(token);
            }
        }
    }
}

/// Returns true if finished rows should leave the batch: once a quarter of the rows have ended.
///
/// Compaction copies the cache of the remaining rows; without it, finished rows take their share of
/// every further step. With this threshold all copies together are less than three times the first
/// batch's cache. On two CPU cores (`examples/decoding.rs`) a lower threshold gained nothing more,
/// and a half gained less.
pub(super) fn should_compact(left: usize, rows: usize) -> bool {
    4 * left <= 3 * rows
}

/// Returns the source of each remaining row when rows from the end fill the gaps of finished ones.
pub(super) fn compacted_rows(live: &[bool]) -> Vec<usize> {
    let count = live.iter().filter(|&&live| live).count();
    let mut from_end = (count..live.len()).filter(|&row| live[row]);
    (0..count).filter_map(|row| if live[row] { Some(row) } else { from_end.next() }).collect()
}

/// Computes the prompt once; returns the cache and logits with `copies` adjacent rows per prompt.
pub(super) fn read_prompt(
    gpt2: &Gpt2,
    prompt: &Tensor,
    copies: usize,
    max_tokens: i64,
) -> (KvCache, Tensor) {
    let [batch, tokens] = [prompt.size()[0], prompt.size()[1]];
    let mut cache = gpt2.cache(batch, if copies == 1 { max_tokens } else { tokens });
    let logits = next_logits(gpt2, prompt, &mut cache);
    if copies == 1 {
        return (cache, logits);
    }
    let copies = copies as i64;
    let repeated = logits.unsqueeze(1).expand([-1, copies, -1], false).flatten(0, 1);
    (cache.repeat(copies, max_tokens), repeated)
}

/// Returns f32 logits `[rows, vocab]` after the last of `inputs` `[rows, tokens, hidden]`.
pub(super) fn next_logits(gpt2: &Gpt2, inputs: &Tensor, cache: &mut KvCache) -> Tensor {
    let states = gpt2.forward_cached(inputs, cache);
    gpt2.logits(&states.select(1, states.size()[1] - 1)).to_kind(Kind::Float)
}

#[cfg(test)]
mod tests {
    use super::compacted_rows;

    #[test]
    fn rows_from_the_end_fill_gaps() {
        let order =
            |live: &[u8]| compacted_rows(&live.iter().map(|&live| live == 1).collect::<Vec<_>>());
        assert_eq!(order(&[1, 1, 1]), [0, 1, 2]);
        assert_eq!(order(&[0, 1, 0, 1, 1]), [3, 1, 4]);
        assert_eq!(order(&[1, 0, 0, 0]), [0]);
        assert_eq!(order(&[0, 0, 1]), [2]);
        assert_eq!(order(&[0, 0]), [0; 0]);
    }
}
