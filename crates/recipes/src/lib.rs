//! Config of a run as plain types: sections, defaults, `base` files, overrides, validation.
//!
//! A config file sets only the keys it decides. [`Config::load`] merges it over the files that its
//! `base` names and over the [defaults](Config::default_of) of its system, applies `--set
//! key=value` overrides, and returns one validated value, which the run folder stores whole.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let plain = folder.path().join("plain.toml");
//! std::fs::write(&plain, "system = \"clip-prefix\"\n[training]\nepochs = 10")?;
//! let clipped = folder.path().join("clipped.toml");
//! std::fs::write(&clipped, "base = \"plain.toml\"\n[optimizer]\nmax_grad_norm = 1.0")?;
//! let plain = recipes::Config::load(&plain, &[])?;
//! let clipped = recipes::Config::load(&clipped, &["training.seed=7".to_owned()])?;
//! assert_eq!(
//!     plain.difference(&clipped),
//!     "  optimizer.max_grad_norm: 0.0 -> 1.0\n  training.seed: 42 -> 7\n"
//! );
//! # Ok(())
//! # }
//! ```
//!
//! The networks use these enums, too, so that a config and a network share one type:
//! [`MapperKind`], [`Strategy`], [`Architecture`].

mod built_in;
mod config;
mod constraints;
mod defaults;
mod differences;
mod error;
mod keys;
mod kinds;
mod layers;
mod paths;
mod saved;
mod sections;
mod strategy;
mod systems;
mod validate;

pub use config::Config;
pub use constraints::Constraints;
pub use error::ConfigError;
pub use layers::without_dots;
pub use sections::{
    CheckpointChoice, Data, Decoding, DecodingDtype, EarlyStopOn, Optimizer, Precision, Rule,
    Schedule, Training,
};
pub use strategy::{MIN_TEMPERATURE, Sampling, Strategy, StrategyError};
pub use systems::{
    Architecture, ClipPrefix, Gpt2, Keywords, LanguageModel, Mapper, MapperKind, MergeRnn, Network,
    Reranking, Sbg, System, Text, TextLoss, Tokenizer, Tuning, Vocabulary,
};
