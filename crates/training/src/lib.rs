//! All that owns a run folder: configuration, batches, optimizer, trainer, checkpoints, captioning and
//! evaluation.
//!
//! A run is one [`recipes::Config`] and one [`run_folder::RunFolder`]. [`trainer::train`] walks the
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
pub mod captions;
pub mod checkpoint;
mod early_stop;
mod epoch_scores;
mod error;
pub mod evaluate;
pub mod export;
mod gradients;
mod hardware;
mod held_out;
pub mod import;
pub mod inputs;
pub mod keyword_selector;
pub mod learner;
mod memory;
mod not_finite;
pub mod optimizer;
pub mod pickle;
mod pieces;
pub mod pretrain;
mod pretrained;
pub mod run_folder;
pub mod schedule;
pub mod scores_file;
pub mod scratch;
pub mod seeds;
pub mod session;
mod state;
mod step_log;
mod systems;
pub mod tokenizers;
pub mod track;
pub mod trainer;

pub use error::Error;
pub use hardware::Hardware;
pub use pretrained::first_names;
pub use systems::merge_rnn::Batch as MergeRnnBatch;
pub use systems::prefix::Batch as PrefixBatch;
