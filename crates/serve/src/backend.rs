//! What captions pictures, as the server sees it: something on a thread of its own that takes several
//! pictures together.

use std::sync::Arc;

use networks::memory::OutOfMemory;
use pictures::Preprocessing;
use recipes::{Config, Decoding};
use serde::Serialize;

use crate::limits::Limits;

/// What captions pictures. It is made, used and dropped on one thread.
pub trait Backend {
    /// What is served; does not change.
    fn served(&self) -> Served;

    /// Captions pictures together: for each, in their order, what each of its tasks comes to.
    ///
    /// # Errors
    /// When none of them can be captioned.
    fn caption(&mut self, pictures: &[Picture]) -> Result<Vec<Vec<Written>>, Failure>;
}

/// A batch of pictures that cannot be captioned.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There is no memory for it.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

/// What is served.
#[derive(Debug, Clone)]
pub struct Served {
    /// The runs, by which requests name them.
    pub runs: Vec<ServedRun>,
    /// How pictures are made ready for each image encoder.
    pub preprocessings: Vec<Preprocessing>,
    /// The image encoder whose CLIP compares captions with pictures, if one does.
    pub similarity: Option<usize>,
}

/// A run that is served.
#[derive(Debug, Clone)]
pub struct ServedRun {
    /// What it is called.
    pub name: String,
    /// How it was configured.
    pub config: Arc<Config>,
    /// Its image encoder, by number.
    pub encoder: usize,
    /// What `decoding.max_new_tokens` may be at most.
    pub most_tokens: usize,
}

impl ServedRun {
    /// The longest caption that a request may ask for, in tokens.
    pub(crate) fn longest(&self, limits: &Limits) -> usize {
        limits.max_tokens.max(self.config.decoding.max_new_tokens).min(self.most_tokens)
    }

    /// The most beams or samples that a request may ask for.
    pub(crate) fn most_captions(&self, limits: &Limits) -> usize {
        limits.continuations.max(self.config.decoding.strategy.continuations())
    }
}

/// A picture to caption.
#[derive(Debug, Clone)]
pub struct Picture {
    /// For each image encoder the picture's bytes made ready for it by
    /// [`Preprocessing::planes`], where a task needs it.
    pub pixels: Vec<Option<Vec<u8>>>,
    /// What is asked for, one or more.
    pub tasks: Vec<Task>,
}

/// A run and how it is to decode.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// The run, by number.
    pub run: usize,
    /// Checked before.
    pub decoding: Decoding,
}

/// What a run wrote of a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// Captions, best first.
    pub captions: Vec<Candidate>,
    /// The words that they were written from, for systems that write from words.
    pub keywords: Option<Vec<String>>,
}

/// A caption that a run wrote.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    /// Its text.
    pub caption: String,
    /// What captions of the run are compared by: see [`training::captions::Caption::score`].
    pub score: f64,
    /// Its cosine with the picture by CLIP, where one is served.
    pub similarity: Option<f64>,
}
