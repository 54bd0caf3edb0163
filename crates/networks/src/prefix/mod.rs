//! ClipCap's captioner: an image embedding becomes prefix vectors that GPT-2 continues as a
//! caption.
//!
//! Paper: Mokady et al., "ClipCap: CLIP Prefix for Image Captioning" (2021), with the MLP mapper
//! and a trained GPT-2, or the transformer mapper and a frozen GPT-2. Variables have the names of
//! ClipCap's checkpoints: `clip_project.model.{0,2}.{weight,bias}` or `clip_project.transformer.*`,
//! and `gpt.transformer.*`; a standardised captioner, which ClipCap has not, adds
//! `standardization.{mean,deviation}`. Differences from ClipCap: captions are packed instead of
//! padded, the last token is no input, and the last block computes only the states that predict a
//! target. Loss and gradients are the same.

mod batch;
mod mapper;

use std::borrow::Borrow;

use tch::{Kind, Tensor, nn};

pub use batch::TokenBatch;
use mapper::Mapper;
pub use mapper::MapperConfig;
pub use recipes::MapperKind;

use crate::gpt2::{self, Gpt2, Gpt2Config};
use crate::layers::{Builder, InitialWeights};
use crate::pass::Pass;
use crate::standardization::{STANDARDIZATION, Standardization};
use crate::weights::{self, Checkpoint, WeightsError};

/// Name of the mapper's module in ClipCap's checkpoints.
const MAPPER: &str = "clip_project";
/// Name of the language model's module in ClipCap's checkpoints.
const GPT2: &str = "gpt";

/// GPT-2 with a mapper from image embeddings to its first input vectors.
#[derive(Debug)]
pub struct ClipCaptioner {
    standardization: Option<Standardization>,
    mapper: Mapper,
    mapper_config: MapperConfig,
    gpt2: Gpt2,
}

/// Initial values of the two parts of a captioner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaptionerInitialWeights {
    /// Initial values of the mapper.
    pub mapper: InitialWeights,
    /// Initial values of the language model.
    pub gpt2: InitialWeights,
}

impl CaptionerInitialWeights {
    /// Initial values of a captioner that a checkpoint fills.
    pub const ZEROS: Self = Self { mapper: InitialWeights::Zeros, gpt2: InitialWeights::Zeros };
}

impl ClipCaptioner {
    /// Adds a captioner's variables under `module`, initialised as PyTorch and transformers do.
    ///
    /// # Panics
    /// Panics if `config` fails [`Gpt2Config::check`], the hidden size is not a multiple of the
    /// transformer mapper's eight heads, or memory is exhausted.
    #[must_use]
    pub fn new<'a>(
        module: impl Borrow<nn::Path<'a>>,
        config: &Gpt2Config,
        mapper: &MapperConfig,
    ) -> Self {
        let initial = CaptionerInitialWeights {
            mapper: InitialWeights::Random,
            gpt2: InitialWeights::Random,
        };
        Self::with_initial(module, config, mapper, initial)
    }

    /// Adds a captioner's variables as [`Self::new`] does, with other initial values.
    ///
    /// The mapper's random values do not depend on the choice for GPT-2.
    ///
    /// # Panics
    /// Same as [`Self::new`].
    #[must_use]
    pub fn with_initial<'a>(
        module: impl Borrow<nn::Path<'a>>,
        config: &Gpt2Config,
        mapper: &MapperConfig,
        initial: CaptionerInitialWeights,
    ) -> Self {
        let module = module.borrow();
        let mapper_variables = Builder::new(module / MAPPER, initial.mapper);
        let standardization = || {
            let module = Builder::new(module / STANDARDIZATION, initial.mapper);
            Standardization::variables(&module, mapper.clip_dim)
        };
        Self {
            standardization: mapper.standardize.then(standardization),
            mapper: Mapper::new(&mapper_variables, mapper, config.n_embd),
            mapper_config: *mapper,
            gpt2: Gpt2::with_initial(module / GPT2, config, initial.gpt2),
        }
    }

    /// Converts the weights in the root of a store to another floating-point type.
    ///
    /// Statistics of the embeddings stay in f32, in which embeddings are standardised.
    pub fn convert_weights(store: &nn::VarStore, kind: Kind) {
        for part in [MAPPER, GPT2] {
            (store.root() / part).set_kind(kind);
        }
    }

    /// Packs the language model's weights for inference; see [`Gpt2::pack`].
    pub fn pack(&mut self) {
        self.gpt2.pack();
    }

    /// Returns the language model.
    #[must_use]
    pub fn gpt2(&self) -> &Gpt2 {
        &self.gpt2
    }

    /// Returns the statistics that embeddings are standardised by, if they are.
    #[must_use]
    pub fn standardization(&self) -> Option<&Standardization> {
        self.standardization.as_ref()
    }

    /// Returns the number of prefix vectors per image.
    #[must_use]
    pub fn prefix_length(&self) -> i64 {
        self.mapper_config.prefix_length
    }

    /// Returns prefix vectors `[batch, prefix_length, hidden]` for embeddings `[batch, clip_dim]`,
    /// in the type of the weights.
    pub fn prefix(&self, embeddings: &Tensor) -> Tensor {
        let kind = self.gpt2.token_embedding.kind();
        let embeddings = self.standardized(embeddings).to_kind(kind);
        self.mapper.forward(&embeddings, Pass::EVALUATION)
    }

    /// Returns the training loss, a scalar: the mean cross entropy over the batch's targets.
    ///
    /// `embeddings` `[images, clip_dim]` holds the rows that `batch` refers to. The loss is NaN if
    /// the batch has no target ([`TokenBatch::targets`] is 0).
    ///
    /// # Panics
    /// When a caption is longer than [`Gpt2Config::tokens_after`] the prefix, an id is not below
    /// `vocab_size`, an image has no embedding, or `batch` was made for another prefix length.
    pub fn caption_loss<'m>(
        &'m self,
        embeddings: &'m Tensor,
        batch: &'m TokenBatch,
        pass: Pass<'_, 'm>,
    ) -> Tensor {
        let inputs = move |pass: Pass<'_, 'm>| self.inputs(embeddings, batch, pass);
        let states = self.gpt2.forward_packed(inputs, &batch.packing, &batch.predictors, pass);
        self.gpt2.target_loss(&states, &batch.target_ids, pass)
    }

    fn standardized(&self, embeddings: &Tensor) -> Tensor {
        Standardization::apply_any(self.standardization(), embeddings)
    }

    /// Returns the input of GPT-2, `[rows, hidden]`: prefix vectors, then tokens.
    fn inputs(&self, embeddings: &Tensor, batch: &TokenBatch, pass: Pass) -> Tensor {
        assert_eq!(
            batch.prefix_length,
            self.prefix_length(),
            "the batch has another prefix length"
        );
        let tokens = self.gpt2.embed(&batch.inputs);
        let embeddings = embeddings.index_select(0, &batch.images);
        let embeddings =
            pass.drop_values(self.standardized(&embeddings), self.mapper_config.dropout);
        let prefix = self.mapper.forward(&embeddings, pass).to_kind(tokens.kind());
        Tensor::cat(&[prefix.flatten(0, 1), tokens], 0)
    }
}

/// Fills a captioner, built at the store's root, from a checkpoint with ClipCap's names.
///
/// Ignores redundant tensors of ClipCap's own files: the output head if it repeats the token
/// embedding, and the causal masks.
///
/// # Errors
/// Fails with every tensor that does not fit; the store is then unchanged.
pub fn load(store: &mut nn::VarStore, checkpoint: &Checkpoint) -> Result<(), WeightsError> {
    const HEAD: &str = "gpt.lm_head.weight";
    if !store.variables().contains_key(HEAD) {
        gpt2::check_tied_head(checkpoint, HEAD, "gpt.transformer.wte.weight")?;
    }
    weights::load(store, checkpoint, str::to_owned, is_ignored)
}

/// Returns true if [`load`] ignores the tensor `name`: the output head or a causal mask.
#[must_use]
pub fn is_ignored(name: &str) -> bool {
    name.strip_prefix("gpt.").is_some_and(gpt2::is_ignored)
}
