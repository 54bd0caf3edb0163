//! The GPT-2 network: embeddings, blocks and output head.
//!
//! Shapes: `[rows, hidden]` between blocks with one row per token, either sequence after sequence
//! or packed ([`Packing`]); `[batch, heads, tokens, head_dim]` in attention.

use std::borrow::Borrow;

use tch::nn::{self, Init};
use tch::{Reduction, Tensor};

use super::Gpt2Config;
use super::layers::{Block, Layout, norm};
use super::packing::{Packing, Selection};
use crate::layers::{AttentionMask, Builder, InitialWeights, LayerNorm, causal_and_real};
use crate::libtorch;
use crate::packed::{Fused, PackedWeight};
use crate::pass::{Pass, Segment};
use crate::precision::Precision;

/// GPT-2 language model.
#[derive(Debug)]
pub struct Gpt2 {
    config: Gpt2Config,
    pub(crate) token_embedding: Tensor,
    pub(super) position_embedding: Tensor,
    pub(super) blocks: Vec<Block>,
    pub(super) final_norm: LayerNorm,
    /// Output head, unless it is tied to the token embedding.
    own_head: Option<Tensor>,
    /// Output head for inference on the CPU; see [`Self::pack`].
    packed_head: Option<PackedWeight>,
}

impl Gpt2 {
    /// Adds a model's variables under `module`, initialised as transformers does from scratch.
    ///
    /// Weights are normal with standard deviation `initializer_range`, divided by `sqrt(2 *
    /// n_layer)` for those that write to the residual stream (`c_proj`). Biases are 0, norms 1 and
    /// 0.
    ///
    /// # Panics
    /// Panics if `config` fails [`Gpt2Config::check`], or memory is exhausted.
    #[must_use]
    pub fn new<'a>(module: impl Borrow<nn::Path<'a>>, config: &Gpt2Config) -> Self {
        Self::with_initial(module, config, InitialWeights::Random)
    }

    /// Adds a model's variables as [`Self::new`] does, with other initial values.
    ///
    /// # Panics
    /// Same as [`Self::new`].
    #[must_use]
    pub fn with_initial<'a>(
        module: impl Borrow<nn::Path<'a>>,
        config: &Gpt2Config,
        initial: InitialWeights,
    ) -> Self {
        let module = Builder::new(module.borrow().clone(), initial);
        let body = module.sub("transformer");
        let hidden = config.n_embd;
        let normal = Init::Randn { mean: 0.0, stdev: config.initializer_range };
        let embedding =
            |name: &str, rows: i64| body.sub(name).var("weight", &[rows, hidden], normal);
        let head = || module.sub("lm_head").var("weight", &[config.vocab_size, hidden], normal);
        let blocks = body.sub("h");
        Self {
            token_embedding: embedding("wte", config.vocab_size),
            position_embedding: embedding("wpe", config.n_positions),
            blocks: (0..config.n_layer)
                .map(|layer| Block::new(&blocks.sub(layer), config, layer))
                .collect(),
            final_norm: norm(&body.sub("ln_f"), config),
            own_head: (!config.tie_word_embeddings).then(head),
            packed_head: None,
            config: config.clone(),
        }
    }

    /// Packs the weights for inference on the CPU, where they must not change any more.
    ///
    /// Products with them are faster, most of all with few rows. Drop the variable store for the
    /// packed weights to take the memory of the plain ones; the output head is kept in both forms.
    /// Does nothing on a GPU, or for a type that oneDNN has no kernels for on this processor.
    pub fn pack(&mut self) {
        self.blocks.iter_mut().for_each(Block::pack);
        self.packed_head = PackedWeight::new(self.head());
    }

    /// Returns the configuration.
    #[must_use]
    pub fn config(&self) -> &Gpt2Config {
        &self.config
    }

    /// Returns token embeddings `[batch, tokens, hidden]` for ids `[batch, tokens]` (int64).
    ///
    /// # Panics
    /// Panics if an id is not below `vocab_size`.
    pub fn embed(&self, ids: &Tensor) -> Tensor {
        Tensor::embedding(&self.token_embedding, ids, -1, false, false)
    }

    /// Returns hidden states `[batch, tokens, hidden]` after the last norm.
    ///
    /// `inputs_embeds` has the same shape, without position embeddings, which are added here from
    /// 0.
    ///
    /// `attention_mask` `[batch, tokens]` is 1 for tokens and 0 for padding. Padding on the right
    /// needs none, as attention is causal. States at padding are finite but meaningless.
    ///
    /// # Panics
    /// Panics if there are more than `n_positions` tokens.
    pub fn forward(
        &self,
        inputs_embeds: &Tensor,
        attention_mask: Option<&Tensor>,
        pass: Pass,
    ) -> Tensor {
        let visible = match attention_mask {
            None => AttentionMask::Causal,
            Some(mask) => AttentionMask::Custom(libtorch::expect(causal_and_real(mask))),
        };
        let batch = inputs_embeds.size()[0];
        let mut rows = self.with_positions(inputs_embeds, pass).flatten(0, 1);
        for block in &self.blocks {
            rows = block.forward(&rows, Layout::Dense { batch, visible: &visible }, pass);
        }
        self.final_norm.normalized(&rows).unflatten(0, [batch, -1])
    }

    /// Returns hidden states `[selected, hidden]` after the last norm, for the selected rows of the
    /// packed input embeddings `[rows, hidden]` that `inputs` returns.
    ///
    /// They are those of [`Self::forward`]. Nothing is computed for padding, nor behind the last
    /// attention for rows that are not selected.
    ///
    /// With [`Pass::checkpointing`] the inputs and each block but the last are a segment.
    ///
    /// # Panics
    /// When a sequence has more than `n_positions` tokens.
    pub fn forward_packed<'m>(
        &'m self,
        inputs: impl Fn(Pass<'_, 'm>) -> Tensor + 'm,
        packing: &'m Packing,
        wanted: &Selection,
        pass: Pass<'_, 'm>,
    ) -> Tensor {
        let last = self.blocks.len() - 1;
        let first = move |_: &Tensor, pass: Pass<'_, 'm>| {
            let inputs = inputs(pass);
            let positions =
                Tensor::embedding(&self.position_embedding, packing.positions(), -1, false, false);
            (inputs + positions).dropout(self.config.embd_pdrop, pass.dropout)
        };
        let block = |block: &'m Block| -> Segment<'m> {
            let layout = Layout::Packed { packing, selected: None };
            Box::new(move |rows, pass| block.forward(rows, layout, pass))
        };
        let first: Segment<'m> = Box::new(first);
        let segments = std::iter::once(first).chain(self.blocks[..last].iter().map(block));
        let rows = pass.forward(segments.collect());
        let layout = Layout::Packed { packing, selected: Some(wanted) };
        self.final_norm.normalized(&self.blocks[last].forward(&rows, layout, pass))
    }

    /// Returns logits `[.., vocab]` for hidden states `[.., hidden]`.
    pub fn logits(&self, hidden: &Tensor) -> Tensor {
        match &self.packed_head {
            None => self.logits_in(hidden, Precision::Full),
            Some(head) => libtorch::expect(head.product(hidden, None, Fused::Nothing)),
        }
    }

    fn head(&self) -> &Tensor {
        self.own_head.as_ref().unwrap_or(&self.token_embedding)
    }

    /// Returns [`Self::logits`] in another precision.
    fn logits_in(&self, hidden: &Tensor, precision: Precision) -> Tensor {
        precision.cast(hidden).linear::<Tensor>(&precision.weight(self.head()), None)
    }

    /// Returns the mean cross entropy of `target_ids` `[targets]` given their states `[targets,
    /// hidden]`.
    pub(crate) fn target_loss(&self, states: &Tensor, target_ids: &Tensor, pass: Pass) -> Tensor {
        let logits = self.logits_in(states, pass.precision).to_kind(states.kind());
        logits.cross_entropy_loss::<Tensor>(target_ids, None, Reduction::Mean, -100, 0.0)
    }

    fn with_positions(&self, inputs_embeds: &Tensor, pass: Pass) -> Tensor {
        let positions = self.position_embedding.narrow(0, 0, inputs_embeds.size()[1]);
        (inputs_embeds + positions).dropout(self.config.embd_pdrop, pass.dropout)
    }
}
