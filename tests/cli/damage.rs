//! Damaged files of runs and studies, and the messages about them.

use std::fs;
use std::path::{Path, PathBuf};

use super::stage::{Stage, failure, newest_checkpoint, success};

/// Flips a bit in the middle of a file.
pub fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn trained(folder: &Path) -> (PathBuf, Vec<String>) {
    let stage = Stage::get();
    let run = folder.join("run");
    let words = stage.train(&run, &["--set", "training.scored_pictures=0"]);
    success(&words);
    (run, words)
}

#[test]
fn every_command_names_a_damaged_newest_checkpoint_and_training_trains_it_again() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let (run, words) = trained(folder.path());
    let text = run.display().to_string();
    let model = newest_checkpoint(&run).join("model.safetensors");
    let whole = fs::read(&model).unwrap();
    fs::write(&model, &whole[..100_000]).unwrap();
    let (next, exported) = (folder.path().join("next"), folder.path().join("exported"));
    let from_run = stage.train(&next, &["--set", &format!("gpt2.model={text}")]);
    let exported_text = exported.display().to_string();
    let commands: [Vec<&str>; 6] = [
        vec!["evaluate", "--run", &text],
        vec!["evaluate", "--run", &text, "--checkpoint", "best"],
        vec!["caption", "--run", &text, "no-picture.jpg"],
        vec!["export", "--run", &text, "--format", "clipcap", "--out", &exported_text],
        vec!["serve", "--run", &text, "--address", "127.0.0.1:0"],
        from_run.iter().map(String::as_str).collect(),
    ];
    for words in commands {
        let error = failure(&words);
        assert!(error.contains(&model.display().to_string()), "{words:?}: {error}");
        assert!(error.contains("hint: capsmith train --resume"), "{words:?}: {error}");
    }
    assert!(!exported.exists() && !next.exists(), "nothing is left of what was refused");

    let resumed = success(&[&words[..], &["--resume".to_owned()]].concat());
    let said = String::from_utf8_lossy(&resumed.stderr).into_owned();
    assert!(said.contains("skipped a damaged checkpoint"), "{said}");
    assert!(fs::read(&model).unwrap() == whole, "the same bytes again");
    success(&["evaluate", "--run", &text]);
}

#[test]
fn a_runs_configuration_is_its_own_and_data_that_has_moved_is_named() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let (run, _) = trained(folder.path());
    let text = run.display().to_string();
    let scores = |words: &[&str]| {
        let said = success(&[&["evaluate", "--run", &text], words].concat()).stdout;
        String::from_utf8(said).unwrap()
    };
    let before = scores(&[]);
    let moved = folder.path().join("moved.safetensors");
    fs::copy(stage.embeddings(), &moved).unwrap();
    let set = format!("data.embeddings={}", moved.display());
    assert_eq!(scores(&["--set", &set]), before);

    let config = run.join("config.toml");
    let whole = fs::read_to_string(&config).unwrap();
    let edited = whole.replace("max_new_tokens = ", "max_new_tokens = 1");
    assert_ne!(edited, whole);
    fs::write(&config, edited).unwrap();
    for words in [vec!["evaluate", "--run", &text], vec!["report", &text]] {
        let error = failure(&words);
        assert!(error.contains("config.toml") && error.contains("--set"), "{error}");
    }
    fs::write(&config, &whole).unwrap();

    // Reports believe no changed number either.
    for file in ["evaluation/test/scores.json", "metrics.csv"] {
        let path = run.join(file);
        let whole = fs::read(&path).unwrap();
        flip(&path);
        let error = failure(&["report", &text]);
        assert!(error.contains(file), "{error}");
        fs::write(&path, whole).unwrap();
    }
    let page = folder.path().join("page.html").display().to_string();
    success(&["report", &text, "--out", &page]);

    // No page and no scores are written over a file of the run.
    let config = config.display().to_string();
    let error = failure(&["report", &text, "--out", &config]);
    assert!(error.contains("is not an HTML page"), "{error}");
    let error = failure(&["evaluate", &text, "--json", &config]);
    assert!(error.contains("is a file of a run"), "{error}");
    assert_eq!(fs::read_to_string(&config).unwrap(), whole);
    let error = failure(&["report", &text, "--out", &page, "--dataset", "nowhere"]);
    assert!(error.contains("there is no folder nowhere"), "{error}");
}
