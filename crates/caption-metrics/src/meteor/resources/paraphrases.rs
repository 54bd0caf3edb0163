//! The paraphrase table: phrases as a trie over words, and for each source its targets.
//!
//! A phrase is its node in the trie. Nodes are numbered level by level, so that the children of a
//! node are neighbours in ascending order of their last words. Words are numbered in text order.

use std::ops::Range;

use super::layout::{Numbers, RankedBits, Strings};

/// The longest phrase of the table, in words.
pub(in super::super) const LONGEST_PHRASE: usize = 7;

/// The paraphrase table in the mapped file.
#[derive(Clone, Copy)]
pub(in super::super) struct Paraphrases<'a> {
    pub(super) words: Strings<'a>,
    /// The last word of every node.
    pub(super) last_words: Numbers<'a, 2>,
    /// The nodes with children, and the start of the r-th one's children; one more than there are
    /// such nodes, and before all the number of nodes of one word.
    pub(super) parents: RankedBits<'a>,
    pub(super) children: Numbers<'a, 3>,
    /// The nodes that are sources, and the start of the r-th one's targets.
    pub(super) sources: RankedBits<'a>,
    pub(super) target_starts: Numbers<'a, 3>,
    /// Targets, ascending for each source.
    pub(super) targets: Numbers<'a, 3>,
}

impl<'a> Paraphrases<'a> {
    /// Returns the number of a word.
    pub(in super::super) fn word(&self, word: &str) -> Option<u16> {
        self.words.position(word).and_then(|at| u16::try_from(at).ok())
    }

    /// Returns the phrase of one word, or that starts with it.
    pub(in super::super) fn start(&self, word: u16) -> Option<u32> {
        self.child(0..self.children.get(0)?, word)
    }

    /// Returns the phrase that is `phrase` and one more word, or that starts so.
    pub(in super::super) fn extend(&self, phrase: u32, word: u16) -> Option<u32> {
        let rank = self.parents.rank(phrase)? as usize;
        self.child(self.children.get(rank)?..self.children.get(rank + 1)?, word)
    }

    fn child(&self, children: Range<u32>, word: u16) -> Option<u32> {
        let at = self.last_words.slice(children.clone()).position(u32::from(word))?;
        Some(children.start + at as u32)
    }

    /// Returns the paraphrases of a phrase.
    pub(in super::super) fn targets(&self, phrase: u32) -> Option<Targets<'a>> {
        let rank = self.sources.rank(phrase)? as usize;
        let range = self.target_starts.get(rank)?..self.target_starts.get(rank + 1)?;
        Some(Targets(self.targets.slice(range)))
    }
}

/// The paraphrases of one phrase.
#[derive(Clone, Copy)]
pub(in super::super) struct Targets<'a>(Numbers<'a, 3>);

impl Targets<'_> {
    pub(in super::super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(in super::super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter()
    }

    pub(in super::super) fn contains(&self, phrase: u32) -> bool {
        self.0.position(phrase).is_some()
    }
}
