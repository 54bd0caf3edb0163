//! Models and data sets from their public homes: pinned, checked, resumed, cached.
//!
//! A config names a model by a [`ModelReference`]; [`resolve()`] turns it into a path, fetching from
//! the Hugging Face hub what is not in its cache. [`fetch_data_set`] brings Flickr8k, and of Flickr30k
//! what is public. [`cli`] has both as commands.
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
//! - A file appears under its name only when its size, the hub's own digest (SHA-256 of large files,
//!   git's object id of small ones) and the [pin](known) agree.
//! - A connection that is cut is taken up where it ended, also by the next process.
//! - Two processes that want the same file fetch it once; Python's `huggingface_hub` counts as one.
//! - The token goes to the hub only, not to the storage that it redirects to.
//!
//! # Why not hf-hub
//!
//! hf-hub 0.5.0, the small client of that name, was looked at first. It gives a file its name before
//! anybody can check it, appends a whole answer to a partial file where a server ignores `Range`,
//! tries a file's description once, gives up on a file after five seconds of another process, and has
//! `unwrap`s and `assert`s on what a server sends. Left of it would have been the cache's layout, four
//! names long. What it uses for HTTP, ureq, is used here.

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
