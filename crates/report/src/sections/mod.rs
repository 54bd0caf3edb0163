//! Sections of a page about runs.

mod best_and_worst;
mod captions;
mod configuration;
mod curves;
mod epochs;
mod images;
mod keywords;
mod lengths;
mod scores;

use images::RunImages;
use maud::{Markup, html};

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
    let mut images = RunImages::load(runs)?;
    let captions = captions::section(runs, Run::main_only, captions::CARDS, &mut images);
    let sections = all(runs, scores::section(runs), captions, &mut images);
    Ok(rendered(&sections, &images))
}

/// Returns [`sections`] with `table` in place of the scores, and the captions first.
///
/// Shows the captions of every evaluation but controls, for at most `pictures` images.
///
/// # Errors
/// Same as [`sections`].
pub fn sections_around(runs: &[Run], table: Markup, pictures: usize) -> Result<Markup, Error> {
    let mut images = RunImages::load(runs)?;
    let captions = captions::section(runs, Run::official, pictures, &mut images);
    let mut sections = all(runs, table, captions, &mut images);
    sections.swap(0, 1);
    Ok(rendered(&sections, &images))
}

fn all(runs: &[Run], scores: Markup, captions: Markup, images: &mut RunImages) -> [Section; 8] {
    [
        ("scores", "Scores", scores),
        ("captions", "Captions side by side", captions),
        ("training", "Training", curves::section(runs)),
        ("epochs", "Scores after each epoch", epochs::section(runs)),
        ("extremes", "Best and worst captions", best_and_worst::section(runs, images)),
        ("lengths", "Lengths of captions", lengths::section(runs)),
        ("keywords", "Keywords", keywords::section(runs)),
        ("configuration", "Configuration", configuration::section(runs)),
    ]
}

/// Renders the sections that have contents, and the images that they show.
fn rendered(sections: &[Section], images: &RunImages) -> Markup {
    let sections = || sections.iter().filter(|(.., body)| !body.0.is_empty());
    html! {
        nav { @for (id, title, _) in sections() { a href={ "#" (id) } { (title) } } }
        @for (id, title, body) in sections() {
            section id=(id) { h2 { (title) } (body) }
        }
        (images.pictures.embedded())
    }
}

/// Returns a run's name in its colour.
fn name(number: usize, text: &str) -> Markup {
    html! { span.run.{ (colour(number)) } { (text) } }
}

/// Returns a note on each run without a part: the missing part and the command that creates it.
fn absent(
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
fn not_evaluated(runs: &[Run]) -> Markup {
    absent(runs, |run| run.main().is_some(), "is not evaluated yet", Run::evaluate_command)
}
