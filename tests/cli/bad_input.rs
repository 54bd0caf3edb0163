//! Bad input gets one clear error and a non-zero exit, and costs no finished work.

use std::fs;
use std::path::Path;

use super::stage::{Stage, capsmith, config, failure, newest_checkpoint, success};

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Copies the drawn set, so that a test may break it.
fn copy_of_pictures(to: &Path) -> String {
    let from = Stage::get().pictures();
    let set = to.join("set");
    fs::create_dir_all(set.join("Images")).unwrap();
    fs::copy(format!("{from}/captions.txt"), set.join("captions.txt")).unwrap();
    for entry in fs::read_dir(format!("{from}/Images")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), set.join("Images").join(entry.file_name())).unwrap();
    }
    text(&set)
}

fn first_picture(set: &str) -> std::path::PathBuf {
    let mut all: Vec<_> =
        fs::read_dir(format!("{set}/Images")).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all.remove(0)
}

#[test]
fn unknown_keys_and_malformed_overrides_are_refused_with_a_suggestion() {
    let run = |set: &str| {
        failure(&["train", "--config", &config(), "--set", set, "--out", "/nonexistent/run"])
    };
    assert!(run("training.epoch=3").contains("did you mean `training.epochs`"));
    assert!(run("optimizer.lr=0.1").contains("did you mean `optimizer.learning_rate`"));
    assert!(run("training.epochs").contains("key=value"));
    assert!(run("training.epochs=none").contains("epochs"));
    let error = failure(&["train", "--config", "/nonexistent/x.toml"]);
    assert!(error.contains("/nonexistent/x.toml"), "{error}");
}

#[test]
fn a_folder_that_is_no_data_set_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = failure(&["dataset", "check", &text(folder.path())]);
    assert!(error.contains(&text(folder.path())), "{error}");
}

#[test]
fn a_corrupt_picture_is_named_and_left_out_only_when_asked() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let set = copy_of_pictures(folder.path());
    let victim = first_picture(&set);
    let bytes = fs::read(&victim).unwrap();
    fs::write(&victim, &bytes[..bytes.len() / 2]).unwrap();
    let name = victim.file_name().unwrap().to_string_lossy().into_owned();

    let error = failure(&["dataset", "check", &set, "--test-captions", "50"]);
    assert!(error.contains("broken"), "{error}");

    let out = text(&folder.path().join("e.safetensors"));
    let words = ["precompute", "--dataset", &set, "--clip", &stage.clip(), "--out", &out];
    let error = failure(&words);
    assert!(error.contains(&name) && error.contains("--skip-corrupt"), "{error}");
    assert!(!Path::new(&out).exists());

    let skipped = capsmith(&words).arg("--skip-corrupt").output().unwrap();
    assert!(skipped.status.success());
    assert!(String::from_utf8_lossy(&skipped.stderr).contains(&name));
}

#[test]
fn a_clip_with_a_missing_file_or_a_cut_one_is_named() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let out = text(&folder.path().join("e.safetensors"));
    let clip = folder.path().join("clip");
    fs::create_dir_all(&clip).unwrap();
    let run = || {
        failure(&[
            "precompute",
            "--dataset",
            &stage.pictures(),
            "--clip",
            &text(&clip),
            "--out",
            &out,
        ])
    };
    assert!(run().contains("config.json"));
    for name in ["config.json", "preprocessor_config.json"] {
        fs::copy(Path::new(&stage.clip()).join(name), clip.join(name)).unwrap();
    }
    assert!(run().contains("model.safetensors"));
    let bytes = fs::read(Path::new(&stage.clip()).join("model.safetensors")).unwrap();
    fs::write(clip.join("model.safetensors"), &bytes[..bytes.len() - 100]).unwrap();
    assert!(run().contains("model.safetensors"));
}

#[test]
fn embeddings_of_other_captions_are_refused_with_the_command_to_run() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let set = copy_of_pictures(folder.path());
    let captions = format!("{set}/captions.txt");
    let changed = fs::read_to_string(&captions).unwrap().replacen(" .", " today .", 1);
    fs::write(&captions, changed).unwrap();
    let run = folder.path().join("run");
    let error = failure(&stage.train(&run, &["--set", &format!("data.dataset={set}")]));
    assert!(error.contains("capsmith precompute --clip"), "{error}");
    assert!(!run.exists(), "a run that could not start leaves nothing behind");
}

#[test]
fn a_run_is_neither_overwritten_nor_resumed_with_another_configuration() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    success(&stage.train(&run, &["--set", "training.epochs=1"]));
    let error = failure(&stage.train(&run, &["--set", "training.epochs=1"]));
    assert!(error.contains("--resume"), "{error}");
    let error = failure(&stage.train(&run, &["--resume", "--set", "training.epochs=3"]));
    assert!(error.contains("training.epochs: 1 -> 3"), "{error}");
}

#[test]
fn a_damaged_checkpoint_is_skipped_for_the_previous_one() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    success(&stage.train(&run, &[]));
    let newest = newest_checkpoint(&run);
    let weights = fs::read(newest.join("model.safetensors")).unwrap();
    let mut damaged = weights.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(newest.join("model.safetensors"), &damaged).unwrap();

    let output = success(&stage.train(&run, &["--resume"]));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("damaged") && said.contains("resuming after step 25"), "{said}");
    assert!(fs::read(newest_checkpoint(&run).join("model.safetensors")).unwrap() == weights);
}

#[test]
fn a_loss_that_is_not_finite_stops_with_the_step_and_the_captions_named() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let error = failure(&stage.train(
        &run,
        &["--set", "optimizer.learning_rate=1e30", "--set", "optimizer.max_grad_norm=0"],
    ));
    assert!(error.contains("at step") && error.contains("10 captions"), "{error}");
    let list = fs::read_to_string(run.join("not-finite-batch.txt")).unwrap();
    assert_eq!(list.lines().count(), 10);
}

#[test]
fn captioning_names_paths_that_are_no_run_or_no_picture() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let error = failure(&["caption", "--run", &text(folder.path()), "x.jpg"]);
    assert!(error.contains("not a run folder"), "{error}");

    let run = folder.path().join("run");
    success(&stage.train(&run, &["--set", "training.epochs=1"]));
    let page = folder.path().join("page.jpg");
    fs::write(&page, "<html>not found</html>").unwrap();
    let good = text(&first_picture(&stage.pictures()));
    let words = ["caption", "--run", &text(&run), &text(&page), &good];
    assert!(failure(&words).contains("page.jpg"));
    let output = capsmith(&words).arg("--skip-corrupt").output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1);
}

#[test]
fn predictions_that_do_not_match_the_references_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let references = folder.path().join("r.json");
    let predictions = folder.path().join("p.json");
    assert!(failure(&["evaluate"]).contains("name a run"));
    fs::write(&references, r#"{"a.jpg": ["a dog runs ."], "b.jpg": ["a cat ."]}"#).unwrap();
    fs::write(&predictions, r#"{"a.jpg": "a dog ."}"#).unwrap();
    let error = failure(&[
        "evaluate",
        "--references",
        &text(&references),
        "--predictions",
        &text(&predictions),
    ]);
    assert!(error.contains("b.jpg"), "{error}");
}

#[test]
fn a_full_disk_is_an_error_that_names_the_file() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    // The shell's limit on file sizes simulates a disk that fills up during a checkpoint.
    let words = stage.train(&run, &[]);
    let limited = std::process::Command::new("bash")
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 40; exec \"$@\"",
            "bash",
            env!("CARGO_BIN_EXE_capsmith"),
        ])
        .args(&words)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&limited.stderr).into_owned();
    assert_eq!(limited.status.code(), Some(1), "{error}");
    assert!(error.contains("safetensors") && !error.contains("panicked"), "{error}");
}

#[test]
fn exhausted_memory_is_an_error_that_names_the_keys_to_change() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    // A layer of 2 GiB, and as much for its gradients and each of its moments.
    let sets = ["network.layer_size=8192", "data.split=paper", "data.validation_captions=50"];
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/small/merge-rnn.toml");
    let limited = std::process::Command::new("bash")
        .args(["-c", "ulimit -v 3000000; exec \"$@\"", "bash", env!("CARGO_BIN_EXE_capsmith")])
        .args(stage.train_by(config, &run, &sets))
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&limited.stderr).into_owned();
    assert_eq!(limited.status.code(), Some(1), "{error}");
    assert!(error.contains("error: out of memory: this machine cannot allocate"), "{error}");
    assert!(error.contains("training.batch_size"), "{error}");
    assert!(error.contains("training.gradient_accumulation_steps"), "{error}");
    assert!(!error.contains("panicked") && !error.contains("frame"), "{error}");
    assert!(!run.exists(), "a run that could not start leaves nothing");
}

#[test]
fn a_replaced_picture_is_noticed_by_training_and_embedded_by_the_same_command() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let set = copy_of_pictures(folder.path());
    let out = text(&folder.path().join("e.safetensors"));
    let precompute = ["precompute", "--dataset", &set, "--clip", &stage.clip(), "--out", &out];
    success(&precompute);
    let again = String::from_utf8_lossy(&success(&precompute).stderr).into_owned();
    assert!(again.contains("is finished already"), "{again}");

    let victim = first_picture(&set);
    fs::copy(victim.with_file_name("scene-00005.jpg"), &victim).unwrap();
    let run = folder.path().join("run");
    let (data, embeddings) = (format!("data.dataset={set}"), format!("data.embeddings={out}"));
    let train =
        stage.train(&run, &["--set", &data, "--set", &embeddings, "--set", "training.epochs=1"]);
    let error = failure(&train);
    for words in ["e.safetensors", "scene-00000.jpg", "have changed since", "capsmith precompute"] {
        assert!(error.contains(words), "{error}");
    }
    assert!(!run.exists(), "a run that could not start leaves nothing behind");
    let updated = String::from_utf8_lossy(&success(&precompute).stderr).into_owned();
    assert!(updated.contains("1 (scene-00000.jpg)"), "{updated}");
    success(&train);
}

#[cfg(unix)]
#[test]
fn names_in_messages_and_captions_do_not_move_the_cursor() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    success(&stage.train(&run, &["--set", "training.epochs=1"]));
    let odd = folder.path().join("a\u{1b}[2J\nb.jpg");
    fs::copy(first_picture(&stage.pictures()), &odd).unwrap();
    let output = success(&["caption", "--run", &text(&run), &text(&odd)]);
    let captions = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(captions.contains(r"a\u{1b}[2J\nb.jpg") && captions.lines().count() == 1, "{captions}");
    fs::write(&odd, "no picture").unwrap();
    let error = failure(&["caption", "--run", &text(&run), &text(&odd)]);
    assert!(error.contains(r"a\u{1b}[2J\nb.jpg: is not a"), "{error}");

    let pipe = folder.path().join("pipe.jpg");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let error = failure(&["caption", "--run", &text(&run), &text(&pipe)]);
    assert!(error.contains("pipe.jpg: is not a regular file"), "{error}");
}

#[test]
fn drawn_sets_have_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("drawn").display().to_string();
    for option in ["count", "size", "alt-texts"] {
        let number = format!("--{option}=4000000000");
        let error = failure(&["dataset", "draw", "--out", &out, &number]);
        assert!(error.contains(&option.replace('-', " ")) && error.contains("from"), "{error}");
    }
}
