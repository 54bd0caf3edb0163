//! Results of a table with the published scores, as Markdown, CSV and JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use foreign_text::printable_path;
use runs::ScoresFile;
use serde::Serialize;

use super::{COLUMNS, Error, Reproduction, Row, Run, Table};
use crate::stages::Outcome;
use crate::statistics;

/// Results of a table.
#[derive(Debug, Clone, Serialize)]
pub struct Results {
    /// Name of the table.
    pub table: &'static str,
    /// Data set of the published table.
    pub published_data_set: &'static str,
    /// Results of the rows.
    pub rows: Vec<RowResult>,
}

/// Results of a row.
#[derive(Debug, Clone, Serialize)]
pub struct RowResult {
    /// Name on the command line.
    pub row: &'static str,
    /// Title in the paper.
    pub title: &'static str,
    /// Seeds of the scored runs.
    pub seeds: Vec<u64>,
    /// Cells of [`COLUMNS`] and `CIDEr`.
    pub cells: Vec<Cell>,
    /// Reasons for runs without scores, one line per run.
    pub failures: Vec<String>,
}

/// One score of a row.
#[derive(Debug, Clone, Serialize)]
pub struct Cell {
    /// Name of the score.
    pub score: &'static str,
    /// Mean over runs; `None` if not measured.
    pub mean: Option<f64>,
    /// Sample standard deviation over runs; `None` of one run.
    pub deviation: Option<f64>,
    /// Published score.
    pub published: Option<f64>,
    /// `mean - published`.
    pub difference: Option<f64>,
}

/// Reads the scores of the runs.
///
/// # Errors
/// Fails if a file of scores cannot be read.
pub fn results(
    reproduction: &Reproduction,
    outcomes: &[Outcome],
    table: Table,
    rows: &[Row],
) -> Result<Results, Error> {
    let lines = rows.iter().map(|&row| line(reproduction, outcomes, table, row));
    Ok(Results {
        table: table.name(),
        published_data_set: table.data_set(),
        rows: lines.collect::<Result<_, _>>()?,
    })
}

fn line(
    reproduction: &Reproduction,
    outcomes: &[Outcome],
    table: Table,
    row: Row,
) -> Result<RowResult, Error> {
    let (mut seeds, mut scores, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for run in reproduction.runs.iter().filter(|run| run.config == row.config()) {
        if let Some(failure) = failure(reproduction, outcomes, run) {
            failures.push(failure);
            continue;
        }
        let folder = run.folder.join("evaluation").join(row.evaluation());
        seeds.push(run.seed);
        scores.push(ScoresFile::read(&folder)?.corpus);
    }
    let published = table.published(row);
    let columns = COLUMNS.iter().copied().zip(published.map(Some)).chain([("CIDEr", None)]);
    let cells = columns.map(|(score, published)| cell(score, &scores, published)).collect();
    Ok(RowResult { row: row.name(), title: row.title(), seeds, cells, failures })
}

/// Returns the reason why a run was not scored: the failed stage that it depends on.
fn failure(reproduction: &Reproduction, outcomes: &[Outcome], run: &Run) -> Option<String> {
    let plan = &reproduction.plan;
    match &outcomes[run.evaluated] {
        Outcome::Kept | Outcome::Finished { .. } => return None,
        Outcome::Stopped => return Some("stopped before it was scored".to_owned()),
        Outcome::Failed { .. } | Outcome::Skipped => {}
    }
    let mut pending = vec![run.evaluated];
    while let Some(index) = pending.pop() {
        let stage = &plan.stages()[index];
        if let Outcome::Failed { error } = &outcomes[index] {
            let log = plan.log_file(index);
            return Some(format!("{}: {error} (log: {})", stage.name, printable_path(&log)));
        }
        pending.extend(&stage.after);
    }
    Some("not run".to_owned())
}

fn cell(
    score: &'static str,
    runs: &[BTreeMap<String, Option<f64>>],
    published: Option<f64>,
) -> Cell {
    let values: Vec<f64> = runs.iter().filter_map(|run| *run.get(score)?).collect();
    let (mean, deviation) = (statistics::mean(&values), statistics::deviation(&values));
    let difference = mean.zip(published).map(|(mean, published)| mean - published);
    Cell { score, mean, deviation, published, difference }
}

impl RowResult {
    /// Returns whether any of its runs was scored.
    #[must_use]
    pub fn is_scored(&self) -> bool {
        !self.seeds.is_empty()
    }
}

impl Cell {
    /// Formats the score: `0.700`, `0.700 ± 0.003` over several runs, or a dash if not measured.
    #[must_use]
    pub fn text(&self) -> String {
        match (self.mean, self.deviation) {
            (None, _) => "–".to_owned(),
            (Some(mean), None) => format!("{mean:.3}"),
            (Some(mean), Some(deviation)) => format!("{mean:.3} ± {deviation:.3}"),
        }
    }

    /// Formats the difference from the published score, such as `+0.002`.
    #[must_use]
    pub fn difference_text(&self) -> String {
        self.difference.map_or_else(|| "–".to_owned(), |difference| format!("{difference:+.3}"))
    }
}

impl Results {
    /// Formats the table in Markdown: each cell has the score, the published score, and the
    /// difference.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::from("| row |");
        let names: Vec<&str> = self
            .rows
            .first()
            .map(|line| line.cells.iter().map(|cell| cell.score).collect())
            .unwrap_or_default();
        for name in &names {
            let _ = write!(text, " {name} |");
        }
        let _ = writeln!(text, "\n|{}", " --- |".repeat(names.len() + 1));
        for line in &self.rows {
            let _ = write!(text, "| {} |", line.title);
            for cell in &line.cells {
                let _ = match cell.published {
                    Some(published) => {
                        write!(
                            text,
                            " {} / {published:.3} ({}) |",
                            cell.text(),
                            cell.difference_text()
                        )
                    }
                    None => write!(text, " {} |", cell.text()),
                };
            }
            text.push('\n');
        }
        let _ = write!(
            text,
            "\nEach cell: score / published score on {} (difference).\n",
            self.published_data_set
        );
        for line in &self.rows {
            for failure in &line.failures {
                let _ = writeln!(text, "\nNot scored, {}: {failure}", line.row);
            }
        }
        text
    }

    /// Formats one CSV line per row and score:
    /// `row,score,mean,deviation,runs,published,difference`.
    ///
    /// # Errors
    /// Returns the error of the CSV writer; writing to memory does not fail.
    pub fn csv(&self) -> Result<String, csv::Error> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let header = ["row", "score", "mean", "deviation", "runs", "published", "difference"];
        writer.write_record(header)?;
        let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
        for line in &self.rows {
            for cell in &line.cells {
                writer.write_record([
                    line.row.to_owned(),
                    cell.score.to_owned(),
                    number(cell.mean),
                    number(cell.deviation),
                    line.seeds.len().to_string(),
                    number(cell.published),
                    number(cell.difference),
                ])?;
            }
        }
        let bytes = writer.into_inner().map_err(csv::IntoInnerError::into_error)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Writes `table1.md`, `.csv` and `.json` into `folder`.
    ///
    /// # Errors
    /// Fails if a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), Error> {
        let file = |extension: &str| folder.join(format!("{}.{extension}", self.table));
        let csv = self
            .csv()
            .map_err(|error| Error::Results { path: file("csv"), reason: error.to_string() })?;
        let json = serde_json::to_string_pretty(self).unwrap_or_default();
        durable::write(&file("md"), self.markdown().as_bytes())?;
        durable::write(&file("csv"), csv.as_bytes())?;
        durable::write(&file("json"), format!("{json}\n").as_bytes())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(scores: &[(&str, f64)]) -> BTreeMap<String, Option<f64>> {
        scores.iter().map(|(name, score)| ((*name).to_owned(), Some(*score))).collect()
    }

    #[test]
    fn a_cell_is_the_mean_and_sample_deviation_of_its_runs() {
        let runs = [run(&[("BLEU-1", 0.6)]), run(&[("BLEU-1", 0.7)]), run(&[("BLEU-1", 0.8)])];
        let cell = cell("BLEU-1", &runs, Some(0.698));
        assert_eq!(
            (cell.text().as_str(), cell.difference_text().as_str()),
            ("0.700 ± 0.100", "+0.002")
        );
        let one = super::cell("BLEU-1", &runs[..1], Some(0.698));
        assert_eq!((one.text().as_str(), one.difference_text().as_str()), ("0.600", "-0.098"));
        let none = super::cell("METEOR", &runs, Some(0.257));
        assert_eq!((none.text().as_str(), none.difference_text().as_str()), ("–", "–"));
    }

    #[test]
    fn the_files_have_every_cell_and_every_failure() {
        let cells = vec![cell("BLEU-1", &[run(&[("BLEU-1", 0.6)])], Some(0.698))];
        let results = Results {
            table: "table1",
            published_data_set: "Flickr8k",
            rows: vec![
                RowResult {
                    row: "sbg-1",
                    title: "SBG, one caption",
                    seeds: vec![42],
                    cells,
                    failures: vec![],
                },
                RowResult {
                    row: "merge-rnn",
                    title: "Merge-RNN",
                    seeds: vec![],
                    cells: vec![cell("BLEU-1", &[], Some(0.601))],
                    failures: vec!["train/merge-rnn-seed-42: no room".to_owned()],
                },
            ],
        };
        let markdown = results.markdown();
        assert!(markdown.contains("| SBG, one caption | 0.600 / 0.698 (-0.098) |"), "{markdown}");
        assert!(markdown.contains("| Merge-RNN | – / 0.601 (–) |"), "{markdown}");
        assert!(markdown.contains("merge-rnn: train/merge-rnn-seed-42: no room"), "{markdown}");
        let csv = results.csv().unwrap();
        assert_eq!(csv.lines().nth(2), Some("merge-rnn,BLEU-1,,,0,0.601,"));
        assert!(csv.contains("sbg-1,BLEU-1,0.6,,1,0.698,-0.09"), "{csv}");
    }
}
