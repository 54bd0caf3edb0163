//! Twenty training steps of each system on the device and on the CPU, and a resumed training.

use std::path::Path;

use networks::language_model::{Block, Blocks, LanguageModel};
use networks::libtorch::{self, Tf32Scope};
use networks::merge_rnn::MergeRnn;
use networks::prefix::ClipCaptioner;
use recipes::{Rule, Schedule};
use runs::checkpoints::{self, Position, Retention};
use tch::{Device, Kind, Tensor, nn};
use training::batches::TokenRow;
use training::checkpoint;
use training::learner::{Learner, LearnerOptions, Model};
use training::optimizer::{AdamW, AdamWOptions};
use training::schedule::RateSchedule;
use training::{MergeRnnBatch, PrefixBatch, named_variables};

use super::largest;
use super::models::{IMAGE_DIM, PREFIX, RNN, caption, model_on, random_tensor, small_gpt2};
use crate::compare::{Arithmetic, judge};
use crate::error::CheckError;
use crate::examination::Examination;
use crate::finding::{Group, Outcome, Verdict};

const STEPS: u64 = 20;
/// Step after which training is stopped and resumed.
const STOP: u64 = 10;
const CAPTIONS: usize = 8;
/// Number of batches that training cycles through, so that it can learn them.
const BATCHES: u64 = 4;

/// System to train.
struct Task<M: Model> {
    name: &'static str,
    arithmetics: &'static [Arithmetic],
    model: fn(&nn::Path) -> M,
    /// Makes the batch of this number.
    part: fn(u64, Device) -> M::Batch,
}

const PREFIX_TASK: Task<ClipCaptioner> = Task {
    name: "CLIP-prefix",
    arithmetics: &[Arithmetic::F32, Arithmetic::Tf32, Arithmetic::Bf16],
    model: |root| ClipCaptioner::new(root, &small_gpt2(), &PREFIX),
    part: |batch, device| {
        let (rows, embeddings) = rows(batch, small_gpt2().vocab_size as usize, device);
        let rows: Vec<&TokenRow> = rows.iter().collect();
        PrefixBatch::new(&rows, &embeddings, PREFIX.prefix_length, device)
    },
};

const SBG_TASK: Task<LanguageModel> = Task {
    name: "SBG",
    arithmetics: &[Arithmetic::F32, Arithmetic::Tf32, Arithmetic::Bf16],
    model: |root| LanguageModel::new(root, &small_gpt2()),
    part: |batch, device| {
        let block = |number: usize| {
            let number = batch as usize * CAPTIONS + number;
            let tokens = caption(number, 20 + number % 12, small_gpt2().vocab_size as usize);
            // The prompt is input only.
            let is_target = (0..tokens.len()).map(|place| place > 8).collect();
            Block { tokens, is_target }
        };
        let blocks: Vec<Block> = (0..CAPTIONS).map(block).collect();
        Blocks::new(&blocks.iter().collect::<Vec<_>>(), device)
    },
};

const RNN_TASK: Task<MergeRnn> = Task {
    name: "Merge-RNN",
    arithmetics: &[Arithmetic::F32, Arithmetic::Tf32],
    model: |root| MergeRnn::new(root, &RNN),
    part: |batch, device| {
        let (rows, embeddings) = rows(batch, RNN.vocab_size as usize, device);
        MergeRnnBatch::new(&rows.iter().collect::<Vec<_>>(), &embeddings, device)
    },
};

/// Generates a batch's captions and image embeddings.
fn rows(batch: u64, vocabulary: usize, device: Device) -> (Vec<TokenRow>, Tensor) {
    let row = |index: usize| {
        let number = batch as usize * CAPTIONS + index;
        let tokens = caption(number, 3 + number % 9, vocabulary);
        TokenRow { embedding: index as i64, tokens, image: index, caption: 0 }
    };
    let embeddings = random_tensor(100 + batch as i64, &[CAPTIONS as i64, IMAGE_DIM], device);
    ((0..CAPTIONS).map(row).collect(), embeddings)
}

pub(crate) fn check(examination: &mut Examination, device: Device) {
    check_task(examination, device, &PREFIX_TASK);
    check_task(examination, device, &SBG_TASK);
    check_task(examination, device, &RNN_TASK);
}

fn check_task<M: Model>(examination: &mut Examination, device: Device, task: &Task<M>) {
    for &arithmetic in task.arithmetics {
        let name = format!("{}, {STEPS} steps, {}", task.name, arithmetic.name());
        examination.check(Group::Training, name, || {
            if arithmetic == Arithmetic::Tf32 && device == Device::Cpu {
                return Ok(Verdict::skipped("processors have no TF32"));
            }
            let expected = train(task, Device::Cpu, Arithmetic::F32, 0, STEPS, None)?;
            let _tf32 = Tf32Scope::new(arithmetic == Arithmetic::Tf32);
            let found = train(task, device, arithmetic, 0, STEPS, None)?;
            Ok(compare_steps(&found, &expected, tolerance(arithmetic)))
        });
    }
    let name = format!("{}, resumed after {STOP} steps", task.name);
    examination.check(Group::Training, name, || {
        // Like `training.deterministic`; without it GPU results are not bit-exact.
        libtorch::use_deterministic_algorithms(true);
        let verdict = resume(task, device);
        libtorch::use_deterministic_algorithms(false);
        verdict
    });
}

/// Trains without interruption, and again with a checkpoint in between.
fn resume<M: Model>(task: &Task<M>, device: Device) -> Result<Verdict, CheckError> {
    let folder = tempfile::tempdir()?;
    let whole = train(task, device, Arithmetic::F32, 0, STEPS, None)?;
    let first = train(task, device, Arithmetic::F32, 0, STOP, None)?;
    let position = Position { step: STOP, ..Position::default() };
    let keep = Retention { newest: 1, best: false, every_steps: 0 };
    let variables = named_variables(&first.store);
    checkpoint::save(folder.path(), &position, &variables, first.learner.optimizer(), keep)?;
    let second = train(task, device, Arithmetic::F32, STOP, STEPS, Some(folder.path()))?;
    Ok(compare_resumed(&whole, &second))
}

/// Result of some training steps.
struct Trained<M: Model> {
    store: nn::VarStore,
    learner: Learner<M>,
    losses: Vec<f64>,
    /// Gradient norms before clipping.
    norms: Vec<f64>,
}

/// Trains from step `from` to step `to`, starting from a checkpoint if given.
fn train<M: Model>(
    task: &Task<M>,
    device: Device,
    arithmetic: Arithmetic,
    from: u64,
    to: u64,
    resumed: Option<&Path>,
) -> Result<Trained<M>, CheckError> {
    let (mut store, model) = model_on(device, Kind::Float, |root| Ok((task.model)(root)))?;
    let optimizer = AdamW::new(named_variables(&store), OPTIMIZER);
    if let Some(folder) = resumed {
        // Overwrite the initial weights, so that only the checkpoint can restore the right ones.
        for mut variable in store.variables().into_values() {
            let _ = tch::no_grad(|| variable.f_zero_())?;
        }
        let checkpoint = checkpoints::newest(folder).map_err(training::Error::from)?;
        checkpoint::load_model(&checkpoint, &mut store)?;
        checkpoint::load_moments(&checkpoint, &optimizer)?;
    }
    let pass = arithmetic.pass();
    let options = LearnerOptions {
        max_grad_norm: 1.0,
        dropout: pass.dropout,
        precision: pass.precision,
        gradient_checkpointing: false,
    };
    let mut learner = Learner::new(model, optimizer, RATE, options);
    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    for step in from..to {
        let batch = (task.part)(step % BATCHES, device);
        let computed = learner.compute(&[batch], step, step as i64)?;
        learner.apply(&computed)?;
        losses.push(computed.loss.f_double_value(&[])?);
        norms.push(computed.norm.f_double_value(&[])?);
    }
    Ok(Trained { store, learner, losses, norms })
}

const OPTIMIZER: AdamWOptions = AdamWOptions {
    rule: Rule::Transformers,
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-6,
    weight_decay: 0.01,
};

const RATE: RateSchedule =
    RateSchedule { shape: Schedule::Linear, peak: 5e-3, warmup_steps: 4, total_steps: 40 };

/// Returns the largest relative difference of a loss from the CPU's in f32 that rounding explains.
///
/// A loss is a mean over many tokens, so its own rounding error is small. But each step starts from
/// weights affected by rounding, and AdamW moves a weight with a tiny gradient as far as any other,
/// in the direction of the gradient's sign. On CPUs the observed difference is 2e-7 in f32 with
/// another order of sums, and 2e-3 in bf16.
fn tolerance(arithmetic: Arithmetic) -> f64 {
    match arithmetic {
        Arithmetic::F32 => 1e-4,
        Arithmetic::Tf32 | Arithmetic::F16 => 5e-3,
        Arithmetic::Bf16 => 2e-2,
    }
}

/// Compares losses and gradient norms.
///
/// AdamW is invariant to the scale of gradients, so a wrong norm does not change the losses. The
/// tolerance of norms is three times that of losses.
fn compare_steps<M: Model>(found: &Trained<M>, expected: &Trained<M>, tolerance: f64) -> Verdict {
    let losses = compare_losses(&found.losses, &expected.losses, tolerance);
    let norms = judge(largest_difference(&found.norms, &expected.norms), 3.0 * tolerance);
    if norms.outcome == Outcome::Failed {
        return Verdict::failed(format!("gradient norms: {}", norms.detail));
    }
    losses
}

/// Compares the losses of each step, and checks that they decrease.
fn compare_losses(found: &[f64], expected: &[f64], tolerance: f64) -> Verdict {
    let verdict = judge(largest_difference(found, expected), tolerance);
    let (Some(first), Some(last)) = (found.first(), found.last()) else {
        return Verdict::failed("no step was taken");
    };
    let detail = format!("{}; loss {first:.3} to {last:.3}", verdict.detail);
    let learned = last < first;
    let outcome = if learned { verdict.outcome } else { Outcome::Failed };
    let detail = if learned { detail } else { format!("{detail}: it did not fall") };
    Verdict { outcome, detail, ..verdict }
}

/// Returns the largest relative difference; infinite if the lists differ in length.
fn largest_difference(found: &[f64], expected: &[f64]) -> f64 {
    if found.len() != expected.len() {
        return f64::INFINITY;
    }
    largest(found.iter().zip(expected).map(|(a, b)| (a - b).abs() / b.abs()))
}

/// Compares a resumed training with an uninterrupted one: losses and weights must be bit-exact.
fn compare_resumed<M: Model>(whole: &Trained<M>, resumed: &Trained<M>) -> Verdict {
    let (expected, found) = (named_variables(&whole.store), named_variables(&resumed.store));
    let same = expected.iter().zip(&found).all(|((_, a), (_, b))| a == b);
    let losses = whole.losses.get(STOP as usize..).unwrap_or_default();
    if same && losses == resumed.losses {
        return Verdict::ok("losses and weights to the same bits");
    }
    let difference = largest_difference(&resumed.losses, losses);
    Verdict::failed(format!("other bits than in one go: losses are {difference:.1e} off"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_beyond_the_tolerance_fails_and_so_does_one_that_does_not_fall() {
        let expected = [5.0, 4.0, 3.0];
        let outcome = |found: &[f64]| compare_losses(found, &expected, 1e-4).outcome;
        assert_eq!(outcome(&[5.0, 4.0, 3.0]), Outcome::Ok);
        assert_eq!(outcome(&[5.0, 4.000_399, 3.0]), Outcome::Ok);
        assert_eq!(outcome(&[5.0, 4.000_401, 3.0]), Outcome::Failed);
        assert_eq!(outcome(&[5.0, f64::NAN, 3.0]), Outcome::Failed);
        assert_eq!(outcome(&[f64::NAN, 4.0, 3.0]), Outcome::Failed);
        assert_eq!(outcome(&[5.0, 4.0]), Outcome::Failed);
        assert_eq!(outcome(&[]), Outcome::Failed);
        assert_eq!(compare_losses(&[5.0; 3], &[5.0; 3], 1e-4).outcome, Outcome::Failed);
    }

    #[test]
    fn wrong_norms_fail_though_losses_are_right() {
        let _turn = crate::checks::lock_generator();
        let trained = || train(&PREFIX_TASK, Device::Cpu, Arithmetic::F32, 0, STEPS, None).unwrap();
        let (expected, mut found) = (trained(), trained());
        assert_eq!(compare_steps(&found, &expected, 1e-4).outcome, Outcome::Ok);
        found.norms[3] *= 1.001;
        let verdict = compare_steps(&found, &expected, 1e-4);
        assert_eq!(verdict.outcome, Outcome::Failed);
        assert!(verdict.detail.contains("norms"), "{verdict:?}");
    }

    #[test]
    fn a_resume_without_moments_or_from_another_step_is_noticed() {
        let _turn = crate::checks::lock_generator();
        let task = &PREFIX_TASK;
        let through = |from, to| train(task, Device::Cpu, Arithmetic::F32, from, to, None).unwrap();
        let whole = through(0, STEPS);
        let verdict = compare_resumed(&whole, &through(STOP, STEPS));
        assert_eq!(verdict.outcome, Outcome::Failed, "{verdict:?}");
        assert_eq!(compare_resumed(&whole, &whole).outcome, Outcome::Failed);
        let resumed = resume(task, Device::Cpu).unwrap();
        assert_eq!(resumed.outcome, Outcome::Ok, "{resumed:?}");
    }
}
