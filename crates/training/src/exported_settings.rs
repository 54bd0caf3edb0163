//! Settings of a captioner that its weights do not tell, in the header of an exported file.

use std::collections::BTreeMap;
use std::path::Path;

use foreign_text::printable_path;
use networks::gpt2::Gpt2Config;
use networks::weights;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Key of the settings in the metadata of a safetensors file.
const KEY: &str = "capsmith";

/// Settings that `export` writes beside `ClipCap`'s weights and `import` reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExportedSettings {
    /// Language model; shapes tell all its sizes but the number of attention heads.
    pub gpt2: Gpt2Config,
    /// True if embeddings are divided by their norm.
    pub normalize_embeddings: bool,
}

impl ExportedSettings {
    /// Reads the settings of a file; `None` if another program wrote it.
    ///
    /// # Errors
    /// Names a file whose settings cannot be read.
    pub fn read(file: &Path) -> Result<Option<Self>, Error> {
        if file.extension().is_none_or(|extension| extension != "safetensors") {
            return Ok(None);
        }
        let weights = weights::Checkpoint::open(file)?;
        let Some(text) = weights.metadata().get(KEY) else { return Ok(None) };
        serde_json::from_str(text).map(Some).map_err(|error| {
            Error::Mismatch(format!(
                "{}: the settings in its metadata cannot be read: {error}\nhint: export the run again",
                printable_path(file)
            ))
        })
    }

    /// Returns the metadata of a file that holds these settings.
    pub(crate) fn metadata(&self) -> Result<BTreeMap<String, String>, Error> {
        let text =
            serde_json::to_string(self).map_err(|error| Error::Mismatch(error.to_string()))?;
        let mut metadata = weights::metadata_of_transformers();
        metadata.insert(KEY.to_owned(), text);
        Ok(metadata)
    }
}
