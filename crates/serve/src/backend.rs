//! Interface between the server and the models.

use std::sync::Arc;

use networks::memory::OutOfMemory;
use pictures::Preprocessing;
use recipes::{Config, Decoding};
use serde::Serialize;
use utoipa::ToSchema;

use crate::limits::Limits;

/// Model backend. It is created, used and dropped on one thread.
pub trait Backend {
    /// Returns the served runs; the result never changes.
    fn served(&self) -> ServedModels;

    /// Captions a batch of images; returns the output of each image's tasks, in order.
    ///
    /// # Errors
    /// Fails if the batch cannot be captioned.
    fn caption(&mut self, images: &[PreparedImage]) -> Result<Vec<Vec<TaskOutput>>, BackendError>;
}

/// A batch of images could not be captioned.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// Memory is exhausted.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// Any other error, as a message.
    #[error("{0}")]
    Other(String),
}

/// Runs and preprocessings that the server offers.
#[derive(Debug, Clone)]
pub struct ServedModels {
    /// Runs, in the order of their indices.
    pub runs: Vec<ServedRun>,
    /// Preprocessing of each image encoder.
    pub preprocessings: Vec<Preprocessing>,
    /// Index of the image encoder whose CLIP scores caption similarities, if any.
    pub similarity: Option<usize>,
}

/// Run that the server offers.
#[derive(Debug, Clone)]
pub struct ServedRun {
    /// Name in requests.
    pub name: String,
    /// Name of the data set that it learned from; none for an imported model.
    pub learned_from: Option<String>,
    /// Config of the run.
    pub config: Arc<Config>,
    /// Index of its image encoder.
    pub encoder: usize,
    /// Upper limit of `decoding.max_new_tokens`.
    pub max_tokens: usize,
}

impl ServedRun {
    /// Returns the maximum `max_new_tokens` of a request.
    pub(crate) fn max_request_tokens(&self, limits: &Limits) -> usize {
        limits.max_tokens.max(self.config.decoding.max_new_tokens).min(self.max_tokens)
    }

    /// Returns the maximum number of beams or samples of a request.
    pub(crate) fn max_request_captions(&self, limits: &Limits) -> usize {
        limits.continuations.max(self.config.decoding.strategy.continuations())
    }
}

/// Preprocessed image, with the tasks to run on it.
#[derive(Debug, Clone)]
pub struct PreparedImage {
    /// Pixels for each image encoder, by [`Preprocessing::planes`], if a task needs that encoder.
    pub pixels: Vec<Option<Vec<u8>>>,
    /// Tasks, at least one.
    pub tasks: Vec<Task>,
}

/// Run and its decoding settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Index of the run.
    pub run: usize,
    /// Decoding settings, already validated.
    pub decoding: Decoding,
}

/// Output of one task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskOutput {
    /// Captions, best first.
    pub captions: Vec<Candidate>,
    /// Keywords that the captions were generated from, for SBG.
    pub keywords: Option<Vec<String>>,
}

/// Generated caption.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Candidate {
    /// Text as the run writes it, and as evaluation scores it.
    pub caption: String,
    /// Text for people.
    pub text: String,
    /// Score by which the run ranks its captions; `GET /v1/runs` tells its kind.
    pub score: f64,
    /// Cosine similarity of caption and image by CLIP, if one is served.
    pub similarity: Option<f64>,
    /// CLIPScore (Hessel et al. 2021) by the same CLIP.
    pub clip_score: Option<f64>,
}
