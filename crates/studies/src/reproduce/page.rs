//! The HTML page of a reproduced table: the table, and its runs side by side.

use std::path::{Path, PathBuf};

use maud::{Markup, html};
use report::table::{self, sortable};
use report::{Footer, Run, duration};

use super::comparison::SHOWN;
use super::table::COMPARISON_NOTE;
use super::{COLUMNS, Cell, Error, Reproduction, Request, Results, Row, RowResult};

/// Scores of the small table at the top of the page.
const FIRST_SHOWN: [&str; 3] = ["BLEU-4", "METEOR", "CIDEr"];

/// Note on the tokens of the scores.
const TOKENIZERS: &str =
    "Merge-RNN is scored on Penn Treebank tokens, as by its authors, the others on raw captions.";

/// File and surroundings of the page.
#[derive(Debug, Clone, Default)]
pub struct Presentation {
    /// HTML file to write.
    pub page: PathBuf,
    /// Command that ran the study.
    pub command: String,
    /// Command that serves the runs of the study, if there is one besides `capsmith serve`.
    pub serve: Option<String>,
    /// Folder of larger images with the names of the data set's, if there is one.
    pub large_images: Option<PathBuf>,
}

/// Writes the page of a table.
///
/// # Errors
/// Fails if a file of a run is damaged, or the page cannot be written.
pub fn write_page(
    presentation: &Presentation,
    request: &Request,
    results: &Results,
    reproduction: &Reproduction,
) -> Result<(), Error> {
    let runs = runs(results, reproduction, presentation.large_images.as_deref())?;
    let plan = &reproduction.plan;
    let records = (0..plan.stages().len()).map(|index| plan.record(index));
    let records: Vec<_> = records.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    let seconds = records.iter().map(|record| record.seconds).sum();
    let commands = records.into_iter().map(|record| record.command);
    let footer = Footer {
        machine: report::machines(&runs),
        seconds: Some(seconds),
        commands: commands.chain([presentation.command.clone()]).collect(),
    };
    let number = if results.table == "table1" { 1 } else { 2 };
    let data = runs.first().and_then(Run::learned_from).unwrap_or("these pictures");
    let title = format!("Table {number}, reproduced on {data}");
    let opening = html! {
        div.hero {
            div {
                @if data == datasets::DRAWN_NAME { p.badge { (data) ", not Flickr8k" } }
                (happened(&runs, results, &footer, data))
                p.note {
                    "Table " (number) " of \u{201c}CLIP-Prefix for Image Captioning and an Experiment on Blind "
                    "Image Guessing\u{201d}. "
                    @if let Some(about) = &results.about { (about) }
                }
                (try_it(presentation, results, reproduction))
            }
            div { (small_table(results)) p.note { (TOKENIZERS) } }
        }
    };
    let pictures = request.family.recipe.pictures;
    let body = report::study_sections(&runs, &opening, scores(results), pictures)?;
    Ok(durable::write(&presentation.page, report::page(&title, &body, &footer).as_bytes())?)
}

/// Returns a sentence about what the study did.
fn happened(runs: &[Run], results: &Results, footer: &Footer, data: &str) -> Markup {
    let captioned = runs.iter().map(Run::captioned).max().unwrap_or(0);
    let cider = |line: &&RowResult| mean(line, "CIDEr");
    let rows = results.rows.iter().filter(|line| is_paper_row(line) && cider(line).is_some());
    let best =
        rows.max_by(|a, b| cider(a).partial_cmp(&cider(b)).unwrap_or(std::cmp::Ordering::Equal));
    html! {
        p.lead {
            @if let Some(seconds) = footer.seconds { "In " (duration(seconds)) " of work" }
            @if !footer.machine.is_empty() { " on " (footer.machine.join(", ")) }
            ", " (runs.len()) " captioners learned from " (data) " and captioned " (captioned)
            " pictures that they had never seen. "
            @if let Some(best) = best {
                "The best by CIDEr is " strong { (best.title) }
                " with " (format!("{:.3}", mean(best, "CIDEr").unwrap_or_default())) "."
            }
        }
    }
}

fn is_paper_row(line: &RowResult) -> bool {
    Row::ALL.iter().any(|row| row.name() == line.row)
}

fn mean(line: &RowResult, score: &str) -> Option<f64> {
    line.cells.iter().find(|cell| cell.score == score)?.mean
}

/// Returns the commands that caption other pictures with the runs of the study.
fn try_it(presentation: &Presentation, results: &Results, reproduction: &Reproduction) -> Markup {
    let runs = scored(results, reproduction);
    let serve = report::serve_command(runs.iter().map(|run| run.folder.as_path()));
    html! {
        h2 { "Try your own pictures" }
        @if let Some(command) = &presentation.serve {
            pre.command tabindex="0" { (command) }
            details { summary { "or the server alone" } pre tabindex="0" { (serve) } }
        } @else {
            pre.command tabindex="0" { (serve) }
        }
    }
}

fn small_table(results: &Results) -> Markup {
    html! {
        div.scroll tabindex="0" {
            table {
                thead {
                    tr {
                        th scope="col" { "system" }
                        @for name in FIRST_SHOWN { th.number scope="col" { (name) } }
                    }
                }
                tbody {
                    @for line in results.rows.iter().filter(|line| is_paper_row(line)) {
                        tr {
                            td { (line.title) }
                            @for (number, cell) in line.cells.iter().enumerate() {
                                @if FIRST_SHOWN.contains(&cell.score) {
                                    td.number.best[is_best(results, number, cell)] { span { (cell.text()) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn scores(results: &Results) -> Markup {
    let columns: Vec<&str> = COLUMNS.iter().copied().chain(["CIDEr"]).collect();
    let head: Vec<&str> = ["row"].into_iter().chain(columns.clone()).collect();
    let rows: Vec<Vec<table::Cell>> = results.rows.iter().map(|line| row(line, results)).collect();
    html! {
        (sortable(&head, &rows))
        p.note {
            @if results.about.is_none() {
                "Below each score: the paper's score on " (results.published_data_set) " and the difference from it. "
            }
            @if results.rows.iter().any(|line| line.row.ends_with("-control")) {
                "A control has the caption of another picture. "
            }
            (TOKENIZERS)
        }
        (report::meanings(columns))
        @for line in &results.rows {
            @for failure in &line.failures { p.absent { (line.title) ": " (failure) } }
        }
        @if !results.comparisons.is_empty() { (comparisons(results)) }
    }
}

fn comparisons(results: &Results) -> Markup {
    html! {
        h3 { "Differences" }
        p.note { (COMPARISON_NOTE) }
        div.scroll tabindex="0" {
            table {
                thead {
                    tr { th scope="col" { "rows" } @for name in SHOWN { th.number scope="col" { (name) } } }
                }
                tbody {
                    @for comparison in &results.comparisons {
                        tr {
                            td { (comparison.a) " → " (comparison.b) }
                            @for name in SHOWN { td.number { (comparison.text(name)) } }
                        }
                    }
                }
            }
        }
    }
}

/// Returns the first scored run of each configuration.
fn scored<'a>(results: &Results, reproduction: &'a Reproduction) -> Vec<&'a super::Run> {
    let mut runs: Vec<&super::Run> = Vec::new();
    for run in &reproduction.runs {
        let is_scored = run.folder.join("evaluation").is_dir()
            && results.rows.iter().any(|line| line.seeds.contains(&run.seed));
        if is_scored && !runs.iter().any(|other| other.config == run.config) {
            runs.push(run);
        }
    }
    runs
}

/// Opens the first scored run of each configuration, under the paper's name.
fn runs(
    results: &Results,
    reproduction: &Reproduction,
    large_images: Option<&Path>,
) -> Result<Vec<Run>, Error> {
    let name = |config: &str| {
        let mut rows = Row::ALL.into_iter().filter(|row| row.config() == config);
        match (rows.next(), rows.next()) {
            (Some(row), None) => row.title(),
            // The title of each row is that of the run and of its choice among several captions.
            _ => "SBG",
        }
    };
    let runs = scored(results, reproduction).into_iter();
    runs.map(|run| {
        Ok(Run::open(&run.folder, name(run.config).to_owned())?.with_large_images(large_images))
    })
    .collect()
}

fn row(line: &RowResult, results: &Results) -> Vec<table::Cell> {
    let cells = line.cells.iter().enumerate().map(|(number, cell)| {
        let shown = html! {
            span { (cell.text()) }
            @if let Some(published) = cell.published {
                small { "paper " (format!("{published:.3}")) " · " (cell.difference_text()) }
            }
        };
        let best = is_best(results, number, cell);
        table::Cell { value: cell.mean, best, ..table::Cell::text(shown) }
    });
    [table::Cell::text(&line.title)].into_iter().chain(cells).collect()
}

/// Returns whether no row has a higher score in this column.
fn is_best(results: &Results, number: usize, cell: &Cell) -> bool {
    let others = results.rows.iter().filter_map(|line| line.cells.get(number)?.mean);
    cell.mean.is_some_and(|mean| others.fold(mean, f64::max) <= mean)
}
