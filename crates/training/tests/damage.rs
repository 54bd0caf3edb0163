//! Runs with damaged files: every reader refuses them, and training alone falls back.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests may")]
#![allow(dead_code, reason = "the stage is shared with other tests")]

mod stage;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use launchers::ProcessRank;
use recipes::CheckpointChoice;
use recipes::Config;
use runs::RunFolder;
use runs::ScoresFile;
use runs::checkpoints;
use runs::metrics::{self, StepRecord};
use stage::{Stage, Watcher};
use tch::Device;
use training::captioner::Captioner;
use training::evaluate::{EvaluateOptions, Evaluated, evaluate_run};
use training::export::{Format, export};
use training::session::{Outcome, TrainOptions};
use training::trainer::train;

const SETS: [&str; 5] = [
    "optimizer.learning_rate=1e-3",
    "training.epochs=3",
    "training.early_stop_epochs=0",
    "training.save_total_limit=2",
    "training.keep_best_checkpoint=false",
];

/// Run of three epochs that has the checkpoints of the last two.
struct Trained {
    stage: Stage,
    run: RunFolder,
    config: Config,
}

impl Trained {
    fn new() -> Self {
        let stage = Stage::new();
        let (run, ..) = stage.trained("run", &SETS);
        let config = stage.config(&SETS);
        Self { stage, run, config }
    }

    fn step(&self, epoch: u64) -> PathBuf {
        self.run.checkpoints().join(format!("step-{:09}", epoch * Stage::BATCHES))
    }

    /// Resumes the run, and returns its messages.
    fn resume(&self) -> Result<(Outcome, Vec<String>), String> {
        let options = TrainOptions { resume: true, ..TrainOptions::default() };
        let mut watcher = Watcher::default();
        let stop = AtomicBool::new(false);
        let gpt2 = self.stage.gpt2();
        train(&self.run, &self.config, Some(&gpt2), &options, &mut watcher, &stop)
            .map(|outcome| (outcome, watcher.notes))
            .map_err(|error| error.to_string())
    }

    fn evaluate(&self) -> Result<Vec<String>, String> {
        let told = |error: training::Error| error.to_string();
        let unopened = |error: runs::Error| error.to_string();
        let run = RunFolder::open(self.run.path()).map_err(unopened)?;
        let captioner = Captioner::load(&run, Device::Cpu, None, &[], None).map_err(told)?;
        let options =
            EvaluateOptions { process: ProcessRank::SINGLE, ..EvaluateOptions::default() };
        let mut watcher = Watcher::default();
        let metrics = caption_metrics::Options::default();
        match evaluate_run(&run, &captioner, Device::Cpu, &options, &metrics, &mut watcher) {
            Ok(Evaluated::Scored(_)) => Ok(watcher.notes),
            Ok(Evaluated::Left(left)) => Err(format!("{left} left")),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Flips a bit in the middle of a file, and returns its previous bytes.
fn flip(path: &Path) -> Vec<u8> {
    let before = fs::read(path).unwrap();
    let mut bytes = before.clone();
    bytes[before.len() / 2] ^= 1;
    fs::write(path, bytes).unwrap();
    before
}

fn cut(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

#[test]
fn a_damaged_newest_checkpoint_is_refused_by_name_and_training_alone_falls_back() {
    let of = Trained::new();
    let files = ["model.safetensors", "optimizer.safetensors", "state.json"];
    let whole = files.map(|file| fs::read(of.step(3).join(file)).unwrap());
    let damages: [fn(&Path); 3] =
        [|path| drop(flip(path)), cut, |path| fs::remove_file(path).unwrap()];
    for (file, damage) in files.iter().flat_map(|file| damages.map(|damage| (file, damage))) {
        let path = of.step(3).join(file);
        damage(&path);
        let name = path.display().to_string();
        // Nothing but a resume reads the moments.
        if *file == "optimizer.safetensors" {
            for which in [CheckpointChoice::Newest, CheckpointChoice::Best] {
                checkpoints::find(&of.run.checkpoints(), which).unwrap();
            }
            of.evaluate().unwrap();
            let error = checkpoints::newest_whole(&of.run.checkpoints()).unwrap_err().to_string();
            assert!(error.contains(&name), "{error}");
        } else {
            for which in [CheckpointChoice::Newest, CheckpointChoice::Best] {
                let error =
                    checkpoints::find(&of.run.checkpoints(), which).unwrap_err().to_string();
                assert!(error.contains(&name) && error.contains("--resume"), "{file}: {error}");
            }
            assert!(of.evaluate().unwrap_err().contains(&name));
            let out = of.run.path().with_file_name("exported");
            let error = export(&of.run, Format::HuggingFace, &out).unwrap_err().to_string();
            assert!(error.contains(&name) && !out.exists(), "{error}");
            let model = of.stage.config(&[format!("gpt2.model={}", of.run.path().display())]);
            let error = train(
                &of.stage.run("next"),
                &model,
                Some(of.run.path()),
                &TrainOptions::default(),
                &mut Watcher::default(),
                &AtomicBool::new(false),
            );
            assert!(error.unwrap_err().to_string().contains(&name));
        }

        let (outcome, notes) = of.resume().unwrap();
        assert_eq!(outcome, Outcome::Finished { steps: 3 * Stage::BATCHES });
        let told =
            |note: &String| note.contains("skipped a damaged checkpoint") && note.contains(&name);
        assert!(notes.iter().any(told), "{notes:?}");
        let expected = format!("resuming after step {}", 2 * Stage::BATCHES);
        assert!(notes.contains(&expected), "{notes:?}");
        assert!(files.map(|file| fs::read(of.step(3).join(file)).unwrap()) == whole, "{file}");
    }
    // Nothing is left to fall back on.
    for epoch in [2, 3] {
        cut(&of.step(epoch).join("model.safetensors"));
    }
    let (_, notes) = of.resume().unwrap();
    assert_eq!(
        notes.iter().filter(|note| note.contains("skipped a damaged checkpoint")).count(),
        2,
        "{notes:?}"
    );
    assert!(notes.iter().any(|note| note.contains("starts at step 0")), "{notes:?}");
    assert!(files.map(|file| fs::read(of.step(3).join(file)).unwrap()) == whole);
}

#[test]
fn every_bit_of_a_position_counts_and_a_renamed_checkpoint_is_noticed() {
    let of = Trained::new();
    let (checkpoints, state) = (of.run.checkpoints(), of.step(3).join("state.json"));
    let before = fs::read(&state).unwrap();
    for bit in 0..before.len() * 8 {
        let mut bytes = before.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&state, bytes).unwrap();
        let error = checkpoints::newest(&checkpoints).unwrap_err().to_string();
        assert!(error.contains("state.json"), "bit {bit}: {error}");
    }
    fs::write(&state, before).unwrap();
    checkpoints::newest(&checkpoints).unwrap();

    let newest = 3 * Stage::BATCHES;
    for name in ["step-000000099", "step-15", "step-000000015.bak", "old"] {
        let renamed = checkpoints.join(name);
        fs::rename(of.step(3), &renamed).unwrap();
        let error = checkpoints::newest(&checkpoints).unwrap_err().to_string();
        let (is, path) =
            (format!("the checkpoint of step {newest}"), renamed.display().to_string());
        assert!(error.contains(&is) && error.contains(&path), "{name}: {error}");
        fs::rename(&renamed, of.step(3)).unwrap();
    }
    // Copies and other files next to it do no harm.
    fs::create_dir(checkpoints.join("copy")).unwrap();
    fs::copy(of.step(2).join("state.json"), checkpoints.join("copy/state.json")).unwrap();
    fs::create_dir(checkpoints.join("step-000000099.partial")).unwrap();
    fs::write(checkpoints.join("notes"), "x").unwrap();
    assert_eq!(checkpoints::newest(&checkpoints).unwrap().position.step, newest);
}

#[test]
fn a_rotation_that_was_killed_is_ended_by_the_next_start() {
    let of = Trained::new();
    let whole: Vec<_> = [2, 3].map(|epoch| of.step(epoch)).into();
    // Half removed, as by version 0.1.0 and as now.
    for name in ["step-000000005", "step-000000004.partial", "step-000000004.replaced.partial"] {
        let left = of.run.checkpoints().join(name);
        fs::create_dir(&left).unwrap();
        fs::copy(of.step(3).join("model.safetensors"), left.join("model.safetensors")).unwrap();
    }
    assert_eq!(of.resume().unwrap().0, Outcome::Finished { steps: 3 * Stage::BATCHES });
    let entries = fs::read_dir(of.run.checkpoints()).unwrap().map(|entry| entry.unwrap().path());
    let mut left: Vec<PathBuf> = entries.collect();
    left.sort();
    assert_eq!(left, whole);
}

#[test]
fn a_changed_bit_in_any_other_file_of_a_run_is_noticed_where_it_is_read() {
    let of = Trained::new();
    let root = of.run.path().to_owned();
    of.evaluate().unwrap();
    let of_gpt2 = fs::read_dir(of.run.gpt2()).unwrap();
    let mut bound: Vec<PathBuf> = of_gpt2.map(|entry| entry.unwrap().path()).collect();
    bound.extend(["config.toml", "run.json"].map(|name| root.join(name)));
    assert!(bound.len() >= 5, "{bound:?}");
    for path in bound {
        let before = flip(&path);
        let name = path.display().to_string();
        let opened = RunFolder::open(&root).unwrap_err().to_string();
        for error in [opened, of.evaluate().unwrap_err(), of.resume().unwrap_err()] {
            assert!(error.contains(&name), "{error}");
        }
        fs::write(&path, before).unwrap();
    }
    for name in ["metrics.csv", "epochs.csv", "logs.json"] {
        let before = flip(&root.join(name));
        let error = of.resume().unwrap_err();
        assert!(error.contains(name) && error.contains("hint"), "{name}: {error}");
        fs::write(root.join(name), before).unwrap();
    }
    assert_eq!(
        metrics::records::<StepRecord>(&root.join("metrics.csv")).unwrap().len() as u64,
        3 * Stage::BATCHES
    );

    let evaluation = root.join("evaluation/test");
    let scores = ScoresFile::read(&evaluation).unwrap();
    let used = scores.checkpoint.unwrap();
    assert_eq!(used.step, 3 * Stage::BATCHES);
    let sha256 = durable::digests::of_file(&of.step(3).join("model.safetensors")).unwrap();
    assert_eq!(used.model_sha256, sha256);
    let names = ["scores.json", "predictions.json", "references.json", "per-image.csv"];
    for name in names {
        let before = flip(&evaluation.join(name));
        let error = ScoresFile::read(&evaluation).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("capsmith evaluate"), "{error}");
        fs::write(evaluation.join(name), before).unwrap();
    }
    let flipped = |name: &str| (evaluation.join(name), flip(&evaluation.join(name)));
    let whole = [&names[..], &["captions.json"]].concat().into_iter().map(flipped);
    let whole: Vec<(PathBuf, Vec<u8>)> = whole.collect();
    // Captioned again, with a word, to the same scores.
    let notes = of.evaluate().unwrap();
    assert!(notes.iter().any(|note| note.contains("captioning again")), "{notes:?}");
    for (path, before) in whole {
        assert!(fs::read(&path).unwrap() == before, "{}", path.display());
    }
    assert!(of.evaluate().unwrap()[0].contains("reusing the captions in"));
}

#[test]
fn pieces_that_killed_evaluations_left_are_removed() {
    let of = Trained::new();
    let left = of.run.path().join("evaluation/test.0123456789abcdef.partial");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("piece-00000.json"), "[").unwrap();
    fs::write(left.with_extension("lock"), "").unwrap();
    let other = of.run.path().join("evaluation/test.notes.partial");
    fs::create_dir_all(&other).unwrap();
    let at_work = of.run.path().join("evaluation/test.0000000000000000.partial");
    fs::create_dir_all(&at_work).unwrap();
    let lock = fs::File::open(&at_work).unwrap();
    lock.lock_shared().unwrap();
    of.evaluate().unwrap();
    assert!(!left.exists() && !left.with_extension("lock").exists());
    assert!(other.exists() && at_work.exists());
}

#[test]
fn a_run_of_version_0_1_0_is_read_without_digests() {
    let of = Trained::new();
    of.evaluate().unwrap();
    let root = of.run.path();
    let edit = |path: PathBuf, change: fn(&mut serde_json::Map<String, serde_json::Value>)| {
        let mut value: serde_json::Value =
            serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        value.as_object_mut().unwrap().remove("sha256").unwrap();
        change(value.as_object_mut().unwrap());
        fs::write(path, value.to_string()).unwrap();
    };
    for epoch in [2, 3] {
        edit(of.step(epoch).join("state.json"), |state| {
            let files = state.remove("files").unwrap();
            state.insert("sha256".to_owned(), files);
        });
    }
    edit(root.join("run.json"), |run| drop(run.remove("files")));
    edit(root.join("evaluation/test/scores.json"), |scores| {
        scores.remove("files");
        scores.remove("checkpoint");
    });
    fs::remove_file(root.join("logs.json")).unwrap();
    assert!(ScoresFile::read(&root.join("evaluation/test")).unwrap().checkpoint.is_none());
    of.evaluate().unwrap();
    assert_eq!(of.resume().unwrap().0, Outcome::Finished { steps: 3 * Stage::BATCHES });
    // Its weights are still checked.
    flip(&of.step(3).join("model.safetensors"));
    assert!(of.evaluate().unwrap_err().contains("model.safetensors"));
}

#[test]
fn nothing_is_left_of_a_run_that_cannot_be_written() {
    let stage = Stage::new();
    let run = stage.run("blocked");
    // A file is where checkpoints go, so that the first one cannot be saved.
    let (config, stop) = (stage.config(&SETS), AtomicBool::new(false));
    let start = |options: &TrainOptions| {
        let gpt2 = stage.gpt2();
        train(&run, &config, Some(&gpt2), options, &mut Watcher::default(), &stop)
    };
    fs::create_dir_all(run.path()).unwrap();
    fs::write(run.checkpoints(), "").unwrap();
    let error = start(&TrainOptions::default()).unwrap_err().to_string();
    assert!(error.contains("checkpoints"), "{error}");
    fs::remove_file(run.checkpoints()).unwrap();
    let resumed = TrainOptions { resume: true, ..TrainOptions::default() };
    assert_eq!(start(&resumed).unwrap(), Outcome::Finished { steps: 3 * Stage::BATCHES });

    // If the run could not begin, its folder is removed.
    let stage_file = stage.run("no-gpt2");
    let error = train(
        &stage_file,
        &config,
        Some(Path::new("nowhere")),
        &TrainOptions::default(),
        &mut Watcher::default(),
        &stop,
    );
    assert!(error.is_err() && !stage_file.path().exists());
}
