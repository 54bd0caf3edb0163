//! Runs of every system on both devices, and the comparison of their numbers.

use std::path::Path;

use crate::cli::stage::{config, success};
use crate::cli::workspace::Workspace;

/// Configuration of a run.
#[derive(Clone, Copy)]
pub struct Config {
    pub name: &'static str,
    /// `prefix`, `prefix-custom-tokenizer`, `sbg` or `merge-rnn`.
    pub system: &'static str,
    pub sets: &'static [&'static str],
}

/// Steps between two log points.
pub const LOG_EVERY: usize = 4;

/// Seed of all configurations.
pub const SEED: u64 = 42;

impl Config {
    /// Returns the words of a command that trains for one epoch.
    pub fn train(&self, place: &Workspace, run: &str, more: &[&str]) -> Vec<String> {
        let every = format!("training.log_every_steps={LOG_EVERY}");
        let short = ["training.epochs=1", "training.scored_pictures=0", &every];
        let own = match self.system {
            "sbg" => &["text.block_size=32", "training.batch_size=8"][..],
            "merge-rnn" => &["training.batch_size=16"],
            _ => &["data.validation_captions=50", "training.batch_size=10"],
        };
        let sets: Vec<&str> = short.iter().chain(own).chain(self.sets).copied().collect();
        let sets: Vec<&str> = sets.iter().chain(more).flat_map(|set| ["--set", *set]).collect();
        match self.system {
            "sbg" | "merge-rnn" => place.train(self.system, run, &sets),
            _ => {
                let config = config().replace("prefix-gradient-clipping", self.system);
                let config = config.replace("/prefix.toml", "/prefix-gradient-clipping.toml");
                let steps = ["optimizer.warmup_steps=5"];
                let mut words = place.stage.train_by(&config, Path::new(&place.of(run)), &steps);
                words.extend(sets.iter().map(ToString::to_string));
                words
            }
        }
    }
}

/// Makes a language model, and returns the setting that names it.
pub fn language_model(place: &Workspace, layers: usize, dropout: &str) -> String {
    let out = place.of(&format!("gpt2-{layers}-{dropout}"));
    let (pictures, layers) = (place.stage.pictures(), layers.to_string());
    let set = ["--dataset", &pictures, "--test-captions", "50", "--vocab-size", "400"];
    let shape = ["--hidden-size", "32", "--layers", &layers, "--heads", "2", "--dropout", dropout];
    success(&[&["init", "gpt2", "--out", &out][..], &set, &shape].concat());
    format!("gpt2.model={out}")
}

/// Returns the losses, norms and learning rates of a run, step by step and epoch by epoch.
pub fn numbers(place: &Workspace, run: &str) -> Vec<Vec<f64>> {
    let read = |name: &str, leave_out: &[&str]| {
        let text = std::fs::read_to_string(place.of(&format!("{run}/{name}"))).unwrap();
        let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let names = lines.next().unwrap();
        let number = |(name, value): (&&str, &&str)| {
            (!leave_out.contains(name) && !value.is_empty()).then(|| value.parse().unwrap())
        };
        let row = |line: Vec<&str>| names.iter().zip(&line).filter_map(number).collect();
        lines.map(row).collect::<Vec<Vec<f64>>>()
    };
    [read("metrics.csv", &["tokens_per_second"]), read("epochs.csv", &[])].concat()
}

/// Returns the largest relative difference of two runs' numbers.
pub fn difference(ours: &[Vec<f64>], theirs: &[Vec<f64>]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let rows = ours.iter().zip(theirs).flat_map(|(one, other)| {
        assert_eq!(one.len(), other.len());
        one.iter().zip(other)
    });
    let off = |(one, other): (&f64, &f64)| {
        assert!(one.is_finite() && other.is_finite());
        (one - other).abs() / other.abs().max(1e-6)
    };
    rows.map(off).fold(0.0, f64::max)
}
