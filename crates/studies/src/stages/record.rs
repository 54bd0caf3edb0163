//! What is remembered of a stage, in a file that is whole or absent.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Error, io_error};

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

/// What is remembered of a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
}

impl Record {
    pub(super) fn read(path: &Path) -> Result<Option<Self>, Error> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("read", path)(error)),
        };
        let record = serde_json::from_str(&text).map_err(|error| Error::Record {
            path: path.to_owned(),
            reason: format!("not a stage's record: {error}"),
        });
        record.map(Some)
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        Ok(durable::write(path, format!("{text}\n").as_bytes())?)
    }
}
