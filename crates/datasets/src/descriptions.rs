//! Captions of one image in a file of its own, `txt` or `json`.

use foreign_text::python_json;
use serde::Deserialize;

/// Captions in a JSON object, as img2dataset and others write them.
#[derive(Deserialize)]
struct Description {
    #[serde(default)]
    caption: Texts,
    #[serde(default)]
    captions: Texts,
}

/// Captions in any of the forms that programs write; null is a missing field.
#[derive(Default, Deserialize)]
#[serde(untagged, expecting = "captions must be a text, a list of texts or null")]
pub(crate) enum Texts {
    #[default]
    None,
    One(String),
    Many(Vec<Option<String>>),
}

impl Texts {
    pub(crate) fn into_vec(self) -> Vec<String> {
        match self {
            Self::None => Vec::new(),
            Self::One(text) => vec![text],
            Self::Many(texts) => texts.into_iter().flatten().collect(),
        }
    }
}

/// Returns the captions of a text file: its lines that are not blank.
pub(crate) fn of_text(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(str::to_owned).collect()
}

/// Returns `caption` and `captions` of a JSON object.
pub(crate) fn of_json(text: &str) -> Result<Vec<String>, serde_json::Error> {
    let Description { caption, captions } = serde_json::from_str(&python_json(text))?;
    let mut all = caption.into_vec();
    all.extend(captions.into_vec());
    Ok(all)
}
