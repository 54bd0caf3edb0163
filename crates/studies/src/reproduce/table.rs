//! Results of a table with the published scores, as Markdown, CSV and JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use foreign_text::printable_path;
use runs::ScoresFile;
use serde::Serialize;

use super::comparison::{self, Comparison};
use super::{COLUMNS, Error, Reproduction, Request, Row};
use crate::stages::Outcome;
use crate::statistics;

/// Results of a table.
#[derive(Debug, Clone, Serialize)]
pub struct Results {
    /// Name of the table.
    pub table: &'static str,
    /// Data set of the published table.
    pub published_data_set: &'static str,
    /// Data and models of the study, if scores are not compared with the published ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// Results of the rows, each followed by its control, and of the baseline.
    pub rows: Vec<RowResult>,
    /// Comparisons of neighbouring rows, if the recipe has controls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub comparisons: Vec<Comparison>,
}

/// Results of a row.
#[derive(Debug, Clone, Serialize)]
pub struct RowResult {
    /// Name on the command line, with `-control` for a control; `neighbours` for the baseline.
    pub row: String,
    /// Title in the paper, with `, control`.
    pub title: String,
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
    /// Sample standard deviation over runs; `None` if there is only one run.
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
    request: &Request,
    reproduction: &Reproduction,
    outcomes: &[Outcome],
) -> Result<Results, Error> {
    let recipe = &request.family.recipe;
    let study = Study { request, reproduction, outcomes };
    let mut rows = Vec::new();
    for &row in &request.rows {
        rows.push(study.line(row, false)?);
        if recipe.controls {
            rows.push(study.line(row, true)?);
        }
    }
    rows.extend(study.baseline()?);
    let comparisons =
        if recipe.controls { comparison::comparisons(&study.compared())? } else { Vec::new() };
    Ok(Results {
        table: request.table.name(),
        published_data_set: request.table.data_set(),
        about: recipe.about.clone(),
        rows,
        comparisons,
    })
}

/// Explanation of the comparisons.
pub(super) const COMPARISON_NOTE: &str = "Differences of neighbouring rows on the same test pictures, of their first runs: 95 % interval of a paired bootstrap, and p by approximate randomisation (1,000 resamples each).";

/// Title of the row of the baseline.
const BASELINE: &str = "Consensus of neighbours";

/// A study whose stages have ended.
#[derive(Clone, Copy)]
struct Study<'a> {
    request: &'a Request,
    reproduction: &'a Reproduction,
    outcomes: &'a [Outcome],
}

impl Study<'_> {
    /// Returns the results of a row, or of its control.
    fn line(self, row: Row, control: bool) -> Result<RowResult, Error> {
        let (mut seeds, mut scores, mut failures) = (Vec::new(), Vec::new(), Vec::new());
        for run in self.reproduction.runs.iter().filter(|run| run.config == row.config()) {
            let stage = if control { run.control } else { Some(run.evaluated) };
            let Some(stage) = stage else { continue };
            if let Some(failure) = self.failure(stage) {
                failures.push(failure);
                continue;
            }
            let folder = run.folder.join("evaluation").join(row.evaluation(control));
            seeds.push(run.seed);
            scores.push(ScoresFile::read(&folder)?.corpus);
        }
        let is_compared = !control && self.request.family.recipe.about.is_none();
        let published = is_compared.then(|| self.request.table.published(row));
        let (name, title) = if control { ("-control", ", control") } else { ("", "") };
        Ok(RowResult {
            row: format!("{}{name}", row.name()),
            title: format!("{}{title}", row.title()),
            seeds,
            cells: cells(&scores, published),
            failures,
        })
    }

    /// Returns the results of the baseline, if the study has one.
    fn baseline(self) -> Result<Option<RowResult>, Error> {
        let Some((stage, folder)) = &self.reproduction.baseline else { return Ok(None) };
        let failure = self.failure(*stage);
        let scores = match failure {
            None => vec![ScoresFile::read(folder)?.corpus],
            Some(_) => Vec::new(),
        };
        Ok(Some(RowResult {
            row: "neighbours".to_owned(),
            title: BASELINE.to_owned(),
            seeds: Vec::new(),
            cells: cells(&scores, None),
            failures: failure.into_iter().collect(),
        }))
    }

    /// Returns titles and evaluations to compare: of each row's first scored run, and the baseline.
    fn compared(self) -> Vec<(String, PathBuf)> {
        let rows = self.request.rows.iter().filter_map(|row| {
            let mut runs = self.reproduction.runs.iter();
            let run = runs
                .find(|run| run.config == row.config() && self.failure(run.evaluated).is_none())?;
            Some((
                row.title().to_owned(),
                run.folder.join("evaluation").join(row.evaluation(false)),
            ))
        });
        let baseline = self.reproduction.baseline.iter();
        let baseline = baseline.filter(|(stage, _)| self.failure(*stage).is_none());
        rows.chain(baseline.map(|(_, folder)| (BASELINE.to_owned(), folder.clone()))).collect()
    }

    /// Returns the reason why a stage has no results: the failed stage that it depends on.
    fn failure(self, stage: usize) -> Option<String> {
        let (plan, outcomes) = (&self.reproduction.plan, self.outcomes);
        match &outcomes[stage] {
            Outcome::Kept | Outcome::Finished { .. } => return None,
            Outcome::Stopped => return Some("stopped before it was scored".to_owned()),
            Outcome::Failed { .. } | Outcome::Skipped => {}
        }
        let mut pending = vec![stage];
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
}

/// Returns the cells of a row over its runs.
fn cells(scores: &[BTreeMap<String, Option<f64>>], published: Option<[f64; 6]>) -> Vec<Cell> {
    let published = published.map_or([None; 6], |published| published.map(Some));
    let columns = COLUMNS.iter().copied().zip(published).chain([("CIDEr", None)]);
    columns.map(|(score, published)| cell(score, scores, published)).collect()
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
        self.cells.iter().any(|cell| cell.mean.is_some())
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
        let mut text = self.about.as_ref().map_or_else(String::new, |about| format!("{about}\n\n"));
        text.push_str("| row |");
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
        if self.about.is_none() {
            let _ = write!(
                text,
                "\nEach cell: score / published score on {} (difference).\n",
                self.published_data_set
            );
        }
        self.write_comparisons(&mut text);
        for line in &self.rows {
            for failure in &line.failures {
                let _ = writeln!(text, "\nNot scored, {}: {failure}", line.row);
            }
        }
        text
    }

    fn write_comparisons(&self, text: &mut String) {
        if self.comparisons.is_empty() {
            return;
        }
        let _ = writeln!(text, "\n{COMPARISON_NOTE}\n");
        let shown = comparison::SHOWN;
        let _ = writeln!(
            text,
            "| rows | {} |\n|{}",
            shown.join(" | "),
            " --- |".repeat(1 + shown.len())
        );
        for comparison in &self.comparisons {
            let cells = shown.map(|score| comparison.text(score));
            let _ =
                writeln!(text, "| {} → {} | {} |", comparison.a, comparison.b, cells.join(" | "));
        }
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
                    line.row.clone(),
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
        durable::write(&file("md"), self.markdown().as_bytes())?;
        durable::write(&file("csv"), csv.as_bytes())?;
        Ok(durable::write_json(&file("json"), self)?)
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
            about: None,
            comparisons: Vec::new(),
            rows: vec![
                RowResult {
                    row: "sbg-1".to_owned(),
                    title: "SBG, one caption".to_owned(),
                    seeds: vec![42],
                    cells,
                    failures: vec![],
                },
                RowResult {
                    row: "merge-rnn".to_owned(),
                    title: "Merge-RNN".to_owned(),
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
