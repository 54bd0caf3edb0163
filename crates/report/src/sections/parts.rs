//! Runs, evaluations, names and notes as several sections take or show them.

use maud::{Markup, html};

use crate::plot::colour;
use crate::resampled::Resampled;
use crate::run::{Evaluation, Run};

/// A run's number, the run, and one of its evaluations.
pub(super) type Evaluated<'a> = (usize, &'a Run, &'a Evaluation);

/// An official evaluation whose captions are scored again for resampling.
pub(super) struct Scored<'a> {
    pub evaluated: Evaluated<'a>,
    pub resampled: Resampled,
}

pub(super) fn evaluated<'a>(
    runs: &'a [Run],
    choose: impl Fn(&'a Run) -> Vec<&'a Evaluation>,
) -> Vec<Evaluated<'a>> {
    let runs = runs.iter().enumerate();
    runs.flat_map(|(number, run)| choose(run).into_iter().map(move |one| (number, run, one)))
        .collect()
}

/// Returns the scores to rank captions by: the first one; the next ones break ties.
pub(super) fn ranking(evaluation: &Evaluation) -> Vec<&'static str> {
    let names = ["CIDEr", "METEOR", "ROUGE_L", "BLEU-4"].into_iter();
    names.filter(|name| evaluation.scores.contains_key(*name)).collect()
}

/// Returns a run's name in its colour.
pub(super) fn name(number: usize, text: &str) -> Markup {
    html! { span.run.{ (colour(number)) } { (text) } }
}

/// Returns a note on each run without a part: the missing part and the command that creates it.
pub(super) fn absent(
    runs: &[Run],
    has_part: impl Fn(&Run) -> bool,
    missing: &str,
    command: impl Fn(&Run) -> String,
) -> Markup {
    html! {
        @for (number, run) in runs.iter().enumerate().filter(|(_, run)| !has_part(run)) {
            p.absent { (name(number, &run.name)) " " (missing) ": " code { (command(run)) } }
        }
    }
}

/// Returns the note on runs without an evaluation.
pub(super) fn not_evaluated(runs: &[Run]) -> Markup {
    absent(runs, |run| run.main().is_some(), "is not evaluated yet", Run::evaluate_command)
}
