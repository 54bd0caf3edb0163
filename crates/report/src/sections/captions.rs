//! Captions of the same images by every run.

use maud::{Markup, html};

use super::cards::Cards;
use super::parts::{Evaluated, not_evaluated, ranking};
use crate::run::{Captioned, Run};
use crate::sections::images::RunImages;

/// Maximum number of images that [`sections`](super::sections) shows.
pub(super) const CARDS: usize = 48;
/// Number of images that show the range of captions, from the best to the worst.
const CHOSEN: usize = 8;

/// Returns the captions of at most `most` images by the evaluations of the cards.
pub(super) fn section(runs: &[Run], cards: &mut Cards, most: usize) -> Markup {
    if cards.evaluated.is_empty() {
        return not_evaluated(runs);
    }
    let common = common(cards.evaluated);
    let shown: Vec<Markup> =
        spread(&common, most).into_iter().map(|one| cards.card(&one.picture, None)).collect();
    html! {
        @if common.is_empty() {
            p.absent { "These runs were evaluated on different pictures." }
        } @else {
            p.note {
                (shown.len()) " of " (common.len()) " test pictures. The number is the caption's "
                (metric(cards.evaluated)) ". " mark { "Marked" } " words are in no human caption of the picture."
            }
        }
        (missing_data_set(runs, cards.images))
        (not_evaluated(runs))
        @if shown.len() > 1 { (filters(metric(cards.evaluated))) }
        (swipe())
        div.cards.many { @for card in shown { (card) } }
    }
}

/// Returns images from the one that is captioned best to the one that is captioned worst.
pub(super) fn chosen(cards: &mut Cards) -> Markup {
    let evaluated = cards.evaluated;
    let metric = metric(evaluated);
    let total = |one: &Captioned| {
        let scores =
            evaluated.iter().filter_map(|(.., all)| all.of(&one.picture)?.scores.get(metric));
        scores.sum::<f64>()
    };
    let mut common: Vec<(f64, &Captioned)> =
        common(evaluated).into_iter().map(|one| (total(one), one)).collect();
    common.sort_by(|a, b| b.0.total_cmp(&a.0));
    let count = common.len();
    let places = spread(&(0..count).collect::<Vec<_>>(), CHOSEN - 1).into_iter();
    let places = places.chain((count > CHOSEN - 1).then(|| count - 1));
    let shown: Vec<Markup> = places
        .map(|place| {
            let rank = match place {
                0 => format!("captioned best of {count}"),
                _ if place + 1 == count => format!("captioned worst of {count}"),
                _ => format!("rank {} of {count}", place + 1),
            };
            cards.card(&common[place].1.picture, Some(&rank))
        })
        .collect();
    html! {
        @if !shown.is_empty() {
            section #chosen {
                h2 { "From the best captions to the worst" }
                p.note {
                    (shown.len()) " test pictures at equal distances in the order of their " (metric)
                    ", averaged over all systems: successes and failures alike. "
                    mark { "Marked" } " words are in no human caption of the picture. A click on a picture shows everything about it."
                }
                (swipe())
                div.cards.chosen { @for card in shown { (card) } }
            }
        }
    }
}

/// Returns the note on cards that phones show as strips.
fn swipe() -> Markup {
    html! { p.note.swipe { "Swipe a picture to the left for its captions." } }
}

/// Returns the metric that orders and marks the captions.
fn metric(evaluated: &[Evaluated]) -> &'static str {
    evaluated.first().and_then(|(.., one)| ranking(one).first().copied()).unwrap_or("CIDEr")
}

/// Returns the captions by the first evaluation of images that all have captioned.
fn common<'a>(evaluated: &[Evaluated<'a>]) -> Vec<&'a Captioned> {
    let Some((.., first)) = evaluated.first() else { return Vec::new() };
    let in_all =
        |one: &&Captioned| evaluated.iter().all(|(.., all)| all.of(&one.picture).is_some());
    first.captions.iter().filter(in_all).collect()
}

fn missing_data_set(runs: &[Run], images: &RunImages) -> Markup {
    html! {
        @if let Some(data_set) = images.missing_data_set(runs) {
            p.absent { "The data set " code { (data_set.display()) } " does not exist, so its pictures are missing." }
        }
    }
}

/// Returns the controls by which the page's script chooses among the cards and orders them.
fn filters(metric: &str) -> Markup {
    html! {
        form.filters hidden {
            label { "Word " input name="word" type="search" placeholder="such as dog" autocomplete="off"; }
            (fifths("mean", metric))
            (fifths("spread", "Disagreement"))
            label {
                "Order "
                select name="order" {
                    option value="" { "as in the test set" }
                    option value="spread" { "systems disagree most" }
                    option value="mean" { "highest " (metric) }
                    option value="-mean" { "lowest " (metric) }
                }
            }
            output {}
        }
    }
}

/// Returns a list that chooses cards by a number of theirs.
fn fifths(key: &str, title: &str) -> Markup {
    html! {
        label {
            (title) " "
            select name=(key) {
                option value="" { "any" }
                option value="high" { "highest fifth" }
                option value="low" { "lowest fifth" }
            }
        }
    }
}

/// Returns at most `most` of all items, evenly spaced.
fn spread<T: Copy>(all: &[T], most: usize) -> Vec<T> {
    let count = all.len().min(most);
    (0..count).map(|number| all[number * all.len() / count]).collect()
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
