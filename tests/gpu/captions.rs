//! Evaluation, captions by every strategy, and a server: the same captions from both devices.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::device::{PretendGpu, Ran, on_processor};
use super::runs::{Config, language_model};
use crate::cli::serve::Server;
use crate::cli::stage::capsmith;
use crate::cli::workspace::Workspace;

const SYSTEMS: [&str; 3] = ["prefix", "sbg", "merge-rnn"];

/// Systems with the strategies that they decode by.
const STRATEGIES: [(&str, &str); 7] = [
    ("prefix", r#"{ kind = "greedy" }"#),
    ("prefix", r#"{ kind = "beam", num_beams = 5 }"#),
    (
        "prefix",
        r#"{ kind = "sampling", samples = 3, temperature = 1.0, top_k = 20, top_p = 1.0, seed = 5 }"#,
    ),
    (
        "prefix",
        r#"{ kind = "sampling", samples = 2, temperature = 0.7, top_k = 0, top_p = 0.9, seed = 6 }"#,
    ),
    (
        "sbg",
        r#"{ kind = "sampling", samples = 5, temperature = 1.0, top_k = 50, top_p = 0.95, seed = 7 }"#,
    ),
    ("merge-rnn", r#"{ kind = "beam", num_beams = 3 }"#),
    ("merge-rnn", r#"{ kind = "beam", num_beams = 1 }"#),
];

/// Trains a run of each system on the processor.
fn trained() -> Workspace {
    let place = Workspace::with_keywords();
    let model = language_model(&place, 4, "0.1");
    for system in SYSTEMS {
        let sets: &[&str] = match system {
            "merge-rnn" => &["training.epochs=4"],
            _ => &[&model, "training.epochs=2"],
        };
        on_processor(&Config { name: system, system, sets: &[] }.train(&place, system, sets));
    }
    place
}

/// Returns the files of the first `count` pictures.
pub fn pictures(place: &Workspace, count: usize) -> Vec<String> {
    let folder = format!("{}/Images", place.stage.pictures());
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<String> = files.map(|file| file.display().to_string()).collect();
    files.sort();
    files.truncate(count);
    files
}

#[test]
fn gpu_captions_of_every_strategy_are_the_processors() {
    let Some(gpu) = PretendGpu::find() else { return };
    let place = trained();
    let pictures = pictures(&place, 7);
    for (system, strategy) in STRATEGIES {
        let words = |device: &str| {
            let set = format!("decoding.strategy={strategy}");
            let words = ["caption", "--run", &place.of(system), "--device", device, "--all"];
            let more = ["--set", &set, "--set", "decoding.max_new_tokens=15"];
            let words = words.into_iter().chain(more).map(str::to_owned);
            words.chain(pictures.iter().cloned()).collect::<Vec<_>>()
        };
        let here = String::from_utf8(on_processor(&words("cpu")).stdout).unwrap();
        let there = gpu.with("DEVICES", &2).success(&words("cuda:1")).printed();
        assert!(here.lines().count() >= pictures.len(), "{system} {strategy}: {here}");
        assert_eq!(there, here, "{system} {strategy}");
    }
}

/// Returns true if two JSON values differ at most in last digits of numbers.
fn alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let (one, other) = (one.as_f64().unwrap(), other.as_f64().unwrap());
            (one - other).abs() <= 1e-5 * other.abs().max(1.0)
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| {
                    key.contains("sha256")
                        || other.get(key).is_some_and(|other| alike(value, other))
                })
        }
        _ => one == other,
    }
}

#[test]
fn gpu_evaluations_and_served_captions_are_the_processors() {
    let Some(gpu) = PretendGpu::find() else { return };
    let place = trained();
    for system in SYSTEMS {
        let evaluate = |device: &str| {
            let out = place.of(&format!("{system}-{device}"));
            ["evaluate", "--run", &place.of(system), "--device", device, "--out", &out]
                .map(str::to_owned)
        };
        on_processor(&evaluate("cpu"));
        gpu.success(&evaluate("cuda:0"));
        let chosen = if system == "sbg" { "-best-of-5" } else { "" };
        let read = |file: &str, device: &str| -> Value {
            let folder = place.of(&format!("{system}-{device}{chosen}"));
            serde_json::from_slice(&std::fs::read(Path::new(&folder).join(file)).unwrap()).unwrap()
        };
        for file in ["predictions.json", "scores.json"] {
            let (there, here) = (read(file, "cuda:0"), read(file, "cpu"));
            let is_same = if file == "scores.json" { alike(&there, &here) } else { there == here };
            assert!(is_same, "{system} {file}: {there}\n{here}");
        }
    }
    served(&gpu, &place);
}

/// Asks a server on the device for a picture's captions by all runs.
fn served(gpu: &PretendGpu, place: &Workspace) {
    let picture = pictures(place, 3).pop().unwrap();
    let counts = tempfile::tempdir().unwrap();
    let runs = SYSTEMS.map(|run| place.of(run));
    let words = ["serve", "--address", "127.0.0.1:0", "--device", "cuda:0"];
    let runs: Vec<&str> = runs.iter().flat_map(|run| ["--run", run.as_str()]).collect();
    let mut command = capsmith(&[&words[..], &runs].concat());
    gpu.lend(&mut command, counts.path());
    let server = Server::start_by(command);
    let file = STANDARD.encode(std::fs::read(&picture).unwrap());
    let answer = server.caption(&json!({ "picture": file }));
    for (answer, system) in answer["runs"].as_array().unwrap().iter().zip(SYSTEMS) {
        let words = ["caption", "--run", &place.of(system), &picture];
        let line = String::from_utf8(on_processor(&words).stdout).unwrap();
        let caption = answer["text"].as_str().unwrap();
        assert_eq!(line.trim_end(), format!("{picture}\t{caption}"), "{system}");
    }
    assert_eq!(server.stop(), Some(143));
    let output = std::process::Command::new("true").output().unwrap();
    Ran::read(output, counts.path()).check();
}
