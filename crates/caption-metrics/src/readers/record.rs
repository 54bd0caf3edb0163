//! An object of a COCO list or a line of JSONL.

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};
use serde_json::value::RawValue;

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

/// Returns the text that a field holds, if it is one.
fn text_of(field: Option<Box<RawValue>>) -> Option<String> {
    serde_json::from_str(field?.get()).ok()
}

/// An object of a COCO list or a line of JSONL.
#[derive(Deserialize)]
pub(super) struct Record {
    /// Present in the `images` list of COCO annotations.
    #[serde(default, deserialize_with = "maybe_id")]
    pub(super) id: Option<String>,
    image_id: Option<Id>,
    /// Other names of `image_id`, as in Hugging Face's imagefolder. Not parsed unless needed: where
    /// there is an `image_id` they may hold anything.
    image: Option<Box<RawValue>>,
    file_name: Option<Box<RawValue>>,
    pub(super) caption: Option<String>,
    /// Other name of `caption`.
    text: Option<Box<RawValue>>,
    pub(super) captions: Option<Vec<String>>,
}

impl Record {
    /// Takes the image's identifier.
    pub(super) fn image(&mut self) -> Result<String, String> {
        let id = self.image_id.take().map(|Id::Text(id)| id);
        id.or_else(|| text_of(self.image.take()))
            .or_else(|| text_of(self.file_name.take()))
            .ok_or_else(|| "there is no \"image_id\", \"image\" or \"file_name\"".to_owned())
    }

    /// Returns the image's identifier and its one caption.
    pub(super) fn into_caption(mut self) -> Result<(String, String), String> {
        let id = self.image()?;
        let caption = self.caption.or_else(|| text_of(self.text));
        let caption =
            caption.ok_or_else(|| format!("image {id:?} has no \"caption\" or \"text\""))?;
        Ok((id, caption))
    }
}
