//! Captions of an evaluation, scored again so that its images can be resampled.

use std::path::Path;

use caption_metrics::meteor::Resources;
use caption_metrics::significance::{Difference, Interval, Resampling, compare};
use caption_metrics::{Evaluation, Metric, Options, Predictions, References, evaluate};
use runs::ScoresFile;

use crate::error::Error;

/// Captions of an evaluation with the counts of each image, from which resamples are scored.
pub struct Resampled {
    tokenizer: String,
    references: References,
    evaluation: Evaluation,
}

impl Resampled {
    /// Scores the captions in an evaluation's folder; by METEOR too if its resources are given.
    ///
    /// # Errors
    /// Fails if the evaluation cannot be read or scored.
    pub fn read(folder: &Path, meteor: Option<&Resources>) -> Result<Self, Error> {
        let tokenizer = ScoresFile::read(folder)?.protocol.tokenizer;
        let references = References::read(folder.join("references.json"))?;
        let predictions = Predictions::read(folder.join("predictions.json"))?;
        let mut options =
            Options { tokenizer: tokenizer.parse().unwrap_or_default(), ..Options::default() };
        if let Some(resources) = meteor {
            options.metrics.push(Metric::Meteor);
            options.meteor = Some(resources.clone());
        }
        let evaluation = evaluate(&references, &predictions, &options)?;
        Ok(Self { tokenizer, references, evaluation })
    }

    /// Returns whether another evaluation has the same images, references and tokenizer.
    #[must_use]
    pub fn is_comparable(&self, other: &Self) -> bool {
        self.tokenizer == other.tokenizer && self.references == other.references
    }

    /// Returns the differences of all scores, `other - self`, with paired tests.
    ///
    /// # Errors
    /// Fails unless the two are [comparable](Self::is_comparable).
    pub fn differences(&self, other: &Self) -> Result<Vec<Difference>, Error> {
        Ok(compare(&self.evaluation, &other.evaluation, Resampling::default())?)
    }

    /// Returns each score with its 95 % bootstrap interval.
    pub(crate) fn intervals(&mut self) -> Vec<(f64, Interval)> {
        self.evaluation.add_confidence(Resampling::default());
        let summary = &self.evaluation.summary;
        let intervals = summary.confidence.iter().flat_map(|confidence| &confidence.intervals);
        let scored = intervals.filter_map(|one| Some((summary.corpus.get(one.name)?, *one)));
        scored.collect()
    }
}

/// Formats a difference with its interval and p: `+0.012 [+0.004, +0.020], p 0.003`.
#[must_use]
pub fn difference_text(Difference { difference, low, high, p, .. }: &Difference) -> String {
    format!("{difference:+.3} [{low:+.3}, {high:+.3}], p {p:.3}")
}
