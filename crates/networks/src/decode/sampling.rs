//! Sampling: temperature, top-k and top-p filters, and reproducible draws.
//!
//! Reference: transformers 4.57's `TemperatureLogitsWarper`, `TopKLogitsWarper` and
//! `TopPLogitsWarper`, in this order. Nucleus (top-p) sampling: Holtzman et al., "The Curious Case
//! of Neural Text Degeneration" (2020).
//!
//! A draw is a pure function of (seed, row id, sample, step), so a row's samples are the same in
//! any batch.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use recipes::Sampling;
use tch::{Kind, Tensor};

use crate::device::upload;

/// Bits of a double's mantissa.
const DRAW_BITS: u32 = 53;

/// Returns f32 sampling probabilities for logits, both `[rows, vocab]`.
///
/// Filtered tokens have probability 0; each row keeps at least one token.
///
/// Among tokens that tie at the edge of the nucleus, transformers keeps the same number, but an
/// arbitrary choice as its sort is not stable; here those with the highest ids stay.
pub fn probabilities(sampling: &Sampling, logits: &Tensor) -> Tensor {
    let mut logits = logits.to_kind(Kind::Float);
    // Division by 1 would only copy tens of thousands of logits a row. Any other must copy: the
    // logits may be the caller's.
    if (sampling.temperature - 1.0).abs() > 0.0 {
        logits = &logits / sampling.temperature;
    }
    let vocabulary = logits.size()[1];
    if sampling.top_k > 0 {
        let kept = i64::try_from(sampling.top_k).unwrap_or(i64::MAX).min(vocabulary);
        let least = logits.topk(kept, -1, true, false).0.amin([-1_i64].as_slice(), true);
        let removed = logits.less_tensor(&least);
        logits = logits.masked_fill(&removed, f64::NEG_INFINITY);
    }
    if sampling.top_p < 1.0 {
        // In ascending order a token is filtered while the cumulative probability is within the
        // excluded mass. The last token always stays.
        let (ascending, order) = logits.sort_stable(true, -1, false);
        let held = ascending.softmax(-1, Kind::Float).cumsum(-1, Kind::Float);
        let outside = held.less_equal(1.0 - sampling.top_p);
        let _ = outside.narrow(1, vocabulary - 1, 1).fill_(0);
        let removed = outside.scatter(1, &order, &outside);
        logits = logits.masked_fill(&removed, f64::NEG_INFINITY);
    }
    logits.softmax(-1, Kind::Float)
}

/// Samples the next tokens `[rows]` from logits `[rows, vocab]` for the given row ids and samples.
pub(super) fn draw_tokens(
    sampling: &Sampling,
    logits: &Tensor,
    rows: impl Iterator<Item = (u64, usize)>,
    step: usize,
) -> Tensor {
    let draws: Vec<i64> =
        rows.map(|(row_id, sample)| draw(sampling, row_id, sample, step)).collect();
    invert(&probabilities(sampling, logits), &draws)
}

/// Returns 53 random bits for the token at `step` of a row's sample: the first output of `ChaCha8`
/// with the four numbers as its key.
pub(super) fn draw(sampling: &Sampling, row_id: u64, sample: usize, step: usize) -> i64 {
    let mut key = [0; 32];
    let parts = [sampling.seed, row_id, sample as u64, step as u64];
    for (bytes, part) in key.chunks_exact_mut(8).zip(parts) {
        bytes.copy_from_slice(&part.to_le_bytes());
    }
    (ChaCha8Rng::from_seed(key).next_u64() >> (64 - DRAW_BITS)) as i64
}

/// Returns, for each row of `probabilities` `[rows, vocab]`, the first token whose cumulative
/// probability exceeds the row's draw; never a token of probability 0.
fn invert(probabilities: &Tensor, draws: &[i64]) -> Tensor {
    // In f64, so that rare tokens keep their share behind 50,000 others.
    let cumulative = probabilities.to_kind(Kind::Double).cumsum_(-1, Kind::Double);
    let total = cumulative.narrow(1, cumulative.size()[1] - 1, 1);
    // Every multiple of 2^-53 is exact in f64; draws are transferred as integers.
    let unit = (1_i64 << DRAW_BITS) as f64;
    let uniform: Vec<i64> =
        draws.iter().map(|&draw| (draw as f64 / unit).to_bits().cast_signed()).collect();
    let [uniform] = upload([&uniform], probabilities.device());
    let uniform = uniform.view_dtype(Kind::Double).unsqueeze(1);
    // Rounding in a parallel sum may raise it where the probability is 0.
    let passed = cumulative.greater_tensor(&(uniform * total)).logical_and_(probabilities);
    // Index of the first true value.
    passed.max_dim(-1, false).1
}
