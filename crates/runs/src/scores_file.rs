//! Files of a scored split: captions, references, scores of each image, and scores.
//!
//! `predictions.json`, `references.json` and `per-image.csv` are written before `scores.json`,
//! which holds their digests and its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use caption_metrics::{Diversity, Evaluation, KeyStyle};
use durable::digests::{self, Digests};
use durable::sealed;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::metrics::ScoredSplit;

/// Name of the file with the scores.
pub const SCORES: &str = "scores.json";
const PREDICTIONS: &str = "predictions.json";
const REFERENCES: &str = "references.json";
const PER_IMAGE: &str = "per-image.csv";

/// Caption in COCO's results format.
#[derive(Serialize)]
struct CocoResult<'a> {
    image_id: &'a str,
    caption: &'a str,
}

/// Contents of `scores.json`: those that `caption-eval` writes, the checkpoint and digests.
#[derive(Serialize)]
struct ScoresJson<'a> {
    #[serde(flatten)]
    tags: Option<&'a ScoreTags>,
    files: Digests,
    #[serde(flatten)]
    evaluation: &'a Evaluation,
}

/// Contents of a run's `scores.json`.
///
/// Files of version 0.1.0 have no digests and no checkpoint; a baseline has no checkpoint. Files of
/// version 0.2.0 and before have no settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoresFile {
    /// The checkpoint that wrote the captions; `None` if no run did.
    pub checkpoint: Option<UsedCheckpoint>,
    /// Settings under which the captions were written and scored.
    #[serde(default)]
    pub settings: Option<ScoreSettings>,
    /// SHA-256 of the other files of the evaluation.
    #[serde(default)]
    pub files: Digests,
    /// Protocol of the scores.
    pub protocol: Protocol,
    /// Number of images.
    pub n: usize,
    /// Scores of the whole split, by name; `None` for a score that is not a number.
    pub corpus: BTreeMap<String, Option<f64>>,
    /// Diversity of the predictions, if it was asked for.
    pub diversity: Option<Diversity>,
    /// Scores of each image, by its file name.
    pub per_image: BTreeMap<String, BTreeMap<String, f64>>,
}

/// Protocol of scores.
#[derive(Debug, Clone, Deserialize)]
pub struct Protocol {
    /// Tokenizer of the captions: `none` or `ptb`.
    pub tokenizer: String,
}

impl ScoresFile {
    /// Reads the scores in an evaluation's folder and checks all digests.
    ///
    /// # Errors
    /// Names the file that is missing, damaged, or of another evaluation, with a hint.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let fail = |path: PathBuf, reason: &str| Error::File {
            path,
            reason: format!("{reason}\nhint: capsmith evaluate computes the scores of a run again"),
        };
        let path = folder.join(SCORES);
        let scores: Self = sealed::read_json_of_any_version(&path)
            .map_err(|error| fail(path, &error.to_string()))?;
        match digests::first_changed(&scores.files, folder) {
            None => Ok(scores),
            Some(changed) => Err(fail(
                changed,
                "is damaged or missing: its SHA-256 is not the one in scores.json",
            )),
        }
    }
}

/// Tags of a run's scores: the checkpoint and all settings that decide them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScoreTags {
    /// The checkpoint that wrote the captions.
    pub checkpoint: UsedCheckpoint,
    /// Settings under which the captions were written and scored.
    pub settings: ScoreSettings,
}

/// Settings of scores besides the checkpoint; the tokenizer is in [`Protocol`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreSettings {
    /// Split of the images.
    pub split: ScoredSplit,
    /// Keys of the decoding and their values, as TOML writes them.
    pub decoding: BTreeMap<String, String>,
    /// Settings that differ from those of the official scores, such as `num_beams=5`.
    pub changed: Vec<String>,
}

impl ScoreSettings {
    /// Returns the name of the folder that scores with changed settings lie in.
    ///
    /// `None` for official scores. The name holds no character that a shell or a file system
    /// interprets.
    #[must_use]
    pub fn variant(&self) -> Option<String> {
        const MAX_LENGTH: usize = 120;
        if self.changed.is_empty() {
            return None;
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "=,.+_-".contains(c);
        let text = self.changed.join(",").replace('"', "");
        let name: String = text.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
        if name == text && name.len() <= MAX_LENGTH {
            return Some(name);
        }
        let digest = hex::encode(Sha256::digest(&text));
        Some(format!("{:.MAX_LENGTH$}-{}", name, &digest[..8]))
    }
}

/// A checkpoint that wrote captions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsedCheckpoint {
    /// Training steps before the checkpoint.
    pub step: u64,
    /// Finished epochs before the checkpoint; unknown in version 0.2.0 and before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// SHA-256 of its weights.
    pub model_sha256: String,
}

/// A caption that was scored.
#[derive(Debug, Clone, Copy)]
pub struct Scored<'a> {
    /// File name of the image.
    pub file_name: &'a str,
    /// Generated caption.
    pub prediction: &'a str,
    /// Reference captions.
    pub references: &'a [String],
}

/// Writes captions and scores into `folder`, with the `tags` of a run's scores.
///
/// # Errors
/// Names the file.
pub fn write<'a>(
    folder: &Path,
    tags: Option<&ScoreTags>,
    captions: impl Iterator<Item = Scored<'a>> + Clone,
    evaluation: &Evaluation,
) -> Result<(), Error> {
    durable::create_dir_all(folder)?;
    let results: Vec<CocoResult> = captions
        .clone()
        .map(|one| CocoResult { image_id: one.file_name, caption: one.prediction })
        .collect();
    durable::write_json(&folder.join(PREDICTIONS), &results)?;
    let references: serde_json::Map<String, serde_json::Value> =
        captions.map(|one| (one.file_name.to_owned(), one.references.to_vec().into())).collect();
    durable::write_json(&folder.join(REFERENCES), &references)?;
    durable::write_with(&folder.join(PER_IMAGE), |out| evaluation.write_csv(out, KeyStyle::Plain))?;
    let mut files = Digests::new();
    for name in [PREDICTIONS, REFERENCES, PER_IMAGE] {
        digests::add(&mut files, folder, &folder.join(name))?;
    }
    let written = ScoresJson { tags, files, evaluation };
    Ok(sealed::write_json(&folder.join(SCORES), &written)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_settings_name_a_folder_and_official_scores_have_none() {
        let variant = |changed: &[&str]| {
            let changed = changed.iter().map(ToString::to_string).collect();
            let split = ScoredSplit::Test;
            ScoreSettings { split, decoding: BTreeMap::new(), changed }.variant()
        };
        assert_eq!(variant(&[]), None);
        assert_eq!(variant(&["kind=\"beam\"", "num_beams=5"]).unwrap(), "kind=beam,num_beams=5");
        let [one, two] = ["stop=a/b", "stop=a b"].map(|set| variant(&[set]).unwrap());
        assert!(one.starts_with("stop=a_b-") && two.starts_with("stop=a_b-") && one != two);
        assert_eq!(variant(&[&"x".repeat(500)]).unwrap().len(), 129);
    }
}
