//! N-grams of one to four words, counted once for BLEU and CIDEr.
//!
//! The n-grams of an image's captions are numbered among themselves, which any thread can do alone, and only then
//! looked up among those of all images' references.

use std::ops::Range;

use rustc_hash::FxHashMap;

use crate::words::Caption;

/// The longest n-gram that BLEU-4 and CIDEr count.
pub(crate) const ORDER: usize = 4;

/// An n-gram and how often a caption holds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    /// Its number among those of the image.
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
    /// The n-grams of `n` words, `n` from 1.
    pub(crate) fn of_length(&self, n: usize) -> &[Count] {
        &self.counts[self.range(n)]
    }

    /// All n-grams.
    pub(crate) fn all(&self) -> &[Count] {
        &self.counts
    }

    /// Where the n-grams of `n` words stand within [`all`](Self::all).
    pub(crate) fn range(&self, n: usize) -> Range<usize> {
        self.starts[n - 1] as usize..self.starts[n] as usize
    }
}

/// What a single word extends.
const NOTHING: u32 = u32::MAX;
/// An n-gram that no reference holds, and all that extend it.
const UNKNOWN: u32 = u32::MAX - 1;

/// An n-gram as the one without its last word, and its last word.
type Parts = (u32, u32);

/// The distinct n-grams of one image's captions.
#[derive(Default)]
pub(crate) struct ImageGrams {
    ids: FxHashMap<Parts, u32>,
    /// Each after those that it extends.
    parts: Vec<Parts>,
    /// Of each, the caption that held it last, and where in that caption's counts it stands.
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
        // prefixes[i]: the n-gram of the length before that starts at word i.
        let mut prefixes = vec![NOTHING; words.len()];
        for (n, start) in (1..).zip(&mut starts[1..]) {
            prefixes.truncate((words.len() + 1).saturating_sub(n));
            for (prefix, &word) in prefixes.iter_mut().zip(words.iter().skip(n - 1)) {
                let gram = self.gram((*prefix, word));
                *prefix = gram;
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

    fn gram(&mut self, parts: Parts) -> u32 {
        let next = self.parts.len() as u32;
        let gram = *self.ids.entry(parts).or_insert(next);
        if gram == next {
            self.parts.push(parts);
            self.last.push((NOTHING, 0));
        }
        gram
    }

    /// The numbers of all n-grams elsewhere, where `number` gives that of an n-gram's parts.
    fn numbered(&self, mut number: impl FnMut(Parts) -> u32) -> Vec<u32> {
        let mut numbers: Vec<u32> = Vec::with_capacity(self.parts.len());
        for &(prefix, word) in &self.parts {
            let prefix = numbers.get(prefix as usize).copied().unwrap_or(NOTHING);
            numbers.push(number((prefix, word)));
        }
        numbers
    }
}

/// In how many images' references each n-gram occurs.
#[derive(Default)]
pub(crate) struct DocumentFrequencies {
    ids: FxHashMap<Parts, u32>,
    frequencies: Vec<u32>,
}

impl DocumentFrequencies {
    /// Adds the n-grams of an image's references.
    pub(crate) fn add(&mut self, references: &ImageGrams) {
        references.numbered(|parts| {
            let next = self.frequencies.len() as u32;
            let gram = *self.ids.entry(parts).or_insert(next);
            if gram == next {
                self.frequencies.push(0);
            }
            self.frequencies[gram as usize] += 1;
            gram
        });
    }

    /// Whether no reference holds a word.
    pub(crate) fn is_empty(&self) -> bool {
        self.frequencies.is_empty()
    }

    /// Of each of an image's n-grams, in how many images' references it occurs.
    pub(crate) fn of(&self, image: &ImageGrams) -> impl Iterator<Item = u32> {
        let ids = image.numbered(|parts| self.ids.get(&parts).copied().unwrap_or(UNKNOWN));
        ids.into_iter().map(|id| self.frequencies.get(id as usize).copied().unwrap_or_default())
    }
}
