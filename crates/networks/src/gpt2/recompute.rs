//! Gradient checkpointing: activations of one block at a time are recomputed in the backward pass
//! (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016).
//!
//! Only the rows between blocks are stored. Each segment has its own dropout seed, so that both
//! passes draw the same masks.

use tch::{TchError, Tensor, no_grad};

use super::Gpt2Config;
use super::model::Gpt2;
use super::packing::{Packing, Selection};
use crate::pass::{Pass, Precision};

/// Segment of the network that is recomputed as a unit.
#[derive(Clone, Copy, PartialEq)]
enum Segment {
    /// Computation of the input vectors.
    First,
    /// Block other than the last.
    Block(usize),
    /// Last block, last norm, output head and loss.
    Last,
}

/// Computation before the first block and after the last, and the rows in between.
pub(crate) struct LossGraph<'a, Inputs, Loss> {
    /// Computes input vectors `[rows, hidden]`.
    pub inputs: Inputs,
    /// Layout of the rows as sequences.
    pub packing: &'a Packing,
    /// Rows that enter the loss.
    pub selected: &'a Selection,
    /// Computes the loss, a scalar, from the last states `[selected, hidden]`.
    pub loss: Loss,
    /// Factor on loss and gradients.
    pub weight: f64,
}

/// Returns the loss and its gradients with respect to `parameters`, times the weight.
///
/// `parameters` have their names in a store that holds this GPT-2 as `gpt`, and otherwise only
/// parameters of the input vectors.
///
/// `seed` seeds dropout; its masks differ from those without recomputation.
pub(crate) fn gradients_recomputing<Inputs, Loss>(
    gpt2: &Gpt2,
    graph: &LossGraph<Inputs, Loss>,
    pass: Pass,
    parameters: &[(String, Tensor)],
    seed: i64,
) -> Result<(Tensor, Vec<Tensor>), TchError>
where
    Inputs: Fn() -> Tensor,
    Loss: Fn(&Tensor) -> Tensor,
{
    let blocks = gpt2.config().n_layer as usize;
    let packing = graph.packing;
    let reseed = |segment: usize| tch::manual_seed(seed.wrapping_add(segment as i64));
    let first = || {
        reseed(0);
        gpt2.first_rows(&(graph.inputs)(), packing, pass)
    };
    let block = |index: usize, rows: &Tensor| {
        reseed(index + 1);
        gpt2.block_rows(index, rows, packing, pass)
    };
    let mut stored = vec![no_grad(first)];
    for index in 0..blocks - 1 {
        let rows = no_grad(|| block(index, &stored[index]));
        stored.push(rows);
    }

    let mut gradients = Gradients::new(parameters, pass.precision, gpt2.config());
    let rows = leaf(stored.pop());
    reseed(blocks);
    let loss = (graph.loss)(&gpt2.last_rows(&rows, packing, graph.selected, pass)) * graph.weight;
    let mut upstream = gradients.add(&loss, Segment::Last, Some(&rows))?;
    for index in (0..blocks - 1).rev() {
        let rows = leaf(stored.pop());
        let product = (block(index, &rows) * upstream).sum(None);
        upstream = gradients.add(&product, Segment::Block(index), Some(&rows))?;
    }
    let _ = gradients.add(&(first() * upstream).sum(None), Segment::First, None)?;
    Ok((loss.detach(), gradients.all))
}

/// Detaches stored rows, and enables their gradient.
fn leaf(rows: Option<Tensor>) -> Tensor {
    rows.unwrap_or_default().detach().set_requires_grad(true)
}

/// Accumulated gradients, in the parameters' order.
struct Gradients<'a> {
    parameters: &'a [(String, Tensor)],
    precision: Precision<'a>,
    blocks: usize,
    /// True if the token embedding is also the output head.
    is_tied: bool,
    all: Vec<Tensor>,
}

impl<'a> Gradients<'a> {
    fn new(
        parameters: &'a [(String, Tensor)],
        precision: Precision<'a>,
        config: &Gpt2Config,
    ) -> Self {
        let all = parameters.iter().map(|_| Tensor::new()).collect();
        let (blocks, is_tied) = (config.n_layer as usize, config.tie_word_embeddings);
        Self { parameters, precision, blocks, is_tied, all }
    }

    /// Adds the gradients of `scalar` for a segment's parameters; returns the gradient of `rows`.
    fn add(
        &mut self,
        scalar: &Tensor,
        segment: Segment,
        rows: Option<&Tensor>,
    ) -> Result<Tensor, TchError> {
        let own: Vec<usize> = (0..self.parameters.len())
            .filter(|&index| self.is_in(&self.parameters[index].0, segment))
            .collect();
        let by = own.iter().map(|&index| &self.parameters[index].1).chain(rows);
        let by: Vec<&Tensor> = by.collect();
        let mut found = self.precision.gradients(scalar, &by)?.into_iter();
        for (&index, gradient) in own.iter().zip(found.by_ref()) {
            let total = &mut self.all[index];
            // A tied token embedding has gradients in two segments.
            *total = if total.defined() { &*total + gradient } else { gradient };
        }
        Ok(found.next().unwrap_or_default())
    }

    fn is_in(&self, name: &str, segment: Segment) -> bool {
        if name == "gpt.lm_head.weight" {
            return segment == Segment::Last;
        }
        let Some(inside) = name.strip_prefix("gpt.transformer.") else {
            return segment == Segment::First;
        };
        if let Some(index) = inside.strip_prefix("h.").and_then(|rest| rest.split('.').next()) {
            let index: usize = index.parse().unwrap_or(self.blocks);
            let own = if index + 1 < self.blocks { Segment::Block(index) } else { Segment::Last };
            return own == segment;
        }
        match inside {
            "wte.weight" => segment == Segment::First || (self.is_tied && segment == Segment::Last),
            "wpe.weight" => segment == Segment::First,
            _ => segment == Segment::Last,
        }
    }
}
