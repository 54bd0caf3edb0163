//! Errors of configs, each with a hint.

use std::path::{Path, PathBuf};

use foreign_text::{printable, printable_path};

use crate::strategy::StrategyError;

/// Error of a config, with a hint.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", printable_path(path))]
    Read {
        /// The config file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// An error that a file has without overrides.
    #[error("{}: {error}", printable_path(path))]
    InFile {
        /// The config file.
        path: PathBuf,
        /// Error of its contents or those of its base.
        error: Box<Self>,
    },
    /// A text is not TOML, `base` cannot be followed, or a value is not one that its key takes.
    ///
    /// Holds the position and reason of the error.
    #[error("{0}")]
    Invalid(String),
    /// A key is unknown.
    #[error("unknown key `{}`{}", printable(key), did_you_mean(suggestion.as_deref()))]
    UnknownKey {
        /// The key in dotted form.
        key: String,
        /// The nearest known key.
        suggestion: Option<String>,
    },
    /// A key belongs to another kind of its section.
    #[error("`{key}` has no use with kind = {kind}; set `kind` to one that has it, or leave the key out", key = printable(key))]
    NotOfKind {
        /// The key in dotted form.
        key: String,
        /// The section's kind, as TOML.
        kind: String,
    },
    /// A decoding strategy has a value that cannot be used.
    #[error("decoding.strategy: {0}")]
    Strategy(#[source] StrategyError),
    /// A `--set` argument is not `key=value`.
    #[error("`--set {}` is not of the form key=value, such as --set training.epochs=3", printable(.0))]
    Override(String),
    /// A `--set` would make a trained run another run.
    #[error(
        "`--set {}`: a trained run takes changes to keys of `decoding` only, such as --set decoding.max_new_tokens=40, and to the paths of its data (data.dataset, data.embeddings, keywords.selected)",
        printable(.0)
    )]
    Settled(String),
    /// `system` is missing or unknown.
    #[error("`system` is {0}, but must be \"clip-prefix\", \"sbg\" or \"merge-rnn\"")]
    System(String),
    /// A run is of another system than the command needs.
    #[error("this is a run of {found}, and only runs of {needed} can be used here")]
    OtherSystem {
        /// Name of the needed system.
        needed: &'static str,
        /// Name of the run's system.
        found: &'static str,
    },
    /// The system does not use the value.
    #[error("`{key}` is {value}, but a run of {system} {reason}")]
    NotOfSystem {
        /// The key in dotted form.
        key: &'static str,
        /// The value given.
        value: String,
        /// The system's name.
        system: &'static str,
        /// Reason for the error, and the value to set.
        reason: &'static str,
    },
    /// A value is out of its range.
    #[error("`{key}` is {value}, but must be {expected}")]
    OutOfRange {
        /// The key in dotted form.
        key: String,
        /// The value given.
        value: String,
        /// The values accepted.
        expected: String,
    },
}

impl ConfigError {
    /// Returns the error with the file that has it.
    pub(crate) fn in_file(self, path: &Path) -> Self {
        Self::InFile { path: path.to_owned(), error: Box::new(self) }
    }
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(
        || "; `capsmith train CONFIG --print-config` prints every key".to_owned(),
        |key| format!("; did you mean `{key}`?"),
    )
}
