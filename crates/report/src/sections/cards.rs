//! A card: an image and its captions, with all that is known of it.

use std::collections::HashSet;

use maud::{Markup, html};

use super::human::HumanCaptions;
use super::images::RunImages;
use super::parts::{Evaluated, name, ranking};
use crate::run::{Captioned, Run};

/// Captions, references and images that the cards of a section share.
pub(super) struct Cards<'a, 'p> {
    /// Evaluations whose captions are shown.
    pub evaluated: &'a [Evaluated<'a>],
    pub human: &'a HumanCaptions<'a>,
    pub images: &'p mut RunImages,
}

impl Cards<'_, '_> {
    /// Returns the card of an image; `rank` is a note above the captions.
    pub fn card(&mut self, picture: &str, rank: Option<&str>) -> Markup {
        let captions: Vec<(&Evaluated, &Captioned)> = self
            .evaluated
            .iter()
            .filter_map(|evaluated| Some((evaluated, evaluated.2.of(picture)?)))
            .collect();
        let Some(&((_, run, evaluation), first)) = captions.first() else { return html! {} };
        let image = self.images.picture(run, first);
        let metric = ranking(evaluation).first().copied();
        let score = |one: &Captioned| metric.and_then(|name| one.scores.get(name).copied());
        let scores: Vec<f64> = captions.iter().filter_map(|(_, one)| score(one)).collect();
        html! {
            article.card data-mean=[mean(&scores)] data-spread=[range(&scores)] {
                (image)
                div.text {
                    @if let Some(rank) = rank { p.rank { (rank) } }
                    @if let Some(human) = self.human.best(picture) {
                        div.caption.human { span.run { "a person" } p { (human) } }
                    }
                    @for (place, ((number, run, evaluation), one)) in captions.iter().enumerate() {
                        div.caption {
                            (name(*number, &evaluation.label(&run.name)))
                            @if let (Some(metric), Some(score)) = (metric, score(one)) {
                                span.score title=(metric) { (format!("{score:.2}")) }
                            }
                            p { (marked(&one.caption, &one.references)) }
                            // Below the last of a run's captions.
                            @if captions.get(place + 1).is_none_or(|next| next.0.0 != *number) {
                                (keywords(run, picture))
                            }
                        }
                    }
                    (everything(picture, &captions, &first.references))
                }
            }
        }
    }
}

fn mean(scores: &[f64]) -> Option<f64> {
    (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64)
}

fn range(scores: &[f64]) -> Option<f64> {
    let most = scores.iter().copied().reduce(f64::max)?;
    Some(most - scores.iter().copied().reduce(f64::min)?)
}

/// Returns a caption in which the words that no reference has are marked.
fn marked(caption: &str, references: &[String]) -> Markup {
    let known: HashSet<String> =
        references.iter().flat_map(|text| text.split_whitespace()).map(bare).collect();
    let words = caption.split_whitespace().map(|word| (word, bare(word)));
    html! {
        @for (number, (word, bare)) in words.enumerate() {
            @if number > 0 { " " }
            @if bare.is_empty() || known.contains(&bare) { (word) } @else { mark { (word) } }
        }
    }
}

/// Returns a word without case and the punctuation around it.
fn bare(word: &str) -> String {
    word.trim_matches(|letter: char| !letter.is_alphanumeric()).to_lowercase()
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

/// Returns the references and all scores in a collapsed list.
fn everything(
    picture: &str,
    captions: &[(&Evaluated, &Captioned)],
    references: &[String],
) -> Markup {
    const SHOWN: [&str; 4] = ["BLEU-4", "METEOR", "ROUGE_L", "CIDEr"];
    let is_scored =
        |metric: &&str| captions.iter().any(|(_, one)| one.scores.contains_key(*metric));
    let metrics: Vec<&str> = SHOWN.into_iter().filter(is_scored).collect();
    html! {
        details {
            summary { "all references and scores" }
            ul { @for reference in references { li { (reference) } } }
            @if metrics.len() > 1 {
                div.scroll tabindex="0" {
                    table {
                        thead {
                            tr {
                                th scope="col" { "caption of" }
                                @for metric in &metrics { th.number scope="col" { (metric) } }
                            }
                        }
                        tbody {
                            @for ((number, run, evaluation), one) in captions {
                                tr {
                                    td { (name(*number, &evaluation.label(&run.name))) }
                                    @for metric in &metrics {
                                        td.number {
                                            @match one.scores.get(*metric) {
                                                Some(score) => { (format!("{score:.3}")) }
                                                None => { "–" }
                                            }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
            p.file { code { (picture) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_no_reference_has_are_marked_whatever_their_case() {
        let references = ["A dog runs.".to_owned(), "the Dog , outside".to_owned()];
        let text = marked("A dog & a <cat> , outside .", &references).into_string();
        assert_eq!(text, "A dog &amp; a <mark>&lt;cat&gt;</mark> , outside .");
    }

    #[test]
    fn disagreement_is_the_distance_of_the_best_and_the_worst_score() {
        assert_eq!((mean(&[1.0, 3.0]), range(&[1.0, 4.0, 2.0])), (Some(2.0), Some(3.0)));
        assert_eq!((mean(&[]), range(&[])), (None, None));
    }
}
