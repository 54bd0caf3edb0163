//! Sections of a page about runs.

mod best_and_worst;
mod captions;
mod cards;
mod configuration;
mod curves;
mod epochs;
mod human;
mod images;
mod keywords;
mod lengths;
mod opening;
mod pairs;
mod parts;
mod scores;

use caption_metrics::meteor::Resources;
use cards::Cards;
use human::HumanCaptions;
use images::RunImages;
use maud::{Markup, html};
pub use opening::serve_command;
use parts::{Scored, evaluated};

use crate::error::Error;
use crate::resampled::Resampled;
use crate::run::Run;

/// Id, title and body of a section.
type Section = (&'static str, &'static str, Markup);

/// Returns all sections on runs side by side: the best run, scores, captions, curves,
/// configurations.
///
/// # Errors
/// Names a damaged file of a data set or an evaluation. Missing images are shown as missing.
pub fn sections(runs: &[Run]) -> Result<Markup, Error> {
    let mut images = RunImages::load(runs)?;
    let mut scored = scored(runs)?;
    let table = scores::section(runs, &mut scored);
    let evaluated = evaluated(runs, Run::main_only);
    let human = HumanCaptions::of(&evaluated);
    let mut cards = Cards { evaluated: &evaluated, human: &human, images: &mut images };
    let captions = captions::section(runs, &mut cards, captions::CARDS);
    let sections = all(runs, table, captions, &scored, &mut images)?;
    Ok(html! { (opening::opening(runs)) (rendered(&sections)) (images.pictures.embedded()) })
}

/// Returns the sections of a study: `opening`, a few chosen images, all captions, the `table` of
/// scores, and the rest of [`sections`].
///
/// Shows the captions of every evaluation but controls, for at most `pictures` images.
///
/// # Errors
/// Same as [`sections`].
pub fn study_sections(
    runs: &[Run],
    opening: &Markup,
    table: Markup,
    pictures: usize,
) -> Result<Markup, Error> {
    let mut images = RunImages::load(runs)?;
    let scored = scored(runs)?;
    let evaluated = evaluated(runs, Run::official);
    let human = HumanCaptions::of(&evaluated);
    let mut cards = Cards { evaluated: &evaluated, human: &human, images: &mut images };
    let chosen = captions::chosen(&mut cards);
    let captions = captions::section(runs, &mut cards, pictures);
    let mut sections = all(runs, table, captions, &scored, &mut images)?;
    sections.swap(0, 1);
    Ok(html! { (opening) (chosen) (rendered(&sections)) (images.pictures.embedded()) })
}

/// Returns a title that names the runs and the data that they learned from.
#[must_use]
pub fn title(runs: &[Run]) -> String {
    let distinct = |names: &mut dyn Iterator<Item = String>| {
        let mut seen: Vec<String> = Vec::new();
        names.for_each(|name| {
            if !seen.contains(&name) {
                seen.push(name);
            }
        });
        match seen.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
            _ => seen.concat(),
        }
    };
    let systems = distinct(&mut runs.iter().map(|run| run.config.system.title().to_owned()));
    let names = match runs.len() {
        0..=3 => distinct(&mut runs.iter().map(|run| run.name.clone())),
        many => format!("{many} runs of {systems}"),
    };
    let data = distinct(&mut runs.iter().filter_map(|run| run.learned_from.clone()));
    if data.is_empty() { names } else { format!("{names} on {data}") }
}

/// Returns the distinct hardware that the runs recorded.
#[must_use]
pub fn machines(runs: &[Run]) -> Vec<String> {
    let mut machines: Vec<String> = runs.iter().filter_map(|run| run.machine.clone()).collect();
    machines.sort();
    machines.dedup();
    machines
}

fn scored(runs: &[Run]) -> Result<Vec<Scored<'_>>, Error> {
    let official = evaluated(runs, Run::official);
    let by_meteor = official.iter().any(|(.., one)| one.scores.contains_key("METEOR"));
    let meteor = by_meteor.then(|| Resources::open_default().ok()).flatten();
    let scored = official.into_iter().map(|evaluated| {
        let resampled = Resampled::read(&evaluated.2.folder, meteor.as_ref())?;
        Ok(Scored { evaluated, resampled })
    });
    scored.collect()
}

fn all(
    runs: &[Run],
    scores: Markup,
    captions: Markup,
    scored: &[Scored],
    images: &mut RunImages,
) -> Result<[Section; 9], Error> {
    Ok([
        ("scores", "Scores", scores),
        ("captions", "Captions side by side", captions),
        ("pairs", "One run against another", pairs::section(scored, images)?),
        ("training", "Training", curves::section(runs)),
        ("epochs", "Scores after each epoch", epochs::section(runs)),
        ("extremes", "Best and worst captions", best_and_worst::section(runs, images)),
        ("lengths", "Lengths of captions", lengths::section(runs)),
        ("keywords", "Keywords", keywords::section(runs)),
        ("configuration", "Configuration", configuration::section(runs)),
    ])
}

/// Renders the sections that have contents.
fn rendered(sections: &[Section]) -> Markup {
    let sections = || sections.iter().filter(|(.., body)| !body.0.is_empty());
    html! {
        nav aria-label="Sections" { @for (id, title, _) in sections() { a href={ "#" (id) } { (title) } } }
        @for (id, title, body) in sections() {
            section id=(id) { h2 { (title) } (body) }
        }
    }
}
