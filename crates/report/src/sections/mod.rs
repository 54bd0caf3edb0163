//! Sections of a page about runs.

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
use shown::Shown;

use crate::error::Error;
use crate::plot::colour;
use crate::run::Run;

/// Id, title and body of a section.
type Section = (&'static str, &'static str, Markup);

/// Returns all sections on runs side by side: scores, captions, curves, configurations.
///
/// # Errors
/// Names a damaged file of a data set. Missing images are shown as missing.
pub fn sections(runs: &[Run]) -> Result<Markup, Error> {
    let mut shown = Shown::of(runs)?;
    let sections = all(runs, scores::section(runs), &mut shown);
    Ok(rendered(&sections, &shown))
}

/// Returns [`sections`] with `table` in place of the scores, and the captions first.
///
/// # Errors
/// Same as [`sections`].
pub fn sections_around(runs: &[Run], table: Markup) -> Result<Markup, Error> {
    let mut shown = Shown::of(runs)?;
    let mut sections = all(runs, table, &mut shown);
    sections.swap(0, 1);
    Ok(rendered(&sections, &shown))
}

fn all(runs: &[Run], scores: Markup, shown: &mut Shown) -> [Section; 8] {
    [
        ("scores", "Scores", scores),
        ("captions", "Captions side by side", captions::section(runs, shown)),
        ("training", "Training", curves::section(runs)),
        ("epochs", "Scores after each epoch", epochs::section(runs)),
        ("extremes", "Best and worst captions", best_and_worst::section(runs, shown)),
        ("lengths", "Lengths of captions", lengths::section(runs)),
        ("keywords", "Keywords", keywords::section(runs)),
        ("configuration", "Configuration", configuration::section(runs)),
    ]
}

/// Renders the sections that have contents, and the images that they show.
fn rendered(sections: &[Section], shown: &Shown) -> Markup {
    let sections = || sections.iter().filter(|(.., body)| !body.0.is_empty());
    html! {
        nav { @for (id, title, _) in sections() { a href={ "#" (id) } { (title) } } }
        @for (id, title, body) in sections() {
            section id=(id) { h2 { (title) } (body) }
        }
        (shown.pictures.embedded())
    }
}

/// Returns a run's name in its colour.
fn name(number: usize, text: &str) -> Markup {
    html! { span.run.{ (colour(number)) } { (text) } }
}

/// Returns a note on each run that is not `there`: the missing part and the command that makes it.
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

/// Returns the note on runs without an evaluation.
fn not_evaluated(runs: &[Run]) -> Markup {
    absent(runs, |run| run.main().is_some(), "is not evaluated yet", Run::evaluate_command)
}
