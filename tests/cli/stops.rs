//! A stop is heeded within a moment, in phases that would last far longer too.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::stage::{Stage, capsmith, newest_checkpoint, success};

/// A second where nothing else runs; machines that test are busy.
const SOON: Duration = Duration::from_secs(10);

fn start(words: &[String]) -> Child {
    capsmith(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits until `is_so`, while the process runs.
fn wait_until(child: &mut Child, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be stopped");
        assert!(start.elapsed() < Duration::from_mins(5), "it has not come so far");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Returns whether the process catches SIGTERM.
fn heeds_stops(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).unwrap() >> 14 & 1 == 1)
}

/// Sends a signal, once, and checks that the process ends soon with the code of that signal.
fn stop(mut child: Child, signal: &str, code: i32) {
    assert!(child.try_wait().unwrap().is_none(), "it ended before it could be stopped");
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > SOON {
            child.kill().unwrap();
            panic!("it goes on {SOON:?} after {signal}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(child.wait().unwrap().code(), Some(code));
}

#[test]
fn while_an_epoch_is_captioned_and_scored() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    // Twenty pictures with a thousand captions each take minutes.
    let sets = [
        "data.validation_captions=100",
        "training.scored_pictures=20",
        "decoding.batch_size=20",
        "decoding.max_new_tokens=110",
        "decoding.strategy={ kind = \"sampling\", samples = 1000, temperature = 2.0, top_k = 0, top_p = 0.99, seed = 1 }",
    ];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let mut child = start(&stage.train(&run, &sets));
    let epochs = || std::fs::read_to_string(run.join("epochs.csv")).unwrap_or_default();
    wait_until(&mut child, || epochs().lines().count() == 2 && run.join("checkpoints").exists());
    std::thread::sleep(Duration::from_millis(500));
    stop(child, "-TERM", 143);
    let scores = std::fs::read_to_string(run.join("epoch-scores.csv")).unwrap_or_default();
    assert!(scores.lines().count() < 2, "the epoch was scored before the stop:\n{scores}");

    // The epoch's checkpoint is whole, and the run can be resumed.
    newest_checkpoint(&run);
    let picture = first_picture(&stage.pictures());
    let greedy = "decoding.strategy={ kind = \"greedy\" }";
    let run = run.display().to_string();
    success(&["caption", "--run", &run, "--set", greedy, &picture]);
}

fn first_picture(pictures: &str) -> String {
    format!("{pictures}/Images/scene-00000.jpg")
}

#[test]
fn while_other_processes_are_waited_for() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let words = stage.train(&folder.path().join("run"), &[]);
    let mut command = capsmith(&words);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.envs([("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "0")]);
    command.envs([
        ("LOCAL_WORLD_SIZE", "2"),
        ("MASTER_ADDR", "127.0.0.1"),
        ("MASTER_PORT", "29671"),
    ]);
    let mut child = command.spawn().unwrap();
    let pid = child.id();
    wait_until(&mut child, || heeds_stops(pid));
    std::thread::sleep(Duration::from_secs(1));
    stop(child, "-INT", 130);
}

#[test]
fn while_a_model_is_pretrained() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("gpt2");
    let words = ["pretrain", "gpt2", "--steps", "1000000", "--test-captions", "50", "--dataset"];
    let mut words: Vec<String> = words.map(str::to_owned).to_vec();
    words.extend([stage.pictures(), "--out".to_owned(), out.display().to_string()]);
    let mut child = start(&words);
    let pid = child.id();
    wait_until(&mut child, || heeds_stops(pid));
    std::thread::sleep(Duration::from_secs(1));
    stop(child, "-TERM", 143);
    assert!(!Path::new(&out).join("model.safetensors").exists());
}
