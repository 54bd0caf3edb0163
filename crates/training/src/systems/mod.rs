//! The captioning systems. Each module holds all that is its own: what it learns from, its model, and
//! how it captions. The loop, optimizer, checkpoints and evaluation around them are the same for all.

pub(crate) mod merge_rnn;
pub(crate) mod prefix;
pub(crate) mod sbg;

use std::path::Path;

use networks::Initial;
use tch::{Device, Tensor, nn};

use crate::batches::Example;
use crate::error::Error;
use crate::inputs::Inputs;
use crate::learner::Model;
use crate::trainer::Observer;
use recipes::Config;
use runs::{Provenance, RunFolder};

/// What a system is set up from.
pub(crate) struct Setting<'a> {
    pub folder: &'a RunFolder,
    pub config: &'a Config,
    /// Where the language model of the configuration was found, for systems that start from one.
    pub language_model: Option<&'a Path>,
    /// Where custom tokenizers are kept for other runs, where they are.
    pub tokenizers: Option<&'a Path>,
    pub inputs: &'a Inputs,
    pub device: Device,
}

/// A captioning system as the training loop sees it.
pub(crate) trait System: Sized {
    /// What is learned from, one by one.
    type Example: Example;
    /// What learns.
    type Model: Model;

    /// Reads what is learned from, and checks that it goes together.
    fn load(setting: &Setting, observer: &mut dyn Observer) -> Result<Self, Error>;

    /// Says what of the run's origin this system knows.
    fn complete(&self, provenance: &mut Provenance);

    /// Adds the model's variables to a store, at its root. `initial` is what those begin as that
    /// [`Self::fill`] does not fill.
    fn model(&self, store: &nn::VarStore, initial: Initial) -> Result<Self::Model, Error>;

    /// Gives the variables of the model pretrained values, where there are any.
    fn fill(&self, _store: &mut nn::VarStore) -> Result<(), Error> {
        Ok(())
    }

    /// Of all variables, sorted by name, those that are trained; the others take no gradients.
    fn trained(&self, variables: Vec<(String, Tensor)>) -> Vec<(String, Tensor)> {
        variables
    }

    /// Whether the model has dropout in training.
    fn drops_out(&self) -> bool {
        true
    }

    /// Writes what captions are read and written with to the run folder.
    fn save(&self, folder: &RunFolder) -> Result<(), Error>;

    /// All examples to learn from.
    fn examples(&self) -> &[Self::Example];

    /// Examples to measure on.
    fn held_out(&self) -> &[Self::Example];

    /// Words or tokens that may follow each other: a logit for each.
    fn vocabulary(&self) -> usize;

    /// How many targets an example has.
    fn targets(&self, example: &Self::Example) -> usize;

    /// Some examples on the device.
    fn part(&self, examples: &[&Self::Example], inputs: &Inputs) -> <Self::Model as Model>::Part;

    /// An example for people to find.
    fn describe(&self, example: &Self::Example, inputs: &Inputs) -> String;
}

/// Notes training pictures without an embedding, and refuses fewer examples than a batch.
pub(crate) fn check_examples(
    config: &Config,
    inputs: &Inputs,
    examples: usize,
    what: &str,
    observer: &mut dyn Observer,
) -> Result<(), Error> {
    let skipped = inputs.without_embedding(&inputs.split.train);
    if skipped > 0 {
        observer.note(&format!("{skipped} training pictures have no embedding and are left out"));
    }
    let training = &config.training;
    let least = if training.drop_last_batch { training.batch_size } else { 1 };
    if examples >= least {
        return Ok(());
    }
    Err(Error::Mismatch(format!(
        "the training split has {examples} {what}, fewer than one batch of {}; set a smaller training.batch_size, or check data.split",
        training.batch_size,
    )))
}
