//! The HTML page of a reproduced table: the table, and its runs side by side.

use std::path::Path;

use maud::{Markup, html};
use report::Run;

use super::comparison::SHOWN;
use super::table::COMPARISON_NOTE;
use super::{COLUMNS, Cell, Error, Reproduction, Request, Results, RowResult};

/// Writes the page of a table.
///
/// # Errors
/// Fails if a file of a run is damaged, or the page cannot be written.
pub fn write_page(
    path: &Path,
    request: &Request,
    results: &Results,
    reproduction: &Reproduction,
) -> Result<(), Error> {
    let (title, heading) = match results.table {
        "table1" => ("Table 1, reproduced", "Table 1"),
        _ => ("Table 2, reproduced", "Table 2"),
    };
    let body = html! {
        @if let Some(about) = &results.about { p.lead { (about) } }
        p.lead {
            (heading) " of \u{201c}CLIP-Prefix for Image Captioning and an Experiment on Blind Image Guessing\u{201d}: the same "
            "test pictures captioned by every system, and the scores of the captions."
        }
        (report::sections_around(&runs(results, reproduction)?, scores(results), request.family.recipe.pictures)?)
    };
    Ok(durable::write(path, report::page(title, &body).as_bytes())?)
}

fn scores(results: &Results) -> Markup {
    html! {
        (table(results))
        p.note {
            @if results.about.is_none() {
                "Below each score: the paper's score on " (results.published_data_set) " and the difference from it. "
            }
            @if results.rows.iter().any(|line| line.row.ends_with("-control")) {
                "A control has the caption of another picture. "
            }
            "Merge-RNN is scored on Penn Treebank tokens, as by its authors, the others on raw captions."
        }
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
        div.scroll {
            table {
                thead { tr { th { "rows" } @for name in SHOWN { th.number { (name) } } } }
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

/// Returns the first scored run of each configuration, under the name of the configuration.
fn runs(results: &Results, reproduction: &Reproduction) -> Result<Vec<Run>, Error> {
    let mut seen: Vec<&str> = Vec::new();
    let mut runs = Vec::new();
    for run in &reproduction.runs {
        let is_scored = run.folder.join("evaluation").is_dir()
            && results.rows.iter().any(|line| line.seeds.contains(&run.seed));
        if is_scored && !seen.contains(&run.config) {
            seen.push(run.config);
            runs.push(Run::open(&run.folder, run.config.to_owned())?);
        }
    }
    Ok(runs)
}

fn table(results: &Results) -> Markup {
    let columns: Vec<&str> = COLUMNS.iter().copied().chain(["CIDEr"]).collect();
    html! {
        div.scroll {
            table {
                thead { tr { th { "row" } @for name in &columns { th.number { (name) } } } }
                tbody { @for line in &results.rows { (row(line, results)) } }
            }
        }
    }
}

fn row(line: &RowResult, results: &Results) -> Markup {
    html! {
        tr {
            td { (line.title) }
            @for (number, cell) in line.cells.iter().enumerate() {
                td.number.best[is_best(results, number, cell)] {
                    (cell.text())
                    @if let Some(published) = cell.published {
                        small { "paper " (format!("{published:.3}")) " · " (cell.difference_text()) }
                    }
                }
            }
        }
    }
}

/// Returns whether no row has a higher score in this column.
fn is_best(results: &Results, number: usize, cell: &Cell) -> bool {
    let others = results.rows.iter().filter_map(|line| line.cells.get(number)?.mean);
    cell.mean.is_some_and(|mean| others.fold(mean, f64::max) <= mean)
}
