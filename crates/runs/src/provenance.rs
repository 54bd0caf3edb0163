//! Provenance of a run, `run.json`: the models, data and hardware of its training.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use durable::digests::Digests;
use foreign_text::printable_path;
use recipes::Config;
use serde::{Deserialize, Serialize};

use crate::embeddings_identity::Identity;
use crate::hardware::Hardware;

/// Models, data and hardware of a run's training; a resumed run must find the same.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// capsmith's version.
    pub capsmith: String,
    /// Identity of the image embeddings and their data set; `None` for an imported model.
    pub embeddings: Option<Identity>,
    /// Values in an image embedding; older runs record it in `embeddings` only.
    #[serde(default)]
    pub clip_dim: usize,
    /// Name of the data set for people, such as "Flickr8k"; older runs do not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_set: Option<String>,
    /// SHA-256 of the GPT-2 weights that training started from, or of the file that was imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpt2_sha256: Option<String>,
    /// SHA-256 of the keywords that captions are written from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keywords_sha256: Option<String>,
    /// CPU threads at the start of the run; another number changes the last bits.
    pub threads: usize,
    /// Configured device at the start of the run.
    pub device: String,
    /// Other hardware on which the run was resumed, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resumed_on: Vec<Hardware>,
    /// Absolute path of the run's folder when it was started.
    ///
    /// `None` in version 0.2.0 and before, whose paths start at the current folder of a command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// SHA-256 of `config.toml` and of the files needed to caption; none in version 0.1.0.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: Digests,
}

impl Provenance {
    /// Returns the record of a run on these embeddings, without models and keywords.
    #[must_use]
    pub fn new(config: &Config, embeddings: &Identity, threads: usize) -> Self {
        Self {
            capsmith: env!("CARGO_PKG_VERSION").to_owned(),
            embeddings: Some(embeddings.clone()),
            clip_dim: embeddings.dimension,
            threads,
            device: config.training.device.clone(),
            ..Self::default()
        }
    }

    /// Returns the hardware that the run used last.
    #[must_use]
    pub fn hardware(&self) -> Hardware {
        self.resumed_on.last().cloned().unwrap_or_else(|| Hardware {
            after_step: 0,
            device: self.device.clone(),
            threads: self.threads,
        })
    }

    /// Returns the name of the data set that the run of `config` learned from.
    ///
    /// For a run that does not record it, the name of the data set's folder; `None` for an imported
    /// model.
    #[must_use]
    pub fn learned_from(&self, config: &Config) -> Option<String> {
        let folder = &config.data.dataset;
        self.data_set.clone().or_else(|| {
            self.embeddings.as_ref()?;
            let is_drawn = datasets::is_drawn(folder);
            let drawn = is_drawn.then(|| datasets::DRAWN_NAME.to_owned());
            let name = folder.file_name().map_or(folder.as_path(), Path::new);
            drawn.or_else(|| Some(printable_path(name).to_string()))
        })
    }

    /// Returns a line for people about the data set that the run of `config` learned from.
    ///
    /// A demo's line is a warning; an imported model has none.
    #[must_use]
    pub fn learned_from_line(&self, config: &Config, run: &str) -> Option<String> {
        let name = self.learned_from(config)?;
        Some(if name == datasets::DRAWN_NAME {
            format!(
                "warning: {run} is a demo that learned from {name}; it captions no photo rightly"
            )
        } else {
            format!("{run} learned from {name}")
        })
    }

    /// Returns a line `name: before -> after` for each difference that would change training.
    #[must_use]
    pub fn difference(&self, other: &Self) -> String {
        let mut lines = String::new();
        for (what, before, after) in [
            ("GPT-2 weights", &self.gpt2_sha256, &other.gpt2_sha256),
            ("keywords", &self.keywords_sha256, &other.keywords_sha256),
        ] {
            let text = |digest: &Option<String>| digest.clone().unwrap_or_else(|| "none".into());
            if before != after {
                let _ = writeln!(lines, "  {what}: {} -> {}", text(before), text(after));
            }
        }
        for line in self.embeddings_difference(other) {
            let _ = writeln!(lines, "  embeddings: {line}");
        }
        lines
    }

    /// Returns a line for each difference of the embeddings.
    ///
    /// The embeddings of an imported model are known by their length only.
    fn embeddings_difference(&self, other: &Self) -> Vec<String> {
        match (&self.embeddings, &other.embeddings) {
            (Some(before), Some(after)) => after.differences(before),
            _ if self.clip_dim != other.clip_dim => {
                vec![format!("dimension: {} -> {}", self.clip_dim, other.clip_dim)]
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::run_folder::RunFolder;

    const IDENTITY: &str = r#"{"model": "clip", "model_sha256": "0", "preprocessing":
        {"size": 4, "crop": 4, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
        "normalize": false, "dtype": "f32", "dataset_fingerprint": "1", "dimension": 24}"#;

    fn read(embeddings: &str, more: &str) -> Result<Provenance, Error> {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            r#"{{"capsmith": "0", "embeddings": {embeddings}, "gpt2_sha256": "2", "threads": 1,
                "device": "cpu"{more}}}"#
        );
        std::fs::write(folder.path().join("run.json"), text).unwrap();
        RunFolder::new(folder.path()).provenance()
    }

    #[test]
    fn the_length_of_embeddings_is_known_with_and_without_their_identity() {
        assert_eq!(read(IDENTITY, "").unwrap().clip_dim, 24);
        assert_eq!(read("null", r#", "clip_dim": 16"#).unwrap().clip_dim, 16);
        let error = read("null", "").unwrap_err().to_string();
        assert!(error.contains("run.json") && error.contains("clip_dim"), "{error}");
    }

    #[test]
    fn a_run_knows_what_it_learned_from_and_a_demo_is_a_warning() {
        let folder = tempfile::tempdir().unwrap();
        let set = format!("data.dataset={}", folder.path().display());
        let config = Config::built_in("flickr8k/sbg.toml", &[set]).unwrap();
        let line = |provenance: &Provenance| provenance.learned_from_line(&config, "runs/a");
        let mut run = read(IDENTITY, r#", "data_set": "Flickr8k""#).unwrap();
        assert_eq!(line(&run).unwrap(), "runs/a learned from Flickr8k");
        // Older runs do not record it.
        run.data_set = None;
        let name = folder.path().file_name().unwrap().display();
        assert_eq!(line(&run).unwrap(), format!("runs/a learned from {name}"));
        std::fs::write(folder.path().join("scenes.txt"), "drawn by capsmith, edition 1").unwrap();
        let warning = "warning: runs/a is a demo that learned from drawn pictures;";
        assert!(line(&run).unwrap().starts_with(warning));
        assert_eq!(line(&read("null", r#", "clip_dim": 8"#).unwrap()), None);
    }

    #[test]
    fn a_run_and_an_imported_one_differ_in_the_length_of_embeddings_alone() {
        let run = read(IDENTITY, "").unwrap();
        let imported = |length| read("null", &format!(r#", "clip_dim": {length}"#)).unwrap();
        assert_eq!(imported(24).difference(&run), "");
        assert_eq!(imported(16).difference(&run), "  embeddings: dimension: 16 -> 24\n");
    }
}
