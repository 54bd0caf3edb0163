//! Whole words and their numbers, for captioners that do not split words: Merge-RNN's.
//!
//! Words are Karpathy's (`neuraltalk`): a caption lower-cased, ASCII punctuation removed, split at
//! white space. So `t-shirt` is the word `tshirt`.

use std::collections::HashMap;
use std::path::Path;

use crate::TokenizerError;
use crate::folder;

/// The words that a captioner knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    words: Vec<String>,
    ids: HashMap<String, i64>,
}

impl Vocabulary {
    /// The number that begins and ends a caption.
    pub const EDGE: i64 = 0;
    /// The number of all words that are not known.
    pub const UNKNOWN: i64 = 1;
    /// The number of the first word.
    const FIRST: i64 = 2;

    /// The words that the captions have at least `min_frequency` times, the most frequent first, of
    /// equally frequent ones by alphabet.
    #[must_use]
    pub fn new<S: AsRef<str>>(captions: &[S], min_frequency: u64) -> Self {
        let mut counts: HashMap<String, u64> = HashMap::new();
        for word in captions.iter().flat_map(|caption| words(caption.as_ref())) {
            *counts.entry(word).or_default() += 1;
        }
        let mut known: Vec<(String, u64)> =
            counts.into_iter().filter(|(_, count)| *count >= min_frequency).collect();
        known.sort_by(|(a, more), (b, less)| less.cmp(more).then_with(|| a.cmp(b)));
        Self::of(known.into_iter().map(|(word, _)| word).collect())
    }

    fn of(words: Vec<String>) -> Self {
        let ids = words.iter().cloned().zip(Self::FIRST..).collect();
        Self { words, ids }
    }

    /// Reads a JSON list of words.
    ///
    /// # Errors
    /// Names the file when it cannot be read, is no list of words, or has a word twice.
    pub fn open(path: &Path) -> Result<Self, TokenizerError> {
        let list = folder::read_json(path)?;
        let words: Vec<String> = serde_json::from_value(list)
            .map_err(|error| folder::invalid(path, format!("no list of words: {error}")))?;
        let count = words.len();
        let vocabulary = Self::of(words);
        if vocabulary.ids.len() < count {
            return Err(folder::invalid(path, "a word is in it twice".to_owned()));
        }
        Ok(vocabulary)
    }

    /// Writes the words as a JSON list, all or nothing.
    ///
    /// # Errors
    /// Names the file.
    pub fn save(&self, path: &Path) -> Result<(), TokenizerError> {
        let mut json = serde_json::to_string_pretty(&self.words)
            .map_err(|error| folder::invalid(path, error.to_string()))?;
        json.push('\n');
        Ok(durable::write(path, json.as_bytes())?)
    }

    /// How many numbers there are: the words, and the two that are none.
    #[must_use]
    pub fn size(&self) -> usize {
        self.words.len() + Self::FIRST as usize
    }

    /// The numbers of a caption's words, without its edges.
    #[must_use]
    pub fn encode(&self, caption: &str) -> Vec<i64> {
        words(caption).map(|word| *self.ids.get(&word).unwrap_or(&Self::UNKNOWN)).collect()
    }

    /// The words of numbers, joined by spaces; what is no word is left out.
    #[must_use]
    pub fn decode(&self, ids: &[i64]) -> String {
        let places = ids.iter().filter_map(|id| usize::try_from(id - Self::FIRST).ok());
        let words: Vec<&str> =
            places.filter_map(|place| self.words.get(place)).map(String::as_str).collect();
        words.join(" ")
    }
}

/// Karpathy's words of a caption.
fn words(caption: &str) -> impl Iterator<Item = String> {
    let plain: String = caption
        .to_lowercase()
        .chars()
        .filter(|character| !character.is_ascii_punctuation())
        .collect();
    plain.split_whitespace().map(str::to_owned).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPTIONS: [&str; 3] =
        ["A man in a T-shirt .", "A dog runs, and a man runs .", "two dogs (and a man)"];

    #[test]
    fn words_are_lower_case_without_punctuation() {
        let words: Vec<String> = words("A \"man\" in a T-shirt , isn't here .").collect();
        assert_eq!(words, ["a", "man", "in", "a", "tshirt", "isnt", "here"]);
    }

    #[test]
    fn rare_words_are_unknown_and_frequent_ones_come_first() {
        let vocabulary = Vocabulary::new(&CAPTIONS, 2);
        assert_eq!(vocabulary.words, ["a", "man", "and", "runs"]);
        assert_eq!(vocabulary.size(), 6);
        assert_eq!(vocabulary.encode("a cat runs and a man"), [2, 1, 5, 4, 2, 3]);
        assert_eq!(vocabulary.decode(&[0, 2, 1, 5, 4, 99, 3, 0]), "a runs and man");
    }

    #[test]
    fn a_saved_vocabulary_is_read_back_and_a_damaged_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("words.json");
        let vocabulary = Vocabulary::new(&CAPTIONS, 1);
        vocabulary.save(&path).unwrap();
        assert_eq!(Vocabulary::open(&path).unwrap(), vocabulary);
        for text in [r#"["a", "b", "a"]"#, r#"{"a": 1}"#, r#"["a", "#] {
            std::fs::write(&path, text).unwrap();
            let error = Vocabulary::open(&path).unwrap_err().to_string();
            assert!(error.contains("words.json"), "{error}");
        }
    }
}
