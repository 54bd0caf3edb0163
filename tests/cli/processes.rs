//! Several processes that share a command, as launchers start them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use super::stage::{Stage, capsmith, failure, init_clip, success};

/// Returns the command of one rank, with torchrun's variables.
fn one<S: AsRef<std::ffi::OsStr>>(words: &[S], rank: usize, size: usize, port: u16) -> Command {
    let mut command = capsmith(words);
    command
        .envs([("RANK", rank.to_string()), ("WORLD_SIZE", size.to_string())])
        .envs([("MASTER_ADDR", "127.0.0.1"), ("GLOO_SOCKET_IFNAME", "lo")])
        .env("MASTER_PORT", port.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Returns a port on which nobody listens.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn start<S: AsRef<std::ffi::OsStr>>(words: &[S], size: usize) -> Vec<Child> {
    let port = free_port();
    (0..size).map(|rank| one(words, rank, size, port).spawn().unwrap()).collect()
}

fn outputs(children: Vec<Child>) -> Vec<Output> {
    children.into_iter().map(|child| child.wait_with_output().unwrap()).collect()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs `size` processes to a success.
fn together<S: AsRef<std::ffi::OsStr>>(words: &[S], size: usize) -> Vec<Output> {
    let outputs = outputs(start(words, size));
    for output in &outputs {
        assert!(output.status.success(), "{}", errors(output));
    }
    outputs
}

fn bytes(path: impl AsRef<Path>) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[test]
fn embeddings_of_several_processes_are_those_of_one() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let out = |name: &str| folder.path().join(name).display().to_string();
    let (pictures, clip) = (stage.pictures(), stage.clip());
    let words = |out: &str| {
        let words = ["precompute", "--dataset", &pictures, "--clip", &clip, "--batch-size", "1"];
        [&words[..], &["--out", out]].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    success(&words(&out("alone")));
    for size in [2, 4] {
        let shared = out(&format!("of-{size}"));
        together(&words(&shared), size);
        assert!(bytes(&shared) == bytes(out("alone")), "{size} processes");
    }
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 3, "nothing but the files is left");
}

#[test]
fn captions_of_several_processes_are_scored_once_and_killed_ones_leave_their_pieces() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    // All pictures are captioned, in pieces of 256 and one of 44.
    let set = folder.path().join("set").display().to_string();
    success(&["dataset", "draw", "--out", &set, "--count", "302", "--size", "64"]);
    let embeddings = folder.path().join("embeddings.safetensors").display().to_string();
    let clip = stage.clip();
    success(&["precompute", "--dataset", &set, "--clip", &clip, "--out", &embeddings]);
    let (set, embeddings) =
        (format!("data.dataset={set}"), format!("data.embeddings={embeddings}"));
    let sets = ["--set", &set, "--set", &embeddings, "--set", "data.test_captions=1500"];
    let more = ["--set", "training.epochs=1", "--set", "training.scored_pictures=0"];
    success(&stage.train(&run, &[&sets[..], &more].concat()));
    let run = run.display().to_string();
    let evaluate = |out: &Path| {
        let out = out.display().to_string();
        ["evaluate", "--run", &run, "--out", &out].map(str::to_owned)
    };
    let (alone, shared) = (folder.path().join("alone"), folder.path().join("shared"));
    success(&evaluate(&alone));
    // The first of two processes ends, and the second never starts.
    let first = one(&evaluate(&shared), 0, 2, 1).output().unwrap();
    assert!(errors(&first).contains("44 pictures are left"), "{}", errors(&first));
    assert!(!shared.exists());
    let piece = walk(folder.path()).into_iter().find(|path| path.ends_with("piece-00000.json"));
    let written = std::fs::metadata(piece.as_ref().unwrap()).unwrap().modified().unwrap();
    // Of two others, one captions what is missing.
    let done = together(&evaluate(&shared), 2);
    assert!(done.iter().any(|output| !output.stdout.is_empty()), "one process prints the scores");
    for file in ["predictions.json", "references.json", "scores.json", "per-image.csv"] {
        assert!(bytes(alone.join(file)) == bytes(shared.join(file)), "{file}");
    }
    assert!(piece.is_some_and(|piece| !piece.exists()), "pieces are removed");
    // A late process finds all captions; another protocol scores them again.
    let late = one(&evaluate(&shared), 1, 2, 1).output().unwrap();
    assert!(errors(&late).contains("reusing the captions in"), "{}", errors(&late));
    let captions = bytes(shared.join("captions.json"));
    assert!(captions == bytes(alone.join("captions.json")));
    let penn =
        success(&[&evaluate(&shared)[..], &["--tokenizer", "ptb"].map(str::to_owned)].concat());
    assert!(errors(&penn).contains("reusing the captions in"), "{}", errors(&penn));
    assert!(bytes(alone.join("scores.json")) != bytes(shared.join("scores.json")));
    // Other decoding writes other captions.
    let shorter = ["--set", "decoding.max_new_tokens=3"].map(str::to_owned);
    let other = success(&[&evaluate(&shared)[..], &shorter].concat());
    assert!(!errors(&other).contains("reusing the captions in"), "{}", errors(&other));
    assert!(captions != bytes(shared.join("captions.json")));
    // More processes than pieces: some have nothing to do.
    together(&evaluate(&folder.path().join("many")), 4);
    let left: Vec<PathBuf> = walk(folder.path())
        .into_iter()
        .filter(|path| {
            let path = path.display().to_string();
            path.contains("partial") || path.contains("many.") || path.contains("shared.")
        })
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(written.elapsed().is_ok());
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn launchers_variables_must_agree_and_commands_of_one_process_are_started_once() {
    let stage = Stage::get();
    let out = tempfile::tempdir().unwrap();
    let words = stage.train(&out.path().join("run"), &[]);
    let mut contradicted = one(&words, 0, 2, 1);
    let output =
        contradicted.envs([("SLURM_PROCID", "1"), ("SLURM_NTASKS", "2")]).output().unwrap();
    let said = errors(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("RANK=0") && said.contains("SLURM_PROCID=1"), "{said}");
    let folder = out.path().join("set").display().to_string();
    let output = one(&["dataset", "draw", "--out", &folder], 0, 2, 1).output().unwrap();
    assert!(
        errors(&output).contains("a launcher started several processes"),
        "{}",
        errors(&output)
    );
    assert!(!Path::new(&folder).exists());
    // Commands of one process ignore the launcher.
    init_clip(&out.path().join("clip").display().to_string(), "8");
    let _ = failure(&["train", "--config", "nowhere.toml"]);
}

#[cfg(not(feature = "gloo"))]
#[test]
fn without_the_feature_training_together_says_what_to_build() {
    let out = tempfile::tempdir().unwrap();
    let words = Stage::get().train(&out.path().join("run"), &[]);
    let output = one(&words, 0, 2, 1).output().unwrap();
    assert!(errors(&output).contains("--features gloo"), "{}", errors(&output));
    assert!(!out.path().join("run").exists());
}

#[cfg(feature = "gloo")]
mod training {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::cli::stage::{newest_checkpoint, wait_while_running, without_dropout};
    use crate::cli::workspace::Workspace;

    fn metrics(run: &Path) -> Vec<[f64; 2]> {
        let text = std::fs::read_to_string(run.join("metrics.csv")).unwrap();
        let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let names = lines.next().unwrap();
        let column = |name| names.iter().position(|column| *column == name).unwrap();
        let columns = [column("loss"), column("gradient_norm")];
        lines.map(|line| columns.map(|column| line[column].parse().unwrap())).collect()
    }

    fn assert_close(run: &Path, other: &Path, what: &str) {
        let (run, other) = (metrics(run), metrics(other));
        assert_eq!(run.len(), other.len(), "{what}");
        for (step, (one, two)) in run.iter().zip(&other).enumerate() {
            let off = (one[0] - two[0]).abs().max((one[1] - two[1]).abs() / one[1].max(1.0));
            assert!(off < 1e-5, "{what}, step {step}: {one:?} and {two:?}");
        }
    }

    /// Settings whose batches do not divide evenly.
    ///
    /// The last batch of an epoch has three captions, which four processes cannot share.
    const UNEVEN: [&str; 8] = [
        "--set",
        "training.batch_size=13",
        "--set",
        "training.drop_last_batch=false",
        "--set",
        "data.validation_captions=20",
        "--set",
        "training.peer_timeout_seconds=60",
    ];

    #[test]
    fn one_two_and_four_processes_follow_the_same_trajectory() {
        let stage = Stage::get();
        let folder = tempfile::tempdir().unwrap();
        let gpt2 = without_dropout(folder.path());
        for (kind, more) in [
            ("plain", &[][..]),
            ("in parts", &["--set", "training.gradient_accumulation_steps=3"][..]),
            ("recomputing", &["--set", "training.gradient_checkpointing=true"][..]),
        ] {
            let words = |size: usize| {
                let sets = [&UNEVEN[..], &["--set", &gpt2], more].concat();
                stage.train(&folder.path().join(format!("{kind} {size}")), &sets)
            };
            success(&words(1));
            let alone = folder.path().join(format!("{kind} 1"));
            assert!(metrics(&alone).len() > 30);
            for size in [2, 4] {
                together(&words(size), size);
                let shared = folder.path().join(format!("{kind} {size}"));
                assert_close(&alone, &shared, &format!("{kind}, {size} processes"));
                let epochs = |run: &Path| std::fs::read_to_string(run.join("epochs.csv")).unwrap();
                assert_eq!(epochs(&alone).lines().count(), epochs(&shared).lines().count());
            }
        }
    }

    #[test]
    fn shares_and_batches_without_targets_are_the_same_for_two_processes() {
        let place = Workspace::with_keywords();
        let folder = tempfile::tempdir().unwrap();
        let gpt2 = without_dropout(folder.path());
        let sets = [
            &gpt2,
            "text.loss=caption",
            "text.block_size=8",
            "training.batch_size=2",
            "training.epochs=1",
            "training.scored_pictures=0",
            "training.peer_timeout_seconds=60",
            // Last digits would grow over many steps.
            "optimizer.learning_rate=1e-5",
        ];
        let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", *set]).collect();
        success(&place.train("sbg", "alone", &sets));
        together(&place.train("sbg", "shared", &sets), 2);
        let (alone, shared) = (place.of("alone"), place.of("shared"));
        let losses = metrics(Path::new(&alone));
        assert!(losses.iter().any(|[loss, norm]| loss + norm < 1e-12), "every batch has targets");
        assert!(losses.iter().flatten().all(|value| value.is_finite()));
        assert_close(Path::new(&alone), Path::new(&shared), "SBG, 2 processes");
    }

    #[test]
    fn a_sum_over_targets_is_the_same_for_three_processes() {
        let stage = Stage::get();
        let folder = tempfile::tempdir().unwrap();
        let config = format!("{}/configs/demo/merge-rnn.toml", env!("CARGO_MANIFEST_DIR"));
        let sets = [
            "data.validation_captions=50",
            "training.epochs=3",
            "training.batch_size=13",
            "training.scored_pictures=0",
        ];
        let words = |out: &Path| stage.train_by(&config, out, &sets);
        let (alone, shared) = (folder.path().join("alone"), folder.path().join("shared"));
        success(&words(&alone));
        together(&words(&shared), 3);
        assert_close(&alone, &shared, "Merge-RNN, 3 processes");
    }

    #[test]
    fn another_number_of_processes_resumes_and_all_stop_after_the_same_step() {
        let stage = Stage::get();
        let folder = tempfile::tempdir().unwrap();
        let gpt2 = without_dropout(folder.path());
        let longer = ["--set", &gpt2, "--set", "training.epochs=12"];
        let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
        success(&stage.train(&whole, &longer));
        let mut running = start(&stage.train(&parts, &longer), 2);
        wait_while_running(&mut running[0], "a checkpoint", || parts.join("checkpoints").exists());
        // One of them gets the signal.
        let id = running[1].id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let stopped = outputs(running);
        assert_eq!(stopped[1].status.code(), Some(143), "{}", errors(&stopped[1]));
        assert!(errors(&stopped[0]).contains("interrupted after step"), "{}", errors(&stopped[0]));
        let again = stage.train(&parts, &[&longer[..], &["--resume"]].concat());
        together(&again, 4);
        assert_close(&whole, &parts, "stopped and resumed");
    }

    #[test]
    fn a_process_that_dies_or_hangs_ends_all_and_the_checkpoint_is_good() {
        let stage = Stage::get();
        for signal in ["KILL", "STOP"] {
            let folder = tempfile::tempdir().unwrap();
            let run = folder.path().join("run");
            let longer = [
                "--set",
                "training.epochs=10000",
                "--set",
                "training.checkpoint_every_steps=5",
                "--set",
                "training.peer_timeout_seconds=5",
                "--set",
                "training.scored_pictures=0",
            ];
            let mut running = start(&stage.train(&run, &longer), 3);
            let checkpoints = run.join("checkpoints");
            wait_while_running(&mut running[0], "a checkpoint", || checkpoints.exists());
            let hit = running[1].id().to_string();
            let kill = |signal: &str| {
                Command::new("kill").args([&format!("-{signal}"), &hit]).status().unwrap()
            };
            assert!(kill(signal).success());
            let started = Instant::now();
            for rank in [0, 2] {
                let code = running[rank].wait().unwrap().code();
                assert_eq!(code, Some(1), "rank {rank} after {signal}");
            }
            assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
            assert!(kill("CONT").success() || signal == "KILL");
            let ended = outputs(running);
            assert!(!ended[1].status.success());
            for (rank, output) in ended.iter().enumerate().filter(|(rank, _)| *rank != 1) {
                let said = errors(output);
                assert!(said.contains(&format!("rank {rank} of 3 lost")), "{said}");
            }
            // The checkpoint is whole: an evaluation reads it.
            assert!(newest_checkpoint(&run).exists());
            let run = run.display().to_string();
            success(&["evaluate", "--run", &run]);
        }
    }

    #[test]
    fn processes_with_other_settings_or_without_others_say_so() {
        let stage = Stage::get();
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let limit = ["--set", "training.peer_timeout_seconds=5"];
        let port = free_port();
        let other = [&limit[..], &["--set", "training.epochs=3"]].concat();
        let first = one(&stage.train(&run, &limit), 0, 2, port).spawn().unwrap();
        let second = one(&stage.train(&run, &other), 1, 2, port).spawn().unwrap();
        let ended = outputs(vec![first, second]);
        let said = errors(&ended[1]);
        assert!(ended.iter().all(|output| output.status.code() == Some(1)));
        assert!(said.contains("training.epochs: 2 -> 3"), "{said}");
        let alone = folder.path().join("alone");
        let output = one(&stage.train(&alone, &limit), 0, 2, free_port()).output().unwrap();
        let said = errors(&output);
        assert!(said.contains("cannot connect to the others at 127.0.0.1:"), "{said}");
        assert!(!alone.exists());
    }
}
