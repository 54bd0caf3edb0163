//! Counting of labels: the words of all captions in their base forms.

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;

use crate::analysis::{Word, analyse};
use crate::label::{Label, PartOfSpeech};
use crate::wordnet::{Part, WordNet};

/// Counts the nouns, verbs, adjectives, adverbs and numbers of captions.
///
/// The most frequent labels come first; equally frequent ones are in alphabetical order.
///
/// A word gets the part of speech that it most often has in the captions; its frequency counts all
/// its occurrences. As in the paper's published list, names count as nouns and auxiliaries as
/// verbs. Other words count only if WordNet knows them as something else too: prepositions (`in`,
/// `over`) count as adverbs, and articles and conjunctions (`a`, `while`) as nouns.
#[must_use]
pub fn count<S: AsRef<str> + Sync>(captions: &[S]) -> Vec<Label> {
    let uses = captions.par_iter().flat_map_iter(|caption| analyse(caption.as_ref())).fold(
        HashMap::<String, Uses>::new,
        |mut uses, Word { lemma, tag }| {
            uses.entry(lemma).or_default().add(tag, 1);
            uses
        },
    );
    let uses = uses.reduce(HashMap::new, |mut all, some| {
        for (lemma, uses) in some {
            let total: &mut Uses = all.entry(lemma).or_default();
            uses.by_tag.into_iter().for_each(|(tag, count)| total.add(tag, count));
        }
        all
    });
    let net = WordNet::embedded();
    let mut labels: Vec<Label> = uses
        .into_iter()
        .filter_map(|(word, uses)| {
            let part_of_speech = uses.usual_part_of_speech(&word, net)?;
            let frequency = uses.by_tag.values().sum();
            Some(Label { word, part_of_speech, frequency })
        })
        .collect();
    labels.sort_by(|a, b| b.frequency.cmp(&a.frequency).then_with(|| a.word.cmp(&b.word)));
    labels
}

/// Number of occurrences of a word by tag.
#[derive(Default)]
struct Uses {
    by_tag: HashMap<&'static str, u64>,
}

impl Uses {
    fn add(&mut self, tag: &'static str, count: u64) {
        *self.by_tag.entry(tag).or_default() += count;
    }

    /// Returns the most frequent part of speech, or `None` if the word has none of the five.
    ///
    /// The first in the order of declaration wins among equally frequent ones.
    fn usual_part_of_speech(&self, word: &str, net: &WordNet) -> Option<PartOfSpeech> {
        let mut counts: HashMap<PartOfSpeech, u64> = HashMap::new();
        for (tag, count) in &self.by_tag {
            if let Some(part) = part_of_speech(tag, word, net) {
                *counts.entry(part).or_default() += count;
            }
        }
        let most = counts.values().max()?;
        counts.iter().filter(|(_, count)| *count == most).map(|(part, _)| *part).min()
    }
}

fn part_of_speech(tag: &str, word: &str, net: &WordNet) -> Option<PartOfSpeech> {
    match tag {
        "NOUN" | "PROPN" => Some(PartOfSpeech::Noun),
        "VERB" | "AUX" => Some(PartOfSpeech::Verb),
        "ADJ" => Some(PartOfSpeech::Adj),
        "ADV" => Some(PartOfSpeech::Adv),
        "NUM" => Some(PartOfSpeech::Num),
        "ADP" => net.usual_part(word).map(|_| PartOfSpeech::Adv),
        "DET" | "SCONJ" => net.has(word, Part::Noun).then_some(PartOfSpeech::Noun),
        _ => None,
    }
}

/// Removes labels with a more frequent synonym, such as `kid` if there is `child`.
///
/// Two labels are synonyms if they have the same part of speech and the same most frequent sense in
/// WordNet. `labels` must be sorted with the most frequent first.
#[must_use]
pub fn without_synonyms(labels: Vec<Label>) -> Vec<Label> {
    let net = WordNet::embedded();
    let mut taken = HashSet::new();
    let is_new = |label: &Label| {
        let part = match label.part_of_speech {
            PartOfSpeech::Noun => Part::Noun,
            PartOfSpeech::Verb => Part::Verb,
            PartOfSpeech::Adv => Part::Adverb,
            PartOfSpeech::Adj | PartOfSpeech::Num => Part::Adjective,
        };
        net.senses(&label.word, part).first().is_none_or(|sense| taken.insert((part, *sense)))
    };
    labels.into_iter().filter(is_new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(word: &str, part_of_speech: PartOfSpeech, frequency: u64) -> Label {
        Label { word: word.to_owned(), part_of_speech, frequency }
    }

    #[test]
    fn words_are_counted_in_their_base_forms() {
        let captions =
            ["Two dogs run in the snow .", "A dog is running .", "the dog and the kids , dogs !"];
        let labels = count(&captions);
        let expected = [
            label("dog", PartOfSpeech::Noun, 4),
            label("run", PartOfSpeech::Verb, 2),
            label("a", PartOfSpeech::Noun, 1),
            label("be", PartOfSpeech::Verb, 1),
            label("in", PartOfSpeech::Adv, 1),
            label("kid", PartOfSpeech::Noun, 1),
            label("snow", PartOfSpeech::Noun, 1),
            label("two", PartOfSpeech::Num, 1),
        ];
        assert_eq!(labels, expected);
    }

    #[test]
    fn the_more_frequent_of_two_synonyms_stays() {
        let labels = vec![
            label("child", PartOfSpeech::Noun, 9),
            label("kid", PartOfSpeech::Noun, 8),
            label("kid", PartOfSpeech::Verb, 7),
            label("thorugh", PartOfSpeech::Noun, 2),
            label("whiel", PartOfSpeech::Noun, 1),
        ];
        let kept = without_synonyms(labels.clone());
        assert_eq!(kept, [&labels[..1], &labels[2..]].concat());
    }
}
