//! The training loop of the CLIP-prefix systems.
//!
//! The paper's loop (which is `ClipCap`'s): shuffled batches of captions, mean cross entropy over
//! caption tokens, AdamW with a linear schedule, optional clipping, early stop on the last loss of an
//! epoch. Losses and norms stay on the device and are fetched every `log_every_steps`.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use networks::gpt2::{self, Gpt2Config};
use networks::prefix::{ClipCaptioner, TokenBatch};
use networks::{device, weights};
use tch::{Device, Tensor, nn};

use crate::batches::{TokenRow, epoch_batches};
use crate::checkpoint::{self, Position};
use crate::config::Config;
use crate::error::Error;
use crate::inputs::{Inputs, load_tokenizer};
use crate::optimizer::{AdamW, AdamWOptions, clip_gradients, total_norm};
use crate::run_folder::{Provenance, RunFolder, write_json};
use crate::schedule::LinearSchedule;
use crate::seeds::{self, Purpose};
use crate::track::{StepRecord, Tracker};

/// How a training run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All epochs are done.
    Finished {
        /// Steps in all.
        steps: u64,
    },
    /// The last loss of an epoch had not improved for the configured number of epochs.
    StoppedEarly {
        /// Epochs done.
        epochs: u64,
    },
    /// Asked to stop; a checkpoint was written and `--resume` goes on from it.
    Interrupted {
        /// Steps done.
        steps: u64,
    },
}

/// Told what happens, to show it.
pub trait Observer {
    /// Something a person should know.
    fn note(&mut self, message: &str);
    /// An epoch (from 1) begins at batch `done` of `batches`.
    fn epoch(&mut self, epoch: u64, epochs: u64, done: usize, batches: usize);
    /// One more batch is done.
    fn batch(&mut self);
    /// Losses were fetched; the newest.
    fn record(&mut self, record: &StepRecord);
}

/// Trains the run in `folder` from its newest checkpoint, or from the start.
///
/// With `resume` the folder must hold a run of the same configuration and data; without it, none.
/// Setting `stop` ends training after the step under way, with a checkpoint.
///
/// # Errors
/// Bad input is named; after an error the last checkpoint is whole.
pub fn train(
    folder: &RunFolder,
    config: &Config,
    resume: bool,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Outcome, Error> {
    if folder.exists() && !resume {
        return Err(Error::RunFile {
            path: folder.path().to_owned(),
            reason: "a run was started here; add --resume to go on with it, or choose another --out".into(),
        });
    }
    let _lock = folder.lock()?;
    let mut trainer = Trainer::new(folder, config, observer)?;
    let outcome = trainer.run(observer, stop)?;
    Ok(outcome)
}

/// A step whose loss and norm are still on the device.
struct Pending {
    step: u64,
    epoch: u64,
    rate: f64,
    loss: Tensor,
    norm: Tensor,
    batch: Vec<usize>,
}

struct Trainer<'a> {
    config: &'a Config,
    folder: &'a RunFolder,
    device: Device,
    inputs: Inputs,
    rows: Vec<TokenRow>,
    store: nn::VarStore,
    captioner: ClipCaptioner,
    optimizer: AdamW,
    parameters: Vec<Tensor>,
    schedule: LinearSchedule,
    tracker: Tracker,
    position: Position,
    pending: Vec<Pending>,
    pending_since: Instant,
    last_loss: f64,
}

impl<'a> Trainer<'a> {
    fn new(
        folder: &'a RunFolder,
        config: &'a Config,
        observer: &mut dyn Observer,
    ) -> Result<Self, Error> {
        let device = device::parse_device(&config.training.device)?;
        let recorded = if folder.exists() { Some(folder.provenance()?.threads) } else { None };
        let threads = recorded.unwrap_or_else(|| config.training.cpu_threads());
        device::set_threads(threads);
        let inputs = Inputs::load(&config.data, device)?;
        let gpt2_config = Gpt2Config::open(&config.gpt2.model)?;
        let tokenizer = load_tokenizer(&config.gpt2.model, gpt2_config.vocab_size)?;
        let rows = inputs.token_rows(&inputs.split.train, &tokenizer)?;
        check_rows(config, &gpt2_config, &inputs, &rows, observer)?;

        let gpt2_weights = weights::Checkpoint::open(&config.gpt2.model)?;
        let provenance = Provenance {
            capsmith: env!("CARGO_PKG_VERSION").to_owned(),
            dataset_fingerprint: inputs.corpus.fingerprint(),
            embeddings: inputs.identity.clone(),
            gpt2_sha256: gpt2_weights.identity(),
            threads,
            device: config.training.device.clone(),
        };
        prepare_folder(folder, config, &provenance)?;
        write_json(&folder.gpt2().join("config.json"), &gpt2_config)?;
        tokenizer.save(&folder.gpt2())?;

        tch::manual_seed(seeds::derive(config.training.seed, Purpose::Initialisation, 0));
        let mut store = nn::VarStore::new(device);
        let captioner = ClipCaptioner::new(
            &store.root(),
            &gpt2_config,
            inputs.identity.dimension as i64,
            config.mapper.prefix_length,
        );
        let (found, damaged) = checkpoint::latest(&folder.checkpoints())?;
        for error in damaged {
            observer.note(&format!("passed over a damaged checkpoint: {error}"));
        }
        match &found {
            Some(checkpoint) => checkpoint.load_model(&mut store)?,
            None => gpt2::load_pretrained(&mut store, "gpt", &gpt2_weights)?,
        }
        let optimizer = AdamW::new(named_variables(&store), optimizer_options(config));
        let mut position = Position::default();
        if let Some(checkpoint) = found {
            checkpoint.load_moments(&optimizer)?;
            position = checkpoint.position;
            observer.note(&format!("resuming after step {}", position.step));
        }
        let batches = rows.len() / config.training.batch_size;
        let schedule = LinearSchedule {
            peak: config.optimizer.learning_rate,
            warmup_steps: config.optimizer.warmup_steps,
            total_steps: config.training.epochs * batches as u64,
        };
        Ok(Self {
            tracker: Tracker::open(folder.path(), position.step)?,
            parameters: optimizer.parameters(),
            config,
            folder,
            device,
            inputs,
            rows,
            store,
            captioner,
            optimizer,
            schedule,
            position,
            pending: Vec::new(),
            pending_since: Instant::now(),
            last_loss: f64::NAN,
        })
    }

    fn run(&mut self, observer: &mut dyn Observer, stop: &AtomicBool) -> Result<Outcome, Error> {
        let training = &self.config.training;
        while !self.position.finished {
            let epoch = self.position.epoch;
            let batches =
                epoch_batches(training.seed, epoch, self.rows.len(), training.batch_size);
            observer.epoch(epoch + 1, training.epochs, self.position.batch, batches.len());
            for batch in batches.iter().skip(self.position.batch) {
                self.step(batch)?;
                observer.batch();
                if self.pending.len() as u64 >= training.log_every_steps {
                    self.fetch(observer)?;
                }
                if self.position.batch == batches.len() {
                    break;
                }
                if stop.load(Ordering::Relaxed) {
                    self.save(observer)?;
                    return Ok(Outcome::Interrupted { steps: self.position.step });
                }
                let every = training.checkpoint_every_steps;
                if every > 0 && self.position.step % every == 0 {
                    self.save(observer)?;
                }
            }
            self.end_epoch(observer)?;
            if stop.load(Ordering::Relaxed) && !self.position.finished {
                return Ok(Outcome::Interrupted { steps: self.position.step });
            }
        }
        if self.position.epoch < training.epochs {
            return Ok(Outcome::StoppedEarly { epochs: self.position.epoch });
        }
        Ok(Outcome::Finished { steps: self.position.step })
    }

    /// Forward, backward, clip, update. Nothing is fetched from a GPU; on a CPU, where fetching is
    /// free, loss and norm are checked before the update.
    fn step(&mut self, batch: &[usize]) -> Result<(), Error> {
        let step = self.position.step;
        let rate = self.schedule.rate(step);
        tch::manual_seed(seeds::derive(self.config.training.seed, Purpose::Dropout, step));

        let embedding_rows: Vec<i64> =
            batch.iter().map(|&index| self.rows[index].embedding).collect();
        let embedding_rows = Tensor::from_slice(&embedding_rows).to_device(self.device);
        let embeddings = self.inputs.embeddings.index_select(0, &embedding_rows);
        let tokens: Vec<&[i64]> =
            batch.iter().map(|&index| self.rows[index].tokens.as_slice()).collect();
        let tokens = TokenBatch::new(&tokens, self.config.mapper.prefix_length, self.device);

        let loss = self.captioner.caption_loss(&embeddings, &tokens, true);
        let mut gradients =
            Tensor::f_run_backward(&[&loss], &self.parameters, false, false)?;
        let max_norm = self.config.optimizer.max_gradient_norm;
        let norm = if max_norm > 0.0 {
            clip_gradients(&mut gradients, max_norm)
        } else {
            total_norm(&gradients)
        };
        self.pending.push(Pending {
            step: step + 1,
            epoch: self.position.epoch + 1,
            rate,
            loss: loss.detach(),
            norm,
            batch: batch.to_vec(),
        });
        if self.device == Device::Cpu {
            self.check_finite(self.pending.len() - 1)?;
        }
        self.optimizer.step(&gradients, step + 1, rate);
        self.position.step += 1;
        self.position.batch += 1;
        Ok(())
    }

    /// Fetches what is pending, refuses what is not finite, and writes it down.
    fn fetch(&mut self, observer: &mut dyn Observer) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        for index in 0..self.pending.len() {
            self.check_finite(index)?;
        }
        let tokens: usize = self
            .pending
            .iter()
            .flat_map(|pending| &pending.batch)
            .map(|&index| self.rows[index].tokens.iter().filter(|token| **token != 0).count())
            .sum();
        let tokens_per_second = tokens as f64 / self.pending_since.elapsed().as_secs_f64();
        let mut newest = None;
        for pending in self.pending.drain(..) {
            let record = StepRecord {
                step: pending.step,
                epoch: pending.epoch,
                loss: pending.loss.double_value(&[]),
                learning_rate: pending.rate,
                gradient_norm: pending.norm.double_value(&[]),
                tokens_per_second,
            };
            self.last_loss = record.loss;
            self.tracker.record(&record)?;
            newest = Some(record);
        }
        if let Some(record) = newest {
            observer.record(&record);
        }
        self.tracker.flush()?;
        self.pending_since = Instant::now();
        Ok(())
    }

    fn check_finite(&self, index: usize) -> Result<(), Error> {
        let pending = &self.pending[index];
        for (what, tensor) in [("loss", &pending.loss), ("gradient norm", &pending.norm)] {
            let value = tensor.double_value(&[]);
            if !value.is_finite() {
                return Err(self.not_finite(what, value, pending)?);
            }
        }
        Ok(())
    }

    fn not_finite(&self, what: &'static str, value: f64, pending: &Pending) -> Result<Error, Error> {
        let mut captions = String::new();
        for &index in &pending.batch {
            let _ = writeln!(captions, "{}", self.inputs.describe(&self.rows[index]));
        }
        let list = self.folder.path().join("not-finite-batch.txt");
        durable::write(&list, captions.as_bytes())?;
        let first: Vec<String> =
            captions.lines().take(3).map(|line| format!("  {line}")).collect();
        Ok(Error::NotFinite {
            what,
            value,
            step: pending.step,
            captions: pending.batch.len(),
            list,
            first: first.join("\n"),
        })
    }

    /// The paper's early stop: the last batch's loss has not beaten the best such loss for so many
    /// epochs in a row.
    fn end_epoch(&mut self, observer: &mut dyn Observer) -> Result<(), Error> {
        self.fetch(observer)?;
        let training = &self.config.training;
        let position = &mut self.position;
        position.epoch += 1;
        position.batch = 0;
        if position.best_loss.is_none_or(|best| self.last_loss < best) {
            position.best_loss = Some(self.last_loss);
            position.epochs_without_improvement = 0;
        } else {
            position.epochs_without_improvement += 1;
        }
        let patience = training.early_stop_epochs;
        position.finished = position.epoch >= training.epochs
            || (patience > 0 && position.epochs_without_improvement >= patience);
        self.save(observer)
    }

    fn save(&mut self, observer: &mut dyn Observer) -> Result<(), Error> {
        self.fetch(observer)?;
        checkpoint::save(
            &self.folder.checkpoints(),
            &self.position,
            &named_variables(&self.store),
            &self.optimizer,
            self.config.training.keep_checkpoints,
        )?;
        self.pending_since = Instant::now();
        Ok(())
    }
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

/// Variables sorted by name: the order of parameters must not depend on a hash map's.
fn named_variables(store: &nn::VarStore) -> Vec<(String, Tensor)> {
    let mut variables: Vec<(String, Tensor)> = store.variables().into_iter().collect();
    variables.sort_by(|a, b| a.0.cmp(&b.0));
    variables
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

/// Writes the run's identity, or checks that the run found is the same.
fn prepare_folder(
    folder: &RunFolder,
    config: &Config,
    provenance: &Provenance,
) -> Result<(), Error> {
    if !folder.exists() {
        durable::create_dir_all(&folder.gpt2())?;
        return folder.begin(config, provenance);
    }
    let difference = folder.config()?.difference(config);
    if !difference.is_empty() {
        return Err(Error::Mismatch(format!(
            "the run in {} has another configuration, so it cannot be resumed with this one:\n{difference}",
            folder.path().display(),
        )));
    }
    let difference = folder.provenance()?.difference(provenance);
    if !difference.is_empty() {
        return Err(Error::Mismatch(format!(
            "the run in {} was started from other data or weights, so it cannot be resumed from these:\n{difference}",
            folder.path().display(),
        )));
    }
    Ok(())
}
