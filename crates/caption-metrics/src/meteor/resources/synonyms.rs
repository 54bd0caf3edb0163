//! Synsets of a word in `WordNet`, as METEOR looks them up.

use super::layout::{Numbers, Strings};

/// Words and irregular forms with their synsets, in the mapped file.
#[derive(Clone, Copy)]
pub(in super::super) struct Synonyms<'a> {
    pub(super) words: Strings<'a>,
    /// The start of each word's synsets; one more than there are words.
    pub(super) word_starts: Numbers<'a, 4>,
    pub(super) word_synsets: Numbers<'a, 4>,
    pub(super) forms: Strings<'a>,
    pub(super) form_starts: Numbers<'a, 4>,
    pub(super) form_synsets: Numbers<'a, 4>,
}

/// Endings with their replacements, in the order in which they are tried.
const ENDINGS: [(&str, &str); 20] = [
    ("s", ""),
    ("ses", "s"),
    ("xes", "x"),
    ("zes", "z"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("men", "man"),
    ("ies", "y"),
    ("s", ""),
    ("ies", "y"),
    ("es", "e"),
    ("es", ""),
    ("ed", "e"),
    ("ed", ""),
    ("ing", "e"),
    ("ing", ""),
    ("er", ""),
    ("est", ""),
    ("er", "e"),
    ("est", "e"),
];

impl Synonyms<'_> {
    /// Returns the synsets of a word, ascending: its own, and those of its base forms.
    ///
    /// Nouns, verbs and adjectives with the same offset count as the same synset.
    pub(in super::super) fn of(&self, word: &str) -> Vec<u32> {
        let mut synsets: Vec<u32> =
            self.of_word(word).map(Numbers::iter).into_iter().flatten().collect();
        match self.forms.position(word) {
            Some(form) => synsets.extend(row(self.form_starts, self.form_synsets, form).iter()),
            None => synsets.extend(self.of_base(word).iter()),
        }
        synsets.sort_unstable();
        synsets.dedup();
        synsets
    }

    fn of_word(&self, word: &str) -> Option<Numbers<'_, 4>> {
        self.words.position(word).map(|at| row(self.word_starts, self.word_synsets, at))
    }

    /// Returns the synsets of the first known word that a change of ending makes.
    fn of_base(&self, word: &str) -> Numbers<'_, 4> {
        if word.ends_with("ss") || word.encode_utf16().count() <= 2 {
            return self.of_word(word).unwrap_or(Numbers(&[]));
        }
        ENDINGS
            .iter()
            .filter_map(|(ending, by)| word.strip_suffix(ending).map(|stem| format!("{stem}{by}")))
            .find_map(|base| self.of_word(&base))
            .unwrap_or(Numbers(&[]))
    }
}

fn row<'a>(starts: Numbers<'a, 4>, all: Numbers<'a, 4>, row: usize) -> Numbers<'a, 4> {
    match (starts.get(row), starts.get(row + 1)) {
        (Some(start), Some(end)) => all.slice(start..end),
        _ => Numbers(&[]),
    }
}
