//! Inference of a model's sizes from the names and shapes of its weights.

use std::collections::BTreeSet;

use networks::gpt2::Gpt2Config;
use networks::prefix::MapperConfig;
use recipes::{Mapper, MapperKind};

use super::names::HEAD;

/// Width of an attention head in every published GPT-2.
const HEAD_WIDTH: i64 = 64;

/// Sizes of a captioner.
#[derive(Debug, PartialEq)]
pub(super) struct Sizes {
    pub gpt2: Gpt2Config,
    pub mapper: Mapper,
    pub clip_dim: usize,
}

impl Sizes {
    /// Returns the number of values in the model's large matrices.
    pub(super) fn parameters(&self) -> u128 {
        let mapper = MapperConfig::new(&self.mapper, self.clip_dim);
        self.gpt2.parameters().saturating_add(mapper.parameters(self.gpt2.n_embd))
    }
}

/// Infers the sizes from all names and from `shape`, which returns a tensor's shape.
///
/// Settings that shapes do not tell are those of `base`, but for the number of heads.
///
/// # Errors
/// Names a tensor that is missing or contradicts another.
pub(super) fn infer(
    names: &[&str],
    shape: impl Fn(&str) -> Option<Vec<i64>>,
    heads: Option<i64>,
    base: &Gpt2Config,
) -> Result<Sizes, String> {
    let matrix = |name: &str| matrix(name, shape(name).as_deref());
    let gpt2 = gpt2(names, &matrix, heads, base)?;
    let hidden = gpt2.n_embd;
    let (mapper, clip_dim) = if shape("clip_project.model.0.weight").is_some() {
        let [_, clip_dim] = matrix("clip_project.model.0.weight")?;
        let name = "clip_project.model.2.weight";
        let [outputs, _] = matrix(name)?;
        let prefix_length = whole(name, outputs, hidden)?;
        (
            Mapper { kind: MapperKind::Mlp, prefix_length, dropout: 0.0, standardize: false },
            clip_dim,
        )
    } else if shape("clip_project.prefix_const").is_some() {
        let [prefix_length, _] = matrix("clip_project.prefix_const")?;
        let name = "clip_project.linear.weight";
        let [outputs, clip_dim] = matrix(name)?;
        let clip_length = whole(name, outputs, hidden)?;
        let layers = count(names, "clip_project.transformer.layers.")?;
        let kind = MapperKind::Transformer { clip_length, layers };
        (Mapper { kind, prefix_length, dropout: 0.0, standardize: false }, clip_dim)
    } else {
        return Err(
            "it has no mapper: neither clip_project.model.0.weight (MLP) nor clip_project.prefix_const (transformer)"
                .to_owned(),
        );
    };
    MapperConfig::new(&mapper, clip_dim as usize).check(hidden)?;
    Ok(Sizes { gpt2, mapper, clip_dim: clip_dim as usize })
}

fn gpt2(
    names: &[&str],
    matrix: &impl Fn(&str) -> Result<[i64; 2], String>,
    heads: Option<i64>,
    base: &Gpt2Config,
) -> Result<Gpt2Config, String> {
    let [vocab_size, n_embd] = matrix("gpt.transformer.wte.weight")?;
    let [n_positions, _] = matrix("gpt.transformer.wpe.weight")?;
    let [_, inner] = matrix("gpt.transformer.h.0.mlp.c_fc.weight")?;
    let n_head = match heads {
        Some(heads) => heads,
        None if n_embd % HEAD_WIDTH == 0 => n_embd / HEAD_WIDTH,
        None => {
            return Err(format!(
                "GPT-2's hidden size is {n_embd}, not a multiple of {HEAD_WIDTH}, so its number of attention heads is unknown; give it with --heads"
            ));
        }
    };
    let config = Gpt2Config {
        vocab_size,
        n_positions,
        n_embd,
        n_layer: count(names, "gpt.transformer.h.")?,
        n_head,
        n_inner: (Some(inner) != n_embd.checked_mul(4)).then_some(inner),
        tie_word_embeddings: !names.contains(&HEAD),
        ..base.clone()
    };
    config.check()?;
    Ok(config)
}

/// Returns the shape of a weight with two dimensions, neither of them 0.
fn matrix(name: &str, shape: Option<&[i64]>) -> Result<[i64; 2], String> {
    match shape {
        Some(&[rows, columns]) if rows > 0 && columns > 0 => Ok([rows, columns]),
        Some(other) => Err(format!("{name} has the shape {other:?}; a matrix is expected")),
        None => Err(format!("it has no {name}, which every ClipCap checkpoint has")),
    }
}

/// Returns how many vectors of the hidden size `outputs` values are.
fn whole(name: &str, outputs: i64, hidden: i64) -> Result<i64, String> {
    if outputs % hidden == 0 {
        return Ok(outputs / hidden);
    }
    Err(format!("{name} has {outputs} rows, not a multiple of GPT-2's hidden size {hidden}"))
}

/// Returns the number of numbered modules under `prefix`.
fn count(names: &[&str], prefix: &str) -> Result<i64, String> {
    let numbers: BTreeSet<&str> = names
        .iter()
        .filter_map(|name| name.strip_prefix(prefix)?.split_once('.'))
        .map(|(number, _)| number)
        .collect();
    match numbers.len() {
        0 => Err(format!("it has no {prefix}0")),
        count => Ok(count as i64),
    }
}
