//! Training, captioning and evaluation of a run of any system.
//!
//! A run is one [`recipes::Config`] and one [`runs::RunFolder`]. [`trainer::train`] trains it
//! and writes checkpoints; [`captioner::Captioner`] loads the newest or the best of them;
//! [`evaluate::evaluate_run`] captions a split with it and scores the captions.
//!
//! # Where to look
//!
//! | question | answer |
//! | --- | --- |
//! | What happens in a run, in order? | `trainer.rs`, from top to bottom |
//! | Where is the loss? | [`learner::Model::loss`], implemented in `systems/`; a term added there counts with and without gradient checkpointing, for one process and for several, and in the held-out loss |
//! | Where are gradients accumulated and clipped? | [`learner::Learner::compute_share`], `Learner::clip`; the sum itself in `gradients.rs` |
//! | Where do weights change? | [`learner::Learner::apply`], [`optimizer::AdamW`] |
//! | Where is the learning rate? | [`schedule::RateSchedule`], a pure function of the step |
//! | Where does an option of `[training]` or `[optimizer]` act? | `state.rs` passes those of a step to its part: `learner_options`, `optimizer_options`, `retention`, [`batches::Batching`]; `trainer.rs` reads those of the whole run (device, epochs, logging, checkpoints), `early_stop.rs` and `epoch_scores.rs` those of an epoch's end |
//! | Where does an option of `[data]` or `[decoding]` act? | `inputs.rs`; [`captioner`] and each system's `Writer` |
//! | How are batches made? | [`inputs`] reads captions and embeddings, [`batches`] orders and divides them, `System::batch` lays them out on the device |
//! | How are captions written? | `Writer::write` of each system in `systems/`; the types are in [`captions`] |
//! | How is a system added? | `systems/mod.rs` lists the steps |
//!
//! # Arrows
//!
//! Modules use each other one way only:
//!
//! ```text
//! trainer ─> state, step_log, held_out, early_stop, epoch_scores
//!    └─────────> systems ─> captions, learner, inputs ─> batches
//! epoch_scores ─> evaluate ─> captioner ─> systems
//! learner ─> gradients, optimizer, schedule
//! ```
//!
//! # Why a resumed run has the same bits
//!
//! Randomness is derived from (seed, purpose, number) at each step ([`seeds`]), and the
//! optimizer is this crate's own ([`optimizer`]), since tch's can neither be saved nor return the
//! gradient norm. So a run that was killed is resumed to the same bits, on a GPU if
//! `training.deterministic` is set.

pub mod batches;
mod caption_output;
mod caption_table;
pub mod captioner;
pub mod captions;
pub mod checkpoint;
pub mod clip_scorer;
mod early_stop;
mod epoch_scores;
mod error;
pub mod evaluate;
pub mod export;
pub mod exported_settings;
pub mod features;
mod gradients;
mod held_out;
pub mod import;
pub mod inputs;
pub mod keyword_selector;
mod language_model;
pub mod learner;
pub mod memory;
pub mod neighbours;
mod not_finite;
pub mod optimizer;
mod pending;
pub mod pickle;
mod pieces;
mod pretrained;
pub mod schedule;
pub mod seeds;
pub mod session;
mod state;
mod step_log;
mod systems;
pub mod tokenizers;
pub mod trainer;

pub use caption_output::CaptionOutput;
pub use caption_table::Existing;
pub use error::Error;
pub use state::{cpu_threads, named_variables};
pub use systems::merge_rnn::Batch as MergeRnnBatch;
pub use systems::prefix::Batch as PrefixBatch;
pub use systems::sbg::end_of_text;
