//! Runs that resume on other hardware, and runs with deterministic algorithms only.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests may")]

#[allow(dead_code, reason = "each file of tests uses some of it")]
mod stage;

use std::sync::atomic::AtomicBool;

use runs::Hardware;
use runs::RunFolder;
use stage::{Stage, Watcher, alone};
use training::Error;
use training::session::TrainOptions;
use training::trainer::train;

/// Trains until `epochs` are done, and returns the notes.
fn trained(stage: &Stage, run: &RunFolder, epochs: u64, set: &str) -> Result<Vec<String>, Error> {
    let config = stage.config(&["training.epochs=4", "training.early_stop_epochs=0", set]);
    let options =
        TrainOptions { resume: true, stop_after_epochs: Some(epochs), ..TrainOptions::default() };
    let mut watcher = Watcher::default();
    let stop = AtomicBool::new(false);
    train(run, &config, Some(&stage.gpt2()), &options, &mut watcher, &stop)?;
    Ok(watcher.notes)
}

#[test]
fn a_run_is_resumed_with_other_threads_which_is_noted_and_written_down() {
    let _alone = alone();
    let stage = Stage::new();
    let run = stage.run("run");
    let go = |epochs, set| trained(&stage, &run, epochs, set);
    let moved = |notes: &[String]| notes.iter().any(|note| note.contains("last digits"));
    let resumed_on = || run.provenance().unwrap().resumed_on;

    assert!(!moved(&go(1, "training.threads=1").unwrap()));
    assert!(resumed_on().is_empty());
    let notes = go(2, "training.threads=2").unwrap();
    assert!(notes.iter().any(|note| {
        note.contains("resuming on cpu with 2 threads a run that was computed on cpu with 1 thread")
    }));
    let device = "cpu".to_owned();
    let with_two = Hardware { after_step: Stage::BATCHES, device: device.clone(), threads: 2 };
    assert_eq!(resumed_on(), std::slice::from_ref(&with_two));
    assert!(!moved(&go(3, "training.threads=2").unwrap()));
    assert_eq!(resumed_on(), std::slice::from_ref(&with_two));
    assert!(moved(&go(4, "training.threads=1").unwrap()));
    let with_one = Hardware { after_step: 3 * Stage::BATCHES, device, threads: 1 };
    assert_eq!(resumed_on(), [with_two, with_one]);
    // It is still the run that was started, with its digests.
    let provenance = RunFolder::open(run.path()).unwrap().provenance().unwrap();
    assert_eq!((provenance.threads, provenance.device.as_str()), (1, "cpu"));

    let error = go(4, "training.seed=7").unwrap_err().to_string();
    assert!(error.contains("training.seed: 42 -> 7") && !error.contains("threads"), "{error}");
}

#[test]
fn deterministic_algorithms_change_nothing_on_the_processor() {
    let _alone = alone();
    let stage = Stage::new();
    let weights = |name: &str, set: &str| {
        let run = stage.run(name);
        trained(&stage, &run, 2, set).unwrap();
        stage::newest_files(&run)
    };
    let plain = weights("plain", "training.deterministic=false");
    let deterministic = weights("deterministic", "training.deterministic=true");
    assert!(plain == deterministic);
}
