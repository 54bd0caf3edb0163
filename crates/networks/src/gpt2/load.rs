//! GPT-2's names in a checkpoint, and filling a model from a Hugging Face folder.

use tch::{Device, nn};

use crate::weights::{self, Checkpoint, WeightsError};

/// The module that holds everything but the output head.
const BODY: &str = "transformer.";

/// The output head.
const HEAD: &str = "lm_head.weight";

/// How the file's token embeddings fill the model's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vocabulary {
    /// They are of the same tokens.
    Same,
    /// The model may have fewer tokens, and then takes the first rows: what transformers'
    /// `resize_token_embeddings` keeps.
    FirstRows,
}

/// Fills the GPT-2 that was built at `module` (`""` for the store's root, or `"gpt"`) and leaves the
/// store's other variables alone.
///
/// Reads transformers' `GPT2LMHeadModel`, and bare `GPT2Model` uploads such as the official `gpt2`,
/// whose names lack `transformer.`. Passes over the causal masks that old versions stored
/// (`attn.bias`, `attn.masked_bias`), an output head that repeats the token embedding, and
/// [`other_heads`]. A head that is there in place of the token embedding fills it.
///
/// # Errors
/// Names every tensor that does not fit; nothing is changed then.
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
    let cut = [embedding.as_str(), HEAD];
    weights::load_variables(
        ours,
        checkpoint,
        if vocabulary == Vocabulary::FirstRows { &cut } else { &[] },
        str::to_owned,
        |name| {
            name == HEAD
                || name.strip_prefix(body).is_some_and(is_mask)
                || is_other_head(body, name)
        },
    )
}

/// Returns the tensors of `checkpoint` that are no part of a GPT-2 that writes text, such as
/// `multiple_choice_head.summary.weight` of `GPT2DoubleHeadsModel`.
#[must_use]
pub fn other_heads(checkpoint: &Checkpoint) -> Vec<String> {
    let body = body(checkpoint);
    let others = checkpoint.names().filter(|name| *name != HEAD && is_other_head(body, name));
    others.map(str::to_owned).collect()
}

/// Returns what the names of everything but the heads begin with.
fn body(checkpoint: &Checkpoint) -> &'static str {
    if checkpoint.shape("wpe.weight").is_some() { "" } else { BODY }
}

/// Returns true if `name` lies outside of the body.
fn is_other_head(body: &str, name: &str) -> bool {
    const PARTS: [&str; 4] = ["wte.", "wpe.", "h.", "ln_f."];
    name.strip_prefix(body)
        .is_none_or(|inside| body.is_empty() && !PARTS.iter().any(|part| inside.starts_with(part)))
}

/// Whether `name`, as transformers' `GPT2LMHeadModel` calls it, is no parameter of its own.
pub(crate) fn is_ignored(name: &str) -> bool {
    name == HEAD || name.strip_prefix(BODY).is_some_and(is_mask)
}

/// Whether `name` is a stored causal mask: `h.N.attn.bias` or `h.N.attn.masked_bias`.
fn is_mask(name: &str) -> bool {
    let Some((layer, rest)) = name.strip_prefix("h.").and_then(|rest| rest.split_once('.')) else {
        return false;
    };
    layer.parse::<u32>().is_ok() && matches!(rest, "attn.bias" | "attn.masked_bias")
}

/// Refuses a head that is stored and is not the token embedding again.
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
