//! Fetching of models and data sets: pinned, checked, resumable, cached.
//!
//! A config names a model by a [`ModelReference`]. [`resolve()`] turns it into a path and fetches
//! from the Hugging Face hub the files that are not in its cache. [`fetch_data_set`] fetches
//! Flickr8k, and the public part of Flickr30k. [`cli`] provides both as commands.
//!
//! ```
//! use hub::{ModelReference, Options, Silent, Wanted};
//! # fn main() -> Result<(), hub::Error> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let text = folder.path().to_str().unwrap();
//! let options = Options::from_environment()?;
//! let reference = ModelReference::parse(text)?;
//! let folder = hub::resolve(&reference, Wanted::LanguageModel, &options, &mut Silent)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Promises
//!
//! - A file gets its name only if its size, the hub's own digest (SHA-256 of large files, git
//!   object id of small ones) and the [pin](known) agree.
//! - An interrupted download resumes, also in another process.
//! - Two processes that need the same file fetch it once; this includes Python's `huggingface_hub`.
//! - The token is sent to the hub only, not to the storage that it redirects to.
//!
//! # Why not hf-hub
//!
//! hf-hub 0.5.0, the existing small client, was considered first. It names a file before it can be
//! checked, appends a whole response to a partial file if a server ignores `Range`, tries a file's
//! metadata only once, gives up on a file after waiting five seconds for another process, and has
//! `unwrap`s and `assert`s on data from the server. Only the cache's layout would have remained in
//! use, which is four names. This crate uses the same HTTP library, ureq.

pub mod cli;
pub mod known;

mod archive;
mod cache;
mod client;
mod data_set;
mod digest;
mod error;
mod fetch;
mod model_files;
mod options;
mod place;
mod progress;
mod reach;
mod reference;
mod resolve;
mod retry;
mod transfer;

pub use data_set::{Archive, DataSet, FLICKR8K, FLICKR30K};
pub use digest::{Checksum, sha256};
pub use error::Error;
pub use fetch::fetch_data_set;
pub use options::Options;
pub use place::place;
pub use progress::{Progress, Silent, Unit};
pub use reach::reach;
pub use reference::{HubReference, InvalidReference, ModelReference};
pub use resolve::{Wanted, resolve};
