//! Layers of a transformer block. See [`super::model`] for shapes.

use tch::nn::Init;
use tch::{Kind, Tensor};

use super::packing::{Packing, Selection};
use super::{Activation, Gpt2Config};
use crate::layers::{AttentionMask, Builder, LayerNorm};
use crate::libtorch;
use crate::packed::{Fused, Weight};
use crate::pass::Pass;

/// Arrangement of rows in sequences, and the mask of attention.
#[derive(Clone, Copy)]
pub(super) enum Layout<'a> {
    /// `batch` sequences of equal length, one after another.
    Dense { batch: i64, visible: &'a AttentionMask },
    /// Packed sequences of any length; only the selected rows are computed, or all for `None`.
    Packed { packing: &'a Packing, selected: Option<&'a Selection> },
}

/// Returns a mask `[new, past + new]` for the last `new` tokens as queries: true for keys up to the
/// query's position.
pub(super) fn causal_after(past: i64, inputs_embeds: &Tensor) -> Tensor {
    let new = inputs_embeds.size()[1];
    Tensor::ones([new, past + new], (Kind::Bool, inputs_embeds.device())).tril(past)
}

/// Attention and feed-forward layer, both pre-norm with a residual connection.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) attention_norm: LayerNorm,
    pub(super) attention: Attention,
    pub(super) feed_forward_norm: LayerNorm,
    pub(super) feed_forward: FeedForward,
}

impl Block {
    /// Creates block `layer`, counted from 0.
    pub(super) fn new(module: &Builder, config: &Gpt2Config, layer: i64) -> Self {
        Self {
            attention_norm: norm(&module.sub("ln_1"), config),
            attention: Attention::new(&module.sub("attn"), config, layer),
            feed_forward_norm: norm(&module.sub("ln_2"), config),
            feed_forward: FeedForward::new(&module.sub("mlp"), config),
        }
    }

    /// Packs the weights, which must not change any more.
    pub(super) fn pack(&mut self) {
        let Self { attention, feed_forward, .. } = self;
        let layers = [&mut attention.queries_keys_values, &mut attention.output];
        for layer in layers.into_iter().chain([&mut feed_forward.inner, &mut feed_forward.output]) {
            layer.pack();
        }
    }

    pub(super) fn forward(&self, rows: &Tensor, layout: Layout, pass: Pass) -> Tensor {
        let selected = match layout {
            Layout::Packed { selected: Some(selected), .. } => Some(selected),
            _ => None,
        };
        let attended = self.attention.forward(&self.attention_norm.normalized(rows), layout, pass);
        let rows = match selected {
            None => rows + attended,
            Some(selected) => rows.index_select(0, &selected.rows) + attended,
        };
        let normed = self.feed_forward_norm.normalized(&rows);
        rows + self.feed_forward.forward(&normed, pass)
    }
}

#[derive(Debug)]
pub(super) struct Attention {
    /// Joint projection to queries, keys and values, `[hidden, 3 * hidden]`.
    pub(super) queries_keys_values: Conv1d,
    pub(super) output: Conv1d,
    pub(super) heads: i64,
    pub(super) head_dim: i64,
    /// Factor of [`Gpt2Config::attention_scale`].
    pub(super) scale: Option<f64>,
    weights_dropout: f64,
    output_dropout: f64,
}

impl Attention {
    fn new(module: &Builder, config: &Gpt2Config, layer: i64) -> Self {
        let hidden = config.n_embd;
        Self {
            queries_keys_values: Conv1d::new(&module.sub("c_attn"), hidden, 3 * hidden, config),
            output: Conv1d::residual(&module.sub("c_proj"), hidden, hidden, config),
            heads: config.n_head,
            head_dim: config.head_dim(),
            scale: config.attention_scale(layer),
            weights_dropout: config.attn_pdrop,
            output_dropout: config.resid_pdrop,
        }
    }

    /// Computes attention within the sequences of `rows` `[rows, hidden]`: `[rows, hidden]`, or
    /// `[selected, hidden]` if the layout selects rows.
    fn forward(&self, rows: &Tensor, layout: Layout, pass: Pass) -> Tensor {
        let joint = self.queries_keys_values.forward(rows, pass);
        let heads = match layout {
            Layout::Dense { batch, visible } => {
                self.attend(&joint.unflatten(0, [batch, -1]), visible, pass)
            }
            Layout::Packed { packing, selected } => {
                let spread = self.attend(&packing.spread(&joint), &AttentionMask::Causal, pass);
                spread.index_select(0, selected.map_or(packing.slots(), |selected| &selected.slots))
            }
        };
        self.output.forward(&heads, pass).dropout(self.output_dropout, pass.dropout)
    }

    /// Computes attention in sequences of equal length: joint queries, keys and values `[batch,
    /// tokens, 3 * hidden]` to `[batch * tokens, hidden]`.
    fn attend(&self, joint: &Tensor, visible: &AttentionMask, pass: Pass) -> Tensor {
        // A single operator, whose gradient is a single concatenation.
        let parts = joint.unflatten(2, [3 * self.heads, self.head_dim]).chunk(3, 2);
        let [queries, keys, values] = [0, 1, 2].map(|part: usize| parts[part].transpose(1, 2));
        let (mask, causal) = visible.arguments();
        let dropout = if pass.dropout { self.weights_dropout } else { 0.0 };
        let heads = Tensor::scaled_dot_product_attention(
            &queries, &keys, &values, mask, dropout, causal, self.scale, false,
        );
        heads.transpose(1, 2).flatten(2, 3).flatten(0, 1)
    }
}

#[derive(Debug)]
pub(super) struct FeedForward {
    pub(super) inner: Conv1d,
    pub(super) output: Conv1d,
    pub(super) activation: Activation,
    dropout: f64,
}

impl FeedForward {
    pub(super) fn new(module: &Builder, config: &Gpt2Config) -> Self {
        let (hidden, inner) = (config.n_embd, config.inner());
        Self {
            inner: Conv1d::new(&module.sub("c_fc"), hidden, inner, config),
            output: Conv1d::residual(&module.sub("c_proj"), inner, hidden, config),
            activation: config.activation_function,
            dropout: config.resid_pdrop,
        }
    }

    fn forward(&self, rows: &Tensor, pass: Pass) -> Tensor {
        self.output.forward(&self.active(rows, pass), pass).dropout(self.dropout, pass.dropout)
    }

    /// Returns the inner layer's activations, `[rows, inner]`.
    pub(super) fn active(&self, rows: &Tensor, pass: Pass) -> Tensor {
        self.inner.forward_then(rows, pass, self.function())
    }

    pub(super) fn function(&self) -> Fused {
        match self.activation {
            Activation::GeluNew | Activation::GeluPytorchTanh => Fused::GeluTanh,
            Activation::Gelu => Fused::Gelu,
            Activation::Relu => Fused::Relu,
        }
    }
}

/// Linear layer with a weight stored as `[in, out]`, like transformers' `Conv1D`.
#[derive(Debug)]
pub(super) struct Conv1d {
    pub(super) weight: Weight,
    pub(super) bias: Tensor,
}

impl Conv1d {
    fn new(module: &Builder, inputs: i64, outputs: i64, config: &Gpt2Config) -> Self {
        Self::with_deviation(module, inputs, outputs, config.initializer_range)
    }

    /// Creates a layer that writes to the residual stream.
    ///
    /// Its initial weights are smaller, so that the stream's variance does not grow with depth.
    fn residual(module: &Builder, inputs: i64, outputs: i64, config: &Gpt2Config) -> Self {
        let additions = 2.0 * config.n_layer as f64;
        Self::with_deviation(module, inputs, outputs, config.initializer_range / additions.sqrt())
    }

    fn with_deviation(module: &Builder, inputs: i64, outputs: i64, deviation: f64) -> Self {
        let normal = Init::Randn { mean: 0.0, stdev: deviation };
        Self {
            weight: Weight::Plain(module.var("weight", &[inputs, outputs], normal)),
            bias: module.var("bias", &[outputs], Init::Const(0.0)),
        }
    }

    pub(super) fn forward(&self, rows: &Tensor, pass: Pass) -> Tensor {
        self.forward_then(rows, pass, Fused::Nothing)
    }

    /// Computes `function` of [`Self::forward`].
    fn forward_then(&self, rows: &Tensor, pass: Pass, function: Fused) -> Tensor {
        let in_precision = |tensor| pass.precision.weight(tensor);
        libtorch::expect(match &self.weight {
            Weight::Plain(weight) => function.apply(
                in_precision(&self.bias).addmm(&pass.precision.cast(rows), &in_precision(weight)),
            ),
            Weight::Packed(weight) => weight.product(rows, Some(&self.bias), function),
        })
    }

    /// Computes [`Self::forward`] in evaluation into `out` `[rows, out]`.
    pub(super) fn forward_into(&self, out: &mut Tensor, rows: &Tensor) {
        match &self.weight {
            Weight::Plain(weight) => drop(self.bias.addmm_out(out, rows, weight)),
            Weight::Packed(_) => out.copy_(&self.forward(rows, Pass::EVALUATION)),
        }
    }

    fn pack(&mut self) {
        self.weight.pack(Tensor::tr);
    }
}

/// Adds the layer normalisation of GPT-2's states.
pub(super) fn norm(module: &Builder, config: &Gpt2Config) -> LayerNorm {
    libtorch::expect(LayerNorm::new(module, config.n_embd, config.layer_norm_epsilon))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::InitialWeights;
    use tch::{Device, nn};

    /// Computes attention by the textbook: slices of the joint product, and rows by `index_select`.
    fn plain(attention: &Attention, rows: &Tensor, from: &[i64], slots: &Tensor) -> Tensor {
        let joint = attention.queries_keys_values.forward(rows, Pass::EVALUATION);
        let joint = joint.index_select(0, &Tensor::from_slice(from)).unflatten(0, [2, 4]);
        let hidden = attention.heads * attention.head_dim;
        let part = |first: i64| {
            joint
                .narrow(2, first * hidden, hidden)
                .unflatten(2, [attention.heads, attention.head_dim])
                .transpose(1, 2)
        };
        let heads = Tensor::scaled_dot_product_attention::<Tensor>(
            &part(0),
            &part(1),
            &part(2),
            None,
            0.0,
            true,
            attention.scale,
            false,
        );
        let heads = heads.transpose(1, 2).flatten(2, 3).flatten(0, 1);
        attention.output.forward(&heads.index_select(0, slots), Pass::EVALUATION)
    }

    #[test]
    fn attention_and_its_gradients_are_those_of_plain_slices_to_the_bit() {
        tch::manual_seed(5);
        let store = nn::VarStore::new(Device::Cpu);
        let config = Gpt2Config { n_embd: 32, n_head: 4, ..Gpt2Config::default() };
        let module = Builder::new(store.root(), InitialWeights::Random);
        let attention = Attention::new(&module, &config, 0);
        // Two sequences of four and two rows: two padding slots of the second hold row 0.
        let sequences = [vec![0, 2, 3, 4], vec![1, 5]];
        let from = [0, 2, 3, 4, 1, 5, 0, 0];
        for selected in [vec![0, 1, 2, 3, 4, 5], vec![3, 5]] {
            let (packing, selection, []) = Packing::new(&sequences, &selected, [], Device::Cpu);
            let rows = Tensor::randn([6, 32], (Kind::Float, Device::Cpu)).set_requires_grad(true);
            let layout = Layout::Packed { packing: &packing, selected: Some(&selection) };
            let weight = Tensor::randn([selected.len() as i64, 32], (Kind::Float, Device::Cpu));
            let mut by: Vec<Tensor> = store.variables().into_values().collect();
            by.push(rows.shallow_clone());
            let gradients = |result: &Tensor| {
                Tensor::run_backward(&[(result * &weight).sum(None)], &by, false, false)
            };
            let ours = attention.forward(&rows, layout, Pass::EVALUATION);
            let theirs = plain(&attention, &rows, &from, &selection.slots);
            assert_eq!(ours, theirs);
            assert_eq!(gradients(&ours), gradients(&theirs));
        }
    }
}
