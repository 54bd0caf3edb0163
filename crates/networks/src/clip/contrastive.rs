//! CLIP's contrastive loss: matching each image of a batch to its text, and each text to its image.

use tch::{Kind, Reduction, TchError, Tensor};

use super::ClipModel;
use crate::error::ModelError;
use crate::layers::normalized;

/// Upper limit of the logit scale in training (Radford et al. 2021, section 2.5).
const LARGEST_FACTOR: f64 = 100.0;

impl ClipModel {
    /// Returns the contrastive loss of a batch, a scalar.
    ///
    /// It is the mean of the cross entropies over images and over texts, of cosine similarities
    /// times the learned scale, as transformers' `CLIPModel` returns with `return_loss`.
    ///
    /// `images` is `[batch, channels, image_size, image_size]`, or with a locked encoder its
    /// features `[batch, dimension]`. `ids` and `attention_mask` are `[batch, tokens]`; row i of
    /// both belongs together.
    ///
    /// # Errors
    /// Same as [`Self::encode_image`] or [`Self::project_features`], and [`Self::encode_text`]; for
    /// batches of different sizes.
    pub fn contrastive_loss(
        &self,
        images: &Tensor,
        ids: &Tensor,
        attention_mask: Option<&Tensor>,
    ) -> Result<Tensor, ModelError> {
        check_numbers(images, ids)?;
        let images = match self.config().image_encoder {
            Some(_) => self.project_features(images)?,
            None => self.encode_image(images)?,
        };
        let texts = self.encode_text(ids, attention_mask)?;
        Ok(contrastive_loss(&images, &texts, self.logit_scale()?)?)
    }

    /// Clamps the logit scale to at most 100, as training does after each step.
    ///
    /// # Errors
    /// Fails if libtorch reports an error.
    pub fn limit_similarity_factor(&mut self) -> Result<(), ModelError> {
        Ok(limit_logit_scale(self.logit_scale()?)?)
    }
}

/// Returns the contrastive loss of embeddings of images and of their texts, a scalar.
///
/// It is the mean of the cross entropies over images and over texts, of cosine similarities times
/// the exponential of `logit_scale`, a scalar. Both embeddings are `[batch, dimension]`, of any
/// length; row i of both belongs together.
///
/// # Errors
/// Fails for embeddings of different shapes, or if memory is exhausted.
pub fn contrastive_loss(
    images: &Tensor,
    texts: &Tensor,
    logit_scale: &Tensor,
) -> Result<Tensor, TchError> {
    let (images, texts) = (normalized(images)?, normalized(texts)?);
    let factor = logit_scale.f_exp()?;
    let logits_per_text = texts.f_matmul(&images.f_transpose(0, 1)?)?.f_mul(&factor)?;
    let targets = Tensor::f_arange(logits_per_text.size()[0], (Kind::Int64, factor.device()))?;
    let of_texts = cross_entropy(&logits_per_text, &targets)?;
    let of_images = cross_entropy(&logits_per_text.f_transpose(0, 1)?, &targets)?;
    of_texts.f_add(&of_images)?.f_div_scalar(2.0)
}

/// Clamps a logit scale, in place, so that its exponential is at most 100.
///
/// # Errors
/// Fails if libtorch reports an error.
pub fn limit_logit_scale(logit_scale: &Tensor) -> Result<(), TchError> {
    let _ = tch::no_grad(|| logit_scale.shallow_clone().f_clamp_max_(LARGEST_FACTOR.ln()))?;
    Ok(())
}

fn check_numbers(images: &Tensor, ids: &Tensor) -> Result<(), ModelError> {
    let (images, texts) = (images.size(), ids.size());
    if images.first() == texts.first() {
        return Ok(());
    }
    Err(ModelError::Tokens(format!(
        "images and texts differ in number: shapes {images:?} and {texts:?}"
    )))
}

fn cross_entropy(logits: &Tensor, classes: &Tensor) -> Result<Tensor, TchError> {
    logits.f_cross_entropy_loss::<Tensor>(classes, None, Reduction::Mean, -100, 0.0)
}
