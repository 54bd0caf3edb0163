//! Keywords from which SBG captioned.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use super::parts::name;
use crate::run::Run;

/// Maximum number of words in a cloud.
const WORDS: usize = 120;
/// Smallest and largest text size, in `rem`.
const SIZES: [f64; 2] = [0.8, 2.4];

pub(super) fn section(runs: &[Run]) -> Markup {
    html! {
        @for (names, run) in by_file(runs) {
            @let counted = counted(run);
            @if !counted.is_empty() {
                details {
                    summary {
                        (counted.len()) " distinct keywords of the test pictures, from which "
                        @for (number, text) in &names { (name(*number, text)) " " }
                        "captions"
                    }
                    p.note { "A larger word is a keyword of more pictures." }
                    (cloud(&counted))
                }
            }
        }
    }
}

/// Returns, for each keywords file, the names of its evaluated runs and one of these runs.
fn by_file(runs: &[Run]) -> Vec<(Vec<(usize, &str)>, &Run)> {
    let mut files: Vec<(Vec<(usize, &str)>, &Run)> = Vec::new();
    for (number, run) in runs.iter().enumerate().filter(|(_, run)| run.main().is_some()) {
        let Some(keywords) = &run.keywords else { continue };
        let same = files.iter_mut().find(|(_, other)| {
            other.keywords.as_ref().is_some_and(|other| other.sha256() == keywords.sha256())
        });
        match same {
            Some((names, _)) => names.push((number, &run.name)),
            None => files.push((vec![(number, &run.name)], run)),
        }
    }
    files
}

/// Returns words and the number of test images that have them, most frequent first.
fn counted(run: &Run) -> Vec<(&str, usize)> {
    let (Some(keywords), Some(evaluation)) = (&run.keywords, run.main()) else { return Vec::new() };
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for one in &evaluation.captions {
        let words: BTreeSet<&str> = keywords
            .of(&one.picture)
            .unwrap_or_default()
            .iter()
            .map(|keyword| keyword.word.as_str())
            .collect();
        for word in words {
            *counts.entry(word).or_default() += 1;
        }
    }
    let mut counted: Vec<_> = counts.into_iter().collect();
    counted.sort_by_key(|(word, count)| (std::cmp::Reverse(*count), *word));
    counted
}

fn cloud(counted: &[(&str, usize)]) -> Markup {
    let most = counted.first().map_or(1, |(_, count)| *count);
    html! {
        p.cloud {
            @for (word, count) in counted.iter().take(WORDS) {
                span style={ "font-size:" (format!("{:.2}", size(*count, most))) "rem" }
                    title={ (count) " pictures" } { (word) }
                " "
            }
        }
    }
}

/// Returns the text size of a word, by the logarithm of its count.
fn size(count: usize, most: usize) -> f64 {
    let share = if most > 1 { (count as f64).ln() / (most as f64).ln() } else { 0.0 };
    SIZES[0] + share * (SIZES[1] - SIZES[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_grow_with_the_logarithm_of_their_frequency() {
        assert!((size(1, 100) - SIZES[0]).abs() < 1e-12);
        assert!((size(10, 100) - f64::midpoint(SIZES[0], SIZES[1])).abs() < 1e-12);
        assert!((size(100, 100) - SIZES[1]).abs() < 1e-12);
        assert!((size(1, 1) - SIZES[0]).abs() < 1e-12);
    }
}
