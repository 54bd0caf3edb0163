//! State of a training run, and its preparation: loads and checks everything before a step.

use std::path::Path;
use std::sync::Arc;

use collectives::Collectives;
use foreign_text::printable_path;
use launchers::ProcessRank;
use networks::{InitialWeights, Standardization, device, libtorch};
use progress::Progress;
use recipes::{Config, Precision, Training};
use runs::checkpoints::{self, Checkpoint, Position, Retention};
use runs::{Hardware, Provenance, RunFolder};
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor, nn, no_grad};

use crate::batches::Batching;
use crate::checkpoint;
use crate::epoch_scores::ScoredImages;
use crate::error::Error;
use crate::inputs::Inputs;
use crate::learner::{Learner, LearnerOptions, Model};
use crate::memory;
use crate::optimizer::{AdamW, AdamWOptions};
use crate::schedule::RateSchedule;
use crate::seeds::{self, Purpose};
use crate::session::TrainOptions;
use crate::systems::{Setup, System};

/// State of a run that is ready for its next step: data, model, optimizer, position.
pub(crate) struct TrainState<S: System> {
    pub process: ProcessRank,
    pub device: Device,
    pub inputs: Inputs,
    pub system: S,
    /// Images that are captioned and scored after each epoch, if any.
    pub scored: Option<ScoredImages>,
    pub store: nn::VarStore,
    pub provenance: Provenance,
    pub learner: Learner<S::Model>,
    pub position: Position,
}

impl<S: System> TrainState<S> {
    /// Loads data and model, and the newest checkpoint if there is one.
    pub(crate) fn prepare(
        folder: &RunFolder,
        config: &Config,
        language_model: Option<&Path>,
        options: &TrainOptions,
        device: Device,
        progress: &mut dyn Progress,
    ) -> Result<Self, Error> {
        let process = options.process;
        let earlier = if folder.exists() {
            folder.check_files()?;
            Some(folder.provenance()?)
        } else {
            None
        };
        let threads = match &earlier {
            Some(earlier) if folder.config()?.training.threads == config.training.threads => {
                earlier.threads
            }
            _ => cpu_threads(config.training.threads),
        };
        // A run may resume with more processes on one machine than it was started with.
        let own_threads = if process.is_single() {
            threads
        } else {
            threads.min(cpu_threads(config.training.threads))
        };
        device::set_threads(own_threads);
        device::keep_freed_memory();
        libtorch::allow_tf32(config.training.precision == Precision::Tf32);
        let inputs = Inputs::load(&config.data, device)?;
        let tokenizers = options.tokenizers.as_deref();
        let setup = Setup { folder, config, language_model, tokenizers, inputs: &inputs, device };
        let system = S::load(&setup, progress)?;
        check_held_out(config, system.held_out().len())?;
        check_targets(&system)?;
        check_memory(config, &system, process, device)?;
        let scored = ScoredImages::new(config, &inputs)?;

        let mut provenance = Provenance::new(config, &inputs.identity, threads);
        provenance.data_set = Some(inputs.corpus.name());
        system.record_provenance(&mut provenance);
        check_same_run(folder, config, &provenance)?;

        tch::manual_seed(seeds::derive(config.training.seed, Purpose::Initialisation, 0));
        let mut store = nn::VarStore::new(device);
        let newest = newest_checkpoint(folder, progress)?;
        let initial = if newest.is_some() { InitialWeights::Zeros } else { InitialWeights::Random };
        let model = system.build_model(&store, initial)?;
        match &newest {
            Some(checkpoint) => checkpoint::load_model(checkpoint, &mut store)?,
            None => system.load_pretrained(&mut store)?,
        }
        if let Some(standardization) = model.standardization().filter(|_| newest.is_none()) {
            let rows = inputs.embeddings_of(&inputs.split.train);
            standardization.set(&Standardization::of(&rows));
        }
        let mut trained = named_variables(&store);
        trained.retain(|(name, variable)| {
            if !system.is_trained(name) {
                let _ = variable.set_requires_grad(false);
            }
            variable.requires_grad()
        });
        let optimizer = AdamW::new(trained, optimizer_options(config));
        let mut position = Position::default();
        if let Some(checkpoint) = newest {
            checkpoint::load_moments(&checkpoint, &optimizer)?;
            position = checkpoint.position;
            progress.note(&format!("resuming after step {}", position.step));
        }
        tracing::debug!(
            "rank {} of {}: device {}, batch size {}, precision {:?}, from step {}",
            process.rank,
            process.world_size,
            config.training.device,
            config.training.batch_size,
            config.training.precision,
            position.step
        );
        if let Some(earlier) = earlier
            && process.rank == 0
        {
            let device = config.training.device.clone();
            let now = Hardware { after_step: position.step, device, threads };
            if let Some(note) = folder.resume_on(now, earlier)? {
                progress.note(&note);
            }
        }
        if !folder.exists() && process.rank == 0 {
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
        let options = learner_options(config, system.has_dropout());
        let learner = Learner::new(model, optimizer, schedule, options);
        Ok(Self { process, device, inputs, system, scored, store, provenance, learner, position })
    }

    /// Joins the processes of `group` for training.
    ///
    /// All must have the same configuration and data; they get rank 0's weights, moments and
    /// position.
    ///
    /// # Errors
    /// Names the differences between this process and rank 0.
    pub(crate) fn join(
        &mut self,
        group: &Arc<dyn Collectives>,
        config: &Config,
    ) -> Result<(), Error> {
        let own = SharedState {
            config: config.to_toml(),
            provenance: self.provenance.clone(),
            examples: self.system.examples().len(),
            position: self.position.clone(),
        };
        let not_sent = |error: serde_json::Error| Error::Mismatch(error.to_string());
        let bytes = serde_json::to_vec(&own).map_err(not_sent)?;
        let first: SharedState =
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

    /// Writes a checkpoint, and removes old ones by the configured rotation.
    pub(crate) fn save(&self, folder: &RunFolder, training: &Training) -> Result<(), Error> {
        let (folder, variables) = (folder.checkpoints(), named_variables(&self.store));
        let optimizer = self.learner.optimizer();
        checkpoint::save(&folder, &self.position, &variables, optimizer, retention(training))
    }

    /// Removes the checkpoints that a killed process should have removed.
    pub(crate) fn finish_rotation(
        &self,
        folder: &RunFolder,
        training: &Training,
    ) -> Result<(), Error> {
        if self.process.rank > 0 || self.position.step == 0 {
            return Ok(());
        }
        Ok(checkpoints::rotate(&folder.checkpoints(), &self.position, retention(training))?)
    }
}

/// Properties that all processes must share.
#[derive(Serialize, Deserialize)]
struct SharedState {
    config: String,
    provenance: Provenance,
    examples: usize,
    position: Position,
}

fn retention(training: &Training) -> Retention {
    Retention {
        newest: training.save_total_limit,
        best: training.keep_best_checkpoint,
        every_steps: training.keep_every_steps,
    }
}

fn learner_options(config: &Config, dropout: bool) -> LearnerOptions {
    let precision = match config.training.precision {
        Precision::F32 | Precision::Tf32 => networks::Precision::Full,
        Precision::Bf16 => networks::Precision::Bf16,
    };
    LearnerOptions {
        max_grad_norm: config.optimizer.max_grad_norm,
        dropout,
        precision,
        gradient_checkpointing: config.training.gradient_checkpointing,
    }
}

/// Returns the variables sorted by name: the order of parameters must not be a hash map's.
#[must_use]
pub fn named_variables(store: &nn::VarStore) -> Vec<(String, Tensor)> {
    let mut variables: Vec<(String, Tensor)> = store.variables().into_iter().collect();
    variables.sort_by(|a, b| a.0.cmp(&b.0));
    variables
}

fn newest_checkpoint(
    folder: &RunFolder,
    progress: &mut dyn Progress,
) -> Result<Option<Checkpoint>, Error> {
    let (newest, damaged) = checkpoints::latest(&folder.checkpoints())?;
    for error in damaged {
        progress.note(&format!("skipped a damaged checkpoint: {error}"));
    }
    if newest.is_none() && folder.exists() {
        progress.note("the run has no checkpoint to resume from; training starts at step 0");
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

/// Refuses microbatches that do not fit in memory, even of the shortest examples.
fn check_memory<S: System>(
    config: &Config,
    system: &S,
    process: ProcessRank,
    device: Device,
) -> Result<(), Error> {
    let training = &config.training;
    let share = training.batch_size.div_ceil(process.world_size);
    let microbatch = share.div_ceil(training.gradient_accumulation_steps);
    let mut targets: Vec<usize> =
        system.examples().iter().map(|example| system.targets(example)).collect();
    targets.sort_unstable();
    memory::check_logits(
        targets.iter().take(microbatch).sum(),
        system.vocabulary(),
        device,
        "lower training.batch_size, or raise training.gradient_accumulation_steps",
    )
}

/// Refuses to stop by the held-out loss if nothing is held out.
fn check_held_out(config: &Config, held_out: usize) -> Result<(), Error> {
    if config.trains_past_best_epoch() && held_out == 0 {
        return Err(Error::Mismatch(
            "training.early_stop_on is \"held-out\", but no captions are held out; set data.validation_captions, another data.split, or training.early_stop_epochs=0".into(),
        ));
    }
    Ok(())
}

/// Refuses training examples without any token that counts in the loss.
fn check_targets<S: System>(system: &S) -> Result<(), Error> {
    if system.examples().iter().any(|example| system.targets(example) > 0) {
        return Ok(());
    }
    Err(Error::Mismatch(
        "no token of the training captions counts in the loss, so nothing can be learned; check the captions (token 0, GPT-2's \"!\", never counts), and text.loss and text.block_size of SBG".into(),
    ))
}

/// Checks that a resumed run has the same configuration and data.
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

/// Returns the configured number of CPU threads; for 0, this process's share of the cores.
#[must_use]
pub fn cpu_threads(configured: usize) -> usize {
    match configured {
        0 => device::cpu_threads(launchers::local_world_size()),
        threads => threads,
    }
}
