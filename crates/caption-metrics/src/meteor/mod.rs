//! METEOR 1.5 for English (Denkowski and Lavie 2014) as pycocoevalcap 1.2 runs it: the options
//! `-l en -norm`, ranking parameters, modules exact, stem, synonym and paraphrase.
//!
//! # Score
//!
//! Hypothesis and reference are normalised, lower-cased and aligned word by word (see [`align`'s
//! rules](#alignment)). With, on side x (h or r), `L_x` words of which `F_x` are function words,
//! and `C_xk` content and `F_xk` function words matched by module k:
//!
//! ```text
//! len_x  = δ (L_x - F_x) + (1 - δ) F_x
//! hit_x  = Σ_k w_k (δ C_xk + (1 - δ) F_xk)
//! P = hit_h / len_h     R = hit_r / len_r     Fmean = 1 / ((1 - α)/P + α/R)
//! frag   = chunks / ((M_h + M_r) / 2)         (0 where all words match in one chunk)
//! METEOR = Fmean (1 - γ frag^β)               (0 where that is not a number)
//! ```
//!
//! w = 1.0, 0.6, 0.8, 0.6 for exact, stem, synonym, paraphrase; α = 0.85, β = 0.2, γ = 0.6, δ =
//! 0.75. `M_x` is the number of matched words. Of several references the first with the largest
//! score counts.
//!
//! The corpus score is *not* the mean over images. It is the formula above on sums of all counts
//! over images, where an image whose words all match in one chunk adds no chunk.
//!
//! # Alignment
//!
//! A beam of 40 partial alignments moves over the reference. Scores equal those of the jar in every
//! statistic because the jar's own peculiarities are followed; the largest are:
//!
//! * a match that is not exact gains ⌊n/2⌋ of its n words on either side, so a single stem, synonym
//!   or paraphrase is taken only if it costs no chunk, or if nothing competes with it: `dogs` for
//!   `dog` scores 0 alone, but `two dogs` for `two dog` 0.7;
//! * synsets are compared by their offset in `WordNet`'s files, without part of speech (`breathe` ~
//!   `entity`);
//! * words are equal when Java's 32-bit hashes are (`an` = `c0`);
//! * after the PTB tokenizer a possessive arrives as `dog 's` and becomes three words.
//!
//! # Differences, where pycocoevalcap's result is an accident
//!
//! pycocoevalcap talks to the jar line by line. LF or CR inside a caption breaks that conversation
//! and shifts all later results; here they are white space. `|||` separates references in that
//! protocol: as in pycocoevalcap it is deleted from hypotheses (and then double spaces are made
//! single once), while in a reference it starts another reference.
//!
//! A pair of captions whose lengths in words multiply to more than 16,777,216 is refused
//! ([`TooLong`]): candidates are as many as that, and the original would run out of memory.

mod aligner;
mod lexicon;
mod matchers;
mod normalizer;
pub mod resources;
mod statistics;

use rayon::prelude::*;

pub use resources::Resources;
pub use statistics::Statistics;

use lexicon::{Lexicon, Sentence};
use matchers::{Side, SynsetIndex};
use resources::Paraphrases;

/// The most pairs of words that may be compared.
const MOST_PAIRS: usize = 1 << 24;

/// Two captions are too long to be aligned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "METEOR cannot align a prediction of {hypothesis} words with a reference of {reference} words \
     (image {id:?}); shorten them or leave METEOR out of the metrics"
)]
pub struct TooLong {
    /// The image.
    pub id: String,
    /// Words of the prediction.
    pub hypothesis: usize,
    /// Words of the reference.
    pub reference: usize,
}

/// One image to score.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a, S> {
    /// The image, for messages.
    pub id: &'a str,
    /// The predicted caption.
    pub hypothesis: &'a str,
    /// The reference captions.
    pub references: &'a [S],
}

/// Returns the statistics of every image for its best reference, in order.
///
/// [`Statistics::score`] gives the score of an image, and of their [sum](Statistics::sum) that of
/// the corpus. The words of all segments are in memory meanwhile.
///
/// # Errors
/// [`TooLong`] for the first image with captions that are too long.
pub fn score<S: AsRef<str> + Sync>(
    resources: &Resources,
    segments: &[Segment<S>],
) -> Result<Vec<Statistics>, TooLong> {
    let hypotheses: Vec<String> = segments.iter().map(|s| clean(s.hypothesis)).collect();
    // The hypothesis first, then the references, image by image.
    let mut captions: Vec<&str> = Vec::new();
    let mut ends = Vec::with_capacity(segments.len());
    for (segment, hypothesis) in segments.iter().zip(&hypotheses) {
        captions.push(hypothesis);
        captions.extend(segment.references.iter().flat_map(|text| text.as_ref().split("|||")));
        ends.push(captions.len());
    }
    let (lexicon, sentences) = Lexicon::new(resources, &captions);
    let mut start = 0;
    let images: Vec<(&str, &[Sentence])> = segments
        .iter()
        .zip(ends)
        .map(|(segment, end)| (segment.id, &sentences[std::mem::replace(&mut start, end)..end]))
        .collect();
    let paraphrases = resources.paraphrases();
    images.par_iter().map(|(id, sentences)| best(id, &lexicon, sentences, &paraphrases)).collect()
}

/// Cleans a hypothesis as pycocoevalcap does before the jar sees it.
fn clean(hypothesis: &str) -> String {
    hypothesis.replace("|||", "").replace("  ", " ")
}

/// Returns the statistics for the first reference with the largest score.
fn best(
    id: &str,
    lexicon: &Lexicon,
    sentences: &[Sentence],
    paraphrases: &Paraphrases,
) -> Result<Statistics, TooLong> {
    let Some((hypothesis, references)) = sentences.split_first() else {
        return Ok(Statistics::default());
    };
    let hypothesis = Side::new(lexicon, hypothesis, paraphrases);
    let synsets = SynsetIndex::new(&hypothesis);
    let mut best: Option<(f64, Statistics)> = None;
    for reference in references {
        let reference = Side::new(lexicon, reference, paraphrases);
        if hypothesis.len().saturating_mul(reference.len()) > MOST_PAIRS {
            return Err(TooLong {
                id: id.to_owned(),
                hypothesis: hypothesis.len(),
                reference: reference.len(),
            });
        }
        let candidates = matchers::candidates(&hypothesis, &synsets, &reference, paraphrases);
        let alignment = aligner::align(&candidates);
        let statistics = Statistics::of(hypothesis.words(), reference.words(), &alignment);
        let score = statistics.score();
        if best.is_none_or(|(largest, _)| score > largest) {
            best = Some((score, statistics));
        }
    }
    Ok(best.map(|(_, statistics)| statistics).unwrap_or_default())
}
