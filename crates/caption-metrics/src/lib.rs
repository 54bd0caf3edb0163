//! BLEU, METEOR, ROUGE-L and CIDEr exactly as pycocoevalcap computes them, without Python or Java.

mod bleu;
mod cider;
#[cfg(feature = "cli")]
pub mod cli;
mod corpus;
pub mod correlate;
mod error;
pub mod meteor;
mod ngrams;
pub mod numerics;
mod options;
pub mod ptb;
pub mod readers;
mod report;
mod rouge_l;
mod scorer;
pub mod significance;
mod words;

pub use corpus::{Predictions, References};
pub use error::Error;
pub use options::{Metric, Options, Tokenizer, UnknownName};
pub use report::{Confidence, Evaluation, ImageScores, Protocol, Scores};
pub use scorer::evaluate;
