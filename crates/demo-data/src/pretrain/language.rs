//! GPT-2 from scratch on texts, one behind the other, cut into blocks (Radford et al. 2019).

use std::path::Path;
use std::sync::atomic::AtomicBool;

use networks::gpt2::Gpt2Config;
use networks::language_model::{Block, Blocks, LanguageModel};
use networks::weights::write_tensors;
use runs::write_json;
use tch::{Device, Kind, Tensor, nn};
use training::Error;
use training::end_of_text;
use training::memory;
use training::named_variables;
use training::seeds::{self, Purpose};
use words::Gpt2Tokenizer;

use super::{Course, Progress, TRAINED_COPIES};

/// What GPT-2 to train, and how.
#[derive(Debug, Clone)]
pub struct Gpt2Options {
    /// Its settings. `vocab_size` is the ceiling of the tokenizer, which is trained on the texts.
    pub config: Gpt2Config,
    /// Tokens in a block.
    pub block_size: usize,
    /// How long and how fast.
    pub course: Course,
    /// The type that weights are stored in.
    pub kind: Kind,
}

/// Trains a GPT-2 on `texts`, each ended by `<|endoftext|>`, and writes it to `folder` as Hugging Face has
/// it. False, with nothing written, where `stop` was set.
///
/// # Errors
/// For fewer tokens than a block; names the file that cannot be written.
pub fn gpt2(
    folder: &Path,
    texts: &[String],
    options: &Gpt2Options,
    progress: &mut dyn FnMut(Progress),
    stop: &AtomicBool,
) -> Result<bool, Error> {
    let Gpt2Options { config, block_size, course, kind } = options;
    if *block_size as i64 > config.n_positions {
        return Err(Error::Mismatch(format!(
            "a block has {block_size} tokens, but the model has {} positions only",
            config.n_positions
        )));
    }
    let tokenizer = Gpt2Tokenizer::train(texts, config.vocab_size as usize)?;
    let config = Gpt2Config { vocab_size: tokenizer.vocab_size() as i64, ..config.clone() };
    let blocks = blocks(&tokenizer, texts, *block_size, course.seed)?;

    memory::check_model(config.parameters(), TRAINED_COPIES)?;
    let mut store = nn::VarStore::new(Device::Cpu);
    tch::manual_seed(seeds::derive(course.seed, Purpose::Initialisation, 0));
    let model = LanguageModel::new(store.root(), &config);
    let mut learner = course.learner(model, named_variables(&store), true);
    let finished = course.walk(
        &mut learner,
        |step| {
            let batch = course.batch(step, blocks.len());
            let batch: Vec<&Block> = batch.into_iter().map(|block| &blocks[block]).collect();
            Ok(Blocks::new(&batch, Device::Cpu))
        },
        |_| Ok(()),
        progress,
        stop,
    )?;
    if finished {
        store.set_kind(*kind);
        durable::create_dir_all(folder)?;
        tokenizer.save(folder)?;
        write_json(&folder.join("config.json"), &config)?;
        let plain = |name: String| name.strip_prefix("gpt.").map(ToOwned::to_owned).unwrap_or(name);
        let tensors: Vec<(String, Tensor)> = named_variables(&store)
            .into_iter()
            .map(|(name, tensor)| (plain(name), tensor))
            .collect();
        write_tensors(&folder.join("model.safetensors"), &tensors)?;
    }
    Ok(finished)
}

/// The texts in random order, joined and cut.
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
