//! Token-by-token generation of independent continuations.

use tch::{Kind, Tensor};

use super::Hypothesis;
use super::chosen::Chosen;
use crate::gpt2::{Gpt2, KvCache};

/// Stopping criteria of a continuation.
pub(super) struct Limits<'a> {
    /// Maximum number of new tokens; above 0, and within the model's positions.
    pub max_tokens: usize,
    pub stops: &'a [bool],
}

impl Limits<'_> {
    /// Returns true if `token` ends a continuation.
    pub fn stop_at(&self, token: i64) -> bool {
        usize::try_from(token).ok().and_then(|id| self.stops.get(id)) == Some(&true)
    }

    /// Returns the number of tokens to cache: the prompt's, and all new ones but the last.
    pub fn room(&self, prompt: &Tensor) -> i64 {
        prompt.size()[1] + self.max_tokens as i64 - 1
    }
}

/// Tokens of one step.
struct Step {
    /// Continuation of each row, counted over all prompts.
    rows: Vec<usize>,
    chosen: Chosen,
}

/// Continuations as far as the host has read them.
struct Written<'a> {
    limits: &'a Limits<'a>,
    hypotheses: Vec<Hypothesis>,
    ended: Vec<bool>,
}

/// Generates `copies` continuations of each row of `prompt`.
///
/// `choose` maps logits `[rows, vocab]`, the continuation of each row (counted over all prompts)
/// and the step (from 0) to the next tokens `[rows]`.
///
/// The host reads a GPU's tokens after it has queued the next step, so that the GPU never waits for
/// the host. The end of a continuation is therefore noticed one step late.
pub(super) fn write(
    gpt2: &Gpt2,
    prompt: &Tensor,
    copies: usize,
    limits: &Limits,
    choose: impl Fn(&Tensor, &[usize], usize) -> Tensor,
) -> Vec<Vec<Hypothesis>> {
    let (mut cache, mut logits) = read_prompt(gpt2, prompt, copies, limits.room(prompt));
    let mut rows: Vec<usize> = (0..cache.rows() as usize).collect();
    let mut written = Written::new(rows.len(), limits);
    let reads_late = prompt.device().is_cuda();
    let mut unread = None;
    for step in 0..limits.max_tokens {
        let mut tokens = choose(&logits, &rows, step);
        let chosen = Chosen::send(&tokens, &log_probabilities(&logits, &tokens));
        let now = Step { rows: rows.clone(), chosen };
        let arrived = if reads_late { unread.replace(now) } else { Some(now) };
        if let Some(arrived) = arrived {
            written.append(arrived);
        }
        let goes_on: Vec<bool> = rows.iter().map(|&row| !written.ended[row]).collect();
        let left = goes_on.iter().filter(|&&goes_on| goes_on).count();
        if left == 0 || step + 1 == limits.max_tokens {
            break;
        }
        if worth_leaving(left, rows.len()) {
            let sources = without_gaps(&goes_on);
            let numbers: Vec<i64> = sources.iter().map(|&source| source as i64).collect();
            let [numbers] = cache.rearrange(&sources, 0, [&numbers]);
            tokens = tokens.index_select(0, &numbers);
            rows = sources.into_iter().map(|source| rows[source]).collect();
        }
        logits = next_logits(gpt2, &gpt2.embed(&tokens.unsqueeze(1)), &mut cache);
    }
    if let Some(last) = unread {
        written.append(last);
    }
    let mut written = written.hypotheses.into_iter();
    (0..prompt.size()[0]).map(|_| written.by_ref().take(copies).collect()).collect()
}

/// Returns the log-probabilities `[rows]` of tokens `[rows]`.
fn log_probabilities(logits: &Tensor, tokens: &Tensor) -> Tensor {
    let all = logits.log_softmax(-1, Kind::Float);
    all.gather(1, &tokens.unsqueeze(1), false).squeeze_dim(1)
}

impl<'a> Written<'a> {
    fn new(continuations: usize, limits: &'a Limits<'a>) -> Self {
        Self {
            limits,
            hypotheses: vec![Hypothesis::default(); continuations],
            ended: vec![false; continuations],
        }
    }

    /// Appends tokens to unfinished continuations, and marks those that have ended.
    fn append(&mut self, step: Step) {
        let (tokens, log_probabilities) = step.chosen.receive();
        let chosen = tokens.into_iter().zip(log_probabilities);
        for (row, (token, log_probability)) in step.rows.into_iter().zip(chosen) {
            if !self.ended[row] {
                let hypothesis = &mut self.hypotheses[row];
                hypothesis.tokens.push(token);
                hypothesis.log_probability += log_probability;
                self.ended[row] = self.limits.stop_at(token);
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
pub(super) fn worth_leaving(left: usize, rows: usize) -> bool {
    4 * left <= 3 * rows
}

/// Returns the source of each remaining row when rows from the end fill the gaps of finished ones.
pub(super) fn without_gaps(stays: &[bool]) -> Vec<usize> {
    let count = stays.iter().filter(|&&stays| stays).count();
    let mut behind = (count..stays.len()).filter(|&row| stays[row]);
    (0..count).filter_map(|row| if stays[row] { Some(row) } else { behind.next() }).collect()
}

/// Computes the prompt once; returns the cache and logits with `copies` adjacent rows per prompt.
pub(super) fn read_prompt(
    gpt2: &Gpt2,
    prompt: &Tensor,
    copies: usize,
    room: i64,
) -> (KvCache, Tensor) {
    let [batch, tokens] = [prompt.size()[0], prompt.size()[1]];
    let mut cache = gpt2.cache(batch, if copies == 1 { room } else { tokens });
    let logits = next_logits(gpt2, prompt, &mut cache);
    if copies == 1 {
        return (cache, logits);
    }
    let copies = copies as i64;
    let repeated = logits.unsqueeze(1).expand([-1, copies, -1], false).flatten(0, 1);
    (cache.repeat(copies, room), repeated)
}

/// Returns logits `[rows, vocab]` after the last of `inputs` `[rows, tokens, hidden]`.
pub(super) fn next_logits(gpt2: &Gpt2, inputs: &Tensor, cache: &mut KvCache) -> Tensor {
    let states = gpt2.forward_cached(inputs, cache);
    gpt2.logits(&states.select(1, states.size()[1] - 1))
}

#[cfg(test)]
mod tests {
    use super::without_gaps;

    #[test]
    fn rows_from_behind_fill_the_gaps_and_the_others_stay() {
        let order =
            |stays: &[u8]| without_gaps(&stays.iter().map(|&stays| stays == 1).collect::<Vec<_>>());
        assert_eq!(order(&[1, 1, 1]), [0, 1, 2]);
        assert_eq!(order(&[0, 1, 0, 1, 1]), [3, 1, 4]);
        assert_eq!(order(&[1, 0, 0, 0]), [0]);
        assert_eq!(order(&[0, 0, 1]), [2]);
        assert_eq!(order(&[0, 0]), [0; 0]);
    }
}
