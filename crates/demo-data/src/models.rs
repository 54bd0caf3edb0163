//! Models with random weights, in the real formats: for machines without pretrained ones.
//!
//! The folders are Hugging Face's, so that everything that reads a pretrained model reads these
//! too, and transformers reads them as well.

use std::path::Path;

use networks::clip::{self, ClipConfig, ClipModel};
use networks::gpt2::{Gpt2, Gpt2Config};
use tch::{Device, Tensor, nn};
use words::{ClipTokenizer, Gpt2Tokenizer};

use networks::weights::write_tensors;
use training::Error;
use training::memory;
use training::named_variables;
use training::seeds::{self, Purpose};

/// Weights, and the bytes of the file that they are written to.
const WRITTEN_COPIES: u128 = 2;

/// Writes a GPT-2 with random weights, and a tokenizer trained on `texts`, to `folder`.
///
/// `config.vocab_size` is the ceiling of the tokenizer; the model gets as many embeddings as there
/// are tokens.
///
/// # Errors
/// Names the file that cannot be written, and refuses what memory does not hold.
pub fn init_gpt2(
    folder: &Path,
    config: &Gpt2Config,
    texts: &[String],
    seed: u64,
) -> Result<Gpt2Config, Error> {
    let tokenizer = Gpt2Tokenizer::train(texts, config.vocab_size as usize)?;
    let config = Gpt2Config { vocab_size: tokenizer.vocab_size() as i64, ..config.clone() };
    memory::check_model(config.parameters(), WRITTEN_COPIES)?;
    let store = nn::VarStore::new(Device::Cpu);
    tch::manual_seed(seeds::derive(seed, Purpose::Initialisation, 0));
    let _model = Gpt2::new(store.root(), &config);
    save_gpt2(folder, &tokenizer, &config, &named_variables(&store))?;
    Ok(config)
}

/// Writes a CLIP with random weights to `folder`, with a tokenizer of single bytes.
///
/// The vocabulary and end token of `config` are replaced by the tokenizer's.
///
/// # Errors
/// Names the file that cannot be written, and refuses what memory does not hold.
pub fn init_clip(folder: &Path, mut config: ClipConfig, seed: u64) -> Result<(), Error> {
    let tokenizer = ClipTokenizer::byte_level()?;
    config.text_config.vocab_size = tokenizer.vocab_size() as i64;
    config.text_config.eos_token_id = vec![i64::from(tokenizer.end_of_text())];
    memory::check_model(config.parameters(), WRITTEN_COPIES)?;
    let store = nn::VarStore::new(Device::Cpu);
    tch::manual_seed(seeds::derive(seed, Purpose::Initialisation, 0));
    let _model = ClipModel::new(store.root(), &config)?;
    durable::create_dir_all(folder)?;
    tokenizer.save(folder)?;
    Ok(clip::save_folder(folder, &store, &config)?)
}

/// Writes a GPT-2 to `folder` in Hugging Face's format.
pub(crate) fn save_gpt2(
    folder: &Path,
    tokenizer: &Gpt2Tokenizer,
    config: &Gpt2Config,
    tensors: &[(String, Tensor)],
) -> Result<(), Error> {
    durable::create_dir_all(folder)?;
    tokenizer.save(folder)?;
    durable::write_json(&folder.join("config.json"), config)?;
    Ok(write_tensors(&folder.join("model.safetensors"), tensors)?)
}
