//! GPT-2's names in a checkpoint, and loading from a Hugging Face folder.

use tch::{Device, nn};

use crate::weights::{self, Checkpoint, WeightsError};

/// Prefix of all names but the output head's.
const BODY: &str = "transformer.";

/// Name of the output head.
const HEAD: &str = "lm_head.weight";

/// Relation between the token embeddings of the file and of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vocabulary {
    /// Both have the same tokens.
    Same,
    /// The model may have fewer tokens; it takes the first rows, like transformers'
    /// `resize_token_embeddings`.
    FirstRows,
}

/// Fills the GPT-2 built at `module` (`""` for the store's root, or `"gpt"`).
///
/// The store's other variables do not change.
///
/// Reads transformers' `GPT2LMHeadModel`, and bare `GPT2Model` uploads such as the official `gpt2`,
/// whose names lack `transformer.`. Ignores the causal masks of old versions (`attn.bias`,
/// `attn.masked_bias`), an output head that repeats the token embedding, and [`other_heads`]. If
/// only the head is stored, it fills the token embedding.
///
/// # Errors
/// Fails with every tensor that does not fit; the store is then unchanged.
pub fn load_pretrained(
    store: &mut nn::VarStore,
    module: &str,
    checkpoint: &Checkpoint,
    vocabulary: Vocabulary,
) -> Result<(), WeightsError> {
    let module = if module.is_empty() { String::new() } else { format!("{module}.") };
    let body = body(checkpoint);
    let stored = format!("{body}wte.weight");
    let variables = store.variables();
    let is_tied = !variables.contains_key(&format!("{module}{HEAD}"));
    if is_tied {
        check_tied_head(checkpoint, HEAD, &stored)?;
    }
    let has = |name: &str| checkpoint.shape(name).is_some();
    let embedding = if is_tied && has(HEAD) && !has(&stored) { HEAD.to_owned() } else { stored };
    let ours = variables.into_iter().filter_map(|(name, tensor)| {
        let inside = name.strip_prefix(&module)?;
        let name = match inside.strip_prefix(BODY) {
            Some("wte.weight") => embedding.clone(),
            Some(inside) => format!("{body}{inside}"),
            None if inside == HEAD => inside.to_owned(),
            None => return None,
        };
        Some((name, tensor))
    });
    let truncatable = [embedding.as_str(), HEAD];
    weights::load_variables(
        ours,
        checkpoint,
        if vocabulary == Vocabulary::FirstRows { &truncatable } else { &[] },
        str::to_owned,
        |name| {
            name == HEAD
                || name.strip_prefix(body).is_some_and(is_mask)
                || is_other_head(body, name)
        },
    )
}

/// Returns the tensors of `checkpoint` that belong to heads for other tasks, such as
/// `multiple_choice_head.summary.weight` of `GPT2DoubleHeadsModel`.
#[must_use]
pub fn other_heads(checkpoint: &Checkpoint) -> Vec<String> {
    let body = body(checkpoint);
    let others = checkpoint.names().filter(|name| *name != HEAD && is_other_head(body, name));
    others.map(str::to_owned).collect()
}

/// Returns the name prefix of everything but the heads.
fn body(checkpoint: &Checkpoint) -> &'static str {
    if checkpoint.shape("wpe.weight").is_some() { "" } else { BODY }
}

/// Returns true if `name` lies outside the body.
fn is_other_head(body: &str, name: &str) -> bool {
    const PARTS: [&str; 4] = ["wte.", "wpe.", "h.", "ln_f."];
    name.strip_prefix(body)
        .is_none_or(|inside| body.is_empty() && !PARTS.iter().any(|part| inside.starts_with(part)))
}

/// Returns true if `name`, as in transformers' `GPT2LMHeadModel`, is no parameter of its own.
pub(crate) fn is_ignored(name: &str) -> bool {
    name == HEAD || name.strip_prefix(BODY).is_some_and(is_mask)
}

/// Returns true if `name` is a stored causal mask: `h.N.attn.bias` or `h.N.attn.masked_bias`.
fn is_mask(name: &str) -> bool {
    let Some((layer, rest)) = name.strip_prefix("h.").and_then(|rest| rest.split_once('.')) else {
        return false;
    };
    layer.parse::<u32>().is_ok() && matches!(rest, "attn.bias" | "attn.masked_bias")
}

/// Fails if the file holds an output head that differs from the token embedding.
pub(crate) fn check_tied_head(
    checkpoint: &Checkpoint,
    head: &str,
    embedding: &str,
) -> Result<(), WeightsError> {
    if checkpoint.shape(head).is_none() || checkpoint.shape(embedding).is_none() {
        return Ok(());
    }
    let tensor = |name| checkpoint.tensor(name, Device::Cpu);
    if tensor(head)? == tensor(embedding)? {
        return Ok(());
    }
    Err(WeightsError::UntiedHead { path: checkpoint.path().to_owned(), head: head.to_owned() })
}
