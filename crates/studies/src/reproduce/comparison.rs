//! Paired bootstrap tests of the captions of neighbouring rows.

use std::path::PathBuf;

use caption_metrics::significance::Difference;
use report::{Resampled, difference_text};
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

/// Compares each row with the next one that is scored on the same references.
///
/// Rows are titles and folders of evaluations.
///
/// # Errors
/// Fails if an evaluation cannot be read.
pub(super) fn comparisons(rows: &[(String, PathBuf)]) -> Result<Vec<Comparison>, Error> {
    let rows = rows.iter().map(|(title, folder)| Ok((title, Resampled::read(folder, None)?)));
    let rows: Vec<(&String, Resampled)> = rows.collect::<Result<_, Error>>()?;
    let mut comparisons = Vec::new();
    for (number, (title, a)) in rows.iter().enumerate() {
        if let Some((other, b)) = rows[number + 1..].iter().find(|(_, b)| a.is_comparable(b)) {
            let (a, b, differences) = ((*title).clone(), (*other).clone(), a.differences(b)?);
            comparisons.push(Comparison { a, b, differences });
        }
    }
    Ok(comparisons)
}

impl Comparison {
    /// Formats the difference of a score: `+0.012 [+0.004, +0.020], p 0.003`.
    #[must_use]
    pub fn text(&self, score: &str) -> String {
        let found = self.differences.iter().find(|difference| difference.name == score);
        found.map_or_else(|| "–".to_owned(), difference_text)
    }
}
