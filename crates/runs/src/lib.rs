//! Run folders: provenance, checkpoints, metrics and scores of a run as files.
//!
//! [`RunFolder`] knows the path of each file, and [`Provenance`] records the models and data of the
//! training. [`checkpoints`] finds, checks and rotates checkpoints; [`metrics`] holds the tables
//! and TensorBoard events that training writes; [`ScoresFile`] holds the scores of an evaluation.
//! [`Identity`] identifies the embeddings that a run is trained on, and [`ImageKeywords`] holds the
//! keywords from which SBG writes captions.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let run = runs::RunFolder::open("runs/flickr8k-clipping".as_ref())?;
//! println!("{} epochs on {}", run.config()?.training.epochs, run.provenance()?.hardware());
//! # Ok(())
//! # }
//! ```
//!
//! Nothing here depends on libtorch, so reports and studies read runs without it.

pub mod checkpoints;
mod embeddings_identity;
mod error;
mod hardware;
mod image_keywords;
pub mod metrics;
mod provenance;
mod run_folder;
mod run_paths;
mod scored_captions;
pub mod scores_file;

pub use embeddings_identity::{Dtype, Identity, Network};
pub use error::Error;
pub use hardware::Hardware;
pub use image_keywords::{ImageKeywords, Keyword, KeywordsIdentity};
pub use provenance::Provenance;
pub use run_folder::RunFolder;
pub use scored_captions::ScoredCaptions;
pub use scores_file::{ScoreSettings, ScoreTags, ScoresFile, UsedCheckpoint};
