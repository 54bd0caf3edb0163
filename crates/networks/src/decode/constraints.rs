//! Constraints on the next token, computed on the model's device.
//!
//! Reference: transformers 4.57's `RepetitionPenaltyLogitsProcessor`,
//! `NoRepeatNGramLogitsProcessor` and `MinNewTokensLengthLogitsProcessor`, in this order and before
//! temperature, top-k and top-p.

use recipes::Constraints;
use tch::{Device, Kind, Tensor};

/// Constraints of a generation, and the tokens that they are about.
pub(super) struct TokenConstraints {
    /// Number of tokens; ids of the model's head from there on have none.
    pub vocabulary: i64,
    constraints: Constraints,
    /// Bool `[vocabulary]`, true for the tokens that end a caption.
    ends: Tensor,
}

impl TokenConstraints {
    /// Moves `ends[id]`, true for the tokens that end a caption, to the device if it is needed.
    pub fn new(constraints: Constraints, ends: &[bool], vocabulary: i64, device: Device) -> Self {
        let is_end = |id: i64| ends.get(id as usize) == Some(&true);
        let ends = if constraints.min_new_tokens > 0 {
            let ends: Vec<bool> = (0..vocabulary).map(is_end).collect();
            Tensor::from_slice(&ends).to_device(device)
        } else {
            Tensor::new()
        };
        Self { vocabulary, constraints, ends }
    }

    /// Returns the logits `[rows, vocabulary]` of the head's ids that have a token.
    pub fn known(&self, logits: Tensor) -> Tensor {
        if logits.size()[1] == self.vocabulary {
            logits
        } else {
            logits.narrow(1, 0, self.vocabulary)
        }
    }

    /// Returns true if [`Self::apply`] needs the generated tokens.
    pub fn need_history(&self) -> bool {
        self.constraints.no_repeat_ngram_size > 0 || self.constraints.penalizes_repetition()
    }

    /// Returns the scores `[rows, vocabulary]`, logits or log-probabilities, under the constraints.
    ///
    /// `step` tokens have been generated; `history` holds them, `[rows, step]`, if it is needed.
    pub fn apply(&self, scores: &Tensor, history: Option<&Tensor>, step: usize) -> Tensor {
        let Constraints { no_repeat_ngram_size, repetition_penalty, min_new_tokens, .. } =
            self.constraints;
        let mut scores = scores.shallow_clone();
        if let Some(history) = history.filter(|_| step > 0) {
            scores = scores.to_kind(Kind::Float);
            if self.constraints.penalizes_repetition() {
                scores = penalized(&scores, history, repetition_penalty);
            }
            if (1..=step).contains(&no_repeat_ngram_size) {
                scores = without_repeats(&scores, history, no_repeat_ngram_size as i64);
            }
        }
        if step < min_new_tokens {
            scores = scores.masked_fill(&self.ends, f64::NEG_INFINITY);
        }
        scores
    }
}

/// Multiplies the negative scores of the tokens in `history` by `penalty`, and divides the others.
fn penalized(scores: &Tensor, history: &Tensor, penalty: f64) -> Tensor {
    let seen = scores.gather(1, history, false);
    let penalized = (&seen * penalty).where_self(&seen.less(0.0), &(&seen / penalty));
    scores.scatter(1, history, &penalized)
}

/// Excludes the tokens that would repeat a sequence of `size` tokens of `history` `[rows, tokens]`.
fn without_repeats(scores: &Tensor, history: &Tensor, size: i64) -> Tensor {
    let tokens = history.size()[1];
    // `[rows, sequences, size]`
    let sequences = history.unfold(1, size, 1);
    let newest = history.narrow(1, tokens - (size - 1), size - 1).unsqueeze(1);
    let repeats = sequences.narrow(2, 0, size - 1).eq_tensor(&newest).all_dim(2, false);
    let excluded = scores.zeros_like().scatter_add(
        1,
        &sequences.select(2, size - 1),
        &repeats.to_kind(Kind::Float),
    );
    scores.masked_fill(&excluded.greater(0.0), f64::NEG_INFINITY)
}
