//! Captioning systems: one module each, with its examples, loss and captions.
//!
//! The loss is in [`Model`], captioning in [`crate::captions::Writer`]. Loop, optimizer,
//! checkpoints and evaluation are shared.
//!
//! To add a system: a network in `networks`, a module here that implements the three traits, and a
//! variant of [`recipes::System`]. CONTRIBUTING.md names the other places.

pub(crate) mod merge_rnn;
pub(crate) mod prefix;
pub(crate) mod sbg;

use std::path::Path;

use networks::InitialWeights;
use progress::Progress;
use recipes::Config;
use runs::{Provenance, RunFolder};
use tch::{Device, nn};

use crate::batches::Example;
use crate::error::Error;
use crate::inputs::Inputs;
use crate::learner::Model;

/// Sources that a system is loaded from.
pub(crate) struct Setup<'a> {
    pub folder: &'a RunFolder,
    pub config: &'a Config,
    /// Folder of the configured language model, for systems that have one.
    pub language_model: Option<&'a Path>,
    /// Folder of custom tokenizers that runs share, if any.
    pub tokenizers: Option<&'a Path>,
    pub inputs: &'a Inputs,
    pub device: Device,
}

/// Interface of a captioning system to the training loop.
pub(crate) trait System: Sized {
    /// A training example.
    type Example: Example;
    /// Model to train, with its loss.
    type Model: Model;

    /// Reads and checks the examples and everything they need.
    fn load(setup: &Setup, progress: &mut dyn Progress) -> Result<Self, Error>;

    /// Adds this system's part of the run's provenance.
    fn record_provenance(&self, _provenance: &mut Provenance) {}

    /// Adds the model's variables to the root of a store.
    ///
    /// `initial` is the value of variables that [`Self::load_pretrained`] does not fill.
    fn build_model(
        &self,
        store: &nn::VarStore,
        initial: InitialWeights,
    ) -> Result<Self::Model, Error>;

    /// Fills the model's variables with pretrained values, if any.
    fn load_pretrained(&self, _store: &mut nn::VarStore) -> Result<(), Error> {
        Ok(())
    }

    /// Returns true if training changes the variable of this name.
    fn is_trained(&self, _name: &str) -> bool {
        true
    }

    /// Returns true if the model has dropout in training.
    fn has_dropout(&self) -> bool {
        true
    }

    /// Writes the files that captioning needs, such as the tokenizer, to the run folder.
    fn save(&self, folder: &RunFolder) -> Result<(), Error>;

    /// Returns all training examples.
    fn examples(&self) -> &[Self::Example];

    /// Returns the held-out examples.
    fn held_out(&self) -> &[Self::Example];

    /// Returns the vocabulary size, which is the number of logits.
    fn vocabulary(&self) -> usize;

    /// Returns the number of an example's targets.
    fn targets(&self, example: &Self::Example) -> usize;

    /// Lays out examples on the device.
    fn batch(&self, examples: &[&Self::Example], inputs: &Inputs) -> <Self::Model as Model>::Batch;

    /// Returns a text that identifies an example to people.
    fn describe(&self, example: &Self::Example, inputs: &Inputs) -> String;
}

/// Notes training images without an embedding, and refuses fewer examples than a batch.
pub(crate) fn check_examples(
    config: &Config,
    inputs: &Inputs,
    examples: usize,
    what: &str,
    progress: &mut dyn Progress,
) -> Result<(), Error> {
    let skipped = inputs.without_embedding(&inputs.split.train);
    if skipped > 0 {
        progress.note(&format!("{skipped} training pictures have no embedding and are skipped"));
    }
    let training = &config.training;
    let least = if training.drop_last_batch { training.batch_size } else { 1 };
    if examples >= least {
        return Ok(());
    }
    if examples == 0 && skipped > 0 {
        let text = "no training picture has an embedding; data.embeddings is of other pictures";
        return Err(Error::Mismatch(text.to_owned()));
    }
    Err(Error::Mismatch(format!(
        "the training split has {examples} {what}, fewer than one batch of {}; set a smaller training.batch_size, such as {}, or check data.split",
        training.batch_size,
        examples.max(1),
    )))
}
