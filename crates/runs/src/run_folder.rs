//! A run folder: the paths of its files, and the lock that its writer holds.
//!
//! ```text
//! RUN/
//!   config.toml      the resolved configuration; paths near the run are relative to it
//!   run.json         provenance of the run, and SHA-256 of config.toml and the next three
//!   gpt2/            config.json and the tokenizer, so that the folder is self-contained
//!   keywords/        of SBG: labels and encyclopedia, from which keywords are selected
//!   words.json       of Merge-RNN: its vocabulary
//!   metrics.csv      one line a step
//!   epochs.csv       one line an epoch
//!   epoch-scores.csv one line an epoch, where training.scored_pictures asks for it
//!   logs.json        SHA-256 of these three, as they were at the last checkpoint
//!   events.out.*     the same records for TensorBoard, with sample captions of each scored epoch
//!   checkpoints/     step-000000500/{model,optimizer}.safetensors and state.json
//!   evaluation/      captions and scores
//!   lock             held by the process that trains
//! ```

use std::path::{Path, PathBuf};

use durable::digests;
use durable::sealed;
use foreign_text::{printable, printable_path};
use recipes::{Config, System};
use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::hardware::Hardware;
use crate::provenance::Provenance;
use crate::run_paths;
use crate::scored_captions::ScoredCaptions;

const CONFIG: &str = "config.toml";

/// Files and folders of a run that are written before its config.
const WRITTEN_AT_START: [&str; 5] = ["gpt2", "keywords", "words.json", "run.json", "lock"];

/// The other files and folders of a run, but TensorBoard's.
const WRITTEN_LATER: [&str; 7] = [
    CONFIG,
    "metrics.csv",
    "epochs.csv",
    "epoch-scores.csv",
    "logs.json",
    "checkpoints",
    "evaluation",
];

/// Folder of a run.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Returns the run folder at `path`, which need not exist yet.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Opens an existing run and checks that its files are unchanged.
    ///
    /// # Errors
    /// Fails if `path` is not a run folder, and names a file that has changed.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let run = Self::new(path);
        if run.exists() {
            run.check_files()?;
            return Ok(run);
        }
        let reason = if path.exists() {
            "this is not a run folder (it has no config.toml); `capsmith train CONFIG --out RUN` makes one".to_owned()
        } else {
            format!("this run does not exist{}", runs_beside(path))
        };
        Err(Error::File { path: path.to_owned(), reason })
    }

    /// Returns true if a run was started here.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.config_file().is_file()
    }

    /// Returns the path of the folder.
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

    /// Returns the folder of checkpoints.
    #[must_use]
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Returns the folder of GPT-2's `config.json` and tokenizer.
    #[must_use]
    pub fn gpt2(&self) -> PathBuf {
        self.path.join("gpt2")
    }

    /// Returns the folder of the labels and the encyclopedia.
    #[must_use]
    pub fn keywords(&self) -> PathBuf {
        self.path.join("keywords")
    }

    /// Returns the file of Merge-RNN's vocabulary.
    #[must_use]
    pub fn words(&self) -> PathBuf {
        self.path.join("words.json")
    }

    /// Returns the folder of the evaluation called `name`.
    #[must_use]
    pub fn evaluation(&self, name: &str) -> PathBuf {
        self.path.join("evaluation").join(name)
    }

    /// Returns the folder of the official scores: of SBG, those of the choice among the most.
    ///
    /// # Errors
    /// Fails if the config cannot be read, or names the command if the run has no such scores.
    pub fn official_evaluation(&self) -> Result<PathBuf, Error> {
        let best_of = match self.config()?.system {
            System::Sbg(system) => system.reranking.best_of.iter().max().copied(),
            System::ClipPrefix(_) | System::MergeRnn(_) => None,
        };
        let folder = ScoredCaptions { control: false, best_of }.folder(&self.evaluation("test"));
        if folder.is_dir() {
            return Ok(folder);
        }
        Err(Error::File {
            path: folder,
            reason: format!(
                "the run has no scores of the test split yet\nhint: capsmith evaluate {}",
                printable_path(&self.path)
            ),
        })
    }

    /// Fails if there is no run here, but files that are not left from the start of one.
    ///
    /// # Errors
    /// Names the folder and the first such file.
    pub fn refuse_other_files(&self) -> Result<(), Error> {
        if self.exists() {
            return Ok(());
        }
        let first = durable::first_foreign_entry(&self.path, &WRITTEN_AT_START);
        let Some(first) = first else { return Ok(()) };
        let reason = format!(
            "the folder has files that are not of a run, such as {}; choose an empty or new folder",
            printable(&first)
        );
        Err(Error::file(&self.path, reason))
    }

    /// Fails if `path`, a file to write, exists and is a file of a run.
    ///
    /// # Errors
    /// Names the file.
    pub fn refuse_own_file(path: &Path) -> Result<(), Error> {
        let Ok(full) = path.canonicalize() else { return Ok(()) };
        let run = full.ancestors().skip(1).find(|folder| Self::new(folder).exists());
        let inside = run.and_then(|run| full.strip_prefix(run).ok());
        let first = inside.and_then(|inside| inside.components().next());
        let mut own = WRITTEN_AT_START.iter().chain(&WRITTEN_LATER);
        if first.is_some_and(|first| own.any(|own| first.as_os_str() == *own)) {
            return Err(Error::file(path, "is a file of a run; name another file to write"));
        }
        Ok(())
    }

    /// Creates the folder and takes its lock.
    ///
    /// # Errors
    /// Names the folder when it cannot be created, or is in use.
    pub fn lock(&self) -> Result<durable::Lock, Error> {
        durable::create_dir_all(&self.path)?;
        Ok(durable::lock(&self.path.join("lock"))?)
    }

    /// Removes the remains of a run that could not start.
    ///
    /// Removes the whole folder if it `was_made` for the run, else a folder that holds only its
    /// lock.
    pub fn forget(&self, was_made: bool, lock: durable::Lock) {
        if was_made && !self.exists() {
            let _ = durable::remove(&self.path);
        } else if !self.exists() && !self.gpt2().exists() {
            // A folder that holds any other file stays.
            let _ = std::fs::remove_file(self.path.join("lock"));
            let _ = std::fs::remove_dir(&self.path);
        }
        drop(lock);
    }

    /// Reads the configuration that the run was started with, with its paths resolved.
    ///
    /// # Errors
    /// Names the file.
    pub fn config(&self) -> Result<Config, Error> {
        let config = Config::load_saved(&self.config_file())?;
        let trained_in = self.provenance().ok().and_then(|provenance| provenance.folder);
        Ok(match trained_in {
            Some(trained_in) => run_paths::resolved(config, &self.path, &trained_in),
            None => config,
        })
    }

    /// Reads the record of the models and data that the run was trained on.
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
        run_paths::resolve_encoder(&mut found, &self.path);
        Ok(found)
    }

    /// Checks that configuration, tokenizer, words and keywords are those of the start.
    ///
    /// A run of version 0.1.0 has no digests to check.
    ///
    /// # Errors
    /// Names the file that has changed or is missing, with a hint.
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

    /// Writes the files that identify the run.
    ///
    /// `config.toml` comes last because it marks the folder as a run.
    ///
    /// # Errors
    /// Names the file.
    pub fn begin(&self, config: &Config, provenance: &Provenance) -> Result<(), Error> {
        self.begin_as(&self.path, config, provenance)
    }

    /// Begins a run as [`Self::begin`] does, whose folder will be moved to `path`.
    ///
    /// # Errors
    /// Same as [`Self::begin`].
    pub fn begin_as(
        &self,
        path: &Path,
        config: &Config,
        provenance: &Provenance,
    ) -> Result<(), Error> {
        let (config, mut provenance) = run_paths::stored(config, provenance, path);
        let config = config.to_toml();
        for path in [self.gpt2(), self.keywords(), self.words()] {
            digests::add(&mut provenance.files, &self.path, &path)?;
        }
        let sha256 = hex::encode(Sha256::digest(config.as_bytes()));
        provenance.files.insert(CONFIG.to_owned(), sha256);
        self.save_provenance(&provenance)?;
        Ok(durable::write(&self.config_file(), config.as_bytes())?)
    }

    /// Records in `run.json` that a run is resumed on other hardware than it was computed on last.
    ///
    /// Returns a note if its results change by that.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn resume_on(
        &self,
        now: Hardware,
        mut provenance: Provenance,
    ) -> Result<Option<String>, Error> {
        // Nothing is left of what was computed after the checkpoint.
        provenance.resumed_on.retain(|before| before.after_step < now.after_step);
        let before = provenance.hardware();
        if now.is_same(&before) {
            return Ok(None);
        }
        let note = (!now.has_equal_results(&before)).then(|| {
            format!(
                "resuming on {now} a run that was computed on {before}: the last digits of its results will not be those of an uninterrupted run"
            )
        });
        provenance.resumed_on.push(now);
        run_paths::store_encoder(&mut provenance, &self.path);
        self.save_provenance(&provenance)?;
        Ok(note)
    }
}

/// Returns a hint with the runs in the parent folder of a missing run; empty without any.
fn runs_beside(path: &Path) -> String {
    const SHOWN: usize = 5;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let entries = std::fs::read_dir(parent.unwrap_or(Path::new(".")));
    let beside = entries.into_iter().flatten().flatten().map(|entry| entry.path());
    let mut runs: Vec<PathBuf> = beside.filter(|path| RunFolder::new(path).exists()).collect();
    runs.sort();
    if runs.is_empty() {
        return String::new();
    }
    let names = runs.iter().take(SHOWN).map(|run| printable_path(run).to_string());
    let more = if runs.len() > SHOWN { ", ..." } else { "" };
    format!("\nhint: the runs there are {}{more}", names.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_run_starts_in_a_folder_that_is_new_or_has_the_remains_of_a_start() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::new(&folder.path().join("run"));
        run.refuse_other_files().unwrap();
        fs::create_dir_all(run.gpt2()).unwrap();
        for name in ["lock", "run.json.partial", "words.json"] {
            fs::write(run.path().join(name), "").unwrap();
        }
        run.refuse_other_files().unwrap();
        fs::write(run.path().join("metrics.csv"), "mine").unwrap();
        let error = run.refuse_other_files().unwrap_err().to_string();
        assert!(error.contains("such as metrics.csv"), "{error}");
        fs::write(run.config_file(), "").unwrap();
        run.refuse_other_files().unwrap();
    }
}
