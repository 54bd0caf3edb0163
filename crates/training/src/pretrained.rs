//! Weights that training starts from: a GPT-2, or a trained or imported captioner.

use std::path::{Path, PathBuf};

use foreign_text::{first_of, printable_path};
use networks::gpt2::{self, Gpt2Config, Vocabulary};
use networks::prefix;
use networks::weights::Checkpoint;
use progress::Progress;
use runs::{RunFolder, checkpoints};
use tch::nn;

use crate::checkpoint;
use crate::error::Error;

/// Weights with the config and the tokenizer that belong to them.
pub(crate) struct Pretrained {
    /// Folder with `config.json` and the tokenizer.
    pub folder: PathBuf,
    /// GPT-2's configuration.
    pub config: Gpt2Config,
    weights: Checkpoint,
    /// True if the weights include a mapper.
    is_captioner: bool,
}

impl Pretrained {
    /// Opens a Hugging Face folder, or a run folder at the checkpoint that it captions with.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Error> {
        let path = path.ok_or_else(|| {
            Error::Mismatch("the configured gpt2.model was not looked for".to_owned())
        })?;
        let run = RunFolder::new(path);
        if !run.exists() {
            return Ok(Self {
                folder: path.to_owned(),
                config: Gpt2Config::open(path)?,
                weights: Checkpoint::open(path)?,
                is_captioner: false,
            });
        }
        run.check_files()?;
        let choice = run.config()?.usual_checkpoint();
        let checkpoint = checkpoints::find(&run.checkpoints(), choice)?;
        Ok(Self {
            folder: run.gpt2(),
            config: Gpt2Config::open(&run.gpt2())?,
            weights: checkpoint::weights(&checkpoint)?,
            is_captioner: true,
        })
    }

    /// Notes the tensors of a published model that are no part of a language model.
    pub(crate) fn note_other_heads(&self, progress: &mut dyn Progress) {
        let others = if self.is_captioner { Vec::new() } else { gpt2::other_heads(&self.weights) };
        if !others.is_empty() {
            let (folder, names) = (printable_path(&self.folder), first_of(&others));
            progress.note(&format!("tensors of {folder} that GPT-2 does not use: {names}"));
        }
    }

    /// Returns the SHA-256 of the weights.
    pub(crate) fn identity(&self) -> String {
        self.weights.identity()
    }

    /// Fills the captioner that was built at the store's root: all of it, or its GPT-2.
    pub(crate) fn fill(
        &self,
        store: &mut nn::VarStore,
        vocabulary: Vocabulary,
    ) -> Result<(), Error> {
        if self.is_captioner {
            return Ok(prefix::load(store, &self.weights)?);
        }
        Ok(gpt2::load_pretrained(store, "gpt", &self.weights, vocabulary)?)
    }
}
