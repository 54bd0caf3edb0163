//! Best and worst captions by score.

use std::cmp::Ordering;

use maud::{Markup, html};

use super::parts::{name, ranking};
use crate::run::{Captioned, Evaluation, Run};
use crate::sections::images::RunImages;

/// Number of captions in each list.
const CARDS: usize = 4;

pub(super) fn section(runs: &[Run], images: &mut RunImages) -> Markup {
    let mut parts = Vec::new();
    for (number, run) in runs.iter().enumerate() {
        if let Some(evaluation) = run.main() {
            parts.push(run_captions(number, run, evaluation, images));
        }
    }
    html! { @for part in parts { (part) } }
}

fn run_captions(
    number: usize,
    run: &Run,
    evaluation: &Evaluation,
    images: &mut RunImages,
) -> Markup {
    let by = ranking(evaluation);
    let mut ordered: Vec<&Captioned> = evaluation.captions.iter().collect();
    ordered.sort_by(|a, b| compare(b, a, &by));
    let count = CARDS.min(ordered.len().div_ceil(2));
    let best: Vec<Markup> =
        ordered.iter().take(count).map(|one| card(run, one, &by, images)).collect();
    let worst = ordered.iter().skip(count).rev().take(count);
    let worst: Vec<Markup> = worst.map(|one| card(run, one, &by, images)).collect();
    html! {
        h3 { (name(number, &evaluation.label(&run.name))) }
        @for (title, cards) in [("Best", best), ("Worst", worst)] {
            @if !cards.is_empty() {
                h4 { (title) @if let Some(score) = by.first() { " by " (score) } }
                div.cards.few { @for card in cards { (card) } }
            }
        }
    }
}

fn compare(a: &Captioned, b: &Captioned, by: &[&str]) -> Ordering {
    let score = |one: &Captioned, name: &str| one.scores.get(name).copied().unwrap_or(0.0);
    by.iter().fold(Ordering::Equal, |order, name| {
        order.then_with(|| score(a, name).total_cmp(&score(b, name)))
    })
}

fn card(run: &Run, one: &Captioned, by: &[&str], images: &mut RunImages) -> Markup {
    let image = images.picture(run, one);
    html! {
        article.card {
            (image)
            div.text {
                div.caption {
                    @if let Some(score) = by.first().and_then(|name| one.scores.get(*name)) {
                        span.score title=(score) { (format!("{score:.3}")) }
                    }
                    p { (one.caption) }
                }
                details {
                    summary { "references" }
                    ul { @for reference in &one.references { li { (reference) } } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_of_one_score_are_compared_by_the_next() {
        let captioned = |cider: f64, rouge: f64| Captioned {
            picture: String::new(),
            caption: String::new(),
            references: Vec::new(),
            scores: [("CIDEr".to_owned(), cider), ("ROUGE_L".to_owned(), rouge)].into(),
        };
        let by = ["CIDEr", "ROUGE_L"];
        assert_eq!(compare(&captioned(0.0, 0.2), &captioned(0.0, 0.1), &by), Ordering::Greater);
        assert_eq!(compare(&captioned(0.0, 0.2), &captioned(0.1, 0.1), &by), Ordering::Less);
    }
}
