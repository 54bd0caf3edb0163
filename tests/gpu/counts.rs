//! Kernel launches of a training step and of a decoded token: bounds, and exact counts.
//!
//! The exact counts are in `tests/fixtures/gpu/launches.json`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use serde_json::{Map, Value};

use super::device::{PretendGpu, Step, on_processor};
use super::runs::{Config, LOG_EVERY, SEED, language_model};
use crate::cli::workspace::Workspace;

/// Operators of a training step of a language model of 12 layers, between log points.
const F32_STEP: u64 = 520;
const BF16_STEP: u64 = 600;
/// Operators per layer and token: two norms, four products, attention and an addition.
const LAYER: u64 = 8;
/// Copies to the device per token: the draws, or the beams that continue.
const TOKEN_COPIES: u64 = 1;
/// Waits per token, for the copy of the tokens to the host.
const TOKEN_WAITS: u64 = 1;

/// Returns the file of the exact counts, which a change that changes them must update.
fn golden() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/gpu/launches.json"))
}

/// Compares counts with the golden file's, or writes them there if `CAPSMITH_UPDATE_COUNTS` is set.
fn compare(section: &str, counts: &BTreeMap<String, BTreeMap<String, u64>>) {
    static FILE: Mutex<()> = Mutex::new(());
    let _one_at_a_time = FILE.lock();
    let text = std::fs::read_to_string(golden()).unwrap_or_else(|_| "{}".to_owned());
    let mut known: Map<String, Value> = serde_json::from_str(&text).unwrap();
    let counted = serde_json::to_value(counts).unwrap();
    if std::env::var_os("CAPSMITH_UPDATE_COUNTS").is_some() {
        known.insert(section.to_owned(), counted);
        known.sort_keys();
        std::fs::create_dir_all(golden().parent().unwrap()).unwrap();
        let text = serde_json::to_string_pretty(&known).unwrap() + "\n";
        std::fs::write(golden(), text).unwrap();
        return;
    }
    let known = known.remove(section).unwrap_or_default();
    let mut faults = Vec::new();
    for (name, counts) in counted.as_object().unwrap() {
        if known.get(name) != Some(counts) {
            let before = known.get(name).unwrap_or(&Value::Null);
            faults.push(format!("{name}: {before} before, {counts} now"));
        }
    }
    assert_eq!(known.as_object().map_or(0, Map::len), counts.len(), "{section}: other names");
    assert!(
        faults.is_empty(),
        "{section}: launches changed. If that is intended:\n  \
         CAPSMITH_UPDATE_COUNTS=1 cargo xtask test --test tests gpu_launches\n{}",
        faults.join("\n")
    );
}

/// Returns the counts of a step that the golden file holds.
fn held(step: &Step) -> BTreeMap<String, u64> {
    let columns = ["ops", "h2d", "d2h", "waits"];
    columns.map(|column| (column.to_owned(), step.get(column))).into()
}

const fn prefix(name: &'static str, sets: &'static [&'static str]) -> Config {
    Config { name, system: "prefix", sets }
}

const CLIPPED: &str = "optimizer.max_grad_norm=1.0";
const BF16: &str = "training.precision=bf16";

/// Configurations, with the most operators that a step of 12 layers may take.
const STEPS: [(Config, Option<u64>); 9] = [
    (prefix("prefix", &[CLIPPED]), Some(F32_STEP)),
    (
        prefix(
            "prefix, unclipped, torch's rule",
            &["optimizer.max_grad_norm=0", "optimizer.rule=torch"],
        ),
        Some(F32_STEP),
    ),
    (prefix("prefix, bf16", &[CLIPPED, BF16]), Some(BF16_STEP)),
    (prefix("prefix, frozen", &["gpt2.tuning=frozen"]), Some(F32_STEP)),
    (prefix("prefix, 4 parts", &["training.gradient_accumulation_steps=4"]), None),
    (prefix("prefix, recomputing", &["training.gradient_checkpointing=true"]), None),
    (
        prefix(
            "prefix, transformer mapper",
            &["mapper.kind=transformer", "mapper.clip_length=2", "mapper.layers=2"],
        ),
        None,
    ),
    (Config { name: "sbg", system: "sbg", sets: &[CLIPPED] }, Some(F32_STEP)),
    (Config { name: "sbg, bf16", system: "sbg", sets: &[CLIPPED, BF16] }, Some(BF16_STEP)),
];

/// Trains a few steps, and returns the counts that all steps between log points share.
fn counts_of_a_step(
    gpu: &PretendGpu,
    place: &Workspace,
    config: &Config,
    seed: u64,
    more: &[&str],
) -> BTreeMap<String, u64> {
    let seeded = format!("training.seed={seed}");
    let ran = gpu.success(&config.train(place, "run", &[more, &[&seeded]].concat()));
    let metrics = std::fs::read_to_string(place.of("run/metrics.csv")).unwrap();
    std::fs::remove_dir_all(place.of("run")).unwrap();
    let steps = ran.training_steps(seed, metrics.lines().count() - 1);
    let between =
        steps.iter().filter(|(number, _)| *number > 1 && !number.is_multiple_of(LOG_EVERY));
    let counts: Vec<_> = between.map(|(number, step)| (*number, held(step))).collect();
    assert!(counts.len() > 1, "{}: too few steps", config.name);
    for (number, other) in &counts {
        assert_eq!(*other, counts[0].1, "{}: step {number} is unlike the first", config.name);
    }
    counts[0].1.clone()
}

#[test]
fn gpu_launches_of_a_training_step_are_few_and_known() {
    let Some(gpu) = PretendGpu::find() else { return };
    let place = Workspace::with_keywords();
    let mut all = BTreeMap::new();
    let mut faults = Vec::new();
    for layers in [4, 12] {
        let model = language_model(&place, layers, "0.1");
        for (config, most) in &STEPS {
            let count = |batch: u64, seed: u64| {
                let batch = if config.system == "sbg" { batch / 2 } else { batch };
                let batch = format!("training.batch_size={batch}");
                let sets = [&model, &batch, "training.device=cuda:0"];
                counts_of_a_step(&gpu, &place, config, seed, &sets)
            };
            let name = format!("{}, {layers} layers", config.name);
            let (small, large) = (count(20, SEED), count(36, 7));
            assert_eq!(small, large, "{name}: batch size or seed change the launches");
            if let Some(most) = most.filter(|most| layers == 12 && small["ops"] > *most) {
                faults
                    .push(format!("{name}: {} operators, where {most} are allowed", small["ops"]));
            }
            all.insert(name, small);
        }
    }
    compare("a training step", &all);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Strategies by name, with the system that decodes by them.
///
/// The number is the most operators that a token takes besides those of its layers.
const STRATEGIES: [(&str, &str, &str, u64); 5] = [
    ("greedy", "prefix", r#"{ kind = "greedy" }"#, 9),
    ("beams of 5", "prefix", r#"{ kind = "beam", num_beams = 5 }"#, 10),
    (
        "sampling, top-k",
        "prefix",
        r#"{ kind = "sampling", samples = 2, temperature = 1.0, top_k = 20, top_p = 1.0, seed = 5 }"#,
        20,
    ),
    (
        "sampling, top-k and top-p",
        "prefix",
        r#"{ kind = "sampling", samples = 2, temperature = 1.0, top_k = 50, top_p = 0.9, seed = 5 }"#,
        28,
    ),
    ("Merge-RNN, beams of 3", "merge-rnn", r#"{ kind = "beam", num_beams = 3 }"#, 18),
];

/// Tokens that are counted, after the first few.
const TOKENS: u64 = 16;

#[test]
fn gpu_launches_of_a_decoded_token_are_few_and_known() {
    let Some(gpu) = PretendGpu::find() else { return };
    let place = Workspace::with_keywords();
    let mut all = BTreeMap::new();
    let mut faults = Vec::new();
    for layers in [4, 12] {
        let model = language_model(&place, layers, "0.1");
        for system in ["prefix", "merge-rnn"] {
            // Hardly trained, they never end a caption.
            let sets = [model.as_str(), "optimizer.learning_rate=1e-9"];
            let sets = if system == "merge-rnn" { &sets[1..] } else { &sets };
            let run = format!("{system}-{layers}");
            on_processor(&Config { name: system, system, sets: &[] }.train(&place, &run, sets));
        }
        for (name, system, strategy, beside) in STRATEGIES {
            if system == "merge-rnn" && layers > 4 {
                continue;
            }
            let ran = |tokens: u64, pictures: usize| {
                let (strategy, tokens) = (
                    format!("decoding.strategy={strategy}"),
                    format!("decoding.max_new_tokens={tokens}"),
                );
                let run = place.of(&format!("{system}-{layers}"));
                let words = ["caption", "--run", &run, "--device", "cuda:0"];
                let sets = ["--set", &strategy, "--set", &tokens];
                let files = super::captions::pictures(&place, pictures);
                let files: Vec<&str> = files.iter().map(String::as_str).collect();
                gpu.success(&[&words[..], &sets, &files].concat())
            };
            let count = |pictures: usize| -> BTreeMap<String, u64> {
                let (few, many) = (ran(6, pictures), ran(6 + TOKENS, pictures));
                let columns = ["ops", "h2d", "waits", "event_waits"];
                columns
                    .map(|column| (column.to_owned(), many.total(column) - few.total(column)))
                    .into()
            };
            let name = if system == "merge-rnn" {
                name.to_owned()
            } else {
                format!("{name}, {layers} layers")
            };
            let (few, many) = (count(3), count(7));
            // Beams that stay in their order are not moved.
            let varies = strategy.contains("beam");
            assert!(varies || few == many, "{name}: the number of pictures changes the launches");
            assert!(few["ops"] >= TOKENS * layers as u64, "{name}: captions ended early");
            let most = if system == "merge-rnn" { beside } else { LAYER * layers as u64 + beside };
            if few["ops"] > most * TOKENS {
                let operators = few["ops"].div_ceil(TOKENS);
                faults.push(format!("{name}: {operators} operators a token, not {most}"));
            }
            let waits = few["waits"] + few["event_waits"];
            if waits > TOKEN_WAITS * TOKENS || few["h2d"] > TOKEN_COPIES * TOKENS {
                faults.push(format!("{name}: {few:?} for {TOKENS} tokens"));
            }
            all.insert(name, few);
        }
    }
    compare("16 tokens of a batch", &all);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
