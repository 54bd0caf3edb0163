//! Sampling: which distribution the next token is drawn from, and the draw.
//!
//! Reference: the warpers of transformers 4.57 (`TemperatureLogitsWarper`, `TopKLogitsWarper`,
//! `TopPLogitsWarper`, in this order). The nucleus is of Holtzman et al., "The Curious Case of Neural
//! Text Degeneration" (2020).
//!
//! A draw comes from no generator with a state: it is a function of (seed, row's number, sample,
//! step), so a row's samples are the same in any batch.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use recipes::Sampling;
use tch::{Kind, Tensor};

use crate::device::upload;

/// As many as a double has digits.
const DRAW_BITS: u32 = 53;

/// Returns the probabilities (float) that tokens are drawn with, of logits; both `[rows, vocab]`. Zero
/// for tokens that are filtered out; each row keeps one at the least.
///
/// Of tokens that tie at the nucleus's edge as many stay as with transformers: here those with
/// the highest ids, there any, since its sort is not stable.
pub fn probabilities(sampling: &Sampling, logits: &Tensor) -> Tensor {
    let mut logits = logits.to_kind(Kind::Float) / sampling.temperature;
    let vocabulary = logits.size()[1];
    if sampling.top_k > 0 {
        let kept = i64::try_from(sampling.top_k).unwrap_or(i64::MAX).min(vocabulary);
        let least = logits.topk(kept, -1, true, false).0.amin([-1_i64].as_slice(), true);
        let removed = logits.less_tensor(&least);
        logits = logits.masked_fill(&removed, f64::NEG_INFINITY);
    }
    if sampling.top_p < 1.0 {
        // In ascending order a token is outside where it and those before hold what is to be
        // left out. The last is always kept.
        let (ascending, order) = logits.sort_stable(true, -1, false);
        let held = ascending.softmax(-1, Kind::Float).cumsum(-1, Kind::Float);
        let outside = held.less_equal(1.0 - sampling.top_p);
        let _ = outside.narrow(1, vocabulary - 1, 1).fill_(0);
        let removed = outside.scatter(1, &order, &outside);
        logits = logits.masked_fill(&removed, f64::NEG_INFINITY);
    }
    logits.softmax(-1, Kind::Float)
}

/// Returns the next tokens `[rows]` behind logits `[rows, vocab]`, for rows known by their numbers and
/// samples.
pub(super) fn draw_tokens(
    sampling: &Sampling,
    logits: &Tensor,
    rows: impl Iterator<Item = (u64, usize)>,
    step: usize,
) -> Tensor {
    let draws: Vec<i64> =
        rows.map(|(number, sample)| draw(sampling, number, sample, step)).collect();
    invert(&probabilities(sampling, logits), &draws)
}

/// Returns what decides the token at `step` of a row's sample: 53 random bits, the first output of
/// `ChaCha8` with the four numbers as its key.
pub(super) fn draw(sampling: &Sampling, number: u64, sample: usize, step: usize) -> i64 {
    let mut key = [0; 32];
    let parts = [sampling.seed, number, sample as u64, step as u64];
    for (bytes, part) in key.chunks_exact_mut(8).zip(parts) {
        bytes.copy_from_slice(&part.to_le_bytes());
    }
    (ChaCha8Rng::from_seed(key).next_u64() >> (64 - DRAW_BITS)) as i64
}

/// For each row of `probabilities` `[rows, vocab]` the first token whose cumulative probability
/// passes the row's draw, never one of probability 0.
fn invert(probabilities: &Tensor, draws: &[i64]) -> Tensor {
    // As doubles, so that rare tokens keep their share behind 50,000 others.
    let cumulative = probabilities.cumsum(-1, Kind::Double);
    let total = cumulative.narrow(1, cumulative.size()[1] - 1, 1);
    // All uniform draws below 1 are doubles, and travel as the integers of the same bits.
    let unit = (1_i64 << DRAW_BITS) as f64;
    let uniform: Vec<i64> =
        draws.iter().map(|&draw| (draw as f64 / unit).to_bits().cast_signed()).collect();
    let [uniform] = upload([&uniform], probabilities.device());
    let uniform = uniform.view_dtype(Kind::Double).unsqueeze(1);
    // A parallel sum may rise by a rounding where nothing is added.
    let passed = cumulative.greater_tensor(&(uniform * total)).logical_and(probabilities);
    // The first true.
    passed.max_dim(-1, false).1
}
