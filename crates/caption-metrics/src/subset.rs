//! The images that an evaluation scores.

use std::path::Path;

use foreign_text::printable;
use rustc_hash::FxHashSet;
use serde_json::value::RawValue;

use crate::readers::{numbers, whole};
use crate::{Error, text};

/// The images that are scored, of all that have references.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Subset {
    /// All images; references and predictions must name the same.
    #[default]
    All,
    /// Images that have a prediction, as pycocoevalcap's example scores those of a part of COCO.
    Predictions,
    /// Images with these identifiers; each must have references and a prediction.
    Images(FxHashSet<String>),
}

impl Subset {
    /// Reads a file of identifiers: one a line, or a JSON list of strings or integers.
    ///
    /// # Errors
    /// Names the file that is not of this kind, or holds no identifier.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let malformed = |message| Error::Malformed { path: path.to_owned(), message };
        let text = text::read(path)?;
        let images: FxHashSet<String> = if text.trim_start().starts_with('[') {
            let list: Vec<&RawValue> = serde_json::from_str(&text)
                .map_err(|error| malformed(format!("expected a JSON list: {error}")))?;
            list.into_iter().map(identifier).collect::<Result<_, _>>().map_err(malformed)?
        } else {
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            lines.map(|line| whole(line).to_owned()).collect()
        };
        if images.is_empty() {
            return Err(malformed("it holds no image identifiers".to_owned()));
        }
        Ok(Self::Images(images))
    }

    /// Returns whether an image is scored if it has references and a prediction.
    pub(crate) fn allows(&self, id: &str) -> bool {
        match self {
            Self::All | Self::Predictions => true,
            Self::Images(images) => images.contains(id),
        }
    }

    /// Returns whether an image must have a prediction if it has references.
    pub(crate) fn needs(&self, id: &str) -> bool {
        *self != Self::Predictions && self.allows(id)
    }
}

/// Returns the identifier that a value of a JSON list is, as in the other files of an evaluation.
fn identifier(value: &RawValue) -> Result<String, String> {
    let json = value.get();
    let text = serde_json::from_str::<String>(json).ok();
    let is_whole = |id: &String| id.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    text.or_else(|| numbers::identifier(json.as_bytes()).filter(is_whole)).ok_or_else(|| {
        format!("expected image identifiers (strings or integers), found {}", printable(json))
    })
}
