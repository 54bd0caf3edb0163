//! Run folders and configs of released versions, which every later version reads.
//!
//! `tests/fixtures/runs/0.1.0` was made by version 0.1.0: `dataset draw --count 24`, `init clip`
//! and `init gpt2` of the smallest sizes, `precompute`, `train` with configs/demo, `evaluate`.

use std::fs;
use std::path::{Path, PathBuf};

use super::stage::success;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

/// A copy of the runs of version 0.1.0, beside the data set that they were trained on.
fn copied() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&Path::new(FIXTURES).join("runs/0.1.0"), folder.path());
    success(&["dataset", "draw", "--count", "24", "--out", &path(folder.path(), "pictures")]);
    folder
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

/// Overrides that version 0.1.0 was given, with the paths of the copy.
fn sets(folder: &Path) -> Vec<String> {
    let value = |key: &str, name: &str| format!("{key}={}", path(folder, name));
    vec![value("data.dataset", "pictures"), value("data.embeddings", "embeddings.safetensors")]
}

#[test]
fn runs_of_version_0_1_0_are_evaluated_to_the_same_captions() {
    let folder = copied();
    let folder = folder.path();
    for name in ["prefix", "merge-rnn"] {
        let run = path(folder, name);
        let files = PathBuf::from(&run).join("evaluation/test");
        let before = fs::read_to_string(files.join("predictions.json")).unwrap();
        fs::remove_dir_all(&files).unwrap();
        let mut arguments = vec!["evaluate".to_owned(), "--run".to_owned(), run];
        arguments.extend(sets(folder).into_iter().flat_map(|set| ["--set".to_owned(), set]));
        success(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(fs::read_to_string(files.join("predictions.json")).unwrap(), before, "{name}");
    }
    success(&[
        "report",
        &path(folder, "prefix"),
        &path(folder, "merge-rnn"),
        "--out",
        &path(folder, "page.html"),
    ]);
}

#[test]
fn runs_of_version_0_1_0_are_resumed_with_their_configs() {
    let folder = copied();
    let folder = folder.path();
    let prefix = [
        "mapper.prefix_length=2",
        "training.epochs=2",
        "training.batch_size=20",
        "decoding.max_tokens=8",
        "data.test_captions=20",
        "training.scored_pictures=4",
    ];
    let merge_rnn = [
        "data.test_captions=20",
        "data.validation_captions=20",
        "network.layer_size=4",
        "training.epochs=2",
        "training.scored_pictures=4",
    ];
    for (name, config, own) in [
        ("prefix", "prefix-gradient-clipping", &prefix[..]),
        ("merge-rnn", "merge-rnn", &merge_rnn[..]),
    ] {
        let config = format!("{FIXTURES}/configs/0.1.0/demo/{config}.toml");
        let out = path(folder, name);
        // The newest epoch is trained once more.
        let newest = fs::read_dir(folder.join(name).join("checkpoints")).unwrap();
        let newest = newest.map(|entry| entry.unwrap().path()).max().unwrap();
        fs::remove_dir_all(&newest).unwrap();
        let mut arguments = ["train", "--config", &config, "--out", &out, "--resume"]
            .map(ToOwned::to_owned)
            .to_vec();
        let own = own.iter().map(|set| (*set).to_owned());
        let model = format!("gpt2.model={}", path(folder, "gpt2"));
        let model = (name == "prefix").then_some(model);
        for set in sets(folder).into_iter().chain(own).chain(model) {
            arguments.extend(["--set".to_owned(), set]);
        }
        success(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(newest.join("optimizer.safetensors").exists(), "{name}");
    }
}
