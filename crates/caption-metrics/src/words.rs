//! The words of captions, as pycocoevalcap splits them.
//!
//! BLEU and CIDEr split as Python's `str.split()` does, ROUGE-L at every single space. For nearly
//! all captions the two give the same words.

use crate::interner::Interner;

/// Returns whether Python's `str.isspace` calls a character white space.
pub(crate) fn is_python_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

/// One caption's words as numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caption {
    words: Vec<u32>,
    /// Set only where splitting at single spaces gives something else.
    spaced: Option<Vec<u32>>,
}

impl Caption {
    /// Splits a caption both ways.
    pub(crate) fn new(text: &str, vocabulary: &mut Interner) -> Self {
        let mut number = |word| vocabulary.intern(word);
        let spaced = text.split(' ').map(&mut number).collect();
        let is_plain = |word: &str| !word.is_empty() && !word.contains(is_python_space);
        if text.split(' ').all(is_plain) {
            return Self { words: spaced, spaced: None };
        }
        let words = text.split(is_python_space).filter(|word| !word.is_empty());
        Self { words: words.map(number).collect(), spaced: Some(spaced) }
    }

    /// Returns the words between runs of white space, for BLEU and CIDEr.
    pub(crate) fn words(&self) -> &[u32] {
        &self.words
    }

    /// Returns the words between single spaces, empty ones included, for ROUGE-L.
    pub(crate) fn spaced(&self) -> &[u32] {
        self.spaced.as_deref().unwrap_or(&self.words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitting_follows_python() {
        let mut vocabulary = Interner::default();
        let text = "\u{1c}a\u{a0}b\u{200b}c\u{2003}d\u{85}e\u{1f} f\t\n";
        let caption = Caption::new(text, &mut vocabulary);
        let words = caption.words().iter().map(|&word| vocabulary.strings().get(word as usize));
        assert_eq!(words.collect::<Vec<_>>(), ["a", "b\u{200b}c", "d", "e", "f"]);
    }

    #[test]
    fn a_double_space_is_an_empty_word_for_rouge_only() {
        let mut vocabulary = Interner::default();
        let caption = Caption::new("a  dog", &mut vocabulary);
        assert_eq!(caption.spaced(), [0, 1, 2]);
        assert_eq!(caption.words(), [0, 2]);
        assert_eq!(Caption::new("", &mut vocabulary).spaced(), [1]);
    }
}
