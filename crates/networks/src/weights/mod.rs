//! Weights on disk: strict reading of safetensors and PyTorch files, atomic writing of safetensors.
//!
//! [`Checkpoint`] opens a file or a Hugging Face folder, [`load`] fills a variable store from it
//! and reports every tensor that does not fit or is not finite, [`save`] writes a file atomically.
//! Headers are read by the `safetensors` crate, not by `VarStore::load`, which adopts the file's
//! type, ignores unknown names and guesses the format from the extension.

mod checkpoint;
mod dtype;
mod error;
mod finite;
mod load;
mod save;
mod shard;

pub use checkpoint::Checkpoint;
pub use error::{Mismatch, WeightsError};
pub use load::load;
pub(crate) use load::{load_allowing_unused, load_variables};
pub use save::{metadata_of_transformers, save, write_tensors};
