//! The network: embeddings, blocks, and the head tied to the token embedding.
//!
//! Shapes: rows `[rows, hidden]` between blocks, one a token, sequence after sequence or packed
//! ([`Packing`]); `[batch, heads, tokens, head_dim]` in attention.

use std::borrow::Borrow;

use tch::nn::{self, Init};
use tch::{Kind, Reduction, Tensor};

use super::cache::LayerCache;
use super::packing::{Packing, Selection};
use super::{Activation, Gpt2Config, KvCache};
use crate::pass::{Pass, Precision};

/// A GPT-2 language model.
#[derive(Debug)]
pub struct Gpt2 {
    config: Gpt2Config,
    token_embedding: Tensor,
    position_embedding: Tensor,
    blocks: Vec<Block>,
    final_norm: LayerNorm,
}

impl Gpt2 {
    /// Adds a model's variables under `module`, initialised as transformers does from scratch:
    /// weights normal with deviation `initializer_range`, those that write into the residual stream
    /// (`c_proj`) divided by `sqrt(2 * n_layer)`, biases 0, norms 1 and 0.
    ///
    /// # Panics
    /// When `config` does not pass [`Gpt2Config::check`], or memory is exhausted.
    #[must_use]
    pub fn new<'a>(module: impl Borrow<nn::Path<'a>>, config: &Gpt2Config) -> Self {
        let body = module.borrow() / "transformer";
        let hidden = config.n_embd;
        let normal = Init::Randn { mean: 0.0, stdev: config.initializer_range };
        let embedding =
            |name: &str, rows: i64| (&body / name).var("weight", &[rows, hidden], normal);
        Self {
            token_embedding: embedding("wte", config.vocab_size),
            position_embedding: embedding("wpe", config.n_positions),
            blocks: (0..config.n_layer)
                .map(|layer| Block::new(&(&body / "h" / layer), config))
                .collect(),
            final_norm: LayerNorm::new(&(&body / "ln_f"), config),
            config: config.clone(),
        }
    }

    /// The settings it was built with.
    #[must_use]
    pub fn config(&self) -> &Gpt2Config {
        &self.config
    }

    /// Token embeddings `[batch, tokens, hidden]` of ids `[batch, tokens]` (int64).
    ///
    /// # Panics
    /// When an id is not below `vocab_size`.
    pub fn embed(&self, ids: &Tensor) -> Tensor {
        Tensor::embedding(&self.token_embedding, ids, -1, false, false)
    }

    /// Hidden states `[batch, tokens, hidden]` after the last norm, of input embeddings of the same
    /// shape (without positions, which are added here from 0).
    ///
    /// `attention_mask` `[batch, tokens]` has 1 for tokens and 0 for padding, which no token then
    /// attends to. Padding on the right needs none: no token looks ahead. States at padding itself
    /// are finite and mean nothing.
    ///
    /// # Panics
    /// When there are more than `n_positions` tokens.
    pub fn forward(
        &self,
        inputs_embeds: &Tensor,
        attention_mask: Option<&Tensor>,
        pass: Pass,
    ) -> Tensor {
        let visible = match attention_mask {
            None => Visible::Causal,
            Some(mask) => Visible::Only(causal_and_real(mask)),
        };
        let batch = inputs_embeds.size()[0];
        let mut rows = self.with_positions(inputs_embeds, 0, pass).flatten(0, 1);
        for block in &self.blocks {
            rows =
                block.forward(&rows, Layout::Dense { batch, visible: &visible, cache: None }, pass);
        }
        self.final_norm.forward(&rows).unflatten(0, [batch, -1])
    }

    /// Hidden states `[wanted, hidden]` after the last norm, of the rows asked for, for packed input
    /// embeddings `[rows, hidden]`. As [`Self::forward`], without computing anything for padding, nor
    /// behind the last attention anything that was not asked for.
    ///
    /// # Panics
    /// When a sequence has more than `n_positions` tokens.
    pub fn forward_packed(
        &self,
        inputs_embeds: &Tensor,
        packing: &Packing,
        wanted: &Selection,
        pass: Pass,
    ) -> Tensor {
        let mut rows = self.first_rows(inputs_embeds, packing, pass);
        for index in 0..self.blocks.len() - 1 {
            rows = self.block_rows(index, &rows, packing, pass);
        }
        self.last_rows(&rows, packing, wanted, pass)
    }

    /// The first part of [`Self::forward_packed`]: positions and dropout.
    pub(crate) fn first_rows(
        &self,
        inputs_embeds: &Tensor,
        packing: &Packing,
        pass: Pass,
    ) -> Tensor {
        let positions =
            Tensor::embedding(&self.position_embedding, packing.positions(), -1, false, false);
        (inputs_embeds + positions).dropout(self.config.embd_pdrop, pass.dropout)
    }

    /// A middle part of [`Self::forward_packed`]: block `index`, which is not the last.
    pub(crate) fn block_rows(
        &self,
        index: usize,
        rows: &Tensor,
        packing: &Packing,
        pass: Pass,
    ) -> Tensor {
        self.blocks[index].forward(rows, Layout::Packed { packing, wanted: None }, pass)
    }

    /// The last part of [`Self::forward_packed`]: the last block and norm.
    pub(crate) fn last_rows(
        &self,
        rows: &Tensor,
        packing: &Packing,
        wanted: &Selection,
        pass: Pass,
    ) -> Tensor {
        let layout = Layout::Packed { packing, wanted: Some(wanted) };
        let last = &self.blocks[self.blocks.len() - 1];
        self.final_norm.forward(&last.forward(rows, layout, pass))
    }

    /// [`Self::forward`] for the next tokens of sequences whose earlier ones are in `cache`; appends
    /// them to it. Without gradients and dropout.
    ///
    /// # Panics
    /// When the cache has no room, or there are more than `n_positions` tokens altogether.
    pub fn forward_cached(&self, inputs_embeds: &Tensor, cache: &mut KvCache) -> Tensor {
        tch::no_grad(|| {
            let (batch, past, new) =
                (inputs_embeds.size()[0], cache.tokens(), inputs_embeds.size()[1]);
            let visible = match (past, new) {
                (0, _) => Visible::Causal,
                (_, 1) => Visible::All,
                _ => Visible::Only(causal_after(past, inputs_embeds)),
            };
            let pass = Pass::EVALUATION;
            let mut rows = self.with_positions(inputs_embeds, past, pass).flatten(0, 1);
            for (block, layer) in self.blocks.iter().zip(cache.layers()) {
                let cache = Some((layer, past));
                rows =
                    block.forward(&rows, Layout::Dense { batch, visible: &visible, cache }, pass);
            }
            cache.advance(new);
            self.final_norm.forward(&rows).unflatten(0, [batch, new])
        })
    }

    /// Logits `[.., vocab]` of hidden states `[.., hidden]`: their products with every row of the
    /// token embedding.
    pub fn logits(&self, hidden: &Tensor) -> Tensor {
        self.logits_in(hidden, Precision::Full)
    }

    /// [`Self::logits`], multiplied in another precision.
    fn logits_in(&self, hidden: &Tensor, precision: Precision) -> Tensor {
        precision.cast(hidden).linear::<Tensor>(&precision.cast(&self.token_embedding), None)
    }

    /// Mean cross entropy of the tokens `target_ids` `[targets]`, from the states `[targets, hidden]`
    /// that predict them.
    pub(crate) fn target_loss(&self, states: &Tensor, target_ids: &Tensor, pass: Pass) -> Tensor {
        let logits = self.logits_in(states, pass.precision).to_kind(states.kind());
        logits.cross_entropy_loss::<Tensor>(target_ids, None, Reduction::Mean, -100, 0.0)
    }

    /// An empty cache for `batch` sequences of at most `max_tokens` tokens, of this model's type
    /// and on its device.
    #[must_use]
    pub fn cache(&self, batch: i64, max_tokens: i64) -> KvCache {
        let (kind, device) = (self.token_embedding.kind(), self.token_embedding.device());
        KvCache::new(&self.config, batch, max_tokens, kind, device)
    }

    fn with_positions(&self, inputs_embeds: &Tensor, first: i64, pass: Pass) -> Tensor {
        let positions = self.position_embedding.narrow(0, first, inputs_embeds.size()[1]);
        (inputs_embeds + positions).dropout(self.config.embd_pdrop, pass.dropout)
    }
}

/// How rows make sequences, and what the rows of one attend to.
enum Layout<'a> {
    /// `batch` sequences of one length, one behind the other; with their earlier keys and values and
    /// how many those are.
    Dense { batch: i64, visible: &'a Visible, cache: Option<(&'a mut LayerCache, i64)> },
    /// Sequences of any length; with the rows to go on with, all of them where none are named.
    Packed { packing: &'a Packing, wanted: Option<&'a Selection> },
}

/// Which keys a query attends to.
enum Visible {
    /// Itself and those before it; the fused kernels' fast path.
    Causal,
    /// All.
    All,
    /// Those with true in a tensor that broadcasts to `[batch, heads, queries, keys]`.
    Only(Tensor),
}

/// `[batch, 1, tokens, tokens]`: true where a key is a real token (1 in `mask`) at or before the
/// query.
fn causal_and_real(mask: &Tensor) -> Tensor {
    let tokens = mask.size()[1];
    let causal = Tensor::ones([tokens, tokens], (Kind::Bool, mask.device())).tril(0);
    mask.ne(0).unsqueeze(1).unsqueeze(1).logical_and(&causal)
}

/// `[new, past + new]`: true where a key is at or before the query, the queries being the last
/// `new` tokens.
fn causal_after(past: i64, inputs_embeds: &Tensor) -> Tensor {
    let new = inputs_embeds.size()[1];
    Tensor::ones([new, past + new], (Kind::Bool, inputs_embeds.device())).tril(past)
}

/// Attention and feed-forward, each behind a norm and added to the residual stream.
#[derive(Debug)]
struct Block {
    attention_norm: LayerNorm,
    attention: Attention,
    feed_forward_norm: LayerNorm,
    feed_forward: FeedForward,
}

impl Block {
    fn new(module: &nn::Path, config: &Gpt2Config) -> Self {
        Self {
            attention_norm: LayerNorm::new(&(module / "ln_1"), config),
            attention: Attention::new(&(module / "attn"), config),
            feed_forward_norm: LayerNorm::new(&(module / "ln_2"), config),
            feed_forward: FeedForward::new(&(module / "mlp"), config),
        }
    }

    fn forward(&self, rows: &Tensor, layout: Layout, pass: Pass) -> Tensor {
        let wanted = match layout {
            Layout::Packed { wanted: Some(wanted), .. } => Some(wanted),
            _ => None,
        };
        let attended = self.attention.forward(&self.attention_norm.forward(rows), layout, pass);
        let rows = match wanted {
            None => rows + attended,
            Some(wanted) => rows.index_select(0, &wanted.rows) + attended,
        };
        let normed = self.feed_forward_norm.forward(&rows);
        rows + self.feed_forward.forward(&normed, pass)
    }
}

#[derive(Debug)]
struct Attention {
    /// Queries, keys and values side by side: `[hidden, 3 * hidden]`.
    queries_keys_values: Conv1d,
    output: Conv1d,
    heads: i64,
    head_dim: i64,
    weights_dropout: f64,
    output_dropout: f64,
}

impl Attention {
    fn new(module: &nn::Path, config: &Gpt2Config) -> Self {
        let hidden = config.n_embd;
        Self {
            queries_keys_values: Conv1d::new(&(module / "c_attn"), hidden, 3 * hidden, config),
            output: Conv1d::residual(&(module / "c_proj"), hidden, hidden, config),
            heads: config.n_head,
            head_dim: config.head_dim(),
            weights_dropout: config.attn_pdrop,
            output_dropout: config.resid_pdrop,
        }
    }

    /// Attention among the rows `[rows, hidden]` of each sequence: `[rows, hidden]`, or `[wanted,
    /// hidden]` where the layout names rows.
    fn forward(&self, rows: &Tensor, layout: Layout, pass: Pass) -> Tensor {
        let joint = self.queries_keys_values.forward(rows, pass);
        let heads = match layout {
            Layout::Dense { batch, visible, cache } => {
                self.attend(&joint.unflatten(0, [batch, -1]), visible, cache, pass)
            }
            Layout::Packed { packing, wanted } => {
                let spread = self.attend(&packing.spread(&joint), &Visible::Causal, None, pass);
                spread.index_select(0, wanted.map_or(packing.slots(), |wanted| &wanted.slots))
            }
        };
        self.output.forward(&heads, pass).dropout(self.output_dropout, pass.dropout)
    }

    /// Attention within sequences of one length: from queries, keys and values `[batch, tokens,
    /// 3 * hidden]` to the heads' values `[batch * tokens, hidden]`.
    fn attend(
        &self,
        joint: &Tensor,
        visible: &Visible,
        cache: Option<(&mut LayerCache, i64)>,
        pass: Pass,
    ) -> Tensor {
        let hidden = self.heads * self.head_dim;
        let (queries, keys, values) =
            (self.part(joint, 0), self.part(joint, hidden), self.part(joint, 2 * hidden));
        let (keys, values) = match cache {
            None => (keys, values),
            Some((layer, past)) => layer.append(past, &keys, &values),
        };
        let mask = match visible {
            Visible::Only(mask) => Some(mask),
            Visible::Causal | Visible::All => None,
        };
        let dropout = if pass.dropout { self.weights_dropout } else { 0.0 };
        let causal = matches!(visible, Visible::Causal);
        let heads = Tensor::scaled_dot_product_attention(
            &queries, &keys, &values, mask, dropout, causal, None, false,
        );
        heads.transpose(1, 2).flatten(2, 3).flatten(0, 1)
    }

    /// One third of `joint` `[batch, tokens, 3 * hidden]`, from column `first`, split into heads:
    /// a view `[batch, heads, tokens, head_dim]`.
    fn part(&self, joint: &Tensor, first: i64) -> Tensor {
        joint
            .narrow(2, first, self.heads * self.head_dim)
            .unflatten(2, [self.heads, self.head_dim])
            .transpose(1, 2)
    }
}

#[derive(Debug)]
struct FeedForward {
    inner: Conv1d,
    output: Conv1d,
    activation: Activation,
    dropout: f64,
}

impl FeedForward {
    fn new(module: &nn::Path, config: &Gpt2Config) -> Self {
        let (hidden, inner) = (config.n_embd, config.inner());
        Self {
            inner: Conv1d::new(&(module / "c_fc"), hidden, inner, config),
            output: Conv1d::residual(&(module / "c_proj"), inner, hidden, config),
            activation: config.activation_function,
            dropout: config.resid_pdrop,
        }
    }

    fn forward(&self, rows: &Tensor, pass: Pass) -> Tensor {
        let inner = self.inner.forward(rows, pass);
        let active = match self.activation {
            Activation::GeluNew | Activation::GeluPytorchTanh => inner.gelu("tanh"),
            Activation::Gelu => inner.gelu("none"),
            Activation::Relu => inner.relu(),
        };
        self.output.forward(&active, pass).dropout(self.dropout, pass.dropout)
    }
}

/// A linear layer that stores its weight `[in, out]`: transformers' `Conv1D`, named after a
/// convolution of width 1.
#[derive(Debug)]
struct Conv1d {
    weight: Tensor,
    bias: Tensor,
}

impl Conv1d {
    fn new(module: &nn::Path, inputs: i64, outputs: i64, config: &Gpt2Config) -> Self {
        Self::with_deviation(module, inputs, outputs, config.initializer_range)
    }

    /// One that writes into the residual stream: smaller at the start, so that the stream's
    /// variance does not grow with the depth.
    fn residual(module: &nn::Path, inputs: i64, outputs: i64, config: &Gpt2Config) -> Self {
        let additions = 2.0 * config.n_layer as f64;
        Self::with_deviation(module, inputs, outputs, config.initializer_range / additions.sqrt())
    }

    fn with_deviation(module: &nn::Path, inputs: i64, outputs: i64, deviation: f64) -> Self {
        let normal = Init::Randn { mean: 0.0, stdev: deviation };
        Self {
            weight: module.var("weight", &[inputs, outputs], normal),
            bias: module.var("bias", &[outputs], Init::Const(0.0)),
        }
    }

    fn forward(&self, rows: &Tensor, pass: Pass) -> Tensor {
        let cast = |tensor| pass.precision.cast(tensor);
        cast(&self.bias).addmm(&cast(rows), &cast(&self.weight))
    }
}

#[derive(Debug)]
struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

impl LayerNorm {
    fn new(module: &nn::Path, config: &Gpt2Config) -> Self {
        Self {
            weight: module.var("weight", &[config.n_embd], Init::Const(1.0)),
            bias: module.var("bias", &[config.n_embd], Init::Const(0.0)),
            epsilon: config.layer_norm_epsilon,
        }
    }

    fn forward(&self, states: &Tensor) -> Tensor {
        let shape = self.weight.size();
        states.layer_norm(shape, Some(&self.weight), Some(&self.bias), self.epsilon, true)
    }
}
