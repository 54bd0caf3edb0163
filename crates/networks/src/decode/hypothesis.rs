//! Result of decoding.

/// Generated continuation of a prompt.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Hypothesis {
    /// Token ids, up to and including the first stop token.
    pub tokens: Vec<i64>,
    /// Sum of the tokens' natural log-probabilities under the model, before temperature, top-k and
    /// top-p.
    pub log_probability: f64,
}

impl Hypothesis {
    /// Returns the log-probability per token, by which ClipCap ranks beams; 0 if there is no token.
    #[must_use]
    pub fn score(&self) -> f64 {
        self.log_probability / self.tokens.len().max(1) as f64
    }
}
