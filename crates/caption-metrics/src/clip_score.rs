//! CLIPScore and RefCLIPScore (Hessel et al. 2021, arXiv 2104.08718), and torchmetrics' CLIP score.
//!
//! With `v` the CLIP embedding of the image, `c` that of the prompt and the prediction, `r_i` those
//! of the prompt and each reference, and H the harmonic mean:
//!
//! ```text
//! CLIPScore = w · max(cos(c, v), 0)      RefCLIPScore = H(CLIPScore, max(max_i cos(c, r_i), 0))
//! ```
//!
//! Corpus scores are means over images. torchmetrics' score is 100 · cos(c, v) without a prompt;
//! it clips the mean at 0, not every image.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::meteor::Segment;
use crate::{Error, Metric};

/// Weight w of CLIPScore. PAC-S (Sarto et al. 2023) has 2, and weights of its own.
pub const WEIGHT: f64 = 2.5;

/// Prompt of CLIPScore, which stands before every caption.
pub const PROMPT: &str = "A photo depicts";

/// CLIP that compares captions with images, and with each other.
///
/// This crate has none: `training::clip_scorer` of capsmith computes one by libtorch.
pub trait ClipModel: fmt::Debug + Send + Sync {
    /// Returns the cosines of predictions with their images and, on request, with references.
    ///
    /// `prompt` is put before every caption.
    ///
    /// # Errors
    /// Fails if an image is not known, or the model fails.
    fn cosines(
        &self,
        images: &[Segment<'_, String>],
        prompt: &str,
        with_references: bool,
    ) -> Result<Cosines, Box<dyn StdError + Send + Sync>>;

    /// Returns the SHA-256 of the weights.
    fn sha256(&self) -> &str;

    /// Returns the number of tokens at which captions are cut.
    fn context_length(&self) -> usize;
}

/// Cosines of embeddings, for each image.
#[derive(Clone, Debug, Default)]
pub struct Cosines {
    /// Cosine of the prediction and the image.
    pub images: Vec<f64>,
    /// Largest cosine of the prediction and a reference; empty without references.
    pub references: Vec<f64>,
    /// Number of predictions that were cut.
    pub cut_predictions: usize,
    /// Number of references that were cut.
    pub cut_references: usize,
}

/// CLIP, weight and prompt of CLIPScore.
#[derive(Clone, Debug)]
pub struct ClipScore {
    /// CLIP that compares captions with images.
    pub model: Arc<dyn ClipModel>,
    /// Weight w; [`WEIGHT`] for CLIPScore.
    pub weight: f64,
    /// Prompt before every caption; [`PROMPT`] for CLIPScore.
    pub prompt: String,
}

/// CLIP, weight, prompt and cut captions of CLIPScore.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClipProtocol {
    /// SHA-256 of the CLIP's weights.
    pub model_sha256: String,
    /// Weight w.
    pub weight: f64,
    /// Prompt before every caption; torchmetrics' score has none.
    pub prompt: String,
    /// Number of tokens at which captions are cut.
    pub context_length: usize,
    /// Number of predictions that were cut.
    pub cut_predictions: usize,
    /// Number of references that were cut.
    pub cut_references: usize,
}

/// Scores of one image by their names.
pub(crate) type ImageClipScores = Box<[(&'static str, f64)]>;

impl ClipScore {
    /// Returns the protocol, before any caption was cut.
    pub(crate) fn protocol(&self) -> ClipProtocol {
        ClipProtocol {
            model_sha256: self.model.sha256().to_owned(),
            weight: self.weight,
            prompt: self.prompt.clone(),
            context_length: self.model.context_length(),
            cut_predictions: 0,
            cut_references: 0,
        }
    }

    /// Returns those `metrics` that a CLIP computes, for each image, and counts cut captions.
    pub(crate) fn score(
        &self,
        images: &[Segment<'_, String>],
        metrics: &[Metric],
        protocol: &mut ClipProtocol,
    ) -> Result<Vec<ImageClipScores>, Error> {
        let wants = |metric| metrics.contains(&metric);
        let with_references = wants(Metric::RefClipScore);
        let mut columns: Vec<(&'static str, Vec<f64>)> = Vec::new();
        let (mut cut_predictions, mut cut_references) = (0, 0);
        if wants(Metric::ClipScore) || with_references {
            let found = self.model.cosines(images, &self.prompt, with_references);
            let found = found.map_err(Error::Clip)?;
            let scores = found.images.iter().map(|&cosine| clip_score(cosine, self.weight));
            let scores: Vec<f64> = scores.collect();
            if with_references {
                let both = scores.iter().zip(&found.references);
                let scores = both.map(|(&score, &cosine)| ref_clip_score(score, cosine)).collect();
                columns.push(("RefCLIPScore", scores));
            }
            if wants(Metric::ClipScore) {
                columns.insert(0, ("CLIPScore", scores));
            }
            (cut_predictions, cut_references) = (found.cut_predictions, found.cut_references);
        }
        if wants(Metric::ClipScoreTorchmetrics) {
            let found = self.model.cosines(images, "", false).map_err(Error::Clip)?;
            let scores = found.images.iter().map(|cosine| 100.0 * cosine).collect();
            columns.push(("CLIPScore_torchmetrics", scores));
            cut_predictions = cut_predictions.max(found.cut_predictions);
        }
        protocol.cut_predictions += cut_predictions;
        protocol.cut_references += cut_references;
        let image = |image| columns.iter().map(|(name, scores)| (*name, scores[image])).collect();
        Ok((0..images.len()).map(image).collect())
    }
}

/// Returns CLIPScore by the cosine of caption and image.
#[must_use]
pub fn clip_score(cosine: f64, weight: f64) -> f64 {
    weight * positive(cosine)
}

/// Returns RefCLIPScore by CLIPScore and the largest cosine of the caption and a reference.
#[must_use]
pub fn ref_clip_score(clip_score: f64, reference_cosine: f64) -> f64 {
    let (a, b) = (clip_score, positive(reference_cosine));
    if a + b == 0.0 { 0.0 } else { 2.0 * a * b / (a + b) }
}

/// Returns the larger of a number and 0. As in numpy, NaN stays NaN.
pub(crate) fn positive(value: f64) -> f64 {
    value.clamp(0.0, f64::INFINITY)
}
