//! Captions of the same images by every run.

use maud::{Markup, html};

use super::{name, not_evaluated};
use crate::run::{Captioned, Evaluation, Run};
use crate::sections::images::RunImages;

/// Maximum number of images that [`sections`](super::sections) shows.
pub(super) const CARDS: usize = 48;

/// A run's number, the run, and one of its evaluations.
type Evaluated<'a> = (usize, &'a Run, &'a Evaluation);

/// Returns the captions of at most `most` images by the evaluations that `choose` names.
pub(super) fn section(
    runs: &[Run],
    choose: fn(&Run) -> Vec<&Evaluation>,
    most: usize,
    images: &mut RunImages,
) -> Markup {
    let evaluated: Vec<Evaluated> = runs
        .iter()
        .enumerate()
        .flat_map(|(number, run)| choose(run).into_iter().map(move |one| (number, run, one)))
        .collect();
    let Some((_, _, first)) = evaluated.first() else { return not_evaluated(runs) };
    let common =
        |one: &&Captioned| evaluated.iter().all(|(.., all)| all.of(&one.picture).is_some());
    let common: Vec<&Captioned> = first.captions.iter().filter(common).collect();
    let cards: Vec<Markup> =
        spread(&common, most).into_iter().map(|one| card(one, &evaluated, images)).collect();
    html! {
        @if common.is_empty() {
            p.absent { "These runs were evaluated on different pictures." }
        } @else {
            p.note { (cards.len()) " of " (common.len()) " test pictures." }
        }
        @if let Some(data_set) = images.missing_data_set(runs) {
            p.absent { "The data set " code { (data_set.display()) } " does not exist, so its pictures are missing." }
        }
        (not_evaluated(runs))
        div.cards { @for card in cards { (card) } }
    }
}

/// Returns at most `most` of all items, evenly spaced.
fn spread<T: Copy>(all: &[T], most: usize) -> Vec<T> {
    let count = all.len().min(most);
    (0..count).map(|number| all[number * all.len() / count]).collect()
}

fn card(picture: &Captioned, evaluated: &[Evaluated], images: &mut RunImages) -> Markup {
    let Some((_, run, _)) = evaluated.first() else { return html! {} };
    let image = images.picture(run, picture);
    html! {
        article.card {
            (image)
            div.text {
                @for (place, &(number, run, evaluation)) in evaluated.iter().enumerate() {
                    @if let Some(one) = evaluation.of(&picture.picture) {
                        div.caption {
                            (name(number, &evaluation.label(&run.name)))
                            p { (one.caption) }
                            // Below the last of a run's captions.
                            @if evaluated.get(place + 1).is_none_or(|next| next.0 != number) {
                                (keywords(run, &one.picture))
                            }
                        }
                    }
                }
                (references(&picture.references))
            }
        }
    }
}

/// Returns the keywords that SBG captioned an image from.
fn keywords(run: &Run, picture: &str) -> Markup {
    let words = run.keywords.as_ref().and_then(|keywords| keywords.of(picture)).unwrap_or(&[]);
    html! {
        @if !words.is_empty() {
            ul.chips { @for keyword in words { li { (keyword.word) } } }
        }
    }
}

/// Returns the reference captions in a collapsed list.
pub(super) fn references(references: &[String]) -> Markup {
    html! {
        details {
            summary { "references" }
            ul { @for reference in references { li { (reference) } } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_pictures_are_spread_over_all() {
        assert_eq!(spread(&[1, 2, 3, 4, 5, 6], 3), [1, 3, 5]);
        assert_eq!(spread(&[1, 2], 3), [1, 2]);
        assert!(spread::<u8>(&[], 3).is_empty());
    }
}
