//! Result of decoding.

/// Generated continuation of a prompt.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Hypothesis {
    /// Token ids, up to and including the first stop token.
    pub tokens: Vec<i64>,
    /// Sum of the tokens' natural log-probabilities under the model, before temperature, top-k and
    /// top-p; for a beam, with its repetition penalties.
    pub log_probability: f64,
}

impl Hypothesis {
    /// Returns the log-probability per token, by which ClipCap ranks beams; 0 if there is no token.
    #[must_use]
    pub fn score(&self) -> f64 {
        self.penalized_score(1.0)
    }

    /// Returns the log-probability divided by the length to the power of `length_penalty`.
    #[must_use]
    pub fn penalized_score(&self, length_penalty: f64) -> f64 {
        self.log_probability / (self.tokens.len().max(1) as f64).powf(length_penalty)
    }
}
