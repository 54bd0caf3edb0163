//! GPT-2 trained from scratch on joined texts, cut into blocks (Radford et al. 2019).

use std::path::Path;
use std::sync::atomic::AtomicBool;

use networks::gpt2::Gpt2Config;
use networks::language_model::{Block, Blocks, LanguageModel};
use progress::Progress;
use tch::{Device, Kind, Tensor, nn};
use training::Error;
use training::end_of_text;
use training::memory;
use training::named_variables;
use training::seeds::{self, Purpose};
use words::Gpt2Tokenizer;

use super::{TRAINED_COPIES, TrainingOptions};
use crate::models::save_gpt2;

/// Options of a GPT-2 model and its training.
#[derive(Debug, Clone)]
pub struct Gpt2Options {
    /// Configuration; `vocab_size` is the limit of the tokenizer, which is trained on the texts.
    pub config: Gpt2Config,
    /// Tokens in a block.
    pub block_size: usize,
    /// Length, batch size and learning rate.
    pub training: TrainingOptions,
    /// Floating-point type of the stored weights.
    pub kind: Kind,
}

/// Trains a GPT-2 on `texts`, each ended by `<|endoftext|>`, and writes it to `folder`.
///
/// The folder has Hugging Face's format. Returns false, without writing anything, if `stop` was
/// set.
///
/// # Errors
/// Fails for fewer tokens than a block; names the file that cannot be written.
pub fn gpt2(
    folder: &Path,
    texts: &[String],
    options: &Gpt2Options,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<bool, Error> {
    let Gpt2Options { config, block_size, training, kind } = options;
    if *block_size as i64 > config.n_positions {
        return Err(Error::Mismatch(format!(
            "a block has {block_size} tokens, but the model has {} positions only",
            config.n_positions
        )));
    }
    let tokenizer = Gpt2Tokenizer::train(texts, config.vocab_size as usize)?;
    let config = Gpt2Config { vocab_size: tokenizer.vocab_size() as i64, ..config.clone() };
    let blocks = blocks(&tokenizer, texts, *block_size, training.seed)?;

    memory::check_model(config.parameters(), TRAINED_COPIES)?;
    let mut store = nn::VarStore::new(Device::Cpu);
    tch::manual_seed(seeds::derive(training.seed, Purpose::Initialisation, 0));
    let model = LanguageModel::new(store.root(), &config);
    let mut learner = training.learner(model, named_variables(&store), true);
    let finished = training.train(
        &mut learner,
        |step| {
            let batch = training.batch(step, blocks.len());
            let batch: Vec<&Block> = batch.into_iter().map(|block| &blocks[block]).collect();
            Ok(Blocks::new(&batch, Device::Cpu))
        },
        |_| Ok(()),
        progress,
        stop,
    )?;
    if finished {
        store.set_kind(*kind);
        let plain = |name: String| name.strip_prefix("gpt.").map(ToOwned::to_owned).unwrap_or(name);
        let tensors: Vec<(String, Tensor)> = named_variables(&store)
            .into_iter()
            .map(|(name, tensor)| (plain(name), tensor))
            .collect();
        save_gpt2(folder, &tokenizer, &config, &tensors)?;
    }
    Ok(finished)
}

/// Returns the texts in random order, joined and cut into blocks.
fn blocks(
    tokenizer: &Gpt2Tokenizer,
    texts: &[String],
    block_size: usize,
    seed: u64,
) -> Result<Vec<Block>, Error> {
    let end = end_of_text(tokenizer)?;
    let rows = tokenizer.encode_batch(texts)?;
    let mut tokens: Vec<i64> = Vec::new();
    for text in seeds::permutation(seed, Purpose::Texts, 0, rows.len()) {
        tokens.extend(rows[text].iter().map(|&id| i64::from(id)));
        tokens.push(end);
    }
    let blocks = tokens.chunks_exact(block_size);
    let blocks: Vec<Block> = blocks
        .map(|tokens| Block { tokens: tokens.to_vec(), is_target: vec![true; block_size] })
        .collect();
    if blocks.is_empty() {
        return Err(Error::Mismatch(format!(
            "the texts have {} tokens, fewer than a block of {block_size}; take more texts or smaller blocks",
            tokens.len()
        )));
    }
    Ok(blocks)
}
