//! The four matchers, in METEOR's order: exact, stem, synonym, paraphrase.

use super::aligner::{Candidates, Match, Module};
use super::lexicon::{Lexicon, Word};
use super::resources::{LONGEST_PHRASE, Paraphrases};

/// A caption's words with the phrases of the paraphrase table that occur in it.
pub(super) struct Side<'a> {
    words: Vec<&'a Word>,
    /// Key and stem of each word.
    hashes: Vec<(i32, i32)>,
    /// Occurrences by first word, then length.
    phrases: Vec<Occurrence>,
    /// Occurrences in text order of the phrases, then by first word.
    in_text_order: Vec<Occurrence>,
    /// The phrases by their lowest bits.
    filter: PhraseFilter,
}

/// An occurrence of a phrase of the paraphrase table in a caption.
#[derive(Clone, Copy)]
struct Occurrence {
    /// The numbers of its words, which are in text order, the first one in the highest bits.
    text: u128,
    phrase: u32,
    start: u32,
    words: u8,
}

/// A set of phrases that may claim to have one more, by their lowest nine bits.
#[derive(Default)]
struct PhraseFilter([u64; 8]);

impl PhraseFilter {
    fn insert(&mut self, phrase: u32) {
        self.0[phrase as usize / 64 % 8] |= 1 << (phrase % 64);
    }

    fn may_have(&self, phrase: u32) -> bool {
        self.0[phrase as usize / 64 % 8] >> (phrase % 64) & 1 == 1
    }
}

/// The longest list of targets that is compared with a [`PhraseFilter`].
const SCANNED_TARGETS: usize = 256;

/// Bits of a word's number in [`Occurrence::text`], where 0 is no word.
const NUMBER_BITS: usize = 17;

impl<'a> Side<'a> {
    pub(super) fn new(lexicon: &'a Lexicon, sentence: &[u32], paraphrases: &Paraphrases) -> Self {
        let words: Vec<&Word> = sentence.iter().map(|&id| lexicon.word(id)).collect();
        let mut phrases = Vec::new();
        for start in 0..words.len() {
            let mut phrase: Option<u32> = None;
            let mut text = 0;
            for (length, word) in (1..).zip(words[start..].iter().take(LONGEST_PHRASE)) {
                phrase = match (phrase, word.in_phrases) {
                    (None, _) => word.phrase,
                    (Some(phrase), Some(number)) => paraphrases.extend(phrase, number),
                    (Some(_), None) => None,
                };
                let (Some(phrase), Some(number)) = (phrase, word.in_phrases) else { break };
                let shift = NUMBER_BITS * (LONGEST_PHRASE - usize::from(length));
                text |= (u128::from(number) + 1) << shift;
                phrases.push(Occurrence { text, phrase, start: start as u32, words: length });
            }
        }
        let mut in_text_order = phrases.clone();
        in_text_order.sort_unstable_by_key(|at| (at.text, at.start));
        let mut filter = PhraseFilter::default();
        for occurrence in &phrases {
            filter.insert(occurrence.phrase);
        }
        let hashes = words.iter().map(|word| (word.key, word.stem)).collect();
        Self { words, hashes, phrases, in_text_order, filter }
    }

    pub(super) fn len(&self) -> usize {
        self.words.len()
    }

    pub(super) fn words(&self) -> &[&Word] {
        &self.words
    }
}

/// The synsets of a caption's words, each with the words that have it.
///
/// Synsets are in buckets by their lowest bits.
pub(super) struct SynsetIndex {
    /// The start of each bucket in `words`; one more than there are buckets.
    starts: Vec<u32>,
    /// Synsets, each with the position of a word, bucket by bucket.
    words: Vec<(u32, u32)>,
}

impl SynsetIndex {
    pub(super) fn new(side: &Side) -> Self {
        let pairs = || {
            let words = side.words.iter().zip(0_u32..);
            words.flat_map(|(word, at)| word.synsets.iter().map(move |&synset| (synset, at)))
        };
        let count = pairs().count();
        let mut starts = vec![0_u32; count.next_power_of_two() + 1];
        let mask = starts.len() - 2;
        // Counts, then ends, which become starts as the buckets are filled from behind.
        pairs().for_each(|(synset, _)| starts[synset as usize & mask] += 1);
        let mut end = 0;
        for start in &mut starts {
            end += *start;
            *start = end;
        }
        let mut words = vec![(0, 0); count];
        for (synset, at) in pairs() {
            let start = &mut starts[synset as usize & mask];
            *start -= 1;
            words[*start as usize] = (synset, at);
        }
        Self { starts, words }
    }

    /// Replaces `found` by the positions of words with one of these synsets, ascending.
    fn find(&self, synsets: &[u32], found: &mut Vec<u32>) {
        found.clear();
        let mask = self.starts.len() - 2;
        for &synset in synsets {
            let bucket = synset as usize & mask;
            let words = self.starts[bucket] as usize..self.starts[bucket + 1] as usize;
            let same = self.words[words].iter().filter(|(other, _)| *other == synset);
            found.extend(same.map(|&(_, at)| at));
        }
        found.sort_unstable();
        found.dedup();
    }
}

/// Returns every candidate match, in METEOR's order.
pub(super) fn candidates(
    hypothesis: &Side,
    synsets: &SynsetIndex,
    reference: &Side,
    paraphrases: &Paraphrases,
) -> Candidates {
    let (h, r) = (&hypothesis.hashes, &reference.hashes);
    let is_same = h.len() == r.len() && h.iter().zip(r).all(|(h, r)| h.0 == r.0);
    let mut candidates = Vec::new();
    let mut synonyms = Vec::new();
    for ((word, &(key, stem)), i) in reference.words.iter().zip(r).zip(0..) {
        let single = |module, j| Match {
            module,
            reference: i,
            reference_words: 1,
            hypothesis: j,
            hypothesis_words: 1,
        };
        let exact = h.iter().zip(0..).filter(|(other, _)| other.0 == key);
        candidates.extend(exact.map(|(_, j)| single(Module::Exact, j)));
        if is_same {
            continue;
        }
        let of_stem = h.iter().zip(0..).filter(|(other, _)| other.1 == stem && other.0 != key);
        candidates.extend(of_stem.map(|(_, j)| single(Module::Stem, j)));
        synsets.find(&word.synsets, &mut synonyms);
        let synonyms = synonyms.iter().filter(|&&j| h[j as usize].0 != key);
        candidates.extend(synonyms.map(|&j| single(Module::Synonym, j)));
    }
    if is_same {
        return Candidates::new(candidates, r.len(), h.len());
    }
    // Sources in the reference, then sources in the hypothesis. A pair that the table has in both
    // directions is a candidate twice.
    for source in &reference.phrases {
        for target in paraphrases_of(source, hypothesis, paraphrases) {
            candidates.push(paraphrase(source, target));
        }
    }
    for source in &hypothesis.phrases {
        for target in paraphrases_of(source, reference, paraphrases) {
            candidates.push(paraphrase(target, source));
        }
    }
    Candidates::new(candidates, r.len(), h.len())
}

/// Returns the occurrences that the table lists as paraphrases of `source`, in the table's order.
fn paraphrases_of<'a>(
    source: &Occurrence,
    other: &'a Side,
    paraphrases: &'a Paraphrases,
) -> impl Iterator<Item = &'a Occurrence> {
    // Most sources have no target on the other side, which few of their targets disprove sooner
    // than a search for every phrase there.
    let targets = paraphrases.targets(source.phrase).filter(|targets| {
        targets.len() > SCANNED_TARGETS
            || targets.iter().any(|target| other.filter.may_have(target))
    });
    targets.into_iter().flat_map(move |targets| {
        other.in_text_order.iter().filter(move |at| targets.contains(at.phrase))
    })
}

fn paraphrase(reference: &Occurrence, hypothesis: &Occurrence) -> Match {
    Match {
        module: Module::Paraphrase,
        reference: reference.start,
        reference_words: reference.words,
        hypothesis: hypothesis.start,
        hypothesis_words: hypothesis.words,
    }
}
