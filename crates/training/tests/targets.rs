//! Parts and batches without a token that counts in the loss: they change nothing.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests may")]

#[allow(dead_code, reason = "each file of tests uses some of it")]
mod stage;
mod tiny;

use std::time::Duration;

use launchers::ProcessRank;
use networks::Precision;
use networks::language_model::{Block, Blocks, LanguageModel};
use stage::{Stage, alone};
use tch::{Device, Tensor, nn, no_grad};
use training::learner::{Learner, Share, Step};
use training::session::Outcome;

struct Language {
    learner: Learner<LanguageModel>,
    store: nn::VarStore,
}

impl Language {
    /// Returns the tiny GPT-2 of the trajectories; `shared` computes as several processes do.
    fn new(precision: Precision<'static>, recompute: bool, shared: bool) -> Self {
        networks::device::set_threads(1);
        let (mut learner, store) = tiny::learner(Device::Cpu, precision, recompute);
        if shared {
            let wait = Duration::from_secs(5);
            let group = collectives::connect(ProcessRank::SINGLE, Device::Cpu, wait).unwrap();
            learner.share(&group).unwrap();
        }
        Self { learner, store }
    }

    fn compute(&self, parts: &[Vec<Block>], finished: u64) -> Step {
        let of = |blocks: &Vec<Block>| Blocks::new(&blocks.iter().collect::<Vec<_>>(), Device::Cpu);
        let parts: Vec<Blocks> = parts.iter().map(of).collect();
        let share =
            Share { targets: parts.iter().map(Blocks::targets).sum(), stop_requested: false };
        self.learner.compute_share(&parts, share, finished, 1).unwrap()
    }

    /// Returns all weights and moments.
    fn state(&self) -> Vec<Tensor> {
        let mut weights: Vec<(String, Tensor)> = self.store.variables().into_iter().collect();
        weights.sort_by(|(a, _), (b, _)| a.cmp(b));
        weights.extend(self.learner.optimizer().moments());
        no_grad(|| weights.iter().map(|(_, tensor)| tensor.detach().copy()).collect())
    }
}

fn block(first: i64, targets: &[usize]) -> Block {
    let tokens: Vec<i64> = (0..12).map(|position| (first + 5 * position) % 60).collect();
    let is_target = (0..tokens.len()).map(|position| targets.contains(&position)).collect();
    Block { tokens, is_target }
}

/// Returns the largest difference; NaN counts as the largest.
fn distance(a: &[Tensor], b: &[Tensor]) -> f64 {
    let off = a.iter().zip(b).map(|(a, b)| (a - b).abs().max().double_value(&[]));
    off.fold(0.0, |largest, off| if off.is_nan() { f64::INFINITY } else { largest.max(off) })
}

#[test]
fn parts_without_targets_do_not_count() {
    let _alone = alone();
    // The first token of a block is never a target.
    let (some, more) = (block(1, &[2, 3, 7]), block(2, &[1, 4, 5, 6, 9, 11]));
    let (none, first) = (block(3, &[]), block(4, &[0]));
    let whole = vec![some.clone(), none.clone(), more.clone(), first.clone()];
    let in_parts: [Vec<Vec<Block>>; 4] = [
        vec![vec![some.clone()], vec![none.clone()], vec![more.clone()], vec![first.clone()]],
        vec![vec![none.clone(), first.clone()], vec![some.clone(), more.clone()]],
        vec![vec![some.clone(), none.clone()], vec![more.clone()], vec![first.clone()]],
        vec![vec![first], vec![none], vec![some, more]],
    ];
    for (precision, tolerance) in [(Precision::Full, 1e-6), (Precision::Bf16, 2e-2)] {
        let mut expected = Language::new(precision, false, false);
        let step = expected.compute(std::slice::from_ref(&whole), 0);
        expected.learner.apply(&step).unwrap();
        let state = expected.state();
        for recompute in [false, true] {
            for shared in [false, true] {
                for parts in &in_parts {
                    let mut language = Language::new(precision, recompute, shared);
                    let found = language.compute(parts, 0);
                    language.learner.apply(&found).unwrap();
                    let what =
                        format!("{precision:?}, {recompute}, {shared}, {} parts", parts.len());
                    for (found, expected) in [(&found.loss, &step.loss), (&found.norm, &step.norm)]
                    {
                        let (found, expected) =
                            (found.double_value(&[]), expected.double_value(&[]));
                        assert!(
                            (found - expected).abs() < tolerance * expected,
                            "{what}: {found} {expected}"
                        );
                    }
                    let off = distance(&language.state(), &state);
                    assert!(off < tolerance, "{what}: {off:e}");
                }
            }
        }
    }
}

#[test]
fn a_batch_without_targets_has_loss_0_and_moves_nothing() {
    let _alone = alone();
    for recompute in [false, true] {
        for shared in [false, true] {
            let mut language = Language::new(Precision::Full, recompute, shared);
            let step = language.compute(&[vec![block(1, &[2, 3])]], 0);
            language.learner.apply(&step).unwrap();
            let before = language.state();
            let step = language.compute(&[vec![block(3, &[])], vec![block(4, &[0])]], 1);
            assert!(step.loss.double_value(&[]).abs() < f64::EPSILON);
            assert!(step.norm.double_value(&[]).abs() < f64::EPSILON);
            language.learner.apply(&step).unwrap();
            assert!(distance(&before, &language.state()) < f64::EPSILON, "{recompute} {shared}");
            // And the next step is an ordinary one.
            let step = language.compute(&[vec![block(2, &[1, 5])]], 2);
            assert!(step.loss.double_value(&[]) > 0.1 && step.norm.double_value(&[]) > 1e-3);
        }
    }
}

#[test]
fn captions_without_targets_train_as_in_whole_batches() {
    let _alone = alone();
    let stage = Stage::with_captions_without_targets();
    let losses = |name: &str, sets: &[&str]| -> Vec<f64> {
        let all = [&["training.epochs=2", "training.early_stop_epochs=0"], sets].concat();
        let (_, outcome, records) = stage.trained(name, &all);
        assert!(matches!(outcome, Outcome::Finished { .. }));
        records.iter().map(|record| record.loss).collect()
    };
    let whole = losses("whole", &[]);
    for (name, sets) in [
        ("parts", &["training.gradient_accumulation_steps=6"][..]),
        (
            "again",
            &["training.gradient_accumulation_steps=6", "training.gradient_checkpointing=true"],
        ),
    ] {
        let parts = losses(name, sets);
        assert_eq!(parts.len(), whole.len());
        for (ours, theirs) in parts.iter().zip(&whole) {
            assert!((ours - theirs).abs() <= 1e-5 * theirs, "{name}: {ours} {theirs}");
        }
    }
    // Batches of one caption: some have no target at all.
    let alone = losses("alone", &["training.batch_size=1"]);
    assert!(alone.iter().all(|loss| loss.is_finite()));
    let without = alone.iter().filter(|loss| **loss < 1e-12).count();
    assert!(without > 10 && without < alone.len() / 2, "{without} of {}", alone.len());
}
