//! Captions as numbers: every distinct word gets an integer, once.
//!
//! BLEU and CIDEr of pycocoevalcap split as Python's `str.split()` does, ROUGE-L at every single
//! space. For nearly all captions the two give the same words.

use rustc_hash::FxHashMap;

/// What Python's `str.isspace` calls white space.
#[must_use]
pub fn is_python_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

/// The words of a caption as Python's `str.split()` gives them.
pub fn split_like_python(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_python_space).filter(|word| !word.is_empty())
}

/// Distinct words and their numbers.
#[derive(Debug, Default)]
pub(crate) struct Vocabulary {
    ids: FxHashMap<Box<str>, u32>,
}

impl Vocabulary {
    fn id(&mut self, word: &str) -> u32 {
        if let Some(&id) = self.ids.get(word) {
            return id;
        }
        let id = self.ids.len() as u32;
        self.ids.insert(word.into(), id);
        id
    }

    /// The caption's words, both ways of splitting.
    pub(crate) fn caption(&mut self, text: &str) -> Caption {
        let words: Vec<u32> = split_like_python(text).map(|word| self.id(word)).collect();
        let spaced: Vec<u32> = text.split(' ').map(|word| self.id(word)).collect();
        let spaced = if spaced == words { None } else { Some(spaced) };
        Caption { words, spaced }
    }
}

/// One caption's words as numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caption {
    words: Vec<u32>,
    /// Only where splitting at single spaces gives something else.
    spaced: Option<Vec<u32>>,
}

impl Caption {
    /// Split at runs of white space, for BLEU and CIDEr.
    pub(crate) fn words(&self) -> &[u32] {
        &self.words
    }

    /// Split at every single space, empty words included, for ROUGE-L.
    pub(crate) fn spaced(&self) -> &[u32] {
        self.spaced.as_deref().unwrap_or(&self.words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitting_follows_python() {
        let text = "\u{1c}a\u{a0}b\u{200b}c\u{2003}d\u{85}e\u{1f} f\t\n";
        let words: Vec<_> = split_like_python(text).collect();
        assert_eq!(words, ["a", "b\u{200b}c", "d", "e", "f"]);
    }

    #[test]
    fn a_double_space_is_an_empty_word_for_rouge_only() {
        let mut vocabulary = Vocabulary::default();
        let caption = vocabulary.caption("a  dog");
        assert_eq!(caption.words(), [0, 1]);
        assert_eq!(caption.spaced(), [0, 2, 1]);
        assert_eq!(vocabulary.caption("").spaced(), [2]);
    }
}
