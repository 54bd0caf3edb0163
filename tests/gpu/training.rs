//! Training of every system: as on the processor, without waits between log points.

use std::collections::BTreeSet;
use std::process::Output;

use super::device::{PretendGpu, Ran, Step, on_processor};
use super::runs::{Config, LOG_EVERY, SEED, difference, language_model, numbers};
use crate::cli::stage::newest_checkpoint;
use crate::cli::workspace::Workspace;

/// Most copies to the device per step, or per part of a step; the host waits for none of them.
const COPIES: u64 = 2;
/// A batch in parts.
const IN_PARTS: &str = "training.gradient_accumulation_steps=4";
const PARTS: u64 = 4;
/// Waits at a log point: for one copy of all values to the host.
const LOG_POINT_WAITS: u64 = 1;
/// Tolerance of losses and norms, relative to the processor's.
const F32: f64 = 2e-6;
/// The same in bf16, to which the pretend GPU's attention with dropout rounds differently.
const BF16: f64 = 2e-3;

const fn prefix(name: &'static str, sets: &'static [&'static str]) -> Config {
    Config { name, system: "prefix", sets }
}

const PREFIX: [(Config, f64); 9] = [
    (prefix("full", &[]), F32),
    (prefix("frozen", &["gpt2.tuning=frozen"]), F32),
    (
        prefix("unclipped, torch's rule", &["optimizer.max_grad_norm=0", "optimizer.rule=torch"]),
        F32,
    ),
    (
        prefix(
            "transformer mapper",
            &["mapper.kind=transformer", "mapper.clip_length=2", "mapper.layers=2"],
        ),
        F32,
    ),
    (
        Config {
            name: "custom tokenizer",
            system: "prefix-custom-tokenizer",
            sets: &["tokenizer.vocab_size=300"],
        },
        F32,
    ),
    (prefix("tf32, sorted", &["training.precision=tf32", "training.sort_by_length=true"]), F32),
    (prefix("bf16", &["training.precision=bf16"]), BF16),
    (prefix("in parts", &[IN_PARTS]), F32),
    (prefix("recomputing", &["training.gradient_checkpointing=true"]), F32),
];

const SBG: [(Config, f64); 3] = [
    (Config { name: "sbg", system: "sbg", sets: &[] }, F32),
    (Config { name: "sbg, captions", system: "sbg", sets: &["text.loss=caption"] }, F32),
    (
        Config {
            name: "sbg, bf16, in parts, recomputing",
            system: "sbg",
            sets: &["training.precision=bf16", IN_PARTS, "training.gradient_checkpointing=true"],
        },
        BF16,
    ),
];

const MERGE_RNN: [(Config, f64); 2] = [
    (Config { name: "merge", system: "merge-rnn", sets: &[] }, F32),
    (Config { name: "inject", system: "merge-rnn", sets: &["network.architecture=inject"] }, F32),
];

fn is_log_point(step: usize) -> bool {
    step.is_multiple_of(LOG_EVERY)
}

/// Checks that steps wait at log points only, and once, and that memory stops growing.
fn check_steps(config: &Config, ran: &Ran, count: usize) {
    let name = config.name;
    let is_in_parts = config.sets.contains(&IN_PARTS);
    let most = if is_in_parts { COPIES * PARTS } else { COPIES };
    let steps = ran.training_steps(SEED, count);
    assert!(steps.len() > 2 * LOG_EVERY, "{name}: {} steps", steps.len());
    let mut faults = Vec::new();
    for (number, step) in &steps {
        let allowed = if is_log_point(*number) { LOG_POINT_WAITS } else { 0 };
        let waits = step.get("waits");
        if waits > allowed {
            faults.push(format!("step {number}: {waits} waits, where {allowed} are allowed"));
        }
        let (copies, slow) = (step.get("h2d"), step.get("h2d_blocking") + step.get("h2d_unpinned"));
        // Before the first step one more batch may be on its way.
        if (*number > 1 && copies > most) || slow > 0 {
            faults.push(format!("step {number}: {copies} copies to the device, {slow} not pinned"));
        }
    }
    // After the last step come the validation loss and a checkpoint.
    let end = ran.steps.last().unwrap();
    let slow = end.get("h2d_blocking") + end.get("h2d_unpinned");
    if slow > 0 {
        faults
            .push(format!("after the last step: {slow} copies to the device that are not pinned"));
    }
    // What a step holds depends on its batch, and on how far autograd's thread has cleaned up.
    let held = |steps: &[(usize, Step)]| -> Vec<u64> {
        steps.iter().map(|(_, step)| step.get("bytes")).collect()
    };
    let (early, late) = steps[1..].split_at(steps.len() / 2);
    let (early, late) = (held(early), held(late));
    if late.iter().min() > early.iter().max() {
        faults.push(format!("memory grows: {early:?} bytes are held, and later {late:?}"));
    }
    if end.get("bytes") > 0 {
        faults.push(format!("{} bytes are held at the end", end.get("bytes")));
    }
    assert!(faults.is_empty(), "{name}:\n{}", faults.join("\n"));
}

/// Returns a command's messages without numbers and devices.
fn shapes(output: &Output) -> BTreeSet<String> {
    let said =
        String::from_utf8_lossy(&output.stderr).replace("cuda:", "cpu").replace("gpu", "cpu");
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    said.lines().map(|line| line.replace(is_number, "")).collect()
}

/// Trains by each configuration on both devices.
fn check(place: &Workspace, configs: &[(Config, f64)], more: &[&str]) {
    let Some(gpu) = PretendGpu::find() else { return };
    for (number, (config, tolerance)) in configs.iter().enumerate() {
        let (here, there) = (format!("cpu-{number}"), format!("gpu-{number}"));
        let expected = on_processor(&config.train(place, &here, more));
        let device = [more, &["training.device=cuda:0"]].concat();
        let ran = gpu.success(&config.train(place, &there, &device));
        assert_eq!(shapes(&ran.output), shapes(&expected), "{}: other messages", config.name);
        let (here, there) = (numbers(place, &here), numbers(place, &there));
        let off = difference(&there, &here);
        println!("{}: off by {off:e} of the processor's", config.name);
        assert!(off <= *tolerance, "{}: off by {off:e}", config.name);
        // One line is the epoch's.
        check_steps(config, &ran, here.len() - 1);
    }
}

#[test]
fn gpu_training_of_prefix_captioners_is_the_processors_without_waits() {
    let place = Workspace::with_keywords();
    let model = language_model(&place, 4, "0.1");
    check(&place, &PREFIX, &[&model]);
}

#[test]
fn gpu_training_of_sbg_is_the_processors_without_waits() {
    let place = Workspace::with_keywords();
    let model = language_model(&place, 4, "0.1");
    check(&place, &SBG, &[&model]);
}

#[test]
fn gpu_training_of_merge_rnn_is_the_processors_without_waits() {
    check(&Workspace::with_keywords(), &MERGE_RNN, &[]);
}

#[test]
fn gpu_training_in_bf16_without_dropout_starts_as_the_processors_to_the_last_bit() {
    let Some(gpu) = PretendGpu::find() else { return };
    let place = Workspace::with_keywords();
    let model = language_model(&place, 2, "0");
    let config = prefix("bf16", &["training.precision=bf16", "gpt2.tuning=frozen"]);
    on_processor(&config.train(&place, "here", &[&model]));
    gpu.success(&config.train(&place, "there", &[&model, "training.device=cuda:0"]));
    let (there, here) = (numbers(&place, "there"), numbers(&place, "here"));
    // In f32 too the devices' numbers differ by up to 2e-7, which can flip a rounding to bf16.
    assert_eq!(there[..5], here[..5]);
    assert!(difference(&there, &here) < BF16);
}

#[test]
fn gpu_training_that_was_stopped_resumes_to_the_same_bytes() {
    let Some(gpu) = PretendGpu::find() else { return };
    let place = Workspace::with_keywords();
    let model = language_model(&place, 2, "0.1");
    let sets = [&model, "training.device=cuda:0", "training.epochs=2"];
    for system in ["prefix", "sbg", "merge-rnn"] {
        let config = Config { name: system, system, sets: &[] };
        let sets = if system == "merge-rnn" { &sets[1..] } else { &sets };
        let (whole, parts) = (format!("{system}-whole"), format!("{system}-parts"));
        gpu.success(&config.train(&place, &whole, sets));
        let words = config.train(&place, &parts, sets);
        let with = |more: &[&str]| {
            let more = more.iter().map(ToString::to_string);
            words.iter().cloned().chain(more).collect::<Vec<_>>()
        };
        gpu.success(&with(&["--stop-after-epochs", "1"]));
        gpu.success(&with(&["--resume"]));
        let checkpoint = |run: &str| newest_checkpoint(place.of(run).as_ref());
        for file in ["model.safetensors", "optimizer.safetensors"] {
            let read = |run: &str| std::fs::read(checkpoint(run).join(file)).unwrap();
            assert!(read(&whole) == read(&parts), "{system}: {file}");
        }
    }
}
