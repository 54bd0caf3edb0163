//! The distinct words of captions, with METEOR's knowledge of each.

use rayon::prelude::*;
use rust_stemmers::{Algorithm, Stemmer};
use rustc_hash::FxHashMap;

use super::normalizer;
use super::resources::Resources;

/// The properties that decide whether a word matches another.
#[derive(Clone, Debug)]
pub(super) struct Word {
    /// Java's hash of the word; METEOR takes words with equal hashes for equal.
    pub(super) key: i32,
    /// The hash of its stem.
    pub(super) stem: i32,
    /// The offsets of its `WordNet` synsets, ascending, regardless of part of speech.
    pub(super) synsets: Vec<u32>,
    /// Its number in the paraphrase table's dictionary, which is in text order.
    pub(super) in_phrases: Option<u16>,
    /// The phrase that it is alone, or starts.
    pub(super) phrase: Option<u32>,
    pub(super) is_function: bool,
}

impl Word {
    fn new(resources: &Resources, stemmer: &Stemmer, word: &str) -> Self {
        let paraphrases = resources.paraphrases();
        let in_phrases = paraphrases.word(word);
        Self {
            key: java_hash(word),
            stem: java_hash(&stemmer.stem(word)),
            synsets: resources.synonyms().of(word),
            in_phrases,
            phrase: in_phrases.and_then(|number| paraphrases.start(number)),
            is_function: resources.is_function_word(word),
        }
    }
}

/// A caption as word numbers into a [`Lexicon`].
pub(super) type Sentence = Vec<u32>;

/// The distinct words of a set of captions.
pub(super) struct Lexicon {
    words: Vec<Word>,
}

impl Lexicon {
    /// Normalises captions and looks up their words.
    pub(super) fn new(resources: &Resources, captions: &[&str]) -> (Self, Vec<Sentence>) {
        let normalised: Vec<Vec<String>> = captions
            .par_iter()
            .map(|caption| normalizer::words(caption, resources.prefixes()))
            .collect();
        let mut ids: FxHashMap<&str, u32> = FxHashMap::default();
        let mut distinct: Vec<&str> = Vec::new();
        let sentences = normalised
            .iter()
            .map(|words| {
                words
                    .iter()
                    .map(|word| {
                        *ids.entry(word).or_insert_with(|| {
                            distinct.push(word);
                            distinct.len() as u32 - 1
                        })
                    })
                    .collect()
            })
            .collect();
        let words = distinct
            .par_iter()
            .map_init(
                || Stemmer::create(Algorithm::English),
                |stemmer, word| Word::new(resources, stemmer, word),
            )
            .collect();
        (Self { words }, sentences)
    }

    pub(super) fn word(&self, id: u32) -> &Word {
        &self.words[id as usize]
    }
}

/// Returns `String.hashCode` of Java: over UTF-16 units, wrapping.
fn java_hash(word: &str) -> i32 {
    word.encode_utf16()
        .fold(0, |hash: i32, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

#[cfg(test)]
mod tests {
    use super::java_hash;

    #[test]
    fn hashes_are_javas_collisions_included() {
        assert_eq!(java_hash(""), 0);
        assert_eq!(java_hash("dog"), 99_644);
        assert_eq!(java_hash("an"), java_hash("c0"));
        assert_eq!(java_hash("\u{1f436}"), 0xd83d * 31 + 0xdc36);
    }
}
