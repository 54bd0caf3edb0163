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

use std::path::{Path, PathBuf};

use durable::digests;
use durable::sealed;
use recipes::Config;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::provenance::Provenance;

const CONFIG: &str = "config.toml";

/// A run's folder.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
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
        Err(Error::File {
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
    pub fn forget(&self, was_made: bool, lock: durable::Lock) {
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
        let fail = |reason: String| Error::File { path: path.clone(), reason };
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
    pub fn check_files(&self) -> Result<(), Error> {
        let Some(path) = digests::first_changed(&self.provenance()?.files, &self.path) else {
            return Ok(());
        };
        let reason = if path == self.config_file() {
            "was changed after the run was started: its SHA-256 is not the one in run.json\nhint: restore it; --set of evaluate and caption changes decoding and data paths, and other changes need a new run (capsmith train --out NEW)"
        } else {
            "is damaged or missing: its SHA-256 is not the one in run.json\nhint: restore it from a copy, or train the run again"
        };
        Err(Error::File { path, reason: reason.into() })
    }

    /// Writes `run.json`.
    ///
    /// # Errors
    /// Names the file.
    pub fn save_provenance(&self, provenance: &Provenance) -> Result<(), Error> {
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

/// Writes `value` as readable JSON, all or nothing.
///
/// # Errors
/// Names the file.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let mut json = serde_json::to_string_pretty(value)
        .map_err(|error| Error::File { path: path.to_owned(), reason: error.to_string() })?;
    json.push('\n');
    Ok(durable::write(path, json.as_bytes())?)
}
