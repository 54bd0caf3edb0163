//! N-grams of one to four words, counted once for BLEU and CIDEr.

use std::ops::Range;

use rustc_hash::FxHashMap;

use crate::words::Caption;

/// The longest n-gram that BLEU-4 and CIDEr count.
pub(crate) const ORDER: usize = 4;

/// An n-gram and how often a caption holds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
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

/// What is known of one distinct n-gram.
struct Gram {
    /// The caption that held it last, and where in that caption's counts it stands.
    caption: u32,
    position: u32,
    /// The image whose references held it last.
    image: u32,
    /// In how many images' references it occurs.
    document_frequency: u32,
}

/// All distinct n-grams of a corpus.
#[derive(Default)]
pub(crate) struct Grams {
    /// (the gram without its last word, the last word) -> gram. A single word extends [`NOTHING`].
    ids: FxHashMap<(u32, u32), u32>,
    known: Vec<Gram>,
    captions: u32,
}

const NOTHING: u32 = u32::MAX;

impl Grams {
    /// Counts the n-grams of a caption.
    pub(crate) fn count(&mut self, caption: &Caption) -> Counts {
        self.count_in(caption, None)
    }

    /// Whether no n-gram has been counted.
    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Notes that the n-grams of a reference occur in `image`.
    pub(crate) fn reference(&mut self, caption: &Caption, image: u32) {
        self.count_in(caption, Some(image));
    }

    /// In how many images' references each n-gram that was counted occurs.
    pub(crate) fn document_frequencies(&self) -> impl Iterator<Item = u32> {
        self.known.iter().map(|gram| gram.document_frequency)
    }

    fn count_in(&mut self, caption: &Caption, image: Option<u32>) -> Counts {
        let words = caption.words();
        let this = self.captions;
        self.captions += 1;
        let mut counts: Vec<Count> = Vec::with_capacity(words.len() * ORDER);
        let mut starts = [0; ORDER + 1];
        // prefixes[i]: the n-gram of the length before that starts at word i.
        let mut prefixes = vec![NOTHING; words.len()];
        for (n, start) in (1..).zip(&mut starts[1..]) {
            prefixes.truncate((words.len() + 1).saturating_sub(n));
            for (prefix, &last) in prefixes.iter_mut().zip(words.iter().skip(n - 1)) {
                let gram = self.gram(*prefix, last);
                *prefix = gram;
                let known = &mut self.known[gram as usize];
                if known.caption == this {
                    counts[known.position as usize].count += 1;
                } else {
                    known.caption = this;
                    known.position = counts.len() as u32;
                    counts.push(Count { gram, count: 1 });
                    if let Some(image) = image
                        && known.image != image
                    {
                        known.image = image;
                        known.document_frequency += 1;
                    }
                }
            }
            *start = counts.len() as u32;
        }
        counts.shrink_to_fit();
        Counts { counts, starts }
    }

    fn gram(&mut self, prefix: u32, last: u32) -> u32 {
        let next = self.known.len() as u32;
        let gram = *self.ids.entry((prefix, last)).or_insert(next);
        if gram == next {
            self.known.push(Gram {
                caption: u32::MAX,
                position: 0,
                image: u32::MAX,
                document_frequency: 0,
            });
        }
        gram
    }
}
