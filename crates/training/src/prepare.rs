//! Everything a training run needs before its first step, checked: data, model, optimizer, position.

use std::path::Path;

use networks::gpt2::{Gpt2Config, Vocabulary};
use networks::prefix::ClipCaptioner;
use networks::{Pass, device};
use tch::{Device, Tensor, nn};
use words::Gpt2Tokenizer;

use crate::batches::TokenRow;
use crate::checkpoint::{self, Position};
use crate::config::{Config, Precision, Tokenizer, Tuning};
use crate::error::Error;
use crate::inputs::{Inputs, load_tokenizer};
use crate::learner::{Learner, LearnerOptions};
use crate::optimizer::{AdamW, AdamWOptions};
use crate::pretrained::Pretrained;
use crate::run_folder::{Provenance, RunFolder, write_json};
use crate::schedule::LinearSchedule;
use crate::seeds::{self, Purpose};
use crate::trainer::Observer;
use crate::validation::HeldOut;

/// A run that is ready for its next step.
pub(crate) struct Prepared {
    pub device: Device,
    pub inputs: Inputs,
    pub rows: Vec<TokenRow>,
    pub held_out: HeldOut,
    pub store: nn::VarStore,
    pub learner: Learner,
    pub position: Position,
}

/// Loads data and model, and goes to the newest checkpoint if there is one.
pub(crate) fn prepare(
    folder: &RunFolder,
    config: &Config,
    gpt2: &Path,
    observer: &mut dyn Observer,
) -> Result<Prepared, Error> {
    let device = device::parse_device(&config.training.device)?;
    let threads =
        if folder.exists() { folder.provenance()?.threads } else { config.training.cpu_threads() };
    device::set_threads(threads);
    device::keep_freed_memory();
    device::allow_tf32(config.training.precision == Precision::Tf32);
    let inputs = Inputs::load(&config.data, device)?;
    let pretrained = Pretrained::open(gpt2)?;
    let tokenizer = tokenizer(folder, config, &pretrained, &inputs)?;
    let gpt2_config = match config.tokenizer {
        Tokenizer::Pretrained {} => pretrained.config.clone(),
        Tokenizer::Custom { .. } => {
            Gpt2Config { vocab_size: tokenizer.vocab_size() as i64, ..pretrained.config.clone() }
        }
    };
    let rows = inputs.token_rows(&inputs.split.train, &tokenizer)?;
    check_rows(config, &gpt2_config, &inputs, &rows, observer)?;
    let held_out = held_out(config, &gpt2_config, &inputs, &tokenizer)?;

    let provenance = Provenance {
        capsmith: env!("CARGO_PKG_VERSION").to_owned(),
        embeddings: Some(inputs.identity.clone()),
        clip_dim: inputs.identity.dimension,
        gpt2_sha256: pretrained.identity(),
        threads,
        device: config.training.device.clone(),
    };
    check_same_run(folder, config, &provenance)?;

    tch::manual_seed(seeds::derive(config.training.seed, Purpose::Initialisation, 0));
    let mut store = nn::VarStore::new(device);
    let mapper = config.mapper.network(inputs.identity.dimension);
    mapper.check(gpt2_config.n_embd).map_err(Error::Mismatch)?;
    let captioner = ClipCaptioner::new(store.root(), &gpt2_config, &mapper);
    let newest = newest_checkpoint(folder, observer)?;
    match &newest {
        Some(checkpoint) => checkpoint.load_model(&mut store)?,
        None => pretrained.fill(&mut store, vocabulary(config))?,
    }
    let optimizer = AdamW::new(trained_variables(&store, config), optimizer_options(config));
    let mut position = Position::default();
    if let Some(checkpoint) = newest {
        checkpoint.load_moments(&optimizer)?;
        position = checkpoint.position;
        observer.note(&format!("resuming after step {}", position.step));
    }
    if !folder.exists() {
        durable::create_dir_all(&folder.gpt2())?;
        tokenizer.save(&folder.gpt2())?;
        write_json(&folder.gpt2().join("config.json"), &gpt2_config)?;
        folder.begin(config, &provenance)?;
    }
    let batches = rows.len() / config.training.batch_size;
    let schedule = LinearSchedule {
        peak: config.optimizer.learning_rate,
        warmup_steps: config.optimizer.warmup_steps,
        total_steps: config.training.epochs * batches as u64,
    };
    let learner = Learner::new(captioner, optimizer, schedule, learner_options(config));
    Ok(Prepared { device, inputs, rows, held_out, store, learner, position })
}

/// The tokenizer beside GPT-2, or one trained on the training captions. A run keeps the one that it
/// began with.
fn tokenizer(
    folder: &RunFolder,
    config: &Config,
    pretrained: &Pretrained,
    inputs: &Inputs,
) -> Result<Gpt2Tokenizer, Error> {
    let gpt2 = &pretrained.config;
    let Tokenizer::Custom { vocab_size } = config.tokenizer else {
        return load_tokenizer(&pretrained.folder, gpt2.vocab_size);
    };
    if folder.exists() {
        return load_tokenizer(&folder.gpt2(), gpt2.vocab_size);
    }
    if vocab_size as i64 > gpt2.vocab_size {
        return Err(Error::Mismatch(format!(
            "tokenizer.vocab_size is {vocab_size}, but GPT-2 has embeddings for {} tokens only; a custom tokenizer takes the first of them",
            gpt2.vocab_size
        )));
    }
    Ok(Gpt2Tokenizer::train(inputs.captions(&inputs.split.train), vocab_size)?)
}

fn vocabulary(config: &Config) -> Vocabulary {
    match config.tokenizer {
        Tokenizer::Pretrained {} => Vocabulary::Same,
        Tokenizer::Custom { .. } => Vocabulary::FirstRows,
    }
}

/// Held-out captions, those left out that are too long for the model.
fn held_out(
    config: &Config,
    gpt2: &Gpt2Config,
    inputs: &Inputs,
    tokenizer: &Gpt2Tokenizer,
) -> Result<HeldOut, Error> {
    let mut rows = inputs.token_rows(&inputs.split.validation, tokenizer)?;
    let room = (gpt2.n_positions - config.mapper.prefix_length() + 1) as usize;
    rows.retain(|row| row.tokens.len() <= room);
    let batch_size = config.training.batch_size.div_ceil(config.training.accumulation_steps);
    Ok(HeldOut { rows, batch_size })
}

/// What the optimizer moves; the rest takes no gradients.
fn trained_variables(store: &nn::VarStore, config: &Config) -> Vec<(String, Tensor)> {
    let mut variables = named_variables(store);
    if config.gpt2.tuning == Tuning::Frozen {
        variables.retain(|(name, variable)| {
            let is_frozen = name.starts_with("gpt.");
            if is_frozen {
                let _ = variable.set_requires_grad(false);
            }
            !is_frozen
        });
    }
    variables
}

fn learner_options(config: &Config) -> LearnerOptions {
    let precision = match config.training.precision {
        Precision::F32 | Precision::Tf32 => networks::Precision::Full,
        Precision::Bf16 => networks::Precision::Bf16,
    };
    LearnerOptions {
        max_gradient_norm: config.optimizer.max_gradient_norm,
        pass: Pass { dropout: config.gpt2.tuning == Tuning::Full, precision },
        recompute: config.training.gradient_checkpointing,
    }
}

/// Variables sorted by name: the order of parameters must not depend on a hash map's.
pub(crate) fn named_variables(store: &nn::VarStore) -> Vec<(String, Tensor)> {
    let mut variables: Vec<(String, Tensor)> = store.variables().into_iter().collect();
    variables.sort_by(|a, b| a.0.cmp(&b.0));
    variables
}

fn newest_checkpoint(
    folder: &RunFolder,
    observer: &mut dyn Observer,
) -> Result<Option<checkpoint::Checkpoint>, Error> {
    let (newest, damaged) = checkpoint::latest(&folder.checkpoints())?;
    for error in damaged {
        observer.note(&format!("passed over a damaged checkpoint: {error}"));
    }
    Ok(newest)
}

fn optimizer_options(config: &Config) -> AdamWOptions {
    let optimizer = &config.optimizer;
    AdamWOptions {
        beta1: optimizer.beta1,
        beta2: optimizer.beta2,
        epsilon: optimizer.epsilon,
        weight_decay: optimizer.weight_decay,
    }
}

fn check_rows(
    config: &Config,
    gpt2: &Gpt2Config,
    inputs: &Inputs,
    rows: &[TokenRow],
    observer: &mut dyn Observer,
) -> Result<(), Error> {
    let skipped = inputs.without_embedding(&inputs.split.train);
    if skipped > 0 {
        observer.note(&format!("{skipped} training pictures have no embedding and are left out"));
    }
    if rows.len() < config.training.batch_size {
        return Err(Error::Mismatch(format!(
            "the training split has {} captions, fewer than one batch of {}; set a smaller training.batch_size, or check data.split",
            rows.len(),
            config.training.batch_size,
        )));
    }
    let longest = rows.iter().map(|row| row.tokens.len() as i64).max().unwrap_or(0);
    let needed = config.mapper.prefix_length() + longest.max(config.decoding.max_tokens as i64);
    if needed > gpt2.n_positions {
        return Err(Error::Mismatch(format!(
            "prefix and caption take up to {needed} positions, but GPT-2's n_positions is {}; lower mapper.prefix_length or decoding.max_tokens",
            gpt2.n_positions,
        )));
    }
    Ok(())
}

/// A folder that holds a run must hold this one.
fn check_same_run(
    folder: &RunFolder,
    config: &Config,
    provenance: &Provenance,
) -> Result<(), Error> {
    if !folder.exists() {
        return Ok(());
    }
    let path = folder.path().display();
    let difference = folder.config()?.difference(config);
    if !difference.is_empty() {
        return Err(Error::Mismatch(format!(
            "the run in {path} has another configuration, so it cannot be resumed with this one:\n{difference}"
        )));
    }
    let difference = folder.provenance()?.difference(provenance);
    if !difference.is_empty() {
        return Err(Error::Mismatch(format!(
            "the run in {path} was started from other data or weights, so it cannot be resumed from these:\n{difference}"
        )));
    }
    Ok(())
}
