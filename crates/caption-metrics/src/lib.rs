//! BLEU, METEOR, ROUGE-L and CIDEr of image captions, exactly as pycocoevalcap 1.2 computes them,
//! without Python or Java.
//!
//! # A tour
//!
//! References and predictions are maps from image identifiers to captions, collected from
//! [iterators](References::new) or [read](References::read) from [files](readers) of the usual
//! kinds. [`evaluate`] scores all of them and each image alone:
//!
//! ```
//! use caption_metrics::{Options, Predictions, References, Tokenizer, evaluate};
//!
//! # fn main() -> Result<(), caption_metrics::Error> {
//! let references = References::new([
//!     ("1", vec!["A dog runs on the beach .", "The dog is running ."]),
//!     ("2", vec!["Two men play chess ."]),
//! ])?;
//! let predictions = Predictions::new([("1", "a dog runs"), ("2", "two men")])?;
//!
//! let options = Options { tokenizer: Tokenizer::Ptb, ..Options::default() };
//! let evaluation = evaluate(&references, &predictions, &options)?;
//!
//! let bleu = evaluation.summary.corpus.get("BLEU-1").unwrap();
//! assert_eq!((bleu * 1e4).round(), 5488.0);
//! for image in evaluation.per_image() {
//!     println!("{}: {:?}", image.id, image.scores.get("CIDEr"));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! METEOR needs synonyms and paraphrases, which are [fetched](meteor::resources::fetch) once
//! (`caption-eval fetch meteor`) and then memory-mapped in a few milliseconds:
//!
//! ```no_run
//! use caption_metrics::meteor::Resources;
//! use caption_metrics::{Metric, Options};
//!
//! # fn main() -> Result<(), caption_metrics::Error> {
//! let options = Options {
//!     metrics: Metric::PYCOCOEVALCAP.to_vec(),
//!     meteor: Some(Resources::open_default()?),
//!     ..Options::default()
//! };
//! # Ok(())
//! # }
//! ```
//!
//! [`Metric::Diversity`] adds the diversity of the predictions, and [`clip_score`] the scores that
//! a CLIP computes, for which the caller brings the CLIP.
//!
//! [`significance`] has bootstrap intervals and a paired test of two systems,
//! [`correlate`](mod@correlate) the rank correlation with people's ratings, [`judges`] that of the
//! published collections of ratings, [`ptb`] the tokenizer alone, [`meteor`] its statistics alone.
//! The feature `cli`, on by default, adds the program `caption-eval` and the module `cli` with its
//! commands.
//!
//! # Memory
//!
//! Captions stay in memory as numbers of interned words, in about 1.5 bytes a word. Scoring one
//! million images, each with a prediction and five references of 12 words, with every metric and
//! the PTB tokenizer takes 697 MiB at its peak, file reading and result files included. The largest
//! part is CIDEr's document frequencies.
//!
//! # Formulas
//!
//! Let c be a prediction and `r_1`, …, `r_m` its references, as words. With [`Tokenizer::None`] the
//! words of BLEU and CIDEr are what Python's `str.split()` gives, those of ROUGE-L what stands
//! between single spaces (a double space makes an empty word), and METEOR cuts words itself. With
//! [`Tokenizer::Ptb`] all four see [PTB tokens](ptb).
//!
//! **BLEU-n**, n = 1..4 (Papineni et al. 2002). `correct_k` counts the k-grams of c, each at most as often as
//! in the reference that has it most often; `guess_k` counts all of them; r is the length of the
//! reference closest in length to c, the shorter of two equally close ones.
//!
//! ```text
//! BLEU-n = (Π_{k ≤ n} (correct_k + 1e-15) / (guess_k + 1e-9))^(1/n) · min(1, exp(1 - (r + 1e-9) / (|c| + 1e-15)))
//! ```
//!
//! The corpus score is the same formula on sums over images. An image without any common k-gram
//! does not score 0 but a tiny number, because of the two constants; an empty caption scores 0. It
//! equals `Bleu(4)` of pycocoevalcap, not sacreBLEU or NLTK, which smooth and tokenize differently.
//!
//! **METEOR** (Denkowski and Lavie 2014): formula, alignment and corpus score are described in [`meteor`]. It
//! equals `Meteor()` of pycocoevalcap, that is `meteor-1.5.jar -l en -norm`, and not NLTK's
//! `meteor_score`, which is an earlier METEOR without paraphrases.
//!
//! **ROUGE-L** (Lin 2004), with `lcs_i` the length of the longest common subsequence of c and `r_i`, β = 1.2:
//!
//! ```text
//! P = max_i lcs_i / |c|     R = max_i lcs_i / |r_i|     ROUGE-L = (1 + β²) P R / (R + β² P)
//! ```
//!
//! The largest P and R may come from different references. The corpus score is the mean over
//! images.
//!
//! **CIDEr** (Vedantam et al. 2015). For n = 1..4 a caption x becomes a vector over its n-grams w,
//! `x_n(w) = count_x(w) · (ln N - ln max(1, df(w)))`, where N images are scored and w occurs in the
//! references of df(w) of them; `l_x` is the number of *bigrams* in x.
//!
//! ```text
//! sim_n(c, r) = Σ_w min(c_n(w), r_n(w)) r_n(w) / (‖c_n‖ ‖r_n‖) · exp(-(l_c - l_r)² / 72)
//! CIDEr = 10 · mean_i mean_n sim_n(c, r_i)
//! ```
//!
//! That is CIDEr-D (clipped, with the length penalty), which pycocoevalcap and COCO's server call
//! CIDEr, with document frequencies of the references at hand: scores depend on which images are
//! scored together, and a single image scores 0 (N = 1, so that every weight is ln 1). Frequencies
//! that were [stored](CiderFrequencies) before, of a whole data set's references, give a single
//! image, or any few, the scores that they have among all; pass them as
//! [`Options::cider_frequencies`]. The corpus score is the mean over images.
//!
//! # How exact
//!
//! On the published predictions of Merge-RNN, on human captions against each other and on 120 odd
//! little corpora every corpus and image score is within 1e-12 of pycocoevalcap's; all 23
//! statistics of 3,228 METEOR segments are the jar's, and so are the tokens of 3,294 lines, of 145
//! files whose lines depend on each other, and of Flickr8k's 40,460 captions. Means are summed in
//! numpy's order, and results do not depend on the number of threads, to the last bit. The
//! tokenizer is known to differ only in words that hold a capital sigma among marks, and where
//! U+0130, U+017F or U+212A stand for i, s or k in a word that has a rule of its own.
//!
//! # Input that is unusual
//!
//! | input | what happens |
//! | --- | --- |
//! | an image with references and no prediction | an error with the number and the first identifiers, or left out by [`Options::subset`] |
//! | a prediction for an image without references | an error with the number and the first identifiers |
//! | an image twice, in a map or list of predictions | an error; in lists of references captions are collected |
//! | an empty list of references | an error |
//! | an empty caption | scored: BLEU, METEOR and CIDEr give 0; ROUGE-L compares empty words |
//! | no images; CIDEr where no reference holds a word | an error (pycocoevalcap raises) |
//! | bytes that are not UTF-8 | an error with line and byte; UTF-16 is named |
//! | `NaN`, `Infinity`, lone surrogates in JSON | passed over in fields that are not read; in a caption an error |
//! | identifiers beyond 64 bits, or floats | all digits count; `1.0` is `1`, as in Python |
//! | a folder, a device, a named pipe in place of a file | an error; a shell's `<(…)` is read |
//! | a line separator within a caption | white space, and counted in [`Protocol`] (pycocoevalcap shifts all later captions) |
//! | a megabyte of caption | scored; two of them against each other are refused by METEOR ([`meteor::TooLong`]) |
//! | text that is no language | scored; once reading has cost 100 steps a character, the tokenizer looks 1,000 characters ahead and no further |

mod bleu;
mod blocks;
mod captions;
mod cider;
#[cfg(feature = "cli")]
pub mod cli;
pub mod clip_score;
pub mod consensus;
mod corpus;
pub mod correlate;
mod counting;
mod diversity;
mod error;
mod frequencies;
mod interner;
pub mod judges;
pub mod meteor;
mod metric;
mod names;
mod ngrams;
pub mod numerics;
mod options;
pub mod ptb;
pub mod ratings;
pub mod readers;
mod report;
mod resampling;
mod rouge_l;
mod scorer;
mod scores;
pub mod significance;
mod subset;
mod text;
mod tokenizer;
mod words;

pub use corpus::{Predictions, References};
pub use diversity::Diversity;
pub use error::Error;
pub use frequencies::CiderFrequencies;
pub use metric::Metric;
pub use names::UnknownName;
pub use options::Options;
pub use report::{Confidence, Evaluation, ImageScores, KeyStyle, Protocol, Summary};
pub use scorer::{evaluate, evaluate_with_progress};
pub use scores::Scores;
pub use subset::Subset;
pub use tokenizer::Tokenizer;
