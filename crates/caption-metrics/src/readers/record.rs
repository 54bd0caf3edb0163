//! An object of a COCO list or a line of JSONL.

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};

/// An identifier: a string, or a number, which [`PythonJson`](super::python::PythonJson) quotes.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected an image identifier (a string or a number)")]
enum Id {
    Text(String),
}

/// A field that may be an identifier or anything else: most records' `id` is not used.
#[derive(Deserialize)]
#[serde(untagged)]
enum MaybeId {
    Text(String),
    Other(IgnoredAny),
}

fn maybe_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match MaybeId::deserialize(deserializer)? {
        MaybeId::Text(id) => Some(id),
        MaybeId::Other(_) => None,
    })
}

/// An object of a COCO list or a line of JSONL.
#[derive(Deserialize)]
pub(super) struct Record {
    /// Present in the `images` list of COCO annotations.
    #[serde(default, deserialize_with = "maybe_id")]
    pub(super) id: Option<String>,
    image_id: Option<Id>,
    pub(super) caption: Option<String>,
    pub(super) captions: Option<Vec<String>>,
}

impl Record {
    /// Takes the image's identifier.
    pub(super) fn image(&mut self) -> Result<String, String> {
        match self.image_id.take() {
            Some(Id::Text(id)) => Ok(id),
            None => Err("there is no \"image_id\"".to_owned()),
        }
    }

    /// Returns the image's identifier and its one caption.
    pub(super) fn into_caption(mut self) -> Result<(String, String), String> {
        let id = self.image()?;
        let caption = self.caption.ok_or_else(|| format!("image {id:?} has no \"caption\""))?;
        Ok((id, caption))
    }
}
