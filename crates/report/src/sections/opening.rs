//! Opening of a report: the best runs, and the command that tries all of them.

use std::path::Path;

use foreign_text::shell_command;
use maud::{Markup, html};

use super::parts::{Evaluated, evaluated, name, ranking};
use crate::run::Run;

/// Returns a sentence about the best run, and the command that serves all runs.
///
/// Scores on other pictures or other tokens cannot be compared, so each kind has its best run.
pub(super) fn opening(runs: &[Run]) -> Markup {
    let groups = comparable(evaluated(runs, Run::main_only));
    html! {
        @if !groups.is_empty() {
            p.lead {
                @for group in &groups { (best(group)) " " }
                @if groups.len() > 1 { "Scores on other pictures or tokens cannot be compared." }
            }
        }
        details {
            summary { "Try these runs on your own pictures" }
            pre.command tabindex="0" { (serve_command(runs.iter().map(|run| run.path.as_path()))) }
        }
    }
}

/// Groups the evaluations whose scores can be compared.
fn comparable(evaluated: Vec<Evaluated>) -> Vec<Vec<Evaluated>> {
    let mut groups: Vec<Vec<Evaluated>> = Vec::new();
    for one in evaluated {
        let is_same = |group: &&mut Vec<Evaluated>| {
            one.2.tokenizer == group[0].2.tokenizer && pictures(one).eq(pictures(group[0]))
        };
        match groups.iter_mut().find(is_same) {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    groups
}

/// Returns the names of the captioned images.
fn pictures((.., evaluation): Evaluated<'_>) -> impl Iterator<Item = &str> {
    evaluation.captions.iter().map(|one| one.picture.as_str())
}

/// Returns a sentence about the highest score of comparable evaluations.
fn best(group: &[Evaluated]) -> Markup {
    let Some(metric) = ranking(group[0].2).first().copied() else { return html! {} };
    let score = |one: &Evaluated| one.2.scores.get(metric).copied().unwrap_or(f64::NEG_INFINITY);
    let highest = group.iter().max_by(|a, b| score(a).total_cmp(&score(b)));
    html! {
        @if let Some(one @ &(number, run, evaluation)) = highest {
            (name(number, &evaluation.label(&run.name))) " has "
            @if group.len() > 1 { "the highest " }
            (metric) ", " strong { (format!("{:.3}", score(one))) } ", on "
            (evaluation.captions.len()) " test pictures"
            @if evaluation.tokenizer == "ptb" { " (Penn Treebank tokens)" }
            "."
        }
    }
}

/// Returns the command that captions pictures with these runs on a web page.
#[must_use]
pub fn serve_command<'a>(runs: impl IntoIterator<Item = &'a Path>) -> String {
    let runs = runs.into_iter().flat_map(|run| ["--run".to_owned(), run.display().to_string()]);
    shell_command(["capsmith", "serve"].map(str::to_owned).into_iter().chain(runs))
}
