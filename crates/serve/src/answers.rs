//! JSON answers of the HTTP interface.

use recipes::{Constraints, Decoding, Strategy, System};
use serde::Serialize;
use utoipa::ToSchema;

use crate::backend::{Candidate, ServedRun, Task, TaskOutput};
use crate::error::HttpError;
use crate::limits::Limits;
use crate::schemas;

/// Captions of one picture, or of several in the order of the request.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum CaptionAnswer {
    One(PictureCaptions),
    Several(PictureList),
}

/// Outcome for each picture, in the order of the request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PictureList {
    pub pictures: Vec<PictureOutcome>,
}

/// Captions of a picture, or the reason why it has none.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum PictureOutcome {
    Captioned(PictureCaptions),
    Failed(PictureError),
}

/// Reason why a picture has no captions.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PictureError {
    pub error: String,
    /// HTTP status that the picture alone would have got.
    pub status: u16,
}

/// Reason why a request failed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorAnswer {
    pub error: String,
}

/// Captions of a picture.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PictureCaptions {
    /// Width of the upright picture in pixels.
    pub width: u32,
    /// Height of the upright picture in pixels.
    pub height: u32,
    pub runs: Vec<RunCaptions>,
    pub milliseconds: Timings,
    /// Number of pictures in the models' batch, including this one.
    #[serde(rename = "together")]
    pub batch_size: usize,
}

/// Captions of a picture by one run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunCaptions {
    /// Name of the run.
    run: String,
    /// System of the run: clip-prefix, sbg or merge-rnn.
    system: &'static str,
    /// Paper's name of the system as it decoded, such as `SBG, top-5`.
    title: String,
    /// Best caption as the run writes it.
    caption: String,
    /// Best caption for people.
    text: String,
    score: Option<f64>,
    similarity: Option<f64>,
    clip_score: Option<f64>,
    /// Keywords that the captions were generated from, for SBG.
    keywords: Option<Vec<String>>,
    /// Different captions, best first.
    candidates: Vec<Candidate>,
    #[schema(schema_with = schemas::decoding)]
    decoding: DecodingSettings,
}

/// Decoding settings, with the keys of requests.
#[derive(Debug, Serialize)]
pub(crate) struct DecodingSettings {
    max_new_tokens: usize,
    strategy: Strategy,
    #[serde(flatten)]
    constraints: Constraints,
}

/// Times of a picture in milliseconds.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Timings {
    /// Waiting for a decoder, decoding and preprocessing the picture.
    pub picture: f64,
    /// Waiting for the models.
    pub queue: f64,
    /// Encoding and captioning the batch.
    pub models: f64,
}

/// Served runs, and limits of requests.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunList {
    pub runs: Vec<RunDescription>,
    /// True if captions are compared with pictures by CLIP.
    pub similarity: bool,
    /// Maximum size of a request body in bytes.
    pub bytes: usize,
    /// Maximum number of pixels of a picture.
    pub pixels: u64,
    /// Maximum number of pictures of a request.
    pub pictures: usize,
    /// Number of sample pictures, at /samples/0 and so on.
    pub samples: usize,
}

/// Served run, with the strategies and limits that requests may use.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunDescription {
    name: String,
    /// System of the run: clip-prefix, sbg or merge-rnn.
    system: &'static str,
    /// Paper's name of the system with the run's decoding, such as `SBG, top-5`.
    title: String,
    /// Data set that it learned from; none for an imported model.
    learned_from: Option<String>,
    /// True if it learned from the demo's drawn pictures, and captions no photo rightly.
    demo: bool,
    strategies: &'static [&'static str],
    /// Kind of its candidates' `score`.
    score: &'static str,
    #[schema(schema_with = schemas::decoding)]
    decoding: DecodingSettings,
    /// Maximum `max_new_tokens` of a request.
    most_tokens: usize,
    /// Maximum number of beams or samples of a request.
    most_captions: usize,
}

/// Served runs in the form of `OpenAI`'s list of models.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelList {
    /// Always `list`.
    pub object: &'static str,
    pub data: Vec<Model>,
}

/// Served run in the form of `OpenAI`'s model.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Model {
    /// Name of the run.
    pub id: String,
    /// Always `model`.
    pub object: &'static str,
    /// Time at which the server started, in seconds since 1970.
    pub created: u64,
    /// Always `capsmith`.
    pub owned_by: &'static str,
}

/// Caption for people, in the form of Hugging Face's image-to-text answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GeneratedText {
    pub generated_text: String,
}

impl From<Result<PictureCaptions, HttpError>> for PictureOutcome {
    fn from(outcome: Result<PictureCaptions, HttpError>) -> Self {
        match outcome {
            Ok(captions) => Self::Captioned(captions),
            Err(HttpError { status, message }) => {
                Self::Failed(PictureError { error: message, status: status.as_u16() })
            }
        }
    }
}

impl PictureCaptions {
    /// Returns the caption for people by the first run.
    pub fn into_text(self) -> GeneratedText {
        let first = self.runs.into_iter().next();
        GeneratedText { generated_text: first.map(|run| run.text).unwrap_or_default() }
    }
}

impl RunCaptions {
    /// Returns the answer of a run that has done `task`.
    pub fn new(run: &ServedRun, task: &Task, output: TaskOutput) -> Self {
        let best = output.captions.first();
        Self {
            run: run.name.clone(),
            system: run.config.system.name(),
            title: run.config.title(&task.decoding),
            caption: best.map(|best| best.caption.clone()).unwrap_or_default(),
            text: best.map(|best| best.text.clone()).unwrap_or_default(),
            score: best.map(|best| best.score),
            similarity: best.and_then(|best| best.similarity),
            clip_score: best.and_then(|best| best.clip_score),
            keywords: output.keywords,
            candidates: output.captions,
            decoding: DecodingSettings::new(&task.decoding),
        }
    }
}

impl DecodingSettings {
    fn new(decoding: &Decoding) -> Self {
        Self {
            max_new_tokens: decoding.max_new_tokens,
            strategy: decoding.strategy,
            constraints: decoding.constraints,
        }
    }
}

impl RunDescription {
    pub fn new(run: &ServedRun, limits: &Limits) -> Self {
        let (strategies, score) = match run.config.system {
            System::ClipPrefix(_) => (&["greedy", "beam", "sampling"][..], "mean log-probability"),
            System::Sbg(_) => (&["sampling"][..], "cosine with the picture"),
            System::MergeRnn(_) => (&["beam"][..], "log-probability"),
        };
        Self {
            name: run.name.clone(),
            system: run.config.system.name(),
            title: run.config.title(&run.config.decoding),
            learned_from: run.learned_from.clone(),
            demo: run.learned_from.as_deref() == Some(datasets::DRAWN_NAME),
            strategies,
            score,
            decoding: DecodingSettings::new(&run.config.decoding),
            most_tokens: run.max_request_tokens(limits),
            most_captions: run.max_request_captions(limits),
        }
    }
}
