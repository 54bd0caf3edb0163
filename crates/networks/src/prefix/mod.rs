//! The captioner of ClipCap: an image embedding becomes a few vectors that GPT-2 reads as if they
//! were the first tokens, and it writes the caption on.
//!
//! Paper: Mokady et al., "ClipCap: CLIP Prefix for Image Captioning" (2021), with the MLP mapper and
//! a GPT-2 that is trained along, or the transformer mapper and a GPT-2 that is not. Variables have
//! the names of ClipCap's checkpoints: `clip_project.model.{0,2}.{weight,bias}` or
//! `clip_project.transformer.*`, and `gpt.transformer.*`. What differs: captions are packed instead
//! of padded, the last token is not read, and behind the last attention only the states are computed
//! that predict a target. Loss and gradients are the same.

mod batch;
mod mapper;

use std::borrow::Borrow;

use tch::{Tensor, nn};

pub use batch::TokenBatch;
use mapper::Mapper;
pub use mapper::MapperConfig;
pub use recipes::MapperKind;

use crate::gpt2::{self, Gpt2, Gpt2Config};
use crate::layers::{Builder, Initial};
use crate::pass::Pass;
use crate::weights::{self, Checkpoint, WeightsError};

/// GPT-2 with a mapper from image embeddings to its first input vectors.
#[derive(Debug)]
pub struct ClipCaptioner {
    mapper: Mapper,
    mapper_config: MapperConfig,
    gpt2: Gpt2,
}

/// Initial values of a captioner's variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InitialParts {
    /// The mapper's variables.
    pub mapper: Initial,
    /// The language model's.
    pub gpt2: Initial,
}

impl InitialParts {
    /// The initial values of a captioner that a checkpoint fills.
    pub const ZEROS: Self = Self { mapper: Initial::Zeros, gpt2: Initial::Zeros };
}

impl ClipCaptioner {
    /// Adds a captioner's variables under `module`, initialised as PyTorch and transformers do.
    ///
    /// # Panics
    /// When `config` does not pass [`Gpt2Config::check`], the transformer mapper's eight heads do not
    /// divide the hidden size, or memory is exhausted.
    #[must_use]
    pub fn new<'a>(
        module: impl Borrow<nn::Path<'a>>,
        config: &Gpt2Config,
        mapper: &MapperConfig,
    ) -> Self {
        let initial = InitialParts { mapper: Initial::Random, gpt2: Initial::Random };
        Self::with_initial(module, config, mapper, initial)
    }

    /// Adds a captioner's variables as [`Self::new`], with other initial values. The mapper's do not
    /// depend on GPT-2's.
    ///
    /// # Panics
    /// As [`Self::new`].
    #[must_use]
    pub fn with_initial<'a>(
        module: impl Borrow<nn::Path<'a>>,
        config: &Gpt2Config,
        mapper: &MapperConfig,
        initial: InitialParts,
    ) -> Self {
        let module = module.borrow();
        let mapper_variables = Builder::new(module / "clip_project", initial.mapper);
        Self {
            mapper: Mapper::new(&mapper_variables, mapper, config.n_embd),
            mapper_config: *mapper,
            gpt2: Gpt2::with_initial(module / "gpt", config, initial.gpt2),
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
        self.mapper_config.prefix_length
    }

    /// The longest caption that can be trained on, or generated, in tokens: what the prefix leaves
    /// of GPT-2's positions, and the last token, which is never read.
    #[must_use]
    pub fn max_caption_tokens(&self) -> i64 {
        self.gpt2.config().n_positions - self.prefix_length() + 1
    }

    /// Prefix vectors `[batch, prefix_length, hidden]` of image embeddings `[batch, clip_dim]`.
    pub fn prefix(&self, embeddings: &Tensor) -> Tensor {
        self.mapper.forward(embeddings, Pass::EVALUATION)
    }

    /// The training loss, a scalar: the cross entropy of each caption token given the image and the
    /// tokens before it, averaged over the batch's targets.
    ///
    /// `embeddings` `[images, clip_dim]` are those of which `batch` names the rows. Not a number where
    /// the batch has no target ([`TokenBatch::targets`] is 0).
    ///
    /// # Panics
    /// When a caption is longer than [`Self::max_caption_tokens`], an id is not below `vocab_size`,
    /// an image has no embedding, or `batch` was made for another prefix length.
    pub fn caption_loss<'m>(
        &'m self,
        embeddings: &'m Tensor,
        batch: &'m TokenBatch,
        pass: Pass<'_, 'm>,
    ) -> Tensor {
        let inputs = move |pass: Pass<'_, 'm>| self.inputs(embeddings, batch, pass);
        let states = self.gpt2.forward_packed(inputs, batch.packing(), batch.predictors(), pass);
        self.gpt2.target_loss(&states, batch.target_ids(), pass)
    }

    /// What GPT-2 reads, `[rows, hidden]`: prefix vectors, then tokens.
    fn inputs(&self, embeddings: &Tensor, batch: &TokenBatch, pass: Pass) -> Tensor {
        assert_eq!(
            batch.prefix_length(),
            self.prefix_length(),
            "a batch for another prefix length"
        );
        let tokens = self.gpt2.embed(batch.inputs());
        let embeddings = embeddings.index_select(0, batch.images());
        let prefix = self.mapper.forward(&embeddings, pass).to_kind(tokens.kind());
        Tensor::cat(&[prefix.flatten(0, 1), tokens], 0)
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
    const HEAD: &str = "gpt.lm_head.weight";
    if !store.variables().contains_key(HEAD) {
        gpt2::check_tied_head(checkpoint, HEAD, "gpt.transformer.wte.weight")?;
    }
    weights::load(store, checkpoint, str::to_owned, is_ignored)
}

/// Returns true if [`load`] passes over a tensor of this name, as ClipCap calls it: the output head or
/// a causal mask.
#[must_use]
pub fn is_ignored(name: &str) -> bool {
    name.strip_prefix("gpt.").is_some_and(gpt2::is_ignored)
}
