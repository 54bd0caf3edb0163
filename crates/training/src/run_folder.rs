//! A run folder: where each of its files lies, and who may write to it.
//!
//! ```text
//! RUN/
//!   config.toml      the resolved configuration
//!   run.json         what the run was trained from and with, and SHA-256 of the files around it
//!   gpt2/            config.json and the tokenizer, so that the folder captions by itself
//!   keywords/        of SBG: the labels and the encyclopedia that keywords are selected from
//!   words.json       of Merge-RNN: the words that it knows
//!   metrics.csv      one line a step
//!   epochs.csv       one line an epoch
//!   epoch-scores.csv one line an epoch, where training.scored_pictures asks for it
//!   logs.json        SHA-256 of these three, as far as they were written with the last checkpoint
//!   tensorboard/     the same as events
//!   checkpoints/     step-000000500/{model,optimizer}.safetensors and state.json
//!   evaluation/      captions and scores
//!   lock             held by the process that trains
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use durable::digests::{self, Digests};
use durable::sealed;
use networks::gpt2::Gpt2Config;
use networks::weights;
use precompute::Identity;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tch::Tensor;
use words::Gpt2Tokenizer;

use crate::error::Error;
use crate::hardware::Hardware;
use crate::inputs::{Inputs, load_tokenizer};
use recipes::Config;

const CONFIG: &str = "config.toml";

/// A run's folder.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
}

/// What a run was trained from and with; a resumed run must find the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// capsmith's version.
    pub capsmith: String,
    /// Where the image embeddings come from, the data set's fingerprint among it; of an imported
    /// model nobody knows.
    pub embeddings: Option<Identity>,
    /// Values in an image embedding. Runs of before there was this key have it in `embeddings` only.
    #[serde(default)]
    pub clip_dim: usize,
    /// SHA-256 of the GPT-2 weights that training started from, or of the file that was imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpt2_sha256: Option<String>,
    /// SHA-256 of the keywords that captions are written from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keywords_sha256: Option<String>,
    /// CPU threads when the run was started: another number gives other last bits.
    pub threads: usize,
    /// The device as configured when the run was started.
    pub device: String,
    /// Other hardware that the run was resumed on, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resumed_on: Vec<Hardware>,
    /// SHA-256 of `config.toml` and of the files that captions are written with; runs of version 0.1.0
    /// have none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: Digests,
}

impl Provenance {
    /// Of a run on these inputs; what a system starts from besides is not known yet.
    pub(crate) fn new(config: &Config, inputs: &Inputs, threads: usize) -> Self {
        Self {
            capsmith: env!("CARGO_PKG_VERSION").to_owned(),
            embeddings: Some(inputs.identity.clone()),
            clip_dim: inputs.identity.dimension,
            gpt2_sha256: None,
            keywords_sha256: None,
            threads,
            device: config.training.device.clone(),
            resumed_on: Vec::new(),
            files: Digests::new(),
        }
    }

    /// Returns what the run was computed on last.
    #[must_use]
    pub fn hardware(&self) -> Hardware {
        self.resumed_on.last().cloned().unwrap_or_else(|| Hardware {
            after_step: 0,
            device: self.device.clone(),
            threads: self.threads,
        })
    }

    /// Lines `what: before -> after` for what would change the course of training; empty when
    /// nothing would.
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

    /// In what `other`'s embeddings are not those of this run, a line each; of an imported model only
    /// their length is known.
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

impl RunFolder {
    /// A folder that exists or will.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Opens an existing run, whose files must be as they were written.
    ///
    /// # Errors
    /// Fails if `path` is not a run folder, and names a file that has changed.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let run = Self::new(path);
        if run.exists() {
            run.check_files()?;
            return Ok(run);
        }
        Err(Error::RunFile {
            path: path.to_owned(),
            reason: "this is not a run folder (it has no config.toml); `capsmith train --config FILE --out RUN` makes one".into(),
        })
    }

    /// Whether a run was started here.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.config_file().is_file()
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn config_file(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    fn provenance_file(&self) -> PathBuf {
        self.path.join("run.json")
    }

    /// Folder of checkpoints.
    #[must_use]
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// GPT-2's `config.json` and tokenizer.
    #[must_use]
    pub fn gpt2(&self) -> PathBuf {
        self.path.join("gpt2")
    }

    /// GPT-2's settings and its tokenizer, as [`Self::save_language_model`] wrote them.
    ///
    /// # Errors
    /// Names the file; also where the tokenizer has more tokens than the model.
    pub(crate) fn language_model(&self) -> Result<(Gpt2Config, Gpt2Tokenizer), Error> {
        let config = Gpt2Config::open(&self.gpt2())?;
        let tokenizer = load_tokenizer(&self.gpt2(), config.vocab_size)?;
        Ok((config, tokenizer))
    }

    /// Writes what captions are read and written with, so that the folder captions by itself.
    ///
    /// # Errors
    /// Names the file.
    pub(crate) fn save_language_model(
        &self,
        config: &Gpt2Config,
        tokenizer: &Gpt2Tokenizer,
    ) -> Result<(), Error> {
        durable::create_dir_all(&self.gpt2())?;
        tokenizer.save(&self.gpt2())?;
        write_json(&self.gpt2().join("config.json"), config)
    }

    /// Folder of what keywords are selected from.
    #[must_use]
    pub fn keywords(&self) -> PathBuf {
        self.path.join("keywords")
    }

    /// The words of a system that knows whole words.
    #[must_use]
    pub fn words(&self) -> PathBuf {
        self.path.join("words.json")
    }

    /// Folder of one evaluation's files.
    #[must_use]
    pub fn evaluation(&self, name: &str) -> PathBuf {
        self.path.join("evaluation").join(name)
    }

    /// Creates the folder and takes its lock.
    ///
    /// # Errors
    /// Names the folder when it cannot be created, or is in use.
    pub fn lock(&self) -> Result<durable::Lock, Error> {
        durable::create_dir_all(&self.path)?;
        Ok(durable::lock(&self.path.join("lock"))?)
    }

    /// Removes what is left of a run that could not start: the whole folder where it `was_made` for the
    /// run, else one that holds nothing but its lock.
    pub(crate) fn forget(&self, was_made: bool, lock: durable::Lock) {
        if was_made && !self.exists() {
            let _ = durable::remove(&self.path);
        } else if !self.exists() && !self.gpt2().exists() {
            // Anything else in it keeps the folder, which then does no harm.
            let _ = std::fs::remove_file(self.path.join("lock"));
            let _ = std::fs::remove_dir(&self.path);
        }
        drop(lock);
    }

    /// The configuration the run was started with.
    ///
    /// # Errors
    /// Names the file.
    pub fn config(&self) -> Result<Config, Error> {
        Ok(Config::load_saved(&self.config_file())?)
    }

    /// What the run was trained from and with.
    ///
    /// # Errors
    /// Names the file.
    pub fn provenance(&self) -> Result<Provenance, Error> {
        let path = self.provenance_file();
        let fail = |reason: String| Error::RunFile { path: path.clone(), reason };
        let mut found: Provenance =
            sealed::read_json_of_any_version(&path).map_err(|error| fail(error.to_string()))?;
        if let Some(identity) = &found.embeddings {
            found.clip_dim = identity.dimension;
        }
        if found.clip_dim == 0 {
            return Err(fail("clip_dim is missing or 0".into()));
        }
        Ok(found)
    }

    /// Refuses a run whose configuration, tokenizer, words or keywords are not those that it was started
    /// with. A run of version 0.1.0 does not say what they were.
    ///
    /// # Errors
    /// Names the file that has changed or is missing, and says what to do.
    pub(crate) fn check_files(&self) -> Result<(), Error> {
        let Some(path) = digests::first_changed(&self.provenance()?.files, &self.path) else {
            return Ok(());
        };
        let reason = if path == self.config_file() {
            "was changed after the run was started: its SHA-256 is not the one in run.json\nhint: put it back as it was; --set of evaluate and caption changes decoding and where the data lies, and other values need a new run (capsmith train --out NEW)"
        } else {
            "is damaged or missing: its SHA-256 is not the one in run.json\nhint: put it back from a copy, or train the run again"
        };
        Err(Error::RunFile { path, reason: reason.into() })
    }

    /// Writes `run.json`.
    ///
    /// # Errors
    /// Names the file.
    pub(crate) fn save_provenance(&self, provenance: &Provenance) -> Result<(), Error> {
        Ok(sealed::write_json(&self.provenance_file(), provenance)?)
    }

    /// Writes what identifies the run, once all else that it captions with is there; `config.toml` last,
    /// since it makes the folder a run.
    ///
    /// # Errors
    /// Names the file.
    pub fn begin(&self, config: &Config, provenance: &Provenance) -> Result<(), Error> {
        let config = config.to_toml();
        let mut provenance = provenance.clone();
        for path in [self.gpt2(), self.keywords(), self.words()] {
            digests::add(&mut provenance.files, &self.path, &path)?;
        }
        let sha256 = hex::encode(Sha256::digest(config.as_bytes()));
        provenance.files.insert(CONFIG.to_owned(), sha256);
        self.save_provenance(&provenance)?;
        Ok(durable::write(&self.config_file(), config.as_bytes())?)
    }
}

/// Writes tensors as a safetensors file that transformers reads too, all or nothing.
///
/// # Errors
/// Names the file.
pub(crate) fn write_tensors(path: &Path, tensors: &[(String, Tensor)]) -> Result<(), Error> {
    // transformers refuses a file that does not say which framework wrote it.
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    Ok(weights::save(path, tensors, &metadata)?)
}

/// Writes `value` as readable JSON, all or nothing.
///
/// # Errors
/// Names the file.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let mut json = serde_json::to_string_pretty(value)
        .map_err(|error| Error::RunFile { path: path.to_owned(), reason: error.to_string() })?;
    json.push('\n');
    Ok(durable::write(path, json.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_run_and_an_imported_one_differ_in_the_length_of_embeddings_alone() {
        let run = read(IDENTITY, "").unwrap();
        let imported = |length| read("null", &format!(r#", "clip_dim": {length}"#)).unwrap();
        assert_eq!(imported(24).difference(&run), "");
        assert_eq!(imported(16).difference(&run), "  embeddings: dimension: 16 -> 24\n");
    }
}
