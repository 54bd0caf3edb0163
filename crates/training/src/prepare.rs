//! Everything a training run needs before its first step, checked: data, model, optimizer, position.

use networks::gpt2::{self, Gpt2Config};
use networks::prefix::ClipCaptioner;
use networks::{device, weights};
use tch::{Device, Tensor, nn};

use crate::batches::TokenRow;
use crate::checkpoint::{self, Position};
use crate::config::Config;
use crate::error::Error;
use crate::inputs::{Inputs, load_tokenizer};
use crate::learner::Learner;
use crate::optimizer::{AdamW, AdamWOptions};
use crate::run_folder::{Provenance, RunFolder, write_json};
use crate::schedule::LinearSchedule;
use crate::seeds::{self, Purpose};
use crate::trainer::Observer;

/// A run that is ready for its next step.
pub(crate) struct Prepared {
    pub device: Device,
    pub inputs: Inputs,
    pub rows: Vec<TokenRow>,
    pub store: nn::VarStore,
    pub learner: Learner,
    pub position: Position,
}

/// Loads data and model, and goes to the newest checkpoint if there is one.
pub(crate) fn prepare(
    folder: &RunFolder,
    config: &Config,
    observer: &mut dyn Observer,
) -> Result<Prepared, Error> {
    let device = device::parse_device(&config.training.device)?;
    let threads =
        if folder.exists() { folder.provenance()?.threads } else { config.training.cpu_threads() };
    device::set_threads(threads);
    let inputs = Inputs::load(&config.data, device)?;
    let gpt2_config = Gpt2Config::open(&config.gpt2.model)?;
    let tokenizer = load_tokenizer(&config.gpt2.model, gpt2_config.vocab_size)?;
    let rows = inputs.token_rows(&inputs.split.train, &tokenizer)?;
    check_rows(config, &gpt2_config, &inputs, &rows, observer)?;

    let pretrained = weights::Checkpoint::open(&config.gpt2.model)?;
    let provenance = Provenance {
        capsmith: env!("CARGO_PKG_VERSION").to_owned(),
        embeddings: inputs.identity.clone(),
        gpt2_sha256: pretrained.identity(),
        threads,
        device: config.training.device.clone(),
    };
    check_same_run(folder, config, &provenance)?;

    tch::manual_seed(seeds::derive(config.training.seed, Purpose::Initialisation, 0));
    let mut store = nn::VarStore::new(device);
    let captioner = ClipCaptioner::new(
        store.root(),
        &gpt2_config,
        inputs.identity.dimension as i64,
        config.mapper.prefix_length,
    );
    let newest = newest_checkpoint(folder, observer)?;
    match &newest {
        Some(checkpoint) => checkpoint.load_model(&mut store)?,
        None => gpt2::load_pretrained(&mut store, "gpt", &pretrained)?,
    }
    let optimizer = AdamW::new(named_variables(&store), optimizer_options(config));
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
    let learner = Learner::new(captioner, optimizer, schedule, config.optimizer.max_gradient_norm);
    Ok(Prepared { device, inputs, rows, store, learner, position })
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
    let needed = config.mapper.prefix_length + longest.max(config.decoding.max_tokens as i64);
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
