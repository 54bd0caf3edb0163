//! Stops are heeded within a moment, in phases that would last far longer too.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::processes::free_port;
use super::stage::{Stage, capsmith, newest_checkpoint, success, wait_while_running};

/// Time in which a stopped process must end: a second where nothing else runs.
const SOON: Duration = Duration::from_secs(10);

fn start(words: &[String]) -> Child {
    capsmith(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Returns the hundredths of a second that a process has computed.
fn computed(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name, in parentheses, may hold spaces.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

/// Returns whether some process listens on a TCP port.
fn is_listened_on(port: u16) -> bool {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(std::fs::read_to_string);
    let listens = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[1].ends_with(&format!(":{port:04X}")) && fields[3] == "0A"
    };
    tables.iter().flatten().any(|table| table.lines().skip(1).any(listens))
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
            panic!("it still runs {SOON:?} after {signal}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(child.wait().unwrap().code(), Some(code));
}

#[test]
fn while_captioning_and_scoring_an_epoch() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    // A thousand captions of each of twenty pictures take minutes.
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
    wait_while_running(&mut child, "an epoch", || {
        epochs().lines().count() == 2 && run.join("checkpoints").exists()
    });
    // It is far into the captions once it has computed for half a second more.
    let pid = child.id();
    let before = computed(pid);
    wait_while_running(&mut child, "captioning", || computed(pid) >= before + 50);
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
fn while_waiting_for_other_processes() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let words = stage.train(&folder.path().join("run"), &[]);
    let mut command = capsmith(&words);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.envs([("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "0")]);
    let port = free_port();
    command.envs([("LOCAL_WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1")]);
    command.env("MASTER_PORT", port.to_string());
    let mut child = command.spawn().unwrap();
    wait_while_running(&mut child, "a port to meet at", || is_listened_on(port));
    stop(child, "-INT", 130);
}

#[test]
fn while_pretraining_a_model() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("gpt2");
    let words = ["pretrain", "gpt2", "--steps", "1000000", "--test-captions", "50", "--dataset"];
    let mut words: Vec<String> = words.map(str::to_owned).to_vec();
    words.extend([stage.pictures(), "--out".to_owned(), out.display().to_string()]);
    let mut child = capsmith(&words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("training: ")), "it ended before a step");
    stop(child, "-TERM", 143);
    assert!(!Path::new(&out).join("model.safetensors").exists());
}
