//! Everything a training run needs before its first step, checked: data, model, optimizer, position.

use std::path::Path;
use std::sync::Arc;

use collectives::Collectives;
use foreign_text::printable_path;
use launchers::Place;
use networks::{Initial, Pass, device, libtorch};
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor, nn, no_grad};

use crate::batches::Batching;
use crate::checkpoint;
use crate::epoch_scores::ScoredPictures;
use crate::error::Error;
use crate::inputs::Inputs;
use crate::learner::{Learner, LearnerOptions};
use crate::memory;
use crate::optimizer::{AdamW, AdamWOptions};
use crate::schedule::RateSchedule;
use crate::seeds::{self, Purpose};
use crate::systems::{Setting, System};
use crate::trainer::{Observer, Session};
use recipes::{Config, Precision};
use runs::checkpoints::{self, Checkpoint, Position};
use runs::{Hardware, Provenance, RunFolder};

/// A run that is ready for its next step.
pub(crate) struct Prepared<S: System> {
    pub device: Device,
    pub inputs: Inputs,
    pub system: S,
    /// What is captioned after each epoch, if anything.
    pub scored: Option<ScoredPictures>,
    pub store: nn::VarStore,
    pub provenance: Provenance,
    pub learner: Learner<S::Model>,
    pub position: Position,
}

/// Loads data and model, and goes to the newest checkpoint if there is one.
pub(crate) fn prepare<S: System>(
    folder: &RunFolder,
    config: &Config,
    language_model: Option<&Path>,
    session: &Session,
    device: Device,
    observer: &mut dyn Observer,
) -> Result<Prepared<S>, Error> {
    let begun = if folder.exists() {
        folder.check_files()?;
        Some(folder.provenance()?)
    } else {
        None
    };
    let threads = match &begun {
        Some(begun) if folder.config()?.training.threads == config.training.threads => {
            begun.threads
        }
        _ => cpu_threads(&config.training),
    };
    // A run may go on with more processes of a machine than it began with.
    let own =
        if session.place.is_alone() { threads } else { threads.min(cpu_threads(&config.training)) };
    device::set_threads(own);
    device::keep_freed_memory();
    libtorch::allow_tf32(config.training.precision == Precision::Tf32);
    let inputs = Inputs::load(&config.data, device)?;
    let tokenizers = session.tokenizers.as_deref();
    let setting = Setting { folder, config, language_model, tokenizers, inputs: &inputs, device };
    let system = S::load(&setting, observer)?;
    check_held_out(config, system.held_out().len())?;
    check_targets(&system)?;
    check_room(config, &system, session.place, device)?;
    let scored = ScoredPictures::new(config, &inputs)?;

    let mut provenance = Provenance::new(config, &inputs.identity, threads);
    system.complete(&mut provenance);
    check_same_run(folder, config, &provenance)?;

    tch::manual_seed(seeds::derive(config.training.seed, Purpose::Initialisation, 0));
    let mut store = nn::VarStore::new(device);
    let newest = newest_checkpoint(folder, observer)?;
    let initial = if newest.is_some() { Initial::Zeros } else { Initial::Random };
    let model = system.model(&store, initial)?;
    match &newest {
        Some(checkpoint) => checkpoint::load_model(&checkpoint, &mut store)?,
        None => system.fill(&mut store)?,
    }
    let optimizer = AdamW::new(system.trained(named_variables(&store)), optimizer_options(config));
    let mut position = Position::default();
    if let Some(checkpoint) = newest {
        checkpoint::load_moments(&checkpoint, &optimizer)?;
        position = checkpoint.position;
        observer.note(&format!("resuming after step {}", position.step));
    }
    if let Some(begun) = begun
        && session.place.rank == 0
    {
        let device = config.training.device.clone();
        let now = Hardware { after_step: position.step, device, threads };
        if let Some(note) = folder.resume_on(now, begun)? {
            observer.note(&note);
        }
    }
    if !folder.exists() && session.place.rank == 0 {
        system.save(folder)?;
        folder.begin(config, &provenance)?;
    }
    let batches = Batching::new(&config.training).count(system.examples().len());
    let schedule = RateSchedule {
        shape: config.optimizer.schedule,
        peak: config.optimizer.learning_rate,
        warmup_steps: config.optimizer.warmup_steps,
        total_steps: config.training.epochs * batches as u64,
    };
    let options = learner_options(config, system.drops_out());
    let learner = Learner::new(model, optimizer, schedule, options);
    Ok(Prepared { device, inputs, system, scored, store, provenance, learner, position })
}

/// The device of one of the processes that train a run.
pub(crate) fn device_of(config: &Config, place: Place) -> Result<Device, Error> {
    Ok(device::parse_device(&place.device_name(&config.training.device))?)
}

/// What processes that train together must have alike.
#[derive(Serialize, Deserialize)]
struct Common {
    config: String,
    provenance: Provenance,
    examples: usize,
    position: Position,
}

impl<S: System> Prepared<S> {
    /// Makes ready to train together with the processes of `group`: all must have the same
    /// configuration and data, and get rank 0's weights, moments and position.
    ///
    /// # Errors
    /// Says in what this process differs from rank 0.
    pub(crate) fn join(
        &mut self,
        group: &Arc<dyn Collectives>,
        config: &Config,
    ) -> Result<(), Error> {
        let own = Common {
            config: config.to_toml(),
            provenance: self.provenance.clone(),
            examples: self.system.examples().len(),
            position: self.position.clone(),
        };
        let not_sent = |error: serde_json::Error| Error::Mismatch(error.to_string());
        let bytes = serde_json::to_vec(&own).map_err(not_sent)?;
        let first: Common =
            serde_json::from_slice(&group.broadcast_bytes(&bytes)?).map_err(not_sent)?;
        let differs = |what: &str, lines: &str| {
            let rank = group.rank();
            Err(Error::Mismatch(format!("rank {rank} has {what} than rank 0:\n{lines}")))
        };
        let theirs = Config::parse(&first.config, Path::new("the configuration of rank 0"), &[])?;
        let difference = theirs.difference(config);
        if !difference.is_empty() {
            return differs("another configuration", &difference);
        }
        let difference = first.provenance.difference(&own.provenance);
        if !difference.is_empty() {
            return differs("other data or weights", &difference);
        }
        if first.examples != own.examples {
            let lines = format!("  examples: {} -> {}\n", first.examples, own.examples);
            return differs("other data", &lines);
        }
        self.position = first.position;
        let mut tensors = named_variables(&self.store);
        tensors.extend(self.learner.optimizer().moments());
        for (_, tensor) in tensors {
            no_grad(|| group.broadcast(&tensor))?;
        }
        self.learner.share(group)
    }
}

fn learner_options(config: &Config, dropout: bool) -> LearnerOptions {
    let precision = match config.training.precision {
        Precision::F32 | Precision::Tf32 => networks::Precision::Full,
        Precision::Bf16 => networks::Precision::Bf16,
    };
    LearnerOptions {
        max_grad_norm: config.optimizer.max_grad_norm,
        pass: Pass { dropout, precision },
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
) -> Result<Option<Checkpoint>, Error> {
    let (newest, damaged) = checkpoints::latest(&folder.checkpoints())?;
    for error in damaged {
        observer.note(&format!("passed over a damaged checkpoint: {error}"));
    }
    if newest.is_none() && folder.exists() {
        observer.note("the run has no checkpoint to resume from; training starts at step 0");
    }
    Ok(newest)
}

fn optimizer_options(config: &Config) -> AdamWOptions {
    let optimizer = &config.optimizer;
    AdamWOptions {
        rule: optimizer.rule,
        beta1: optimizer.beta1,
        beta2: optimizer.beta2,
        epsilon: optimizer.epsilon,
        weight_decay: optimizer.weight_decay,
    }
}

/// The parts that batches are computed in must have room, even one of the shortest examples.
fn check_room<S: System>(
    config: &Config,
    system: &S,
    place: Place,
    device: Device,
) -> Result<(), Error> {
    let training = &config.training;
    let part = training
        .batch_size
        .div_ceil(place.world_size)
        .div_ceil(training.gradient_accumulation_steps);
    let mut targets: Vec<usize> =
        system.examples().iter().map(|example| system.targets(example)).collect();
    targets.sort_unstable();
    memory::check_logits(
        targets.iter().take(part).sum(),
        system.vocabulary(),
        device,
        "lower training.batch_size, or raise training.gradient_accumulation_steps",
    )
}

/// Stopping by a loss needs something to measure it on.
fn check_held_out(config: &Config, held_out: usize) -> Result<(), Error> {
    if config.trains_past_best_epoch() && held_out == 0 {
        return Err(Error::Mismatch(
            "training.early_stop_on is \"held-out\", but no captions are held out; set data.validation_captions, another data.split, or training.early_stop_epochs=0".into(),
        ));
    }
    Ok(())
}

/// Refuses training examples of which no token counts in the loss.
fn check_targets<S: System>(system: &S) -> Result<(), Error> {
    if system.examples().iter().any(|example| system.targets(example) > 0) {
        return Ok(());
    }
    Err(Error::Mismatch(
        "no token of the training captions counts in the loss, so nothing can be learned; check the captions (token 0, GPT-2's \"!\", never counts), and text.loss and text.block_size of SBG".into(),
    ))
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
    let path = printable_path(folder.path());
    let difference = folder.config()?.difference_of_run(config);
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

/// Returns the configured number of CPU threads; for 0, the threads that [`device::cpu_threads`] gives
/// this process.
pub(crate) fn cpu_threads(training: &recipes::Training) -> usize {
    match training.threads {
        0 => device::cpu_threads(launchers::processes_here()),
        threads => threads,
    }
}
