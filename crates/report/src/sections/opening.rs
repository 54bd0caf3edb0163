//! Opening of a report: what the runs reached, and the command that tries them.

use std::path::Path;

use foreign_text::printable_path;
use maud::{Markup, html};

use super::parts::{Evaluated, evaluated, name, ranking};
use crate::run::Run;

/// Returns a sentence about the best run, and the command that serves all runs.
pub(super) fn opening(runs: &[Run]) -> Markup {
    let evaluated = evaluated(runs, Run::main_only);
    html! {
        @if let Some((metric, (number, run, best))) = best(&evaluated) {
            p.lead {
                (name(number, &run.name)) " has "
                @if evaluated.len() > 1 { "the highest " }
                (metric) ", " strong { (format!("{:.3}", best.scores[metric])) } ", on "
                (best.captions.len()) " test pictures."
            }
        }
        p { "Try your own pictures:" }
        pre.command tabindex="0" { (serve_command(runs.iter().map(|run| run.path.as_path()))) }
    }
}

/// Returns the evaluation with the highest score; `None` if the scores cannot be compared.
fn best<'a>(evaluated: &[Evaluated<'a>]) -> Option<(&'static str, Evaluated<'a>)> {
    let (.., first) = evaluated.first()?;
    let metric = *ranking(first).first()?;
    let is_comparable = |one: &Evaluated| {
        one.2.tokenizer == first.tokenizer
            && one.2.captions.len() == first.captions.len()
            && one.2.scores.contains_key(metric)
    };
    let score = |one: &Evaluated| one.2.scores[metric];
    let best = evaluated
        .iter()
        .all(is_comparable)
        .then(|| evaluated.iter().copied().max_by(|a, b| score(a).total_cmp(&score(b))));
    Some((metric, best??))
}

/// Returns the command that captions pictures with these runs on a web page.
#[must_use]
pub fn serve_command<'a>(runs: impl IntoIterator<Item = &'a Path>) -> String {
    let runs = runs.into_iter().map(|run| format!(" --run {}", printable_path(run)));
    format!("capsmith serve{}", runs.collect::<String>())
}
