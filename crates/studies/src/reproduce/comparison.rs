//! Paired bootstrap tests of the captions of neighbouring rows.

use std::path::{Path, PathBuf};

use caption_metrics::significance::{Difference, Resampling, compare};
use caption_metrics::{Evaluation, Options, Predictions, References, evaluate};
use runs::ScoresFile;
use serde::Serialize;

use super::Error;

/// Scores that the page and the Markdown table show.
pub(super) const SHOWN: [&str; 2] = ["BLEU-4", "CIDEr"];

/// Comparison of two rows by the captions of their first runs.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// Title of the first row.
    pub a: String,
    /// Title of the second row.
    pub b: String,
    /// Differences of all scores but METEOR, `b - a`.
    pub differences: Vec<Difference>,
}

/// Captions of a row, evaluated again for resampling.
struct Row<'a> {
    title: &'a str,
    tokenizer: String,
    references: References,
    evaluation: Evaluation,
}

impl<'a> Row<'a> {
    fn read(title: &'a str, folder: &Path) -> Result<Self, Error> {
        let tokenizer = ScoresFile::read(folder)?.protocol.tokenizer;
        let references = References::read(folder.join("references.json"))?;
        let predictions = Predictions::read(folder.join("predictions.json"))?;
        let options =
            Options { tokenizer: tokenizer.parse().unwrap_or_default(), ..Options::default() };
        let evaluation = evaluate(&references, &predictions, &options)?;
        Ok(Self { title, tokenizer, references, evaluation })
    }
}

/// Compares each row with the next one that is scored on the same references.
///
/// Rows are titles and folders of evaluations.
///
/// # Errors
/// Fails if an evaluation cannot be read.
pub(super) fn comparisons(rows: &[(String, PathBuf)]) -> Result<Vec<Comparison>, Error> {
    let rows = rows.iter().map(|(title, folder)| Row::read(title, folder));
    let rows: Vec<Row> = rows.collect::<Result<_, _>>()?;
    let mut comparisons = Vec::new();
    for (number, a) in rows.iter().enumerate() {
        let is_like = |b: &&Row| a.tokenizer == b.tokenizer && a.references == b.references;
        if let Some(b) = rows[number + 1..].iter().find(is_like) {
            let differences = compare(&a.evaluation, &b.evaluation, Resampling::default())?;
            comparisons.push(Comparison {
                a: a.title.to_owned(),
                b: b.title.to_owned(),
                differences,
            });
        }
    }
    Ok(comparisons)
}

impl Comparison {
    /// Formats the difference of a score: `+0.012 [+0.004, +0.020], p 0.003`.
    #[must_use]
    pub fn text(&self, score: &str) -> String {
        let found = self.differences.iter().find(|difference| difference.name == score);
        found.map_or_else(
            || "–".to_owned(),
            |Difference { difference, low, high, p, .. }| {
                format!("{difference:+.3} [{low:+.3}, {high:+.3}], p {p:.3}")
            },
        )
    }
}
