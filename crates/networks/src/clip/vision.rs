//! Vision tower: a transformer over image patches, pooled at the class token.

use tch::{TchError, Tensor};

use super::config::VisionConfig;
use super::layers::Encoder;
use crate::layers::{AttentionMask, Builder, LayerNorm};
use crate::transfer;

#[derive(Debug)]
pub(super) struct VisionTower {
    class_embedding: Tensor,
    patch_embedding: Tensor,
    position_embedding: Tensor,
    pre_layrnorm: LayerNorm,
    pub(super) encoder: Encoder,
    post_layernorm: LayerNorm,
    patch_size: i64,
}

impl VisionTower {
    pub(super) fn new(builder: &Builder, config: &VisionConfig) -> Result<Self, TchError> {
        let (hidden, patch) = (config.hidden_size, config.patch_size);
        let std = config.initializer_range * config.initializer_factor;
        let class_std = (hidden as f64).powf(-0.5) * config.initializer_factor;
        let embeddings = builder.sub("embeddings");
        let encoder = config.encoder();
        Ok(Self {
            class_embedding: embeddings.normal("class_embedding", &[hidden], class_std)?,
            patch_embedding: embeddings.sub("patch_embedding").normal(
                "weight",
                &[hidden, config.num_channels, patch, patch],
                std,
            )?,
            position_embedding: embeddings.sub("position_embedding").normal(
                "weight",
                &[config.positions(), hidden],
                std,
            )?,
            // The misspelling is that of every published checkpoint.
            pre_layrnorm: encoder.norm(&builder.sub("pre_layrnorm"))?,
            encoder: Encoder::new(&builder.sub("encoder"), &encoder)?,
            post_layernorm: encoder.norm(&builder.sub("post_layernorm"))?,
            patch_size: patch,
        })
    }

    /// Returns normalised class states `[batch, hidden]` of images `[batch, channels, size, size]`.
    ///
    /// Converts the images to the weights' type and device.
    pub(super) fn forward(&self, pixels: &Tensor) -> Result<Tensor, TchError> {
        let pixels = transfer::to_device(pixels, self.patch_embedding.device())?
            .f_to_kind(self.patch_embedding.f_kind()?)?;
        let stride = [self.patch_size, self.patch_size];
        let patches_bth = pixels
            .f_conv2d(&self.patch_embedding, None::<&Tensor>, stride, [0, 0], [1, 1], 1)?
            .f_flatten(2, 3)?
            .f_transpose(1, 2)?;
        let class = self.class_embedding.f_expand([pixels.size()[0], 1, -1], false)?;
        let states_bth =
            Tensor::f_cat(&[class, patches_bth], 1)?.f_add(&self.position_embedding)?;
        let states_bth = self.pre_layrnorm.forward(&states_bth)?;
        let states_bth = self.encoder.forward(states_bth, &AttentionMask::All)?;
        self.post_layernorm.forward(&states_bth.f_select(1, 0)?)
    }
}
