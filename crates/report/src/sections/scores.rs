//! Table of scores.

use std::collections::BTreeMap;

use caption_metrics::Diversity;
use caption_metrics::significance::Interval;
use maud::{Markup, html};

use super::parts::{Evaluated, Scored, name, not_evaluated};
use crate::meanings::meanings;
use crate::run::{Evaluation, Run, metrics};
use crate::table::{Cell, sortable};

/// Returns the table of all evaluations; those in `scored` have confidence intervals.
pub(super) fn section(runs: &[Run], scored: &mut [Scored]) -> Markup {
    let all: Vec<Evaluated> = runs
        .iter()
        .enumerate()
        .flat_map(|(number, run)| run.evaluations.iter().map(move |one| (number, run, one)))
        .collect();
    if all.is_empty() {
        return not_evaluated(runs);
    }
    let is_scored = |metric: &&str| all.iter().any(|(.., one)| one.scores.contains_key(*metric));
    let columns: Vec<&str> = metrics().filter(is_scored).collect();
    let best: Vec<Option<f64>> = columns.iter().map(|metric| best(&all, metric)).collect();
    let rows: Vec<Vec<Cell>> = all
        .iter()
        .map(|&(number, run, one)| {
            let again = scored.iter_mut().find(|scored| std::ptr::eq(scored.evaluated.2, one));
            let intervals = again.map(|scored| scored.resampled.intervals()).unwrap_or_default();
            let scores = columns
                .iter()
                .zip(&best)
                .map(|(metric, best)| score(one, metric, *best, &intervals));
            let first = [run_cell(number, run, one), Cell::number(one.captions.len() as f64, 0)];
            first.into_iter().chain(scores).collect()
        })
        .collect();
    let head: Vec<&str> = ["run", "pictures"].into_iter().chain(columns.clone()).collect();
    html! {
        (sortable(&head, &rows))
        p.note {
            "Below a score: its 95 % bootstrap interval over the test pictures (1,000 resamples)."
        }
        (meanings(columns))
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
fn diversity(all: &[Evaluated]) -> Markup {
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
fn best(all: &[Evaluated], metric: &str) -> Option<f64> {
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

fn score(one: &Evaluation, metric: &str, best: Option<f64>, intervals: &[(f64, Interval)]) -> Cell {
    let Some(&score) = one.scores.get(metric) else { return Cell::text("–") };
    let is_best = !one.control && best.is_some_and(|best| score >= best);
    let cell = Cell { best: is_best, ..Cell::number(score, 4) };
    // An interval belongs to the score only if the captions still have that score.
    let is_same = |again: f64| (again - score).abs() < 1e-9;
    let interval = intervals.iter().find(|(again, one)| one.name == metric && is_same(*again));
    match interval {
        Some((_, interval)) => cell.with_interval(interval.low, interval.high, 3),
        None => cell,
    }
}
