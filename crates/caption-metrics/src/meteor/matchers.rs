//! The four matchers, in METEOR's order: exact, stem, synonym, paraphrase.

use super::aligner::{Candidates, Match, Module};
use super::lexicon::{Lexicon, Word};
use super::resources::{LONGEST_PHRASE, Paraphrases};

/// A caption's words with the phrases of the paraphrase table that occur in it.
pub(super) struct Side<'a> {
    words: Vec<&'a Word>,
    /// Occurrences by first word, then length.
    phrases: Vec<Occurrence>,
    /// Occurrences in text order of the phrases, then by first word.
    in_text_order: Vec<Occurrence>,
}

/// An occurrence of a phrase of the paraphrase table in a caption.
#[derive(Clone, Copy)]
struct Occurrence {
    phrase: u32,
    start: u32,
    words: u8,
}

impl<'a> Side<'a> {
    pub(super) fn new(lexicon: &'a Lexicon, sentence: &[u32], paraphrases: &Paraphrases) -> Self {
        let words: Vec<&Word> = sentence.iter().map(|&id| lexicon.word(id)).collect();
        let mut phrases = Vec::new();
        for start in 0..words.len() {
            let mut phrase: Option<u32> = None;
            for (length, word) in (1..).zip(words[start..].iter().take(LONGEST_PHRASE)) {
                phrase = match (phrase, word.in_phrases) {
                    (None, _) => word.phrase,
                    (Some(phrase), Some(number)) => paraphrases.extend(phrase, number),
                    (Some(_), None) => None,
                };
                let Some(phrase) = phrase else { break };
                phrases.push(Occurrence { phrase, start: start as u32, words: length });
            }
        }
        let mut in_text_order = phrases.clone();
        in_text_order.sort_by(|a, b| text_of(&words, a).cmp(text_of(&words, b)));
        Self { words, phrases, in_text_order }
    }

    pub(super) fn len(&self) -> usize {
        self.words.len()
    }

    pub(super) fn words(&self) -> &[&Word] {
        &self.words
    }
}

/// Returns the numbers of a phrase's words; they are in text order, so their sequences are too.
fn text_of(words: &[&Word], at: &Occurrence) -> impl Iterator<Item = Option<u16>> {
    let start = at.start as usize;
    words[start..start + usize::from(at.words)].iter().map(|word| word.in_phrases)
}

/// Returns every candidate match, in METEOR's order.
pub(super) fn candidates(
    hypothesis: &Side,
    reference: &Side,
    paraphrases: &Paraphrases,
) -> Candidates {
    let (h, r) = (&hypothesis.words, &reference.words);
    let mut candidates = Candidates::new(r.len(), h.len());
    single_words(&mut candidates, h, r, Module::Exact, |a, b| a.key == b.key);
    if h.len() == r.len() && h.iter().zip(r).all(|(a, b)| a.key == b.key) {
        return candidates;
    }
    single_words(&mut candidates, h, r, Module::Stem, |a, b| a.stem == b.stem && a.key != b.key);
    single_words(&mut candidates, h, r, Module::Synonym, |a, b| {
        a.synset_bits & b.synset_bits != 0 && a.key != b.key && intersect(&a.synsets, &b.synsets)
    });
    // Sources in the reference, then sources in the hypothesis. A pair that the table has in both
    // directions is a candidate twice.
    for source in &reference.phrases {
        for target in paraphrases_of(source, &hypothesis.in_text_order, paraphrases) {
            candidates.push(paraphrase(source, target));
        }
    }
    for source in &hypothesis.phrases {
        for target in paraphrases_of(source, &reference.in_text_order, paraphrases) {
            candidates.push(paraphrase(target, source));
        }
    }
    candidates
}

fn single_words(
    candidates: &mut Candidates,
    hypothesis: &[&Word],
    reference: &[&Word],
    module: Module,
    matches: impl Fn(&Word, &Word) -> bool,
) {
    for (r, i) in reference.iter().zip(0..) {
        for (h, j) in hypothesis.iter().zip(0..) {
            if matches(h, r) {
                candidates.push(Match {
                    module,
                    reference: i,
                    reference_words: 1,
                    hypothesis: j,
                    hypothesis_words: 1,
                });
            }
        }
    }
}

/// Returns whether two ascending lists share an element.
fn intersect(mut a: &[u32], mut b: &[u32]) -> bool {
    while let ([x, a_rest @ ..], [y, b_rest @ ..]) = (a, b) {
        match x.cmp(y) {
            std::cmp::Ordering::Equal => return true,
            std::cmp::Ordering::Less => a = a_rest,
            std::cmp::Ordering::Greater => b = b_rest,
        }
    }
    false
}

/// Returns the occurrences that the table lists as paraphrases of `source`, in the table's order.
fn paraphrases_of<'a>(
    source: &Occurrence,
    others: &'a [Occurrence],
    paraphrases: &'a Paraphrases,
) -> impl Iterator<Item = &'a Occurrence> {
    let targets = paraphrases.targets(source.phrase);
    others.iter().filter(move |other| targets.as_ref().is_some_and(|t| t.contains(other.phrase)))
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
