//! Whole-word vocabularies, for Merge-RNN, which does not split words.
//!
//! Words are the tokens of Karpathy's data set files; [`karpathy_tokens`] implements their rule.

use std::collections::HashMap;
use std::path::Path;

use crate::TokenizerError;
use crate::json::{invalid, read_json};

/// Whole words and their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    words: Vec<String>,
    ids: HashMap<String, i64>,
}

impl Vocabulary {
    /// Id that begins and ends a caption.
    pub const EDGE: i64 = 0;
    /// Id of all unknown words.
    pub const UNKNOWN: i64 = 1;
    /// Id of the first word.
    const FIRST: i64 = 2;

    /// Builds the vocabulary of the words that occur at least `min_frequency` times in `captions`.
    ///
    /// The most frequent words come first; equally frequent ones are in alphabetical order.
    #[must_use]
    pub fn new<W: AsRef<str>>(captions: &[Vec<W>], min_frequency: u64) -> Self {
        let mut counts: HashMap<&str, u64> = HashMap::new();
        for word in captions.iter().flatten() {
            *counts.entry(word.as_ref()).or_default() += 1;
        }
        let mut known: Vec<(&str, u64)> =
            counts.into_iter().filter(|(_, count)| *count >= min_frequency).collect();
        known.sort_by(|(a, more), (b, less)| less.cmp(more).then_with(|| a.cmp(b)));
        Self::of(known.into_iter().map(|(word, _)| word.to_owned()).collect())
    }

    fn of(words: Vec<String>) -> Self {
        let ids = words.iter().cloned().zip(Self::FIRST..).collect();
        Self { words, ids }
    }

    /// Reads a JSON list of words.
    ///
    /// # Errors
    /// Fails, naming the file, if it cannot be read, is not a list of words, or repeats a word.
    pub fn open(path: &Path) -> Result<Self, TokenizerError> {
        let list = read_json(path)?;
        let words: Vec<String> = serde_json::from_value(list)
            .map_err(|error| invalid(path, format!("no list of words: {error}")))?;
        let count = words.len();
        let vocabulary = Self::of(words);
        if vocabulary.ids.len() < count {
            return Err(invalid(path, "a word is in it twice".to_owned()));
        }
        Ok(vocabulary)
    }

    /// Writes the words as a JSON list, atomically.
    ///
    /// # Errors
    /// Fails, naming the file, if it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), TokenizerError> {
        Ok(durable::write_json(path, &self.words)?)
    }

    /// Returns the number of ids: the words and the two special ids.
    #[must_use]
    pub fn size(&self) -> usize {
        self.words.len() + Self::FIRST as usize
    }

    /// Returns the ids of a caption's words, without its edges.
    #[must_use]
    pub fn encode<W: AsRef<str>>(&self, caption: &[W]) -> Vec<i64> {
        let id = |word: &W| *self.ids.get(word.as_ref()).unwrap_or(&Self::UNKNOWN);
        caption.iter().map(id).collect()
    }

    /// Returns the words of ids, joined by spaces, without the special ids.
    #[must_use]
    pub fn decode(&self, ids: &[i64]) -> String {
        let indices = ids.iter().filter_map(|id| usize::try_from(id - Self::FIRST).ok());
        let words: Vec<&str> =
            indices.filter_map(|index| self.words.get(index)).map(String::as_str).collect();
        words.join(" ")
    }
}

/// Returns the words of a caption as Karpathy's data set files list them in `tokens`.
///
/// The caption is lower-cased, `-` separates words, and of ASCII punctuation only `#`, `&`, `(` and
/// `)` stay: `A T-shirt (it's AT&T's).` becomes `a t shirt (its at&ts)`. On Flickr8k's official
/// training split this gives the vocabulary sizes that the authors of Merge-RNN print.
#[must_use]
pub fn karpathy_tokens(caption: &str) -> Vec<String> {
    let is_kept = |c: &char| !c.is_ascii_punctuation() || matches!(c, '#' | '&' | '(' | ')');
    let plain: String = caption.to_lowercase().replace('-', " ").chars().filter(is_kept).collect();
    plain.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the words of four captions.
    fn captions() -> Vec<Vec<String>> {
        ["A man in a T-shirt .", "A dog runs, and a man runs .", "two dogs ( and a man )", "."]
            .map(karpathy_tokens)
            .to_vec()
    }

    #[test]
    fn tokens_are_those_of_karpathys_files() {
        for (caption, tokens) in [
            ("A \"man\" in a T-shirt , isn't here .", "a man in a t shirt isnt here"),
            ("a man ( left ) & dog # 5", "a man ( left ) & dog # 5"),
            ("(AT&T) sign -- no.1!", "(at&t) sign no1"),
            (
                "black-and-white;dog: 4x4 1/2 $5 50% a_b @c d=e~f^g`h|i\\j[k]{l}<m>*+n?",
                "black and whitedog 4x4 12 5 50 ab c defghijklmn",
            ),
            (
                "CAF\u{c9} \u{201c}dog\u{201d} \u{2013} na\u{ef}ve\u{a0}1",
                "caf\u{e9} \u{201c}dog\u{201d} \u{2013} na\u{ef}ve 1",
            ),
            (" . , - '", ""),
        ] {
            assert_eq!(karpathy_tokens(caption).join(" "), tokens);
        }
    }

    #[test]
    fn rare_words_are_unknown_and_frequent_ones_come_first() {
        let vocabulary = Vocabulary::new(&captions(), 2);
        assert_eq!(vocabulary.words, ["a", "man", "and", "runs"]);
        assert_eq!(vocabulary.size(), 6);
        let caption = karpathy_tokens("a cat runs and a man");
        assert_eq!(vocabulary.encode(&caption), [2, 1, 5, 4, 2, 3]);
        assert_eq!(vocabulary.decode(&[0, 2, 1, 5, 4, 99, 3, 0]), "a runs and man");
    }

    #[test]
    fn a_saved_vocabulary_is_read_back_and_a_damaged_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("words.json");
        let vocabulary = Vocabulary::new(&captions(), 1);
        vocabulary.save(&path).unwrap();
        assert_eq!(Vocabulary::open(&path).unwrap(), vocabulary);
        for text in [r#"["a", "b", "a"]"#, r#"{"a": 1}"#, r#"["a", "#] {
            std::fs::write(&path, text).unwrap();
            let error = Vocabulary::open(&path).unwrap_err().to_string();
            assert!(error.contains("words.json"), "{error}");
        }
    }
}
