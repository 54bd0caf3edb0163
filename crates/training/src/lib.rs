//! All that owns a run folder: configuration, batches, optimizer, trainer, checkpoints, captioning and
//! evaluation.
//!
//! A run is one [`recipes::Config`] and one [`runs::RunFolder`]. [`trainer::train`] walks the
//! training loop and leaves checkpoints; [`captioner::Captioner`] loads the newest or the best;
//! [`evaluate::evaluate_run`] captions the test split with it and scores the captions.
//!
//! Randomness is derived from (seed, purpose, number) instead of carried along ([`seeds`]), and the
//! optimizer is this crate's own ([`optimizer`]), since tch's can neither be saved nor return the
//! gradient norm. So a run that was killed is resumed to the same bits, on a GPU where
//! `training.deterministic` is set.

pub mod batches;
pub mod bench;
pub mod captioner;
pub mod checkpoint;
mod epoch_scores;
mod error;
pub mod evaluate;
pub mod export;
pub mod import;
pub mod inputs;
mod language_model;
pub mod learner;
mod losses;
mod memory;
pub mod optimizer;
pub mod pickle;
mod pieces;
mod prepare;
pub mod pretrain;
mod pretrained;
pub mod schedule;
pub mod scratch;
pub mod seeds;
mod systems;
pub mod tokenizers;
pub mod trainer;
mod validation;

pub use error::Error;
pub use pretrained::first_names;
pub use systems::merge_rnn::Part as MergeRnnPart;
pub use systems::prefix::Part as PrefixPart;
pub use systems::sbg::KeywordSelector;
