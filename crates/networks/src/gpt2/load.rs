//! GPT-2's names in a checkpoint, and filling a model from a Hugging Face folder.

use tch::{Device, nn};

use crate::weights::{self, Checkpoint, WeightsError};

/// The module that holds everything but the output head.
const BODY: &str = "transformer.";

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
/// Read are transformers' `GPT2LMHeadModel`, and bare `GPT2Model` uploads such as the official
/// `gpt2`, whose names lack `transformer.`. The causal masks that old versions stored
/// (`attn.bias`, `attn.masked_bias`) are passed over, and so is an output head that repeats the
/// token embedding.
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
    let body = if checkpoint.shape("wte.weight").is_some() { "" } else { BODY };
    check_tied_head(checkpoint, "lm_head.weight", &format!("{body}wte.weight"))?;
    let ours = store.variables().into_iter().filter_map(|(name, tensor)| {
        let inside = name.strip_prefix(&module)?.strip_prefix(BODY)?.to_owned();
        Some((inside, tensor))
    });
    let embedding = format!("{body}wte.weight");
    weights::load_variables(
        ours,
        checkpoint,
        Some(embedding.as_str()).filter(|_| vocabulary == Vocabulary::FirstRows),
        |name| format!("{body}{name}"),
        |name| name == "lm_head.weight" || name.strip_prefix(body).is_some_and(is_mask),
    )
}

/// Whether `name`, as transformers' `GPT2LMHeadModel` calls it, is no parameter of its own.
pub(crate) fn is_ignored(name: &str) -> bool {
    name == "lm_head.weight" || name.strip_prefix(BODY).is_some_and(is_mask)
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
