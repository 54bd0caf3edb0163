//! Record of a stage: its key, its state and the digests of its outputs.

use std::io;
use std::path::Path;

use durable::digests::Digests;
use durable::kept::Key;
use durable::sealed::{self, SealError};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Error, key};

/// State of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its command was started, and may still run.
    Started,
    /// Its command succeeded.
    Finished,
    /// Its command failed.
    Failed,
    /// Its command must run again, by [`super::Plan::outdate`].
    Outdated,
}

/// Record of a stage. One of version 0.1.0 has no named key and no digests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The stage's key when it was started; empty in a record of version 0.1.0.
    #[serde(deserialize_with = "key_of_any_version")]
    pub key: Key,
    /// State of the stage.
    pub state: State,
    /// Command as a person would type it.
    pub command: String,
    /// Seconds that its processes ran, including those before it was resumed.
    pub seconds: f64,
    /// Last lines of a failed command's output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// SHA-256 of each output file of a finished stage, if its check uses them. Names of files in
    /// the study start with `$STUDY/`.
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

    /// Returns whether version 0.2.0 or before wrote the record.
    pub(super) fn is_old(&self) -> bool {
        key::is_old(&self.key)
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), Error> {
        Ok(sealed::write_json(path, self)?)
    }
}

fn key_of_any_version<'de, D: Deserializer<'de>>(from: D) -> Result<Key, D::Error> {
    let value = serde_json::Value::deserialize(from)?;
    // Version 0.1.0 wrote one digest.
    if value.is_string() {
        Ok(Key::default())
    } else {
        Key::deserialize(value).map_err(D::Error::custom)
    }
}
