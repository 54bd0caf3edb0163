//! What a page says of runs, section by section.

mod best_and_worst;
mod captions;
mod configuration;
mod curves;
mod epochs;
mod keywords;
mod lengths;
mod scores;
mod shown;

use maud::{Markup, html};

use crate::error::Error;
use crate::plot::colour;
use crate::run::Run;
use shown::Shown;

/// All that there is to show of runs beside each other: scores, captions, curves, configurations.
///
/// # Errors
/// Names the file of a data set that is damaged. Pictures that are not there are said to be missing.
pub fn sections(runs: &[Run]) -> Result<Markup, Error> {
    let mut shown = Shown::of(runs)?;
    let sections = [
        ("scores", "Scores", scores::section(runs)),
        ("captions", "Captions side by side", captions::section(runs, &mut shown)),
        ("training", "Training", curves::section(runs)),
        ("epochs", "Scores after each epoch", epochs::section(runs)),
        ("extremes", "Best and worst captions", best_and_worst::section(runs, &mut shown)),
        ("lengths", "Lengths of captions", lengths::section(runs)),
        ("keywords", "Keywords", keywords::section(runs)),
        ("configuration", "Configuration", configuration::section(runs)),
    ];
    let sections = sections.into_iter().filter(|(.., body)| !body.0.is_empty());
    let sections: Vec<(&str, &str, Markup)> = sections.collect();
    Ok(html! {
        nav { @for (id, title, _) in &sections { a href={ "#" (id) } { (title) } } }
        @for (id, title, body) in &sections {
            section id=(id) { h2 { (title) } (body) }
        }
        (shown.pictures.embedded())
    })
}

/// A run's name in its colour.
fn name(number: usize, text: &str) -> Markup {
    html! { span.run.{ (colour(number)) } { (text) } }
}

/// Says of each run that is not `there` what is missing, and the command that makes it.
fn absent(
    runs: &[Run],
    there: impl Fn(&Run) -> bool,
    what: &str,
    command: impl Fn(&Run) -> String,
) -> Markup {
    html! {
        @for (number, run) in runs.iter().enumerate().filter(|(_, run)| !there(run)) {
            p.absent { (name(number, &run.name)) " " (what) ": " code { (command(run)) } }
        }
    }
}

/// What is shown in place of captions of runs that are not evaluated.
fn not_evaluated(runs: &[Run]) -> Markup {
    absent(runs, |run| run.main().is_some(), "is not evaluated yet", Run::evaluate_command)
}
