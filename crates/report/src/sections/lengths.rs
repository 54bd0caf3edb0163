//! Lengths of captions.

use std::collections::BTreeMap;

use maud::{Markup, html};

use crate::plot::{Bars, histogram};
use crate::run::Run;

pub(super) fn section(runs: &[Run]) -> Markup {
    let mut series =
        vec![Bars { name: "references".to_owned(), colour: None, counts: references(runs) }];
    for (number, run) in runs.iter().enumerate() {
        if let Some(evaluation) = run.main() {
            let counts = counts(evaluation.captions.iter().map(|one| one.caption.as_str()));
            series.push(Bars { name: evaluation.label(&run.name), colour: Some(number), counts });
        }
    }
    html! {
        @if series.len() > 1 {
            p.note { "Share of captions with each number of words, in percent; punctuation does not count as words." }
            div.charts.wide { (histogram("Share of captions, %", "words", &series)) }
        }
    }
}

/// Returns the length counts of the evaluated images' references, counting each image once.
fn references(runs: &[Run]) -> Vec<usize> {
    let captions = runs.iter().filter_map(Run::main).flat_map(|one| &one.captions);
    let by_picture: BTreeMap<&str, &[String]> =
        captions.map(|one| (one.picture.as_str(), &one.references[..])).collect();
    counts(by_picture.values().flat_map(|references| references.iter().map(String::as_str)))
}

/// Returns the number of captions of each length in words.
fn counts<'a>(captions: impl Iterator<Item = &'a str>) -> Vec<usize> {
    let mut counts = Vec::new();
    for caption in captions {
        let words = words(caption);
        if counts.len() <= words {
            counts.resize(words + 1, 0);
        }
        counts[words] += 1;
    }
    counts
}

fn words(caption: &str) -> usize {
    caption.split_whitespace().filter(|word| word.contains(char::is_alphanumeric)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn punctuation_is_no_word() {
        assert_eq!(counts(["a dog runs .", "a cat", "", "- ."].into_iter()), [2, 0, 1, 1]);
    }
}
