//! Errors of configs, each with what to change.

use std::path::PathBuf;

use foreign_text::{printable, printable_path};

use crate::strategy::StrategyError;

/// A config that cannot be used, with what to change.
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
    /// The file is not TOML, or a value has the wrong type.
    #[error("{}: {message}", printable_path(path))]
    Invalid {
        /// The config file.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// A key that capsmith does not know.
    #[error("unknown key `{}`{}", printable(key), did_you_mean(suggestion.as_deref()))]
    UnknownKey {
        /// The key in dotted form.
        key: String,
        /// The nearest known key.
        suggestion: Option<String>,
    },
    /// A key of another kind of its section.
    #[error("`{key}` has no use with kind = {kind}; set `kind` to one that has it, or leave the key out", key = printable(key))]
    NotOfKind {
        /// The key in dotted form.
        key: String,
        /// The section's kind, as TOML.
        kind: String,
    },
    /// A decoding strategy whose values cannot be used.
    #[error("decoding.strategy: {0}")]
    Strategy(#[source] StrategyError),
    /// A `--set` argument that is not `key=value`.
    #[error("`--set {}` is not of the form key=value, such as --set training.epochs=3", printable(.0))]
    Override(String),
    /// A change to a trained run that would be another run.
    #[error(
        "`--set {}`: a trained run takes changes to keys of `decoding` only, such as --set decoding.max_new_tokens=40, and to the paths of its data (data.dataset, data.embeddings, keywords.selected)",
        printable(.0)
    )]
    Settled(String),
    /// No system, or one that capsmith does not know.
    #[error("`system` is {0}, but must be \"clip-prefix\", \"sbg\" or \"merge-rnn\"")]
    System(String),
    /// A run of another system than is needed.
    #[error("this is a run of {found}, and only runs of {needed} can be used here")]
    OtherSystem {
        /// The system's name.
        needed: &'static str,
        /// The system's name.
        found: &'static str,
    },
    /// A value that the system has no use for.
    #[error("`{key}` is {value}, but a run of {system} {reason}")]
    NotOfSystem {
        /// The key in dotted form.
        key: &'static str,
        /// The value given.
        value: String,
        /// The system's name.
        system: &'static str,
        /// Why, and what to set.
        reason: &'static str,
    },
    /// A value out of its range.
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

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(
        || "; `capsmith train --config FILE --print-config` prints every key".to_owned(),
        |key| format!("; did you mean `{key}`?"),
    )
}
