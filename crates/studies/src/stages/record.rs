//! What is remembered of a stage, in a file that is whole or absent.

use std::io;
use std::path::Path;

use durable::digests::Digests;
use durable::sealed::{self, SealError};
use serde::{Deserialize, Serialize};

use super::Error;

/// How far a stage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its command was started, and may be running still.
    Started,
    /// Its command ended well.
    Finished,
    /// Its command failed.
    Failed,
}

/// Record of a stage. One of version 0.1.0 has no digests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The stage's key when it was started.
    pub key: String,
    /// How far it is.
    pub state: State,
    /// The command, as a person would type it.
    pub command: String,
    /// Seconds that its processes ran, those before a resumption included.
    pub seconds: f64,
    /// The last lines that a failed command said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// SHA-256 of each file of its outputs when it was finished, where they are checked by that.
    #[serde(default, skip_serializing_if = "Digests::is_empty")]
    pub files: Digests,
}

impl Record {
    pub(super) fn read(path: &Path) -> Result<Option<Self>, Error> {
        match sealed::read_json_of_any_version(path) {
            Ok(record) => Ok(Some(record)),
            Err(SealError::Unreadable(error)) if error.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(Error::Record { path: path.to_owned(), reason: error.to_string() }),
        }
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), Error> {
        Ok(sealed::write_json(path, self)?)
    }
}
