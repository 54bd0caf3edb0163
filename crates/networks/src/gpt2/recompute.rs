//! Gradients without keeping activations: those of one block at a time are computed again when its
//! gradients are due (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016).
//!
//! Only the rows between blocks are kept. Dropout is the same both times, since each segment's draws
//! have a seed of their own.

use tch::{TchError, Tensor, no_grad};

use super::Gpt2Config;
use super::model::Gpt2;
use super::packing::{Packing, Selection};
use crate::pass::{Pass, Precision};

/// The parts that are computed again on their own.
#[derive(Clone, Copy, PartialEq)]
enum Segment {
    /// What the input vectors are made by.
    First,
    /// A block that is not the last.
    Block(usize),
    /// The last block, the last norm, the head and the loss.
    Last,
}

/// What is computed before the first block and behind the last, and from which rows of which packing.
pub(crate) struct Ends<'a, Inputs, Loss> {
    /// Input vectors `[rows, hidden]`.
    pub inputs: Inputs,
    /// How they make sequences.
    pub packing: &'a Packing,
    /// The rows that the loss is of.
    pub wanted: &'a Selection,
    /// A scalar, of the last states `[wanted, hidden]`.
    pub loss: Loss,
    /// Multiplies loss and gradients.
    pub weight: f64,
}

/// Returns the loss and its gradients by `parameters`, both times the weight. Parameters have the names of
/// a store that holds this GPT-2 as `gpt`, and besides only what the input vectors depend on.
///
/// `seed` decides dropout; its draws are others than without recomputing.
pub(crate) fn gradients_recomputing<Inputs, Loss>(
    gpt2: &Gpt2,
    ends: &Ends<Inputs, Loss>,
    pass: Pass,
    parameters: &[(String, Tensor)],
    seed: i64,
) -> Result<(Tensor, Vec<Tensor>), TchError>
where
    Inputs: Fn() -> Tensor,
    Loss: Fn(&Tensor) -> Tensor,
{
    let blocks = gpt2.config().n_layer as usize;
    let packing = ends.packing;
    let reseed = |segment: usize| tch::manual_seed(seed.wrapping_add(segment as i64));
    let first = || {
        reseed(0);
        gpt2.first_rows(&(ends.inputs)(), packing, pass)
    };
    let block = |index: usize, rows: &Tensor| {
        reseed(index + 1);
        gpt2.block_rows(index, rows, packing, pass)
    };
    let mut kept = vec![no_grad(first)];
    for index in 0..blocks - 1 {
        let rows = no_grad(|| block(index, &kept[index]));
        kept.push(rows);
    }

    let mut gradients = Gradients::new(parameters, pass.precision, gpt2.config());
    let rows = leaf(kept.pop());
    reseed(blocks);
    let loss = (ends.loss)(&gpt2.last_rows(&rows, packing, ends.wanted, pass)) * ends.weight;
    let mut behind = gradients.add(&loss, Segment::Last, Some(&rows))?;
    for index in (0..blocks - 1).rev() {
        let rows = leaf(kept.pop());
        let product = (block(index, &rows) * behind).sum(None);
        behind = gradients.add(&product, Segment::Block(index), Some(&rows))?;
    }
    let _ = gradients.add(&(first() * behind).sum(None), Segment::First, None)?;
    Ok((loss.detach(), gradients.all))
}

/// Kept rows, ready to take a gradient.
fn leaf(rows: Option<Tensor>) -> Tensor {
    rows.unwrap_or_default().detach().set_requires_grad(true)
}

/// The gradients so far, in the parameters' order.
struct Gradients<'a> {
    parameters: &'a [(String, Tensor)],
    precision: Precision<'a>,
    blocks: usize,
    /// True if the token embedding is the output head too.
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

    /// Adds the gradients of `scalar` by the parameters of a segment, and returns that by `rows`.
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
            let place = &mut self.all[index];
            // A tied token embedding has a part in two segments.
            *place = if place.defined() { &*place + gradient } else { gradient };
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
