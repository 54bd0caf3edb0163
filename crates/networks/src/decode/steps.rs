//! Continuations that know nothing of each other: a token of each at a time.

use tch::{Kind, Tensor};

use super::Hypothesis;
use super::chosen::Chosen;
use crate::gpt2::{Gpt2, KvCache};

/// Where a continuation ends.
pub(super) struct Limits<'a> {
    /// Above 0, and within the model's positions.
    pub max_tokens: usize,
    pub stops: &'a [bool],
}

impl Limits<'_> {
    /// Whether a continuation ends with `token`.
    pub fn stop_at(&self, token: i64) -> bool {
        usize::try_from(token).ok().and_then(|id| self.stops.get(id)) == Some(&true)
    }

    /// Tokens that the model reads: the prompt's, and all that are written but the last.
    pub fn room(&self, prompt: &Tensor) -> i64 {
        prompt.size()[1] + self.max_tokens as i64 - 1
    }
}

/// The tokens of one step.
struct Step {
    /// The continuation of each row, counted through all prompts.
    rows: Vec<usize>,
    chosen: Chosen,
}

/// Continuations as far as the host has read them.
struct Written<'a> {
    limits: &'a Limits<'a>,
    hypotheses: Vec<Hypothesis>,
    ended: Vec<bool>,
}

/// Writes on `copies` times from each row of `prompt`. `choose` is given logits `[rows, vocab]`,
/// which continuations the rows are, counted through all prompts, and the step from 0, and returns the
/// rows' next tokens `[rows]`.
///
/// A GPU's tokens are read when it has been given the next step's work already, so that it never waits
/// for the host: continuations that end are known to have ended one step late.
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

    /// Appends tokens to the continuations that go on, and notes which have ended.
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

/// Whether rows that have ended should leave the batch when `left` of `rows` go on: when a quarter
/// have.
///
/// Leaving costs a copy of what the others hold, staying costs a row's share of every step to come.
/// This way all copies together are less than three times the first batch's cache. On two CPU cores
/// (`examples/decoding.rs`) leaving earlier gained nothing more, and leaving at a half less.
pub(super) fn worth_leaving(left: usize, rows: usize) -> bool {
    4 * left <= 3 * rows
}

/// Returns for each row that is left which one it was: most stay where they are, and those from behind
/// fill the gaps.
pub(super) fn without_gaps(stays: &[bool]) -> Vec<usize> {
    let count = stays.iter().filter(|&&stays| stays).count();
    let mut behind = (count..stays.len()).filter(|&row| stays[row]);
    (0..count).filter_map(|row| if stays[row] { Some(row) } else { behind.next() }).collect()
}

/// Reads the prompt once, and returns the cache and the logits of `copies` of each row, side by side.
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

/// Logits `[rows, vocab]` behind the last of `inputs` `[rows, tokens, hidden]`.
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
