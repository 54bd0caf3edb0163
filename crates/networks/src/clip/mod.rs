//! CLIP: images and texts as vectors in one embedding space (Radford et al. 2021, arXiv
//! 2103.00020).
//!
//! Reads any CLIP with a vision transformer, such as `openai/clip-vit-large-patch14`,
//! `-base-patch32` and `-base-patch16`, from a Hugging Face folder. Variables have the checkpoint's
//! names. The embeddings equal those of transformers 4.57.6 (`get_image_features`,
//! `get_text_features`) to 1e-5 in f32.
//!
//! ```no_run
//! # fn main() -> Result<(), networks::ModelError> {
//! use networks::clip::LoadedClip;
//! use tch::{Device, Kind, Tensor};
//!
//! let clip = LoadedClip::from_folder("clip-vit-large-patch14".as_ref(), Device::Cpu, Kind::Float)?;
//! let pixels = Tensor::zeros([8, 3, 224, 224], (Kind::Float, Device::Cpu));
//! let embeddings = tch::no_grad(|| clip.model.encode_image(&pixels))?; // [8, 768]
//! # Ok(())
//! # }
//! ```
//!
//! # Half precision
//!
//! With [`tch::Kind::Half`] or [`tch::Kind::BFloat16`], weights and hidden states have that type;
//! libtorch accumulates in f32 inside attention and norms, and inside matrix products but for sums
//! of parts that cuBLAS may round to the type, as under PyTorch's defaults. PyTorch's autocast,
//! with which the paper computed its embeddings, keeps weights in f32 and rounds only the inputs of
//! products. Its norms return f32, so the residual stream stays f32, while here it is rounded twice
//! per layer. On a ViT-B/32 with random weights the relative distance of embeddings from f32 is
//! 0.12 % in f16 and 0.95 % in bf16, under autocast 0.05 % and 0.39 %.
//!
//! # Speed
//!
//! Queries, keys and values are three products with the checkpoint's own matrices. Fusing them was
//! at most 10 % faster on two CPU cores at ViT-L/14's sizes, and they are a quarter of a layer's
//! products, which does not justify a copy of those weights. Not measured on a GPU.

mod config;
mod contrastive;
mod folder;
mod layers;
mod text;
mod vision;

use std::borrow::Borrow;

use tch::{TchError, Tensor, nn};
use text::TextTower;
use vision::VisionTower;

use crate::error::ModelError;
use crate::layers::{Builder, InitialWeights, Linear};
use crate::token_rows::check_ids;

pub use config::{Activation, ClipConfig, LockedEncoder, TextConfig, Towers, VisionConfig};
pub use contrastive::{contrastive_loss, limit_logit_scale};
pub use folder::{LoadedClip, folder_of, save_folder};

/// CLIP model with one or both towers and their projections.
///
/// After locked-image tuning it has a projection of another encoder's features in place of the
/// vision tower.
#[derive(Debug)]
pub struct ClipModel {
    config: ClipConfig,
    vision: Option<VisionTower>,
    text: Option<TextTower>,
    visual_projection: Option<Linear>,
    text_projection: Option<Linear>,
    feature_projection: Option<Linear>,
    logit_scale: Option<Tensor>,
}

impl ClipModel {
    /// Adds a model's variables under `path`, initialised as transformers does from scratch.
    ///
    /// The weights have the store's type.
    ///
    /// # Errors
    /// [`ModelError::Torch`], for example if memory is exhausted. The config must pass
    /// [`ClipConfig::check`].
    pub fn new<'a>(
        path: impl Borrow<nn::Path<'a>>,
        config: &ClipConfig,
    ) -> Result<Self, ModelError> {
        Ok(Self::build(&Builder::new(path.borrow().clone(), InitialWeights::Random), config)?)
    }

    fn build(builder: &Builder, config: &ClipConfig) -> Result<Self, TchError> {
        let vision = Some(&config.vision_config).filter(|_| config.towers != Towers::Text);
        let text = Some(&config.text_config).filter(|_| config.towers != Towers::Vision);
        let projection = |name: &str, hidden: i64| {
            let std = (hidden as f64).powf(-0.5);
            Linear::unbiased(&builder.sub(name), hidden, config.projection_dim, std)
        };
        let has_scale = config.towers == Towers::Both || config.image_encoder.is_some();
        let scale = || builder.constant("logit_scale", &[], config.logit_scale_init_value);
        let feature_projection = |encoder: &LockedEncoder| {
            let std = (encoder.dimension as f64).powf(-0.5);
            let builder = builder.sub("visual_projection");
            Linear::new(&builder, encoder.dimension, config.projection_dim, std)
        };
        Ok(Self {
            vision: vision
                .map(|vision| VisionTower::new(&builder.sub("vision_model"), vision))
                .transpose()?,
            text: text.map(|text| TextTower::new(&builder.sub("text_model"), text)).transpose()?,
            visual_projection: vision
                .map(|vision| projection("visual_projection", vision.hidden_size))
                .transpose()?,
            text_projection: text
                .map(|text| projection("text_projection", text.hidden_size))
                .transpose()?,
            feature_projection: config
                .image_encoder
                .as_ref()
                .map(feature_projection)
                .transpose()?,
            logit_scale: has_scale.then(scale).transpose()?,
            config: config.clone(),
        })
    }

    /// Packs the towers' weights for inference on the CPU; they must not change any more.
    fn pack(&mut self) {
        if let Some(vision) = &mut self.vision {
            vision.encoder.pack();
        }
        if let Some(text) = &mut self.text {
            text.encoder.pack();
        }
    }

    /// Returns the configuration.
    #[must_use]
    pub fn config(&self) -> &ClipConfig {
        &self.config
    }

    /// Returns embeddings `[batch, projection_dim]`, not normalised, of preprocessed images.
    ///
    /// `pixels` is `[batch, channels, image_size, image_size]`; it is converted to the weights'
    /// type and device.
    ///
    /// # Errors
    /// [`ModelError::Pictures`] for another shape, [`ModelError::Absent`] without a vision tower,
    /// [`ModelError::Torch`] for example if memory is exhausted.
    pub fn encode_image(&self, pixels: &Tensor) -> Result<Tensor, ModelError> {
        let (channels, size) =
            (self.config.vision_config.num_channels, self.config.vision_config.image_size);
        let got = pixels.size();
        if got.len() != 4 || got[1..] != [channels, size, size] {
            return Err(ModelError::Pictures { got, channels, size });
        }
        let (Some(vision), Some(projection)) = (&self.vision, &self.visual_projection) else {
            return Err(ModelError::Absent("vision tower"));
        };
        Ok(projection.forward(&vision.forward(pixels)?)?)
    }

    /// Returns embeddings `[batch, projection_dim]`, not normalised, of a locked encoder's
    /// features.
    ///
    /// `features` is `[batch, dimension]`.
    ///
    /// # Errors
    /// [`ModelError::Features`] for another shape, [`ModelError::Absent`] for a CLIP without
    /// [`ClipConfig::image_encoder`], [`ModelError::Torch`] for example if memory is exhausted.
    pub fn project_features(&self, features: &Tensor) -> Result<Tensor, ModelError> {
        let (Some(projection), Some(encoder)) =
            (&self.feature_projection, &self.config.image_encoder)
        else {
            return Err(ModelError::Absent("projection of another encoder's features"));
        };
        match features.size()[..] {
            [_, dimension] if dimension == encoder.dimension => Ok(projection.forward(features)?),
            _ => Err(ModelError::Features { got: features.size(), dimension: encoder.dimension }),
        }
    }

    /// Returns embeddings `[batch, projection_dim]`, not normalised, of token ids `[batch,
    /// tokens]`.
    ///
    /// Rows are padded on the right. Ids in host memory are checked, then copied asynchronously to
    /// a GPU.
    ///
    /// `attention_mask` `[batch, tokens]` is 1 for tokens and 0 for padding. It does not change the
    /// embeddings: attention is causal, and the end token comes before all padding.
    ///
    /// # Errors
    /// [`ModelError::Tokens`] for no tokens, more than the model has positions, ids outside the
    /// vocabulary, or a mask of another shape; [`ModelError::Torch`] for example if memory is
    /// exhausted.
    pub fn encode_text(
        &self,
        ids: &Tensor,
        attention_mask: Option<&Tensor>,
    ) -> Result<Tensor, ModelError> {
        self.check_tokens(ids, attention_mask)?;
        let (Some(text), Some(projection)) = (&self.text, &self.text_projection) else {
            return Err(ModelError::Absent("text tower"));
        };
        Ok(projection.forward(&text.forward(ids, attention_mask)?)?)
    }

    /// Returns the scale of similarities before a softmax: `exp(logit_scale)`, 100 in `OpenAI`'s
    /// models.
    pub fn similarity_factor(&self) -> Result<f64, ModelError> {
        Ok(f64::try_from(self.logit_scale()?)?.exp())
    }

    fn logit_scale(&self) -> Result<&Tensor, ModelError> {
        self.logit_scale.as_ref().ok_or(ModelError::Absent("similarity scale"))
    }

    fn check_tokens(&self, ids: &Tensor, mask: Option<&Tensor>) -> Result<(), ModelError> {
        let config = &self.config.text_config;
        let shape = ids.size();
        let positions = config.max_position_embeddings;
        if !matches!(shape[..], [_, tokens] if (1..=positions).contains(&tokens)) {
            return Err(ModelError::Tokens(format!(
                "token ids have shape {shape:?}, but this CLIP takes [batch, 1 to {positions}]"
            )));
        }
        if let Some(got) = mask.map(Tensor::size).filter(|got| *got != shape) {
            return Err(ModelError::Tokens(format!(
                "the attention mask has shape {got:?}, the token ids have {shape:?}"
            )));
        }
        // On a GPU an id out of range would make the device unusable for the rest of the process.
        if shape[0] > 0 {
            let (low, high) = (i64::try_from(ids.f_min()?)?, i64::try_from(ids.f_max()?)?);
            check_ids([low, high].into_iter(), config.vocab_size)?;
        }
        Ok(())
    }
}
