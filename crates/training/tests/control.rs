//! The control of an evaluation: captions of other images.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests may")]
#![allow(dead_code, reason = "the stage is shared with other tests")]

mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use progress::Silent;
use runs::RunFolder;
use stage::{Stage, Watcher};
use tch::Device;
use training::captioner::Captioner;
use training::captions::{ImageInputs, best};
use training::evaluate::{CaptionedImage, EvaluateOptions, Evaluated, evaluate_run};
use training::inputs::Inputs;
use training::seeds::{self, Purpose};

const SEED: u64 = 3;

fn evaluate(run: &RunFolder, control_seed: Option<u64>) -> Vec<CaptionedImage> {
    let captioner = Captioner::load(run, Device::Cpu, None, &[], None).unwrap();
    let options = EvaluateOptions { control_seed, ..EvaluateOptions::default() };
    let metrics = caption_metrics::Options::default();
    let mut watcher = Watcher::default();
    match evaluate_run(run, &captioner, Device::Cpu, &options, &metrics, &mut watcher).unwrap() {
        Evaluated::Scored(mut scored) => scored.remove(0).captions,
        Evaluated::Left(left) => panic!("{left} left"),
    }
}

/// Returns the time of the last write of each file of an evaluation.
fn times(folder: &Path) -> BTreeMap<String, SystemTime> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let time = |entry: fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().modified().unwrap())
    };
    entries.map(time).collect()
}

/// The run is trained until its captions depend on the embedding.
#[test]
fn the_control_has_the_captions_of_shuffled_embeddings_and_leaves_the_evaluation_alone() {
    let stage = Stage::new();
    let sets = [
        "data.test_captions=25",
        "optimizer.learning_rate=1e-2",
        "training.epochs=40",
        "training.early_stop_epochs=0",
        "training.batch_size=5",
    ];
    let (run, ..) = stage.trained("run", &sets);
    let run = RunFolder::open(run.path()).unwrap();
    // Before the evaluation, the control captions by itself.
    let alone = evaluate(&run, Some(SEED));
    assert!(!run.evaluation("test").exists());
    let official = evaluate(&run, None);
    let before = times(&run.evaluation("test"));
    fs::remove_dir_all(run.evaluation("test-shuffled")).unwrap();
    let control = evaluate(&run, Some(SEED));
    assert_eq!(times(&run.evaluation("test")), before);
    assert!(!run.evaluation("test-shuffled").join("captions.json").exists(), "reused");
    let predictions = |captions: &[CaptionedImage]| -> Vec<String> {
        captions.iter().map(|one| one.prediction.clone()).collect()
    };
    assert_eq!(predictions(&alone), predictions(&control));
    let distinct: BTreeSet<String> = predictions(&official).into_iter().collect();
    assert!(distinct.len() > 1, "captions do not depend on the image: {distinct:?}");
    assert_ne!(predictions(&official), predictions(&control));

    let captioner = Captioner::load(&run, Device::Cpu, None, &[], None).unwrap();
    let inputs = Inputs::load(&captioner.config.data, Device::Cpu).unwrap();
    let order = seeds::permutation(SEED, Purpose::Shuffle, 0, official.len());
    for (position, &index) in order.iter().enumerate() {
        let other = inputs.split.test[order[(position + 1) % order.len()]];
        assert_ne!(inputs.split.test[index], other);
        let embeddings = inputs.embeddings.narrow(0, inputs.row(other).unwrap(), 1);
        let input = ImageInputs { embeddings, keywords: None, numbers: vec![0] };
        let written = captioner.caption(&input, &mut Silent).unwrap();
        assert_eq!(control[index].prediction, best(&written[0], usize::MAX).unwrap().text);
        assert_eq!(control[index].references, official[index].references);
    }
}
