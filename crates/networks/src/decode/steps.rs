//! Continuations that know nothing of each other: a token of each at a time.

use tch::{Device, Kind, Tensor};

use super::Hypothesis;
use crate::device::upload;
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

/// A row of the cache.
pub(super) struct Row {
    /// Which continuation it is, counted through all prompts.
    pub continuation: usize,
    ended: bool,
}

/// Writes on `copies` times from each row of `prompt`. `choose` is given logits `[rows, vocab]`,
/// what the rows are and the step from 0, and says the rows' next tokens `[rows]`.
pub(super) fn write(
    gpt2: &Gpt2,
    prompt: &Tensor,
    copies: usize,
    limits: &Limits,
    choose: impl Fn(&Tensor, &[Row], usize) -> Tensor,
) -> Vec<Vec<Hypothesis>> {
    let (mut cache, mut logits) = read_prompt(gpt2, prompt, copies, limits.room(prompt));
    let mut written = vec![Hypothesis::default(); prompt.size()[0] as usize * copies];
    let mut rows: Vec<Row> =
        (0..written.len()).map(|continuation| Row { continuation, ended: false }).collect();
    for step in 0..limits.max_tokens {
        let mut tokens = choose(&logits, &rows, step);
        append(&mut written, &mut rows, &tokens, &logits, limits);
        let left = rows.iter().filter(|row| !row.ended).count();
        if left == 0 || step + 1 == limits.max_tokens {
            break;
        }
        if worth_leaving(left, rows.len()) {
            let kept =
                row_numbers((0..rows.len()).filter(|&row| !rows[row].ended), prompt.device());
            cache = cache.select(&kept, limits.room(prompt));
            tokens = tokens.index_select(0, &kept);
            rows.retain(|row| !row.ended);
        }
        logits = next_logits(gpt2, &gpt2.embed(&tokens.unsqueeze(1)), &mut cache);
    }
    let mut written = written.into_iter();
    (0..prompt.size()[0]).map(|_| written.by_ref().take(copies).collect()).collect()
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

/// Reads the prompt once, and says the cache and the logits of `copies` of each row, row by row.
fn read_prompt(gpt2: &Gpt2, prompt: &Tensor, copies: usize, room: i64) -> (KvCache, Tensor) {
    let [batch, tokens] = [prompt.size()[0], prompt.size()[1]];
    if copies == 1 {
        let mut cache = gpt2.cache(batch, room);
        let logits = next_logits(gpt2, prompt, &mut cache);
        return (cache, logits);
    }
    let mut cache = gpt2.cache(batch, tokens);
    let logits = next_logits(gpt2, prompt, &mut cache);
    let rows = row_numbers((0..batch as usize * copies).map(|row| row / copies), prompt.device());
    (cache.select(&rows, room), logits.index_select(0, &rows))
}

/// Logits `[rows, vocab]` behind the last of `inputs` `[rows, tokens, hidden]`.
pub(super) fn next_logits(gpt2: &Gpt2, inputs: &Tensor, cache: &mut KvCache) -> Tensor {
    let states = gpt2.forward_cached(inputs, cache);
    gpt2.logits(&states.select(1, states.size()[1] - 1))
}

/// Numbers of rows as a tensor to select them with.
pub(super) fn row_numbers(rows: impl IntoIterator<Item = usize>, device: Device) -> Tensor {
    let rows: Vec<i64> = rows.into_iter().map(|row| row as i64).collect();
    let [rows] = upload([&rows], device);
    rows
}

/// Appends the chosen tokens `[rows]` to the continuations that go on, and notes which have ended.
fn append(
    written: &mut [Hypothesis],
    rows: &mut [Row],
    tokens: &Tensor,
    logits: &Tensor,
    limits: &Limits,
) {
    let log_probabilities = logits.log_softmax(-1, Kind::Float);
    let chosen = log_probabilities.gather(1, &tokens.unsqueeze(1), false).squeeze_dim(1);
    let (tokens, log_probabilities) = read(tokens, &chosen);
    let chosen = tokens.into_iter().zip(log_probabilities);
    for (row, (token, log_probability)) in rows.iter_mut().zip(chosen) {
        if !row.ended {
            let hypothesis = &mut written[row.continuation];
            hypothesis.tokens.push(token);
            hypothesis.log_probability += log_probability;
            row.ended = limits.stop_at(token);
        }
    }
}

/// Token ids and as many numbers, both flattened, read from the device in one transfer: a double
/// holds any id.
pub(super) fn read(tokens: &Tensor, numbers: &Tensor) -> (Vec<i64>, Vec<f64>) {
    let parts = [tokens, numbers].map(|part| part.flatten(0, -1).to_kind(Kind::Double));
    let count = tokens.numel();
    let mut both = vec![0.0; 2 * count];
    Tensor::cat(&parts, 0).to_device(Device::Cpu).copy_data(&mut both, 2 * count);
    let numbers = both.split_off(count);
    (both.into_iter().map(|id| id as i64).collect(), numbers)
}
