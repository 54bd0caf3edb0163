//! Table of scores.

use std::collections::BTreeMap;

use caption_metrics::Diversity;
use maud::{Markup, html};

use super::{name, not_evaluated};
use crate::run::{Evaluation, Run, metrics};
use crate::table::{Cell, sortable};

pub(super) fn section(runs: &[Run]) -> Markup {
    let all: Vec<(usize, &Run, &Evaluation)> = runs
        .iter()
        .enumerate()
        .flat_map(|(number, run)| run.evaluations.iter().map(move |one| (number, run, one)))
        .collect();
    if all.is_empty() {
        return not_evaluated(runs);
    }
    let scored = |metric: &&str| all.iter().any(|(.., one)| one.scores.contains_key(*metric));
    let columns: Vec<&str> = metrics().filter(scored).collect();
    let best: Vec<Option<f64>> = columns.iter().map(|metric| best(&all, metric)).collect();
    let rows: Vec<Vec<Cell>> = all
        .iter()
        .map(|&(number, run, one)| {
            let scores = columns.iter().zip(&best).map(|(metric, best)| score(one, metric, *best));
            let first = [run_cell(number, run, one), Cell::number(one.captions.len() as f64, 0)];
            first.into_iter().chain(scores).collect()
        })
        .collect();
    let head: Vec<&str> = ["run", "pictures"].into_iter().chain(columns).collect();
    html! {
        (sortable(&head, &rows))
        @if all.iter().any(|(.., one)| one.diversity.is_some()) { (diversity(&all)) }
        (not_evaluated(runs))
        @if all.iter().any(|(.., one)| one.control) {
            p.note {
                "A control captions each picture from another picture's embedding. If it scores lower, "
                "captions depend on the picture."
            }
        }
        @if all.iter().any(|(.., one)| one.tokenizer == "ptb")
            && all.iter().any(|(.., one)| one.tokenizer != "ptb") {
            p.note {
                "Runs marked PTB are scored on Penn Treebank tokens, the others on raw captions: their scores "
                "are not directly comparable."
            }
        }
    }
}

/// Returns the table of the captions' diversity.
fn diversity(all: &[(usize, &Run, &Evaluation)]) -> Markup {
    let entries = |one: &Evaluation| one.diversity.iter().flat_map(Diversity::entries).collect();
    let rows: Vec<(Cell, BTreeMap<&str, f64>)> =
        all.iter().map(|&(number, run, one)| (run_cell(number, run, one), entries(one))).collect();
    let columns = ["vocabulary", "distinct_1", "distinct_2", "novel", "mean_length"];
    let table: Vec<Vec<Cell>> = rows
        .into_iter()
        .map(|(run, entries)| {
            let decimals = |column: &str| if column == "vocabulary" { 0 } else { 4 };
            let cell = |column: &str| match entries.get(column) {
                Some(&value) => Cell::number(value, decimals(column)),
                None => Cell::text("–"),
            };
            [run].into_iter().chain(columns.map(cell)).collect()
        })
        .collect();
    let head: Vec<&str> = ["run"].into_iter().chain(columns).collect();
    html! {
        (sortable(&head, &table))
        p.note {
            "Diversity of the captions: distinct words, distinct words and pairs of words over all "
            "words, share of captions that are none of the training captions, mean length in words."
        }
    }
}

/// Returns the highest score of a column with several scores, ignoring controls.
fn best(all: &[(usize, &Run, &Evaluation)], metric: &str) -> Option<f64> {
    let captioned = all.iter().filter(|(.., one)| !one.control);
    let scores: Vec<f64> =
        captioned.filter_map(|(.., one)| one.scores.get(metric).copied()).collect();
    scores.iter().copied().filter(|_| scores.len() > 1).max_by(f64::total_cmp)
}

fn run_cell(number: usize, run: &Run, one: &Evaluation) -> Cell {
    Cell::text(html! {
        (name(number, &run.name))
        @if let Some(choice) = &one.choice { span.tag { (choice) } }
        @if one.tokenizer == "ptb" { span.tag { "PTB" } }
        @if one.control { span.tag.control { "control" } }
    })
}

fn score(one: &Evaluation, metric: &str, best: Option<f64>) -> Cell {
    match one.scores.get(metric) {
        Some(&score) => {
            let is_best = !one.control && best.is_some_and(|best| score >= best);
            Cell { best: is_best, ..Cell::number(score, 4) }
        }
        None => Cell::text("–"),
    }
}
