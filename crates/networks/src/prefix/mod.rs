//! The captioner of ClipCap: an image embedding becomes a few vectors that GPT-2 reads as if they
//! were the first tokens, and it writes the caption on.
//!
//! Paper: Mokady et al., "ClipCap: CLIP Prefix for Image Captioning" (2021), with the MLP mapper and
//! a GPT-2 that is trained along. Variables have the names of ClipCap's checkpoints:
//! `clip_project.model.{0,2}.{weight,bias}` and `gpt.transformer.*`. What differs: a batch is padded
//! to its own longest caption instead of the data set's, the last token is not read, and logits are
//! computed only where there is a target. Loss and gradients are the same.

mod batch;
mod mapper;

use std::borrow::Borrow;

use tch::{Reduction, Tensor, nn};

pub use batch::TokenBatch;
pub use mapper::MlpMapper;

use crate::gpt2::{self, Gpt2, Gpt2Config};
use crate::weights::{self, Checkpoint, WeightsError};

/// GPT-2 with a mapper from image embeddings to its first input vectors.
#[derive(Debug)]
pub struct ClipCaptioner {
    mapper: MlpMapper,
    gpt2: Gpt2,
}

impl ClipCaptioner {
    /// Adds a captioner's variables under `module`, initialised as PyTorch and transformers do: for
    /// image embeddings of `clip_dim` values and `prefix_length` prefix vectors.
    ///
    /// # Panics
    /// When `config` does not pass [`Gpt2Config::check`], or memory is exhausted.
    #[must_use]
    pub fn new<'a>(
        module: impl Borrow<nn::Path<'a>>,
        config: &Gpt2Config,
        clip_dim: i64,
        prefix_length: i64,
    ) -> Self {
        let module = module.borrow();
        Self {
            mapper: MlpMapper::new(module / "clip_project", clip_dim, config.n_embd, prefix_length),
            gpt2: Gpt2::new(module / "gpt", config),
        }
    }

    /// The language model.
    #[must_use]
    pub fn gpt2(&self) -> &Gpt2 {
        &self.gpt2
    }

    /// Prefix vectors for each image.
    #[must_use]
    pub fn prefix_length(&self) -> i64 {
        self.mapper.prefix_length()
    }

    /// The longest caption that can be trained on, or generated, in tokens: what the prefix leaves
    /// of GPT-2's positions, and the last token, which is never read.
    #[must_use]
    pub fn max_caption_tokens(&self) -> i64 {
        self.gpt2.config().n_positions - self.prefix_length() + 1
    }

    /// Prefix vectors `[batch, prefix_length, hidden]` of image embeddings `[batch, clip_dim]`.
    pub fn prefix(&self, embeddings: &Tensor) -> Tensor {
        self.mapper.forward(embeddings)
    }

    /// The training loss, a scalar: the cross entropy of each caption token given the image and the
    /// tokens before it, averaged over the batch's targets. Dropout is active only when `train`.
    ///
    /// `embeddings` `[batch, clip_dim]` belong to the rows of `batch`. Not a number where the batch
    /// has no target ([`TokenBatch::targets`] is 0).
    ///
    /// # Panics
    /// When a caption is longer than [`Self::max_caption_tokens`], an id is not below `vocab_size`,
    /// or `batch` was made for another prefix length.
    pub fn caption_loss(&self, embeddings: &Tensor, batch: &TokenBatch, train: bool) -> Tensor {
        assert_eq!(
            batch.prefix_length(),
            self.prefix_length(),
            "a batch for another prefix length"
        );
        let prefix = self.prefix(embeddings);
        let inputs = Tensor::cat(&[prefix, self.gpt2.embed(batch.inputs())], 1);
        // No mask: padding lies on the right, where no token looks.
        let states = self.gpt2.forward(&inputs, None, train).flatten(0, 1);
        let logits = self.gpt2.logits(&states.index_select(0, batch.target_positions()));
        logits.cross_entropy_loss::<Tensor>(batch.target_ids(), None, Reduction::Mean, -100, 0.0)
    }
}

/// Fills a captioner that was built at the store's root from a checkpoint with ClipCap's names, such
/// as a run's own.
///
/// What ClipCap's own files repeat or keep as buffers is passed over: the output head where it is
/// the token embedding again, and the causal masks.
///
/// # Errors
/// Names every tensor that does not fit; nothing is changed then.
pub fn load(store: &mut nn::VarStore, checkpoint: &Checkpoint) -> Result<(), WeightsError> {
    gpt2::check_tied_head(checkpoint, "gpt.lm_head.weight", "gpt.transformer.wte.weight")?;
    weights::load(store, checkpoint, str::to_owned, |name| {
        name.strip_prefix("gpt.").is_some_and(gpt2::is_ignored)
    })
}
