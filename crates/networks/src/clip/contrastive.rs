//! CLIP's training objective: of a batch of pictures and texts, each picture's own text is to be found
//! among all texts, and each text's own picture among all pictures.

use tch::{Kind, Reduction, TchError, Tensor};

use super::{ClipError, ClipModel};

/// The most that the factor on similarities may become in training (Radford et al. 2021, section 2.5).
const LARGEST_FACTOR: f64 = 100.0;

impl ClipModel {
    /// The symmetric cross entropy of a batch, a scalar: the mean of that over texts and of that over
    /// pictures, of similarities between normalised embeddings times the learned factor. As transformers'
    /// `CLIPModel` gives with `return_loss`.
    ///
    /// `pixels` is `[batch, channels, image_size, image_size]`, `ids` and `attention_mask` `[batch,
    /// tokens]`; row i of one belongs to row i of the other.
    ///
    /// # Errors
    /// As [`Self::encode_image`] and [`Self::encode_text`], and for batches of different sizes.
    pub fn contrastive_loss(
        &self,
        pixels: &Tensor,
        ids: &Tensor,
        attention_mask: Option<&Tensor>,
    ) -> Result<Tensor, ClipError> {
        let (pictures, texts) = (pixels.size(), ids.size());
        if pictures.first() != texts.first() {
            return Err(ClipError::Tokens(format!(
                "{pictures:?} pictures were given with {texts:?} token ids: not a text for each picture"
            )));
        }
        let pictures = normalized(&self.encode_image(pixels)?)?;
        let texts = normalized(&self.encode_text(ids, attention_mask)?)?;
        let factor = self.logit_scale()?.f_exp()?;
        let logits_per_text = texts.f_matmul(&pictures.f_transpose(0, 1)?)?.f_mul(&factor)?;
        let own = Tensor::f_arange(logits_per_text.size()[0], (Kind::Int64, factor.device()))?;
        let of_texts = cross_entropy(&logits_per_text, &own)?;
        let of_pictures = cross_entropy(&logits_per_text.f_transpose(0, 1)?, &own)?;
        Ok(of_texts.f_add(&of_pictures)?.f_div_scalar(2.0)?)
    }

    /// Holds the learned factor on similarities at 100 at most, as training does after each step.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn limit_similarity_factor(&mut self) -> Result<(), ClipError> {
        let mut scale = self.logit_scale()?.shallow_clone();
        let _ = tch::no_grad(|| scale.f_clamp_max_(LARGEST_FACTOR.ln()))?;
        Ok(())
    }
}

fn normalized(embeddings: &Tensor) -> Result<Tensor, TchError> {
    let norms = embeddings.f_norm_scalaropt_dim(2.0, [-1], true)?;
    embeddings.f_div(&norms)
}

fn cross_entropy(logits: &Tensor, classes: &Tensor) -> Result<Tensor, TchError> {
    logits.f_cross_entropy_loss::<Tensor>(classes, None, Reduction::Mean, -100, 0.0)
}
