//! N-grams of one to four words, counted once for BLEU and CIDEr.
//!
//! The n-grams of an image's captions are numbered among themselves, which any thread can do alone,
//! and only then looked up among those of all images' references.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::interner::{Interner, PairInterner};
use crate::words::Caption;

/// The longest n-gram that BLEU-4 and CIDEr count.
pub(crate) const ORDER: usize = 4;

/// An n-gram of a caption with its count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    /// The n-gram's number among those of the image.
    pub(crate) gram: u32,
    pub(crate) count: u32,
}

/// The n-grams of one caption: by length, and within a length by first occurrence, which is the
/// order of a Python dictionary and therefore the order of pycocoevalcap's sums.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    counts: Vec<Count>,
    starts: [u32; ORDER + 1],
}

impl Counts {
    /// Returns the n-grams of `n` words, `n` from 1.
    pub(crate) fn of_length(&self, n: usize) -> &[Count] {
        &self.counts[self.range(n)]
    }

    /// Returns all n-grams.
    pub(crate) fn all(&self) -> &[Count] {
        &self.counts
    }

    /// Returns the positions of the n-grams of `n` words within [`all`](Self::all).
    pub(crate) fn range(&self, n: usize) -> Range<usize> {
        self.starts[n - 1] as usize..self.starts[n] as usize
    }
}

/// The prefix of a single word.
const NO_PREFIX: u32 = u32::MAX;
/// The number of an n-gram that no reference holds, and of all that extend it.
const UNKNOWN: u32 = u32::MAX - 1;
/// An n-gram as the number of the one without its last word, and its last word.
type Parts = (u32, u32);

/// The distinct n-grams of one image's captions.
#[derive(Default)]
pub(crate) struct ImageGrams {
    /// Each n-gram comes after those that it extends.
    grams: PairInterner,
    /// For each n-gram the last caption with it, and its position in that caption's counts.
    last: Vec<(u32, u32)>,
    captions: u32,
}

impl ImageGrams {
    /// Counts the n-grams of a caption of the image.
    pub(crate) fn count(&mut self, caption: &Caption) -> Counts {
        let words = caption.words();
        let this = self.captions;
        self.captions += 1;
        let mut counts: Vec<Count> = Vec::with_capacity(words.len() * ORDER);
        let mut starts = [0; ORDER + 1];
        // prefixes[i] is the n-gram of the length before that starts at word i.
        let mut prefixes = vec![NO_PREFIX; words.len()];
        for (n, start) in (1..).zip(&mut starts[1..]) {
            prefixes.truncate((words.len() + 1).saturating_sub(n));
            for (prefix, &word) in prefixes.iter_mut().zip(words.iter().skip(n - 1)) {
                let gram = self.grams.intern((*prefix, word));
                *prefix = gram;
                if gram as usize == self.last.len() {
                    self.last.push((u32::MAX, 0));
                }
                let (caption, position) = &mut self.last[gram as usize];
                if *caption == this {
                    counts[*position as usize].count += 1;
                } else {
                    (*caption, *position) = (this, counts.len() as u32);
                    counts.push(Count { gram, count: 1 });
                }
            }
            *start = counts.len() as u32;
        }
        Counts { counts, starts }
    }

    /// Returns the numbers of all n-grams elsewhere, where `number` numbers an n-gram's parts.
    fn numbered(&self, mut number: impl FnMut(Parts) -> u32) -> Vec<u32> {
        let mut numbers: Vec<u32> = Vec::with_capacity(self.grams.pairs().len());
        for &(prefix, word) in self.grams.pairs() {
            let prefix = numbers.get(prefix as usize).copied().unwrap_or(NO_PREFIX);
            numbers.push(number((prefix, word)));
        }
        numbers
    }
}

/// For each n-gram the number of images whose references hold it.
#[derive(Default)]
pub(crate) struct DocumentFrequencies {
    grams: PairInterner,
    frequencies: Vec<u32>,
}

impl DocumentFrequencies {
    /// Adds the n-grams of an image's references.
    pub(crate) fn add(&mut self, references: &ImageGrams) {
        references.numbered(|parts| {
            let gram = self.grams.intern(parts);
            if gram as usize == self.frequencies.len() {
                self.frequencies.push(0);
            }
            self.frequencies[gram as usize] += 1;
            gram
        });
    }

    /// Enters an n-gram with the number of images whose references hold it.
    pub(crate) fn insert(&mut self, words: impl Iterator<Item = u32>, frequency: u32) {
        let mut gram = NO_PREFIX;
        for word in words {
            gram = self.grams.intern((gram, word));
            if gram as usize == self.frequencies.len() {
                self.frequencies.push(0);
            }
        }
        if let Some(entry) = self.frequencies.get_mut(gram as usize) {
            *entry = frequency;
        }
    }

    /// Returns every n-gram's words, with single spaces between them, and its number of images.
    pub(crate) fn named(&self, vocabulary: &Interner) -> BTreeMap<String, u32> {
        let mut names: Vec<String> = Vec::with_capacity(self.frequencies.len());
        for &(prefix, word) in self.grams.pairs() {
            let word = vocabulary.strings().get(word as usize);
            // An n-gram comes after the one that it extends.
            let name = names.get(prefix as usize).map(|prefix| format!("{prefix} {word}"));
            names.push(name.unwrap_or_else(|| word.to_owned()));
        }
        names.into_iter().zip(self.frequencies.iter().copied()).collect()
    }

    /// Returns whether no reference holds a word.
    pub(crate) fn is_empty(&self) -> bool {
        self.frequencies.is_empty()
    }

    /// Returns for each of an image's n-grams the number of images whose references hold it.
    pub(crate) fn of(&self, image: &ImageGrams) -> impl Iterator<Item = u32> {
        let numbers = image.numbered(|parts| self.grams.find(parts).unwrap_or(UNKNOWN));
        let frequency = |gram: u32| self.frequencies.get(gram as usize).copied();
        numbers.into_iter().map(move |gram| frequency(gram).unwrap_or_default())
    }
}
